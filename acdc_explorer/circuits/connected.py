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
    cells = np.argwhere(mask)
    ends = [(graph.senders[column], graph.receivers[row].node) for row, column in cells]
    # In the order of the rows, whatever leads into a node comes before what it leads into.
    reached, leading = {INPUT}, {LOGITS}
    for sender, node in ends:
        if sender in reached:
            reached.add(node)
    for sender, node in reversed(ends):
        if node in leading:
            leading.add(sender)
    found = np.zeros(graph.edge_mask.shape, dtype=bool)
    for (row, column), (sender, node) in zip(cells, ends, strict=True):
        found[row, column] = sender in reached and node in leading
    return found
