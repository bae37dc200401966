"""Changes by hand: edges of a circuit switched off, or on again, whatever the search decided."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from acdc_explorer.checked_json import Value
from acdc_explorer.graph import Edge, Graph, Node

if TYPE_CHECKING:
    from acdc_explorer.circuits.circuit import Circuit


@dataclass(frozen=True, slots=True)
class HandChange:
    """One edge that is not as the search left it.

    Attributes:
        edge: the edge.
        kept: whether it is in the circuit now: True if it was restored, False if it was removed.
    """

    edge: Edge
    kept: bool


def switch(
    mask: np.ndarray, graph: Graph, changes: Iterable[HandChange], *, kept: bool
) -> np.ndarray:
    """Brings a mask of kept edges, or of removed ones, in line with changes by hand.

    Args:
        mask: boolean [n_receivers, n_senders], changed in place.
        graph: of the edges.
        changes: by hand.
        kept: whether it is the mask of the kept edges; False: of the removed ones.
    """
    for change in changes:
        mask[graph.cell(change.edge)] = change.kept == kept
    return mask


def changed_by_hand(
    circuit: Circuit,
    remove: Iterable[str | Edge | Node] = (),
    restore: Iterable[str | Edge | Node] = (),
) -> tuple[HandChange, ...]:
    """All changes by hand, after some more.

    Args:
        circuit: that is changed, with the changes that it has already.
        remove: edges that are in the circuit, or nodes: all edges in and out of them.
        restore: edges that are not in the circuit, or nodes: the edges in and out of them that the
            search kept.

    Raises:
        ValueError: naming what the graph lacks, or what there is nothing to change about; or an
            edge that is to be both removed and restored.
    """
    graph, as_searched = circuit.graph, circuit.searched()
    # Edges that a search has not come to yet are there.
    start = graph.edge_mask & ~as_searched.removed_mask
    present = graph.edge_mask & ~circuit.removed_mask
    off = _chosen(graph, remove, present, circuit.kept_mask, "is not in the circuit")
    back = as_searched.kept_mask & ~present
    on = _chosen(graph, restore, ~present, back, "has nothing to be restored")
    if both := graph.ids_of(off & on):
        raise ValueError(f"{both[0]!r} is to be both removed and restored")
    now = (present & ~off) | on
    rows_and_columns = zip(*np.nonzero(off | on), strict=True)
    edges = [*(change.edge for change in circuit.by_hand),
             *(graph.edge_at(row, column) for row, column in rows_and_columns)]  # fmt: skip
    # What is as the search left it is no change any more.
    differs = now != start
    return tuple(
        HandChange(edge, bool(now[graph.cell(edge)]))
        for edge in dict.fromkeys(edges)
        if differs[graph.cell(edge)]
    )


def _chosen(
    graph: Graph,
    names: Iterable[str | Edge | Node],
    of_edges: np.ndarray,
    of_nodes: np.ndarray,
    otherwise: str,
) -> np.ndarray:
    """The edges that some names mean, as a mask.

    Args:
        graph: of the model.
        names: of edges and nodes.
        of_edges: the edges that can be meant by their own names.
        of_nodes: those that can be meant by a node's.
        otherwise: what is to be said of a name that means none.
    """
    if isinstance(names, str):
        raise ValueError(f"edges and nodes come as a list, as [{names!r}]; got {names!r}")
    chosen = np.zeros(graph.edge_mask.shape, dtype=bool)
    for name in names:
        found = graph.parse(name if isinstance(name, str) else name.id)
        meant = np.zeros_like(chosen)
        if isinstance(found, Edge):
            meant[graph.cell(found)] = True
            meant &= of_edges
        else:
            meant[graph.rows_of(found)] = True
            if found in graph.sender_index:
                meant[:, graph.sender_index[found]] = True
            meant &= of_nodes
        if not meant.any():
            raise ValueError(f"{found.id!r} {otherwise}")
        chosen |= meant
    return chosen


def changes_to_json(changes: Sequence[HandChange]) -> list[Any]:
    """As the circuit's file has them: [edge, kept] each."""
    return [[change.edge.id, change.kept] for change in changes]


def changes_from(value: Value, graph: Graph) -> tuple[HandChange, ...]:
    """The changes of a file.

    Raises:
        ValueError: naming the one that is wrong.
    """
    changes = []
    for item in value.items():
        if not isinstance(item.data, list) or len(item.data) != 2:
            raise item.error("[edge, kept]")
        edge_id, kept = item.data
        try:
            edge = graph.parse_edge(Value(edge_id, ".edge", item).text())
        except ValueError as error:
            raise ValueError(f"{item.place}: {error}") from None
        changes.append(HandChange(edge, Value(kept, ".kept", item).truth()))
    if len({change.edge for change in changes}) < len(changes):
        raise value.error("each edge once")
    return tuple(changes)
