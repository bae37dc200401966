"""Sets of removed edges, and which nodes are to be computed for them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool
from torch import Tensor

from acdc_explorer.graph import LOGITS, Edge, Graph, Node


@dataclass(frozen=True)
class RemovedEdges:
    """One circuit to evaluate.

    Attributes:
        mask: bool [n_receivers, n_senders], the edges removed at every position.
        partial: an edge that is not in `mask` and the positions [prompt, pos] at which alone it is
            removed, or None.
    """

    mask: np.ndarray
    partial: tuple[Edge, Bool[Tensor, "prompt pos"]] | None = None

    def of_prompts(self, rows: range) -> RemovedEdges:
        """The same for some neighbouring prompts."""
        if self.partial is None:
            return self
        edge, positions = self.partial
        return RemovedEdges(self.mask, (edge, positions[rows.start : rows.stop]))


def differ_at_logits_alone(graph: Graph, circuits: Sequence[RemovedEdges]) -> bool:
    """Whether circuits differ in edges into the logits at most, so that they share all blocks."""
    elsewhere = np.ones(len(graph.receivers), dtype=bool)
    elsewhere[graph.rows_of(LOGITS)] = False
    first = circuits[0].mask[elsewhere]
    return all(
        circuit.partial is None and np.array_equal(circuit.mask[elsewhere], first)
        for circuit in circuits
    )


def live_senders(mask: np.ndarray, graph: Graph) -> np.ndarray:
    """Which senders have a path of kept edges to the logits, bool [n_senders].

    Args:
        mask: bool [n_receivers, n_senders], removed edges.
        graph: of the model.
    """
    kept = graph.edge_mask & ~mask
    live = kept[graph.rows_of(LOGITS)].any(0)
    for index in reversed(range(len(graph.senders))):
        if live[index]:
            live |= kept[graph.rows_of(graph.senders[index])].any(0)
    return live


def computed_senders(
    graph: Graph, circuits: Sequence[RemovedEdges], given: Collection[Node] = ()
) -> Bool[np.ndarray, " sender"]:
    """The senders that may differ from the clean run in some circuit, and reach the logits.

    Args:
        graph: of the model.
        circuits: one at least.
        given: nodes that do not write what they compute.
    """
    masks = np.stack([circuit.mask for circuit in circuits])
    removed, kept = masks.any(0) & graph.edge_mask, graph.edge_mask & ~masks.all(0)
    for circuit in circuits:
        if circuit.partial is not None:
            removed[graph.cell(circuit.partial[0])] = True
    changed = np.zeros(len(graph.senders), dtype=bool)
    for index, node in enumerate(graph.senders):
        rows = graph.rows_of(node)
        changed[index] = node in given or removed[rows].any() or kept[rows][:, changed].any()
    return changed & live_senders(np.logical_and.reduce(masks), graph)
