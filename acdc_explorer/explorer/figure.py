"""The graph: one Plotly figure with a fixed set of traces whose data follow the circuit.

Traces are made once. A redraw only sets arrays, all in one message, since adding traces or one
trace per edge costs seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ipywidgets as W
import numpy as np
import plotly.graph_objects as go

from acdc_explorer.circuit import Circuit
from acdc_explorer.explorer.layout import HIT_POINTS, Floats, LayerLayout, with_gaps
from acdc_explorer.explorer.plotly_private import FigureFitter, SyncedFigureWidget
from acdc_explorer.explorer.style import KIND_COLOURS, KIND_NAMES, SELECTED
from acdc_explorer.graph import Edge, Graph, Node, Receiver
from acdc_explorer.search.steps import EdgeStep, ReceiverStep

MAX_DRAWN = 500
# Thin, middle and wide: the thirds, on a log scale, between the threshold and the largest |effect|.
_WIDTHS = (1.1, 2.4, 4.4)
_OPACITIES = (0.6, 0.75, 0.9)
_NAN = np.array([np.nan], dtype=np.float32)

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
        self._layout: LayerLayout | None = None
        self._edges: list[Edge] = []
        empty = np.zeros((0, 1), dtype=np.float32)
        self._hits: tuple[Floats, Floats] = (empty, empty)
        self.n_drawn = 0
        self._traces: dict[str, int] = {}
        self.widget = SyncedFigureWidget(self._make_traces(), self._make_layout())
        self.box = W.Box(
            [self.widget, FigureFitter()],
            layout=W.Layout(
                flex="1 1 560px", min_width="420px", height=_height(4), overflow="hidden"
            ),
        )
        self.box.add_class("acdc-graph")
        self._trace("edge-hits").on_click(self._clicked_edge)
        self._trace("nodes").on_click(self._clicked_node)

    def set_graph(self, graph: Graph) -> None:
        """Lays out the nodes of a model; the edges go."""
        self._layout = layout = LayerLayout(graph)
        (x_at, x_names), (y_at, y_names) = layout.x_ticks, layout.y_ticks
        self.box.layout.height = _height(graph.n_layers)
        with self.widget.batch_update():
            self.widget.update_layout(
                xaxis={"range": layout.x_range, "tickvals": x_at, "ticktext": x_names},
                yaxis={"range": layout.y_range, "tickvals": y_at, "ticktext": y_names},
                uirevision=f"{graph.n_layers}x{graph.n_heads}",
            )
            self._draw_edges([], 1.0)
            self._draw_nodes(set(), set(graph.nodes), None)
            self._set_line("untested", [])
            self._set_line("selected", [])

    def draw(self, circuit: Circuit, receiver: Receiver | None, selected: str | None) -> None:
        """Shows a circuit.

        Args:
            circuit: finished or not.
            receiver: the one under test, or None.
            selected: id of the selected edge or node, or None.
        """
        if self._layout is None or self._layout.graph != circuit.graph:
            self.set_graph(circuit.graph)
        kept = [step for step in circuit.decisions if step.kept]
        inside = {node for step in kept for node in (step.edge.sender, step.edge.receiver.node)}
        with self.widget.batch_update():
            self._draw_edges(kept, circuit.threshold)
            self._draw_nodes(inside, _untested_nodes(circuit), receiver)
            self._set_line("untested", _untested_edges(circuit, receiver))
            self._draw_selected(circuit.graph, selected)

    def select(self, graph: Graph, selected: str | None) -> None:
        """Marks an edge or a node, or nothing."""
        with self.widget.batch_update():
            self._draw_selected(graph, selected)

    def _trace(self, name: str) -> go.Scatter:
        return self.widget.data[self._traces[name]]

    def _draw_edges(self, kept: Sequence[EdgeStep], threshold: float) -> None:
        assert self._layout is not None
        drawn = sorted(kept, key=lambda step: -abs(step.effect))[:MAX_DRAWN]
        self.n_drawn = len(drawn)
        x, y = self._layout.curves([step.edge for step in drawn])
        bins = _width_bins(np.array([abs(step.effect) for step in drawn]), threshold)
        for kind in KIND_COLOURS:
            of_kind = np.array([step.edge.kind == kind for step in drawn], dtype=bool)
            for width in range(len(_WIDTHS)):
                for sign in (1, -1):
                    of_sign = np.array([step.effect * sign > 0 for step in drawn], dtype=bool)
                    rows = of_kind & of_sign & (bins == width)
                    trace = self._trace(_line_name(kind, width, sign))
                    trace.x, trace.y = _line(x[rows]), _line(y[rows])
        self._edges = [step.edge for step in drawn]
        hits_x, hits_y = x[:, HIT_POINTS], y[:, HIT_POINTS]
        self._hits = hits_x, hits_y
        per_edge = hits_x.shape[1] if drawn else 0
        hits = self._trace("edge-hits")
        hits.x, hits.y = (values.ravel() if drawn else _NAN for values in (hits_x, hits_y))
        hits.customdata = [step.edge.id for step in drawn for _ in range(per_edge)] or [""]
        hits.text = [
            f"{step.edge.label}<br>{step.effect:+.3f}" for step in drawn for _ in range(per_edge)
        ] or [""]

    def _draw_nodes(
        self, inside: set[Node], untested: set[Node], receiver: Receiver | None
    ) -> None:
        assert self._layout is not None
        nodes = self._layout.graph.nodes
        xy = np.array([self._layout.xy(node) for node in nodes], dtype=np.float32)
        trace = self._trace("nodes")
        trace.x, trace.y = xy[:, 0], xy[:, 1]
        trace.customdata = [node.id for node in nodes]
        # Every node keeps its label and some are see-through: where labels become empty and full
        # again, Plotly loses some of them.
        trace.text = [_node_text(node) for node in nodes]
        trace.textfont.color = ["#222222" if node in inside else _UNSEEN for node in nodes]
        states = [
            "in" if node in inside else "untested" if node in untested else "out" for node in nodes
        ]
        said = {"in": "", "untested": "<br>not tested yet", "out": "<br>no kept edge"}
        trace.hovertext = [
            node.label + said[state] for node, state in zip(nodes, states, strict=True)
        ]
        looks = [_NODE_LOOKS[state] for state in states]
        trace.marker.size = [size for size, _, _ in looks]
        trace.marker.color = [fill for _, fill, _ in looks]
        trace.marker.line.color = [border for _, _, border in looks]
        trace.marker.symbol = [_SYMBOLS[node.kind] for node in nodes]
        testing = self._trace("testing")
        place = self._layout.xy(receiver.node) if receiver else (np.nan, np.nan)
        testing.x, testing.y = ([np.float32(value)] for value in place)

    def _draw_selected(self, graph: Graph, selected: str | None) -> None:
        assert self._layout is not None
        edges, node_at = [], (np.nan, np.nan)
        if selected and "->" in selected:
            edges = [graph.parse_edge(selected)]
        elif selected:
            node_at = self._layout.xy(graph.parse_node(selected))
        self._set_line("selected", edges)
        ring = self._trace("selected-node")
        ring.x, ring.y = ([np.float32(value)] for value in node_at)

    def _set_line(self, name: str, edges: Sequence[Edge]) -> None:
        assert self._layout is not None
        x, y = self._layout.curves(edges)
        trace = self._trace(name)
        trace.x, trace.y = _line(x), _line(y)

    def _clicked_edge(self, trace: go.Scatter, points: object, state: object) -> None:
        indices = points.point_inds  # type: ignore[attr-defined]
        if not indices or not self._edges:
            return
        per_edge = self._hits[0].shape[1]
        at_x, at_y = (values.ravel()[indices[0]] for values in self._hits)
        # Other edges whose hit points lie under the same few pixels.
        distance = np.hypot(self._hits[0] - at_x, (self._hits[1] - at_y)).min(1)
        clicked = indices[0] // per_edge
        near = [int(edge) for edge in np.argsort(distance, kind="stable") if distance[edge] < 0.13]
        order = [clicked, *(edge for edge in near if edge != clicked)]
        self._on_edges([self._edges[edge].id for edge in order[:8]])

    def _clicked_node(self, trace: go.Scatter, points: object, state: object) -> None:
        indices = points.point_inds  # type: ignore[attr-defined]
        if indices:
            self._on_node(str(trace.customdata[indices[0]]))

    def _make_traces(self) -> list[go.Scatter]:
        traces = [_line_trace("untested", "#9a9a9a", 0.7, 0.45, dash="dot")]
        for kind, colour in KIND_COLOURS.items():
            for width in range(len(_WIDTHS)):
                for sign in (1, -1):
                    traces.append(
                        _line_trace(
                            _line_name(kind, width, sign),
                            colour,
                            _WIDTHS[width],
                            _OPACITIES[width],
                            dash="solid" if sign > 0 else "dot",
                            legendgroup=kind,
                        )
                    )
        traces += [_legend_entry(KIND_NAMES[kind], KIND_COLOURS[kind], "solid", kind)
                   for kind in KIND_COLOURS]  # fmt: skip
        traces.append(_legend_entry("dotted: the edge hurts", "#767676", "dot", "sign"))
        traces.append(_line_trace("selected", SELECTED, 5, 1.0))
        traces.append(
            _marker_trace("edge-hits", size=10, opacity=0, hovertemplate="%{text}<extra></extra>")
        )
        traces.append(
            _marker_trace(
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
                _marker_trace(
                    name, hoverinfo="skip", size=34, symbol="circle-open", color=colour, line=line
                )
            )
        self._traces = {str(trace.name): index for index, trace in enumerate(traces)}
        return traces

    @staticmethod
    def _make_layout() -> go.Layout:
        axis = {
            "showgrid": False, "zeroline": False, "tickfont": {"size": 11}, "fixedrange": False,
            "tickvals": [],
        }  # fmt: skip
        return go.Layout(
            paper_bgcolor="rgba(0,0,0,0)",
            plot_bgcolor="rgba(0,0,0,0)",
            margin={"l": 48, "r": 8, "t": 8, "b": 28},
            hovermode="closest",
            hoverlabel={"bgcolor": "#ffffff", "font": {"color": "#222222", "size": 12}},
            hoverdistance=12,
            dragmode="pan",
            legend={"orientation": "h", "y": -0.07, "x": 0, "yanchor": "top", "font": {"size": 11},
                    "itemdoubleclick": False},
            modebar={"bgcolor": "rgba(0,0,0,0)", "color": "#9a9a9a", "activecolor": "#767676"},
            xaxis=axis,
            yaxis={**axis, "showgrid": True, "gridcolor": "rgba(128,128,128,.18)"},
        )  # fmt: skip


def _width_bins(sizes: np.ndarray, threshold: float) -> np.ndarray:
    if not len(sizes):
        return np.zeros(0, dtype=int)
    # The signed rule can keep effects of any size: then the threshold bounds nothing.
    low, high = np.log(threshold), np.log(max(sizes.max(), threshold * 2))
    share = (np.log(np.maximum(sizes, threshold)) - low) / (high - low)
    return np.minimum((share * len(_WIDTHS)).astype(int), len(_WIDTHS) - 1)


def _height(n_layers: int) -> str:
    return f"{min(900, 130 + 92 * (n_layers + 2))}px"


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
    tested = {step.edge for step in circuit.decisions if step.edge.receiver == receiver}
    edges = [Edge(sender, receiver) for sender in graph.senders[: graph.n_senders_to(receiver)]]
    return [edge for edge in edges if edge not in tested]


def _node_text(node: Node) -> str:
    if node.kind == "head":
        return f"{node.layer}.{node.head}"
    return f"m{node.layer}" if node.kind == "mlp" else ""


def _line(curves: np.ndarray) -> np.ndarray:
    # A trace without points would lose its place in the legend.
    return with_gaps(curves) if len(curves) else _NAN


def _line_name(kind: str, width: int, sign: int) -> str:
    return f"edges-{kind}-{width}-{'positive' if sign > 0 else 'negative'}"


def _line_trace(
    name: str, colour: str, width: float, opacity: float, dash: str = "solid", **options: object
) -> go.Scatter:
    return go.Scatter(
        name=name, x=_NAN, y=_NAN, mode="lines", hoverinfo="skip", showlegend=False,
        line={"color": colour, "width": width, "dash": dash, "shape": "spline"},
        opacity=opacity, **options,
    )  # fmt: skip


def _legend_entry(name: str, colour: str, dash: str, group: str) -> go.Scatter:
    trace = _line_trace(name, colour, 2.4, 1.0, dash, legendgroup=group)
    trace.showlegend = True
    return trace


def _marker_trace(name: str, *, mode: str = "markers", **options: object) -> go.Scatter:
    marker = {key: options.pop(key) for key in ("size", "symbol", "color", "opacity", "line")
              if key in options}  # fmt: skip
    return go.Scatter(
        name=name, x=_NAN, y=_NAN, mode=mode, marker=marker, showlegend=False, **options
    )
