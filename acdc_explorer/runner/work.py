"""Something that is done bit by bit while there is nothing else to do."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Generator

logger = logging.getLogger(__name__)


class Work:
    """Something that is done bit by bit.

    Attributes:
        finished: whether all is done, the time for it is spent, or it has failed.
        gave_up: whether the time was spent before all was done.
    """

    def __init__(self, bits: Generator[bool], seconds: float = math.inf):
        """Begins.

        Args:
            bits: does a bit of it for each item, which tells whether there is something new.
            seconds: of work after which it ends.
        """
        self._bits, self._seconds_left = bits, seconds
        self.finished = self.gave_up = False

    def close(self) -> None:
        """Ends it, and lets go of what it works on."""
        self._bits.close()
        self.finished = True

    def advance(self) -> bool:
        """Does a bit; True if there is something new."""
        if self._seconds_left <= 0:
            self.finished = self.gave_up = True
            return True
        started = time.monotonic()
        try:
            new = next(self._bits, None)
        except Exception:
            # The circuit stands; only what would have been known of it besides ends here.
            logger.exception("work in the background failed")
            new = None
        self._seconds_left -= time.monotonic() - started
        self.finished = new is None
        return bool(new)
