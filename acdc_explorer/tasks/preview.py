"""A task as a table to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from torch import Tensor

from acdc_explorer.tasks.prompts import each

if TYPE_CHECKING:
    from acdc_explorer.tasks.task import Task


def prompts_table(task: Task) -> pd.DataFrame:
    """One row per prompt; see `Task.preview`."""
    columns: dict[str, list[object]] = {}
    if task.pairs:
        columns["clean"] = [pair.clean for pair in task.pairs]
        columns["corrupted"] = [pair.corrupted for pair in task.pairs]
        columns["answer"] = [_one_or_list(each(pair.answer)) for pair in task.pairs]
        columns["wrong_answer"] = [_one_or_list(each(pair.wrong_answer)) for pair in task.pairs]
    elif task.texts:
        columns["clean"] = list(task.texts)
    for label, index in task.positions.items():
        columns[label] = [_place(task, row, index) for row in range(task.n_prompts)]
    return pd.DataFrame(columns)


def _one_or_list(texts: tuple[str, ...]) -> object:
    return texts[0] if len(texts) == 1 else list(texts)


def _place(task: Task, row: int, index: Tensor) -> str:
    """The words at a label, and their token indices."""
    tokens = index[row].nonzero()[:, 0].tolist() if index.ndim == 2 else [int(index[row])]
    neighbours = tokens == list(range(tokens[0], tokens[-1] + 1))
    if len(tokens) == 1:
        where = f"[{tokens[0]}]"
    elif neighbours:
        where = f"[{tokens[0]}:{tokens[-1] + 1}]"
    else:
        where = f"[{', '.join(map(str, tokens))}]"
    if not task.token_texts:
        return where
    words = (task.token_texts[row][token].strip() for token in tokens)
    return f"{(' ' if neighbours else ' … ').join(words)} {where}"
