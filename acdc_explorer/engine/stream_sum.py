"""What an input reads, as a sum of what senders write.

In most models that is all: the residual stream is a sum. In some (Gemma 2 and 3, OLMo 2 and 3) what
the heads of a block write together passes a norm before it reaches the stream. There an input reads
the norm of a sum of its own for every block below, of the heads' outputs as they reach this input.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable

from jaxtyping import Float
from torch import Tensor

from acdc_explorer.graph import Node
from acdc_explorer.models.sublayers import normalize
from acdc_explorer.models.weights import ModelWeights

# Widths are those of position sets, of which one function may see several.
Stream = Float[Tensor, "*batch prompt _width d_model"]


def is_normed_with_others(sender: Node, weights: ModelWeights) -> bool:
    """Whether a sender is a head of a block that norms what its heads write together."""
    return sender.kind == "head" and weights.norms_head_sums


def layers_normed(senders: Iterable[Node], weights: ModelWeights) -> list[int]:
    """The blocks that norm what their heads write together, a head of which is among these."""
    normed = [sender for sender in senders if is_normed_with_others(sender, weights)]
    return sorted({sender.layer for sender in normed})


class StreamSum:
    """What an input reads, so far as it is summed up.

    Attributes:
        on_stream: what has reached the stream.
        head_sums: layer -> what the heads of that block write together, not yet normed and not yet
            in `on_stream`. For blocks without such a norm, none.
    """

    def __init__(
        self, weights: ModelWeights, on_stream: Stream, head_sums: dict[int, Stream] | None = None
    ):
        """Takes both as they are; adding replaces tensors and changes none in place."""
        self._weights = weights
        self.on_stream = on_stream
        self.head_sums = {} if head_sums is None else head_sums

    def copy(self) -> StreamSum:
        """One of its own, to add to."""
        return StreamSum(self._weights, self.on_stream, dict(self.head_sums))

    def map(self, function: Callable[[Tensor], Tensor]) -> StreamSum:
        """A sum of its own, with every tensor replaced by what a function makes of it."""
        head_sums = {layer: function(each) for layer, each in self.head_sums.items()}
        return StreamSum(self._weights, function(self.on_stream), head_sums)

    @property
    def n_floats(self) -> int:
        """How many numbers it holds."""
        return sum(each.numel() for each in (self.on_stream, *self.head_sums.values()))

    def add(self, sender: Node, amount: Stream) -> None:
        """Adds what a sender writes, or a change of it; a head's as it is before the norm."""
        if is_normed_with_others(sender, self._weights):
            self.head_sums[sender.layer] = self.head_sums[sender.layer] + amount
        else:
            self.on_stream = self.on_stream + amount

    def whole(self) -> Stream:
        """All that the input reads."""
        return self.open_only(()).on_stream

    def open_only(self, layers: Container[int]) -> StreamSum:
        """The same with the heads' sums of all but some layers on the stream."""
        on_stream = self.on_stream
        for layer, head_sum in self.head_sums.items():
            if layer not in layers:
                on_stream = on_stream + self.written(layer, head_sum)
        left = {layer: each for layer, each in self.head_sums.items() if layer in layers}
        return StreamSum(self._weights, on_stream, left)

    def open(self, layer: int, head_sum: Stream) -> None:
        """Takes a block's heads off the stream again, whose sum is known, to add to that."""
        self.on_stream = self.on_stream - self.written(layer, head_sum)
        self.head_sums[layer] = head_sum

    def written(self, layer: int, head_sum: Stream) -> Stream:
        """What reaches the stream of what the heads of a block write together."""
        return normalize(head_sum, self._weights.blocks[layer].ln1_post)
