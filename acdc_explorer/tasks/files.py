"""Own prompts in files: CSV, JSON lines, and the dataset files of auto-circuit."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from acdc_explorer.checked_json import parse_json, shown
from acdc_explorer.tasks.table import COLUMNS

SEVERAL = "|"
# More than any prompt has.
_MOST_TOKENS = 10**9


def read_text(path: str | os.PathLike[str], what: str) -> str:
    """A file's text.

    Raises:
        ValueError: if there is no such file, or it is not UTF-8 text.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise ValueError(f"there is no {what} file {str(path)!r}")
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(path)!r} is not UTF-8 text: {error}") from None


def frame_of_csv(text: str) -> pd.DataFrame:
    """A table of prompts from CSV text.

    The first line names the columns. Cells are parted by commas; by tabs or semicolons if the first
    line has those and no comma. Several answers in a cell are parted by "|". Spaces at either end
    of a cell are kept. The unnamed column that `DataFrame.to_csv` writes for the index is left out.

    Raises:
        ValueError: if the text is empty or not a table.
    """
    text = text.removeprefix("\ufeff")
    header = text.lstrip().partition("\n")[0]
    if not header.strip():
        raise ValueError("the CSV text is empty; its first line must name the columns")
    separator = next((mark for mark in (",", "\t", ";") if mark in header), ",")
    try:
        rows = pd.read_csv(
            io.StringIO(text), sep=separator, dtype=str, keep_default_na=False, header=None
        )
    except ValueError as error:
        raise ValueError(f"the text is not a CSV table: {error}") from None
    names = [str(name).strip() for name in rows.iloc[0]]
    frame = rows.iloc[1:].reset_index(drop=True).set_axis(names, axis=1)
    is_index = not names[0] and list(frame.iloc[:, 0]) == [str(row) for row in frame.index]
    frame = frame.iloc[:, 1:] if is_index else frame
    for column in COLUMNS[2:]:
        if list(frame.columns).count(column) == 1:
            frame[column] = [_split(cell) for cell in frame[column]]
    return frame


def _split(cell: Any) -> Any:
    # A short line leaves its last cells missing rather than empty.
    return cell.split(SEVERAL) if isinstance(cell, str) and SEVERAL in cell else cell


def frame_of_jsonl(text: str) -> pd.DataFrame:
    """A table of prompts from text with one JSON object per line; empty lines are passed over.

    Raises:
        ValueError: naming the first line that is not a JSON object, or if there is none.
    """
    records = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        record = _parse(line, f"line {number}")
        if not isinstance(record, dict):
            raise ValueError(f"line {number} is not a JSON object but {line.strip()[:60]!r}")
        records.append(record)
    if not records:
        raise ValueError("the JSONL text is empty; each line must be a JSON object")
    # Of type object, so that a number stays what it is beside an empty cell.
    return pd.DataFrame(records, dtype=object)


def frame_of_auto_circuit(text: str, first_token: int) -> pd.DataFrame:
    """A table of prompts from a dataset file of auto-circuit (UFO-101/auto-circuit, data.py).

    Its `word_idxs` (name -> token index) become position labels; if it has none, its `seq_labels`
    (one name per token) do.

    Args:
        text: of the file.
        first_token: added to each index: 1 for models that start with a beginning-of-text token,
            which the file does not count.

    Raises:
        ValueError: if the text is not such a file, or its prompts are given as token ids.
    """
    data = _parse(text, "the file")
    prompts = data.get("prompts") if isinstance(data, dict) else None
    if not isinstance(prompts, list) or not all(isinstance(row, dict) for row in prompts):
        raise ValueError(
            'the file is no auto-circuit dataset: it must be an object with "prompts", a list of '
            "objects with clean, corrupt, answers and wrong_answers"
        )
    names = {"corrupt": "corrupted", "answers": "answer", "wrong_answers": "wrong_answer"}
    needed = ("clean", *names)
    for number, row in enumerate(prompts):
        missing = [name for name in needed if name not in row]
        if missing:
            raise ValueError(f"prompt {number} has no {' and no '.join(missing)}")
        if not isinstance(row["clean"], str):
            raise ValueError(
                f"prompt {number} is given as token ids; pass those to Task(clean_tokens=...)"
            )
    columns = [names.get(name, name) for name in needed]
    cells = [[row[name] for name in needed] for row in prompts]
    frame = pd.DataFrame(cells, columns=columns, dtype=object)
    labels = _auto_circuit_labels(data)
    # "END" is a name that only a task gives.
    return frame.assign(
        **{
            "end" if label == "END" else label: index + first_token
            for label, index in labels.items()
        }
    )


def _auto_circuit_labels(data: Mapping[str, Any]) -> dict[str, int]:
    words = {} if data.get("word_idxs") is None else data["word_idxs"]
    names = [] if data.get("seq_labels") is None else data["seq_labels"]
    if not isinstance(words, dict):
        raise ValueError(f"word_idxs must map names to token indices; got {shown(words)}")
    for name, index in words.items():
        if type(index) is not int or not 0 <= index < _MOST_TOKENS:
            raise ValueError(
                f"word_idxs must map names to token indices; got {shown(index)} for {shown(name)}"
            )
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"seq_labels must be a list of names; got {shown(names)}")
    labels: dict[str, int] = dict(words)
    times: Counter[str] = Counter()
    for index, name in enumerate(() if words else names):
        times[name] += 1
        labels[name if times[name] == 1 else f"{name} ({times[name]})"] = index
    for label in labels:
        # They would take the prompts' place in the table.
        if label in COLUMNS:
            raise ValueError(f"no position may be called {label!r}, as a column of prompts is")
    return labels


def _parse(text: str, what: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise ValueError(f"{what} is {error}") from None
