"""Where nodes and edges lie: layers from bottom to top; columns are heads, or position labels.

In the layer layout places depend on the model's shape alone, so nothing moves while edges come and
go; once a search has ended, the layers of a deep model and the heads of a wide one that the circuit
does without can be folded away. In the position layout a node stands in the column of every label
at which it is part of the circuit, and a column is as wide as its busiest cell.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from acdc_explorer.explorer.drawing.closed_groups import NO_GROUPS, ClosedGroups
from acdc_explorer.explorer.drawing.curves import CURVE_POINTS, Curves, Ends, bends_around
from acdc_explorer.explorer.drawing.rows import MLP_RISE, Rows
from acdc_explorer.graph import END, LOGITS, REST, Edge, Graph, Node

# Which way -> where that is, on the axes.
_WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, 1), "down": (0, -1)}
_PORT_SIDE = {"q": -1.0, "k": 0.0, "v": 1.0, "other": 0.0}
# Between columns of positions, and what one takes in which nothing stands, in nodes.
_COLUMN_GAP, _EMPTY_COLUMN = 0.7, 0.35
# The plot is about so wide where the explorer has the room that it needs; and at most so tall.
_WIDTH, _MAX_HEIGHT, _ROW_HEIGHT = 560.0, 720.0, 92.0
# The axes' names take so much of the height.
_FRAME = 60.0
_LARGEST_NODE, _SMALLEST_NODE = 27.0, 11.0
# Of the room between rows, and between columns, what a node may take.
_ROW_SHARE, _COLUMN_SHARE = 0.85, 0.95
# Models of more layers (heads) are folded.
_DEEP, _WIDE = 12, 12


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


class Layout:
    """What both layouts share.

    Attributes:
        graph: the model's.
        name: of the view, on which the user's zoom depends.
        rows: the places of the layers.
        spots: every place of a node.
        x_ticks: where columns are, and what they are called.
        x_range: the part of the x axis to show.
        separators: where columns end, on the x axis.
        closed: groups that are drawn as one node.
    """

    graph: Graph
    name: str
    rows: Rows
    spots: list[Spot]
    x_ticks: tuple[list[float], list[str]]
    x_range: tuple[float, float]
    separators: list[float]
    closed: ClosedGroups = NO_GROUPS

    @cached_property
    def _spots_of(self) -> dict[Node, list[Spot]]:
        spots: dict[Node, list[Spot]] = {}
        for spot in self.spots:
            spots.setdefault(spot.node, []).append(spot)
        return spots

    def spots_of(self, node: Node) -> list[Spot]:
        """Every place of one node; of a member of a closed group, the group's."""
        return self._spots_of.get(self.closed.place(node), [])

    def neighbour(self, node: Node, way: str, among: Collection[Node]) -> Node | None:
        """The nearest node that way: of the next row, or within the row.

        Args:
            node: from where.
            way: "left", "right", "up" or "down".
            among: nodes to which it may lead.

        Returns:
            None: there is none that way.
        """
        along = np.array(_WAYS[way])
        found = []
        for start in self.spots_of(node):
            for spot in self.spots:
                step = np.array([spot.x - start.x, spot.y - start.y]) * self.pixels
                ahead, aside = round(float(step @ along)), abs(float(step @ along[::-1]))
                is_that_way = ahead > 0 and (along[1] or aside < 1)
                if is_that_way and spot.node != node and spot.node in among:
                    found.append((ahead, aside, spot.node))
        return min(found, default=(0, 0.0, None), key=lambda each: each[:2])[2]

    def ends(self, edge: Edge) -> list[tuple[Spot, Spot]]:
        """From where to where an edge is drawn; none if one of its ends has no place."""
        raise NotImplementedError

    @property
    def can_fold(self) -> bool:
        """Whether the model is so deep or wide that parts of it can be folded."""
        return self.graph.n_layers > _DEEP

    @property
    def height(self) -> float:
        """Of the figure, in pixels, where the window is tall enough."""
        return min(_MAX_HEIGHT, _FRAME + _ROW_HEIGHT * self.rows.height)

    @cached_property
    def pixels(self) -> np.ndarray:
        """[2], about how many there are per unit of the x and of the y axis."""
        across = _WIDTH / (self.x_range[1] - self.x_range[0])
        return np.array([across, (self.height - _FRAME) / self.rows.height])

    @cached_property
    def node_size(self) -> float:
        """The diameter of a node that shows its name, in pixels: as much as its row has room."""
        room = min(_COLUMN_SHARE * self.pixels[0], _ROW_SHARE * self.pixels[1])
        return float(np.clip(room, _SMALLEST_NODE, _LARGEST_NODE))

    def curves(
        self, edges: Sequence[Edge], around: Collection[Node] = (), zoom: float = 1.0
    ) -> Curves:
        """The curves of edges.

        Cubic Bézier curves that leave upwards and arrive from below, at a port of their own for q,
        k and v.

        Args:
            edges: to draw.
            around: nodes that edges of other nodes should not run behind.
            zoom: the part of the x axis that is seen: ports stay on their nodes, whose size is one
                of pixels.
        """
        drawn = [(number, *ends) for number, edge in enumerate(edges) for ends in self.ends(edge)]
        if not drawn:
            empty = np.zeros((0, CURVE_POINTS), dtype=np.float32)
            return Curves(np.zeros(0, dtype=np.int64), empty, empty)
        start = np.array([(spot.x, spot.y) for _, spot, _ in drawn])
        end = np.array([(spot.x, spot.y) for _, _, spot in drawn])
        # q and v ports lie a third of a node beside its middle.
        port = zoom * self.node_size / 3 / self.pixels[0]
        side = np.array([_PORT_SIDE[edges[number].kind] for number, _, _ in drawn])
        ends = Ends(start, end, side * port, np.abs(end[:, 0] - start[:, 0]) < 1e-6)
        obstacles = [(spot.x, spot.y) for node in around for spot in self.spots_of(node)]
        places = np.array(obstacles, dtype=np.float64).reshape(-1, 2)
        bend = bends_around(ends, places, self.node_size / 2, self.pixels, self.x_range)
        points = ends.bezier(bend, np.linspace(0, 1, CURVE_POINTS)).astype(np.float32)
        numbers = np.array([number for number, _, _ in drawn])
        return Curves(numbers, points[..., 0], points[..., 1])


