"""The invisible points along drawn edges that take clicks: which edges lie near one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acdc_explorer.explorer.drawing.curves import HIT_POINTS, Curves, Floats
from acdc_explorer.explorer.drawing.shown import DrawnEdge

# Clicks this near a curve mean it too, in pixels.
_NEAR = 7.0
_MOST = 8


@dataclass(frozen=True)
class Hits:
    """The points of all curves.

    Attributes:
        edges: of every curve, what it draws.
        x: of its points [curve, point].
        y: likewise.
    """

    edges: Sequence[DrawnEdge]
    x: Floats
    y: Floats

    @staticmethod
    def none() -> Hits:
        """Where nothing is drawn."""
        empty = np.zeros((0, 1), dtype=np.float32)
        return Hits([], empty, empty)

    @staticmethod
    def of(curves: Curves, edges: Sequence[DrawnEdge]) -> Hits:
        """Of curves, and what each of them draws."""
        return Hits(edges, curves.x[:, HIT_POINTS], curves.y[:, HIT_POINTS])

    @property
    def per_curve(self) -> int:
        """How many points each curve has."""
        return self.x.shape[1]

    def at(self, point: int, pixels: NDArray[Any], zoom: float) -> list[str]:
        """Ids of the edges that a click on a point may mean, the likeliest first.

        Args:
            point: its number among all points.
            pixels: as for `near`.
            zoom: likewise.
        """
        clicked = self.edges[point // self.per_curve]
        near = self.near(self.x.ravel()[point], self.y.ravel()[point], pixels, zoom)
        return [*dict.fromkeys([*(edge.id for edge in clicked.all_edges), *near])][:_MOST]

    def near(self, x: float, y: float, pixels: NDArray[Any], zoom: float) -> list[str]:
        """Ids of the edges that have a point within a few pixels, the nearest first.

        Args:
            x: in the units of the axes.
            y: likewise.
            pixels: of a unit of each axis.
            zoom: the part of the axis that is seen, as a share.
        """
        if not self.edges:
            return []
        across, up = pixels
        distance = np.hypot((self.x - x) * across, (self.y - y) * up).min(1)
        order = np.argsort(distance, kind="stable")
        near = [self.edges[curve] for curve in order if distance[curve] < _NEAR * zoom]
        return [edge.id for each in near for edge in each.all_edges][:_MOST]
