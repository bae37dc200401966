"""What comes next in an order: months, days of the week, numbers.

`months_pairs` is the example of the blog post on the first ACDC (2022): "Last month it was February
so this month it is" -> " March" against " February", with the unlike sentence "This time it is here
and last time it was" as the corrupted prompt. Days are the same with another day as the corrupted
one. Numbers follow Lan et al. 2023 (arXiv 2311.04131): a sequence such as "4 5 6 7", corrupted by
numbers in no order.

A tokenizer may write a number apart from the space before it, and digit by digit; then the prompt
goes on as far as the answer's last token (`numbers_pairs`, `given`).
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from itertools import cycle, islice, product
from typing import Literal, NamedTuple

from acdc_explorer.tasks.prompts import PromptPair, labelled_text

MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# What of an answer stands in the prompt.
Given = Literal["nothing", "space", "all but the last digit"]
LARGEST_NUMBER = 99
_SEQUENCE_LENGTH = 4

LEADS = (
    "",
    *(
        f"{who} {did} that "
        for who in ("She", "He", "We", "They", "I")
        for did in ("said", "wrote", "knew", "thought", "heard")
    ),
)
CONNECTIVES = (" so", ", so", " and", ", and")
COUNTS = (
    "Count:", "Numbers:", "We count:", "The next numbers:", "They said:", "Go on:", "And then:",
)  # fmt: skip


class _Setting(NamedTuple):
    """Where an item is named: what comes before it and after it."""

    lead: str
    connective: str
    item: str


def _settings(n: int, seed: int, items: Sequence[str]) -> list[_Setting]:
    """Settings without repeats for as long as there are any; the bare sentence's come first."""
    bare = [_Setting("", CONNECTIVES[0], item) for item in items]
    others = [
        setting
        for setting in (_Setting(*parts) for parts in product(LEADS, CONNECTIVES, items))
        if setting not in bare
    ]
    random.Random(seed).shuffle(others)
    return list(islice(cycle(bare + others), n))


def following(item: str, order: Sequence[str]) -> str:
    """What comes after an item; after the last the first again."""
    return order[(order.index(item) + 1) % len(order)]


def months_pairs(
    n_prompts: int, seed: int = 0, *, months: Collection[str] = MONTHS
) -> list[PromptPair]:
    """Makes prompts that ask for the month after a month.

    Args:
        n_prompts: how many. The first is the blog post's own, up to the twelfth the other months in
            its sentence; then come the same with other leads, and after 1,248 they repeat.
        seed: the same seed gives the same prompts.
        months: those that may be named.

    Returns:
        Pairs with position labels "Last month", "February" (the month named, whichever it is) and
        "this month". The wrong answer is the month named.
    """
    february_first = [month for month in MONTHS[1:] + MONTHS[:1] if month in months]
    pairs = []
    for lead, connective, month in _settings(n_prompts, seed, february_first):
        clean, spans = labelled_text(
            (lead, None), (_capital("last month", lead), "Last month"), (" it was ", None),
            (month, "February"), (f"{connective} ", None), ("this month", "this month"),
            (" it is", None),
        )  # fmt: skip
        pause = "," if connective.startswith(",") else ""
        corrupted = f"{lead}{_capital('this time', lead)} it is here{pause} and last time it was"
        answer = following(month, MONTHS)
        pairs.append(PromptPair(clean, corrupted, f" {answer}", f" {month}", spans))
    return pairs


