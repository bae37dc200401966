"""The HTML of the side panel. Pure functions; all foreign text is escaped.

What is not `live`, a page without a kernel, offers nothing to click.
"""

from __future__ import annotations

import math
from html import escape

import numpy as np
import pandas as pd

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.tables import KEPT
from acdc_explorer.explorer.style import KIND_NAMES, NEGATIVE, POSITIVE
from acdc_explorer.graph import Edge
from acdc_explorer.inspection import EdgeInspection, NodeInspection
from acdc_explorer.tasks import Task

_PROMPTS_SHOWN = 4
# Effects smaller than this are written as 0.000.
_VISIBLE = 5e-4


def empty_html(*, live: bool = True) -> str:
    """The panel before anything is chosen."""
    if not live:
        return ""
    return _panel(
        "",
        "<h3>Nothing selected</h3><p>Click an edge to see what it adds to the metric, and at which "
        "positions; click a node for what flows in and out of it. Or type an edge's id above.</p>",
    )


def pending_html(edge: Edge, circuit: Circuit | None) -> str:
    """The panel between a click and its answer: what is known already."""
    decided = "not tested yet"
    if circuit is not None:
        for step in circuit.decisions:
            if step.edge == edge:
                how = "predicted effect" if step.screened else "effect when decided"
                decided = f"{how} {step.effect:+.3f}"
    return _panel(_names(edge), f"{_edge_title(edge)}<p>{decided} · measuring …</p>")


def message_html(message: str) -> str:
    """The panel with an explanation why it cannot show what was asked for."""
    return _panel("", f'<p class="acdc-error">{escape(message)}</p>')


def edge_html(
    found: EdgeInspection,
    circuit: Circuit,
    task: Task,
    shown_position: str | None = None,
    *,
    live: bool = True,
) -> str:
    """All that is known of one edge.

    Args:
        found: what was measured.
        circuit: that it was measured in.
        task: of the circuit.
        shown_position: the position label by which the graph draws edges, or None.
        live: whether bars can be clicked.
    """
    full, unit = circuit.full_metric, circuit.metric_unit
    rows = [
        ("in this circuit", found.effect),
        ("when it was decided", found.effect_when_decided),
        ("alone in the full model", found.effect_alone),
    ]
    effects = "".join(
        f'<tr><th scope="row">{name}</th><td class="num">{_number(effect, unit)}</td>'
        f'<td class="num">{_percent(effect, full)}</td></tr>'
        for name, effect in rows
    )
    total, labels = found.by_position.sum(), circuit.graph.labels
    chosen = found.edge.receiver.position if labels else shown_position
    hint = ""
    if live:
        hint = "; click one to go to that edge" if labels else "; click one to see it in the graph"
    body = (
        f"{_edge_title(found.edge)}<p><b>{found.state}</b> at threshold "
        f"{circuit.threshold:.3g} {escape(unit)}</p>"
        f'<table aria-label="effects"><tr><th>Effect on the metric</th><th></th>'
        f"<th>of full</th></tr>{effects}</table>"
        '<p class="acdc-muted">Effect: the metric with the edge minus the metric without it.</p>'
        f"{_stand_in(found, circuit)}"
        f"<h4>By position <span class='acdc-muted'>(at that position only{hint})</span></h4>"
        f"{_bars(found.by_position, chosen, live)}"
        f'<p class="acdc-muted">Positions sum to {total:+.3f}; the edge at all of them is '
        f"{found.whole_effect:+.3f}: they interact by {found.interaction:+.3f}.</p>"
        f"<h4>By prompt</h4>{_spread(found.by_prompt)}{_prompts(found.by_prompt, task)}"
    )
    names = {"sender": found.edge.sender, "receiver": found.edge.receiver.node}
    for end, table in found.attention.items():
        body += f"<h4>Attention of {names[end].label} ({end})</h4>{_attention(table)}"
    return _panel(f'{_names(found.edge)} data-effect="{found.effect:.6f}"', body)


def node_html(found: NodeInspection, *, live: bool = True) -> str:
    """What flows into and out of one node; the edges themselves stand below as buttons."""
    node = found.node
    body = (
        f"<h3>{node.label}</h3><code>{node.id}</code>"
        f"<p><b>{len(found.incoming)}</b> kept edges in, <b>{len(found.outgoing)}</b> out"
        + (
            ", ranked below by the size of their effect</p>"
            if live and len(found.incoming) + len(found.outgoing)
            else "</p>"
        )
    )
    if found.attention is not None:
        body += f"<h4>Attention</h4>{_attention(found.attention)}"
    return _panel(f'data-node="{escape(node.id, quote=True)}"', body)


def _names(edge: Edge) -> str:
    return f'data-edge="{escape(edge.id, quote=True)}"'


def _panel(attributes: str, body: str) -> str:
    return f'<div class="acdc-edge-panel" aria-live="polite" {attributes}>{body}</div>'


