"""The rows of a sweep as a table."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from acdc_explorer.sweeps.claims import is_claimed
from acdc_explorer.sweeps.row import KEY_LENGTH, SETTINGS, SweepRow
from acdc_explorer.sweeps.row_files import FAILED, NUMBERS, folder_of, path_of, read_record

# What `shown_table` tells of each row, beside the settings.
_SHOWN = ("kept", "connected", "faithfulness", "value", "seconds", "error")
_LONGEST_ERROR = 120
# Named by their rows' keys; whatever else lies there is none of the sweep's.
_FILES = "[0-9a-f]" * KEY_LENGTH + ".json"
RUNNING, MISSING, DAMAGED = "running", "missing", "damaged"
# What a row's target is called here: the circuit's own faithfulness is another column.
_SETTING_COLUMNS = {"faithfulness": "target"}
_WHOLE = ("order_seed", "top_n", "n_prompts", "seed", "kept", "connected", "edges", "tested")
_COLUMNS = [
    *(_SETTING_COLUMNS.get(name, name) for name in SETTINGS),
    "state",
    *NUMBERS,
    "seconds",
    "error",
    "traceback",
    "file",
]


def read_sweep(folder: str | os.PathLike[str]) -> pd.DataFrame:
    """The rows that a sweep's folder holds, while it is running too.

    Args:
        folder: as `sweep` was given it, as `out`.

    Returns:
        The table that `sweep` returns, sorted by the settings. `state` is "done", "failed", or
        "damaged", of a file that cannot be read, which `error` names. Of a row that is running, or
        that was cut short, nothing is known before its file is there, so it has no row here.

    Raises:
        ValueError: if there is no such folder.
    """
    path = folder_of(folder)
    if not path.is_dir():
        raise ValueError(f"there is no folder {os.fspath(folder)!r}")
    rows = [_row_of_file(file) for file in sorted(path.glob(_FILES))]
    table = _table([row for row in rows if row is not None])
    # As text, since a threshold may be "7%" in one row and 0.3 in another.
    keys = ["model", "task", "method", "threshold", "target", "order", "order_seed", "seed"]
    return table.sort_values(keys, key=lambda c: c.map(_sort_key), ignore_index=True)


def table_of(folder: Path, rows: Iterable[SweepRow]) -> pd.DataFrame:
    """The table of some rows, in their order, from their files; see `sweep`.

    Args:
        folder: of the sweep.
        rows: whose files may or may not be there.
    """
    return _table([_row_of(folder, row) for row in rows])


def n_running(folder: Path) -> int:
    """How many rows of a folder some process is at."""
    return sum(is_claimed(path.with_suffix(".json")) for path in folder.glob("*.claim"))


def shown_table(table: pd.DataFrame) -> str:
    """A table as text: what differs between its rows, and what came of each.

    Args:
        table: of `sweep` or `read_sweep`.
    """
    settings = [_SETTING_COLUMNS.get(name, name) for name in SETTINGS]
    differing = [name for name in settings if table[name].astype(str).nunique() > 1]
    states = table["state"].value_counts()
    count = f"{len(table):,} rows: " + ", ".join(f"{n:,} {state}" for state, n in states.items())
    if table.empty:
        return "0 rows"
    shown = table[[*differing, "state", *_SHOWN]]
    if table["error"].isna().all():
        shown = shown.drop(columns="error")
    formats = {
        "kept": partial(_cell_text, "{}"),
        "connected": partial(_cell_text, "{}"),
        "faithfulness": partial(_cell_text, "{:.1%}"),
        "value": partial(_cell_text, "{:.4g}"),
        "seconds": partial(_cell_text, "{:.1f}"),
        "error": partial(_cell_text, f"{{:.{_LONGEST_ERROR}}}"),
    }
    text = shown.to_string(index=False, na_rep="", formatters=formats)
    return f"{text}\n\n{count}"


def _cell_text(form: str, value: Any) -> str:
    if isinstance(value, str):
        # An error may have lines of its own.
        value = " ".join(value.split())
    return "" if pd.isna(value) else form.format(value)


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=_COLUMNS)
    # Which may be missing, and are whole numbers all the same.
    return table.astype(dict.fromkeys(_WHOLE, "Int64"))


def _row_of_file(path: Path) -> dict[str, Any] | None:
    """The row of a file; None if the file was taken away meanwhile."""
    try:
        record = read_record(path)
    except ValueError as error:
        return {"state": DAMAGED, "error": str(error)}
    return None if record is None else _cells(record, path)


def _row_of(folder: Path, row: SweepRow) -> dict[str, Any]:
    path, settings = path_of(folder, row), _settings(row.as_dict())
    try:
        record = read_record(path)
    except ValueError as error:
        return {**settings, "state": DAMAGED, "error": str(error)}
    if record is None:
        return {**settings, "state": RUNNING if is_claimed(path) else MISSING}
    return _cells(record, path)


def _cells(record: Mapping[str, Any], path: Path) -> dict[str, Any]:
    cells = {
        **_settings(record["settings"]),
        "state": record["state"],
        "seconds": record["seconds"],
    }
    if record["state"] == FAILED:
        error = record["error"]
        said = f"{error['type']}: {error['message']}"
        return {**cells, "error": said, "traceback": error["traceback"]}
    numbers = {name: record["circuit"][name] for name in NUMBERS}
    if numbers["same_to"] is None:
        numbers["same_to"] = np.inf
    return {**cells, **numbers, "file": str(path)}


def _settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {_SETTING_COLUMNS.get(name, name): settings.get(name) for name in SETTINGS}


def _sort_key(value: Any) -> tuple[bool, float, str]:
    """Numbers first, and "7%" before "10%"."""
    text = "" if pd.isna(value) else str(value)
    try:
        return False, float(text.removesuffix("%")), text
    except ValueError:
        return True, 0.0, text
