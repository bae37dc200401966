"""The HTML of the side panel. Pure functions; all foreign text is escaped.

What is not `live`, a page without a kernel, offers nothing to click.
"""

from __future__ import annotations

import math
from html import escape

import numpy as np
import pandas as pd

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.connected import linked_nodes
from acdc_explorer.circuits.tables import KEPT, REMOVED, UNTESTED
from acdc_explorer.explorer.attention_html import attention_table
from acdc_explorer.explorer.style import KIND_NAMES, NEGATIVE, POSITIVE
from acdc_explorer.explorer.task_html import task_html
from acdc_explorer.explorer.words import (
    counted,
    effect_in_words,
    signed,
    smallest_effect,
    with_unit,
)
from acdc_explorer.graph import Edge
from acdc_explorer.inspection import EdgeEffect, EdgeInspection, NodeInspection, state_of
from acdc_explorer.tasks import Task

_PROMPTS_SHOWN = 4
_STATES = {KEPT: "kept", REMOVED: "removed", UNTESTED: "not tested yet"}


def empty_html(task: Task | None, *, live: bool = True) -> str:
    """The panel before anything is chosen: what the task is, as soon as there is one."""
    hint = (
        "<h3>Nothing selected</h3><p>Click an edge to see what it adds to the metric, and at which "
        "positions; click a node for what flows in and out of it. Or type the name of one above."
        "</p>"
    )
    return _panel("", (hint if live else "") + (task_html(task) if task else ""))


def pending_html(edge: Edge, circuit: Circuit) -> str:
    """The panel between a click and its answer: what is known already."""
    decided = ""
    for step in circuit.decisions:
        if step.edge == edge:
            how = "predicted effect" if step.screened else "effect when decided"
            decided = f"{how} {signed(step.effect, smallest_effect(circuit))} · "
    title = _edge_title(edge, circuit)
    return _panel(_names(edge, circuit), f"{title}<p>{decided}measuring …</p>")


def message_html(message: str) -> str:
    """The panel with an explanation why it cannot show what was asked for."""
    return _panel("", f'<p class="acdc-error">{escape(message)}</p>')


def edge_html(
    found: EdgeEffect,
    circuit: Circuit,
    task: Task,
    shown_position: str | None = None,
    *,
    live: bool = True,
) -> str:
    """All that is known of one edge.

    Args:
        found: what was measured; while it is no `EdgeInspection`, that goes on.
        circuit: that it was measured in.
        task: of the circuit.
        shown_position: the position label by which the graph draws edges, or None.
        live: whether bars can be clicked.
    """
    labels, smallest = circuit.graph.labels, smallest_effect(circuit)
    chosen = found.edge.receiver.position if labels else shown_position
    hint = ""
    if live:
        hint = "; click one to go to that edge" if labels else "; click one to see it in the graph"
    if isinstance(found, EdgeInspection):
        measured = f'data-effect="{found.effect:.6f}"'
        alone, note = _effect_cells(found.effect_alone, circuit), _stand_in(found, circuit)
        by_position = f"{_bars(found.by_position, smallest, chosen, live)}{_sum(found, smallest)}"
    else:
        measured, alone, note = 'aria-busy="true"', '<td class="num">measuring …</td><td></td>', ""
        by_position = "<p>measuring …</p>"
    rows = {
        "in this circuit": _effect_cells(found.effect, circuit),
        "when it was decided": _effect_cells(found.effect_when_decided, circuit),
        "alone in the full model": alone,
    }
    effects = "".join(f'<tr><th scope="row">{row}</th>{cells}</tr>' for row, cells in rows.items())
    body = (
        f"{_edge_title(found.edge, circuit)}<p><b>{_STATES[found.state]}</b> at threshold "
        f"{with_unit(f'{circuit.threshold:.3g}', circuit.metric_unit)}</p>"
        f'<table aria-label="effects"><tr><th>Effect on the metric</th><th></th>'
        f"<th>of full</th></tr>{effects}</table>"
        '<p class="acdc-muted">Effect: the metric with the edge minus the metric without it.</p>'
        f"{note}{_cut_off(found, circuit)}"
        f"<h4>By position <span class='acdc-muted'>(at that position only{hint})</span></h4>"
        f"{by_position}"
        f"<h4>By prompt</h4>{_prompts(found.by_prompt, smallest, task)}"
    )
    names = {"sender": found.edge.sender, "receiver": found.edge.receiver.node}
    for end, table in found.attention.items():
        body += f"<h4>Attention of {names[end].label} ({end})</h4>{attention_table(table)}"
    return _panel(f"{_names(found.edge, circuit)} {measured}", body)


