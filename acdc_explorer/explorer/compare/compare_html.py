"""What the tab of two circuits says, as HTML. Pure functions; all foreign text is escaped.

Elements with `data-compare` act as buttons: "with:KEY" chooses what to compare with, "unpin:NUMBER"
lets go of a pinned circuit, "edge:ID" and "node:ID" select.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import pandas as pd

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.comparison import BOTH, FIRST, SECOND, Comparison
from acdc_explorer.explorer.words import counted, effect_in_words

# Rows of a list; the table in Python has all.
_LISTED = 200
INTRODUCTION = (
    "Lays another circuit over the graph: edges of both are drawn as always, those that only this "
    "circuit has on a broad band, those that only the other one has in dash-dots, and the key "
    "hides each of them. Choose what to compare with:"
)


@dataclass(frozen=True)
class Choice:
    """Something to compare with.

    Attributes:
        key: of its button.
        name: on it.
        title: says more.
        pin: the number of a pinned circuit; None: it is none.
    """

    key: str
    name: str
    title: str = ""
    pin: int | None = None


def choices_html(groups: Sequence[tuple[str, Sequence[Choice]]], chosen: str) -> str:
    """Buttons to choose what to compare with.

    Args:
        groups: the name of each, and what there is to choose in it.
        chosen: key of what was chosen.
    """
    rows = "".join(
        f'<div class="acdc-choices"><span class="acdc-muted">{escape(name)}</span>'
        f'<span class="acdc-choice-row">{"".join(_choice(each, chosen) for each in choices)}'
        "</span></div>"
        for name, choices in groups
        if choices
    )
    return f'<div class="acdc-compare"><p>{INTRODUCTION}</p>{rows}</div>'


def _choice(choice: Choice, chosen: str) -> str:
    is_chosen = str(choice.key == chosen).lower()
    button = (
        f'<button type="button" data-compare="with:{escape(choice.key)}" aria-pressed="{is_chosen}"'
        f' title="{escape(choice.title)}">{escape(choice.name)}</button>'
    )
    if choice.pin is None:
        return button
    title = f"Let go of pinned circuit {choice.pin}"
    return (
        f'{button}<button type="button" class="acdc-unpin" data-compare="unpin:{choice.pin}" '
        f'title="{title}" aria-label="{title}">×</button>'
    )


def threshold_name(circuit: Circuit) -> str:
    """A circuit of another threshold on a button: the threshold, its edges, how faithful it is."""
    threshold = f"{circuit.threshold:.3g}"
    if circuit.full_metric:
        threshold = f"{100 * circuit.threshold / abs(circuit.full_metric):.3g}%"
    score = "" if math.isnan(circuit.faithfulness) else f", {circuit.faithfulness:.0%} faithful"
    return f"{threshold}: {counted(len(circuit.kept), 'edge')}{score}"


def comparison_html(comparison: Comparison, circuit: Circuit, *, live: bool = True) -> str:
    """How the two circuits compare.

    Args:
        comparison: of the circuit that is shown with another one.
        circuit: that is shown.
        live: whether edges and nodes can be selected.
    """
    n_both, n_here, n_there = (comparison.n(where) for where in (BOTH, FIRST, SECOND))
    names = (("here", comparison.first), ("there", comparison.second))
    rows = "".join(
        f'<tr><th scope="row">{told}</th><td>{escape(name)}</td><td class="num">{n_both + n:,}</td>'
        f'<td class="num">{"–" if math.isnan(score) else f"{score:.1%}"}</td></tr>'
        for (told, name), n, score in zip(
            names, (n_here, n_there), comparison.faithfulness, strict=True
        )
    )
    lists = (
        (BOTH, "In both", "effect_first"),
        (FIRST, "Only here", "effect_first"),
        (SECOND, "Only there", "effect_second"),
    )
    columns = "".join(
        _list(comparison.edges, where, title, column, circuit, live=live)
        for where, title, column in lists
    )
    same = "" if n_here or n_there else " The two have the same edges."
    return (
        f'<div class="acdc-compared" data-both="{n_both}" data-here="{n_here}" '
        f'data-there="{n_there}"><table><thead><tr><th></th><th>circuit</th><th>edges</th>'
        f"<th>faithfulness</th></tr></thead><tbody>{rows}</tbody></table>"
        f"<p><b>{counted(n_both, 'edge')} in both</b>, {n_here:,} only here, {n_there:,} only "
        f"there; Jaccard index <b>{comparison.jaccard:.2f}</b> "
        f'<span class="acdc-muted">(edges of both over edges of either)</span>.{same}</p>'
        f'<div class="acdc-columns">{columns}{_components(comparison, circuit, live=live)}</div>'
        "</div>"
    )


def _list(
    edges: pd.DataFrame, where: str, title: str, column: str, circuit: Circuit, *, live: bool
) -> str:
    """The edges of one part, the largest effect first."""
    part = edges[edges["where"] == where]
    ordered = part.iloc[part[column].abs().fillna(-1).argsort(kind="stable")[::-1]]
    parse, told = circuit.graph.parse_edge, ordered.head(_LISTED)
    rows = "".join(
        f"<li>{_button(f'edge:{edge}', parse(edge).label, live=live)}"
        f'<span class="num">{effect_in_words(effect, circuit)}</span></li>'
        for edge, effect in zip(told.edge, told[column], strict=True)
    )
    more = len(part) - len(told)
    rest = f'<li class="acdc-muted">and {counted(more, "smaller one")}</li>' if more else ""
    body = f"<ul>{rows}{rest}</ul>" if len(part) else '<p class="acdc-muted">none</p>'
    return f"<section><h4>{title} ({len(part):,})</h4>{body}</section>"


def _components(comparison: Comparison, circuit: Circuit, *, live: bool) -> str:
    """How many edges of each node are of both and of one alone; the most different first."""
    components, parse = comparison.components, circuit.graph.parse_node
    differing = (components[FIRST] + components[SECOND]).argsort(kind="stable")[::-1]
    ordered = components.iloc[differing].head(_LISTED)
    rows = "".join(
        f'<tr><th scope="row">{_button(f"node:{node}", parse(node).label, live=live)}</th>'
        f'<td class="num">{both:,}</td><td class="num">{here:,}</td>'
        f'<td class="num">{there:,}</td></tr>'
        for node, both, here, there in ordered.itertuples(index=False)
    )
    return (
        "<section><h4>By component</h4><table><thead><tr><th>edges in and out</th><th>both</th>"
        f"<th>here</th><th>there</th></tr></thead><tbody>{rows}</tbody></table></section>"
    )


def _button(key: str, text: str, *, live: bool) -> str:
    if not live:
        return f"<span>{escape(text)}</span>"
    return f'<button type="button" data-compare="{escape(key)}">{escape(text)}</button>'
