"""What both searches share: when an edge stays, and when float64 has to say so."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool

from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.circuits.steps import EdgeStep
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.evaluate import evaluate_removed
from acdc_explorer.engine.removed_edges import RemovedEdges
from acdc_explorer.engine.scoring import mean_metric
from acdc_explorer.graph import Edge
from acdc_explorer.searches.avoided import AvoidedEdges

# Changes this close to the threshold, relative to the size of the metric's values, are decided in
# float64. Rounding differs between batch shapes by some 1e-6 (measured in tests/test_search.py).
BORDERLINE = 1e-5


class DecisionRule:
    """Compares changes of the metric with the threshold."""

    def __init__(
        self, engine: Engine, settings: SearchSettings, avoided: AvoidedEdges | None = None
    ):
        """Takes rule and threshold from the settings, sizes from the engine.

        Args:
            engine: that is searched.
            settings: of the search.
            avoided: edges with a higher threshold.
        """
        self._settings, self._engine, self._avoided = settings, engine, avoided
        self._tolerance = BORDERLINE * max(1.0, engine.clean_by_prompt.abs().max().item())

    def is_borderline(self, edge: Edge, before: float, after: float) -> bool:
        """Whether rounding could decide."""
        distance = self._distance(edge, before, after, self._engine.full_metric)
        return abs(distance) <= self._tolerance

    def keeps(self, edge: Edge, before: float, after: float, *, exact: bool = False) -> bool:
        """Whether an edge stays.

        Args:
            edge: the edge.
            before: the metric with it.
            after: the metric without it.
            exact: whether both were computed in float64.
        """
        engine = self._engine.in_float64 if exact else self._engine
        return self._distance(edge, before, after, engine.full_metric) >= 0

    def decide(
        self,
        edge: Edge,
        before: float,
        after: float,
        exact_values: Callable[[], tuple[float, float]],
        *,
        exact: bool = False,
    ) -> EdgeStep:
        """Decides an edge by the values before and after, or in float64 if rounding could decide.

        Args:
            edge: the edge.
            before: the metric with it.
            after: the metric without it.
            exact_values: both in float64; asked if need be.
            exact: whether both are in float64 already.
        """
        if not exact and self.is_borderline(edge, before, after):
            exact, (before, after) = True, exact_values()
        kept = self.keeps(edge, before, after, exact=exact)
        return EdgeStep(edge, before, after, kept, exact)

    def _distance(self, edge: Edge, before: float, after: float, full: float) -> float:
        """How far a change is above an edge's threshold; negative if the edge goes."""
        settings, metric = self._settings, self._engine.metric
        if not math.isfinite(after):
            raise ValueError(
                f"metric {metric.name!r} is {after} once an edge is removed; a search needs finite "
                "values"
            )
        threshold = settings.threshold * (self._avoided.penalty_of(edge) if self._avoided else 1.0)
        return settings.change(before, after, full, metric.higher_is_better) - threshold


def exact_values(
    engine: Engine, removed: Bool[np.ndarray, "receiver sender"], edge: Edge
) -> tuple[float, float]:
    """The metric before and after removing an edge, in float64.

    Args:
        engine: model and task.
        removed: the edges removed before.
        edge: not one of them.
    """
    after = removed.copy()
    after[engine.graph.cell(edge)] = True
    # Together, so that what lies upstream of the edge is computed once.
    circuits = [RemovedEdges(removed), RemovedEdges(after)]
    values = evaluate_removed(engine.in_float64, circuits)
    return mean_metric(values[0]), mean_metric(values[1])
