"""The figure's empty traces, its layout, and what is written in it."""

from __future__ import annotations

from html import escape

import numpy as np
import plotly.graph_objects as go

from acdc_explorer.explorer.layout import with_gaps
from acdc_explorer.explorer.style import KIND_NAMES
from acdc_explorer.graph import Edge, Node

# A trace without points would lose its place in the legend.
NAN = np.array([np.nan], dtype=np.float32)


def figure_height(n_layers: int) -> str:
    """How tall the figure is, as CSS has it."""
    return f"{min(900, 130 + 92 * (n_layers + 2))}px"


def make_layout() -> go.Layout:
    """Everything about the figure but its traces."""
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


def line(curves: np.ndarray) -> np.ndarray:
    """Curves in one trace, with gaps between them."""
    # A trace without points would lose its place in the legend.
    return with_gaps(curves) if len(curves) else NAN


def line_name(kind: str, width: int, sign: int) -> str:
    """Of the trace of all edges of one kind, width and sign."""
    return f"edges-{kind}-{width}-{'positive' if sign > 0 else 'negative'}"


def line_trace(
    name: str, colour: str, width: float, opacity: float, dash: str = "solid", **options: object
) -> go.Scatter:
    """An empty trace of lines."""
    return go.Scatter(
        name=name, x=NAN, y=NAN, mode="lines", hoverinfo="skip", showlegend=False,
        line={"color": colour, "width": width, "dash": dash, "shape": "spline"},
        opacity=opacity, **options,
    )  # fmt: skip


def legend_entry(name: str, colour: str, dash: str, group: str) -> go.Scatter:
    """A trace that is there for the legend alone."""
    trace = line_trace(name, colour, 2.4, 1.0, dash, legendgroup=group)
    trace.showlegend = True
    return trace


def marker_trace(name: str, *, mode: str = "markers", **options: object) -> go.Scatter:
    """An empty trace of markers."""
    marker = {key: options.pop(key) for key in ("size", "symbol", "color", "opacity", "line")
              if key in options}  # fmt: skip
    return go.Scatter(
        name=name, x=NAN, y=NAN, mode=mode, marker=marker, showlegend=False, **options
    )


def hover_text(edge: Edge, effect: float) -> str:
    """What is said of an edge under the mouse."""
    return f"{escape(edge.label)}<br>{KIND_NAMES[edge.kind]}<br>{effect:+.3f}"


def node_text(node: Node) -> str:
    """What stands in a node."""
    if node.kind == "head":
        return f"{node.layer}.{node.head}"
    return f"m{node.layer}" if node.kind == "mlp" else node.id
