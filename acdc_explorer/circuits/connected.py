"""Which edges lie on a path from the input to the logits."""

from __future__ import annotations

import numpy as np

from acdc_explorer.graph import INPUT, LOGITS, Graph


def on_paths(graph: Graph, mask: np.ndarray) -> np.ndarray:
    """Those of some edges that lie on a path of them from `input` to the logits.

    Args:
        graph: of the model.
        mask: bool [n_receivers, n_senders], the edges.

    Returns:
        Bool [n_receivers, n_senders].
    """
    reached, leading = linked_nodes(graph, mask)
    return mask & reached[:-1] & leading[_node_of_row(graph)][:, None]


def linked_nodes(graph: Graph, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which nodes paths of some edges reach from `input`, and from which they lead to the logits.

    Args:
        graph: of the model.
        mask: bool [n_receivers, n_senders], the edges.

    Returns:
        Two times bool [n_nodes], in the order of `graph.nodes`. Paths go from node to node: through
        whichever of its inputs, at whichever position, a node is reached, all that it writes is.
    """
    node_of_row = _node_of_row(graph)
    reached, leading = np.zeros((2, len(graph.nodes)), dtype=bool)
    reached[graph.nodes.index(INPUT)] = leading[graph.nodes.index(LOGITS)] = True
    # In the order of the rows, whatever leads into a node comes before what it leads into.
    for row, node in enumerate(node_of_row):
        reached[node] |= (mask[row] & reached[:-1]).any()
    for row, node in reversed([*enumerate(node_of_row)]):
        if leading[node]:
            leading[:-1] |= mask[row]
    return reached, leading


def _node_of_row(graph: Graph) -> np.ndarray:
    """For each row of an edge matrix the number of its receiver's node.

    Of senders these are the columns; the logits come last.
    """
    nodes = {node: number for number, node in enumerate(graph.nodes)}
    return np.array([nodes[receiver.node] for receiver in graph.receivers])
