"""A task as a table to look at."""

from __future__ import annotations

from collections.abc import Sequence
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
    has_words = task.texts and task.token_texts
    return f"{words_at(task, row, tokens)} {where}" if has_words else where


def words_at(task: Task, row: int, tokens: Sequence[int]) -> str:
    """What stands in a prompt at some of its tokens, as the prompt has it.

    Args:
        task: with texts, and the tokens in words.
        row: number of the prompt.
        tokens: their numbers, in order.
    """
    text, places, words = task.texts[row], token_places(task, row), ""
    for token, before in zip(tokens, [None, *tokens], strict=False):
        start, end = places[token]
        if before is not None:
            words += text[places[before][1] : start] if token == before + 1 else " … "
        words += text[start:end] if token or end else task.token_texts[row][token]
    return words


def token_places(task: Task, row: int) -> list[tuple[int, int]]:
    """Where each token of a prompt stands in its text.

    Args:
        task: with texts, and the tokens in words.
        row: number of the prompt.

    Returns:
        For each token (start, end) in characters, without the spaces around it; an empty stretch
        for what is not in the text, as the token that models put before it.
    """
    places, end = [], 0
    for word in task.token_texts[row]:
        start = task.texts[row].find(word.strip(), end)
        start, end = (end, end) if start < 0 else (start, start + len(word.strip()))
        places.append((start, end))
    return places
