"""What is closed before the interpreter ends."""

from __future__ import annotations

import atexit
import weakref
from typing import Protocol


class Closable(Protocol):
    """Something that has a thread of its own."""

    def close(self) -> None:
        """Ends it."""


# A thread that is inside PyTorch when the interpreter ends would abort the process.
_open: weakref.WeakSet[Closable] = weakref.WeakSet()


def close_at_exit(closable: Closable) -> None:
    """Has something closed at the end unless nothing else holds it by then."""
    _open.add(closable)


@atexit.register
def _close() -> None:
    for closable in list(_open):
        closable.close()
