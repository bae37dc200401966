"""The worker thread's share of the cores."""

from __future__ import annotations

import os

import torch

# Where the page is drawn on the same machine, threads that all wait for one another's turn make a
# search several times slower.
_AT_WORK = max(1, (os.cpu_count() or 1) - 1)
# The rest is the user's.
_IN_BACKGROUND = max(1, (os.cpu_count() or 1) // 2)


def use_cores(*, in_background: bool) -> None:
    """Sets how many threads this thread computes with from now on.

    Args:
        in_background: whether nobody waits for what is computed.
    """
    n = _IN_BACKGROUND if in_background else _AT_WORK
    if torch.get_num_threads() != n:
        torch.set_num_threads(n)
