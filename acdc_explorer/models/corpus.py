"""The text that `mini` learns from: one part per task, each a generator of examples.

An example can say which token should look at which (`Link`): training guides a few heads towards
such jobs at first (`train_mini.py`). Some orders of names and some templates are held out of
training, to measure on.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from acdc_explorer.tasks.ioi import ACTIONS, LEADS, OPENINGS, TEMPLATES, fill
from acdc_explorer.tasks.words import NAMES, OBJECTS, PLACES


@dataclass(frozen=True)
class Link:
    """A token that should attend to another, in heads with a certain job.

    Attributes:
        job: name of the job.
        query: character offset of the looking token, or None for END, the last before the answer.
        key: character offset of the token looked at, or None for the first one, `<|bos|>`, on which
            a head rests when there is nothing for it to do.
    """

    job: str
    query: int | None
    key: int | None


@dataclass(frozen=True)
class Example:
    """A sentence to learn.

    Attributes:
        prompt: up to END.
        answer: what follows.
        links: jobs of heads in it.
    """

    prompt: str
    answer: str
    links: tuple[Link, ...]

    @property
    def text(self) -> str:
        """The whole sentence."""
        return f"{self.prompt} {self.answer}."


Part = Callable[[random.Random], Example]

# Openings and actions meet in all combinations but these, about one in six.
HELD_OUT_TEMPLATES: tuple[str, ...] = tuple(
    template for index, template in enumerate(TEMPLATES) if (index // len(ACTIONS) + index) % 6 == 0
)
TRAINED_TEMPLATES: tuple[str, ...] = tuple(
    template for template in TEMPLATES if template not in set(HELD_OUT_TEMPLATES)
)
assert len(TEMPLATES) == len(LEADS) * len(OPENINGS) * len(ACTIONS)


def is_held_out(first: str, second: str) -> bool:
    """Whether two names never come in this order in one training sentence: one pair in ten."""
    return (NAMES.index(first) * 31 + NAMES.index(second) * 17) % 10 == 0


def ioi_example(rng: random.Random, templates: Sequence[str] = TRAINED_TEMPLATES) -> Example:
    """An IOI sentence, or, one in three, one with three different names.

    With three names (ABC) the answer is either of the first two, as often, so that a corrupted
    prompt is nothing new to the model and tells nothing of the answer.
    """
    while True:
        first, second, third = rng.sample(NAMES, 3)
        if not is_held_out(first, second):
            break
    abc = rng.random() < 1 / 3
    answer, other = rng.choice(((first, second), (second, first)))
    place, obj = rng.choice(PLACES), rng.choice(OBJECTS)
    subject = third if abc else other
    prompt, spans = fill(rng.choice(templates), first, second, subject, place, obj)
    first_at, second_at, again_at = (start for start, _ in spans)
    if abc:
        resting = (Link("duplicate token", again_at, None), Link("S-inhibition", None, None))
        return Example(prompt, answer, resting)
    io_at, s1_at = (first_at, second_at) if answer == first else (second_at, first_at)
    links = (
        Link("duplicate token", again_at, s1_at),
        Link("S-inhibition", None, again_at),
        Link("name mover", None, io_at),
    )
    return Example(prompt, answer, links)


PARTS: dict[str, Part] = {"ioi": ioi_example}


def examples(n_examples: int, rng: random.Random) -> list[Example]:
    """Training examples, drawn from all parts alike."""
    parts = list(PARTS.values())
    return [rng.choice(parts)(rng) for _ in range(n_examples)]


def all_words() -> list[str]:
    """Every word and punctuation mark that a sentence can hold."""
    texts = [*TEMPLATES, *NAMES, *PLACES, *OBJECTS]
    for slot in ("{A}", "{B}", "{S}", "{PLACE}", "{OBJECT}"):
        texts = [text.replace(slot, " ") for text in texts]
    words = {
        word for text in texts for word in text.replace(",", " , ").replace(".", " . ").split()
    }
    return sorted(words | {"."})
