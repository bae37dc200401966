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
from acdc_explorer.engine.prompt_slices import SlicedCircuit, SlicedTrials
from acdc_explorer.graph import Edge, Receiver
from acdc_explorer.searches.attribution import preview_scores, scores_for_order
from acdc_explorer.searches.avoided import AvoidedEdges
from acdc_explorer.searches.chains import ChainLength
from acdc_explorer.searches.decisions import DecisionRule, exact_values
from acdc_explorer.searches.order import search_receivers, search_senders
from acdc_explorer.searches.receiver_walk import ReceiverWalk
from acdc_explorer.searches.screening import Screen

# From this many kept edges on, attribution saves more than it costs.
_KEPT_BEFORE_EXPECTING = 20
# An edge whose attribution reaches this share of the threshold is likely to be kept.
_LIKELY = 0.7


def acdc_steps(
    engine: Engine,
    settings: SearchSettings,
    chain_length: int | None = None,
    replay: Iterable[Step] = (),
    avoided: AvoidedEdges | None = None,
) -> Iterator[Step]:
    """Runs ACDC and yields a step for every receiver and every tested edge.

    Args:
        engine: model, task and ablation.
        settings: threshold, rule and order.
        chain_length: how many edges to evaluate at once; chosen by the work at hand unless given.
            The decisions do not depend on it.
        replay: the steps so far of a search that differs from this one in the threshold at most.
        avoided: edges that are tested first and stay only at a higher threshold.
    """
    yield from _AcdcSearch(engine, settings, chain_length, replay, avoided).steps()


class _AcdcSearch:
    def __init__(
        self,
        engine: Engine,
        settings: SearchSettings,
        chain_length: int | None,
        replay: Iterable[Step],
        avoided: AvoidedEdges | None = None,
    ):
        self.engine, self.graph, self.settings = engine, engine.graph, settings
        self.to_replay = deque(step for step in replay if isinstance(step, EdgeStep))
        sums_what_is_left = engine.ablation == "zero"
        self.circuit = SlicedCircuit(engine, sums_what_is_left=sums_what_is_left)
        # Where what is left is summed up, a sum without an edge is not that with it less the edge.
        self.can_come_back = not sums_what_is_left
        self.lengths = ChainLength(engine, chain_length)
        self.screen = Screen(engine, settings)
        self.avoided = avoided
        self.rule = DecisionRule(engine, settings, avoided)
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
        if self.avoided is not None:
            senders = self.avoided.first(receiver, senders)
        trials = SlicedTrials(self.circuit, receiver)
        walk = ReceiverWalk(self, self.graph, receiver, senders, trials, self.metric)
        n_known = min(len(self.to_replay), len(senders))
        walk.take_over([self.to_replay.popleft() for _ in range(n_known)])
        yield from walk.steps()

    def is_likely_to_stay(self, edge: Edge) -> bool:
        """Whether it is worth while to end a chain at this edge: what follows is then in vain.

        On one thread, as in the explorer, that saves up to a quarter of a long search; with more
        threads, for which short chains are cheap, little.
        """
        if self.n_kept < _KEPT_BEFORE_EXPECTING or not self.engine.scoring.has_gradient:
            return False
        return bool(self._expected[self.graph.cell(edge)] >= _LIKELY * self.settings.threshold)

    @cached_property
    def _expected(self) -> Float[np.ndarray, "receiver sender"]:
        """Approximate sizes of all edges' effects, by which to choose the length of chains."""
        return np.abs(preview_scores(self.engine))

    def decided(self, step: EdgeStep) -> None:
        """Hears of every decision."""
        if step.kept:
            self.n_kept += 1
        else:
            self.removed[self.graph.cell(step.edge)] = True
            self.metric = step.after

    def replay_ends(self) -> None:
        """Hears that a decision is another than in the search that is replayed."""
        self.to_replay.clear()

    def exact_values(self, edge: Edge) -> tuple[float, float]:
        """The metric before and after removing an edge, in float64."""
        return exact_values(self.engine, self.removed, edge)
