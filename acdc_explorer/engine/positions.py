"""Sets of token positions, one set per prompt, and moving tensors between them.

Most nodes of a circuit matter at few positions: a head whose only way out is the logits matters at
END. The engine computes each node just where it can reach the metric and where something changed.
"""

from __future__ import annotations

from functools import cached_property

import torch
from jaxtyping import Bool, Int
from torch import Tensor


class PositionSet:
    """For each prompt an ascending list of positions, all padded to one width.

    Rows with fewer positions repeat their last one. Work done on such a copy equals the original's,
    so nothing has to be masked.

    Attributes:
        index: Long [prompt, width].
        n_positions: length of the prompts that the indices point into.
    """

    def __init__(self, mask: Bool[Tensor, "prompt pos"]) -> None:
        """Makes the set of the positions that are true; every prompt needs at least one."""
        self.mask = mask
        self.n_positions = mask.shape[1]
        counts = mask.sum(1)
        ranks = torch.arange(int(counts.max()), device=mask.device)
        # Stable sort puts the chosen positions first, each group in ascending order.
        chosen_first = (~mask).to(torch.uint8).sort(dim=1, stable=True).indices
        self.index: Int[Tensor, "prompt width"] = chosen_first.gather(
            1, torch.minimum(ranks[None], counts[:, None] - 1)
        )

    @property
    def width(self) -> int:
        """The largest number of positions in any prompt."""
        return self.index.shape[1]

    @cached_property
    def is_all(self) -> bool:
        """Whether every prompt has all positions, so that taking them would be a copy."""
        return bool(self.mask.all())

    @cached_property
    def _rank(self) -> Int[Tensor, "prompt pos"]:
        """For each position of the prompt its place in `index` (of use for members only)."""
        return (self.mask.cumsum(1) - 1).clamp_min(0)

    def take(self, full: Tensor) -> Tensor:
        """Picks these positions of [*batch, prompt, pos, feature]; pos becomes width."""
        return full if self.is_all else _gather(full, self.index)

    def narrow(self, values: Tensor, target: PositionSet) -> Tensor:
        """Goes from this set to one inside it: [*batch, prompt, width, feature], target's width."""
        if target is self:
            return values
        return _gather(values, self._rank.gather(1, target.index))

    def put(self, values: Tensor, full: Tensor) -> Tensor:
        """Writes values at these positions into `full` [*batch, prompt, pos, feature], in place."""
        if self.is_all:
            return full.copy_(values)
        index = self.index[..., None].expand(values.shape)
        return full.scatter_(-2, index, values)


def _gather(values: Tensor, index: Int[Tensor, "prompt width"]) -> Tensor:
    shape = (*values.shape[:-2], index.shape[1], values.shape[-1])
    return values.gather(-2, index[..., None].expand(shape))


class PositionSets:
    """Makes position sets for one batch of prompts, the same object for the same positions."""

    def __init__(self, end: Int[Tensor, " prompt"], first: Int[Tensor, " prompt"], length: int):
        """Starts from where each prompt's metric is read and where its two runs first differ.

        Args:
            end: the position of END in each prompt.
            first: the first position whose activations differ between the two runs.
            length: the number of positions.
        """
        self._known: dict[bytes, PositionSet] = {}
        self._readable: dict[PositionSet, PositionSet] = {}
        positions = torch.arange(length, device=end.device)[None]
        self._changed = (positions >= first[:, None]) & (positions <= end[:, None])
        self.end = self.of(positions == end[:, None])
        self.all = self.of(torch.ones_like(self._changed))

    def of(self, mask: Bool[Tensor, "prompt pos"]) -> PositionSet:
        """The set of the positions that are true."""
        return self._known.setdefault(mask.cpu().numpy().tobytes(), PositionSet(mask))

    def union(self, sets: list[PositionSet]) -> PositionSet:
        """All positions that are in any of the sets."""
        if all(other is sets[0] for other in sets):
            return sets[0]
        return self.of(torch.stack([other.mask for other in sets]).any(0))

    def readable_from(self, queries: PositionSet) -> PositionSet:
        """The changed positions at which a key or value can reach any of these queries."""
        if queries not in self._readable:
            last = queries.index[:, -1:]
            positions = torch.arange(queries.n_positions, device=last.device)[None]
            self._readable[queries] = self.of(self._changed & (positions <= last))
        return self._readable[queries]
