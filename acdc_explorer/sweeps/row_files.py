"""The files of a sweep's folder: one for each row, written whole or not at all.

A row's file is `<key>.json`, the key being made of its settings (`SweepRow.key`). It is a circuit's
file, which `Circuit.load` opens, with one field more, `sweep`: the row's record, that is, its
settings, how long it took, and the circuit in a few numbers. A row that failed has the record
alone, with the traceback. The record is the file's first line: a table of thousands of rows is read
from these, where the circuits of a large model take a hundred megabytes each.
"""

from __future__ import annotations

import json
import math
import os
import socket
import time
import traceback
from pathlib import Path
from typing import Any

from acdc_explorer.checked_json import Value, parse_json
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.files import write_text
from acdc_explorer.sweeps.row import SweepRow

DONE, FAILED = "done", "failed"
_FORMAT, _VERSION = "acdc_explorer sweep row", 1
_END = b"}\n"
# Of a circuit, in the order of the table's columns; see `sweep`.
NUMBERS = (
    "kept",
    "connected",
    "edges",
    "tested",
    "faithfulness",
    "metric",
    "full",
    "corrupted",
    "value",
    "threshold_value",
    "same_from",
    "same_to",
)
_COUNTS = ("kept", "connected", "edges", "tested")


def folder_of(given: str | os.PathLike[str]) -> Path:
    """The folder of a sweep by its whole path.

    Args:
        given: as `sweep` was given it; "~" stands for the user's home.

    Raises:
        ValueError: if it is no path, or of a user who is not known.
    """
    if not isinstance(given, (str, os.PathLike)):
        raise ValueError(f"a sweep's folder must be a path, as 'runs/'; got {given!r}")
    try:
        return Path(given).expanduser().absolute()
    except RuntimeError as error:
        raise ValueError(f"there is no folder {os.fspath(given)!r}: {error}") from None


def path_of(folder: Path, row: SweepRow) -> Path:
    """The file of a row, be it there or not."""
    return folder / f"{row.key}.json"


def write_done(folder: Path, row: SweepRow, circuit: Circuit, seconds: float) -> None:
    """Writes the file of a row whose search came to its end.

    Args:
        folder: of the sweep.
        row: that was searched.
        circuit: that was found.
        seconds: that it took, from loading to the end.

    Raises:
        OSError, ValueError: if it cannot be written.
    """
    record = _record(row, DONE, seconds) | {"circuit": _numbers_of(circuit)}
    # The record in the first line, the circuit in the second.
    first, second = json.dumps({"sweep": record}), json.dumps(circuit.to_dict())
    write_text(path_of(folder, row), f"{first[:-1]},\n{second[1:]}\n")


def write_failed(folder: Path, row: SweepRow, error: BaseException, seconds: float | None) -> None:
    """Writes the file of a row that failed.

    Args:
        folder: of the sweep.
        row: that was tried.
        error: why it failed.
        seconds: after which it did, as far as known.

    Raises:
        OSError, ValueError: if it cannot be written.
    """
    told = {
        "type": type(error).__name__,
        "message": str(error),
        "traceback": "".join(traceback.format_exception(error)),
    }
    record = _record(row, FAILED, seconds) | {"error": told}
    write_text(path_of(folder, row), json.dumps({"sweep": record}) + "\n")


def read_record(path: Path) -> dict[str, Any] | None:
    """The record of a row, from the first line of its file.

    Args:
        path: of the file, which may not be there.

    Returns:
        Its `settings`, `state` ("done" or "failed"), `seconds`, and the rest as it was written;
        None if there is no such file.

    Raises:
        ValueError: if the file is damaged or is of something else.
    """
    try:
        with path.open("rb") as file:
            first = file.readline().decode("utf-8")
            file.seek(-len(_END), os.SEEK_END)
            is_whole = file.read() == _END
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        # One that is shorter than its end has no place to seek to.
        raise ValueError(f"{path.name!r} is no row of a sweep: {error}") from None
    try:
        start = first.rstrip()
        value = Value(parse_json(f"{start[:-1]}}}" if start.endswith(",") else start))["sweep"]
        if value["format"].data != _FORMAT or value["version"].data != _VERSION:
            raise value.error(f'a record with "format": "{_FORMAT}" and "version": {_VERSION}')
        state = value["state"]
        if state.data not in (DONE, FAILED):
            raise state.error(f"{DONE!r} or {FAILED!r}")
        if value["seconds"].data is not None:
            value["seconds"].number()
        row = SweepRow.of(value["settings"].mapping())
        if row.key != path.stem:
            raise ValueError(f"its settings name another file, {row.key}.json")
        if state.data == DONE:
            _check_numbers(value["circuit"])
        else:
            for name in ("type", "message", "traceback"):
                value["error"][name].text()
        if not is_whole:
            raise ValueError("it is cut short")
    except ValueError as error:
        raise ValueError(f"{path.name!r} is no row of a sweep, or damaged: {error}") from None
    return value.mapping()


def whole_record(path: Path) -> dict[str, Any] | None:
    """Like `read_record`, but None too if the file is damaged.

    Args:
        path: of the file, which may not be there.
    """
    try:
        return read_record(path)
    except ValueError:
        return None


def stamp_of(path: Path) -> tuple[int, int]:
    """What tells a file from the one that takes its place; zeros if there is none.

    Args:
        path: of the file.
    """
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_ino, found.st_mtime_ns


def _check_numbers(circuit: Value) -> None:
    """Raises a ValueError for what cannot be the numbers of a circuit."""
    for name in NUMBERS:
        value = circuit[name]
        if name == "metric":
            value.text()
        elif name in _COUNTS:
            value.whole(0)
        elif value.data is not None:
            value.number()


def _record(row: SweepRow, state: str, seconds: float | None) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "version": _VERSION,
        "settings": row.as_dict(),
        "state": state,
        "seconds": None if seconds is None else round(seconds, 3),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "host": socket.gethostname(),
    }


def _numbers_of(circuit: Circuit) -> dict[str, Any]:
    low, high = circuit.valid_interval
    numbers = {
        "kept": len(circuit.kept),
        "connected": len(circuit.connected()),
        "edges": circuit.graph.n_edges,
        "tested": circuit.n_tested,
        "faithfulness": circuit.faithfulness,
        "metric": circuit.metric_name,
        "full": circuit.full_metric,
        "corrupted": circuit.corrupted_metric,
        "value": circuit.metric_value,
        "threshold_value": circuit.threshold,
        "same_from": low,
        "same_to": high,
    }
    # JSON has neither NaN nor infinity.
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in numbers.items()
    }
