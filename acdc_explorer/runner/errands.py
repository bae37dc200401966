"""What takes long and is asked for by the user: done once a search has ended, and given up."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from acdc_explorer.runner.questions import Answer, as_exception


class GivenUpError(Exception):
    """Raised in an errand that nobody wants any more."""


class Errands:
    """First come, first served."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Callable[[], Any], Answer]] = deque()
        self._under_way = self._unwanted = False

    def __bool__(self) -> bool:
        """Whether there is one to do."""
        return bool(self._waiting)

    def add(self, errand: Callable[[], Any], answer: Answer) -> None:
        """Puts one at the end.

        Args:
            errand: computes something, and tells how far it is by `working_on`.
            answer: called with the result, or None and what was raised: `GivenUpError` if it was
                not wanted any more.
        """
        self._waiting.append((errand, answer))

    def give_up(self) -> list[Answer]:
        """Lets go of all; the one under way ends when it next tells how far it is.

        Returns:
            Who waits for those that were not begun, to be told.
        """
        self._unwanted = self._under_way
        dropped = [answer for _, answer in self._waiting]
        self._waiting.clear()
        return dropped

    def check_wanted(self) -> None:
        """Raises `GivenUpError` in an errand that is not wanted any more."""
        if self._unwanted:
            self._unwanted = False
            raise GivenUpError("it was given up")

    def do_next(self) -> None:
        """Does the first."""
        errand, answer = self._waiting.popleft()
        self._under_way = True
        try:
            result = errand()
        except BaseException as error:
            self._under_way = self._unwanted = False
            answer(None, as_exception(error))
        else:
            self._under_way = self._unwanted = False
            answer(result, None)
