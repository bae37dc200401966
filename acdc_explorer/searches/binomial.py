"""Exact bounds for a share, by how often something came up in independent draws."""

from __future__ import annotations

import math


def clopper_pearson(k: int, n: int, confidence: float) -> tuple[float, float]:
    """An interval for the chance of what came up in some of a number of independent draws.

    The exact two-sided binomial interval (Clopper and Pearson 1934): each of its ends is wrong with
    half of the chance that is left to error at most.

    Args:
        k: how often it came up.
        n: in how many draws; at least one.
        confidence: with which the chance lies in the interval, as a share.
    """
    one_sided = (1 + confidence) / 2
    return 1 - upper_bound(n - k, n, one_sided), upper_bound(k, n, one_sided)


def upper_bound(k: int, n: int, confidence: float) -> float:
    """The exact one-sided upper bound (Clopper and Pearson 1934); arguments as above."""
    if k == n:
        return 1.0
    low, high = k / n, 1.0
    # The chance to find so few falls as the share rises.
    for _ in range(60):
        middle = (low + high) / 2
        if _chance_of_at_most(k, n, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def _chance_of_at_most(k: int, n: int, share: float) -> float:
    if not 0 < share < 1:
        return float(share == 0)
    logs = [
        math.lgamma(n + 1)
        - math.lgamma(i + 1)
        - math.lgamma(n - i + 1)
        + i * math.log(share)
        + (n - i) * math.log1p(-share)
        for i in range(k + 1)
    ]
    return math.fsum(map(math.exp, logs))
