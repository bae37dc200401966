"""Questions that other threads have for the worker."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

Answer = Callable[[Any, Exception | None], None]


class Questions:
    """What is to be computed in between, first come, first served.

    Attributes:
        answering: whether one is being answered.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[Callable[[], Any], Answer]] = deque()
        self.answering = False

    def __bool__(self) -> bool:
        """Whether there is one to answer, and none being answered."""
        return bool(self._waiting) and not self.answering

    def add(self, question: Callable[[], Any], answer: Answer) -> None:
        """Puts one at the end.

        Args:
            question: computes something.
            answer: called with the result, or None and what was raised.
        """
        self._waiting.append((question, answer))

    def answer_next(self) -> None:
        """Answers the first."""
        question, answer = self._waiting.popleft()
        self.answering = True
        try:
            answer_to(question, answer)
        finally:
            self.answering = False


def answer_to(question: Callable[[], Any], answer: Answer) -> None:
    """Computes something and tells who asked: the result, or what was raised."""
    try:
        result = question()
    except BaseException as error:
        # SystemExit too: a user's metric may raise anything, and the worker must live on.
        answer(None, as_exception(error))
    else:
        answer(result, None)


def as_exception(error: BaseException) -> Exception:
    """What is shown of an error; one that would end the program is told by its name."""
    if isinstance(error, Exception):
        return error
    return RuntimeError(f"{type(error).__name__}: {error}")
