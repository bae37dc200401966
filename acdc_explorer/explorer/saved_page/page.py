"""A page of its own: the graph, the panel and a table of the kept edges, without a kernel."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from html import escape
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.tables import KEPT
from acdc_explorer.explorer.drawing.graph_view import GraphView
from acdc_explorer.explorer.drawing.key_parts import parts_of, sample
from acdc_explorer.explorer.drawing.layout import Layout
from acdc_explorer.explorer.drawing.nodes import draw_folds
from acdc_explorer.explorer.drawing.shown import DrawnEdge
from acdc_explorer.explorer.drawing.traces import axes_of, make_layout, make_traces
from acdc_explorer.explorer.saved_page.circuits import circuits_on_slider, page_data, standing
from acdc_explorer.explorer.saved_page.script import SCRIPT
from acdc_explorer.explorer.selection import Selection
from acdc_explorer.explorer.style import CSS, KIND_NAMES
from acdc_explorer.explorer.widgets.plotly_private import CONFIG
from acdc_explorer.explorer.words import counted, signed, smallest_effect
from acdc_explorer.files import write_text
from acdc_explorer.runner.state import Snapshot

_TALLEST = 900
_CSS = """
<style>
:root { color-scheme: light dark; }
body { font-family: system-ui, sans-serif; max-width: 1300px; margin: 1em auto; padding: 0 1em;
  background: #fff; line-height: 1.4; }
h1 { font-size: 22px; margin: 0 0 4px; }
h2 { font-size: 17px; margin: 18px 0 4px; }
td, th { padding: 0 6px; text-align: left; }
td.num { text-align: right; font-variant-numeric: tabular-nums; }
code { overflow-wrap: anywhere; }
.acdc-about { color: var(--jp-content-font-color2, #666); font-size: 13px; max-width: 80em; }
.acdc-sample { margin-right: 14px; font-size: 12px; white-space: nowrap; }
.acdc-saved-body { display: flex; flex-wrap: wrap; gap: 12px; align-items: flex-start; }
.acdc-saved-graph { flex: 3 1 420px; min-width: 0; overflow: hidden; }
.acdc-saved-graph .xtick text, .acdc-saved-graph .ytick text {
  fill: var(--jp-content-font-color1, #222) !important; }
#acdc-panel { flex: 1 1 320px; min-width: 0; max-height: 800px; overflow: auto; }
#acdc-panel:focus { outline: none; }
#acdc-panel:focus-visible { outline: 1px solid currentColor; outline-offset: 2px; }
#acdc-panel p [data-goto] { text-decoration: underline; text-underline-offset: 2px; }
#acdc-panel ul { list-style: none; margin: 0; padding: 0; }
#acdc-panel li { display: flex; justify-content: space-between; gap: 8px; }
#acdc-panel .num { font-variant-numeric: tabular-nums; white-space: nowrap; }
.acdc-slider-row { display: flex; gap: 8px; align-items: center; font-size: 13px; margin: 8px 0 0; }
.acdc-slider-row input { flex: 1 1 auto; min-width: 60px; }
.acdc-saved button { font: inherit; color: inherit; background: none; cursor: pointer;
  border: 1px solid var(--jp-border-color1, #bbb); border-radius: 4px; padding: 0 6px; }
.acdc-saved [data-goto] { border-color: transparent; padding: 0 2px; text-align: left;
  overflow-wrap: anywhere; }
.acdc-saved button:hover, .acdc-saved button:focus-visible { border-color: currentColor; }
.acdc-saved [data-goto][aria-pressed="true"] { font-weight: 700; text-decoration: underline; }
#acdc-standing { font-size: 13px; min-height: 2.8em; margin: 4px 0; }
#acdc-table { overflow-x: auto; font-size: 14px; }
#acdc-table :is(td, th) { white-space: nowrap; }
@media (prefers-color-scheme: dark) {
  body { background: #111; color: #e0e0e0; --jp-content-font-color1: #e0e0e0;
    --jp-content-font-color2: #a8a8a8; --jp-layout-color0: #111; --jp-layout-color2: #2a2a2a;
    --jp-layout-color3: #444; --jp-border-color1: #777; --jp-border-color2: #444; }
  .acdc-error { color: #ffb4a9; background: #4a1512; }
}
</style>
"""
_ABOUT = (
    "A copy of what an explorer of acdc_explorer showed, to be looked at without Python. Point at "
    "lines and nodes to read what they are; click one, or an edge of the table, for what is known "
    "of it; Esc lets go of it. {slider}Nothing on this page runs the model: it has the numbers "
    "that were known when it was saved, and no others."
)
_SLIDER = "The slider goes over the {n} that had been found. "


def write_page(
    path: str | os.PathLike[str],
    view: GraphView,
    snapshot: Snapshot,
    selection: Selection | None,
    panel: str,
    above: Sequence[str],
    below: Sequence[str],
) -> None:
    """Writes a standalone HTML file; Plotly is inside it, so it opens offline (5 MB).

    Args:
        path: of the file.
        view: the graph.
        snapshot: that it draws.
        selection: what is selected, or None.
        panel: HTML that tells of the selection, without anything to click.
        above: HTML to stand above the graph.
        below: HTML to stand below it.

    Raises:
        ValueError: if the path is a folder's, or nothing can be written there.
    """
    circuit = snapshot.circuit
    title = escape(circuit.summary()) if circuit else "acdc_explorer"
    heading = "acdc_explorer"
    if circuit is not None:
        heading = f"A circuit of {escape(circuit.model_name)} for {escape(circuit.task_name)}"
    body = f'<div id="acdc-panel">{panel}</div>'
    n_circuits = 1
    if circuit is not None and snapshot.task is not None and view.figure.layout is not None:
        circuits = circuits_on_slider(circuit, snapshot.path)
        drawn = [(each, view.edges_of(each)) for each in circuits]
        layout = view.layout_for([edge for _, edges in drawn for edge in edges])
        traces = make_traces()
        data = page_data(
            circuit, drawn, layout, [str(each.name) for each in traces], selection,
            merged=view.shown.merged,
        )  # fmt: skip
        n_circuits = len(circuits)
        body = _body(circuit, layout, traces, data, drawn, panel)
    slider = _SLIDER.format(n=counted(n_circuits, "circuit")) if n_circuits > 1 else ""
    text = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title>{CSS}{_CSS}</head>"
        f'<body class="acdc-explorer acdc-saved"><h1>{heading}</h1>'
        f'<p class="acdc-about">{_ABOUT.format(slider=slider)}</p>'
        f'<div><span class="acdc-about">When it was saved:</span>{"".join(above)}</div>'
        f'{body}{"".join(below)}<section id="acdc-table">{_table(circuit)}</section>'
        "</body></html>\n"
    )
    write_text(path, text)


def _body(
    circuit: Circuit,
    layout: Layout,
    traces: Sequence[go.Scatter],
    data: dict[str, Any],
    drawn: Sequence[tuple[Circuit, Sequence[DrawnEdge]]],
    panel: str,
) -> str:
    """The slider, the key, the graph and the panel, and the script that fills them."""
    figure = go.Figure(traces, make_layout())
    figure.update_layout(**axes_of(layout))
    by_name = {trace.name: trace for trace in figure.data}
    draw_folds(by_name["folds"], layout)
    # There is nothing to unfold here.
    by_name["folds"].update(hoverinfo="skip", hovertemplate=None)
    for name in ("testing", "selected-node"):
        by_name[name].marker.size = 1.25 * layout.node_size
    graph = figure.to_html(
        full_html=False, include_plotlyjs=True, config=CONFIG, div_id="acdc-plot",
        default_height=f"{min(layout.height, _TALLEST):.0f}px",
    )  # fmt: skip
    every = [edge for _, edges in drawn for edge in edges]
    return (
        f'{_slider(data)}<p id="acdc-standing" role="status">'
        f"{escape(standing(circuit, len(circuit.kept)))}</p>"
        f'<div class="acdc-saved-body"><div class="acdc-saved-graph">{_key(every)}{graph}</div>'
        '<div id="acdc-panel" role="region" aria-label="What is selected" aria-live="polite" '
        f'tabindex="-1">{panel}</div></div>'
        f'<script type="application/json" id="acdc-data">{_json(data)}</script>'
        f"<script>{SCRIPT}</script>"
    )


def _json(data: dict[str, Any]) -> str:
    """As JSON that nothing in it can break out of: no tag can begin within it."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _slider(data: dict[str, Any]) -> str:
    """Goes over the circuits, the lowest threshold first; nothing if there is but one."""
    n_circuits = len(data["circuits"])
    if n_circuits < 2:
        return ""
    steps = [
        f'<button type="button" data-step="{by}" aria-label="{name}" title="{name}">{sign}</button>'
        for by, sign, name in ((-1, "‹", "lower threshold"), (1, "›", "higher threshold"))
    ]
    return (
        '<div class="acdc-slider-row"><label for="acdc-slider">Threshold</label>'
        f"{steps[0]}"
        f'<input type="range" id="acdc-slider" min="0" max="{n_circuits - 1}" step="1" '
        f'value="{data["saved"]}" autocomplete="off">{steps[1]}</div>'
    )


def _key(drawn: Sequence[DrawnEdge]) -> str:
    """What the lines that occur mean."""
    return "".join(
        f'<span class="acdc-sample">{sample(part)} {escape(part.name)}</span>'
        for group in parts_of(drawn)
        for part in group
    )


def _order(order: Any) -> str:
    """Of an edge's test, or a dash if it was never tested and restored by hand."""
    return "–" if pd.isna(order) else str(order)


def _table(circuit: Circuit | None) -> str:
    if circuit is None:
        return ""
    kept = circuit.edges[circuit.edges.state == KEPT]
    kept = kept.iloc[kept["effect"].abs().argsort()[::-1]]
    smallest = smallest_effect(circuit)
    rows = "".join(
        f'<tr><td><button type="button" data-goto="edge:{escape(edge)}">{escape(edge)}</button>'
        f"</td><td>{KIND_NAMES[qkv]}</td>"
        f'<td class="num">{signed(effect, smallest)}</td><td class="num">{_order(order)}</td>'
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