def node_html(found: NodeInspection, *, live: bool = True) -> str:
    """What flows into and out of one node; the edges themselves stand below as buttons."""
    node = found.node
    body = (
        f"<h3>{node.label}</h3><code>{node.id}</code>"
        f"<p><b>{counted(len(found.incoming), 'kept edge')}</b> in, "
        f"<b>{len(found.outgoing)}</b> out"
        + (
            ", ranked below by the size of their effect</p>"
            if live and len(found.incoming) + len(found.outgoing)
            else "</p>"
        )
    )
    if found.attention is not None:
        body += f"<h4>Attention</h4>{attention_table(found.attention)}"
    return _panel(f'data-node="{escape(node.id, quote=True)}"', body)


def _names(edge: Edge, circuit: Circuit) -> str:
    return f'data-edge="{escape(edge.id, quote=True)}" data-state="{state_of(circuit, edge)}"'


def _panel(attributes: str, body: str) -> str:
    return f'<div class="acdc-edge-panel" {attributes}>{body}</div>'


def _edge_title(edge: Edge, circuit: Circuit) -> str:
    kind, state = edge.receiver.qkv, _STATES[state_of(circuit, edge)]
    composition = f' <span class="acdc-{kind}">{KIND_NAMES[kind]}</span>' if kind else ""
    return (
        f'<h3><span class="acdc-name">{escape(edge.label)}</span> '
        f'<span class="acdc-state">{state}</span></h3>'
        f"<code>{escape(edge.id)}</code>{composition}"
    )


def _effect_cells(effect: float, circuit: Circuit) -> str:
    """An effect, and its share of the clean metric, as cells of a table."""
    return (
        f'<td class="num">{effect_in_words(effect, circuit)}</td>'
        f'<td class="num">{_share(effect, circuit)}</td>'
    )


def _share(effect: float, circuit: Circuit) -> str:
    """Of the clean metric."""
    if math.isnan(effect) or not circuit.full_metric:
        return "–"
    if abs(effect) < smallest_effect(circuit):
        return ""
    share = effect / abs(circuit.full_metric)
    return f"{share:+.1%}" if abs(share) >= 0.0005 else f"{share:+.2%}"


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


def _cut_off(found: EdgeEffect, circuit: Circuit) -> str:
    """Says why an edge is kept that lies on no path from the input to the logits."""
    edge, cell = found.edge, circuit.graph.cell(found.edge)
    if not circuit.complete or not circuit.kept_mask[cell] or circuit.connected_mask[cell]:
        return ""
    reached, leading = linked_nodes(circuit.graph, circuit.kept_mask)
    nodes, why = circuit.graph.nodes, []
    if not reached[nodes.index(edge.sender)]:
        why.append(f"from the input to {edge.sender.label}")
    if not leading[nodes.index(edge.receiver.node)]:
        why.append(f"from {edge.receiver.node.label} to the logits")
    if circuit.settings.method == "acdc":
        kept = "It was kept when it was tested; what was removed later has cut it off"
    else:
        kept = "It was kept whatever became of the edges around it"
    title = "Leads from nothing" if len(why) == 2 or "input" in why[0] else "Leads to nothing"
    none = abs(found.effect) < smallest_effect(circuit)
    return (
        f'<p class="acdc-note"><b>{title}.</b> {kept}: no kept edges lead {" or ".join(why)}.'
        f"{' In this circuit it has no effect (0.000).' if none else ''}</p>"
    )


