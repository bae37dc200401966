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
        Bool [n_receivers, n_senders]. Paths go from node to node: through whichever of its inputs,
        at whichever position, a node is reached, all that it writes is.
    """
    # By their numbers, which for senders are those of the columns; the logits come last.
    nodes = {node: number for number, node in enumerate(graph.nodes)}
    node_of_row = np.array([nodes[receiver.node] for receiver in graph.receivers])
    reached, leading = np.zeros((2, len(nodes)), dtype=bool)
    reached[nodes[INPUT]] = leading[nodes[LOGITS]] = True
    # In the order of the rows, whatever leads into a node comes before what it leads into.
    for row, node in enumerate(node_of_row):
        reached[node] |= (mask[row] & reached[:-1]).any()
    for row, node in reversed([*enumerate(node_of_row)]):
        if leading[node]:
            leading[:-1] |= mask[row]
    return mask & reached[:-1] & leading[node_of_row][:, None]
