"""What takes long just now."""

from __future__ import annotations

import time

from acdc_explorer.progress import SHOWN_AFTER_SECONDS, Progress


class Activities:
    """The things that are being done, one within the other."""

    def __init__(self) -> None:
        self._begun: dict[str, float] = {}
        self._now: dict[str, Progress] = {}

    def hear(self, progress: Progress) -> None:
        """Takes in how far one of them has come."""
        if progress.ended:
            self._begun.pop(progress.what, None)
            self._now.pop(progress.what, None)
        else:
            self._begun.setdefault(progress.what, time.monotonic())
            self._now[progress.what] = progress

    @property
    def told(self) -> str:
        """The innermost, in words: at once if it has no parts, else after a while; or nothing."""
        since, told = time.monotonic() - SHOWN_AFTER_SECONDS, ""
        for what, progress in self._now.items():
            if not progress.of or self._begun[what] < since:
                told = str(progress)
        return told
