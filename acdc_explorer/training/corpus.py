"""The text that `mini` learns from: one part per task, each an endless stream of examples.

An example can say which token should look at which (`Link`): training guides a few heads towards
such jobs at first (`train_mini.py`). No example completes a held-out prompt (`splits.py`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from acdc_explorer.tasks.builtin.ioi import TEMPLATES, fill
from acdc_explorer.tasks.builtin.registry import STANDARD_TASKS
from acdc_explorer.tasks.builtin.successors import LARGEST_NUMBER, MONTHS
from acdc_explorer.tasks.builtin.words import NAMES, OBJECTS, PLACES
from acdc_explorer.tasks.prompts import PromptPair, each
from acdc_explorer.training.splits import HELD_OUT, IOI_TEMPLATES, is_trained, split_of_order

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
        weighted_at: character offsets of words in the prompt that follow by the same rule as the
            answer, to be learned as it is.
    """

    prompt: str
    answer: str
    links: tuple[Link, ...] = ()
    weighted_at: tuple[int, ...] = ()

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


def ioi_example(
    rng: random.Random, templates: Sequence[str] = IOI_TEMPLATES["training"]
) -> Example:
    """An IOI sentence, or, one in three, one with three different names.

    With three names (ABC) the answer is either of the first two, as often, so that a corrupted
    prompt is nothing new to the model and tells nothing of the answer.
    """
    while True:
        first, second, third = rng.sample(NAMES, 3)
        if split_of_order(first, second) == "training":
            break
    abc = rng.random() < 1 / 3
    answer, other = rng.choice(((first, second), (second, first)))
    place, obj = rng.choice(PLACES), rng.choice(OBJECTS)
    subject = third if abc else other
    prompt, spans = fill(rng.choice(templates), first, second, subject, place, obj)
    first_at, second_at, again_at = (start for start, _ in spans)
    # Nothing is there twice yet: a duplicate token head is not to carry the names themselves.
    resting = (Link("duplicate token", first_at, None), Link("duplicate token", second_at, None))
    if abc:
        idle = (Link("duplicate token", again_at, None), Link("S-inhibition", None, None))
        return Example(prompt, f" {answer}", (*resting, *idle))
    io_at, s1_at = (first_at, second_at) if answer == first else (second_at, first_at)
    links = (
        Link("duplicate token", again_at, s1_at),
        Link("S-inhibition", None, again_at),
        Link("name mover", None, io_at),
        *resting,
    )
    return Example(prompt, f" {answer}", links)


def _ioi_stream(rng: random.Random) -> Iterator[Example]:
    while True:
        yield ioi_example(rng)


# What follows a corrupted prompt in training, of tasks whose corrupted prompts are not clean
# prompts with other words: something that tells nothing of the clean prompt's answer.
Continuation = Callable[[PromptPair, random.Random], str]


def _stream(
    task: str,
    after_corrupted: Continuation | None,
    weighted_at: Sequence[str],
    links: Callable[[PromptPair], tuple[Link, ...]],
    rng: random.Random,
) -> Iterator[Example]:
    """Clean prompts that are not held out and, one in three, corrupted ones of an unlike kind.

    `weighted_at` are labels of words in a clean prompt that follow by the task's rule.
    """
    while True:
        for pair in STANDARD_TASKS[task].pairs(_CHUNK, rng.getrandbits(32)):
            if after_corrupted is not None and rng.random() < 1 / 3:
                yield Example(pair.corrupted, after_corrupted(pair, rng))
            elif is_trained(task, pair):
                offsets = tuple(pair.spans[label][0] for label in weighted_at)
                yield Example(pair.clean, rng.choice(each(pair.answer)), links(pair), offsets)


def _part(
    task: str,
    weight: float = 1.0,
    after_corrupted: Continuation | None = None,
    weighted_at: Sequence[str] = (),
    links: Callable[[PromptPair], tuple[Link, ...]] = lambda pair: (),
) -> Part:
    return Part(partial(_stream, task, after_corrupted, weighted_at, links), weight)


def _docstring_links(pair: PromptPair) -> tuple[Link, ...]:
    """For the answer, at END, and for the second argument documented, at the "param" before it."""
    a, b, c, a_doc, b_doc = (
        pair.spans[label][0] for label in ("A_def", "B_def", "C_def", "A_doc", "B_doc")
    )
    param = pair.clean.rindex("param", 0, b_doc)
    return (
        Link("two back", b, a),
        Link("two back", c, b),
        Link("last argument", param, a_doc),
        Link("last argument", None, b_doc),
        Link("answer mover", param, b),
        Link("answer mover", None, c),
    )


def _choice_links(pair: PromptPair) -> tuple[Link, ...]:
    color, letter, choice = (pair.spans[label][0] for label in ("color", "letter", "choice"))
    return (
        Link("duplicate token", choice, color),
        Link("two back", choice, letter),
        Link("answer mover", None, choice),
    )


def _either(pair: PromptPair, rng: random.Random) -> str:
    return str(rng.choice((pair.answer, pair.wrong_answer)))


def _any_argument(pair: PromptPair, rng: random.Random) -> str:
    """Any argument of the definition, in the corrupted prompt."""
    inside = pair.corrupted[pair.corrupted.index("(self, ") + 7 : pair.corrupted.index(")")]
    return f" {rng.choice(inside.split(', '))}"


PARTS: dict[str, Part] = {
    "ioi": Part(_ioi_stream, 6.0),
    "greater_than": _part("greater_than", 1.0, lambda pair, rng: f"{rng.randint(2, 99):02d}"),
    "gendered_pronouns": _part("gendered_pronouns", 1.4, _either),
    "induction": _part("induction", 1.0),
    "docstring": _part("docstring", 3.5, _any_argument, ("B_doc",), _docstring_links),
    "subject_verb_agreement": _part("subject_verb_agreement"),
    "months": _part("months", 0.7, lambda pair, rng: f" {rng.choice(MONTHS)}"),
    "days": _part("days", 0.7),
    "numbers": _part("numbers", 1.5, lambda pair, rng: f" {rng.randint(1, LARGEST_NUMBER)}"),
    "capital_country": _part("capital_country", 0.7),
    "hypernymy": _part("hypernymy", 0.7),
    "multiple_choice": _part("multiple_choice", 0.7, links=_choice_links),
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
    for task in HELD_OUT:
        for pair in STANDARD_TASKS[task].pairs(4000, 0):
            texts += [pair.clean, pair.corrupted, *each(pair.answer)]
    return texts
