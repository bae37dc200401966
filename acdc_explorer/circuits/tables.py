"""A circuit as a table of edges, and as a graph of networkx."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from acdc_explorer.graph import Graph

if TYPE_CHECKING:
    from acdc_explorer.circuits.circuit import Circuit

UNTESTED, REMOVED, KEPT = _STATES = "untested", "removed", "kept"


def edge_columns(graph: Graph) -> dict[str, Any]:
    """Ids and ends of every edge of a graph, in the order of `Graph.edges`."""
    receivers, senders = np.nonzero(graph.edge_mask)
    return {
        "edge": graph.edge_ids,
        "sender": _named([node.id for node in graph.senders], senders),
        "receiver": _named([receiver.node.id for receiver in graph.receivers], receivers),
        "qkv": _named([receiver.qkv for receiver in graph.receivers], receivers),
        "position": _named([receiver.position for receiver in graph.receivers], receivers),
    }


def edge_table(circuit: Circuit) -> pd.DataFrame:
    """One row per edge of the model; see `Circuit.edges`."""
    graph, tested = circuit.graph, circuit.decision_arrays
    number_of = np.zeros(graph.edge_mask.shape, dtype=np.int64)
    number_of[graph.edge_mask] = np.arange(graph.n_edges)
    rows = number_of[tested.cells]

    def of_tested(values: NDArray[Any], otherwise: Any) -> NDArray[Any]:
        column = np.full(graph.n_edges, otherwise, dtype=values.dtype)
        column[rows] = values
        return column

    state = circuit.removed_mask[graph.edge_mask].astype(np.int64)
    state[circuit.kept_mask[graph.edge_mask]] = _STATES.index(KEPT)
    order = of_tested(np.arange(len(rows)), -1)
    # Of those removed untested.
    effect = np.where(state == _STATES.index(UNTESTED), np.nan, 0.0)
    effect[rows] = tested.before - tested.after
    if circuit.imported:
        effect = circuit.imported.score_matrix[graph.edge_mask]
    by_hand = np.zeros_like(graph.edge_mask)
    for change in circuit.by_hand:
        by_hand[graph.cell(change.edge)] = True
    return pd.DataFrame(
        {
            **edge_columns(graph),
            "state": _named(_STATES, state),
            "effect": effect,
            "order": pd.arrays.IntegerArray(order, mask=order < 0),
            "before": of_tested(tested.before, np.nan),
            "after": of_tested(tested.after, np.nan),
            "borderline": of_tested(tested.borderline, False),
            "screened": of_tested(tested.screened, False),
            "connected": circuit.connected_mask[graph.edge_mask],
            "by_hand": by_hand[graph.edge_mask],
        }
    )


def _named(names: Sequence[str | None], numbers: NDArray[np.int64]) -> Any:
    """A column of names by their numbers, of the type that pandas has for text."""
    return pd.Series(np.array(names, dtype=object)).array.take(numbers)


def kept_graph(circuit: Circuit) -> nx.MultiDiGraph:
    """The kept edges as a graph; see `Circuit.to_networkx`."""
    result = nx.MultiDiGraph(model=circuit.model_name, task=circuit.task_name)
    for edge, effect in circuit.kept_effects.items():
        sender, receiver = edge.sender, edge.receiver
        for node in (sender, receiver.node):
            result.add_node(node.id, kind=node.kind, layer=node.layer, head=node.head)
        optional = {"qkv": receiver.qkv, "position": receiver.position}
        result.add_edge(
            sender.id,
            receiver.node.id,
            key=edge.kind if receiver.position is None else receiver.id,
            id=edge.id,
            effect=effect,
            # The formats of graph files know no None.
            **{name: value for name, value in optional.items() if value is not None},
        )
    return result
