"""What is told of heads, as HTML. Pure functions; all foreign text is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import numpy as np
import pandas as pd

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.explorer.attention_html import attention_table
from acdc_explorer.explorer.heads.heat_map import heat_map, token_shown
from acdc_explorer.explorer.style import NEGATIVE, POSITIVE
from acdc_explorer.explorer.words import counted, signed, smallest_effect
from acdc_explorer.graph import REST, Edge, Node
from acdc_explorer.heads.describe import HeadDescriptions
from acdc_explorer.heads.inspect import HeadOnPrompt
from acdc_explorer.tasks.task import Task

NOT_YET = (
    "<p>As soon as a search has ended, the attention heads of the circuit stand here, each with "
    "what was measured of it: where it looks, and what it writes towards the answer.</p>"
)
MEASURING = "<p>Measuring the heads …</p>"
CHOOSE = (
    '<p class="acdc-muted">Choose a head in the table, or a head or an edge of one in the graph, '
    "to see its attention on a prompt.</p>"
)
# Of the tokens that END attends to, and of the edges on either side.
_TOKENS_NAMED, _EDGES_NAMED = 4, 8


def summary_html(found: HeadDescriptions, *, without_backups: bool = False) -> str:
    """What the table holds, and what can be done here.

    Args:
        found: what was measured.
        without_backups: whether backup heads are still being looked for.
    """
    n_heads, n_named = len(found.table), int(found.table.suggestion.notna().sum())
    source = f" ({escape(found.source)})" if found.source else ""
    suggested = f"for {n_named} of them a class of the literature{source} is suggested, from "
    suggested += "measured facts alone"
    if not n_named:
        suggested = "no class of the literature is suggested for any of them"
    waits = " Looking for backup heads …" if without_backups else ""
    return (
        f"<p><b>{counted(n_heads, 'head')}</b> with kept edges; {suggested}.{waits}</p>"
        "<p class='acdc-muted'>Choose one to see its attention on a prompt, clean and corrupted, "
        "and what it writes towards the answer.</p>"
    )


def no_head_html(node: Node, writes: Mapping[str, float] | None) -> str:
    """What is told of a node that is no head.

    Args:
        node: the node.
        writes: what it writes towards the answer, clean and corrupted, if that is known.
    """
    told = f"<b>{node.label}</b> is no attention head."
    if writes is not None:
        told += (
            f" It writes {writes['clean']:+.3f} logits towards the answer directly, mean over clean"
            f" prompts; on corrupted ones {writes['corrupted']:+.3f}."
        )
    return f"<p>{told}</p>{CHOOSE}"


def prompt_line(task: Task, prompt: int) -> str:
    """Which prompt is shown, in words."""
    text = task.texts[prompt] if task.texts else ""
    return f'<span class="acdc-prompt-line">of {task.n_prompts:,} &nbsp; {escape(text)}</span>'


def head_html(
    found: HeadOnPrompt,
    task: Task,
    circuit: Circuit,
    by_label: pd.DataFrame,
    described: Mapping[str, object] | None,
    *,
    live: bool = True,
) -> str:
    """One head on one prompt.

    Args:
        found: what was measured.
        task: of the circuit.
        circuit: in which it was measured.
        by_label: its mean attention between labels.
        described: its row of `HeadDescriptions.table`; None: there is none, or not yet.
        live: whether edges can be clicked.
    """
    return (
        f'<div class="acdc-edge-panel acdc-head-panel" data-node="{found.head.id}" '
        f'data-prompt="{found.prompt}">{_title(found, described)}'
        f"<p>{_at_end(found)}</p>"
        '<div class="acdc-head-facts">'
        f"<section><h4>Writes towards the answer</h4>{_bars(found, described)}</section>"
        f"<section><h4>Mean attention over all prompts</h4>{attention_table(by_label)}</section>"
        f"<section><h4>Its kept edges</h4>{_edges(found.head, circuit, live)}</section>"
        f"</div><h4>Attention on prompt {found.prompt}</h4>{_maps(found, task)}</div>"
    )


def saved_html(found: HeadDescriptions, head: str) -> str:
    """The heads, and one of them on a prompt, for a page without a kernel.

    Args:
        found: what was measured.
        head: as `head_html` made it, or nothing.
    """
    rows = "".join(
        f"<tr><td>{escape(Node.parse(str(name)).label)}</td>"
        f"<td>{escape(row['suggestion'] or '')}</td><td>{escape(row['facts'])}</td>"
        f'<td class="num">{row["writes"]:+.3f}</td></tr>'
        for name, row in found.table.to_dict("index").items()
    )
    return (
        "<h2>Heads of the circuit</h2><table><tr><th>head</th><th>perhaps</th>"
        f"<th>what stands out</th><th>writes (logits)</th></tr>{rows}</table>{head}"
    )


def _title(found: HeadOnPrompt, described: Mapping[str, object] | None) -> str:
    title = f'<h3>{found.head.label} <span class="acdc-muted">on prompt {found.prompt}</span></h3>'
    if described is None:
        return title
    perhaps = ""
    if described["suggestion"]:
        perhaps = (
            f"<p>Perhaps a <b>{escape(str(described['suggestion']))}</b> <span class='acdc-muted'>"
            f"(a suggestion)</span>: {escape(str(described['evidence']))}.</p>"
        )
    page = ""
    if described["page"]:
        address = escape(str(described["page"]), quote=True)
        host = address.split("/")[2]
        page = (
            f'<p><a href="{address}" target="_blank" rel="noopener noreferrer">A public page about '
            f"this head</a> <span class='acdc-muted'>(opens {host})</span></p>"
        )
    return f"{title}<p>{escape(str(described['facts']))}</p>{perhaps}{page}"


def _at_end(found: HeadOnPrompt) -> str:
    """Where it looks from END, in words."""
    told = []
    runs = [("clean", found.clean, found.tokens)]
    runs.append(("corrupted", found.corrupted, found.corrupted_tokens))
    if found.in_circuit is not None:
        runs.append(("in the circuit", found.in_circuit, found.tokens))
    for name, pattern, tokens in runs:
        most = [key for key in np.argsort(-pattern[-1])[:_TOKENS_NAMED] if pattern[-1, key] >= 0.05]
        parts = ", ".join(
            f"<code>{escape(token_shown(tokens[key]))}</code> {pattern[-1, key]:.2f}"
            for key in most
        )
        told.append(f"{name}: {parts or 'to nothing above 0.05'}")
    return f"From END it attends to … {'; '.join(told)}."


def _maps(found: HeadOnPrompt, task: Task) -> str:
    labels = _labels(task, found.prompt, len(found.tokens))
    clean, corrupted = found.tokens, found.corrupted_tokens
    maps = [
        heat_map("Clean prompt", found.clean, clean, clean, labels),
        heat_map("Corrupted prompt", found.corrupted, corrupted, corrupted, labels),
        heat_map("Clean − corrupted", found.difference, clean, clean, labels, signed=True),
    ]
    note = "; no kept edges lead from it to the logits, so that it does nothing in the circuit"
    if found.in_circuit is not None:
        maps.append(heat_map("In the circuit", found.in_circuit, clean, clean, labels))
        note = ""
    return (
        f'<div class="acdc-heats">{"".join(maps)}</div>'
        '<p class="acdc-muted">Rows: the token that attends; columns: the one attended to; bold: '
        "labelled positions. The stronger the colour, the more; in the difference blue is more on "
        f"the clean prompt, vermillion less. Point at a cell for its number{note}.</p>"
    )


def _labels(task: Task, prompt: int, length: int) -> dict[int, str]:
    """Token number -> the labels that it has, on one prompt."""
    labels: dict[int, str] = {}
    for label, mask in task.position_masks.items():
        if label == REST:
            continue
        for at in mask[prompt, :length].nonzero()[:, 0].tolist():
            labels[at] = f"{labels[at]},{label}" if at in labels else label
    return labels


def _bars(found: HeadOnPrompt, described: Mapping[str, object] | None) -> str:
    """Direct logit attribution, on this prompt and on average, clean and corrupted."""
    values = {
        "this prompt, clean": found.writes_clean,
        "this prompt, corrupted": found.writes_corrupted,
    }
    if described is not None:
        values["all prompts, clean"] = float(described["writes"])  # type: ignore[arg-type]
        values["all prompts, corrupted"] = float(described["writes_corrupted"])  # type: ignore[arg-type]
    largest = max(*map(abs, values.values()), 1e-3)
    width, middle = 100, 50
    rows = []
    for name, value in values.items():
        length = abs(value) / largest * (middle - 2)
        left = middle if value >= 0 else middle - length
        rows.append(
            f'<tr><th scope="row">{name}</th><td><svg width="{width}" height="14" '
            f'aria-hidden="true"><rect x="{left:.1f}" y="2" width="{max(length, 0.5):.1f}" '
            f'height="10" fill="{POSITIVE if value >= 0 else NEGATIVE}"/><line class="zero" '
            f'x1="{middle}" x2="{middle}" y1="0" y2="14"/></svg></td>'
            f'<td class="num">{value:+.3f}</td></tr>'
        )
    return (
        f'<table aria-label="direct logit attribution">{"".join(rows)}</table>'
        '<p class="acdc-muted">Its own part of the logit difference, in logits, the final norm’s '
        "scale being that of the clean run (direct logit attribution); before a cap on logits, if "
        "the model has one.</p>"
    )


def _edges(head: Node, circuit: Circuit, live: bool) -> str:
    """The kept edges into and out of a head, the largest first."""
    effects = circuit.kept_effects
    smallest = smallest_effect(circuit)
    sides = {
        "in": [edge for edge in effects if edge.receiver.node == head],
        "out": [edge for edge in effects if edge.sender == head],
    }
    lists = []
    for side, edges in sides.items():
        edges.sort(key=lambda edge: -abs(effects[edge]))
        named = "".join(
            _edge(edge, signed(effects[edge], smallest), live) for edge in edges[:_EDGES_NAMED]
        )
        more = len(edges) - _EDGES_NAMED
        rest = f'<li class="acdc-muted">and {more} more</li>' if more > 0 else ""
        lists.append(
            f"<div><b>{counted(len(edges), 'edge')} {side}</b><ul>{named}{rest}</ul></div>"
        )
    return f'<div class="acdc-head-edges">{"".join(lists)}</div>'


def _edge(edge: Edge, effect: str, live: bool) -> str:
    name = f"{escape(edge.label)} <b>{effect}</b>"
    if not live:
        return f"<li>{name}</li>"
    return f'<li><button data-edge="{escape(edge.id, quote=True)}">{name}</button></li>'


def ends_of(found: Edge | Node) -> list[Node]:
    """The heads that a selection is about: a head, or those at the ends of an edge."""
    nodes = (found,) if isinstance(found, Node) else (found.sender, found.receiver.node)
    return [node for node in dict.fromkeys(nodes) if node.kind == "head"]
