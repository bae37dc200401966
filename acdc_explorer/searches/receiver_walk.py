"""ACDC at one receiver: its edges are decided in order, on values computed many at a time.

The walk stands at some edge; what has been decided before it is certain. Ahead of it each edge is
expected to go or to stay, and on that the metric is computed at many places in one batch:

- once all edges that are expected to go, up to some place, have gone;
- for an edge that is expected to stay, with it gone as well.

Then the walk goes on as far as these values reach and the decisions are those expected. At the
first that is not, the values ahead are dropped and computed again. So expectations cost time if
they are wrong, and never change a decision.

With screening, edges whose predicted change is small go without a value of their own, a run of them
in one step. Each run as a whole is measured: where its change differs from what was predicted for
it by so much that one of its edges might stay, it is halved and both halves are measured, down to
single edges, which then are tested like any other (`Screen`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch

from acdc_explorer.circuits.steps import EdgeStep
from acdc_explorer.engine.edge_trials import Link
from acdc_explorer.engine.prompt_slices import SlicedTrials
from acdc_explorer.graph import Edge, Graph, Receiver
from acdc_explorer.searches.chains import ChainLength
from acdc_explorer.searches.decisions import DecisionRule
from acdc_explorer.searches.outlook import Outlook, Segment
from acdc_explorer.searches.screening import Screen


class Decider(Protocol):
    """What the walk asks of the search that it is part of."""

    rule: DecisionRule
    lengths: ChainLength
    screen: Screen
    can_come_back: bool

    def is_likely_to_stay(self, edge: Edge) -> bool:
        """Whether a test of an edge is likely to end in keeping it."""

    def exact_values(self, edge: Edge) -> tuple[float, float]:
        """The metric before and after removing an edge, in float64."""

    def decided(self, step: EdgeStep) -> None:
        """Hears of every decision."""

    def replay_ends(self) -> None:
        """Hears that what an earlier search found no longer holds."""


class ReceiverWalk:
    """Decides the edges into one receiver."""

    def __init__(
        self,
        search: Decider,
        graph: Graph,
        receiver: Receiver,
        senders: Sequence[int],
        trials: SlicedTrials,
        metric: float,
    ):
        """Begins at the first edge.

        Args:
            search: whose rule and screen these are.
            graph: of the model.
            receiver: whose edges these are.
            senders: sender indices in the order of the tests.
            trials: of the receiver.
            metric: of the circuit as it stands.
        """
        self._search, self._senders, self._trials = search, senders, trials
        self._edges = [Edge(graph.senders[sender], receiver) for sender in senders]
        self._outlook = Outlook(
            self._edges,
            metric,
            search.screen,
            can_come_back=search.can_come_back,
            is_likely_to_stay=search.is_likely_to_stay,
            predict=lambda: trials.predicted_changes()[list(senders)],
        )
        self._n_decided = 0
        # Senders whose edges have gone but are still there in the circuit of `trials`.
        self._pending: list[int] = []

    def take_over(self, known: Sequence[EdgeStep]) -> None:
        """Goes by what an earlier search says of the first edges, for as long as that holds here.

        Args:
            known: its steps, of this receiver's first edges.

        Raises:
            ValueError: if they are of other edges.
        """
        self._outlook.take_over(known)

    def steps(self) -> Iterator[EdgeStep]:
        """Decides one edge after the other; for the next receiver, ask to the end."""
        while self._n_decided < len(self._edges):
            n_left = len(self._edges) - self._n_decided
            most = self._search.lengths.next(self._trials, n_left)
            segments = list(self._outlook.segments(self._n_decided, most))
            try:
                ends = self._compute(segments)
            except torch.OutOfMemoryError:
                if not self._search.lengths.halve(most):
                    raise
                continue
            yield from self._walk(segments, ends)
        if self._pending:
            self._trials.remove(self._pending)
        self._trials.finish()

    def _compute(self, segments: Sequence[Segment]) -> list[tuple[int, list[int]]]:
        """Computes the values of some segments that are not known.

        Returns:
            For each segment, what would make the circuit that of its end: how many links of the
            chain to accept, and which edges to remove besides.
        """
        chain, places, ends = list[Link](), list[Segment | int](), []
        pending = list(self._pending)
        for segment in segments:
            senders = list(self._senders[segment.start : segment.stop])
            if not segment.stays:
                pending += senders
            if not self._outlook.is_known(segment):
                if pending:
                    chain.append(Link(pending))
                    places.append(segment.start if segment.stays else segment.stop)
                    pending = []
                if segment.stays:
                    chain.append(Link(senders, comes_back=True))
                    places.append(segment)
            ends.append((len(chain), list(pending)))
        if chain:
            values = self._trials.try_removing(chain).double().mean(-1).tolist()
            for place, value in zip(places, values, strict=True):
                if isinstance(place, int):
                    self._outlook.by_then.setdefault(place, value)
                else:
                    self._outlook.without[place.start] = value
                    self._outlook.by_then.setdefault(place.stop, self._outlook.by_then[place.start])
        return ends

    def _walk(
        self, segments: Sequence[Segment], ends: Sequence[tuple[int, list[int]]]
    ) -> list[EdgeStep]:
        """Decides what the values at hand decide, and brings `trials` up to date."""
        steps: list[EdgeStep] = []
        n_links, pending = 0, self._pending
        n_segments, surprised = 0, False
        for segment, (links_then, pending_then) in zip(segments, ends, strict=True):
            if segment.stop - segment.start > 1:
                of_run = self._outlook.steps_of_run(segment)
                surprised = of_run is None
                if of_run is None:
                    break
                for step in of_run:
                    self._search.decided(step)
                steps += of_run
            else:
                step = self._test(segment)
                steps.append(step)
                surprised = step.kept != segment.stays
                if surprised:
                    self._outlook.forget_ahead(segment.start, step)
                    self._search.replay_ends()
                if surprised and not step.kept:
                    pending_then = [*pending_then, self._senders[segment.start]]
                if surprised and step.kept:
                    links_then, pending_then = n_links, pending
            n_links, pending = links_then, pending_then
            n_segments += 1
            if surprised:
                break
        self._n_decided += len(steps)
        self._trials.accept(n_links)
        self._pending = pending
        self._search.lengths.observe(max(1, n_segments), surprised)
        return steps

    def _test(self, segment: Segment) -> EdgeStep:
        """Decides one edge by the values before and after its removal."""
        number, outlook = segment.start, self._outlook
        edge, known = self._edges[number], outlook.tests.get(number)
        if known is not None:
            before, after, exact = known.before, known.after, known.borderline
        else:
            before, exact = outlook.by_then[number], False
            after = outlook.without[number] if segment.stays else outlook.by_then[number + 1]
        search = self._search
        step = search.rule.decide(
            edge, before, after, lambda: search.exact_values(edge), exact=exact
        )
        if step.kept:
            self._trials.keep(self._senders[number])
            search.screen.kept(screened=segment.screened)
        elif not segment.stays:
            outlook.by_then[number + 1] = step.after
        search.decided(step)
        return step
