"""Own prompts in a table: from a DataFrame's rows to prompt pairs, with every fault named by row.

One row is one prompt. The columns `clean`, `corrupted`, `answer` and `wrong_answer` must be there;
any other column is a position label.
"""

from __future__ import annotations

import difflib
from collections.abc import Hashable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from acdc_explorer.checked_json import shown
from acdc_explorer.tasks.labels import label_fault, parse_label
from acdc_explorer.tasks.problems import Problems, Text
from acdc_explorer.tasks.prompts import PromptPair, TokenSpan
from acdc_explorer.tasks.tokenizing import TokenizedPairs, tokenize_pairs

if TYPE_CHECKING:
    from acdc_explorer.models import Model

COLUMNS = ("clean", "corrupted", "answer", "wrong_answer")
_RESERVED = ("END", "rest")
# Of a table with more rows some are tried first, the first ones and about as many spread over all
# of it; if so many of them are faulty, no others are looked at.
_TRIED, _FEW = 1000, 100
# Stands in for a label that is not found: faulty rows go on to the tokenizer, so that what it finds
# wrong with them is told at the same time.
_SOMEWHERE = TokenSpan(0, 1)


def tokenize_table(
    frame: pd.DataFrame, model: Model, *, guess_spaces: bool = True
) -> TokenizedPairs:
    """Reads and tokenises a table of prompts.

    Args:
        frame: see `Task.from_dataframe`.
        model: whose tokenizer is used.
        guess_spaces: whether answers get the leading space they need, or are taken as given.

    Raises:
        ValueError: for columns that are missing or cannot be labels; otherwise, all at once and by
            row, for everything that `read_rows` and `tokenize_pairs` find. If many of a long
            table's rows are faulty, not all are looked at, and that is said.
    """
    labels = _check_columns(frame)
    rows = list(frame.index if frame.index.is_unique else range(len(frame)))
    if len(rows) > _TRIED:
        # What is wrong with a long table is mostly wrong everywhere: to say so takes no minutes.
        for some in (slice(_TRIED), slice(None, None, len(rows) // _TRIED)):
            tried = rows[some]
            problems = Problems(tried, n_unseen=len(rows) - len(tried))
            try:
                _tokenize(frame.iloc[some], labels, model, problems, guess_spaces)
            except ValueError:
                if not 0 < len(problems.faulty) < _FEW:
                    raise
    return _tokenize(frame, labels, model, Problems(rows), guess_spaces)


def _tokenize(
    frame: pd.DataFrame, labels: list[str], model: Model, problems: Problems, guess_spaces: bool
) -> TokenizedPairs:
    pairs = read_rows(frame, labels, problems)
    return tokenize_pairs(
        list(pairs.values()),
        model.tokenizer,
        prepend_bos=model.prepend_bos,
        n_ctx=model.weights.n_ctx,
        rows=list(pairs),
        problems=problems,
        guess_spaces=guess_spaces,
        find_labels=not labels,
    )


def _check_columns(frame: pd.DataFrame) -> list[str]:
    """The columns that are position labels."""
    if not isinstance(frame, pd.DataFrame):
        raise ValueError(f"prompts must come in a pandas DataFrame; got {type(frame).__name__}")
    names = [str(name) for name in frame.columns]
    others = [name for name in names if name not in COLUMNS]
    faults = []
    for column in COLUMNS:
        if column not in names:
            nearest = difflib.get_close_matches(column, others, n=1, cutoff=0.5)
            hint = f" (is it {nearest[0]!r}?)" if nearest else ""
            faults.append(f"there is no column {column!r}{hint}")
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            faults.append(f"{names.count(name)} columns are called {name!r}")
        if name in _RESERVED:
            what = "the last token" if name == "END" else "what has no label"
            faults.append(f"no column may be called {name!r}: that is {what} of each prompt")
        elif name in others and name.strip() not in (name, ""):
            faults.append(f"no column may have space around its name; got {name!r}")
    if not all(name.strip() for name in names):
        faults.append("a column has no name")
    if faults:
        raise ValueError(
            f"{'; '.join(faults)}. Needed are {', '.join(COLUMNS)}; any other column is a position "
            f"label. Found: {', '.join(names) or 'none'}"
        )
    return others


def read_rows(
    frame: pd.DataFrame, labels: list[str], problems: Problems
) -> dict[Hashable, PromptPair]:
    """The rows that can be tokenised, by their names in `problems`.

    Notes empty cells, cells that are not text, clean prompts that equal their corrupted twin,
    labels that cannot be found, and rows that repeat another.
    """
    table = frame.set_axis([str(name) for name in frame.columns], axis=1)
    pairs: dict[Hashable, PromptPair] = {}
    seen: dict[tuple[object, ...], Hashable] = {}
    for row, cells in zip(problems.rows, table.to_dict("records"), strict=True):
        faults: list[Text] = []
        clean, corrupted = (_read_text(cells, column, faults) for column in COLUMNS[:2])
        answer, wrong = (_read_answers(cells, column, faults) for column in COLUMNS[2:])
        if clean and clean == corrupted:
            faults.append("clean and corrupted are the same, so patching cannot change anything")
        spans: dict[str, tuple[int, int]] = {}
        for label in labels:
            if _is_empty(cells[label]):
                faults.append(f"{label} is empty; a position label needs a place in every prompt")
                spans[label] = _SOMEWHERE
            elif clean:
                span = parse_label(cells[label], clean)
                if span is None:
                    faults.append(partial(_label_fault, label, cells[label], clean))
                spans[label] = span or _SOMEWHERE
        if clean and corrupted and answer and wrong:
            key = (clean, corrupted, answer, wrong)
            if key in seen:
                faults.append(f"is the same as row {seen[key]}")
            seen.setdefault(key, row)
            pairs[row] = PromptPair(clean, corrupted, answer, wrong, spans)
        for fault in faults:
            problems.add(row, fault)
    return pairs


def _label_fault(label: str, cell: object, clean: str) -> str:
    return f"{label} {label_fault(cell, clean)}"


def _is_empty(cell: object) -> bool:
    if isinstance(cell, str):
        return not cell.strip()
    return pd.api.types.is_scalar(cell) and bool(pd.isna(cell))  # type: ignore[call-overload]


def _read_text(cells: dict[Any, Any], column: str, faults: list[Text]) -> str:
    cell = cells[column]
    if _is_empty(cell):
        faults.append(f"{column} is empty")
        return ""
    if not isinstance(cell, str):
        faults.append(f"{column} is {shown(cell)}, which is not text")
        return ""
    return cell


def _read_answers(cells: dict[Any, Any], column: str, faults: list[Text]) -> tuple[str, ...]:
    cell = cells[column]
    several = isinstance(cell, (list, tuple, np.ndarray))
    texts = list(cell) if several else [cell]
    if not texts or any(_is_empty(text) for text in texts):
        faults.append(f"{column} is empty" if len(texts) < 2 else f"{column} names an empty text")
        return ()
    wrong_type = [text for text in texts if not isinstance(text, str)]
    if wrong_type:
        faults.append(f"{column} is {shown(wrong_type[0])}, which is not text")
        return ()
    repeated = [text for text in dict.fromkeys(texts) if texts.count(text) > 1]
    if repeated:
        faults.append(f"{column} names {repeated[0]!r} more than once")
    return tuple(texts)
