"""What a search says while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from acdc_explorer.graph import Edge, Receiver


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
    """

    edge: Edge
    before: float
    after: float
    kept: bool
    borderline: bool = False

    @property
    def effect(self) -> float:
        """What the edge adds to the metric: before - after, positive if the edge helps."""
        return self.before - self.after


Step = ReceiverStep | EdgeStep
