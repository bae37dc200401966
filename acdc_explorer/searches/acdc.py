"""The ACDC search (Conmy et al. 2023, section 3 and algorithm 1), exact and batched.

Plain ACDC is a full run of the model for every edge:

    removed, leads_on, before = set(), {LOGITS}, evaluate(set())
    for receiver in search_receivers(graph):
        edges = [edge_into(receiver, sender) for sender in search_senders(graph, receiver)]
        if receiver.node not in leads_on:
            removed.update(edges)
            continue
        for edge in edges:
            after = evaluate(removed | {edge})
            if abs(before - after) < threshold:
                removed.add(edge)
                before = after
            else:
                leads_on.add(edge.sender)

The search below makes the same decisions. It tests chains of edges in one batch
(`engine/live_circuit.py`): a chain is right up to and including its first kept edge, and what comes
after is thrown away and tested again, so the length of the chains does not matter.

The decisions of an earlier search, on the same prompts and in the same order but at another
threshold or cut short, are replayed for as long as they would be the same: a test's values do not
depend on the threshold while all decisions before it agree.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from functools import cached_property

import numpy as np
from jaxtyping import Float

from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.circuits.steps import EdgeStep, ReceiverStep, Step
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.evaluate import evaluate_removed
from acdc_explorer.engine.prompt_slices import SlicedCircuit, SlicedTrials
from acdc_explorer.engine.removed_edges import RemovedEdges
from acdc_explorer.engine.scoring import mean_metric
from acdc_explorer.graph import Edge, Receiver
from acdc_explorer.searches.attribution import edge_scores, scores_for_order
from acdc_explorer.searches.chains import ChainLength
from acdc_explorer.searches.decisions import DecisionRule
from acdc_explorer.searches.order import search_receivers, search_senders

# From this many kept edges on, attribution saves more than it costs.
_KEPT_BEFORE_EXPECTING = 20
# An edge whose attribution reaches this share of the threshold is likely to be kept.
_LIKELY = 0.7
# Prompts that are attributed for that.
_PROMPTS_EXPECTING = 16


def acdc_steps(
    engine: Engine,
    settings: SearchSettings,
    chain_length: int | None = None,
    replay: Iterable[Step] = (),
) -> Iterator[Step]:
    """Runs ACDC and yields a step for every receiver and every tested edge.

    Args:
        engine: model, task and ablation.
        settings: threshold, rule and order.
        chain_length: how many edges to evaluate at once; chosen by the work at hand unless given.
            The decisions do not depend on it.
        replay: the steps so far of a search that differs from this one in the threshold at most.
    """
    yield from _AcdcSearch(engine, settings, chain_length, replay).steps()


class _AcdcSearch:
    def __init__(
        self,
        engine: Engine,
        settings: SearchSettings,
        chain_length: int | None,
        replay: Iterable[Step],
    ):
        self.engine, self.graph, self.settings = engine, engine.graph, settings
        self.to_replay = deque(step for step in replay if isinstance(step, EdgeStep))
        self.circuit = SlicedCircuit(engine, sums_what_is_left=engine.ablation == "zero")
        self.lengths = ChainLength(engine, chain_length)
        self.rule = DecisionRule(engine, settings)
        self.metric = engine.full_metric
        self.removed = engine.graph.mask_of([])
        self.n_kept = 0
        self.order_scores = scores_for_order(engine) if settings.order == "attribution" else None

    def steps(self) -> Iterator[Step]:
        for receiver in search_receivers(self.graph, self.settings.order):
            live = self.circuit.is_live(receiver)
            yield ReceiverStep(receiver, live)
            if live:
                yield from self._test_receiver(receiver)
            else:
                row = self.graph.receiver_index[receiver]
                self.removed[row] = self.graph.edge_mask[row]

    def _test_receiver(self, receiver: Receiver) -> Iterator[EdgeStep]:
        settings = self.settings
        senders = search_senders(
            self.graph, receiver, settings.order, settings.order_seed, self.order_scores
        )
        trials = SlicedTrials(self.circuit, receiver)
        replayed = self._replay(receiver, senders)
        yield from replayed
        decided, untested = senders[: len(replayed)], senders[len(replayed) :]
        trials.remove([s for s, step in zip(decided, replayed, strict=True) if not step.kept])
        for sender, step in zip(decided, replayed, strict=True):
            if step.kept:
                trials.keep(sender)
        while untested:
            chain = self._next_chain(trials, receiver, untested)
            values = trials.try_removing(chain).double().mean(-1).tolist()
            steps = self._decide(receiver, chain, values)
            decided, untested = untested[: len(steps)], untested[len(steps) :]
            # Only the last one may have been kept.
            if steps[-1].kept:
                trials.accept(decided[:-1])
                trials.keep(decided[-1])
                self.n_kept += 1
            else:
                trials.accept(decided)
            self.lengths.observe(len(steps), steps[-1].kept)
            yield from steps
        trials.finish()

    def _next_chain(
        self, trials: SlicedTrials, receiver: Receiver, untested: list[int]
    ) -> list[int]:
        """The senders of the edges to test next; ends where one is likely to be kept.

        What follows such an edge is in vain. On one thread, as in the explorer, that saves up to a
        quarter of a long search; with more threads, for which short chains are cheap, little.
        """
        chain = untested[: self.lengths.next(trials, len(untested))]
        if self.n_kept < _KEPT_BEFORE_EXPECTING or not self.engine.scoring.has_gradient:
            return chain
        scores = self._expected[self.graph.receiver_index[receiver], chain]
        likely = np.flatnonzero(scores >= _LIKELY * self.settings.threshold)
        return chain[: likely[0] + 1] if len(likely) else chain

    @cached_property
    def _expected(self) -> Float[np.ndarray, "receiver sender"]:
        """Approximate sizes of all edges' effects, by which to choose the length of chains."""
        return np.abs(edge_scores(self.engine, n_prompts=_PROMPTS_EXPECTING))

    def _replay(self, receiver: Receiver, senders: list[int]) -> list[EdgeStep]:
        """Takes over what is known of a receiver's edges, up to the first other decision."""
        row, steps = self.graph.receiver_index[receiver], list[EdgeStep]()
        while self.to_replay and len(steps) < len(senders):
            step = self.to_replay.popleft()
            sender = senders[len(steps)]
            if step.edge != Edge(self.graph.senders[sender], receiver):
                raise ValueError(
                    f"the decisions to replay are of another search: {step.edge.id} comes where "
                    f"this one tests {self.graph.senders[sender].id}->{receiver.id}"
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
                self.to_replay.clear()
        return steps

    def _decide(self, receiver: Receiver, chain: list[int], values: list[float]) -> list[EdgeStep]:
        """Goes along a chain up to the first edge that stays."""
        row = self.graph.receiver_index[receiver]
        steps: list[EdgeStep] = []
        for sender, after in zip(chain, values, strict=True):
            edge = Edge(self.graph.senders[sender], receiver)
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
        after = self.removed.copy()
        after[self.graph.cell(edge)] = True
        # Together, so that what lies upstream of the edge is computed once.
        circuits = [RemovedEdges(self.removed), RemovedEdges(after)]
        values = evaluate_removed(self.engine.in_float64, circuits)
        return mean_metric(values[0]), mean_metric(values[1])
