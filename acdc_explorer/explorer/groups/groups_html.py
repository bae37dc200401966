"""What the tab with the groups says, as HTML."""

from __future__ import annotations

import math
from html import escape

import pandas as pd

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.groups import Group, Groups
from acdc_explorer.explorer.kept_groups import KeptGroups
from acdc_explorer.explorer.words import counted, effect_in_words
from acdc_explorer.measures.grouping import HeadSimilarity
from acdc_explorer.measures.scrubbed import Scrubbing

INTRO = (
    '<div class="acdc-groups"><p>Nodes that do the same can be taken together: a closed group is '
    "one node in the graph, with the sums of its members' edges; a click on it opens it. "
    "Checking a group exchanges what its members write between prompts that agree on the inputs "
    "that you name, and tells how much of the circuit's metric stays.</p></div>"
)
NOT_YET = (
    '<div class="acdc-groups acdc-muted"><p>Groups can be made once a circuit is found.</p></div>'
)
CHECKING = (
    '<div class="acdc-groups acdc-muted"><p>Exchanging outputs between prompts … '
    "the line above the graph tells how far it has come.</p></div>"
)


def alike_html(alike: HeadSimilarity | None, least: float) -> str:
    """Which groups a similarity makes, in a sentence.

    Args:
        alike: the heads, or None while that is measured.
        least: the similarity.
    """
    if alike is None:
        return '<span class="acdc-muted">measuring how alike the heads are …</span>'
    if len(alike.heads) < 2:
        return f"the circuit has {counted(len(alike.heads), 'head')}, none to compare"
    groups = alike.groups(least)
    n_heads = sum(len(group.nodes) for group in groups)
    if not groups:
        return f"none of its {len(alike.heads)} heads are so alike"
    return f"{counted(len(groups), 'group')} of {n_heads} of its {len(alike.heads)} heads"


