"""Five questions to a circuit, each a statistical test.

After Shi et al. 2024, "Hypothesis testing the circuit hypothesis in LLMs" (arXiv 2410.13032), which
asks them. The tests are exact, by permutation or against random draws, and where many edges are
tested at once (the minimality of each), the share of false alarms is held down for all together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from acdc_explorer.progress import working_on

# A result that chance alone gives less often than this is taken for one.
ALPHA = 0.05
_N_PERMUTATIONS = 2000
# Scores closer than this share of the largest are the same: other batches round differently.
_TIE = 1e-5


@dataclass(frozen=True)
class HypothesisTest:
    """The answer to one question.

    Attributes:
        name: of the test.
        passed: whether the answer speaks for the circuit; None: the question cannot be answered.
        p_value: how often chance alone would give as much; see the function that made it. Of
            equivalence and independence a small one speaks against the circuit, of the others for
            it. NaN where there is none.
        told: the answer in a sentence.
    """

    name: str
    passed: bool | None
    p_value: float
    told: str

    def __str__(self) -> str:
        answer = {True: "yes", False: "no", None: "no answer"}[self.passed]
        return f"{self.name}: {answer}. {self.told}"


def no_answer(name: str, why: str) -> HypothesisTest:
    """A question that cannot be answered, and why."""
    return HypothesisTest(name, None, math.nan, why)


def tie(*scores: Float[np.ndarray, " prompt"]) -> float:
    """Scores closer than this are the same, as far as rounding tells."""
    return _TIE * float(max(np.abs(each).max() for each in scores))


def equivalence(
    circuit: Float[np.ndarray, " prompt"], full: Float[np.ndarray, " prompt"]
) -> HypothesisTest:
    """Whether circuit and full model are as often ahead of one another: a two-sided sign test.

    Args:
        circuit: its score on each prompt, higher for better.
        full: the full model's.
    """
    difference = circuit - full
    apart = np.abs(difference) > tie(circuit, full)
    n, n_better = int(apart.sum()), int((difference[apart] > 0).sum())
    if n and 2 / 2**n > ALPHA:
        return no_answer("equivalence", f"{n} prompts that tell them apart are too few.")
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
    if np.ptp(full) <= tie(full):
        return no_answer("independence", "The full model scores the same on every prompt.")
    if 1 / math.factorial(len(full)) > ALPHA:
        return no_answer("independence", f"{len(full)} prompts are too few.")
    one, other = _kernel(without), _kernel(full)
    centered = one - one.mean(0) - one.mean(1, keepdims=True) + one.mean()
    measured, n_as_much = (centered * other).sum(), 0
    # Where what is left is constant all are equal, up to rounding.
    least = measured - 1e-9 * max(1.0, abs(measured))
    with working_on("testing independence: permutations", _N_PERMUTATIONS) as done:
        for number in range(_N_PERMUTATIONS):
            order = rng.permutation(len(full))
            n_as_much += bool((centered * other[np.ix_(order, order)]).sum() >= least)
            done(number + 1)
    p_value = (1 + n_as_much) / (1 + _N_PERMUTATIONS)
    passed = p_value > ALPHA
    return HypothesisTest(
        "independence",
        passed,
        p_value,
        "What is left without the circuit "
        + ("does not show to go" if passed else "still goes")
        + f" with the full model's score from prompt to prompt ({p_text(p_value)}).",
    )


def minimality(
    effects: Float[np.ndarray, " edge"], by_chance: Float[np.ndarray, " draw"], n_kept: int
) -> tuple[HypothesisTest, Float[np.ndarray, " edge"]]:
    """Whether each kept edge matters more than edges that were added at random.

    Each edge's p-value is its place among the effects by chance; they are then adjusted for being
    many (Benjamini and Hochberg 1995), so that of the edges that pass at most 5% are expected to be
    false alarms. With n draws no edge can pass unless about 20 / n of all edges do more than any
    draw.

    Args:
        effects: of each kept edge, removed from the circuit alone: the size of the change, 0 for
            what is rounding.
        by_chance: the same of random edges of random paths added to the circuit.
        n_kept: how many edges are kept, of which those may have been drawn.

    Returns:
        The test, which passes if every edge does, and the edges' adjusted p-values.
    """
    if not len(effects) or not len(by_chance):
        why = "no edge is kept" if not len(effects) else "there is no edge to add"
        return no_answer("minimality", f"{why.capitalize()}."), np.full(len(effects), np.nan)
    n_as_large = (by_chance[None] >= effects[:, None]).sum(1)
    adjusted = adjusted_for_many((1 + n_as_large) / (1 + len(by_chance)))
    n_above, n_largest = int((adjusted <= ALPHA).sum()), int((n_as_large == 0).sum())
    n = len(effects)
    of = f"{n} kept edge{'s' * (n != 1)}" + (f" drawn from {n_kept:,}" if n < n_kept else "")
    told = f"{n_above} of {of}, each removed alone, matter more than edges added at random."
    if n_largest and not n_above:
        told += (
            f" {n_largest} do more than any of the {len(by_chance)} draws, which are too few to "
            "tell."
        )
    return HypothesisTest("minimality", n_above == n, float(adjusted.max()), told), adjusted


def sufficiency(
    distance: float, by_chance: Float[np.ndarray, " draw"], what: str, near: float = 0.0
) -> HypothesisTest:
    """Whether the circuit comes nearer to the full model than random ones of its size.

    Args:
        distance: |full model's metric - circuit's|.
        by_chance: the same of random circuits.
        what: what those are called.
        near: distances closer than this are the same.
    """
    n_as_near = int((by_chance <= distance + near).sum())
    p_value = (1 + n_as_near) / (1 + len(by_chance))
    return HypothesisTest(
        "sufficiency",
        p_value <= ALPHA,
        p_value,
        f"{n_as_near} of {len(by_chance)} {what} come as near to the full model "
        f"({p_text(p_value)}).",
    )


def partial_necessity(
    damage: float, by_chance: Float[np.ndarray, " draw"], near: float = 0.0
) -> HypothesisTest:
    """Whether the model without the circuit does worse than without as many other edges.

    Args:
        damage: by how much removing the circuit's edges worsens the metric.
        by_chance: the same for random edges outside of it.
        near: damages closer than this are the same.
    """
    n_as_bad = int((by_chance >= damage - near).sum())
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
