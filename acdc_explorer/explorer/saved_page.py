"""A page of its own: the graph, the panel and a table of the kept edges, without a kernel."""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.tables import KEPT
from acdc_explorer.explorer.drawing.key_parts import parts_of, sample
from acdc_explorer.explorer.drawing.shown import DrawnEdge
from acdc_explorer.explorer.style import CSS, KIND_NAMES
from acdc_explorer.explorer.widgets.plotly_private import CONFIG
from acdc_explorer.explorer.words import counted, signed, smallest_effect
from acdc_explorer.files import write_text

_CSS = """
<style>
body { font-family: system-ui, sans-serif; max-width: 1200px; margin: 1em auto; padding: 0 1em; }
td, th { padding: 0 6px; text-align: left; }
.acdc-sample { margin-right: 14px; font-size: 12px; white-space: nowrap; }
td.num { text-align: right; font-variant-numeric: tabular-nums; }
</style>
"""


def write_page(
    path: str | os.PathLike[str],
    figure: go.FigureWidget,
    parts: Sequence[str],
    circuit: Circuit | None,
    drawn: Sequence[DrawnEdge],
) -> None:
    """Writes a standalone HTML file; Plotly is inside it, so it opens offline (5 MB).

    Args:
        path: of the file.
        figure: the graph.
        parts: HTML to stand below the title.
        circuit: whose kept edges are listed in full, however many the graph draws.
        drawn: the edges in the graph, of which the key tells.

    Raises:
        ValueError: if the path is a folder's, or nothing can be written there.
    """
    picture = go.Figure(figure)
    # There is nothing to unfold here.
    picture.update_traces(hoverinfo="skip", hovertemplate=None, selector={"name": "folds"})
    graph = picture.to_html(
        full_html=False, include_plotlyjs=True, config=CONFIG, default_height="700px"
    )
    title = escape(circuit.summary()) if circuit else "acdc_explorer"
    text = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{title}</title>{CSS}{_CSS}</head>"
        f'<body class="acdc-explorer"><h1>acdc_explorer</h1><p>{title}</p>'
        # Not of the class that the widget's graph has: in there, all but the plot is hidden.
        f'<div class="acdc-saved-graph">{_key(drawn)}{graph}</div>{"".join(parts)}{_table(circuit)}'
        "</body></html>\n"
    )
    write_text(path, text)


def _key(drawn: Sequence[DrawnEdge]) -> str:
    """What the lines that occur mean."""
    return "".join(
        f'<span class="acdc-sample">{sample(part)} {escape(part.name)}</span>'
        for group in parts_of(drawn)
        for part in group
    )


def _table(circuit: Circuit | None) -> str:
    if circuit is None:
        return ""
    kept = circuit.edges[circuit.edges.state == KEPT]
    kept = kept.iloc[kept["effect"].abs().argsort()[::-1]]
    smallest = smallest_effect(circuit)
    rows = "".join(
        f"<tr><td><code>{escape(edge)}</code></td><td>{KIND_NAMES[qkv]}</td>"
        f'<td class="num">{signed(effect, smallest)}</td><td class="num">{order}</td>'
        f"<td>{'' if connected else 'leads from nothing'}</td></tr>"
        for edge, qkv, effect, order, connected in zip(
            kept.edge,
            kept.qkv.where(kept.qkv.notna(), "other"),
            kept.effect,
            kept.order,
            kept.connected | (not circuit.complete),
            strict=True,
        )
    )
    return (
        f"<h2>{counted(len(kept), 'kept edge')}</h2>"
        "<table><tr><th>edge</th><th>kind</th><th>effect</th><th>order of the test</th><th></th>"
        f"</tr>{rows}</table>"
    )
