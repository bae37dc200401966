"""What a search says while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from acdc_explorer.graph import Edge, Graph, Receiver


@dataclass(frozen=True, slots=True)
class ReceiverStep:
    """The search turns to a receiver.

    Attributes:
        receiver: whose incoming edges come next.
        live: whether its node has a path of kept edges to the logits; if not, all its incoming
            edges are removed untested.
    """

    receiver: Receiver
    live: bool


@dataclass(frozen=True, slots=True)
class EdgeStep:
    """One edge has been tested.

    Attributes:
        edge: the edge.
        before: the metric of the circuit so far, this edge in it.
        after: the metric with this edge removed as well.
        kept: whether the edge stays.
        borderline: whether |change| was so close to the threshold that float64 decided.
        screened: whether the edge went without a test of its own, by its predicted change; then
            `before` and `after` are predictions, which add up to what was measured for the run of
            screened edges around it.
    """

    edge: Edge
    before: float
    after: float
    kept: bool
    borderline: bool = False
    screened: bool = False

    @property
    def effect(self) -> float:
        """What the edge adds to the metric: before - after, positive if the edge helps."""
        return self.before - self.after


Step = ReceiverStep | EdgeStep


def n_decided(step: Step, graph: Graph) -> int:
    """How many edges a step decides: the one that it tested, or all into a receiver not live."""
    if isinstance(step, EdgeStep):
        return 1
    return 0 if step.live else graph.n_senders_to(step.receiver)


@dataclass(frozen=True)
class DecisionArrays:
    """The tested edges as arrays [n_tested], in the order of the tests.

    Attributes:
        cells: rows and columns of the edges in an edge matrix.
        before: see `EdgeStep`; so are the others.
        after: likewise.
        kept: likewise.
        borderline: likewise.
        screened: likewise.
    """

    cells: tuple[NDArray[np.int64], NDArray[np.int64]]
    before: NDArray[np.float64]
    after: NDArray[np.float64]
    kept: NDArray[np.bool_]
    borderline: NDArray[np.bool_]
    screened: NDArray[np.bool_]

    @staticmethod
    def of(graph: Graph, decisions: Sequence[EdgeStep]) -> DecisionArrays:
        """Of a search on this graph."""
        n, row_of, column_of = len(decisions), graph.receiver_index, graph.sender_index
        return DecisionArrays(
            cells=(
                np.fromiter((row_of[step.edge.receiver] for step in decisions), np.int64, n),
                np.fromiter((column_of[step.edge.sender] for step in decisions), np.int64, n),
            ),
            before=np.fromiter((step.before for step in decisions), np.float64, n),
            after=np.fromiter((step.after for step in decisions), np.float64, n),
            kept=np.fromiter((step.kept for step in decisions), np.bool_, n),
            borderline=np.fromiter((step.borderline for step in decisions), np.bool_, n),
            screened=np.fromiter((step.screened for step in decisions), np.bool_, n),
        )

    def up_to(self, stop: int) -> DecisionArrays:
        """The first of these tests, so many."""
        rows, columns = self.cells
        return DecisionArrays(
            (rows[:stop], columns[:stop]),
            self.before[:stop],
            self.after[:stop],
            self.kept[:stop],
            self.borderline[:stop],
            self.screened[:stop],
        )

    def steps(self, graph: Graph) -> list[EdgeStep]:
        """The same tests as steps of a search on this graph."""
        columns = (*self.cells, self.before, self.after, self.kept, self.borderline, self.screened)
        return [
            EdgeStep(graph.edge_at(row, column), *values)
            for row, column, *values in zip(*(each.tolist() for each in columns), strict=True)
        ]

    def mask(self, graph: Graph, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Some of the tested edges, by their number, as a matrix [n_receivers, n_senders]."""
        rows, columns = self.cells
        mask = np.zeros(graph.edge_mask.shape, dtype=bool)
        mask[rows[chosen], columns[chosen]] = True
        return mask
