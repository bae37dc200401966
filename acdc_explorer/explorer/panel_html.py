"""The HTML of the side panel and the status line. Pure functions; all foreign text is escaped."""

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
from acdc_explorer.runner.state import Snapshot, Trust
from acdc_explorer.searches.audit import CONFIDENCE
from acdc_explorer.tasks import Task

_PROMPTS_SHOWN = 4
# Of edges that verification puts right.
_NAMED = 3
# Of an error's first line, so many letters are shown at once.
_LINE = 120
# Effects smaller than this are written as 0.000.
_VISIBLE = 5e-4


def status_html(
    snapshot: Snapshot, n_drawn: int, unit: str, shown_position: str | None = None
) -> str:
    """Where the circuit stands, in one line that is always there."""
    circuit = snapshot.circuit
    text = _standing(circuit, n_drawn, unit) if circuit else "no circuit yet"
    if snapshot.trust:
        text += f" &nbsp;·&nbsp; {_trust(snapshot.trust, snapshot.exploring)}"
    if snapshot.note:
        text += f" &nbsp;·&nbsp; {escape(snapshot.note)}"
    if circuit and shown_position is not None and not circuit.graph.labels:
        text += (
            f" &nbsp;·&nbsp; <b>edges drawn by what they add at {escape(shown_position)}</b> "
            "(click the bar again for all positions)"
        )
    return (
        f'<div class="acdc-status" role="status" data-status="{snapshot.status}">'
        f'<span class="acdc-badge">{snapshot.status}</span>{text}</div>'
    )


def _standing(circuit: Circuit, n_drawn: int, unit: str) -> str:
    n_kept = len(circuit.kept)
    faithfulness = circuit.faithfulness
    screened = f"<b>{circuit.n_screened:,}</b> screened / " if circuit.n_screened else ""
    parts = [
        f"<b>{n_kept:,}</b> kept / <b>{circuit.n_tested:,}</b> tested / {screened}"
        f"<b>{circuit.graph.n_edges:,}</b> edges"
        + (f" (the {n_drawn} largest drawn)" if n_drawn < n_kept else ""),
        f"{escape(circuit.metric_name.replace('_', ' '))}: full <b>{circuit.full_metric:.3f}</b>, "
        f"circuit <b>{_value(circuit.metric_value)}</b>, corrupted "
        f"<b>{circuit.corrupted_metric:.3f}</b> {escape(unit)}",
        *([f"rule {circuit.settings.rule}"] if circuit.settings.rule != "abs" else []),
        f"faithfulness <b>{'–' if math.isnan(faithfulness) else f'{faithfulness:.1%}'}</b>",
    ]
    return " &nbsp;·&nbsp; ".join(parts)


def _trust(trust: Trust, exploring: bool) -> str:
    """How far a screened circuit can be trusted, by what the background has found out."""
    verified = trust.share_verified
    parts = ["<b>screened</b>" if verified < 1 else "<b>verified</b>: every edge tested"]
    if trust.audit is None:
        parts.append("audit …" if exploring else "not audited")
    elif verified < 1:
        audit = trust.audit
        parts.append(
            f"audit <b>{len(audit.wrong)} of {len(audit.tests)}</b> wrong "
            f"(&lt; {audit.most_wrong:.1%} at {CONFIDENCE:.0%})"
        )
    if 0 < verified < 1:
        # Rounded down: 100% is when it is done.
        parts.append(f"<b>{int(100 * verified)}%</b> verified")
    if trust.corrected:
        ids = ", ".join(f"<code>{escape(each)}</code>" for each in trust.corrected[:_NAMED])
        more = len(trust.corrected) - _NAMED
        parts.append(f"put right, stays: {ids}" + (f" and {more} more" if more > 0 else ""))
    return f'<span class="acdc-trust">{" · ".join(parts)}</span>'


