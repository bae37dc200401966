"""The live graph: a Plotly figure with a fixed set of traces, whatever the number of edges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ipywidgets as widgets
import numpy as np
import plotly.graph_objects as go

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.comparison import FIRST, SECOND
from acdc_explorer.circuits.steps import ReceiverStep
from acdc_explorer.explorer.drawing.curves import Curves
from acdc_explorer.explorer.drawing.hits import Hits
from acdc_explorer.explorer.drawing.layout import Layout
from acdc_explorer.explorer.drawing.nodes import (
    MANY_NODES,
    draw_folds,
    draw_groups,
    draw_nodes,
)
from acdc_explorer.explorer.drawing.shown import DrawnEdge, untested_edges, untested_nodes
from acdc_explorer.explorer.drawing.traces import (
    NAN,
    axes_of,
    hover_text,
    line,
    make_layout,
    make_traces,
    trace_name,
)
from acdc_explorer.explorer.widgets.plotly_private import FigureFitter, SyncedFigureWidget
from acdc_explorer.graph import Edge, Node, Receiver

MAX_DRAWN = 500
# Of edges, besides those whose names begin with "edges-".
_OTHER_LINES = "dimmed", "unconnected", "removed-by-hand", "only-there"
_LABEL_SHARE, _SMALLEST_LABEL = 0.38, 7.0


@dataclass(frozen=True)
class _Drawing:
    """What is drawn: edges of a circuit, the nodes inside it, and the edges that stand out."""

    circuit: Circuit
    edges: Sequence[DrawnEdge]
    inside: set[Node]
    lit: set[Edge] | None


class CircuitFigure:
    """Draws circuits and tells what was clicked.

    One class, since all of it writes to the traces of one figure.

    Attributes:
        widget: the Plotly figure.
        box: the figure in a box, to be put on the page.
        n_drawn: how many kept edges the last drawing shows, at most `MAX_DRAWN` lines.
        layout: where things lie; None before the first drawing.
    """

    def __init__(
        self,
        on_edges: Callable[[list[str]], None],
        on_node: Callable[[str], None],
        on_fold: Callable[[range], None],
        on_nothing: Callable[[], None],
    ):
        """Makes an empty figure.

        Args:
            on_edges: called with the ids of the edges at a clicked point, the nearest first.
            on_node: called with the id of a clicked node.
            on_fold: called with the layers of a clicked fold.
            on_nothing: called when a click meets none of these.
        """
        self._on_edges, self._on_node, self._on_fold = on_edges, on_node, on_fold
        self.layout: Layout | None = None
        self._hits = Hits.none()
        self._idle: set[str] = set()
        self._drawing: _Drawing | None = None
        # Of the last drawing, with what they depend on: a selection changes none.
        self._last_curves: tuple[Any, Curves | None] = (None, None)
        # The part of the x axis that is seen, as a share.
        self._zoom = 1.0
        self.n_drawn = 0
        traces = make_traces()
        self._traces = {str(trace.name): index for index, trace in enumerate(traces)}
        self.widget = SyncedFigureWidget(traces, make_layout())
        self.box = widgets.Box(
            [self.widget, FigureFitter()],
            layout=widgets.Layout(width="100%", height="640px", overflow="hidden"),
        )
        self.box.add_class("acdc-graph")
        self._trace("edge-hits").on_click(self._clicked_edge)
        self._trace("nodes").on_click(self._clicked_node)
        self._trace("folds").on_click(self._clicked_fold)
        self.widget.on_empty_click(on_nothing)
        self.widget.on_zoom(self._zoomed)

    def draw(
        self,
        circuit: Circuit,
        edges: Sequence[DrawnEdge],
        layout: Layout,
        *,
        receiver: Receiver | None = None,
        lit: set[Edge] | None = None,
        preview: Sequence[Edge] = (),
    ) -> None:
        """Shows a circuit.

        Args:
            circuit: finished or not.
            edges: the kept ones to draw, the most important first.
            layout: where things lie.
            receiver: the one under test, or None.
            lit: edges that stand out while the others are dim; None: all are drawn alike.
            preview: edges that are expected to stay, the most important first.
        """
        place = layout.closed.place
        inside = {place(node) for each in edges if not each.is_out for edge in each.all_edges
                  for node in (edge.sender, edge.receiver.node)}  # fmt: skip
        there = {place(node) for each in edges if each.where == SECOND
                 for node in (each.edge.sender, each.edge.receiver.node)}  # fmt: skip
        drawn = edges[:MAX_DRAWN]
        self.n_drawn = sum(len(each.all_edges) for each in drawn if not each.is_out)
        self._drawing = _Drawing(circuit, drawn, inside, lit)
        with self.widget.batch_update():
            self._set_layout(layout)
            self._draw_edges()
            self._idle = draw_nodes(
                self._trace("nodes"),
                layout,
                {"in": inside, "there": there, "untested": untested_nodes(circuit)},
            )
            draw_groups(self._trace("groups"), layout)
            self._ring("testing", receiver.node if receiver else None)
            is_small = len(circuit.graph.nodes) <= MANY_NODES
            untested = untested_edges(circuit, receiver) if is_small else []
            self._set_line("untested", layout.curves(untested))
            begun = {step.receiver for step in circuit.steps if isinstance(step, ReceiverStep)}
            ahead = [edge for edge in preview if edge.receiver not in begun]
            self._set_line("preview", layout.curves(ahead[:MAX_DRAWN]))

    def select(self, selected: Edge | Node | None, *, is_removed: bool = False) -> None:
        """Marks an edge or a node, or nothing.

        Args:
            selected: what to mark.
            is_removed: whether it is an edge that the circuit does without.
        """
        assert self.layout is not None
        kept, removed = list[Edge](), list[Edge]()
        if isinstance(selected, Edge):
            (removed if is_removed else kept).append(selected)
        with self.widget.batch_update():
            for name, edges in (("selected", kept), ("selected-removed", removed)):
                self._set_line(name, self._curves(edges))
            self._ring("selected-node", selected if isinstance(selected, Node) else None)

    def clear(self) -> None:
        """Shows nothing."""
        with self.widget.batch_update():
            for trace in self.widget.data:
                trace.x, trace.y = NAN, NAN
        self._hits, self.n_drawn, self._drawing = Hits.none(), 0, None

    def _set_layout(self, layout: Layout) -> None:
        before, self.layout = self.layout, layout
        look = layout.name, layout.x_range, layout.x_ticks, layout.separators
        if before and look == (before.name, before.x_range, before.x_ticks, before.separators):
            return
        if before is None or before.name != layout.name:
            # Another view is shown whole.
            self._zoom = 1.0
        # Never taller than the window.
        self.box.layout.height = f"min({layout.height:.0f}px, 82vh)"
        axes = axes_of(layout)
        # Assigned, since an update leaves the lines that were there.
        self.widget.layout.shapes = axes.pop("shapes")
        self.widget.update_layout(**axes, uirevision=layout.name)
        for name in ("testing", "selected-node"):
            self._trace(name).marker.size = 1.25 * layout.node_size
        self._trace("nodes").textfont.size = max(_SMALLEST_LABEL, _LABEL_SHARE * layout.node_size)
        draw_folds(self._trace("folds"), layout)

    def _trace(self, name: str) -> go.Scatter:
        return self.widget.data[self._traces[name]]

    def _curves(self, edges: Sequence[Edge]) -> Curves:
        assert self.layout is not None
        inside = self._drawing.inside if self._drawing else ()
        return self.layout.curves(edges, inside, self._zoom)

    def _zoomed(self, seen: tuple[float, float] | None) -> None:
        """Keeps the ends of edges on their nodes, which do not grow."""
        if self.layout is None or self._drawing is None:
            return
        low, high = self.layout.x_range
        self._zoom = abs(seen[1] - seen[0]) / (high - low) if seen else 1.0
        with self.widget.batch_update():
            self._draw_edges()

    def _draw_edges(self) -> None:
        assert self.layout is not None
        assert self._drawing is not None
        drawn, lit = self._drawing.edges, self._drawing.lit
        edges = [each.edge for each in drawn]
        depends_on = (
            self.layout.name, self.layout.x_ticks, edges, self._drawing.inside, self._zoom
        )  # fmt: skip
        if self._last_curves[0] != depends_on:
            self._last_curves = depends_on, self._curves(edges)
        curves = self._last_curves[1]
        assert curves is not None
        of_curves = [drawn[number] for number in curves.edge]
        names = np.array(
            [
                trace_name(each, dimmed=lit is not None and lit.isdisjoint(each.all_edges))
                for each in of_curves
            ],
            dtype=object,
        )
        for name in self._traces:
            if name.startswith("edges-") or name in _OTHER_LINES:
                rows = names == name
                self._set_line(name, Curves(curves.edge[rows], curves.x[rows], curves.y[rows]))
        own = np.array([each.where == FIRST for each in of_curves], dtype=bool) & (
            names != "dimmed"
        )
        self._set_line("only-here", Curves(curves.edge[own], curves.x[own], curves.y[own]))
        self._mark_changes(curves, of_curves)
        self._hits = Hits.of(curves, of_curves)
        per_curve, hits = self._hits.per_curve, self._trace("edge-hits")
        hits.x, hits.y = (
            values.ravel() if of_curves else NAN for values in (self._hits.x, self._hits.y)
        )
        hits.customdata = [each.edge.id for each in of_curves for _ in range(per_curve)] or [""]
        texts = [hover_text(each, self._drawing.circuit) for each in of_curves]
        hits.text = [text for text in texts for _ in range(per_curve)] or [""]

    def _mark_changes(self, curves: Curves, drawn: Sequence[DrawnEdge]) -> None:
        """Puts a mark on the middle of each edge that was removed or restored by hand."""
        marked = [row for row, each in enumerate(drawn) if each.by_hand is not None]
        trace, middle = self._trace("hand-marks"), curves.x.shape[1] // 2
        if not marked and len(trace.x) == 1:
            return
        trace.x = curves.x[marked, middle] if marked else NAN
        trace.y = curves.y[marked, middle] if marked else NAN
        trace.marker.symbol = [
            "x-thin-open" if drawn[row].is_out else "cross-thin-open" for row in marked
        ]

    def _ring(self, name: str, node: Node | None) -> None:
        """Puts a ring around every place of a node."""
        assert self.layout is not None
        spots = self.layout.spots_of(node) if node else []
        trace = self._trace(name)
        trace.x = np.array([spot.x for spot in spots] or NAN, dtype=np.float32)
        trace.y = np.array([spot.y for spot in spots] or NAN, dtype=np.float32)

    def _set_line(self, name: str, curves: Curves) -> None:
        trace = self._trace(name)
        if len(curves.x) or len(trace.x) > 1:
            trace.x, trace.y = line(curves.x), line(curves.y)

    def _clicked_edge(self, trace: go.Scatter, points: object, state: object) -> None:
        indices = points.point_inds  # type: ignore[attr-defined]
        if indices and self._hits.edges and self.layout is not None:
            self._on_edges(self._hits.at(indices[0], self.layout.pixels, self._zoom))

    def _clicked_node(self, trace: go.Scatter, points: object, state: object) -> None:
        indices = points.point_inds  # type: ignore[attr-defined]
        if not indices or self.layout is None:
            return
        name = str(trace.customdata[indices[0]])
        # A node without edges that lies on one, between its ends, is not what was meant.
        x, y = trace.x[indices[0]], trace.y[indices[0]]
        passing = self._hits.near(x, y, self.layout.pixels, self._zoom)
        if name in self._idle and passing:
            self._on_edges(passing)
        else:
            self._on_node(name)

    def _clicked_fold(self, trace: go.Scatter, points: object, state: object) -> None:
        indices = points.point_inds  # type: ignore[attr-defined]
        if indices and self.layout is not None and self.layout.rows.folds:
            self._on_fold(self.layout.rows.folds[indices[0]].layers)
