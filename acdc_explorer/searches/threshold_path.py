"""The threshold path: which circuit every threshold gives, as intervals.

All decisions of a search stay the same for every threshold between the largest change of an edge
that went and the smallest of one that stayed, so each search settles a whole interval. Thresholds
on a log grid come first, for a view of the whole; then the gaps between known intervals are halved,
widest first, and where two intervals nearly meet, the next threshold is the lower end of the upper
one, which is exact. Each search takes over the decisions of the nearest one for as long as they
hold, so an interval costs a fraction of a search.

Which threshold comes next depends on the intervals known, but gaps do not depend on one another:
all that are open now can be searched at once (`paths_on_workers.py`).
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.circuits.steps import Step
from acdc_explorer.circuits.threshold_path import MEETING, ThresholdPath, meet
from acdc_explorer.engine.engine import Engine
from acdc_explorer.searches.methods import circuit_of, search_steps


class FindCircuit(Protocol):
    """Finds the circuit of a threshold, by whatever means."""

    def __call__(
        self, path: ThresholdPath, next_ones: Sequence[SearchSettings], /
    ) -> Generator[Step | None, None, Circuit]:
        """Finds the first one's.

        Args:
            path: what is known by now.
            next_ones: what is to be searched for, and what will be after it, as it looks now.

        Yields:
            Steps, or None, in between.
        """


_GRID = 12
# Gaps narrower than this are walked by the ends of intervals instead of halved.
_NARROW = 1e-3


def grid(low: float, high: float, n: int) -> Sequence[float]:
    """Thresholds evenly spaced on a log scale, the highest first."""
    return [high * (low / high) ** (step / (n - 1)) for step in range(n)]


def next_thresholds(path: ThresholdPath, low: float, high: float) -> list[float]:
    """The thresholds to search next between two, the first one first; none if all is known.

    Each will be searched, unless the interval of one before it turns out to hold it.
    """
    # From the top, where searches are short.
    first = [
        threshold
        for threshold in grid(low, high, _GRID)
        if path.at(threshold) is None and not _at_an_end(path, threshold)
    ]
    if first:
        return first
    gaps = []
    for lower, upper in zip(path.circuits[1:], path.circuits, strict=False):
        top, bottom = upper.valid_interval[0], lower.valid_interval[1]
        if not meet(lower, upper) and top > low and bottom < high:
            gaps.append((top / bottom, bottom, top))
    return [
        top if ratio < 1 + _NARROW else math.sqrt(bottom * top)
        for ratio, bottom, top in sorted(gaps, reverse=True)
    ]


def _at_an_end(path: ThresholdPath, threshold: float) -> bool:
    """Whether a threshold is an interval's end but for rounding."""
    ends = [end for circuit in path.circuits for end in circuit.valid_interval]
    return any(abs(end - threshold) <= MEETING * threshold for end in ends)


def path_steps(
    model_name: str,
    engine: Engine,
    settings: SearchSettings,
    low: float,
    high: float,
    path: ThresholdPath | None = None,
    find: FindCircuit | None = None,
) -> Iterator[Step | Circuit | None]:
    """Finds the circuits of all thresholds between two.

    Args:
        model_name: of the model.
        engine: model and task.
        settings: of the searches; the threshold is set anew.
        low: in the metric's units.
        high: likewise.
        path: what is known already.
        find: finds the circuits; by default, a search in this process.

    Yields:
        Every step, so that whoever drives this can do something else in between, and every circuit
        as it is found; None where a search elsewhere has ended.
    """
    path, find = path or ThresholdPath(), find or partial(_search, model_name, engine)
    searched = {circuit.threshold for circuit in path.circuits}
    while thresholds := next_thresholds(path, low, high):
        threshold = thresholds[0]
        if threshold in searched:
            # Its circuit's interval ends short of it, by rounding: there is nothing in between.
            return
        searched.add(threshold)
        circuit = yield from find(path, [at_threshold(settings, each) for each in thresholds])
        known = path
        path = path.with_circuit(circuit)
        if path is known:
            # Rounding at the very end of an interval: nothing lies in between.
            return
        yield circuit
        if not _holds(circuit, threshold):
            # What is known does not grow, so that this would go on for ever.
            return


def at_threshold(settings: SearchSettings, threshold: float) -> SearchSettings:
    """The settings of a path's search at one threshold."""
    return replace(settings, threshold=threshold, threshold_text=f"{threshold:.6g}")


def _search(
    model_name: str, engine: Engine, path: ThresholdPath, next_ones: Sequence[SearchSettings]
) -> Generator[Step, None, Circuit]:
    """Searches at the first of some thresholds, in this process."""
    settings = next_ones[0]
    nearest = path.nearest(settings.threshold)
    steps: list[Step] = []
    for step in search_steps(engine, settings, nearest.steps if nearest else ()):
        steps.append(step)
        yield step
    return circuit_of(model_name, engine, settings, steps)


def _holds(circuit: Circuit, threshold: float) -> bool:
    """Whether a circuit's interval holds a threshold, but for rounding."""
    low, high = circuit.valid_interval
    rounding = MEETING * max(1.0, abs(circuit.full_metric))
    return low - rounding < threshold <= high + rounding
