"""What edges are called in tables, and by what they are found there."""

from __future__ import annotations

import pandas as pd

from acdc_explorer.graph import Node


def node_labels(edges: pd.DataFrame) -> dict[str, str]:
    """Id -> label of the nodes at the ends of some edges.

    Args:
        edges: rows of `Circuit.edges`.
    """
    return {node_id: Node.parse(node_id).label for node_id in {*edges.sender, *edges.receiver}}


def edge_labels(edges: pd.DataFrame) -> list[str]:
    """The label of each edge, as `Edge.label` has it.

    Args:
        edges: rows of `Circuit.edges`.
    """
    labels, ends = node_labels(edges), (edges.sender, edges.receiver)
    return [
        f"{labels[sender]} → {labels[receiver]}{f' {qkv}' if qkv else ''}{f' @ {at}' if at else ''}"
        for sender, receiver, qkv, at in zip(
            *ends, texts(edges.qkv), texts(edges.position), strict=True
        )
    ]


def search_texts(edges: pd.DataFrame) -> list[str]:
    """Of each edge its id, and its ends by all their names: "a2.h1", "2.1", "L2H1".

    Args:
        edges: rows of `Circuit.edges`.
    """
    names = {}
    for node_id, label in node_labels(edges).items():
        node = Node.parse(node_id)
        short = f"{node.layer}.{node.head} " if node.kind == "head" else ""
        names[node_id] = f"{node_id} {short}{label}"
    return [
        f"{edge} {names[sender]} → {names[receiver]} {qkv or ''}"
        for edge, sender, receiver, qkv in zip(
            edges.edge, edges.sender, edges.receiver, texts(edges.qkv), strict=True
        )
    ]


def texts(column: pd.Series) -> list[str | None]:
    """A column's values, None where there is none, whichever way pandas says so."""
    return [value if isinstance(value, str) else None for value in column]
