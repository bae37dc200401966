"""The rows of the edge table: `Circuit.edges` as the page shows it."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.connected import linked_nodes
from acdc_explorer.circuits.tables import KEPT
from acdc_explorer.explorer.edge_names import edge_labels, node_labels, search_texts, texts
from acdc_explorer.explorer.widgets.data_table import Column
from acdc_explorer.explorer.words import smallest_effect

ALL = "all"
# Rows that the page holds at once. It sorts and filters these in some ten milliseconds.
MOST_ROWS = 10_000
_NARROW, _WIDE = "minmax(64px, .7fr)", "minmax(140px, .9fr)"
# Columns of `Circuit.edges` that are told as marks, by name.
_MARKS = {"borderline": "borderline", "screened": "screened", "by_hand": "by hand"}


@dataclass(frozen=True)
class EdgeRows:
    """Some edges of a circuit.

    Attributes:
        edges: their rows of `Circuit.edges`, the largest effect first.
        search: of each, the text in which what is typed is looked for: its id, its label, and its
            heads as "2.1".
        n_of_state: how many edges there are of the state that was asked for.
        n_found: how many of these match the text; more than there are rows, if they are too many.
    """

    edges: pd.DataFrame
    search: list[str]
    n_of_state: int
    n_found: int


def edge_rows(circuit: Circuit, state: str, text: str = "") -> EdgeRows:
    """The edges of a state, as many as the page holds.

    Args:
        circuit: finished or not.
        state: "kept", "removed", "untested" or "all".
        text: where there are too many, those that match it are taken first: the page filters what
            it has in the same way.
    """
    edges = circuit.edges
    if state != ALL:
        edges = edges[edges.state == state]
    # Of the same size as they stand in the graph.
    edges = edges.sort_values("effect", key=lambda effect: -effect.abs(), kind="stable")
    n_of_state = n_found = len(edges)
    if n_of_state > MOST_ROWS and text.strip():
        search = np.array(search_texts(edges), dtype=object)
        patterns = [_pattern(word) for word in text.split()]
        found = [all(each.search(told) for each in patterns) for told in search]
        edges, n_found = edges[found], sum(found)
    edges = edges[:MOST_ROWS]
    return EdgeRows(edges, search_texts(edges), n_of_state, n_found)


def _pattern(word: str) -> re.Pattern[str]:
    """As the page has it: from where a word or number begins, and "2.1" not in "2.10"."""
    before = r"(?<![\w.])" if re.match(r"\w", word) else ""
    after = r"(?!\d)" if re.search(r"\d$", word) else ""
    return re.compile(before + re.escape(word) + after, re.IGNORECASE)


def edge_columns(circuit: Circuit, edges: pd.DataFrame) -> list[Column]:
    """The columns of the table.

    Args:
        circuit: of the edges.
        edges: rows of its `edges`.
    """
    labels = node_labels(edges)
    senders, receivers = [*edges.sender.map(labels)], [*edges.receiver.map(labels)]
    qkv, positions = texts(edges.qkv), texts(edges.position)
    width = "minmax(180px, 1.6fr)" if circuit.graph.labels else "minmax(150px, 1.6fr)"
    columns = [
        Column("label", "edge", "The edge", edge_labels(edges), width=width),
        *_effects(circuit, edges),
        Column("from", "from", "What writes", senders, width=_NARROW, facet="From"),
        Column("into", "into", "What reads", receivers, width=_NARROW, facet="Into"),
    ]
    told = "Whether it is read by a head's queries, keys or values"
    columns.append(Column("qkv", "q/k/v", told, qkv, width="54px", facet="q/k/v"))
    if circuit.graph.labels:
        told = "The position label at which the receiver reads"
        columns.append(
            Column("position", "position", told, positions, width="78px", facet="Position")
        )
    told = "What the search, or somebody by hand, made of it"
    columns.append(Column("state", "state", told, [*edges.state], width="74px", facet="State"))
    order = edges.order.to_numpy(dtype=float, na_value=np.nan)
    told = "When it was tested, from 0 on"
    columns.append(Column("order", "order", told, [*order], "number", "62px", whole=True))
    told = "Whether it lies on a path of kept edges from the input to the logits"
    connections = _connections(circuit, edges)
    columns.append(
        Column("connected", "connected", told, connections, width=_WIDE, facet="Connected")
    )
    told = (
        "borderline: decided in float64; screened: went by its predicted effect; by hand: removed "
        "or restored by hand"
    )
    columns.append(Column("marks", "marks", told, _marks(edges), "tags", _WIDE, facet="Marks"))
    return columns


def _effects(circuit: Circuit, edges: pd.DataFrame) -> list[Column]:
    """The effect, and its share of the full model's metric, unless that is 0."""
    scale, smallest = abs(circuit.full_metric), smallest_effect(circuit)
    effects = edges.effect.to_numpy()
    unit = f", in {circuit.metric_unit}" if circuit.metric_unit else ""
    columns = [
        Column(
            "effect",
            "effect",
            f"The metric before the edge was tested minus after it{unit}; sorted by its size",
            [*effects],
            "number",
            "minmax(140px, 1.2fr)",
            facet="Effect",
            signed=True,
            smallest=smallest,
            bar=float(np.nanmax(np.abs(effects), initial=smallest)),
            by_size=True,
        )
    ]
    if scale:
        columns.append(
            Column(
                "share",
                "of full",
                "The effect as a share of the full model's metric",
                [*(effects / scale)],
                "number",
                "78px",
                signed=True,
                percent=True,
                smallest=smallest / scale,
                by_size=True,
            )
        )
    return columns


def _connections(circuit: Circuit, edges: pd.DataFrame) -> list[str | None]:
    """Whether kept edges are connected, and at which end they are not; unknown during a search."""
    if not circuit.complete:
        return [None] * len(edges)
    reached, leading = linked_nodes(circuit.graph, circuit.kept_mask)
    ids = [node.id for node in circuit.graph.nodes]
    from_input, to_logits = ({*np.array(ids)[mask]} for mask in (reached, leading))

    def told(sender: str, receiver: str) -> str:
        if sender not in from_input:
            return "leads from nothing"
        return "yes" if receiver in to_logits else "leads to nothing"

    return [
        told(sender, receiver) if state == KEPT else None
        for sender, receiver, state in zip(edges.sender, edges.receiver, edges.state, strict=True)
    ]


def _marks(edges: pd.DataFrame) -> list[list[str]]:
    flags = edges[list(_MARKS)].to_numpy(dtype=bool)
    return [
        [mark for mark, is_set in zip(_MARKS.values(), row, strict=True) if is_set] for row in flags
    ]