def _bars(values: pd.Series, smallest: float, chosen: str | None, live: bool) -> str:
    """A table of labels, bars on both sides of a zero line, and numbers; rows can be clicked."""
    largest = max(values.abs().max(), smallest)
    width, middle = 130, 65
    rows = []
    for label, value in values.items():
        length = abs(value) / largest * (middle - 2)
        left = middle if value >= 0 else middle - length
        colour = POSITIVE if value >= 0 else NEGATIVE
        bar = (
            f'<rect x="{left:.1f}" y="2" width="{max(length, 0.5):.1f}" height="10" '
            f'fill="{colour}"/>'
        )
        button = (
            f' data-position="{escape(str(label), quote=True)}" role="button" tabindex="-1" '
            f'aria-pressed="{"true" if label == chosen else "false"}"'
        )
        rows.append(
            f'<tr{button if live else ""}><th scope="row">{escape(str(label))}</th><td>'
            f'<svg width="{width}" height="14" aria-hidden="true">'
            f"{bar if abs(value) >= smallest else ''}"
            f'<line class="zero" x1="{middle}" x2="{middle}" y1="0" y2="14"/></svg></td>'
            f'<td class="num">{signed(value, smallest)}</td></tr>'
        )
    return f'<table aria-label="effect by position">{"".join(rows)}</table>'


def _sum(found: EdgeInspection, smallest: float) -> str:
    """How far the positions add up to the whole edge; nothing, where nothing is to be added up."""
    total, whole = float(found.by_position.sum()), found.whole_effect
    if max(found.by_position.abs().max(), abs(whole)) < smallest:
        return ""
    return (
        f'<p class="acdc-muted">Positions sum to {signed(total, smallest)}; the edge at all of '
        f"them is {signed(whole, smallest)}: they interact by "
        f"{signed(found.interaction, smallest)}.</p>"
    )


def _prompts(by_prompt: pd.Series, smallest: float, task: Task) -> str:
    """The effects on all prompts, and the prompts with the largest."""
    effects = by_prompt.to_numpy()
    affected = int((np.abs(effects) >= smallest).sum())
    if not affected:
        return "<p>No prompt is affected.</p>"
    largest = np.argsort(-np.abs(effects))[: min(affected, _PROMPTS_SHOWN)]
    positive = (effects >= smallest).mean()
    return (
        f"{_spread(effects, smallest)}"
        f'<p class="acdc-muted">mean {signed(effects.mean(), smallest)}, standard deviation '
        f"{effects.std():.3f}, {positive:.0%} of {counted(len(effects), 'prompt')} positive</p>"
        "<p>Most affected:</p>"
    ) + "".join(
        f'<div class="acdc-prompt"><b>{signed(effects[number], smallest)}</b> '
        f"{escape(task.texts[number] if task.texts else f'prompt {number}')}</div>"
        for number in largest
    )


def _spread(effects: np.ndarray, smallest: float) -> str:
    """Every prompt as a tick on a line from the smallest effect to the largest."""
    low, high = min(effects.min(), 0.0), max(effects.max(), 0.0)
    width = 270

    def x(value: float) -> float:
        return 6 + (value - low) / (high - low) * (width - 12)

    ticks = "".join(
        f'<line x1="{x(value):.1f}" x2="{x(value):.1f}" y1="4" y2="18" '
        f'stroke="{POSITIVE if value >= 0 else NEGATIVE}" stroke-opacity=".55" stroke-width="1.5"/>'
        for value in effects
        if abs(value) >= smallest
    )
    return (
        f'<svg width="{width}" height="34" role="img" aria-label="effect on each prompt">{ticks}'
        f'<line class="zero" x1="{x(0):.1f}" x2="{x(0):.1f}" y1="0" y2="22"/>'
        f'<text x="2" y="32">{signed(low, smallest)}</text>'
        f'<text x="{width - 2}" y="32" text-anchor="end">{signed(high, smallest)}</text></svg>'
    )
