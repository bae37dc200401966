"""Multiple choice: the letter of the choice that says the color just read.

    The box is brown. What color is the box?
    A. gray
    B. black
    C. brown
    D. white
    Answer:

-> " C". The "copying colors" task of Wiegreffe et al. 2024 (arXiv 2407.15018), also in MIB (Mueller
et al. 2025, arXiv 2504.13151). The corrupted prompt says another of the four colors, and the wrong
answer is that one's letter.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from acdc_explorer.tasks.prompts import PromptPair, labelled_text

# Each is one token in GPT-2's tokenizer, with its leading space.
COLOURS: tuple[str, ...] = (
    "red", "green", "blue", "yellow", "brown", "black", "white", "pink", "purple", "orange",
    "gray", "violet",
)  # fmt: skip
THINGS: tuple[str, ...] = (
    "ball", "bag", "bird", "boat", "book", "box", "bus", "car", "chair", "coat", "cup", "door",
    "fish", "flower", "hat", "horse", "house", "lamp", "phone", "ring", "table", "train",
)  # fmt: skip
LETTERS = ("A", "B", "C", "D")


def multiple_choice_pairs(
    n_prompts: int, seed: int = 0, *, colours: Sequence[str] = COLOURS
) -> list[PromptPair]:
    """Makes prompts with four choices, each letter the answer in turn.

    Args:
        n_prompts: how many.
        seed: the same seed gives the same prompts.
        colours: to choose from, at least four.

    Returns:
        Pairs with position labels color (in the first sentence), letter and choice (the right
        choice's letter and its color); END is the colon.
    """
    rng = random.Random(seed)
    pairs = []
    for number in range(n_prompts):
        thing, choices = rng.choice(THINGS), rng.sample(colours, len(LETTERS))
        right = number % len(LETTERS)
        wrong = rng.choice([index for index in range(len(LETTERS)) if index != right])
        (clean, spans), (corrupted, _) = (
            labelled_text(
                (f"The {thing} is ", None), (choices[said], "color"),
                (f". What color is the {thing}?", None),
                *(
                    piece
                    for index, color in enumerate(choices)
                    for piece in (
                        ("\n", None), (LETTERS[index], "letter" if index == right else None),
                        (". ", None), (color, "choice" if index == right else None),
                    )
                ),
                ("\nAnswer:", None),
            )
            for said in (right, wrong)
        )  # fmt: skip
        answer, wrong_answer = f" {LETTERS[right]}", f" {LETTERS[wrong]}"
        pairs.append(PromptPair(clean, corrupted, answer, wrong_answer, spans))
    rng.shuffle(pairs)
    return pairs
