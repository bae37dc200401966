"""ACDC at one receiver: its edges are decided in order, on values computed many at a time.

The walk stands at some edge; what has been decided before it is certain. Ahead of it each edge is
expected to go or to stay, and on that the metric is computed at many places in one batch:

- once all edges that are expected to go, up to some place, have gone (`_by_then`);
- for an edge that is expected to stay, with it gone as well (`_without`).

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
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Protocol

import numpy as np

from acdc_explorer.circuits.steps import EdgeStep
from acdc_explorer.engine.edge_trials import Link
from acdc_explorer.engine.prompt_slices import SlicedTrials
from acdc_explorer.graph import Edge, Graph, Receiver
from acdc_explorer.searches.chains import ChainLength
from acdc_explorer.searches.decisions import DecisionRule
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


@dataclass(frozen=True)
class _Segment:
    """Neighbouring edges that are decided by one value.

    Attributes:
        start: number of the first edge, in the order of the tests.
        stop: number of the one after the last.
        stays: whether it is expected to stay; then it is one edge.
        screened: whether they may go without a test.
    """

    start: int
    stop: int
    stays: bool = False
    screened: bool = False

    @property
    def is_test(self) -> bool:
        """Whether this is one edge, which its value decides exactly."""
        return self.stop - self.start == 1


class ReceiverWalk:
    """Decides the edges into one receiver.

    Attributes:
        n_decided: how many edges are decided by now.
    """

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
        self._search, self._graph, self._receiver = search, graph, receiver
        self._senders, self._trials = senders, trials
        self.n_decided = 0
        # What an earlier search found: its tests, and its runs of screened edges, start -> stop.
        self._tests: dict[int, EdgeStep] = {}
        self._runs: dict[int, int] = {}
        self._by_then, self._without = {0: metric}, dict[int, float]()
        # What each edge's removal should add to the metric; NaN where that is not known.
        self._predicted = np.full(len(senders), np.nan)
        # Whether edges are expected to stay: values ahead hold for the same expectations alone.
        self._stays: dict[int, bool] = {}
        # Where a run of screened edges must not go on.
        self._breaks: set[int] = set()
        # Senders whose edges have gone but are still there in the circuit of `trials`.
        self._pending: list[int] = []

    def take_over(self, known: Sequence[EdgeStep]) -> None:
        """Goes by what an earlier search says of the first edges, for as long as that holds here.

        Args:
            known: its steps, of this receiver's first edges.

        Raises:
            ValueError: if they are of other edges.
        """
        for number, step in enumerate(known):
            edge = self._edge(number)
            if step.edge != edge:
                raise ValueError(
                    f"the decisions to replay are of another search: {step.edge.id} comes where "
                    f"this one tests {edge.id}"
                )
            self._predicted[number] = step.after - step.before
            if not step.screened:
                self._tests[number] = step
        for screened, run in groupby(range(len(known)), lambda number: known[number].screened):
            numbers = list(run)
            first, last = numbers[0], numbers[-1]
            self._by_then[first] = known[first].before
            if screened:
                self._runs[first] = last + 1
                self._by_then[last + 1] = known[last].after
                continue
            for number in numbers:
                step = known[number]
                self._by_then[number + 1] = step.before if step.kept else step.after
                if step.kept:
                    self._without[number] = step.after

    def steps(self) -> Iterator[EdgeStep]:
        """Decides one edge after the other; for the next receiver, ask to the end."""
        while self.n_decided < len(self._senders):
            segments = self._segments()
            yield from self._walk(segments, self._compute(segments))
        if self._pending:
            self._trials.remove(self._pending)
        self._trials.finish()

    def _edge(self, number: int) -> Edge:
        return Edge(self._graph.senders[self._senders[number]], self._receiver)

    def _segments(self) -> list[_Segment]:
        """What comes next, with as many unknown values as are best computed together."""
        most = self._search.lengths.next(self._trials, len(self._senders) - self.n_decided)
        segments: list[_Segment] = []
        number, metric, n_unknown = self.n_decided, self._by_then[self.n_decided], 0
        while number < len(self._senders) and n_unknown < most:
            segment = self._segment_from(number, metric)
            segments.append(segment)
            if not self._is_known(segment):
                n_unknown += 1
                if self._may_surprise(segment, metric):
                    # What follows might be computed in vain.
                    break
            if not segment.stays:
                metric += self._predicted[number : segment.stop].sum()
            metric = self._by_then.get(segment.stop, metric)
            number = segment.stop
        return segments

    def _segment_from(self, number: int, metric: float) -> _Segment:
        """The edges that are decided next.

        Args:
            number: of the first one.
            metric: at that place, about.
        """
        screen = self._search.screen
        if number in self._tests:
            return _Segment(number, number + 1, stays=number in self._without)
        if not screen.share:
            return _Segment(number, number + 1)
        if number in self._runs and self._may_all_go(number, self._runs[number], metric):
            return _Segment(number, self._runs[number], screened=True)
        self._predict()
        stop = self._end_of_run(number, metric)
        if stop > number:
            self._stays.update(dict.fromkeys(range(number, stop), False))
            return _Segment(number, stop, screened=True)
        stays = screen.should_stay(metric, self._predicted[number]) and self._search.can_come_back
        return _Segment(number, number + 1, stays=self._stays.setdefault(number, stays))

    def _end_of_run(self, start: int, metric: float) -> int:
        """Up to which edge a run of screened ones goes that begins at `start`."""
        stop = start
        while (
            stop < len(self._senders)
            and (stop == start or stop not in self._breaks)
            and stop not in self._tests
            and not self._stays.get(stop, False)
            and self._may_all_go(stop, stop + 1, metric)
        ):
            metric += self._predicted[stop]
            stop += 1
        length = self._search.screen.run_length(self._predicted[start:stop])
        return min(stop, start + length)

    def _may_all_go(self, start: int, stop: int, metric: float) -> bool:
        """Whether some neighbouring edges may go untested."""
        may_go = self._search.screen.may_go
        for predicted in self._predicted[start:stop]:
            if not may_go(metric, predicted):
                return False
            metric += predicted
        return True

    def _predict(self) -> None:
        """Makes predictions for the edges of which nothing is known."""
        unknown = np.isnan(self._predicted)
        if unknown.any():
            changes = self._trials.predicted_changes()[list(self._senders)]
            self._predicted[unknown] = changes[unknown]

    def _is_known(self, segment: _Segment) -> bool:
        """Whether the value that decides a segment is at hand."""
        if segment.stays:
            return segment.start in self._without
        return segment.stop in self._by_then

    def _may_surprise(self, segment: _Segment, metric: float) -> bool:
        """Whether a segment may well be decided otherwise than expected."""
        if segment.screened:
            return False
        predicted, screen = self._predicted[segment.start], self._search.screen
        if np.isnan(predicted):
            return self._search.is_likely_to_stay(self._edge(segment.start))
        if screen.is_uncertain(metric, predicted):
            return True
        return screen.should_stay(metric, predicted) and not segment.stays

    def _compute(self, segments: Sequence[_Segment]) -> list[tuple[int, list[int]]]:
        """Computes the values of some segments that are not known.

        Returns:
            For each segment, what would make the circuit that of its end: how many links of the
            chain to accept, and which edges to remove besides.
        """
        chain, places, ends = list[Link](), list[_Segment | int](), []
        pending = list(self._pending)
        for segment in segments:
            senders = list(self._senders[segment.start : segment.stop])
            if not segment.stays:
                pending += senders
            if not self._is_known(segment):
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
                    self._by_then.setdefault(place, value)
                else:
                    self._without[place.start] = value
                    self._by_then.setdefault(place.stop, self._by_then[place.start])
        return ends

    def _walk(
        self, segments: Sequence[_Segment], ends: Sequence[tuple[int, list[int]]]
    ) -> list[EdgeStep]:
        """Decides what the values at hand decide, and brings `trials` up to date."""
        steps: list[EdgeStep] = []
        n_links, pending = 0, self._pending
        n_segments, surprised = 0, False
        for segment, (links_then, pending_then) in zip(segments, ends, strict=True):
            if segment.stop - segment.start > 1:
                of_run = self._steps_of_run(segment)
                surprised = of_run is None
                if of_run is None:
                    break
                steps += of_run
            else:
                step = self._test(segment)
                steps.append(step)
                surprised = step.kept != segment.stays
                if surprised:
                    self._forget_ahead(step)
                if surprised and not step.kept:
                    pending_then = [*pending_then, self._senders[segment.start]]
                if surprised and step.kept:
                    links_then, pending_then = n_links, pending
            n_links, pending = links_then, pending_then
            n_segments += 1
            if surprised:
                break
        self.n_decided += len(steps)
        self._trials.accept(n_links)
        self._pending = pending
        self._search.lengths.observe(max(1, n_segments), surprised)
        return steps

    def _test(self, segment: _Segment) -> EdgeStep:
        """Decides one edge by the values before and after its removal."""
        number, rule = segment.start, self._search.rule
        edge, known = self._edge(number), self._tests.get(number)
        if known is not None:
            before, after, exact = known.before, known.after, known.borderline
        else:
            before, exact = self._by_then[number], False
            after = self._without[number] if segment.stays else self._by_then[number + 1]
        if not exact and rule.is_borderline(before, after):
            exact, (before, after) = True, self._search.exact_values(edge)
        kept = rule.keeps(before, after, exact=exact)
        step = EdgeStep(edge, before, after, kept, exact)
        if kept:
            self._trials.keep(self._senders[number])
            self._search.screen.kept(screened=segment.screened)
        elif not segment.stays:
            self._by_then[number + 1] = after
        self._search.decided(step)
        return step

    def _steps_of_run(self, segment: _Segment) -> list[EdgeStep] | None:
        """Removes a run of screened edges, if its value bears out what was predicted.

        What the predictions of its edges leave unexplained is shared out among them, so that the
        last one's `after` is what was measured.
        """
        start, stop = segment.start, segment.stop
        predicted, metric, after = (
            self._predicted[start:stop],
            self._by_then[start],
            self._by_then[stop],
        )
        if start not in self._runs and not self._search.screen.believes(metric, after, predicted):
            self._breaks.add((start + stop) // 2)
            return None
        changes = predicted + (after - metric - predicted.sum()) / len(predicted)
        values = [metric, *(metric + changes.cumsum()[:-1]).tolist(), after]
        steps = [
            EdgeStep(self._edge(start + n), before, after, kept=False, screened=True)
            for n, (before, after) in enumerate(pairwise(values))
        ]
        for step in steps:
            self._search.decided(step)
        return steps

    def _forget_ahead(self, step: EdgeStep) -> None:
        """Lets go of values that hold only if this edge had been decided otherwise."""
        number = self._number_of(step)
        here = self._by_then[number] if step.kept else step.after
        self._by_then, self._without = {number + 1: here}, {}
        self._tests, self._runs, self._stays = {}, {}, {}
        self._search.replay_ends()

    def _number_of(self, step: EdgeStep) -> int:
        return self._senders.index(self._graph.sender_index[step.edge.sender])
