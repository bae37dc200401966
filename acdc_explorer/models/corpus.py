"""The text that `mini` learns from: one part per task, each a generator of sentences.

Some orders of names and some templates are held out of training, to measure on.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from acdc_explorer.tasks.ioi import ACTIONS, LEADS, OPENINGS, TEMPLATES, fill
from acdc_explorer.tasks.words import NAMES, OBJECTS, PLACES

Part = Callable[[random.Random], str]

# Openings and actions meet in all combinations but these, about one in six.
HELD_OUT_TEMPLATES: tuple[str, ...] = tuple(
    template
    for index, template in enumerate(TEMPLATES)
    if (index // len(ACTIONS) + index) % 6 == 0
)
TRAINED_TEMPLATES: tuple[str, ...] = tuple(
    template for template in TEMPLATES if template not in set(HELD_OUT_TEMPLATES)
)
assert len(TEMPLATES) == len(LEADS) * len(OPENINGS) * len(ACTIONS)


def is_held_out(first: str, second: str) -> bool:
    """Whether two names never come in this order in one training sentence: one pair in ten."""
    return (NAMES.index(first) * 31 + NAMES.index(second) * 17) % 10 == 0


def ioi_sentence(rng: random.Random, templates: Sequence[str] = TRAINED_TEMPLATES) -> str:
    """An IOI sentence with its answer, or, one in three, one with three different names.

    With three names (ABC) the answer is any of them, as often. So a corrupted prompt is nothing new
    to the model and tells nothing of the answer, and a subject is ruled out only where its name is
    a repeated one: the model has to notice the repetition.
    """
    while True:
        first, second, third = rng.sample(NAMES, 3)
        if not is_held_out(first, second):
            break
    if rng.random() < 1 / 3:
        subject, answer = third, rng.choice((first, second, third))
    else:
        subject, answer = rng.choice(((first, second), (second, first)))
    text, _ = fill(
        rng.choice(templates), first, second, subject, rng.choice(PLACES), rng.choice(OBJECTS)
    )
    return f"{text} {answer}."


PARTS: dict[str, Part] = {"ioi": ioi_sentence}


def sentences(n_sentences: int, rng: random.Random) -> list[str]:
    """Training sentences, drawn from all parts alike."""
    parts = list(PARTS.values())
    return [rng.choice(parts)(rng) for _ in range(n_sentences)]


def all_words() -> list[str]:
    """Every word and punctuation mark that a sentence can hold."""
    texts = [*TEMPLATES, *NAMES, *PLACES, *OBJECTS]
    for slot in ("{A}", "{B}", "{S}", "{PLACE}", "{OBJECT}"):
        texts = [text.replace(slot, " ") for text in texts]
    words = {
        word for text in texts for word in text.replace(",", " , ").replace(".", " . ").split()
    }
    return sorted(words | {"."})
