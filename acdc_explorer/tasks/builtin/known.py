"""Prompts for the models built by hand (`models/toys.py`), in the few words that they know."""

from __future__ import annotations

import random
from itertools import product

from acdc_explorer.models.toys import COLOURS, LETTERS, THINGS
from acdc_explorer.tasks.prompts import PromptPair

_SEQUENCE = 5


def switch_pairs(n_prompts: int, seed: int = 0) -> list[PromptPair]:
    """Makes "the red lamp is on so go" -> " left"; the corrupted twin says "off".

    Returns:
        Pairs with the position label `state`, the word "on". There are 24 different ones.
    """
    kinds = list(product(COLOURS, THINGS))
    random.Random(seed).shuffle(kinds)
    pairs = []
    for number in range(n_prompts):
        colour, thing = kinds[number % len(kinds)]
        text = f"the {colour} {thing} is {{}} so go"
        at = text.index("{")
        pairs.append(
            PromptPair(
                text.format("on"), text.format("off"), " left", " right", {"state": (at, at + 2)}
            )
        )
    return pairs


def letter_pairs(n_prompts: int, seed: int = 0) -> list[PromptPair]:
    """Makes "A B C D A" -> " B"; the corrupted twin is of other letters, and repeats none.

    Returns:
        Pairs with the position labels `first`, the first A, and `second`, the B after it.
    """
    rng = random.Random(seed)
    pairs = []
    for _ in range(n_prompts):
        letters = rng.sample(LETTERS, 2 * _SEQUENCE - 1)
        clean, other = letters[: _SEQUENCE - 1], letters[_SEQUENCE - 1 :]
        pairs.append(
            PromptPair(
                clean=" ".join([*clean, clean[0]]),
                corrupted=" ".join(other),
                answer=f" {clean[1]}",
                wrong_answer=f" {rng.choice(clean[2:])}",
                spans={"first": (0, 1), "second": (2, 3)},
            )
        )
    return pairs
