"""How alike circuits are: the Jaccard index of their edges."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

_RESAMPLES = 1000
# The interval holds this share of the resamples' means.
_INTERVAL = 0.95


def pairwise_jaccard(
    kept: Bool[np.ndarray, "circuit edge"],
) -> Float[np.ndarray, "circuit circuit"]:
    """Shared edges over edges in either, for each pair of circuits; 1 if both have none."""
    edges = kept.astype(np.float64)
    shared = edges @ edges.T
    sizes = edges.sum(1)
    either = sizes[:, None] + sizes - shared
    return np.divide(shared, either, out=np.ones_like(shared), where=either > 0)


def mean_jaccard(
    kept: Bool[np.ndarray, "circuit edge"], rng: np.random.Generator
) -> tuple[float, float, float]:
    """The mean Jaccard index over all pairs of circuits, and an interval for it.

    The interval is the percentile bootstrap's (Efron 1979), 95% wide: circuits are drawn again with
    replacement. A circuit that is drawn twice makes no pair with itself, which would be of 1.

    Args:
        kept: a row for each circuit.
        rng: of the draws.

    Returns:
        The mean, the lower and the upper end; NaN where there are too few circuits: the mean needs
        two of them and the interval three.
    """
    n, jaccard = len(kept), pairwise_jaccard(kept)
    if n < 2:
        return np.nan, np.nan, np.nan
    mean = float(jaccard[~np.eye(n, dtype=bool)].mean())
    if n < 3:
        return mean, np.nan, np.nan
    # How often each circuit is drawn, [resample, circuit].
    times = rng.multinomial(n, np.full(n, 1 / n), size=_RESAMPLES).astype(np.float64)
    apart = np.where(np.eye(n, dtype=bool), 0.0, jaccard)
    n_pairs = n**2 - (times**2).sum(1)
    sums = ((times @ apart) * times).sum(1)
    means = sums[n_pairs > 0] / n_pairs[n_pairs > 0]
    low, high = np.quantile(means, [(1 - _INTERVAL) / 2, (1 + _INTERVAL) / 2])
    return mean, float(low), float(high)