def _edge_title(edge: Edge) -> str:
    kind = edge.receiver.qkv
    composition = f' <span class="acdc-{kind}">{KIND_NAMES[kind]}</span>' if kind else ""
    return f"<h3>{escape(edge.label)}</h3><code>{escape(edge.id)}</code>{composition}"


def _number(value: float, unit: str) -> str:
    return "–" if math.isnan(value) else f"{value:+.3f} {escape(unit)}"


def _percent(value: float, full: float) -> str:
    return "–" if math.isnan(value) or not full else f"{value / abs(full):+.1%}"


def _stand_in(found: EdgeInspection, circuit: Circuit) -> str:
    """Says so if an edge matters only because others have been removed."""
    threshold, method = circuit.threshold, circuit.settings.method
    redundant = abs(found.effect_alone) < threshold <= abs(found.effect_when_decided)
    if found.state != KEPT or method != "acdc" or not redundant:
        return ""
    return (
        '<p class="acdc-note">Alone in the full model it does less than the threshold: other edges '
        "can stand in for it (a backup, an OR gate). Which of them is kept depends on the order of "
        "the tests: the last one tested stays.</p>"
    )


def _bars(values: pd.Series, chosen: str | None, live: bool) -> str:
    """A table of labels, bars on both sides of a zero line, and numbers; rows can be clicked."""
    largest = max(values.abs().max(), 1e-9)
    width, middle = 130, 65
    rows = []
    for label, value in values.items():
        length = abs(value) / largest * (middle - 2)
        left = middle if value >= 0 else middle - length
        colour = POSITIVE if value >= 0 else NEGATIVE
        button = (
            f' data-position="{escape(str(label), quote=True)}" role="button" tabindex="0" '
            f'aria-pressed="{"true" if label == chosen else "false"}"'
        )
        rows.append(
            f'<tr{button if live else ""}><th scope="row">{escape(str(label))}</th><td>'
            f'<svg width="{width}" height="14" aria-hidden="true">'
            f'<rect x="{left:.1f}" y="2" width="{max(length, 0.5):.1f}" height="10" '
            f'fill="{colour}"/><line class="zero" x1="{middle}" x2="{middle}" y1="0" y2="14"/>'
            f'</svg></td><td class="num">{value:+.3f}</td></tr>'
        )
    return f'<table aria-label="effect by position">{"".join(rows)}</table>'


def _spread(by_prompt: pd.Series) -> str:
    """Every prompt as a tick on a line from the smallest effect to the largest."""
    low, high = min(by_prompt.min(), 0.0), max(by_prompt.max(), 0.0)
    span = max(high - low, 1e-9)
    width = 270

    def x(value: float) -> float:
        return 6 + (value - low) / span * (width - 12)

    ticks = "".join(
        f'<line x1="{x(value):.1f}" x2="{x(value):.1f}" y1="4" y2="18" '
        f'stroke="{POSITIVE if value >= 0 else NEGATIVE}" stroke-opacity=".55" stroke-width="1.5"/>'
        for value in by_prompt
    )
    deviation = by_prompt.std(ddof=0)
    return (
        f'<svg width="{width}" height="34" role="img" aria-label="effect on each prompt">{ticks}'
        f'<line class="zero" x1="{x(0):.1f}" x2="{x(0):.1f}" y1="0" y2="22"/>'
        f'<text x="2" y="32">{low:+.2f}</text>'
        f'<text x="{width - 2}" y="32" text-anchor="end">{high:+.2f}</text></svg>'
        f'<p class="acdc-muted">mean {by_prompt.mean():+.3f}, standard deviation {deviation:.3f}, '
        f"{(by_prompt > 0).mean():.0%} of {len(by_prompt)} prompts positive</p>"
    )


def _prompts(by_prompt: pd.Series, task: Task) -> str:
    effects = by_prompt.to_numpy()
    if np.abs(effects).max() < _VISIBLE:
        return "<p>No prompt is affected.</p>"
    largest = np.argsort(-np.abs(effects))[:_PROMPTS_SHOWN]
    return "<p>Most affected:</p>" + "".join(
        f'<div class="acdc-prompt"><b>{effects[number]:+.3f}</b> '
        f"{escape(task.texts[number] if task.texts else f'prompt {number}')}</div>"
        for number in largest
    )


def _attention(table: pd.DataFrame) -> str:
    """From rows to columns, as a heat map with numbers."""
    head = "".join(f'<th scope="col">{escape(str(column))}</th>' for column in table.columns)
    rows = []
    for label, weights in table.iterrows():
        cells = "".join(
            f'<td class="num" style="background:rgba(0,114,178,{0.6 * weight:.2f})">'
            f"{weight:.2f}</td>"
            for weight in weights
        )
        rows.append(f'<tr><th scope="row">{escape(str(label))}</th>{cells}</tr>')
    return (
        f'<table aria-label="attention"><tr><th>from ↓ to →</th>{head}</tr>{"".join(rows)}</table>'
    )
