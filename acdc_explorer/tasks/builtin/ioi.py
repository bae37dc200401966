"""Indirect object identification (IOI): "Then, Mary and John … John gave a drink to" -> " Mary".

From Wang et al. 2022 (arXiv 2211.00593). Two names come in the first clause; the second repeats one
of them, the subject S, and the answer is the other, the indirect object IO. The corrupted prompts
put three other, different names in the same sentence (ABC, Conmy et al. 2023, appendix F), so that
neither name is repeated and both answers are as likely. In two variants only S2 is replaced: by a
third name (Hanna et al. 2024, arXiv 2403.17806) or by IO, which turns the answer round (the S2-IO
flip of MIB, Mueller et al. 2025, arXiv 2504.13151).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import product
from typing import Literal

from acdc_explorer.tasks.builtin.words import NAMES, OBJECTS, PLACES
from acdc_explorer.tasks.prompts import PromptPair

LEADS = ("", "Yesterday, ", "One day in the morning, ", "Late at night, ", "Later that day, ")
OPENINGS = (
    "when {A} and {B} went to the {PLACE},",
    "after {A} and {B} had a long talk at the {PLACE},",
    "while {A} was at the {PLACE} with {B},",
    "{A} met {B} at the {PLACE}, and then",
    "{A} and {B} were working at the {PLACE}. In the end,",
    "{A} walked to the old {PLACE} to find {B}, and there",
    "as soon as {A} and her friend {B} came to the {PLACE},",
    "the {PLACE} was closed, so {A} and {B} went home. Then",
)
ACTIONS = (
    "{S} gave a {OBJECT} to",
    "{S} wanted to give the {OBJECT} to",
    "{S} decided to hand a {OBJECT} to",
    "{S} took the {OBJECT} and passed it to",
    "{S} said that the {OBJECT} was for",
    "{S} found a new {OBJECT} and sold it to",
    "{S} talked for a long time to",
    "{S} sent the {OBJECT} back to",
)
# Sentences of 11 to 30 words. A and B are the two names in order of appearance.
TEMPLATES: tuple[str, ...] = tuple(
    f"{opening[0].upper()}{opening[1:]} {action}" if not lead else f"{lead}{opening} {action}"
    for lead, opening, action in product(LEADS, OPENINGS, ACTIONS)
)


def ioi_pairs(
    n_prompts: int,
    seed: int = 0,
    *,
    templates: Sequence[str] = TEMPLATES,
    names: Sequence[str] = NAMES,
    corruption: Literal["abc", "s2_other", "s2_flip"] = "abc",
) -> list[PromptPair]:
    """Makes IOI prompts, half ABBA (IO named first) and half BABA, each with a corrupted twin.

    Args:
        n_prompts: how many.
        seed: the same seed gives the same prompts.
        templates: to choose from.
        names: to choose from, at least five.
        corruption: "abc" puts in three other names; "s2_other" puts a third name in the place of
            S2; "s2_flip" puts IO there.

    Returns:
        Pairs with position labels IO, S1, S1+1 and S2.
    """
    rng = random.Random(seed)
    pairs = []
    for number in range(n_prompts):
        template, place, obj = rng.choice(templates), rng.choice(PLACES), rng.choice(OBJECTS)
        io, subject, *others = rng.sample(list(names), 5)
        io_first = number % 2 == 0
        first, second = (io, subject) if io_first else (subject, io)
        clean, (first_span, second_span, again) = fill(template, first, second, subject, place, obj)
        a, b, s = {
            "abc": others,
            "s2_other": [first, second, others[0]],
            "s2_flip": [first, second, io],
        }[corruption]
        corrupted, _ = fill(template, a, b, s, place, obj)
        io_span, s1_span = (first_span, second_span)[:: 1 if io_first else -1]
        pairs.append(
            PromptPair(
                clean=clean,
                corrupted=corrupted,
                answer=f" {io}",
                wrong_answer=f" {subject}",
                spans={
                    "IO": io_span,
                    "S1": s1_span,
                    "S1+1": _token_after(clean, s1_span[1]),
                    "S2": again,
                },
            )
        )
    rng.shuffle(pairs)
    return pairs


def _token_after(text: str, at: int) -> tuple[int, int]:
    """A span in the next token: a comma, or a word's first letter."""
    start = at + (text[at] == " ")
    return start, start + 1


def fill(
    template: str, first: str, second: str, subject: str, place: str, obj: str
) -> tuple[str, list[tuple[int, int]]]:
    """Fills a template; returns the text and the spans of the two names and of the subject."""
    words = {"A": first, "B": second, "S": subject, "PLACE": place, "OBJECT": obj}
    spans: dict[str, tuple[int, int]] = {}
    text = ""
    for piece in template.split("{"):
        slot, _, rest = piece.rpartition("}")
        if slot:
            spans[slot] = (len(text), len(text) + len(words[slot]))
            text += words[slot]
        text += rest
    return text, [spans["A"], spans["B"], spans["S"]]
