"""Telling a listener how things stand, not too often."""

from __future__ import annotations

import time
from collections.abc import Callable

from acdc_explorer.runner.state import Snapshot


class Notices:
    """Tells one listener."""

    def __init__(self, listener: Callable[[Snapshot], None] | None, interval: float):
        """Makes it.

        Args:
            listener: called with snapshots, or None.
            interval: the least number of seconds from one to the next; or twice the time that the
                listener takes, if that is more.
        """
        self._listener, self._interval = listener, interval
        self._next = 0.0

    @property
    def due(self) -> bool:
        """Whether it is time for another one."""
        return time.monotonic() >= self._next

    def give(self, snapshot: Callable[[], Snapshot]) -> None:
        """Tells how things stand, due or not.

        Args:
            snapshot: takes it.
        """
        if self._listener is None:
            return
        started = time.monotonic()
        self._listener(snapshot())
        took = time.monotonic() - started
        self._next = time.monotonic() + max(self._interval, 2 * took)
