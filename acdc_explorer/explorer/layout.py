"""Where nodes and edges lie: layers from bottom to top, heads at their index, MLPs on the right.

Positions depend on the model's shape alone, so nothing moves while edges come and go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from acdc_explorer.graph import Edge, Graph, Node

Floats = NDArray[np.float32]

CURVE_POINTS = 9
# Clicks hit the middle of a curve only: near their ends edges run together.
HIT_POINTS = slice(2, 7)
_MLP_RISE = 0.5
_PORT_SIDE = {"q": -1.0, "k": 0.0, "v": 1.0, "other": 0.0}


@dataclass(frozen=True)
class LayerLayout:
    """Coordinates for one model shape.

    Attributes:
        graph: the nodes to place.
    """

    graph: Graph

    @cached_property
    def _mlp_x(self) -> float:
        return self.graph.n_heads + 0.3

    @cached_property
    def _port(self) -> float:
        """How far q and v ports lie beside a head's middle: about ten pixels on a usual screen."""
        return 0.013 * (self.graph.n_heads + 2)

    def xy(self, node: Node) -> tuple[float, float]:
        """The place of a node."""
        middle = (self.graph.n_heads - 1) / 2
        if node.kind == "input":
            return middle, -1.0
        if node.kind == "logits":
            return middle, float(self.graph.n_layers)
        if node.kind == "mlp":
            # After the heads of its block, which feed it.
            return self._mlp_x, node.layer + _MLP_RISE
        return float(node.head), float(node.layer)

    @property
    def x_ticks(self) -> tuple[list[float], list[str]]:
        """Where columns are and what they are called."""
        heads = range(self.graph.n_heads)
        at, names = [*map(float, heads)], [f"H{head}" for head in heads]
        return ([*at, self._mlp_x], [*names, "MLP"]) if self.graph.has_mlps else (at, names)

    @property
    def y_ticks(self) -> tuple[list[float], list[str]]:
        """Where rows are and what they are called."""
        layers = range(self.graph.n_layers)
        names = ["input", *(f"L{layer}" for layer in layers), "logits"]
        return [float(row) for row in range(-1, self.graph.n_layers + 1)], names

    @property
    def x_range(self) -> tuple[float, float]:
        """The part of the x axis to show."""
        return -0.7, self._mlp_x + 0.85

    @property
    def y_range(self) -> tuple[float, float]:
        """The part of the y axis to show."""
        return -1.45, self.graph.n_layers + 0.45

    def curves(self, edges: Sequence[Edge]) -> tuple[Floats, Floats]:
        """The curves of edges: x and y, each [edge, CURVE_POINTS].

        Cubic Bézier curves that leave upwards and arrive from below, at a port of their own for q,
        k and v.
        """
        if not edges:
            empty = np.zeros((0, CURVE_POINTS), dtype=np.float32)
            return empty, empty
        start = np.array([self.xy(edge.sender) for edge in edges])
        end = np.array([self.xy(edge.receiver.node) for edge in edges])
        side = np.array([_PORT_SIDE[edge.kind] for edge in edges]) * self._port
        end[:, 0] += side
        rise = end[:, 1] - start[:, 1]
        reach = np.maximum(0.3, 0.45 * rise)
        # Straight up and down one column several edges would coincide: bow them sideways.
        upright = np.abs(end[:, 0] - side - start[:, 0]) < 1e-6
        # Longer ones more, but never out of the picture.
        bow = np.where(upright, 1.1 * rise / (rise + 5) + 2 * side, 2 * side)
        control1 = start + np.stack([bow, reach], 1)
        control2 = end + np.stack([bow, -reach], 1)
        t = np.linspace(0, 1, CURVE_POINTS)[None, :, None]
        points = (
            (1 - t) ** 3 * start[:, None]
            + 3 * (1 - t) ** 2 * t * control1[:, None]
            + 3 * (1 - t) * t**2 * control2[:, None]
            + t**3 * end[:, None]
        ).astype(np.float32)
        return points[..., 0], points[..., 1]


def with_gaps(values: Floats) -> Floats:
    """Flattens curves [edge, point] into one line with a NaN after each curve."""
    gaps = np.full((len(values), 1), np.nan, dtype=np.float32)
    return np.concatenate([values, gaps], 1).ravel()
