"""Position labels: read from a table's cells, or found where the prompts of a pair differ."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

import numpy as np

from acdc_explorer.checked_json import shown
from acdc_explorer.tasks.prompts import TokenSpan

# Label -> for each prompt the indices of its tokens.
LabelledTokens = dict[str, list[list[int]]]

_CHANGED = "changed"
# A token's index or a span of them; no prompt has tokens of more digits.
_TOKENS = re.compile(r"(-?[0-9]{1,18})(?:\s*:\s*(-?[0-9]{1,18}))?")
_HUGE = 10**18


def parse_label(cell: object, clean: str) -> tuple[int, int] | None:
    """Reads the cell of a label.

    Args:
        cell: a token index (5 or "5"), a span of them ("3:6"), or a word or phrase that occurs
            once in the prompt, as whole words.
        clean: the clean prompt.

    Returns:
        A `TokenSpan`, (start, end) character offsets, or None if the cell is none of these;
        `label_fault` says why.
    """
    text = _text_of(cell)
    if text is None:
        return None
    if found := _TOKENS.fullmatch(text):
        start = int(found[1])
        end = int(found[2]) if found[2] else start + 1
        return TokenSpan(start, end) if 0 <= start < end else None
    starts = occurrences(text, clean)
    return (starts[0], starts[0] + len(text)) if len(starts) == 1 else None


def _text_of(cell: object) -> str | None:
    """A label's cell as text, or None where it is of another type."""
    if isinstance(cell, float) and cell.is_integer():
        # What pandas makes of whole numbers beside an empty cell.
        cell = int(cell)
    if isinstance(cell, (int, np.integer)) and not isinstance(cell, bool):
        # Python refuses to write out the longest numbers; no token has such an index.
        return str(cell) if -_HUGE < cell < _HUGE else None
    return cell.strip() if isinstance(cell, str) else None


def label_fault(cell: object, clean: str) -> str:
    """What is wrong with a cell of which `parse_label` can make nothing.

    Args:
        cell: of a label.
        clean: the clean prompt.
    """
    text = _text_of(cell)
    if text is None:
        return f"is {shown(cell)}; it must be a word, a token index or a span like '3:6'"
    if _TOKENS.fullmatch(text):
        return f"is {text!r}; token indices count from 0, and a span '3:6' goes from 3 up to 5"
    starts = occurrences(text, clean)
    if starts:
        return (
            f"is {text!r}, which occurs {len(starts)} times in the clean prompt; give more words "
            "around it, a token index or a span"
        )
    words = sorted(set(re.findall(r"\w+", clean)))
    nearest = difflib.get_close_matches(text, words, n=1, cutoff=0.6)
    hint = f" (is it {nearest[0]!r}?)" if nearest else ""
    return f"is {text!r}, which does not occur in the clean prompt{hint}"


def occurrences(phrase: str, text: str) -> list[int]:
    """Where a phrase starts in a text, not counting places inside a longer word."""
    # By hand: to compile a pattern for each of many phrases takes far longer than to look for it.
    starts = []
    start = text.find(phrase)
    while start >= 0:
        end = start + len(phrase)
        inside_word = (phrase[0].isalnum() and _in_word(text[max(0, start - 1) : start])) or (
            phrase[-1].isalnum() and _in_word(text[end : end + 1])
        )
        if not inside_word:
            starts.append(start)
        start = text.find(phrase, start + 1 if inside_word else end)
    return starts


def _in_word(letter: str) -> bool:
    """Whether a letter belongs to a word; an empty text does not."""
    return letter.isalnum() or letter == "_"


def changed_tokens(
    clean: Sequence[Sequence[int]], corrupted: Sequence[Sequence[int]]
) -> LabelledTokens:
    """Labels for the places where clean and corrupted prompts differ.

    A place is a run of neighbouring tokens that all differ; the last token of a prompt, which is
    END, belongs to none.

    1. If every prompt has the same number of places, the first of each is "changed 1", the second
       "changed 2", and so on, wherever they are ("changed" if there is only one).
    2. Otherwise, if the prompts are equally long, the places are the runs of positions at which at
       least half of the pairs differ, and are the same tokens in every prompt.
    3. Otherwise there is one label, "changed", for all tokens that differ.

    Args:
        clean: token ids of each prompt.
        corrupted: likewise, each as long as its twin.

    Returns:
        Label -> for each prompt the indices of its tokens; empty if only the last tokens differ.
    """
    differing = [
        [index for index, (a, b) in enumerate(zip(*twins, strict=True)) if a != b]
        for twins in zip(clean, corrupted, strict=True)
    ]
    inner = [
        [index for index in row if index < len(ids) - 1]
        for row, ids in zip(differing, clean, strict=True)
    ]
    runs = [_runs(row) for row in inner]
    numbers_of_runs = {len(row) for row in runs}
    if len(numbers_of_runs) == 1:
        by_place = [list(place) for place in zip(*runs, strict=True)]
        return _named(by_place)
    if len({len(ids) for ids in clean}) == 1:
        often = [
            index
            for index in range(len(clean[0]) - 1)
            if 2 * sum(index in row for row in inner) >= len(inner)
        ]
        if often:
            return _named([[run] * len(inner) for run in _runs(often)])
    if all(inner):
        return {_CHANGED: inner}
    return {}


def _runs(indices: Sequence[int]) -> list[list[int]]:
    """Indices in order, parted where one is left out."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and runs[-1][-1] == index - 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return runs


def _named(places: list[list[list[int]]]) -> LabelledTokens:
    if len(places) == 1:
        return {_CHANGED: places[0]}
    return {f"{_CHANGED} {number}": place for number, place in enumerate(places, start=1)}
