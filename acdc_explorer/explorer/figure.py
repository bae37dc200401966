"""The graph: one Plotly figure with a fixed set of traces whose data follow the circuit.

Traces are made once. A redraw only sets arrays, all in one message, since adding traces or one
trace per edge costs seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import takewhile

import ipywidgets as widgets
import numpy as np
import plotly.graph_objects as go

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.steps import ReceiverStep
from acdc_explorer.explorer.layout import HIT_POINTS, Floats, LayerLayout, Layout
from acdc_explorer.explorer.plotly_private import FigureFitter, SyncedFigureWidget
from acdc_explorer.explorer.style import KIND_COLOURS, KIND_NAMES, PREVIEW, SELECTED
from acdc_explorer.explorer.traces import (
    NAN,
    figure_height,
    hover_text,
    legend_entry,
    line,
    line_name,
    line_trace,
    make_layout,
    marker_trace,
    node_text,
)
from acdc_explorer.graph import Edge, Graph, Node, Receiver

MAX_DRAWN = 500
# Thin, middle and wide: the thirds, on a log scale, between the threshold and the largest |effect|.
_WIDTHS = (1.1, 2.4, 4.4)
_OPACITIES = (0.6, 0.75, 0.9)

# State -> size, fill, border.
_NODE_LOOKS = {
    "in": (27, "#ffffff", "#555555"),
    "untested": (11, "#ffffff", "#9a9a9a"),
    "out": (6, "#9a9a9a", "#9a9a9a"),
}
_UNSEEN = "rgba(0,0,0,0)"
_SYMBOLS = {"head": "circle", "mlp": "square", "input": "diamond", "logits": "diamond"}


class CircuitFigure:
    """Draws circuits of one model and tells what was clicked.

    One class, since all of it writes to the traces of one figure.

    Attributes:
        widget: the Plotly figure.
        box: the figure in a box, to be put on the page.
        n_drawn: how many kept edges the last drawing shows, at most `MAX_DRAWN`.
    """

    def __init__(
        self,
        on_edges: Callable[[list[str]], None],
        on_node: Callable[[str], None],
    ):
        """Makes an empty figure.

        Args:
            on_edges: called with the ids of the edges at a clicked point, the nearest first.
            on_node: called with the id of a clicked node.
        """
        self._on_edges, self._on_node = on_edges, on_node
        self._layout: Layout | None = None
        # Of every curve with hit points: the id of its edge.
        self._hit_ids: list[str] = []
        empty = np.zeros((0, 1), dtype=np.float32)
        self._hits: tuple[Floats, Floats] = (empty, empty)
        self._idle: set[str] = set()
        self.n_drawn = 0
        self._traces: dict[str, int] = {}
        self.widget = SyncedFigureWidget(self._make_traces(), make_layout())
        self.box = widgets.Box(
            [self.widget, FigureFitter()],
            layout=widgets.Layout(
                flex="1 1 560px",
                min_width="420px",
                height=figure_height(4),
                overflow="hidden",
            ),
        )
        self.box.add_class("acdc-graph")
        self._trace("edge-hits").on_click(self._clicked_edge)
        self._trace("nodes").on_click(self._clicked_node)

    def set_graph(self, graph: Graph) -> None:
        """Lays out the nodes of a model; the edges go."""
        with self.widget.batch_update():
            self._set_layout(LayerLayout(graph))
            self._draw_edges([], 1.0)
            self._draw_nodes(set(), set(graph.nodes), None)
            self._set_line("untested", [])
            self._set_line("preview", [])
            self._set_line("selected", [])

    def draw(
        self,
        circuit: Circuit,
        receiver: Receiver | None,
        selected: str | None,
        layout: Layout | None = None,
        effects: Mapping[str, float] | None = None,
        preview: Sequence[tuple[Edge, float]] = (),
    ) -> None:
        """Shows a circuit.

        Args:
            circuit: finished or not.
            receiver: the one under test, or None.
            selected: id of the selected edge or node, or None.
            layout: where things lie; by default by layer and head.
            effects: edge id -> the effect to draw it by, if not the one it was decided by.
            preview: edges that attribution would keep, drawn faintly where the search has not come.
        """
        kept = [step for step in circuit.decisions if step.kept]
        inside = {node for step in kept for node in (step.edge.sender, step.edge.receiver.node)}
        drawn = [
            (step.edge, step.effect if effects is None else effects.get(step.edge.id, 0.0))
            for step in kept
        ]
        with self.widget.batch_update():
            self._set_layout(layout or LayerLayout(circuit.graph))
            self._draw_edges(drawn, circuit.threshold)
            self._draw_nodes(inside, _untested_nodes(circuit), receiver)
            self._set_line("untested", _untested_edges(circuit, receiver))
            begun = {step.receiver for step in circuit.steps if isinstance(step, ReceiverStep)}
            ahead = sorted((each for each in preview if each[0].receiver not in begun),
                           key=lambda each: -abs(each[1]))  # fmt: skip
            self._set_line("preview", [edge for edge, _ in ahead[:MAX_DRAWN]])
            self._draw_selected(circuit.graph, selected)

    def _set_layout(self, layout: Layout) -> None:
        before, self._layout = self._layout, layout
        look = layout.name, layout.x_range, layout.x_ticks, layout.separators
        if before and look == (before.name, before.x_range, before.x_ticks, before.separators):
            return
        (x_at, x_names), (y_at, y_names) = layout.x_ticks, layout.y_ticks
        self.box.layout.height = figure_height(layout.graph.n_layers)
        line = {"color": "rgba(128,128,128,.35)", "width": 1}
        self.widget.update_layout(
            xaxis={"range": layout.x_range, "tickvals": x_at, "ticktext": x_names},
            yaxis={"range": layout.y_range, "tickvals": y_at, "ticktext": y_names},
            uirevision=layout.name,
        )
        # Assigned, since an update leaves the lines that were there.
        self.widget.layout.shapes = [
            {"type": "line", "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1, "line": line}
            for x in layout.separators
        ]

    def select(self, graph: Graph, selected: str | None) -> None:
        """Marks an edge or a node, or nothing."""
        with self.widget.batch_update():
            self._draw_selected(graph, selected)

    def _trace(self, name: str) -> go.Scatter:
        return self.widget.data[self._traces[name]]

    def _draw_edges(self, kept: Sequence[tuple[Edge, float]], threshold: float) -> None:
        assert self._layout is not None
        drawn = sorted(kept, key=lambda each: -abs(each[1]))[:MAX_DRAWN]
        self.n_drawn = len(drawn)
        curves = self._layout.curves([edge for edge, _ in drawn])
        x, y = curves.x, curves.y
        of_curves = [drawn[number] for number in curves.edge]
        bins = _width_bins(np.array([abs(effect) for _, effect in of_curves]), threshold)
        for kind in KIND_COLOURS:
            of_kind = np.array([edge.kind == kind for edge, _ in of_curves], dtype=bool)
            for width in range(len(_WIDTHS)):
                for sign in (1, -1):
                    of_sign = np.array([effect * sign > 0 for _, effect in of_curves], dtype=bool)
                    rows = of_kind & of_sign & (bins == width)
                    trace = self._trace(line_name(kind, width, sign))
                    trace.x, trace.y = line(x[rows]), line(y[rows])
        self._hits = x[:, HIT_POINTS], y[:, HIT_POINTS]
        self._hit_ids = [edge.id for edge, _ in of_curves]
        per_curve = self._hits[0].shape[1]
        hits = self._trace("edge-hits")
        hits.x, hits.y = (values.ravel() if of_curves else NAN for values in self._hits)
        hits.customdata = [name for name in self._hit_ids for _ in range(per_curve)] or [""]
        hits.text = [hover_text(*each) for each in of_curves for _ in range(per_curve)] or [""]

    def _draw_nodes(
        self, inside: set[Node], untested: set[Node], receiver: Receiver | None
    ) -> None:
        assert self._layout is not None
        spots = self._layout.spots
        nodes = [spot.node for spot in spots]
        trace = self._trace("nodes")
        trace.x = np.array([spot.x for spot in spots], dtype=np.float32)
        trace.y = np.array([spot.y for spot in spots], dtype=np.float32)
        trace.customdata = [node.id for node in nodes]
        # Every node has a label and some are see-through: where labels become empty and full again,
        # Plotly loses some of them.
        trace.text = [node_text(node) for node in nodes]
        trace.textfont.color = [
            "#222222" if node in inside and node.layer >= 0 else _UNSEEN for node in nodes
        ]
        states = [
            "in" if node in inside else "untested" if node in untested else "out" for node in nodes
        ]
        self._idle = {node.id for node, state in zip(nodes, states, strict=True) if state == "out"}
        said = {"in": "", "untested": "<br>not tested yet", "out": "<br>no kept edge"}
        trace.hovertext = [
            spot.node.label + (f" @ {escape(spot.label)}" if spot.label else "") + said[state]
            for spot, state in zip(spots, states, strict=True)
        ]
        looks = [_NODE_LOOKS[state] for state in states]
        trace.marker.size = [size for size, _, _ in looks]
        trace.marker.color = [fill for _, fill, _ in looks]
        trace.marker.line.color = [border for _, _, border in looks]
        trace.marker.symbol = [_SYMBOLS[node.kind] for node in nodes]
        self._ring("testing", receiver.node if receiver else None)

    def _draw_selected(self, graph: Graph, selected: str | None) -> None:
        assert self._layout is not None
        is_edge = selected is not None and "->" in selected
        self._set_line("selected", [graph.parse_edge(str(selected))] if is_edge else [])
        is_node = selected is not None and not is_edge
        self._ring("selected-node", graph.parse_node(str(selected)) if is_node else None)

    def _ring(self, name: str, node: Node | None) -> None:
        """Puts a ring around every place of a node."""
        assert self._layout is not None
        spots = self._layout.spots_of(node) if node else []
        trace = self._trace(name)
        trace.x = np.array([spot.x for spot in spots] or [np.nan], dtype=np.float32)
        trace.y = np.array([spot.y for spot in spots] or [np.nan], dtype=np.float32)

    def _set_line(self, name: str, edges: Sequence[Edge]) -> None:
        assert self._layout is not None
        curves = self._layout.curves(edges)
        trace = self._trace(name)
        trace.x, trace.y = line(curves.x), line(curves.y)

    def _clicked_edge(self, trace: go.Scatter, points: object, state: object) -> None:
        indices = points.point_inds  # type: ignore[attr-defined]
        if not indices or not self._hit_ids:
            return
        per_curve = self._hits[0].shape[1]
        at_x, at_y = (values.ravel()[indices[0]] for values in self._hits)
        names = [self._hit_ids[indices[0] // per_curve], *self._edges_near(at_x, at_y)]
        self._on_edges([*dict.fromkeys(names)][:8])

    def _edges_near(self, x: float, y: float) -> list[str]:
        """The edges that have a hit point within a few pixels, nearest first."""
        if not self._hit_ids:
            return []
        distance = np.hypot(self._hits[0] - x, self._hits[1] - y).min(1)
        order = np.argsort(distance, kind="stable")
        return [self._hit_ids[curve] for curve in order if distance[curve] < 0.13]

    def _clicked_node(self, trace: go.Scatter, points: object, state: object) -> None:
        indices = points.point_inds  # type: ignore[attr-defined]
        if not indices:
            return
        name = str(trace.customdata[indices[0]])
        # A node without edges that lies on one, between its ends, is not what was meant.
        passing = self._edges_near(trace.x[indices[0]], trace.y[indices[0]])
        if name in self._idle and passing:
            self._on_edges(passing[:8])
        else:
            self._on_node(name)

    def _make_traces(self) -> list[go.Scatter]:
        traces = [line_trace("untested", "#9a9a9a", 0.7, 0.45, dash="dot")]
        traces.append(line_trace("preview", PREVIEW, 1.2, 0.45, dash="dash"))
        for kind, colour in KIND_COLOURS.items():
            for width in range(len(_WIDTHS)):
                for sign in (1, -1):
                    traces.append(
                        line_trace(
                            line_name(kind, width, sign),
                            colour,
                            _WIDTHS[width],
                            _OPACITIES[width],
                            dash="solid" if sign > 0 else "dot",
                            legendgroup=kind,
                        )
                    )
        traces += [legend_entry(KIND_NAMES[kind], KIND_COLOURS[kind], "solid", kind)
                   for kind in KIND_COLOURS]  # fmt: skip
        traces.append(legend_entry("dotted: the edge hurts", "#767676", "dot", "sign"))
        traces.append(legend_entry("dashed: expected, not tested yet", PREVIEW, "dash", "preview"))
        traces.append(line_trace("selected", SELECTED, 5, 1.0))
        traces.append(
            marker_trace("edge-hits", size=10, opacity=0, hovertemplate="%{text}<extra></extra>")
        )
        traces.append(
            marker_trace(
                "nodes",
                mode="markers+text",
                opacity=1,
                textfont={"size": 10, "color": "#222222"},
                textposition="middle center",
                hovertemplate="%{hovertext}<extra></extra>",
                line={"width": 1.2},
            )
        )
        for name, colour, width in (("testing", "#B87A00", 2), ("selected-node", SELECTED, 3)):
            line = {"width": width}
            traces.append(
                marker_trace(
                    name, hoverinfo="skip", size=34, symbol="circle-open", color=colour, line=line
                )
            )
        self._traces = {str(trace.name): index for index, trace in enumerate(traces)}
        return traces


def _width_bins(sizes: np.ndarray, threshold: float) -> np.ndarray:
    if not len(sizes):
        return np.zeros(0, dtype=int)
    # The signed rule can keep effects of any size: then the threshold bounds nothing.
    low, high = np.log(threshold), np.log(max(sizes.max(), threshold * 2))
    share = (np.log(np.maximum(sizes, threshold)) - low) / (high - low)
    return np.minimum((share * len(_WIDTHS)).astype(int), len(_WIDTHS) - 1)


def _untested_nodes(circuit: Circuit) -> set[Node]:
    """Nodes of which the search has not yet decided whether they are in the circuit."""
    if circuit.complete:
        return set()
    begun = {step.receiver.node for step in circuit.steps if isinstance(step, ReceiverStep)}
    return set(circuit.graph.nodes) - begun


def _untested_edges(circuit: Circuit, receiver: Receiver | None) -> list[Edge]:
    """The edges into the receiver under test that are still to be tested."""
    if receiver is None:
        return []
    graph = circuit.graph
    # They are the last ones.
    latest = takewhile(lambda step: step.edge.receiver == receiver, reversed(circuit.decisions))
    tested = {step.edge.sender for step in latest}
    senders = graph.senders[: graph.n_senders_to(receiver)]
    return [Edge(sender, receiver) for sender in senders if sender not in tested]
