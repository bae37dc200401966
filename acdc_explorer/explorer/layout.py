"""Where nodes and edges lie: layers from bottom to top; columns are heads, or position labels.

In the layer layout places depend on the model's shape alone, so nothing moves while edges come and
go. In the position layout a node stands in the column of every label at which it is part of the
circuit, and a column is as wide as its busiest cell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from acdc_explorer.graph import END, LOGITS, REST, Edge, Graph, Node

Floats = NDArray[np.float32]

CURVE_POINTS = 9
# Clicks hit the middle of a curve only: near their ends edges run together.
HIT_POINTS = slice(2, 7)
_MLP_RISE = 0.5
_PORT_SIDE = {"q": -1.0, "k": 0.0, "v": 1.0, "other": 0.0}
_COLUMN_GAP = 0.9


@dataclass(frozen=True)
class Spot:
    """A place at which a node is drawn.

    Attributes:
        node: the node.
        label: of the positions that it stands for there; None: all.
        x: in columns.
        y: in layers.
    """

    node: Node
    label: str | None
    x: float
    y: float


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


class Layout:
    """What both layouts share.

    Attributes:
        graph: the model's.
        name: of the view, on which the user's zoom depends.
        spots: every place of a node.
        x_ticks: where columns are, and what they are called.
        x_range: the part of the x axis to show.
        separators: where columns end, on the x axis.
    """

    graph: Graph
    name: str
    spots: list[Spot]
    x_ticks: tuple[list[float], list[str]]
    x_range: tuple[float, float]
    separators: list[float]

    @property
    def y_ticks(self) -> tuple[list[float], list[str]]:
        """Where rows are and what they are called."""
        layers = range(self.graph.n_layers)
        names = ["input", *(f"L{layer}" for layer in layers), "logits"]
        return [float(row) for row in range(-1, self.graph.n_layers + 1)], names

    @property
    def y_range(self) -> tuple[float, float]:
        """The part of the y axis to show."""
        return -1.45, self.graph.n_layers + 0.45

    @cached_property
    def _spots_of(self) -> dict[Node, list[Spot]]:
        spots: dict[Node, list[Spot]] = {}
        for spot in self.spots:
            spots.setdefault(spot.node, []).append(spot)
        return spots

    def spots_of(self, node: Node) -> list[Spot]:
        """Every place of one node."""
        return self._spots_of.get(node, [])

    def ends(self, edge: Edge) -> list[tuple[Spot, Spot]]:
        """From where to where an edge is drawn; none if one of its ends has no place."""
        raise NotImplementedError

    def curves(self, edges: Sequence[Edge]) -> Curves:
        """The curves of edges.

        Cubic Bézier curves that leave upwards and arrive from below, at a port of their own for q,
        k and v.
        """
        drawn = [(number, *ends) for number, edge in enumerate(edges) for ends in self.ends(edge)]
        if not drawn:
            empty = np.zeros((0, CURVE_POINTS), dtype=np.float32)
            return Curves(np.zeros(0, dtype=np.int64), empty, empty)
        start = np.array([(spot.x, spot.y) for _, spot, _ in drawn])
        end = np.array([(spot.x, spot.y) for _, _, spot in drawn])
        # How far q and v ports lie beside a head's middle: about ten pixels on a usual screen.
        port = 0.013 * (self.x_range[1] - self.x_range[0])
        side = np.array([_PORT_SIDE[edges[number].kind] for number, _, _ in drawn]) * port
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
        numbers = np.array([number for number, _, _ in drawn])
        return Curves(numbers, points[..., 0], points[..., 1])


class LayerLayout(Layout):
    """Heads at their index, MLPs in a column on the right."""

    def __init__(self, graph: Graph):
        """Places all nodes of a model."""
        self.graph, self.name = graph, f"{graph.n_layers}x{graph.n_heads}"
        self._mlp_x = graph.n_heads + 0.3
        self.spots = [Spot(node, None, *self._xy(node)) for node in graph.nodes]
        at, names = [*map(float, range(graph.n_heads))], [f"H{h}" for h in range(graph.n_heads)]
        if graph.has_mlps:
            at, names = [*at, self._mlp_x], [*names, "MLP"]
        self.x_ticks = at, names
        self.x_range = -0.7, self._mlp_x + 0.85
        self.separators = []

    def _xy(self, node: Node) -> tuple[float, float]:
        middle = (self.graph.n_heads - 1) / 2
        if node.kind == "mlp":
            # After the heads of its block, which feed it.
            return self._mlp_x, node.layer + _MLP_RISE
        if node.kind == "head":
            return float(node.head), float(node.layer)
        return middle, -1.0 if node != LOGITS else float(self.graph.n_layers)

    def ends(self, edge: Edge) -> list[tuple[Spot, Spot]]:
        """One curve for each edge."""
        return [(self.spots_of(edge.sender)[0], self.spots_of(edge.receiver.node)[0])]


class PositionLayout(Layout):
    """Columns are position labels, in the order of the prompt; the positions without one first.

    Attention moves information between columns: an edge into a key or value goes from the position
    that is read to those at which the head's output is used.
    """

    def __init__(
        self,
        graph: Graph,
        kept: Sequence[Edge],
        labels: Mapping[str, str],
        sees: Callable[[str, str], bool],
    ):
        """Places the nodes of a circuit.

        Args:
            graph: the model's, with position labels.
            kept: the circuit's edges.
            labels: the position labels in the order of the prompt, each with what it is called
                below its column.
            sees: whether a query at the first label can attend to a key at the second.
        """
        self.graph, self.name = graph, f"positions {graph.n_layers}x{graph.n_heads} {[*labels]}"
        self._sees = sees
        self._used_at: dict[Node, set[str]] = {LOGITS: {END}}
        for edge in kept:
            self._used_at.setdefault(edge.sender, set()).add(edge.receiver.position or REST)
        self.spots, self.separators = [], []
        at: list[float] = []
        edge_x = -0.5
        for label in labels:
            here = [node for node, used in self._used_at.items() if label in used]
            rows: dict[float, list[Node]] = {}
            for node in sorted(here, key=lambda node: node.head):
                rows.setdefault(self._row(node), []).append(node)
            width = max([1, *map(len, rows.values())])
            middle = edge_x + _COLUMN_GAP / 2 + width / 2
            for y, nodes in rows.items():
                left = middle - (len(nodes) - 1) / 2
                self.spots += [Spot(node, label, left + i, y) for i, node in enumerate(nodes)]
            at.append(middle)
            edge_x += width + _COLUMN_GAP
            self.separators.append(edge_x)
        self.separators.pop()
        self.x_ticks = at, [*labels.values()]
        self.x_range = -0.5, edge_x
        self._spot_at = {(spot.node, spot.label): spot for spot in self.spots}

    def _row(self, node: Node) -> float:
        if node.kind == "mlp":
            return node.layer + _MLP_RISE
        if node.kind == "head":
            return float(node.layer)
        return -1.0 if node != LOGITS else float(self.graph.n_layers)

    def ends(self, edge: Edge) -> list[tuple[Spot, Spot]]:
        """A curve to every place of the receiver that uses what it reads there."""
        node, label = edge.receiver.node, edge.receiver.position
        start = self._spot_at.get((edge.sender, label))
        if start is None or label is None:
            return []
        if node.kind == "head" and edge.receiver.qkv != "q":
            used = [used for used in self._used_at.get(node, ()) if self._sees(used, label)]
        else:
            used = [label]
        ends = [self._spot_at[node, each] for each in used if (node, each) in self._spot_at]
        return [(start, end) for end in ends]


def with_gaps(values: Floats) -> Floats:
    """Flattens curves [edge, point] into one line with a NaN after each curve."""
    gaps = np.full((len(values), 1), np.nan, dtype=np.float32)
    return np.concatenate([values, gaps], 1).ravel()
