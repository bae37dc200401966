"""One way to say that an argument is wrong: what was given, what is allowed, the nearest match."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from numbers import Integral

# How alike a name must be to be offered, from 0 to 1: less so it is no slip of the hand.
_NEAR = 0.55


def unknown_name(what: str, given: object, allowed: Iterable[str]) -> ValueError:
    """Returns the error for a name that is none of the allowed ones.

    Args:
        what: what the name stands for, as in "unknown task 'ioj'".
        given: the name as it was given.
        allowed: every name that would have been right; at most 12 are listed in the message.
    """
    names = [str(name) for name in allowed]
    by_lower_case = {name.lower(): name for name in names}
    nearest = difflib.get_close_matches(str(given).lower(), by_lower_case, n=1, cutoff=_NEAR)
    hint = f" Did you mean {by_lower_case[nearest[0]]!r}?" if nearest else ""
    listed = ", ".join(names[:12]) + (f", … ({len(names)} in all)" if len(names) > 12 else "")
    return ValueError(f"unknown {what} {given!r}.{hint} Allowed: {listed}.")


def check_whole_number(name: str, value: object, least: int) -> None:
    """Raises a ValueError if an argument is no whole number, or is below the least allowed.

    Args:
        name: of the argument.
        value: that was given.
        least: that is allowed.
    """
    # Those of numpy are whole numbers too; True and False are none.
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} must be a whole number from {least} on; got {value!r}")
