"""The threshold path: which circuit every threshold gives, as intervals.

All decisions of a search stay the same for every threshold between the largest change of an edge
that went and the smallest of one that stayed, so each search settles a whole interval. Thresholds
on a log grid come first, for a view of the whole; then the gaps between known intervals are halved,
widest first, and where two intervals nearly meet, the next threshold is the lower end of the upper
one, which is exact. Each search takes over the decisions of the nearest one for as long as they
hold, so an interval costs a fraction of a search.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd

from acdc_explorer.circuit import Circuit, circuit_from
from acdc_explorer.engine.engine import Engine
from acdc_explorer.files import write_text
from acdc_explorer.schema import Value, read_json
from acdc_explorer.searches.methods import search_steps
from acdc_explorer.searches.steps import SearchSettings, Step

_GRID = 12
# Intervals closer than this, relatively, meet: their ends are float32 values.
_MEETING = 1e-5
# Gaps narrower than this are walked by the ends of intervals instead of halved.
_NARROW = 1e-3
_FORMAT = "acdc_explorer.path"


@dataclass(frozen=True)
class ThresholdPath:
    """Circuits of one search at different thresholds.

    Attributes:
        circuits: the highest threshold first; each is that of its whole `valid_interval`. With a
            budget there may be gaps between the intervals.
    """

    circuits: tuple[Circuit, ...] = ()

    def with_circuit(self, circuit: Circuit) -> ThresholdPath:
        """The path with one more circuit; one already known for its interval stays."""
        if self.at(circuit.threshold) is not None:
            return self
        circuits = sorted([*self.circuits, circuit], key=lambda each: -each.threshold)
        return ThresholdPath(tuple(circuits))

    def at(self, threshold: float, margin: float = 0.0) -> Circuit | None:
        """The circuit of a threshold in the metric's units, or None if it is in a gap.

        Args:
            threshold: in the metric's units.
            margin: how far from the ends of an interval it has to be.
        """
        for circuit in self.circuits:
            low, high = circuit.valid_interval
            if low + margin < threshold <= high - margin:
                return circuit
        return None

    def nearest(self, threshold: float) -> Circuit | None:
        """The circuit whose threshold is nearest on a log scale."""
        return min(
            self.circuits, default=None, key=lambda each: abs(math.log(each.threshold / threshold))
        )

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per interval, the highest first.

        Columns: low (excluded), high (included), edges, metric, faithfulness, and meets_next:
        whether the next row's interval begins where this one ends.
        """
        rows = []
        for number, circuit in enumerate(self.circuits):
            low, high = circuit.valid_interval
            following = self.circuits[number + 1 : number + 2]
            rows.append(
                {
                    "low": low,
                    "high": high,
                    "edges": len(circuit.kept),
                    "metric": circuit.metric_value,
                    "faithfulness": circuit.faithfulness,
                    "meets_next": bool(following) and _meet(following[0], circuit),
                }
            )
        columns = ["low", "high", "edges", "metric", "faithfulness", "meets_next"]
        return pd.DataFrame(rows, columns=columns)

    @cached_property
    def scores(self) -> pd.Series:
        """Edge -> the largest threshold at which it is kept, the most important first.

        ACDC is not monotone: an edge kept at a high threshold can be missing at a lower one
        (`dropped`).
        """
        scores: dict[str, float] = {}
        for circuit in self.circuits:
            for edge in circuit.kept:
                scores.setdefault(edge, circuit.valid_interval[1])
        return pd.Series(scores, name="score", dtype=float).rename_axis("edge")

    @cached_property
    def dropped(self) -> dict[str, float]:
        """Edges that a lower threshold drops again -> the highest such threshold."""
        seen: set[str] = set()
        dropped: dict[str, float] = {}
        for circuit in self.circuits:
            kept = set(circuit.kept)
            for edge in sorted(seen - kept):
                dropped.setdefault(edge, circuit.threshold)
            seen |= kept
        return dropped

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes all circuits with their decisions as JSON (`ThresholdPath.load` reads it).

        Raises:
            ValueError: if the path is a folder's, or nothing can be written there.
        """
        data = {"format": _FORMAT, "circuits": [circuit.to_json() for circuit in self.circuits]}
        write_text(path, json.dumps(data))

    @staticmethod
    def load(path: str | os.PathLike[str]) -> ThresholdPath:
        """Reads a path from a file.

        Raises:
            FileNotFoundError: if there is none.
            ValueError: if it is no such file, or is damaged; naming the value that is wrong.
        """
        try:
            value = Value(read_json(path))
            if value["format"].data != _FORMAT:
                raise value["format"].error(repr(_FORMAT))
            return ThresholdPath(tuple(map(circuit_from, value["circuits"].items())))
        except ValueError as error:
            raise ValueError(f"{str(path)!r} is no file of a threshold path: {error}") from None


def _meet(lower: Circuit, upper: Circuit) -> bool:
    return lower.valid_interval[1] >= upper.valid_interval[0] * (1 - _MEETING)


def grid(low: float, high: float, n: int) -> Sequence[float]:
    """Thresholds evenly spaced on a log scale, the highest first."""
    return [high * (low / high) ** (step / (n - 1)) for step in range(n)]


def next_threshold(path: ThresholdPath, low: float, high: float) -> float | None:
    """The threshold to search next between two, or None if every one's circuit is known."""
    # From the top, where searches are short.
    for threshold in grid(low, high, _GRID):
        if path.at(threshold) is None and not _at_an_end(path, threshold):
            return threshold
    gaps = []
    for lower, upper in zip(path.circuits[1:], path.circuits, strict=False):
        top, bottom = upper.valid_interval[0], lower.valid_interval[1]
        if not _meet(lower, upper) and top > low and bottom < high:
            gaps.append((top / bottom, bottom, top))
    if not gaps:
        return None
    ratio, bottom, top = max(gaps)
    return top if ratio < 1 + _NARROW else math.sqrt(bottom * top)


