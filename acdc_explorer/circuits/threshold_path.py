"""The circuits of one kind of search at different thresholds, each that of an interval of them."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from acdc_explorer.checked_json import Value, read_json
from acdc_explorer.circuits.circuit import Circuit, circuit_from
from acdc_explorer.files import write_text

# Intervals closer than this, relatively, meet: their ends are float32 values.
MEETING = 1e-5
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
                    "meets_next": bool(following) and meet(following[0], circuit),
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
        data = {"format": _FORMAT, "circuits": [circuit.to_dict() for circuit in self.circuits]}
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


def meet(lower: Circuit, upper: Circuit) -> bool:
    """Whether no threshold lies between the intervals of two circuits."""
    return lower.valid_interval[1] >= upper.valid_interval[0] * (1 - MEETING)
