"""What takes long and is asked for by the user: done once a search has ended, and given up."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from acdc_explorer.runner.questions import Answer

Errand = Callable[[], Any]


class GivenUpError(Exception):
    """Raised in an errand that nobody wants any more."""


class Errands:
    """First come, first served. Whoever calls holds the runner's lock."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Errand, Answer]] = deque()
        self._under_way = self._unwanted = False

    def __bool__(self) -> bool:
        """Whether there is one to do."""
        return bool(self._waiting)

    def add(self, errand: Errand, answer: Answer) -> None:
        """Puts one at the end.

        Args:
            errand: computes something, and tells how far it is by `working_on`.
            answer: called with the result, or None and what was raised: `GivenUpError` if it was
                not wanted any more.
        """
        self._waiting.append((errand, answer))

    def begin(self) -> tuple[Errand, Answer]:
        """Takes the first, which is under way from then on."""
        self._under_way, self._unwanted = True, False
        return self._waiting.popleft()

    def end(self) -> None:
        """Says that the one under way is over."""
        self._under_way = self._unwanted = False

    def give_up(self) -> list[Answer]:
        """Lets go of all; the one under way ends when it next tells how far it is.

        Returns:
            Who waits for those that were not begun, to be told once the lock is free.
        """
        self._unwanted = self._under_way
        dropped = [answer for _, answer in self._waiting]
        self._waiting.clear()
        return dropped

    @property
    def is_unwanted(self) -> bool:
        """Whether there is one under way that is not wanted any more."""
        return self._unwanted


def tell_given_up(dropped: list[Answer]) -> None:
    """Tells those who wait for errands that were given up."""
    for answer in dropped:
        answer(None, GivenUpError("it was given up"))
