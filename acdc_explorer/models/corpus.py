"""The text that `mini` learns from: one part per task, each an endless stream of examples.

An example can say which token should look at which (`Link`): training guides a few heads towards
such jobs at first (`train_mini.py`). Of each task some combinations of words (for IOI: orders of
names, and templates) are held out of training, to measure on.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from acdc_explorer.tasks.ioi import ACTIONS, LEADS, OPENINGS, TEMPLATES, fill
from acdc_explorer.tasks.prompts import PromptPair, each
from acdc_explorer.tasks.registry import STANDARD_TASKS
from acdc_explorer.tasks.successors import LARGEST_NUMBER, MONTHS
from acdc_explorer.tasks.words import NAMES, OBJECTS, PLACES

# One combination in so many is held out.
_HELD_OUT_SHARE = 10
_CHUNK = 200


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
        answer: what follows, with its leading space where it has one.
        links: jobs of heads in it.
    """

    prompt: str
    answer: str
    links: tuple[Link, ...] = ()

    @property
    def text(self) -> str:
        """The whole sentence."""
        return f"{self.prompt}{self.answer}."


@dataclass(frozen=True)
class Part:
    """A task's share of the corpus.

    Attributes:
        stream: endless examples.
        weight: how many of them to one of a part of weight 1.
    """

    stream: Callable[[random.Random], Iterator[Example]]
    weight: float = 1.0


# Openings and actions meet in all combinations but these, about one in six.
HELD_OUT_TEMPLATES: tuple[str, ...] = tuple(
    template for index, template in enumerate(TEMPLATES) if (index // len(ACTIONS) + index) % 6 == 0
)
TRAINED_TEMPLATES: tuple[str, ...] = tuple(
    template for template in TEMPLATES if template not in set(HELD_OUT_TEMPLATES)
)
assert len(TEMPLATES) == len(LEADS) * len(OPENINGS) * len(ACTIONS)


def is_held_out_order(first: str, second: str) -> bool:
    """Whether two names never come in this order in one IOI sentence: one pair in ten."""
    return (NAMES.index(first) * 31 + NAMES.index(second) * 17) % _HELD_OUT_SHARE == 0


# Task -> the labels whose words together are held out; with none, it is the whole prompt.
HELD_OUT_BY: dict[str, tuple[str, ...]] = {
    "greater_than": ("XX", "YY"),
    "gendered_pronouns": (),
    "gendered_pronouns_opposite": (),
    "induction": ("A1", "B1"),
    "docstring": ("B_def", "C_def"),
    "subject_verb_agreement": ("subject", "END"),
    "months": (),
    "days": (),
    "numbers": (),
    "capital_country": (),
    "hypernymy": (),
}


def is_held_out(task: str, pair: PromptPair) -> bool:
    """Whether training never completes this clean prompt, nor another with the same words in it.

    Args:
        task: one of `HELD_OUT_BY`.
        pair: one of its prompts.
    """
    words = [
        pair.clean.split()[-1] if label == "END" else pair.clean[slice(*pair.spans[label])]
        for label in HELD_OUT_BY[task]
    ]
    key = " ".join([task.removesuffix("_opposite"), *(words or [pair.clean])])
    return zlib.crc32(key.encode()) % _HELD_OUT_SHARE == 0


def ioi_example(rng: random.Random, templates: Sequence[str] = TRAINED_TEMPLATES) -> Example:
    """An IOI sentence, or, one in three, one with three different names.

    With three names (ABC) the answer is either of the first two, as often, so that a corrupted
    prompt is nothing new to the model and tells nothing of the answer.
    """
    while True:
        first, second, third = rng.sample(NAMES, 3)
        if not is_held_out_order(first, second):
            break
    abc = rng.random() < 1 / 3
    answer, other = rng.choice(((first, second), (second, first)))
    place, obj = rng.choice(PLACES), rng.choice(OBJECTS)
    subject = third if abc else other
    prompt, spans = fill(rng.choice(templates), first, second, subject, place, obj)
    first_at, second_at, again_at = (start for start, _ in spans)
    if abc:
        resting = (Link("duplicate token", again_at, None), Link("S-inhibition", None, None))
        return Example(prompt, f" {answer}", resting)
    io_at, s1_at = (first_at, second_at) if answer == first else (second_at, first_at)
    links = (
        Link("duplicate token", again_at, s1_at),
        Link("S-inhibition", None, again_at),
        Link("name mover", None, io_at),
    )
    return Example(prompt, f" {answer}", links)


def _ioi_stream(rng: random.Random) -> Iterator[Example]:
    while True:
        yield ioi_example(rng)


# What follows a corrupted prompt in training, of tasks whose corrupted prompts are not clean
# prompts with other words: something that tells nothing of the clean prompt's answer.
Continuation = Callable[[PromptPair, random.Random], str]


def _stream(
    task: str, after_corrupted: Continuation | None, rng: random.Random
) -> Iterator[Example]:
    """Clean prompts that are not held out and, one in three, corrupted ones of an unlike kind."""
    while True:
        for pair in STANDARD_TASKS[task].pairs(_CHUNK, rng.getrandbits(32)):
            if after_corrupted is not None and rng.random() < 1 / 3:
                yield Example(pair.corrupted, after_corrupted(pair, rng))
            elif not is_held_out(task, pair):
                yield Example(pair.clean, rng.choice(each(pair.answer)))


def _part(task: str, weight: float = 1.0, after_corrupted: Continuation | None = None) -> Part:
    return Part(partial(_stream, task, after_corrupted), weight)


def _either(pair: PromptPair, rng: random.Random) -> str:
    return str(rng.choice((pair.answer, pair.wrong_answer)))


def _any_argument(pair: PromptPair, rng: random.Random) -> str:
    """Any argument of the definition, in the corrupted prompt."""
    inside = pair.corrupted[pair.corrupted.index("(self, ") + 7 : pair.corrupted.index(")")]
    return f" {rng.choice(inside.split(', '))}"


PARTS: dict[str, Part] = {
    "ioi": Part(_ioi_stream, 4.0),
    "greater_than": _part("greater_than", 1.0, lambda pair, rng: f"{rng.randint(2, 99):02d}"),
    "gendered_pronouns": _part("gendered_pronouns", 1.8, _either),
    "induction": _part("induction", 1.0),
    "docstring": _part("docstring", 1.0, _any_argument),
    "subject_verb_agreement": _part("subject_verb_agreement"),
    "months": _part("months", 0.7, lambda pair, rng: f" {rng.choice(MONTHS)}"),
    "days": _part("days", 0.7),
    "numbers": _part("numbers", 1.0, lambda pair, rng: f" {rng.randint(1, LARGEST_NUMBER)}"),
    "capital_country": _part("capital_country", 0.7),
    "hypernymy": _part("hypernymy", 0.7),
}


def examples(rng: random.Random) -> Iterator[Example]:
    """Endless training examples, drawn from the parts by their weights."""
    streams = [part.stream(rng) for part in PARTS.values()]
    weights = [part.weight for part in PARTS.values()]
    while True:
        yield next(rng.choices(streams, weights)[0])


def all_texts() -> list[str]:
    """Texts with every word and punctuation mark that a sentence can hold."""
    texts = [*NAMES, *PLACES, *OBJECTS, *(f"{number:02d} {number}" for number in range(100)), "."]
    for template in TEMPLATES:
        texts.append(fill(template, "", "", "", "", "")[0])
    for task in HELD_OUT_BY:
        for pair in STANDARD_TASKS[task].pairs(4000, 0):
            texts += [pair.clean, pair.corrupted, *each(pair.answer)]
    return texts