class LayerLayout(Layout):
    """Heads at their index, MLPs in a column on the right."""

    def __init__(
        self,
        graph: Graph,
        used: Collection[Node] | None = None,
        opened: Collection[int] = (),
        closed: ClosedGroups = NO_GROUPS,
    ):
        """Places all nodes of a model.

        Args:
            graph: of the model.
            used: nodes that must be seen. Given, a deep model's layers and a wide one's heads that
                have none of them are folded.
            opened: layers that are not folded nevertheless.
            closed: groups that are drawn as one node.
        """
        self.graph, self.closed = graph, closed
        used = None if used is None else {closed.place(node) for node in used}
        is_deep = used is not None and graph.n_layers > _DEEP
        layers = {*opened, *(node.layer for node in used or ())} if is_deep else None
        self.rows = Rows(graph.n_layers, layers)
        folds = [fold.name for fold in self.rows.folds]
        heads = list(range(graph.n_heads))
        if used is not None and graph.n_heads > _WIDE:
            # One at least, above which input and logits can stand.
            heads = sorted({node.head for node in used if node.kind == "head"}) or [0]
        self._column = {head: float(column) for column, head in enumerate(heads)}
        folded = [folds, heads if len(heads) < graph.n_heads else []]
        self.name = f"{graph.n_layers}x{graph.n_heads} {folded}"
        self._mlp_x = len(heads) + 0.3
        self.spots = [
            Spot(node, None, *self._xy(node))
            for node in graph.nodes
            if closed.place(node) == node and (node.kind != "head" or node.head in self._column)
        ]
        at, names = [*self._column.values()], [f"H{head}" for head in heads]
        if graph.has_mlps:
            at, names = [*at, self._mlp_x], [*names, "MLP"]
        self.x_ticks = at, names
        self.x_range = -0.7, self._mlp_x + 0.85
        self.separators = []

    @property
    def can_fold(self) -> bool:
        """Likewise."""
        return super().can_fold or self.graph.n_heads > _WIDE

    def _xy(self, node: Node) -> tuple[float, float]:
        middle = (len(self._column) - 1) / 2
        if node.kind == "mlp":
            return self._mlp_x, self.rows.y(node.layer) + MLP_RISE * (not self._is_folded(node))
        if node.kind == "head":
            return self._column[node.head], self.rows.y(node.layer)
        return middle, self.rows.logits_y if node == LOGITS else self.rows.y(-1)

    def _is_folded(self, node: Node) -> bool:
        return any(node.layer in fold.layers for fold in self.rows.folds)

    def ends(self, edge: Edge) -> list[tuple[Spot, Spot]]:
        """One curve for each edge, if its nodes have places."""
        starts, ends = self.spots_of(edge.sender), self.spots_of(edge.receiver.node)
        return [(starts[0], ends[0])] if starts and ends else []


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
        opened: Collection[int] | None = None,
        closed: ClosedGroups = NO_GROUPS,
    ):
        """Places the nodes of a circuit.

        Args:
            graph: the model's, with position labels.
            kept: the circuit's edges.
            labels: the position labels in the order of the prompt, each with what it is called
                below its column.
            sees: whether a query at the first label can attend to a key at the second.
            opened: given, layers of a deep model in which nothing stands are folded but for these.
            closed: groups that are drawn as one node.
        """
        self.graph, self.closed = graph, closed
        self._sees = sees
        self._used_at: dict[Node, set[str]] = {LOGITS: {END}}
        for edge in kept:
            sender = closed.place(edge.sender)
            self._used_at.setdefault(sender, set()).add(edge.receiver.position or REST)
        used = {node.layer for node in self._used_at}
        is_deep = opened is not None and graph.n_layers > _DEEP
        self.rows = Rows(graph.n_layers, used.union(opened or ()) if is_deep else None)
        folds = [fold.name for fold in self.rows.folds]
        self.name = f"positions {graph.n_layers}x{graph.n_heads} {[*labels]} {folds}"
        self.spots, self.separators = [], []
        at: list[float] = []
        edge_x = -0.5
        for label in labels:
            middle, width = self._place_column(label, edge_x + _COLUMN_GAP / 2)
            at.append(middle)
            edge_x += width + _COLUMN_GAP
            self.separators.append(edge_x)
        self.separators.pop()
        used_labels = {label for used in self._used_at.values() for label in used}
        # A narrow column has no room for more than its name.
        names = [
            name if label in used_labels else name.split("<br>")[0]
            for label, name in labels.items()
        ]
        self.x_ticks = at, names
        self.x_range = -0.5, edge_x
        self._spot_at = {(spot.node, spot.label): spot for spot in self.spots}

    def _place_column(self, label: str, left: float) -> tuple[float, float]:
        """Places the nodes of one label; returns the middle of its column and its width.

        Heads stand side by side, MLPs on their right.
        """
        here = [node for node, used in self._used_at.items() if label in used]
        of_layers: dict[int, list[Node]] = {}
        for node in sorted(here, key=lambda node: node.head):
            if node.kind == "head":
                of_layers.setdefault(node.layer, []).append(node)
        mlps = [node for node in here if node.kind == "mlp"]
        ends = [node for node in here if node.kind in ("input", "logits")]
        n_heads = max(map(len, of_layers.values()), default=1 if ends else 0)
        width = n_heads + bool(mlps) if here else _EMPTY_COLUMN
        middle = left + (n_heads or width) / 2
        for layer, nodes in of_layers.items():
            first = middle - (len(nodes) - 1) / 2
            y = self.rows.y(layer)
            self.spots += [Spot(node, label, first + i, y) for i, node in enumerate(nodes)]
        for node in mlps:
            x, y = left + n_heads + 0.5, self.rows.y(node.layer) + MLP_RISE
            self.spots.append(Spot(node, label, x, y))
        for node in ends:
            y = self.rows.logits_y if node == LOGITS else self.rows.y(-1)
            self.spots.append(Spot(node, label, middle, y))
        return left + width / 2, width

    def ends(self, edge: Edge) -> list[tuple[Spot, Spot]]:
        """A curve to every place of the receiver that uses what it reads there."""
        node, label = self.closed.place(edge.receiver.node), edge.receiver.position
        start = self._spot_at.get((self.closed.place(edge.sender), label))
        if start is None or label is None:
            return []
        if node.kind == "head" and edge.receiver.qkv != "q":
            used = [used for used in self._used_at.get(node, ()) if self._sees(used, label)]
        else:
            used = [label]
        ends = [self._spot_at[node, each] for each in used if (node, each) in self._spot_at]
        return [(start, end) for end in ends]
