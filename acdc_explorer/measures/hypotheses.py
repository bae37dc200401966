"""Five questions to a circuit, each a statistical test.

After Shi et al. 2024, "Hypothesis testing the circuit hypothesis in LLMs" (arXiv 2410.13032), which
asks them; the tests are exact or by permutation, and where many edges are tested at once (the
minimality of each), the share of false alarms is held down for all of them together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

# A result that chance alone gives less often than this is taken for one.
ALPHA = 0.05
_N_PERMUTATIONS = 2000
# Scores closer than this share of the largest are the same.
_TIE = 1e-5


@dataclass(frozen=True)
class HypothesisTest:
    """The answer to one question.

    Attributes:
        name: of the test.
        passed: whether the answer speaks for the circuit.
        p_value: how often chance alone would give as much; see the function that made it. Of
            equivalence and independence a small one speaks against the circuit, of the others for
            it.
        told: the answer in a sentence.
    """

    name: str
    passed: bool
    p_value: float
    told: str

    def __str__(self) -> str:
        return f"{self.name}: {'yes' if self.passed else 'no'}. {self.told}"


def equivalence(
    circuit: Float[np.ndarray, " prompt"], full: Float[np.ndarray, " prompt"]
) -> HypothesisTest:
    """Whether circuit and full model are as often ahead of one another: a two-sided sign test.

    Args:
        circuit: its score on each prompt, higher for better.
        full: the full model's.
    """
    difference = circuit - full
    apart = np.abs(difference) > _TIE * max(np.abs(full).max(), np.abs(circuit).max())
    n, n_better = int(apart.sum()), int((difference[apart] > 0).sum())
    tail = sum(math.comb(n, k) for k in range(min(n_better, n - n_better) + 1)) / 2**n
    p_value = min(1.0, 2 * tail)
    passed = p_value > ALPHA
    return HypothesisTest(
        "equivalence",
        passed,
        p_value,
        f"The circuit does better than the full model on {n_better} of {len(full)} prompts, worse "
        f"on {n - n_better}: {'as may be by chance' if passed else 'they differ'} "
        f"({p_text(p_value)}).",
    )


def independence(
    without: Float[np.ndarray, " prompt"],
    full: Float[np.ndarray, " prompt"],
    rng: np.random.Generator,
) -> HypothesisTest:
    """Whether what is left without the circuit says anything of the full model's score.

    The Hilbert-Schmidt independence criterion (Gretton et al. 2007) with Gaussian kernels as wide
    as the median distance, by permutation.

    Args:
        without: the score on each prompt of the model without the circuit's edges.
        full: the full model's.
        rng: draws the permutations.
    """
    one, other = _kernel(without), _kernel(full)
    centered = one - one.mean(0) - one.mean(1, keepdims=True) + one.mean()
    measured = (centered * other).sum()
    orders = [rng.permutation(len(full)) for _ in range(_N_PERMUTATIONS)]
    by_chance = np.array([(centered * other[np.ix_(order, order)]).sum() for order in orders])
    # Where either is constant all are equal, up to rounding.
    n_as_much = int((by_chance >= measured - 1e-9 * max(1.0, abs(measured))).sum())
    p_value = (1 + n_as_much) / (1 + _N_PERMUTATIONS)
    passed = p_value > ALPHA
    return HypothesisTest(
        "independence",
        passed,
        p_value,
        "What is left without the circuit "
        + ("tells nothing of" if passed else "still goes with")
        + f" the full model's score from prompt to prompt ({p_text(p_value)}).",
    )


def minimality(
    effects: Float[np.ndarray, " edge"], by_chance: Float[np.ndarray, " draw"]
) -> tuple[HypothesisTest, Float[np.ndarray, " edge"]]:
    """Whether each kept edge matters more than edges that were added at random.

    Each edge's p-value is its place among the effects by chance; they are then adjusted for being
    many (Benjamini and Hochberg 1995), so that of the edges that pass at most 5% are expected to be
    false alarms.

    Args:
        effects: of each kept edge, removed from the circuit alone: the size of the change.
        by_chance: the same of random edges of random paths added to the circuit.

    Returns:
        The test, which passes if every edge does, and the edges' adjusted p-values.
    """
    n_as_large = (by_chance[None] >= effects[:, None]).sum(1)
    adjusted = adjusted_for_many((1 + n_as_large) / (1 + len(by_chance)))
    n_above = int((adjusted <= ALPHA).sum())
    largest = float(adjusted.max(initial=0.0))
    n = len(effects)
    return (
        HypothesisTest(
            "minimality",
            n_above == n,
            largest,
            f"{n_above} of {n} kept edge{'s' * (n != 1)}, each removed alone, matter more than "
            f"edges added to the circuit at random.",
        ),
        adjusted,
    )


def sufficiency(
    distance: float, by_chance: Float[np.ndarray, " draw"], what: str
) -> HypothesisTest:
    """Whether the circuit comes nearer to the full model than random ones of its size.

    Args:
        distance: |full model's metric - circuit's|.
        by_chance: the same of random circuits.
        what: what those are called.
    """
    n_as_near = int((by_chance <= distance).sum())
    p_value = (1 + n_as_near) / (1 + len(by_chance))
    return HypothesisTest(
        "sufficiency",
        p_value <= ALPHA,
        p_value,
        f"{n_as_near} of {len(by_chance)} {what} come as near to the full model "
        f"({p_text(p_value)}).",
    )


def partial_necessity(damage: float, by_chance: Float[np.ndarray, " draw"]) -> HypothesisTest:
    """Whether the model without the circuit does worse than without as many other edges.

    Args:
        damage: by how much removing the circuit's edges worsens the metric.
        by_chance: the same for random edges outside of it.
    """
    n_as_bad = int((by_chance >= damage).sum())
    p_value = (1 + n_as_bad) / (1 + len(by_chance))
    return HypothesisTest(
        "partial necessity",
        p_value <= ALPHA,
        p_value,
        f"Removing the circuit does more damage than removing as many other edges in "
        f"{len(by_chance) - n_as_bad} of {len(by_chance)} draws ({p_text(p_value)}).",
    )


def adjusted_for_many(p_values: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """P-values adjusted after Benjamini and Hochberg 1995, for the false discovery rate."""
    n = len(p_values)
    order = np.argsort(p_values)[::-1]
    # From the largest down: each at most what a larger one is adjusted to.
    raised = p_values[order] * n / np.arange(n, 0, -1)
    adjusted = np.empty(n)
    adjusted[order] = np.minimum.accumulate(np.minimum(raised, 1.0))
    return adjusted


def p_text(p_value: float) -> str:
    """A p-value in words."""
    return f"p = {p_value:.2g}" if p_value >= 1e-4 else "p < 0.0001"


def _kernel(values: Float[np.ndarray, " prompt"]) -> Float[np.ndarray, "prompt prompt"]:
    distances = np.abs(values[:, None] - values[None])
    # Zero where most values are alike; then any width tells the others apart.
    width = np.median(distances[~np.eye(len(values), dtype=bool)]) if len(values) > 1 else 0.0
    return np.exp(-((distances / (width or distances.max() or 1.0)) ** 2) / 2)
