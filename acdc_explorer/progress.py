"""Telling how far something has come that takes long.

What takes long says so by `working_on`, however deep it lies; whoever wants to show it listens by
`heard_by`, as the explorer does. After `show_progress`, which the command line calls on a terminal,
bars show it where nobody else listens; otherwise nothing is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

# What is done in parts is shown once it has taken this long: what takes less need not be.
SHOWN_AFTER_SECONDS = 1.0


@dataclass(frozen=True)
class Progress:
    """How far something has come.

    Attributes:
        what: is being done, in words.
        done: how many parts of it.
        of: how many there are; 0: it has no parts.
        ended: whether it is over, by whatever end.
    """

    what: str
    done: int = 0
    of: int = 0
    ended: bool = False

    def __str__(self) -> str:
        count = f" {self.done:,} of {self.of:,}" if self.of else ""
        return f"{self.what} …{count}"


Listener = Callable[[Progress], None]


class _Bars:
    """Bars on the terminal or below the notebook's cell, one for each thing that is being done."""

    def __init__(self) -> None:
        self._bars: dict[str, Any] = {}

    def __call__(self, progress: Progress) -> None:
        from tqdm.auto import tqdm

        if progress.ended:
            bar = self._bars.pop(progress.what, None)
            # Not `if bar`: one without parts has no length, and says so by raising.
            if bar is not None:
                bar.close()
            return
        if progress.what not in self._bars:
            # What has no parts is never updated, so that its bar would wait for ever.
            delay = SHOWN_AFTER_SECONDS if progress.of else 0.0
            self._bars[progress.what] = tqdm(
                total=progress.of or None, desc=progress.what, leave=False, delay=delay
            )
        bar = self._bars[progress.what]
        bar.update(progress.done - bar.n)


# Each thread's own: what a worker does is not for those who listen elsewhere.
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)
_bars: _Bars | None = None


@contextmanager
def working_on(what: str, of: int = 0) -> Iterator[Callable[[int], None]]:
    """Tells that something is being done for as long as the block lasts.

    Args:
        what: is being done, in words.
        of: how many parts it has, if it is done in parts.

    Yields:
        To be called with the number of parts done.
    """
    listener = _listener.get() or _bars
    if listener is None:
        yield lambda done: None
        return
    start = Progress(what, 0, of)
    listener(start)
    try:
        yield lambda done: listener(replace(start, done=done))
    finally:
        listener(replace(start, done=of, ended=True))


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Has a function called, on this thread, with all progress made within the block."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def show_progress(shown: bool = True) -> None:
    """Shows bars of progress for everything that takes more than a second: loading, searching, ...

    Off by default. The explorer shows its progress by itself.

    Args:
        shown: whether to show them from now on.
    """
    global _bars
    _bars = _Bars() if shown else None
