"""Sets of token positions, one set per prompt, and moving tensors between them.

Most nodes of a circuit matter at few positions: a head whose only way out is the logits matters at
END. The engine computes each node just where it can reach the metric and where something changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from acdc_explorer.models.sublayers import causal

Mask = Bool[np.ndarray, "prompt pos"]


class PositionSet:
    """For each prompt an ascending list of positions, all padded to one width.

    Rows with fewer positions repeat their last one: work done on such a copy equals the original's,
    so nothing has to be masked. Rows without any hold position 0, and what is computed there is
    never written anywhere.

    Attributes:
        mask: bool [prompt, pos].
        n_positions: length of the prompts.
        width: the largest number of positions in any prompt.
        is_all: whether every prompt has all positions, so that taking them would be a copy.
    """

    def __init__(self, mask: Mask, device: torch.device) -> None:
        """Makes the set of the positions that are true."""
        self.mask, self._device = mask, device
        self.n_positions = mask.shape[1]
        counts = mask.sum(1)
        self.width = int(counts.max())
        self.is_all = bool(mask.all())
        # Stable sort puts the chosen positions first, each group in ascending order.
        ranks = np.minimum(np.arange(max(1, self.width))[None], np.maximum(counts[:, None] - 1, 0))
        self._index = np.take_along_axis(np.argsort(~mask, axis=1, kind="stable"), ranks, 1)
        self._has_empty = not counts.all()
        self._ways: dict[PositionSet, tuple[Tensor, Tensor | None]] = {}
        self._shared: dict[PositionSet, Tensor] = {}
        self._allowed: dict[int | None, Tensor] = {}

    def __bool__(self) -> bool:
        """Whether any prompt has any of the positions."""
        return self.width > 0

    @cached_property
    def index(self) -> Int[Tensor, "prompt width"]:
        """The positions, on the device."""
        return torch.from_numpy(self._index).to(self._device)

    @cached_property
    def _present(self) -> Bool[Tensor, "prompt 1 1"]:
        """Which prompts have positions at all."""
        return torch.from_numpy(self.mask.any(1)).to(self._device)[:, None, None]

    @cached_property
    def distinct(self) -> Bool[Tensor, "prompt width 1"]:
        """Where the index holds a position for the first time, so that it is to be counted."""
        counts = self.mask.sum(1, keepdims=True)
        first = np.arange(self._index.shape[1])[None] < counts
        return torch.from_numpy(first).to(self._device)[..., None]

    def allowed_keys(self, window: int | None) -> Bool[Tensor, "prompt width key"]:
        """Which keys queries at these positions may see: as `sublayers.causal` says."""
        if window not in self._allowed:
            everywhere = causal(self.n_positions, self._device, window)
            self._allowed[window] = everywhere[self.index]
        return self._allowed[window]

    def take(self, full: Tensor) -> Tensor:
        """Picks these positions of [*batch, prompt, pos, feature]; pos becomes width."""
        return full if self.is_all else _gather(full, self.index)

    def put(self, values: Tensor, full: Tensor) -> Tensor:
        """Writes values at these positions into `full` [*batch, prompt, pos, feature], in place."""
        if self.is_all:
            return full.copy_(values)
        if self._has_empty:
            values = torch.where(self._present, values, self.take(full))
        if values.requires_grad:
            # Each copy of a repeated position would get all of that position's gradient.
            values = torch.where(self.distinct, values, values.detach())
        index = self.index[..., None].expand(values.shape)
        return full.scatter_(-2, index, values)

    def move(self, values: Tensor, target: PositionSet) -> Tensor:
        """Goes to another set: [*batch, prompt, width, feature] with the target's width.

        Positions of the target that are not in this set get zeros.
        """
        if target is self:
            return values
        rank, present = self._way_to(target)
        moved = _gather(values, rank)
        return moved if present is None else moved * present

    def holding(self, other: PositionSet) -> Bool[Tensor, "prompt width 1"]:
        """Which of these positions are in another set too."""
        if other not in self._shared:
            both = np.take_along_axis(other.mask, self._index, 1)
            self._shared[other] = torch.from_numpy(both).to(self._device)[..., None]
        return self._shared[other]

    def put_inside(self, values: Tensor, outer: PositionSet, outer_values: Tensor) -> Tensor:
        """Writes values at these positions into those of a set around it; both as in `move`."""
        if outer is self:
            return values
        rank, present = self._way_to(outer)
        moved = _gather(values, rank)
        return moved if present is None else torch.where(present, moved, outer_values)

    def _way_to(self, target: PositionSet) -> tuple[Tensor, Tensor | None]:
        """For each place in the target its place in this set, and 1 if there is one, else 0."""
        if target not in self._ways:
            ranks = np.maximum(self.mask.cumsum(1) - 1, 0)
            rank = np.take_along_axis(ranks, target._index, 1)
            inside = np.take_along_axis(self.mask, target._index, 1) & target.mask.any(
                1, keepdims=True
            )
            present = None
            if not inside.all():
                present = torch.from_numpy(inside).to(self._device)[..., None]
            self._ways[target] = torch.from_numpy(rank).to(self._device), present
        return self._ways[target]


def _gather(values: Tensor, index: Int[Tensor, "prompt width"]) -> Tensor:
    shape = (*values.shape[:-2], index.shape[1], values.shape[-1])
    return values.gather(-2, index[..., None].expand(shape))


class PositionSets:
    """Makes position sets for one batch of prompts, the same object for the same positions.

    Attributes:
        end: END of each prompt.
        changed: from the first position whose activations differ between the two runs up to END.
        all: every position.
        none: no position.
    """

    def __init__(self, end: Int[Tensor, " prompt"], first: Int[Tensor, " prompt"], length: int):
        """Starts from where each prompt's metric is read and where its two runs first differ.

        Args:
            end: the position of END in each prompt.
            first: the first position whose activations differ between the two runs.
            length: the number of positions.
        """
        self._device = end.device
        self._known: dict[bytes, PositionSet] = {}
        self._results: dict[tuple, PositionSet] = {}
        self._positions = np.arange(length)[None]
        ends, firsts = (index.cpu().numpy()[:, None] for index in (end, first))
        between = (self._positions >= firsts) & (self._positions <= ends)
        self.changed = self.of(between)
        self.end = self.of(self._positions == ends)
        self.all = self.of(np.ones_like(between))
        self.none = self.of(np.zeros_like(between))

    def of(self, mask: Mask) -> PositionSet:
        """The set of the positions that are true."""
        key = mask.tobytes()
        if key not in self._known:
            self._known[key] = PositionSet(mask, self._device)
        return self._known[key]

    def _remember(self, key: tuple[object, ...], mask: Callable[[], Mask]) -> PositionSet:
        if key not in self._results:
            self._results[key] = self.of(mask())
        return self._results[key]

    def union(self, sets: Sequence[PositionSet]) -> PositionSet:
        """All positions that are in any of the sets; none for no sets."""
        distinct = tuple(dict.fromkeys(sets))
        if len(distinct) < 2:
            return distinct[0] if distinct else self.none
        return self._remember(
            ("union", *distinct),
            lambda: np.any([each.mask for each in distinct], axis=0),
        )

    def intersection(self, one: PositionSet, other: PositionSet) -> PositionSet:
        """The positions that are in both sets."""
        if one is other or other.is_all:
            return one
        return self._remember(("both", one, other), lambda: one.mask & other.mask)

    def difference(self, one: PositionSet, other: PositionSet) -> PositionSet:
        """The positions of the first set that are not in the other."""
        return self._remember(("without", one, other), lambda: one.mask & ~other.mask)

    def readable_from(self, queries: PositionSet) -> PositionSet:
        """The changed positions at which a key or value can reach any of these queries."""

        def mask() -> Mask:
            up_to_last = np.logical_or.accumulate(queries.mask[:, ::-1], 1)[:, ::-1]
            return np.logical_and(self.changed.mask, up_to_last)

        return self._remember(("readable", queries), mask)

    def from_first_of(self, queries: PositionSet, keys: PositionSet) -> PositionSet:
        """The queries that can see any of these keys."""

        def mask() -> Mask:
            return np.logical_and(queries.mask, np.logical_or.accumulate(keys.mask, 1))

        return self._remember(("seeing", queries, keys), mask)
