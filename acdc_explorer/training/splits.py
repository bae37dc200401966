"""Which prompts training never completes, and which of those choose a model and which test it.

Of each task some combinations of words are held out, one in ten for validation and one in ten for
the test. Variants of the training are compared on validation prompts; the test prompts are for the
model card alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from acdc_explorer.tasks.builtin.ioi import ACTIONS, LEADS, OPENINGS, TEMPLATES
from acdc_explorer.tasks.builtin.words import NAMES
from acdc_explorer.tasks.prompts import PromptPair

Split = Literal["training", "validation", "test"]
# One combination in so many is of each held-out split.
_HELD_OUT_SHARE = 10


def _split_of_number(number: int) -> Split:
    remainder = number % _HELD_OUT_SHARE
    return "test" if remainder == 0 else "validation" if remainder == 1 else "training"


def _ioi_templates() -> dict[Split, tuple[str, ...]]:
    """Openings and actions meet in all combinations but one in six, of which tests take half."""
    assert len(TEMPLATES) == len(LEADS) * len(OPENINGS) * len(ACTIONS)
    held_out = [
        template
        for index, template in enumerate(TEMPLATES)
        if (index // len(ACTIONS) + index) % 6 == 0
    ]
    trained = tuple(template for template in TEMPLATES if template not in set(held_out))
    return {
        "training": trained,
        "validation": tuple(held_out[1::2]),
        "test": tuple(held_out[::2]),
    }


IOI_TEMPLATES: dict[Split, tuple[str, ...]] = _ioi_templates()


def split_of_order(first: str, second: str) -> Split:
    """Of two names in this order in one IOI sentence."""
    return _split_of_number(NAMES.index(first) * 31 + NAMES.index(second) * 17)


@dataclass(frozen=True)
class HeldOut:
    """What of a task's prompts is held out together.

    Attributes:
        what: in words, for the model card.
        key: the words in a clean prompt that decide its split.
        other_key: of words that follow by the same rule before END: neither may those be held out
            where a prompt is trained on.
    """

    what: str
    key: Callable[[PromptPair], str]
    other_key: Callable[[PromptPair], str] | None = None


def _words_at(*labels: str) -> Callable[[PromptPair], str]:
    def key(pair: PromptPair) -> str:
        return " ".join(
            pair.clean.split()[-1] if label == "END" else pair.clean[slice(*pair.spans[label])]
            for label in labels
        )

    return key


def _sentence_around(label: str) -> Callable[[PromptPair], str]:
    def key(pair: PromptPair) -> str:
        start, end = pair.spans[label]
        return f"{pair.clean[:start]}_{pair.clean[end:]}"

    return key


def _choices(pair: PromptPair) -> str:
    return pair.clean[pair.clean.index("\n") :]


def _whole_prompt(pair: PromptPair) -> str:
    return pair.clean


# Of all tasks but IOI, where names and templates are held out apart.
HELD_OUT: dict[str, HeldOut] = {
    "greater_than": HeldOut("years", _words_at("XX", "YY")),
    "gendered_pronouns": HeldOut("names with sentences", _whole_prompt),
    "gendered_pronouns_opposite": HeldOut("names with sentences", _whole_prompt),
    "induction": HeldOut("pairs of words A B", _words_at("A1", "B1")),
    "docstring": HeldOut(
        "pairs of arguments that follow one another",
        _words_at("B_def", "C_def"),
        _words_at("A_def", "B_def"),
    ),
    "subject_verb_agreement": HeldOut("subjects with attractors", _words_at("subject", "END")),
    "months": HeldOut("sentences, for every month", _sentence_around("February")),
    "days": HeldOut("sentences, for every day", _sentence_around("Monday")),
    "numbers": HeldOut("sequences, in every sentence", _words_at("1st")),
    "capital_country": HeldOut("capitals with sentences", _whole_prompt),
    "hypernymy": HeldOut("things with sentences", _whole_prompt),
    "multiple_choice": HeldOut("the four colors in their order", _choices),
}


def split_of(task: str, pair: PromptPair) -> Split:
    """Which split a clean prompt belongs to, with all others that have the same words in it.

    Args:
        task: one of `HELD_OUT`.
        pair: one of its prompts.
    """
    return _split_of_key(task, HELD_OUT[task].key(pair))


def is_trained(task: str, pair: PromptPair) -> bool:
    """Whether training may complete a clean prompt: it tells nothing that is held out.

    Args:
        task: one of `HELD_OUT`.
        pair: one of its prompts.
    """
    found = HELD_OUT[task]
    keys = [key(pair) for key in (found.key, found.other_key) if key is not None]
    return all(_split_of_key(task, key) == "training" for key in keys)


def _split_of_key(task: str, key: str) -> Split:
    return _split_of_number(zlib.crc32(f"{task.removesuffix('_opposite')} {key}".encode()))