def days_pairs(n_prompts: int, seed: int = 0, *, days: Collection[str] = DAYS) -> list[PromptPair]:
    """Makes prompts that ask for the day after a day: "Yesterday it was Monday so today it is".

    Args:
        n_prompts: how many; after 728 they repeat.
        seed: the same seed gives the same prompts.
        days: those that may be named, at least two.

    Returns:
        Pairs with position labels "Yesterday", "Monday" (the day named) and "today". In the
        corrupted prompt another day is named, and the wrong answer is the one that follows that.
    """
    rng = random.Random(seed)
    pairs = []
    named = [day for day in DAYS if day in days]
    for lead, connective, day in _settings(n_prompts, seed, named):
        other = rng.choice([name for name in named if name != day])
        texts = [
            labelled_text(
                (lead, None), (_capital("yesterday", lead), "Yesterday"), (" it was ", None),
                (name, "Monday"), (f"{connective} ", None), ("today", "today"), (" it is", None),
            )
            for name in (day, other)
        ]  # fmt: skip
        (clean, spans), (corrupted, _) = texts
        answer, wrong = (following(name, DAYS) for name in (day, other))
        pairs.append(PromptPair(clean, corrupted, f" {answer}", f" {wrong}", spans))
    return pairs


def numbers_pairs(n_prompts: int, seed: int = 0, *, given: Given = "nothing") -> list[PromptPair]:
    """Makes prompts that go on counting: "Count: 4 5 6 7" -> " 8".

    Args:
        n_prompts: how many. The first 95 are all that begin with "Count:"; then come others, and
            after 665 they repeat (with all but the last digit given, 83 and 581).
        seed: the same seed gives the same prompts.
        given: what of the answer stands in the prompt already: "nothing"; the "space" before it; or
            the space and "all but the last digit": "Count: 41 42 43 44 4" -> "5". There all numbers
            of a prompt have as many digits, and the answer is in the same ten as the number before.

    Returns:
        Pairs with position labels "1st", "2nd" and "3rd"; the fourth and last number is END, or, if
        anything is given, "4th". The corrupted numbers are in no order; none of them is the answer
        or the wrong answer, which is the number before the answer. Where digits are given, the
        answers are last digits.
    """
    rng = random.Random(seed)
    pairs = []
    by_digit = given == "all but the last digit"
    firsts = [
        first
        for first in range(1, LARGEST_NUMBER - _SEQUENCE_LENGTH + 1)
        if not by_digit or _digits_fit(first)
    ]
    labels = ["1st", "2nd", "3rd", None if given == "nothing" else "4th"]
    settings = [
        setting
        for leads in (COUNTS[:1], COUNTS[1:])
        for setting in rng.sample(list(product(leads, firsts)), len(leads) * len(firsts))
    ]
    for lead, first in islice(cycle(settings), n_prompts):
        *sequence, answer = range(first, first + _SEQUENCE_LENGTH + 1)
        others = [
            number
            for number in range(1, LARGEST_NUMBER + 1)
            if number not in (sequence[-1], answer)
            and (not by_digit or len(str(number)) == len(str(answer)))
        ]
        unordered = rng.sample(others, _SEQUENCE_LENGTH)
        while any(b - a == 1 for a, b in zip(unordered, unordered[1:], strict=False)):
            rng.shuffle(unordered)
        clean, spans = labelled_text(
            (lead, None),
            *(
                part
                for number, label in zip(sequence, labels, strict=True)
                for part in ((" ", None), (str(number), label))
            ),
        )
        corrupted = " ".join([lead, *map(str, unordered)])
        right, wrong = f" {answer}", f" {sequence[-1]}"
        cut = {"nothing": 0, "space": 1}.get(given, len(right) - 1)
        clean, corrupted = clean + right[:cut], corrupted + right[:cut]
        pairs.append(PromptPair(clean, corrupted, right[cut:], wrong[cut:], spans))
    return pairs


def _digits_fit(first: int) -> bool:
    """Whether a sequence's numbers have as many digits, and its last and the answer one ten."""
    last, answer = first + _SEQUENCE_LENGTH - 1, first + _SEQUENCE_LENGTH
    return len(str(first)) == len(str(answer)) and last // 10 == answer // 10


def _capital(words: str, lead: str) -> str:
    """Words as they are written after a lead, or at the beginning of a sentence without one."""
    return words if lead else words[0].upper() + words[1:]
