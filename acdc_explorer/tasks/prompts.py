"""What a task is made of before it is tokenised: pairs of texts with named places in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

Answers = str | tuple[str, ...]


def each(answers: Answers) -> tuple[str, ...]:
    """One answer or several as a tuple."""
    return (answers,) if isinstance(answers, str) else tuple(answers)


class TokenSpan(NamedTuple):
    """Tokens `start` up to, not including, `end`.

    They are counted as the model reads them: where it starts with a beginning-of-text token, that
    is token 0.
    """

    start: int
    end: int


@dataclass(frozen=True)
class PromptPair:
    """One clean prompt, its corrupted twin, and what the model should and should not say next.

    Attributes:
        clean: text up to, not including, the answer.
        corrupted: the same with the fact that the task needs destroyed; it must tokenise to the
            same number of tokens.
        answer: the right continuation of `clean`, with its leading space where it has one; several
            in a tuple if more than one is right.
        wrong_answer: the continuation it is compared with, likewise.
        spans: position label -> (start, end) character offsets in `clean`, or a `TokenSpan`. A
            label with character offsets stands for the tokens that overlap them.
    """

    clean: str
    corrupted: str
    answer: Answers
    wrong_answer: Answers
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)


def labelled_text(*pieces: tuple[str, str | None]) -> tuple[str, dict[str, tuple[int, int]]]:
    """Joins pieces of a text, each with the label of its position or None.

    Returns:
        The text, and label -> (start, end) character offsets of the pieces that have a label.
    """
    text = ""
    spans = {}
    for piece, label in pieces:
        if label is not None:
            spans[label] = (len(text), len(text) + len(piece))
        text += piece
    return text, spans
