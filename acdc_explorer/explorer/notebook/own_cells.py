"""Hears when the user's own cells run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from IPython.core.getipython import get_ipython


class OwnCells:
    """Tells a listener whether one of the notebook's cells is running; outside of IPython, never.

    What a click on the page does is no cell.

    Attributes:
        running: whether one is running now; not known of the one in which this is made.
    """

    def __init__(self, listener: Callable[[bool], None]):
        """Begins to listen.

        Args:
            listener: called with True before each cell, and with False after it.
        """
        self.running = False
        self._listener = listener
        shell = get_ipython()
        self._events: Any = shell.events if shell is not None else None
        self._callbacks: dict[str, Callable[..., None]] = {
            "pre_run_cell": lambda *_: self._heard(True),
            "post_run_cell": lambda *_: self._heard(False),
        }
        if self._events is not None:
            for event, callback in self._callbacks.items():
                self._events.register(event, callback)

    def _heard(self, running: bool) -> None:
        self.running = running
        self._listener(running)

    def close(self) -> None:
        """Ends listening."""
        if self._events is None:
            return
        for event, callback in self._callbacks.items():
            self._events.unregister(event, callback)
        self._events = None
