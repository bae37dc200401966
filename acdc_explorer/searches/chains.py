"""How many edges to test at once."""

from __future__ import annotations

import math

import torch

from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.memory import batch_floats, device_kind
from acdc_explorer.engine.prompt_slices import SlicedTrials

# What could be computed in the time that a step takes however small the batch: about 0.2 ms at
# 150 GFLOP/s on two CPU cores (from chain lengths tried one by one); the GPU value is a guess.
_STEP_FLOPS = {"cpu": 3e7, "cuda": 4e9}
# And in the time that a weight takes to come from memory.
_WEIGHT_FLOPS = 300


class ChainLength:
    """Chooses chain lengths: long while edges are being removed, shorter where they are kept.

    What lies beyond the first kept edge of a chain is computed in vain, and every chain has a fixed
    cost. With kept edges r apart, a fixed cost of f and one of m for each member, a chain of length
    n costs f + n m and wastes about n^2 m / (2 r): per decided edge that is least at
    n = sqrt(2 r f / m).
    """

    def __init__(self, engine: Engine, fixed: int | None = None):
        """Starts with no experience.

        Args:
            engine: for sizes and the device.
            fixed: use this length always.
        """
        if fixed is not None and fixed < 1:
            raise ValueError(f"chain_length must be at least 1; got {fixed}")
        self._fixed = fixed
        weights = engine.weights
        widths = [weights.d_model]
        widths += [block.mlp.W_in.shape[1] for block in weights.blocks if block.mlp]
        self._floats_per_position = engine.slice_size * max(widths)
        self._budget = batch_floats(weights)
        self._step_flops = _STEP_FLOPS[device_kind(weights.device)]
        self._run = 32.0
        # The most that have been seen to fit in the device's memory, once some have not.
        self._fits: int | None = None

    def next(self, trials: SlicedTrials, left: int, *, alone: bool = False) -> int:
        """The length of the next chain.

        Args:
            trials: of the receiver whose edges are tested.
            left: how many edges remain at this receiver.
            alone: whether each candidate stands alone, so that none is ever in vain.
        """
        left = left if self._fits is None else min(left, self._fits)
        if self._fixed is not None:
            return min(self._fixed, left)
        fits = max(1, self._budget // (self._floats_per_position * max(1, trials.width)))
        if alone:
            return min(left, fits)
        work = trials.work
        fixed_cost = (
            self._step_flops * work.n_steps + _WEIGHT_FLOPS * work.n_weights + work.flops_fixed
        )
        best = math.sqrt(2 * self._run * fixed_cost / work.flops_per_member)
        return min(left, fits, max(4, round(best)))

    def halve(self, n: int) -> bool:
        """Makes chains shorter, after one did not fit in the device's memory.

        Args:
            n: its length.

        Returns:
            False if there is nothing left to halve.
        """
        torch.cuda.empty_cache()
        self._fits = n // 2
        return self._fits > 0

    def observe(self, decided: int, kept: bool) -> None:
        """Learns from a chain: how many edges it decided and whether the last of them was kept."""
        if kept:
            self._run += 0.3 * (decided - self._run)
        else:
            self._run = max(self._run, decided)
