"""The figure's empty traces, its layout, and what is written in it."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.explorer.drawing.curves import with_gaps
from acdc_explorer.explorer.drawing.layout import Layout
from acdc_explorer.explorer.drawing.shown import KINDS, N_SIZES, DrawnEdge
from acdc_explorer.explorer.style import (
    BY_HAND_COLOUR,
    DASHES,
    DIMMED_COLOUR,
    KIND_COLOURS,
    KIND_NAMES,
    ONLY_HERE_COLOUR,
    ONLY_HERE_OPACITY,
    ONLY_HERE_WIDTH,
    ONLY_THERE_COLOUR,
    PREVIEW_COLOUR,
    SELDOM_OPACITY,
    SELECTED_COLOUR,
    UNCONNECTED_COLOUR,
    WIDTHS,
)
from acdc_explorer.explorer.words import effect_in_words
from acdc_explorer.graph import REST, Node

# Of the edges of a closed group, so many are named under the mouse.
_LISTED = 8
# A trace without points.
NAN = np.array([np.nan], dtype=np.float32)


def make_layout() -> go.Layout:
    """Everything about the figure but its traces."""
    axis = {
        "showgrid": False, "zeroline": False, "tickfont": {"size": 11}, "fixedrange": False,
        "tickvals": [],
    }  # fmt: skip
    return go.Layout(
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 52, "r": 8, "t": 8, "b": 40},
        hovermode="closest",
        hoverlabel={"bgcolor": "#ffffff", "font": {"color": "#222222", "size": 12}},
        hoverdistance=12,
        dragmode="pan",
        clickanywhere=True,
        showlegend=False,
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": "#9a9a9a", "activecolor": "#767676"},
        xaxis=axis,
        yaxis={**axis, "showgrid": True, "gridcolor": "rgba(128,128,128,.18)"},
    )


def axes_of(layout: Layout) -> dict[str, Any]:
    """What of the figure's layout depends on where things lie: `xaxis`, `yaxis` and `shapes`."""
    (x_at, x_names), (y_at, y_names) = layout.x_ticks, layout.rows.ticks
    rule = {"color": "rgba(128,128,128,.35)", "width": 1}

    def seen(ends: tuple[float, float]) -> dict[str, object]:
        # Of an axis that finds its range by itself, so that "reset axes" comes back to it.
        return {"minallowed": ends[0], "maxallowed": ends[1]}

    return {
        "xaxis": {"autorange": True, "autorangeoptions": seen(layout.x_range),
                  "tickvals": x_at, "ticktext": x_names},
        "yaxis": {"autorange": True, "autorangeoptions": seen(layout.rows.range),
                  "tickvals": y_at, "ticktext": y_names},
        "shapes": [
            {"type": "line", "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1, "line": rule}
            for x in layout.separators
        ],
    }  # fmt: skip


def make_traces() -> list[go.Scatter]:
    """All traces, those on top last."""
    traces = [
        _line_trace("only-here", ONLY_HERE_COLOUR, ONLY_HERE_WIDTH, ONLY_HERE_OPACITY),
        _line_trace("untested", DIMMED_COLOUR, 1.3, 1.0, DASHES["hurts"]),
        _line_trace("dimmed", DIMMED_COLOUR, 1.0, 1.0),
        _line_trace("preview", PREVIEW_COLOUR, 1.5, 1.0, DASHES["preview"]),
        _line_trace("unconnected", UNCONNECTED_COLOUR, 1.5, 1.0, DASHES["unconnected"]),
        _line_trace("only-there", ONLY_THERE_COLOUR, 1.8, 1.0, DASHES["only-there"]),
        _line_trace("removed-by-hand", BY_HAND_COLOUR, 1.5, 1.0, DASHES["by-hand"]),
    ]
    traces += [
        _line_trace(line_name(kind, size, hurts=hurts, seldom=seldom), KIND_COLOURS[kind],
                    WIDTHS[size], SELDOM_OPACITY if seldom else 1.0,
                    DASHES["hurts"] if hurts else "solid")
        for seldom in (True, False) for size in range(N_SIZES) for kind in KINDS
        for hurts in (False, True)
    ]  # fmt: skip
    traces.append(_line_trace("selected", SELECTED_COLOUR, 5, 1.0))
    traces.append(_line_trace("selected-removed", SELECTED_COLOUR, 2.5, 1.0, DASHES["unconnected"]))
    traces.append(
        _marker_trace(
            "hand-marks", size=9, color=BY_HAND_COLOUR, line={"width": 2.5}, hoverinfo="skip"
        )
    )
    traces.append(
        _marker_trace("edge-hits", size=10, opacity=0, hovertemplate="%{text}<extra></extra>")
    )
    traces.append(
        _marker_trace(
            "groups", mode="markers+text", symbol="circle-open", color="#767676",
            line={"width": 1.5}, textposition="top center",
            textfont={"size": 11, "color": "#767676"}, hoverinfo="skip",
        )
    )  # fmt: skip
    for name, sizes in (("folds", 9), ("nodes", 11)):
        traces.append(
            _marker_trace(
                name,
                mode="markers+text",
                opacity=1,
                textfont={"size": sizes, "color": "#222222"},
                textposition="middle center",
                hovertemplate="%{hovertext}<extra></extra>",
                line={"width": 1.2},
            )
        )
    for name, colour, width in (("testing", "#B87A00", 2), ("selected-node", SELECTED_COLOUR, 3)):
        line = {"width": width}
        traces.append(
            _marker_trace(name, hoverinfo="skip", symbol="circle-open", color=colour, line=line)
        )
    return traces


def line(curves: np.ndarray) -> np.ndarray:
    """Curves in one trace, with gaps between them."""
    return with_gaps(curves) if len(curves) else NAN


def line_name(kind: str, size: int, *, hurts: bool, seldom: bool = False) -> str:
    """Of the trace of all edges of one kind and size that help, or hurt.

    Args:
        kind: of the edges.
        size: likewise, as in `DrawnEdge`.
        hurts: likewise.
        seldom: whether it is of those that many of the repeated searches do without.
    """
    return f"edges-{kind}-{size}-{'hurts' if hurts else 'helps'}{'-seldom' if seldom else ''}"


def trace_name(drawn: DrawnEdge, *, dimmed: bool) -> str:
    """Of the trace that draws an edge."""
    if drawn.by_hand == "removed":
        return "removed-by-hand"
    if dimmed:
        return "dimmed"
    if drawn.is_out:
        return "only-there"
    if not drawn.connected:
        return "unconnected"
    return line_name(drawn.edge.kind, drawn.size, hurts=drawn.hurts, seldom=drawn.is_seldom)


def hover_text(drawn: DrawnEdge, circuit: Circuit) -> str:
    """What is said of a line under the mouse, an edge of this circuit."""
    effect = effect_in_words(drawn.effect, circuit)
    if drawn.is_out and drawn.by_hand is None:
        lines = [escape(drawn.edge.label), KIND_NAMES[drawn.edge.kind], "not in this circuit"]
        lines.append("only in the other one")
        lines += [escape(drawn.note)] if drawn.note else []
        return "<br>".join([*lines, *(escape(edge.label) for edge, _ in drawn.others)])
    if drawn.is_out:
        decided = f"{effect} when it was decided"
        return "<br>".join(
            [escape(drawn.edge.label), KIND_NAMES[drawn.edge.kind], decided, "removed by hand"]
        )
    if drawn.title:
        lines = [f"<b>{escape(drawn.title)}</b>", f"{effect}, the sum over"]
        lines += [escape(edge.label) for edge in drawn.all_edges[:_LISTED]]
        n_more = len(drawn.all_edges) - _LISTED
        lines += [f"and {n_more} more"] if n_more > 0 else []
    else:
        lines = [escape(drawn.edge.label), KIND_NAMES[drawn.edge.kind], effect]
        lines += [f"{escape(e.label)} {effect_in_words(each, circuit)}" for e, each in drawn.others]
    if drawn.steadiness is not None:
        lines.append(f"kept in {drawn.steadiness:.0%} of the repeated searches")
    if drawn.by_hand is not None:
        lines.append("restored by hand")
    if drawn.note:
        lines.append(escape(drawn.note))
    if not drawn.connected:
        lines.append("not on any path from input to logits")
    return "<br>".join(lines)


def node_text(node: Node) -> str:
    """What stands in a node."""
    if node.kind == "head":
        return f"{node.layer}.{node.head}"
    return f"m{node.layer}" if node.kind == "mlp" else node.id


def column_name(label: str, tokens: Mapping[str, str]) -> str:
    """A position label and, below it, what stands there in the first prompt."""
    token = tokens.get(label, "")
    if label == REST or not token:
        return f"<b>{escape(label)}</b>"
    short = token if len(token) <= 12 else f"{token[:11]}…"
    return f"<b>{escape(label)}</b><br>e.g. {escape(short)}"


def _line_trace(
    name: str, colour: str, width: float, opacity: float, dash: str = "solid"
) -> go.Scatter:
    """An empty trace of lines."""
    return go.Scatter(
        name=name, x=NAN, y=NAN, mode="lines", hoverinfo="skip",
        line={"color": colour, "width": width, "dash": dash, "shape": "spline"},
        opacity=opacity,
    )  # fmt: skip


def _marker_trace(name: str, *, mode: str = "markers", **options: object) -> go.Scatter:
    """An empty trace of markers."""
    marker = {key: options.pop(key) for key in ("size", "symbol", "color", "opacity", "line")
              if key in options}  # fmt: skip
    return go.Scatter(name=name, x=NAN, y=NAN, mode=mode, marker=marker, **options)
