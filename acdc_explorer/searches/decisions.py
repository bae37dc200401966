"""What both searches share: when an edge stays, and when float64 has to say so."""

from __future__ import annotations

import math

from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.engine.engine import Engine

# Changes this close to the threshold, relative to the size of the metric's values, are decided in
# float64. Rounding differs between batch shapes by some 1e-6 (measured in tests/test_search.py).
BORDERLINE = 1e-5


class DecisionRule:
    """Compares changes of the metric with the threshold."""

    def __init__(self, engine: Engine, settings: SearchSettings):
        """Takes rule and threshold from the settings, sizes from the engine."""
        self._settings, self._engine = settings, engine
        self._tolerance = BORDERLINE * max(1.0, engine.clean_by_prompt.abs().max().item())

    def is_borderline(self, before: float, after: float) -> bool:
        """Whether rounding could decide."""
        return abs(self._distance(before, after, self._engine.full_metric)) <= self._tolerance

    def keeps(self, before: float, after: float, *, exact: bool = False) -> bool:
        """Whether an edge stays.

        Args:
            before: the metric with it.
            after: the metric without it.
            exact: whether both were computed in float64.
        """
        engine = self._engine.in_float64 if exact else self._engine
        return self._distance(before, after, engine.full_metric) >= 0

    def _distance(self, before: float, after: float, full: float) -> float:
        """How far a change is above the threshold; negative if the edge goes."""
        settings, metric = self._settings, self._engine.metric
        if not math.isfinite(after):
            raise ValueError(
                f"metric {metric.name!r} is {after} once an edge is removed; a search needs finite "
                "values"
            )
        return settings.change(before, after, full, metric.higher_is_better) - settings.threshold
