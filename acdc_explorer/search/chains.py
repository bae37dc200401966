"""How many edges to test at once."""

from __future__ import annotations

from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.positions import PositionSet

# Floats of residual stream in one chain: past some megabytes a chain no longer fits in the caches
# of a CPU and takes longer than two shorter ones; a GPU wants more work at once.
_CHAIN_FLOATS = {"cpu": 4_000_000, "cuda": 64_000_000}


class ChainLength:
    """Chooses chain lengths: long while edges are being removed, shorter where they are kept.

    What lies beyond the first kept edge of a chain is computed in vain, and every chain has a fixed
    cost. Twice the usual distance between kept edges balances the two.
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
        widths = [weights.W_E.shape[1]]
        widths += [block.mlp.W_in.shape[1] for block in weights.blocks if block.mlp]
        self._floats_per_position = engine.n_prompts * max(widths)
        self._budget = _CHAIN_FLOATS.get(weights.device.type, _CHAIN_FLOATS["cpu"])
        self._run = 32.0

    def next(self, reads_at: PositionSet, left: int) -> int:
        """The length of the next chain.

        Args:
            reads_at: where the receiver's input matters.
            left: how many edges remain at this receiver.
        """
        if self._fixed is not None:
            return min(self._fixed, left)
        fits = max(1, self._budget // (self._floats_per_position * reads_at.width))
        return min(left, fits, max(4, round(2 * self._run)))

    def observe(self, decided: int, kept: bool) -> None:
        """Learns from a chain: how many edges it decided and whether the last of them was kept."""
        if kept:
            self._run += 0.3 * (decided - self._run)
        else:
            self._run = max(self._run, decided)
