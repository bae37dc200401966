"""Prompts for the hand-built models (`models/toys.py`), in the few words that they know."""

from __future__ import annotations

import random
from itertools import permutations, product

from acdc_explorer.models.toys import COLOURS, LETTERS, THINGS
from acdc_explorer.tasks.prompts import PromptPair

_SEQUENCE = 5
_REVERSED, _COUNTED, _COUNTED_LENGTH = "ABC", "wxyz", 4
_ORDINALS = ("first", "second", "third")


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


def reversed_pairs(n_prompts: int, seed: int = 0) -> list[PromptPair]:
    """Makes "C A B" -> " C", the first letter; the corrupted twin is another order of the three.

    It begins with another letter, the wrong answer. (Conmy et al. 2023 take all six orders too, and
    derange them, so that some twins begin with the same letter.)

    Returns:
        Pairs with the position labels `first` and `second`; the third letter is END. There are 24
        different ones.
    """
    orders = list(permutations(_REVERSED))
    kinds = [(one, other) for one, other in product(orders, orders) if one[0] != other[0]]
    random.Random(seed).shuffle(kinds)
    pairs = []
    for number in range(n_prompts):
        one, other = kinds[number % len(kinds)]
        pairs.append(
            PromptPair(
                " ".join(one), " ".join(other), f" {one[0]}", f" {other[0]}", _letter_spans(one)
            )
        )
    return pairs


def counted_pairs(n_prompts: int, seed: int = 0) -> list[PromptPair]:
    """Makes "w x y x" -> " x" with a logit difference of 0.5, the share of x, against " w".

    The corrupted twin has fewer x, so that the effects of all prompts have the same sign and do not
    cancel in their mean. (Conmy et al. 2023 take any 50 rows, and those rows again in another
    order; they measure squared differences, which do not cancel.)

    Returns:
        Pairs with the position labels `first`, `second` and `third`; the fourth letter is END.
        There are 175 different clean rows.
    """
    rng = random.Random(seed)
    rows = list(product(_COUNTED, repeat=_COUNTED_LENGTH))
    with_x = [row for row in rows if "x" in row]
    rng.shuffle(with_x)
    pairs = []
    for number in range(n_prompts):
        row = with_x[number % len(with_x)]
        other = rng.choice([other for other in rows if other.count("x") < row.count("x")])
        pairs.append(PromptPair(" ".join(row), " ".join(other), " x", " w", _letter_spans(row)))
    return pairs


def _letter_spans(letters: tuple[str, ...]) -> dict[str, tuple[int, int]]:
    """Where the letters of a row are, all but the last; there is one space between them."""
    return {label: (2 * at, 2 * at + 1) for at, label in enumerate(_ORDINALS[: len(letters) - 1])}
