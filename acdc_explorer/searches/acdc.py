"""The ACDC search (Conmy et al. 2023, section 3 and algorithm 1), exact and batched.

1. Go through the receivers from the logits backwards (DESIGN section 3 gives the order).
2. If a receiver's node has no path of kept edges to the logits, all its incoming edges go untested.
3. Else test its incoming edges one by one: if the metric changes by less than the threshold when
   the edge is removed from the circuit so far, it stays removed, otherwise it is kept.

Step 3 runs on chains of edges in one batch (`engine/patching.py`). A chain is right up to and
including its first kept edge; what comes after is thrown away and tested again. So the decisions
are those of the sequential algorithm, whatever the length of the chains.

The decisions of an earlier search, on the same prompts and in the same order but at another
threshold or cut short, are taken over for as long as they would be the same: a test's values do not
depend on the threshold while all decisions before it agree.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

from acdc_explorer.engine.engine import Engine, mean_metric
from acdc_explorer.engine.patched import evaluate_removed
from acdc_explorer.engine.removed import RemovedEdges
from acdc_explorer.engine.slices import SlicedCircuit, SlicedTest
from acdc_explorer.graph import Edge, Receiver
from acdc_explorer.searches.attribution import edge_scores, scores_for_order
from acdc_explorer.searches.chains import ChainLength
from acdc_explorer.searches.decisions import DecisionRule
from acdc_explorer.searches.steps import EdgeStep, ReceiverStep, SearchSettings, Step

# So many edges make a search long enough for attribution to pay.
_KEPT_BEFORE_EXPECTING = 20


def acdc_steps(
    engine: Engine,
    settings: SearchSettings,
    chain_length: int | None = None,
    known: Iterable[Step] = (),
) -> Iterator[Step]:
    """Runs ACDC and yields a step for every receiver and every tested edge.

    Args:
        engine: model, task and ablation.
        settings: threshold, rule and order.
        chain_length: how many edges to evaluate at once; chosen by the work at hand unless given.
            The decisions do not depend on it.
        known: the steps so far of a search that differs from this one in the threshold at most.
    """
    search = _AcdcSearch(engine, settings, chain_length, known)
    yield from search.steps()


class _AcdcSearch:
    def __init__(
        self,
        engine: Engine,
        settings: SearchSettings,
        chain_length: int | None,
        known: Iterable[Step],
    ):
        self.known = deque(step for step in known if isinstance(step, EdgeStep))
        self.engine, self.settings = engine, settings
        self.circuit = SlicedCircuit(engine, sums_what_is_left=engine.ablation == "zero")
        self.lengths = ChainLength(engine, chain_length)
        self.metric = engine.full_metric
        self.removed = engine.graph.mask_of([])
        self.rule = DecisionRule(engine, settings)
        self.n_kept = 0
        # Approximate effects, by which to choose the length of chains.
        self.expected: np.ndarray | None = None
        self.order_scores = scores_for_order(engine) if settings.order == "attribution" else None

    def steps(self) -> Iterator[Step]:
        graph = self.engine.graph
        for receiver in graph.search_receivers(self.settings.order):
            live = self.circuit.is_live(receiver)
            yield ReceiverStep(receiver, live)
            if live:
                yield from self._test_receiver(receiver)
            else:
                row = graph.receiver_index[receiver]
                self.removed[row] = graph.edge_mask[row]

    def _test_receiver(self, receiver: Receiver) -> Iterator[EdgeStep]:
        settings, graph = self.settings, self.engine.graph
        senders = graph.search_senders(
            receiver, settings.order, settings.order_seed, self.order_scores
        )
        test = SlicedTest(self.circuit, receiver)
        replayed = self._replay(receiver, senders)
        yield from replayed
        done = len(replayed)
        test.remove(
            [sender for sender, step in zip(senders, replayed, strict=False) if not step.kept]
        )
        for sender, step in zip(senders, replayed, strict=False):
            if step.kept:
                test.keep(sender)
        while done < len(senders):
            length = self.lengths.next(test, len(senders) - done)
            chain = self._up_to_expected(receiver, senders[done : done + length])
            values = test.try_removing(chain).double().mean(-1).tolist()
            steps = self._decide(receiver, chain, values)
            kept = steps[-1].kept
            test.accept(chain[: len(steps) - kept])
            if kept:
                test.keep(chain[len(steps) - 1])
                self.n_kept += 1
            self.lengths.observe(len(steps), kept)
            done += len(steps)
            yield from steps
        test.finish()

    def _up_to_expected(self, receiver: Receiver, chain: list[int]) -> list[int]:
        """Ends a chain at the first edge that is likely to be kept: what follows is in vain.

        On one thread, as in the explorer, that saves up to a quarter of a long search; with more
        threads, for which short chains are cheap, little.
        """
        if self.n_kept < _KEPT_BEFORE_EXPECTING or not self.engine.metric_has_gradient:
            return chain
        if self.expected is None:
            few = next(self.engine.parts(16))
            self.expected = np.abs(edge_scores(few))
        row = self.expected[self.engine.graph.receiver_index[receiver], chain]
        likely = np.flatnonzero(row >= 0.7 * self.settings.threshold)
        return chain[: likely[0] + 1] if len(likely) else chain

    def _replay(self, receiver: Receiver, senders: list[int]) -> list[EdgeStep]:
        """Takes over what is known of a receiver's edges, up to the first other decision."""
        row, steps = self.engine.graph.receiver_index[receiver], list[EdgeStep]()
        while self.known and len(steps) < len(senders):
            step = self.known.popleft()
            sender = senders[len(steps)]
            if step.edge != Edge(self.engine.graph.senders[sender], receiver):
                raise ValueError(
                    f"the known decisions are of another search: {step.edge.id} comes where this "
                    f"one tests {self.engine.graph.senders[sender].id}->{receiver.id}"
                )
            before, after, borderline = step.before, step.after, step.borderline
            if not borderline and self.rule.is_borderline(before, after):
                borderline, (before, after) = True, self._exact_values(step.edge)
            kept = self.rule.keeps(before, after, exact=borderline)
            steps.append(EdgeStep(step.edge, before, after, kept, borderline))
            if not kept:
                self.removed[row, sender] = True
                self.metric = after
            if kept != step.kept:
                # The values hold, the decision is another: from here on nothing is known.
                self.known.clear()
        return steps

    def _decide(self, receiver: Receiver, chain: list[int], values: list[float]) -> list[EdgeStep]:
        """Goes along a chain up to the first edge that stays."""
        graph, row = self.engine.graph, self.engine.graph.receiver_index[receiver]
        steps: list[EdgeStep] = []
        for sender, after in zip(chain, values, strict=True):
            edge = Edge(graph.senders[sender], receiver)
            before = self.metric
            borderline = self.rule.is_borderline(before, after)
            if borderline:
                before, after = self._exact_values(edge)
            kept = self.rule.keeps(before, after, exact=borderline)
            steps.append(EdgeStep(edge, before, after, kept, borderline))
            if kept:
                break
            self.removed[row, sender] = True
            self.metric = after
        return steps

    def _exact_values(self, edge: Edge) -> tuple[float, float]:
        """The metric before and after removing an edge, in float64."""
        engine = self.engine.doubled
        after = self.removed.copy()
        after[self.engine.graph.cell(edge)] = True
        # Together, so that what lies upstream of the edge is computed once.
        values = evaluate_removed(engine, [RemovedEdges(self.removed), RemovedEdges(after)])
        return mean_metric(values[0]), mean_metric(values[1])
