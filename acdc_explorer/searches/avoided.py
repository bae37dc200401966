"""Edges that a search is to do without where it can."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from acdc_explorer.graph import Edge, Graph, Receiver


@dataclass(frozen=True)
class AvoidedEdges:
    """Edges that stay only where no others can take their place.

    Each is tested before the receiver's other edges, which are all there to stand in for it, and
    stays only if its change reaches a multiple of the threshold.

    Attributes:
        graph: whose edges they are.
        mask: which.
        penalty: that multiple; 1: the threshold itself.
    """

    graph: Graph
    mask: Bool[np.ndarray, "receiver sender"]
    penalty: float

    def first(self, receiver: Receiver, senders: Sequence[int]) -> list[int]:
        """A receiver's senders with those of the avoided edges first, else in the same order."""
        row = self.mask[self.graph.receiver_index[receiver]]
        return sorted(senders, key=lambda sender: not row[sender])

    def penalty_of(self, edge: Edge) -> float:
        """By what an edge's threshold is multiplied."""
        return self.penalty if self.mask[self.graph.cell(edge)] else 1.0
