"""Memory that has been freed, and that the C library keeps for later."""

from __future__ import annotations

import ctypes
import os


def give_back_freed_memory() -> None:
    """Gives it back to the system, where the C library can (glibc).

    It keeps what each thread has freed for that thread, so that worker threads that come and go
    would each leave some hundred megabytes behind.
    """
    if os.name != "posix":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
