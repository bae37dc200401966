"""Gendered pronouns: "So Evan is a really great friend, isn't" -> " he" against " she".

From Mathwin, Corlouer et al. 2023 ("Identifying a preliminary circuit for predicting gendered
pronouns in GPT-2 small"); Conmy et al. 2023, appendix K. There the corrupted prompt is "That person
is a really great friend, isn't", which tells nothing of the gender. The variant names somebody of
the other gender instead.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal

from acdc_explorer.tasks.builtin.words import MEN, WOMEN
from acdc_explorer.tasks.prompts import PromptPair, labelled_text

# What is said of somebody, and the noun in it. In the words of the source or like them.
PRAISES: tuple[tuple[str, str], ...] = (
    (" a really great ", "friend"),
    (" such a good ", "cook"),
    (" a very good ", "student"),
    (" a really nice ", "guest"),
    (" such a funny ", "teacher"),
    (" a very fast ", "driver"),
    (" really a famous ", "writer"),
)
PRONOUNS = (" he", " she")


def gendered_pronouns_pairs(
    n_prompts: int,
    seed: int = 0,
    *,
    men: Sequence[str] = MEN,
    women: Sequence[str] = WOMEN,
    corruption: Literal["person", "opposite"] = "person",
) -> list[PromptPair]:
    """Makes prompts that ask for the pronoun of a name, men's and women's names in turn.

    Args:
        n_prompts: how many.
        seed: the same seed gives the same prompts.
        men: men's names to choose from.
        women: women's names to choose from.
        corruption: "person" puts "That person" in the place of "So" and the name; "opposite" puts
            in a name of the other gender.

    Returns:
        Pairs with position labels name, is and noun.
    """
    rng = random.Random(seed)
    pairs = []
    for number in range(n_prompts):
        man = number % 2 == 0
        name, other = rng.choice(men), rng.choice(women)
        name, other = (name, other) if man else (other, name)
        praise, noun = rng.choice(PRAISES)
        openings = {"person": ("That ", "person"), "opposite": ("So ", other)}
        (clean, spans), (corrupted, _) = (
            labelled_text(
                (opening, None), (who, "name"), (" ", None), ("is", "is"), (praise, None),
                (noun, "noun"), (", isn't", None),
            )
            for opening, who in (("So ", name), openings[corruption])
        )  # fmt: skip
        answer, wrong = PRONOUNS if man else PRONOUNS[::-1]
        pairs.append(PromptPair(clean, corrupted, answer, wrong, spans))
    return pairs