def _value(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def progress_text(snapshot: Snapshot) -> str:
    """How far the search has come, how fast it is, how long it will take."""
    circuit, activity = snapshot.circuit, escape(snapshot.activity)
    if circuit is None:
        return (activity or "loading the model …") if snapshot.status == "loading" else ""
    if activity and snapshot.status in ("loading", "running"):
        return activity
    looking = ""
    if snapshot.target is not None and snapshot.status in ("running", "paused"):
        looking = f"for {snapshot.target:.0%}: threshold {circuit.threshold:.3g} · "
    share = f"{looking}{snapshot.n_done:,} of {circuit.graph.n_edges:,} decided"
    # Where most edges go without a test, the number of tests says little.
    rate = "" if circuit.settings.screen else f" · {snapshot.rate:,.0f} tests/s"
    if snapshot.status in ("running", "paused") and snapshot.seconds_left is not None:
        return f"{share}{rate} · {_duration(snapshot.seconds_left)} left"
    return f"{share}{rate} · took {_duration(snapshot.seconds)}"


def _duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def error_html(error: Exception | str | None) -> str:
    """An error, in words, or nothing: one line, and what follows it when that is opened."""
    if error is None:
        return ""
    text = error if isinstance(error, str) else f"{error}" or type(error).__name__
    first, _, rest = text.strip().partition("\n")
    if len(first) > _LINE:
        cut = first[:_LINE].rfind(" ") if " " in first[:_LINE] else _LINE
        first, rest = f"{first[:cut]} …", text
    told = escape(first)
    if rest:
        told = f"<details><summary>{told}</summary><pre>{escape(rest)}</pre></details>"
    return f'<div class="acdc-error" role="alert">{told}</div>'


def empty_html() -> str:
    """The panel before anything is chosen."""
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
    unit: str,
    shown_position: str | None = None,
) -> str:
    """All that is known of one edge."""
    full = circuit.full_metric
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
    hint = "click one to go to that edge" if labels else "click one to see it in the graph"
    body = (
        f"{_edge_title(found.edge)}<p><b>{found.state}</b> at threshold "
        f"{circuit.threshold:.3g} {escape(unit)}</p>"
        f'<table aria-label="effects"><tr><th>Effect on the metric</th><th></th>'
        f"<th>of full</th></tr>{effects}</table>"
        '<p class="acdc-muted">Effect: the metric with the edge minus the metric without it.</p>'
        f"{_stand_in(found, circuit)}"
        f"<h4>By position <span class='acdc-muted'>(at that position only; {hint})</span></h4>"
        f"{_bars(found.by_position, chosen)}"
        f'<p class="acdc-muted">Positions sum to {total:+.3f}; the edge at all of them is '
        f"{found.whole_effect:+.3f}: they interact by {found.interaction:+.3f}.</p>"
        f"<h4>By prompt</h4>{_spread(found.by_prompt)}{_prompts(found.by_prompt, task)}"
    )
    names = {"sender": found.edge.sender, "receiver": found.edge.receiver.node}
    for end, table in found.attention.items():
        body += f"<h4>Attention of {names[end].label} ({end})</h4>{_attention(table)}"
    return _panel(f'{_names(found.edge)} data-effect="{found.effect:.6f}"', body)


def node_html(found: NodeInspection) -> str:
    """What flows into and out of one node; the edges themselves stand below as buttons."""
    node = found.node
    body = (
        f"<h3>{node.label}</h3><code>{node.id}</code>"
        f"<p><b>{len(found.incoming)}</b> kept edges in, <b>{len(found.outgoing)}</b> out"
        + (
            ", ranked below by the size of their effect</p>"
            if len(found.incoming) + len(found.outgoing)
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


def _bars(values: pd.Series, chosen: str | None = None) -> str:
    """A table of labels, bars on both sides of a zero line, and numbers; rows can be clicked."""
    largest = max(values.abs().max(), 1e-9)
    width, middle = 130, 65
    rows = []
    for label, value in values.items():
        length = abs(value) / largest * (middle - 2)
        left = middle if value >= 0 else middle - length
        colour = POSITIVE if value >= 0 else NEGATIVE
        rows.append(
            f'<tr data-position="{escape(str(label), quote=True)}" role="button" tabindex="0" '
            f'aria-pressed="{"true" if label == chosen else "false"}"><th scope="row">'
            f"{escape(str(label))}</th><td>"
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
