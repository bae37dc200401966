"""The search of the blog post that came before ACDC: a circuit grown backwards by path patching.

From "Automatically finding circuits by path patching", the prototype of Conmy et al. 2023: start at
the logits; patch every sender's corrupted activation ALONE into each input of a node that is part
of the circuit; let the change spread along the edges found so far, all else staying clean; where
that changes the metric by the threshold or more, the edge joins the circuit, and its sender's
inputs are next. Nothing is removed on the way, so the effects at one input do not depend on one
another or on the order of tests, and a whole input is one batch.

Two faults of the prototype are absent: the last MLP's edge into the logits is tested, and inputs of
one head at two positions are two receivers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import torch

from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.circuits.steps import EdgeStep, ReceiverStep, Step
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.prompt_slices import SlicedCircuit, SlicedTrials
from acdc_explorer.engine.scoring import mean_metric
from acdc_explorer.graph import Edge, Receiver
from acdc_explorer.searches.chains import ChainLength
from acdc_explorer.searches.decisions import DecisionRule
from acdc_explorer.searches.order import search_receivers, search_senders


def path_patching_steps(
    engine: Engine,
    settings: SearchSettings,
    batch: int | None = None,
    replay: Iterable[Step] = (),
) -> Iterator[Step]:
    """Grows a circuit and yields a step for every receiver and every tested edge.

    Args:
        engine: model, task, ablation, and whether edges have positions.
        settings: threshold, rule and order; the order changes nothing but the order of the steps.
        batch: how many edges to evaluate at once; chosen by the work at hand unless given. The
            decisions do not depend on it.
        replay: the steps so far of a search that differs from this one in the threshold at most.
    """
    search = _Growth(engine, settings, batch, replay)
    yield from search.steps()


class _Growth:
    def __init__(
        self, engine: Engine, settings: SearchSettings, batch: int | None, replay: Iterable[Step]
    ):
        self.engine, self.settings = engine, settings
        self.to_replay = deque(step for step in replay if isinstance(step, EdgeStep))
        self.rule = DecisionRule(engine, settings)
        self.circuit = SlicedCircuit(engine)
        self.lengths = ChainLength(engine, batch)
        self.kept: list[Edge] = []

    def steps(self) -> Iterator[Step]:
        for receiver in search_receivers(self.engine.graph, self.settings.order):
            live = self.circuit.is_live(receiver)
            yield ReceiverStep(receiver, live)
            if live:
                yield from self._test_receiver(receiver)

    def _test_receiver(self, receiver: Receiver) -> Iterator[EdgeStep]:
        settings, graph = self.settings, self.engine.graph
        senders = search_senders(graph, receiver, settings.order, settings.order_seed)
        trials = SlicedTrials(self.circuit, receiver)
        known = self._known_values(receiver, len(senders))
        before = self.engine.full_metric
        differs = False
        values = [step.after for step in known]
        for done in range(0, len(senders)):
            if done == len(values):
                values += self._values_of_next(trials, senders[done:])
            edge = Edge(graph.senders[senders[done]], receiver)
            step = self._decide(edge, before, values[done])
            if done < len(known):
                differs |= step.kept != known[done].kept
            if step.kept:
                trials.keep(senders[done])
                self.kept.append(edge)
            yield step
        if differs:
            # Upstream, other edges would have been tested.
            self.to_replay.clear()

    def _values_of_next(self, trials: SlicedTrials, senders: Sequence[int]) -> list[float]:
        """The metric with each of some edges patched, of as many of them as are done at once."""
        while True:
            length = self.lengths.next(trials, len(senders), alone=True)
            try:
                return trials.try_alone(senders[:length]).double().mean(-1).tolist()
            except torch.OutOfMemoryError:
                if not self.lengths.halve(length):
                    raise

    def _known_values(self, receiver: Receiver, n_senders: int) -> list[EdgeStep]:
        steps: list[EdgeStep] = []
        while (
            self.to_replay
            and self.to_replay[0].edge.receiver == receiver
            and len(steps) < n_senders
        ):
            steps.append(self.to_replay.popleft())
        return steps

    def _decide(self, edge: Edge, before: float, after: float) -> EdgeStep:
        return self.rule.decide(
            edge,
            before,
            after,
            lambda: (self.engine.in_float64.full_metric, self._exact_value(edge)),
        )

    def _exact_value(self, edge: Edge) -> float:
        """The metric with an edge patched, in float64."""
        circuit = SlicedCircuit(self.engine.in_float64)
        for kept in self.kept:
            if kept.receiver != edge.receiver:
                circuit.keep(kept.sender, kept.receiver)
        trials = SlicedTrials(circuit, edge.receiver)
        return mean_metric(trials.try_alone([self.engine.graph.sender_index[edge.sender]])[0])