def groups_html(kept: KeptGroups, circuit: Circuit) -> str:
    """The groups in a table, with buttons.

    Args:
        kept: groups whose nodes the circuit's model has.
        circuit: that is shown.
    """
    if not kept.groups:
        return (
            '<div class="acdc-groups acdc-muted"><p>There are no groups yet: make some by '
            "similarity, or write the names of nodes below.</p></div>"
        )
    edges, rows = kept.groups.edges(circuit), []
    inside = {node for edge in circuit.kept_effects for node in (edge.sender, edge.receiver.node)}
    for number, group in enumerate(kept.groups):
        is_closed = group.name in kept.closed
        members = ", ".join(
            f'<button type="button" class="acdc-link" data-group="select {node.id}" '
            f'title="Select {node.label}{"" if node in inside else ", which has no kept edge"}">'
            f"{node.label}</button>"
            for node in group.members
        )
        into, out = _sums(edges, group, circuit)
        buttons = "".join(
            f'<button type="button" data-group="{action} {number}" title="{title}">{text}</button>'
            for action, text, title in (
                ("toggle", "Open" if is_closed else "Close",
                 "Draw its members apart" if is_closed else "Draw it as one node"),
                ("edit", "Change", "Give it another name, or name its inputs"),
                ("dissolve", "Dissolve", "Its members then stand for themselves"),
            )
        )  # fmt: skip
        inputs = escape(", ".join(group.inputs)) or '<span class="acdc-muted">none named</span>'
        rows.append(
            f'<tr><th scope="row">{escape(group.name)}</th><td>{members}</td>'
            f'<td class="num">{into}</td><td class="num">{out}</td><td>{inputs}</td>'
            f'<td class="acdc-actions">{buttons}</td></tr>'
        )
    return (
        '<div class="acdc-groups"><table><thead><tr><th scope="col">group</th>'
        '<th scope="col">members</th><th scope="col" class="num" title="The sum of the effects of '
        'its edges from other nodes">edges in</th><th scope="col" class="num" title="The sum of '
        'the effects of its edges to other nodes">edges out</th><th scope="col" title="Position '
        "labels whose tokens its output is claimed to depend on: what the check goes by"
        '">inputs</th><th></th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _sums(edges: pd.DataFrame, group: Group, circuit: Circuit) -> tuple[str, str]:
    """Summed effects of a group's edges in and out, and how many there are."""
    texts = []
    for end, other in (("receiver", "sender"), ("sender", "receiver")):
        rows = edges[(edges[end] == group.name) & (edges[other] != group.name)]
        n = int(rows.n_edges.sum())
        effect = effect_in_words(float(rows.effect.sum()), circuit) if n else "–"
        texts.append(f"{effect} <span class='acdc-muted'>({n})</span>")
    return texts[0], texts[1]


def checked_html(found: Scrubbing) -> str:
    """What came of exchanging outputs.

    Args:
        found: that was measured.
    """
    rows = []
    for name, row in found.table.iterrows():
        n_out = found.n_prompts - int(row["n_prompts"])
        told = [
            f'<th scope="row">{escape(str(name))}</th>',
            f"<td>{escape(row['inputs']) or 'nothing: any prompt'}</td>",
            f'<td class="num">{int(row["n_prompts"])}</td>',
            f'<td class="num">{_share(row, "stays")}</td>',
            f'<td class="num">{_share(row, "random")}</td>',
            f"<td>{_in_words(row, n_out)}</td>",
        ]
        rows.append(f"<tr>{''.join(told)}</tr>")
    return (
        '<div class="acdc-groups"><h4>Outputs exchanged between prompts</h4>'
        "<p>What stays of the circuit's metric (0%: as with every edge removed, 100%: nothing is "
        f"lost), the mean over {counted(found.draws, 'draw')} and the range. Each prompt's members "
        "write what they do on another prompt that has the same tokens at the inputs. A random "
        "group has as many other nodes of the circuit, of the same layers where there are any."
        '</p><table><thead><tr><th scope="col">group</th><th scope="col">agree on</th>'
        '<th scope="col" class="num" title="Prompts with which another one agrees">prompts</th>'
        '<th scope="col" class="num">stays</th><th scope="col" class="num">random group</th>'
        f"<th></th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _share(row: pd.Series, name: str) -> str:
    if math.isnan(row[name]):
        return "–"
    ends = f"{row[f'{name}_low']:.0%} to {row[f'{name}_high']:.0%}"
    return f"{row[name]:.0%} <span class='acdc-muted'>({ends})</span>"


def _in_words(row: pd.Series, n_out: int) -> str:
    """What the numbers say, as far as they say something."""
    if not row["n_prompts"]:
        return "no prompt has another that agrees: name fewer inputs, or use more prompts"
    told = []
    if math.isnan(row["stays"]):
        told.append("the circuit's metric is that of no circuit: no share of it can be told")
    elif row["stays"] > 1.1:
        told.append("the metric rises: the output depends on more than that")
    elif row["stays"] < 0.9:
        told.append("some is lost: the output depends on more than that")
    else:
        told.append("nearly all stays: nothing speaks against it")
    if math.isnan(row["random"]):
        told.append("too few other nodes for random groups")
    if n_out:
        told.append(f"{counted(n_out, 'prompt')} left out, with which no other agrees")
    return "; ".join(told)


def saved_html(kept: KeptGroups, found: Scrubbing | None) -> str:
    """What a page without a kernel shows.

    Args:
        kept: the groups.
        found: what came of checking them, or None.
    """
    if not kept.groups:
        return ""
    items = "".join(f"<li>{escape(str(group))}</li>" for group in kept.groups)
    checked = "" if found is None else checked_html(found)
    return f"<h2>Groups</h2><ul>{items}</ul>{checked}"


def members_of(text: str) -> list[str]:
    """The names in a text, separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def name_for(groups: Groups) -> str:
    """A name for a group that got none."""
    names = {group.name for group in groups}
    return next(
        name for number in range(1, len(names) + 2) if (name := f"group {number}") not in names
    )
