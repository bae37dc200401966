"""How far senders are from their ablated outputs, while a batch of patched runs goes on."""

from __future__ import annotations

from bisect import bisect_left

import torch
from jaxtyping import Float, Int
from torch import Tensor

from acdc_explorer.models.linear import linear


class Differences:
    """Ablated output - this run's output of senders, in ascending order of the senders.

    Attributes:
        buffer: room for all that will be taken in [circuit, sender, prompt, width, d_model].
        senders: those taken in so far.
    """

    def __init__(self, buffer: Float[Tensor, "circuit sender prompt width d_model"]):
        self.buffer = buffer
        self.senders: list[int] = []

    def add(self, sender: int, difference: Tensor) -> None:
        """Takes in the next sender."""
        self.buffer[:, len(self.senders)] = difference
        self.senders.append(sender)

    def of(self, sender: int, circuit: int) -> Float[Tensor, "prompt width d_model"]:
        """That of one sender in one circuit."""
        return self.buffer[circuit, self.senders.index(sender)]

    def added_to(
        self,
        total: Tensor,
        factors: Float[Tensor, "circuit receiver sender"],
        among: range,
        rows: slice,
        tokens: Int[Tensor, " token"] | None,
    ) -> Float[Tensor, "_circuit _receiver prompt width d_model"]:
        """Adds what some senders lack, times a factor.

        Args:
            total: so far [circuit or 1, receiver or 1, prompt, width, d_model].
            factors: of each sender for each receiver.
            among: senders in a row; only these are added.
            rows: which prompts.
            tokens: at which of their tokens alone, counted through.
        """
        first, last = (bisect_left(self.senders, end) for end in (among.start, among.stop))
        chosen = factors[:, :, self.senders[first:last]]
        if not chosen.any():
            return total
        difference = self.buffer[:, first:last, rows]
        width, d_model = difference.shape[-2:]
        difference = difference.flatten(2, 3)
        if tokens is not None:
            difference = difference[:, :, tokens]
        if len(difference) == len(chosen) == 1:
            added = linear(chosen[0], difference[0].flatten(1))[None]
        else:
            added = chosen @ difference.flatten(2)
        added = added.unflatten(2, (-1, d_model))
        if tokens is None:
            return added.unflatten(2, (-1, width)) + total
        shape = torch.broadcast_shapes(added.shape[:2], total.shape[:2])
        total = total.expand(*shape, -1, -1, -1).clone()
        total.view(*shape, -1, d_model)[:, :, tokens] += added
        return total
