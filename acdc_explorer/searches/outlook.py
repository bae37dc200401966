"""What is known and what is expected of the edges ahead, while one receiver's are decided."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np
from jaxtyping import Float

from acdc_explorer.circuits.steps import EdgeStep
from acdc_explorer.graph import Edge
from acdc_explorer.searches.screening import Screen


@dataclass(frozen=True)
class Segment:
    """Neighbouring edges that are decided by one value.

    Attributes:
        start: number of the first edge, in the order of the tests.
        stop: number of the one after the last.
        stays: whether it is expected to stay; then it is one edge.
        screened: whether they may go without a test of their own. One that is by itself gets one.
        may_surprise: whether it may well be decided otherwise than expected.
    """

    start: int
    stop: int
    stays: bool = False
    screened: bool = False
    may_surprise: bool = False


class Outlook:
    """Values of the metric ahead, which hold if all goes as expected.

    Attributes:
        by_then: number of an edge -> the metric when all edges before it that are expected to go
            have gone.
        without: number of an edge that is expected to stay -> the metric with it gone as well.
        tests: number of an edge -> its test in an earlier search.
    """

    def __init__(
        self,
        edges: Sequence[Edge],
        metric: float,
        screen: Screen,
        *,
        can_come_back: bool,
        is_likely_to_stay: Callable[[Edge], bool],
        predict: Callable[[], Float[np.ndarray, " edge"]],
    ):
        """Knows only the metric at the first edge.

        Args:
            edges: in the order of the tests.
            metric: of the circuit as it stands.
            screen: which edges may go untested.
            can_come_back: whether values can be computed past an edge that is expected to stay.
            is_likely_to_stay: whether a test will likely keep an edge; for searches without
                predictions.
            predict: what each edge's removal should add to the metric; asked if needed, once.
        """
        self._edges, self._screen, self._can_come_back = edges, screen, can_come_back
        self._is_likely_to_stay, self._predict = is_likely_to_stay, predict
        self.by_then, self.without = {0: metric}, dict[int, float]()
        # What an earlier search found: its tests, and its runs of screened edges, start -> stop.
        self.tests: dict[int, EdgeStep] = {}
        self._runs: dict[int, int] = {}
        # NaN where nothing is predicted.
        self._predicted = np.full(len(edges), np.nan)
        # Whether edges are expected to stay: values ahead hold for the same expectations alone.
        self._stays: dict[int, bool] = {}
        # Where a run of screened edges must not go on.
        self._breaks: set[int] = set()

    def take_over(self, known: Sequence[EdgeStep]) -> None:
        """Goes by what an earlier search says of the first edges, for as long as that holds.

        Args:
            known: its steps.

        Raises:
            ValueError: if they are of other edges.
        """
        for number, step in enumerate(known):
            edge = self._edges[number]
            if step.edge != edge:
                raise ValueError(
                    f"the decisions to replay are of another search: {step.edge.id} comes where "
                    f"this one tests {edge.id}"
                )
            self._predicted[number] = step.after - step.before
            if not step.screened:
                self.tests[number] = step
        for screened, group in groupby(range(len(known)), lambda number: known[number].screened):
            numbers = list(group)
            first, stop = numbers[0], numbers[-1] + 1
            self.by_then[first] = known[first].before
            if screened:
                self._runs[first] = stop
                self.by_then[stop] = known[stop - 1].after
                continue
            for number in numbers:
                step = known[number]
                self.by_then[number + 1] = step.before if step.kept else step.after
                if step.kept:
                    self.without[number] = step.after

    def segments(self, start: int, most_unknown: int) -> Iterator[Segment]:
        """What comes next.

        Args:
            start: number of the first edge.
            most_unknown: how many of the segments at most may have values to be computed.
        """
        number, metric, n_unknown = start, self.by_then[start], 0
        while number < len(self._edges) and n_unknown < most_unknown:
            segment = self._segment_from(number, metric)
            yield segment
            if not self.is_known(segment):
                n_unknown += 1
                if segment.may_surprise:
                    # What follows might be computed in vain.
                    return
            if not segment.stays:
                metric += self._predicted[number : segment.stop].sum()
            metric = self.by_then.get(segment.stop, metric)
            number = segment.stop

    def is_known(self, segment: Segment) -> bool:
        """Whether the value that decides a segment is at hand."""
        if segment.stays:
            return segment.start in self.without
        return segment.stop in self.by_then

    def _segment_from(self, number: int, metric: float) -> Segment:
        """The edges that are decided next.

        Args:
            number: of the first one.
            metric: at that place, about.
        """
        screen, edge = self._screen, self._edges[number]
        if number in self.tests:
            return Segment(number, number + 1, stays=number in self.without)
        if not screen.share:
            return Segment(number, number + 1, may_surprise=self._is_likely_to_stay(edge))
        if number in self._runs and self._may_all_go(number, self._runs[number], metric):
            return Segment(number, self._runs[number], screened=True)
        unknown = np.isnan(self._predicted)
        if unknown.any():
            self._predicted[unknown] = self._predict()[unknown]
        stop = self._end_of_run(number, metric)
        if stop > number:
            self._stays.update(dict.fromkeys(range(number, stop), False))
            return Segment(number, stop, screened=True)
        predicted = self._predicted[number]
        should_stay = screen.should_stay(metric, predicted)
        stays = self._stays.setdefault(number, should_stay and self._can_come_back)
        surprise = screen.is_uncertain(metric, predicted) or should_stay != stays
        return Segment(number, number + 1, stays=stays, may_surprise=surprise)

    def _end_of_run(self, start: int, metric: float) -> int:
        """Up to which edge a run of screened ones goes that begins at `start`."""
        stop = start
        while (
            stop < len(self._edges)
            and (stop == start or stop not in self._breaks)
            and stop not in self.tests
            and not self._stays.get(stop, False)
            and self._may_all_go(stop, stop + 1, metric)
        ):
            metric += self._predicted[stop]
            stop += 1
        length = self._screen.run_length(self._predicted[start:stop])
        return min(stop, start + length)

    def _may_all_go(self, start: int, stop: int, metric: float) -> bool:
        """Whether some neighbouring edges may go untested."""
        for predicted in self._predicted[start:stop]:
            if not self._screen.may_go(metric, predicted):
                return False
            metric += predicted
        return True

    def steps_of_run(self, segment: Segment) -> list[EdgeStep] | None:
        """The removals of a run of screened edges.

        What the predictions of its edges leave unexplained is shared out among them, so that the
        last one's `after` is what was measured.

        Returns:
            None if its value does not bear out what was predicted. The run is then halved.
        """
        start, stop = segment.start, segment.stop
        metric, after = self.by_then[start], self.by_then[stop]
        predicted = self._predicted[start:stop]
        was_believed = self._runs.get(start) == stop
        if not was_believed and not self._screen.believes(metric, after, predicted):
            self._breaks.add((start + stop) // 2)
            return None
        changes = predicted + (after - metric - predicted.sum()) / len(predicted)
        values = [metric, *(metric + changes.cumsum()[:-1]).tolist(), after]
        return [
            EdgeStep(self._edges[start + n], before, after, kept=False, screened=True)
            for n, (before, after) in enumerate(pairwise(values))
        ]

    def forget_ahead(self, number: int, step: EdgeStep) -> None:
        """Lets go of values that hold only if an edge had been decided otherwise.

        Args:
            number: of the edge.
            step: how it has been decided.
        """
        here = self.by_then[number] if step.kept else step.after
        self.by_then, self.without = {number + 1: here}, {}
        self.tests, self._runs, self._stays = {}, {}, {}
