"""A circuit as a table of edges, and as a graph of networkx."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from acdc_explorer.circuits.circuit import Circuit

UNTESTED, KEPT, REMOVED = "untested", "kept", "removed"


def edge_table(circuit: Circuit) -> pd.DataFrame:
    """One row per edge of the model; see `Circuit.edges`."""
    graph = circuit.graph
    cells = np.argwhere(graph.edge_mask)
    row_of = np.full(graph.edge_mask.shape, -1)
    row_of[graph.edge_mask] = np.arange(len(cells))
    removed = circuit.removed_mask[graph.edge_mask]
    n_edges = len(cells)
    columns: dict[str, Any] = {
        "edge": graph.edge_ids,
        "sender": np.array([node.id for node in graph.senders])[cells[:, 1]],
        "receiver": np.array([r.node.id for r in graph.receivers])[cells[:, 0]],
        "qkv": np.array([r.qkv for r in graph.receivers], dtype=object)[cells[:, 0]],
        "position": np.array([r.position for r in graph.receivers], dtype=object)[cells[:, 0]],
        "state": np.where(removed, REMOVED, UNTESTED).astype(object),
        "effect": np.where(removed, 0.0, np.nan),
        "order": pd.array([pd.NA] * n_edges, dtype="Int64"),
        "before": np.full(n_edges, np.nan),
        "after": np.full(n_edges, np.nan),
        "borderline": np.zeros(n_edges, dtype=bool),
    }
    for order, step in enumerate(circuit.decisions):
        row = row_of[graph.cell(step.edge)]
        columns["state"][row] = KEPT if step.kept else REMOVED
        columns["effect"][row], columns["order"][row] = step.effect, order
        columns["before"][row], columns["after"][row] = step.before, step.after
        columns["borderline"][row] = step.borderline
    return pd.DataFrame(columns)


def kept_graph(circuit: Circuit) -> nx.MultiDiGraph:
    """The kept edges as a graph; see `Circuit.to_networkx`."""
    result = nx.MultiDiGraph(model=circuit.model_name, task=circuit.task_name)
    for step in circuit.decisions:
        if not step.kept:
            continue
        sender, receiver = step.edge.sender, step.edge.receiver
        for node in (sender, receiver.node):
            result.add_node(node.id, kind=node.kind, layer=node.layer, head=node.head)
        optional = {"qkv": receiver.qkv, "position": receiver.position}
        result.add_edge(
            sender.id,
            receiver.node.id,
            key=step.edge.kind if receiver.position is None else receiver.id,
            id=step.edge.id,
            effect=step.effect,
            # The formats of graph files know no None.
            **{name: value for name, value in optional.items() if value is not None},
        )
    return result
