"""Random circuits of a given one's size: what a circuit must be better than."""

from __future__ import annotations

from collections.abc import Sequence, Set

import numpy as np
from jaxtyping import Bool

from acdc_explorer.graph import INPUT, LOGITS, Graph, Node


def any_edges(
    among: Bool[np.ndarray, "receiver sender"], n_edges: int, rng: np.random.Generator
) -> Bool[np.ndarray, "receiver sender"]:
    """Some edges, each as likely as any other.

    Args:
        among: the edges to draw from.
        n_edges: how many to draw; all if there are fewer.
        rng: draws them.
    """
    return _mask_of(among, rng.permutation(np.argwhere(among))[:n_edges])


def alike_edges(
    graph: Graph, kept: Bool[np.ndarray, "receiver sender"], rng: np.random.Generator
) -> Bool[np.ndarray, "receiver sender"]:
    """For each kept edge one from the same layer into the same layer, of the same kind.

    Kind is that of both ends: input, head or MLP; q, k, v, MLP or logits; at the same position
    label. Where all such edges are kept, as those between two MLPs, it is the same one.

    Args:
        graph: of the model.
        kept: the edges, of which as many are drawn.
        rng: draws them.
    """
    kinds = _kinds(graph)
    wanted = np.bincount(kinds[kept], minlength=kinds.max() + 1)
    cells = rng.permutation(np.argwhere(graph.edge_mask))
    # Kind by kind, and within each in random order, of which the first so many are taken.
    cells = cells[np.argsort(kinds[tuple(cells.T)], kind="stable")]
    of_kind = kinds[tuple(cells.T)]
    place_in_kind = np.arange(len(cells)) - np.searchsorted(of_kind, of_kind)
    return _mask_of(graph.edge_mask, cells[place_in_kind < wanted[of_kind]])


def connected_edges(
    graph: Graph, n_edges: int, rng: np.random.Generator
) -> Bool[np.ndarray, "receiver sender"]:
    """Edges each of which lies on a path of them from `input` to the logits.

    Random edges are added one after the other, each with what connects it to those before: a random
    way from one of their nodes, and one to one of them. What takes more edges than are left to add
    is passed over.

    Args:
        graph: of the model.
        n_edges: how many. There may be fewer if no path is so short.
        rng: draws them.
    """
    mask = np.zeros_like(graph.edge_mask)
    linked = {INPUT, LOGITS}
    cells, n_before = np.argwhere(graph.edge_mask), -1
    # An edge that was passed over may need no way of its own any more.
    while n_before < mask.sum() < n_edges:
        n_before = mask.sum()
        for row, column in rng.permutation(cells):
            # It takes an edge more for each of its ends that is not linked yet, at least.
            ends = graph.senders[column], graph.receivers[row].node
            n_left = n_edges - mask.sum()
            if mask[row, column] or 1 + sum(end not in linked for end in ends) > n_left:
                continue
            added = path_through(graph, (row, column), linked, rng)
            if len(added) <= n_left:
                mask |= _mask_of(graph.edge_mask, added)
                linked |= {graph.senders[sender] for _, sender in added}
                linked |= {graph.receivers[receiver].node for receiver, _ in added}
            if mask.sum() == n_edges:
                break
    return mask


def path_through(
    graph: Graph, cell: tuple[int, int], linked: Set[Node], rng: np.random.Generator
) -> list[tuple[int, int]]:
    """An edge, with a random way that leads to it from some nodes, and one from it to some.

    Args:
        graph: of the model.
        cell: of the edge.
        linked: the nodes; `input` and the logits at least, between which a path is found then.
        rng: draws the ways.

    Returns:
        The cells of the edges.
    """
    cells = [cell]
    node = graph.senders[cell[1]]
    while node not in linked:
        row = rng.choice(graph.rows_of(node))
        column = rng.choice(np.flatnonzero(graph.edge_mask[row]))
        cells.append((row, column))
        node = graph.senders[column]
    node = graph.receivers[cell[0]].node
    while node not in linked:
        column = graph.sender_index[node]
        row = rng.choice(np.flatnonzero(graph.edge_mask[:, column]))
        cells.append((row, column))
        node = graph.receivers[row].node
    return cells


def _kinds(graph: Graph) -> np.ndarray:
    """A number for each edge, the same for those of one kind."""
    senders = _numbers([(node.kind, node.layer) for node in graph.senders])
    receivers = _numbers(
        [(each.node.kind, each.node.layer, each.qkv, each.position) for each in graph.receivers]
    )
    return receivers[:, None] * len(senders) + senders


def _numbers(values: Sequence[object]) -> np.ndarray:
    """For each value the number of the first that equals it."""
    first = {value: number for number, value in reversed([*enumerate(values)])}
    return np.array([first[value] for value in values])


def _mask_of(
    like: Bool[np.ndarray, "receiver sender"], cells: np.ndarray | Sequence[tuple[int, int]]
) -> Bool[np.ndarray, "receiver sender"]:
    mask = np.zeros_like(like)
    mask[tuple(np.array(cells, dtype=int).reshape(-1, 2).T)] = True
    return mask
