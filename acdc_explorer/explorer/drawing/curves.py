"""The curves by which edges are drawn: upwards, into a port of their own, around other nodes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

CURVE_POINTS = 9
# Clicks hit the middle of a curve only: near their ends edges run together.
HIT_POINTS = slice(2, 7)
# How far an edge may be bent sideways to go around a node, in pixels; the least that does it.
_BENDS = (0.0, 22.0, -22.0, 44.0, -44.0, 75.0, -75.0, 120.0, -120.0, 180.0, -180.0)
# Between an edge's line and the rim of a node that it passes, in pixels.
_CLEARANCE = 2.0
_LEFT_PICTURE = 1000


@dataclass(frozen=True)
class Curves:
    """Curves of edges; an edge has several where its receiver is drawn at several places.

    Attributes:
        edge: number of the edge of each curve.
        x: [curve, CURVE_POINTS].
        y: likewise.
    """

    edge: NDArray[np.int64]
    x: Floats
    y: Floats


@dataclass(frozen=True)
class Ends:
    """From where to where curves go, and how they set off. All in the units of the axes.

    Attributes:
        start: [curve, 2], the middle of the sender.
        end: [curve, 2], the middle of the receiver.
        port: [curve], how far beside its middle a curve arrives.
        upright: [curve], whether both stand in one column, where straight lines would coincide.
    """

    start: NDArray[np.float64]
    end: NDArray[np.float64]
    port: NDArray[np.float64]
    upright: NDArray[np.bool_]

    def rows(self, chosen: NDArray[np.int64]) -> Ends:
        """Some of them."""
        return Ends(self.start[chosen], self.end[chosen], self.port[chosen], self.upright[chosen])

    def bezier(self, bend: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points [curve, time, 2] of cubic Bézier curves that leave upwards and arrive from below.

        Args:
            bend: [curve], how far they are bent sideways beyond what they are anyway.
            times: where on the curve, from 0 to 1.
        """
        end = self.end + np.stack([self.port, np.zeros_like(self.port)], 1)
        rise = end[:, 1] - self.start[:, 1]
        reach = np.maximum(0.3, 0.45 * rise)
        # Longer ones more, but never out of the picture.
        bow = np.where(self.upright, 1.1 * rise / (np.abs(rise) + 5), 0.0) + 2 * self.port + bend
        control1 = self.start + np.stack([bow, reach], 1)
        control2 = end + np.stack([bow, -reach], 1)
        t = times[None, :, None]
        return np.asarray(
            (1 - t) ** 3 * self.start[:, None]
            + 3 * (1 - t) ** 2 * t * control1[:, None]
            + 3 * (1 - t) * t**2 * control2[:, None]
            + t**3 * end[:, None]
        )


def bends_around(
    ends: Ends,
    obstacles: NDArray[np.float64],
    radius: float,
    pixels: NDArray[np.float64],
    x_range: tuple[float, float],
) -> NDArray[np.float64]:
    """How far to bend each curve so that it does not run behind nodes that it does not touch.

    Args:
        ends: of the curves.
        obstacles: [node, 2], the middles of the nodes; those at a curve's own ends do not count.
        radius: of a node, in pixels.
        pixels: [2], per unit of the x and of the y axis.
        x_range: which curves must not leave.

    Returns:
        [curve], in units of the x axis: of the bends tried the smallest that clears all nodes, or
        else the one that crosses the fewest.
    """
    n_curves = len(ends.start)
    best = np.zeros(n_curves)
    if not n_curves or not len(obstacles):
        return best
    # Those that are drawn, and three between each two.
    times = np.linspace(0, 1, 4 * CURVE_POINTS - 3)[1:-1]
    places = (obstacles * pixels).astype(np.float32)
    foreign = np.ones((n_curves, len(places)), dtype=bool)
    for end in (ends.start, ends.end):
        foreign &= np.abs((end * pixels)[:, None] - places).max(-1) > 1.0
    crossed = np.full(n_curves, np.iinfo(np.int64).max)
    for aside in _BENDS:
        left = np.flatnonzero(crossed > 0)
        if not len(left):
            break
        tried, bend = ends.rows(left), aside / pixels[0]
        points = tried.bezier(np.full(len(left), bend), times)
        near = _near(points * pixels, places, radius + _CLEARANCE) & foreign[left]
        n_crossed = near.sum(1) + _LEFT_PICTURE * _leaves(points[..., 0], x_range)
        better = n_crossed < crossed[left]
        rows = left[better]
        best[rows], crossed[rows] = bend, n_crossed[better]
    return best


def _near(points: NDArray[np.float64], places: Floats, distance: float) -> NDArray[np.bool_]:
    """[curve, place]: whether a curve passes a place nearer than a distance."""
    of_curves = points.astype(np.float32)
    apart = (of_curves[:, :, None, 0] - places[:, 0]) ** 2
    apart += (of_curves[:, :, None, 1] - places[:, 1]) ** 2
    return np.asarray(apart.min(1) < distance**2)


def _leaves(x: NDArray[np.float64], x_range: tuple[float, float]) -> NDArray[np.bool_]:
    return np.asarray((x.min(1) < x_range[0]) | (x.max(1) > x_range[1]))


def with_gaps(values: Floats) -> Floats:
    """Flattens curves [edge, point] into one line with a NaN after each curve."""
    gaps = np.full((len(values), 1), np.nan, dtype=np.float32)
    return np.concatenate([values, gaps], 1).ravel()