def _at_an_end(path: ThresholdPath, threshold: float) -> bool:
    """Whether a threshold is an interval's end but for rounding."""
    ends = [end for circuit in path.circuits for end in circuit.valid_interval]
    return any(abs(end - threshold) <= _MEETING * threshold for end in ends)


def path_steps(
    model_name: str,
    engine: Engine,
    settings: SearchSettings,
    low: float,
    high: float,
    path: ThresholdPath | None = None,
) -> Iterator[Step | Circuit]:
    """Finds the circuits of all thresholds between two.

    Args:
        model_name: of the model.
        engine: model and task.
        settings: of the searches; the threshold is set anew.
        low: in the metric's units.
        high: likewise.
        path: what is known already.

    Yields:
        Every step, so that whoever drives this can do something else in between, and every circuit
        as it is found.
    """
    path = path or ThresholdPath()
    searched = {circuit.threshold for circuit in path.circuits}
    while (threshold := next_threshold(path, low, high)) is not None:
        if threshold in searched:
            # Its circuit's interval ends short of it, by rounding: there is nothing in between.
            return
        searched.add(threshold)
        nearest = path.nearest(threshold)
        at = replace(settings, threshold=threshold, threshold_text=f"{threshold:.6g}")
        steps: list[Step] = []
        for step in search_steps(engine, at, nearest.steps if nearest else ()):
            steps.append(step)
            yield step
        circuit = Circuit.of_search(model_name, engine, at, steps)
        known = path
        path = path.with_circuit(circuit)
        if path is known:
            # Rounding at the very end of an interval: nothing lies in between.
            return
        yield circuit
        if not _holds(circuit, threshold):
            # What is known does not grow, so that this would go on for ever.
            return


def _holds(circuit: Circuit, threshold: float) -> bool:
    """Whether a circuit's interval holds a threshold, but for rounding."""
    low, high = circuit.valid_interval
    rounding = _MEETING * max(1.0, abs(circuit.full_metric))
    return low - rounding < threshold <= high + rounding
