"""Reading JSON that anybody may have written: every value is checked and named by its place."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection
from numbers import Number
from pathlib import Path
from typing import Any

from acdc_explorer.errors import unknown_name

_LONGEST_SHOWN = 100
# Numbers are smaller, so that their differences are finite too.
LARGEST = 1e100


def read_json(path: str | os.PathLike[str]) -> Any:
    """The value in a JSON file.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is not UTF-8 text, or as `parse_json`.
    """
    try:
        return parse_json(Path(path).read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not valid JSON ({error})") from None


def parse_json(text: str, *, unique: bool = False) -> Any:
    """The value of a JSON text; numbers may be NaN or infinite, as `json.loads` has it.

    Args:
        text: all of it.
        unique: whether an object may have a name once only; else the last one counts.

    Raises:
        ValueError: if the text is not JSON, nests too deep, or holds a whole number of thousands of
            digits; or a name comes twice.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique_names if unique else None)
    except RecursionError:
        raise ValueError("not valid JSON (it nests too deep)") from None
    except ValueError as error:
        raise ValueError(f"not valid JSON ({error})") from None


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"{shown(twice)} comes twice in one object")
    return found


def shown(value: Any) -> str:
    """A value as an error message shows it, cut short where it is long.

    Args:
        value: anything that JSON can hold, or that a table's cell does. Of what has parts only the
            kind is told: parts that are shared would be written out again and again.
    """
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, (list, tuple)):
        return f"a {'list' if isinstance(value, list) else 'tuple'} of {len(value)}"
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 200:
        # Python refuses to write out the longest ones.
        return f"a whole number of {value.bit_length()} bits"
    if not (value is None or isinstance(value, (str, Number))):
        return f"a {type(value).__name__}"
    # Of a text only what is shown, and one more: a million characters need not be quoted.
    text = repr(value[: _LONGEST_SHOWN + 1] if isinstance(value, str) else value)
    return text if len(text) <= _LONGEST_SHOWN + 2 else f"{text[:_LONGEST_SHOWN]}…"


class Value:
    """A value from a JSON file, with the place where it stands, as `steps[12].kept`.

    Each method returns the value as one type, and raises a ValueError that names the place, what is
    allowed there, and what was found.

    Attributes:
        data: as `json.loads` gives it.
    """

    __slots__ = ("_name", "_within", "data")

    def __init__(self, data: Any, name: str = "", within: Value | None = None):
        """Takes a value.

        Args:
            data: as above.
            name: what leads to it from the value that it is part of, as ".kept" or "[12]".
            within: that value; None for the whole file.
        """
        self.data, self._name, self._within = data, name, within

    @property
    def place(self) -> str:
        """Where the value stands; empty for the whole file."""
        # Put together when an error names it: a file may hold millions of values.
        if self._within is None:
            return self._name
        outer = self._within.place
        return f"{outer}{self._name}" if outer else self._name.removeprefix(".")

    def error(self, allowed: str) -> ValueError:
        """The error for a value that is not what is allowed in its place."""
        return ValueError(f"{self.place or 'it'} must be {allowed}; got {shown(self.data)}")

    def __getitem__(self, key: str) -> Value:
        """A field of an object, which must be there."""
        if not isinstance(self.data, dict):
            raise self.error("an object")
        if key not in self.data:
            raise ValueError(f"{Value(None, f'.{key}', self).place} is missing")
        return Value(self.data[key], f".{key}", self)

    def __contains__(self, key: str) -> bool:
        """Whether an object has a field."""
        return isinstance(self.data, dict) and key in self.data

    def get(self, key: str, default: Any) -> Value:
        """A field of an object, or a default where it is missing, as in older files."""
        if isinstance(self.data, dict) and key not in self.data:
            return Value(default, f".{key}", self)
        return self[key]

    def fields(self, allowed: Collection[str]) -> dict[str, Value]:
        """An object's fields by name, of which each must be an allowed one."""
        if not isinstance(self.data, dict):
            raise self.error("an object")
        for key in self.data:
            if key not in allowed:
                raise ValueError(f"{self.place}: {unknown_name('field', key, allowed)}")
        return {key: self[key] for key in self.data}

    def mapping(self) -> dict[str, Any]:
        """An object as it is."""
        if not isinstance(self.data, dict):
            raise self.error("an object")
        return dict(self.data)

    def items(self) -> list[Value]:
        """A list's items."""
        if not isinstance(self.data, list):
            raise self.error("a list")
        return [Value(item, f"[{number}]", self) for number, item in enumerate(self.data)]

    def text(self) -> str:
        """A text."""
        if not isinstance(self.data, str):
            raise self.error("text")
        return self.data

    def truth(self) -> bool:
        """True or false, and no number that stands for them."""
        if not isinstance(self.data, bool):
            raise self.error("true or false")
        return self.data

    def whole(self, low: int, high: int | None = None) -> int:
        """A whole number from `low` up to and with `high`, if there is such a limit."""
        allowed = "at least {}" if high is None else "from {} to {}"
        if (
            not isinstance(self.data, int)
            or isinstance(self.data, bool)
            or self.data < low
            or (high is not None and self.data > high)
        ):
            raise self.error(f"a whole number {allowed.format(low, high)}")
        return self.data

    def number(self, *, positive: bool = False) -> float:
        """A finite number, whole or not, of such a size that differences are finite too.

        Args:
            positive: whether it must be above 0.
        """
        data = self.data
        is_number = isinstance(data, (int, float)) and not isinstance(data, bool)
        # NaN is neither.
        if not is_number or not -LARGEST < data < LARGEST or (positive and data <= 0):
            above = " above 0" if positive else ""
            raise self.error(f"a finite number{above}, smaller than {LARGEST:g}")
        return float(data)
