"""Induction: random words, then the first of them again -> the word that followed before.

After Olsson et al. 2022 (arXiv 2209.11895), repeated random tokens. In the corrupted prompt two
words of the first copy have changed places, so that another word followed there.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from acdc_explorer.tasks.builtin.words import NOUNS
from acdc_explorer.tasks.prompts import PromptPair, labelled_text

COPY_LENGTH = 9


def induction_pairs(
    n_prompts: int, seed: int = 0, *, nouns: Sequence[str] = NOUNS
) -> list[PromptPair]:
    """Makes prompts of random words and a second copy of them that breaks off.

    Args:
        n_prompts: how many.
        seed: the same seed gives the same prompts.
        nouns: to choose from, at least `COPY_LENGTH`.

    Returns:
        Pairs with position labels A1 (where the last word stood before) and B1 (the word after it,
        the answer); END is A2, the last word. The wrong answer is the word that changes places with
        B1 in the corrupted prompt.
    """
    rng = random.Random(seed)
    pairs = []
    for _ in range(n_prompts):
        words = rng.sample(nouns, COPY_LENGTH)
        # A is at `at`, B after it; the other word comes later, so the second copy has neither yet.
        at = rng.randrange(COPY_LENGTH - 2)
        other = rng.randrange(at + 2, COPY_LENGTH)
        swapped = list(words)
        swapped[at + 1], swapped[other] = words[other], words[at + 1]
        again = "".join(f" {word}" for word in words[: at + 1])
        labels = {at: "A1", at + 1: "B1"}
        (clean, spans), (corrupted, _) = (
            labelled_text(
                *(
                    piece
                    for index, word in enumerate(copy)
                    for piece in ((" ", None), (word, labels.get(index)))
                ),
                (again, None),
            )
            for copy in (words, swapped)
        )
        pairs.append(PromptPair(clean, corrupted, f" {words[at + 1]}", f" {words[other]}", spans))
    return pairs
