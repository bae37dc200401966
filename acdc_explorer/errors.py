"""One way to say that an argument is wrong: what was given, what is allowed, the nearest match."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def unknown_name(what: str, given: object, allowed: Iterable[str]) -> ValueError:
    """Returns the error for a name that is none of the allowed ones.

    Args:
        what: what the name stands for, as in "unknown task 'ioj'".
        given: the name as it was given.
        allowed: every name that would have been right; at most 12 are listed in the message.
    """
    names = [str(name) for name in allowed]
    nearest = difflib.get_close_matches(str(given), names, n=1, cutoff=0.4)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    listed = ", ".join(names[:12]) + (f", … ({len(names)} in all)" if len(names) > 12 else "")
    return ValueError(f"unknown {what} {given!r}.{hint} Allowed: {listed}.")
