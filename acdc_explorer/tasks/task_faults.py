"""What can be wrong with the tensors of a task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from acdc_explorer.graph import END, REST
from acdc_explorer.metrics import NO_TOKEN

if TYPE_CHECKING:
    from acdc_explorer.tasks.task import Task


def check_shapes(task: Task) -> None:
    """Raises a ValueError if the tensors' shapes disagree or an answer is missing."""
    clean, corrupted = task.clean_tokens, task.corrupted_tokens
    if clean.ndim != 2 or 0 in clean.shape:
        raise ValueError(
            f"task {task.name!r}: clean_tokens must be [prompt, pos] with at least one prompt "
            f"and one token; got shape {list(clean.shape)}"
        )
    if clean.shape != corrupted.shape:
        raise ValueError(
            f"task {task.name!r}: clean and corrupted prompts must have the same number of "
            f"tokens; got {list(clean.shape)} and {list(corrupted.shape)}"
        )
    for name in ("answer_tokens", "wrong_tokens"):
        tokens = getattr(task, name)
        if tokens.ndim != 2 or tokens.shape[0] != len(clean) or tokens.shape[1] == 0:
            raise ValueError(
                f"task {task.name!r}: {name} must be [prompt] or [prompt, answer] for "
                f"{len(clean)} prompts; got shape {list(tokens.shape)}"
            )
        if (tokens == NO_TOKEN).all(1).any():
            row = int((tokens == NO_TOKEN).all(1).nonzero()[0])
            raise ValueError(f"task {task.name!r}: {name} of prompt {row} are all missing")


def check_positions(task: Task) -> None:
    """Raises a ValueError if a label is no name, index or span, or lies outside its prompt."""
    for label, index in task.positions.items():
        if not isinstance(label, str) or not label or label != label.strip():
            raise ValueError(
                f"task {task.name!r}: positions must be called by a text that is not empty and has "
                f"no space around it; got {label!r}"
            )
        if label == REST:
            raise ValueError(
                f"task {task.name!r}: no position may be called {REST!r}; that stands for all "
                "positions without a label"
            )
        if index.dtype == torch.bool and label != END:
            _check_span(task, label, index)
            continue
        if index.shape != (task.n_prompts,):
            raise ValueError(
                f"task {task.name!r}: position {label!r} must hold one index per prompt "
                f"({task.n_prompts}); got shape {list(index.shape)}"
            )
        outside = (index < 0) | (index > task.end)
        if outside.any():
            row = int(outside.nonzero()[0])
            raise ValueError(
                f"task {task.name!r}: position {label!r} is {int(index[row])} in prompt {row}, "
                f"outside 0..{int(task.end[row])} (END)"
                if label != END
                else f"task {task.name!r}: END is {int(index[row])} in prompt {row}, outside "
                f"0..{task.n_positions - 1}"
            )
    if (task.end >= task.n_positions).any():
        raise ValueError(
            f"task {task.name!r}: END is {int(task.end.max())} in a prompt of "
            f"{task.n_positions} tokens"
        )


def check_difference(task: Task) -> None:
    """Raises a ValueError if no prompt differs from its corrupted twin."""
    # What comes after END is not read.
    read = torch.arange(task.n_positions)[None] <= task.end[:, None]
    if not ((task.clean_tokens != task.corrupted_tokens) & read).any():
        raise ValueError(
            f"task {task.name!r}: up to END, clean and corrupted prompts are all the same, so "
            "patching cannot change anything"
        )


def _check_span(task: Task, label: str, mask: Tensor) -> None:
    if mask.shape != task.clean_tokens.shape:
        raise ValueError(
            f"task {task.name!r}: the span of position {label!r} must be "
            f"{list(task.clean_tokens.shape)}; got shape {list(mask.shape)}"
        )
    after = torch.arange(task.n_positions)[None] > task.end[:, None]
    for faulty, what in (~mask.any(1), "is empty"), ((mask & after).any(1), "goes past END"):
        if faulty.any():
            row = int(faulty.nonzero()[0])
            raise ValueError(
                f"task {task.name!r}: the span of position {label!r} {what} in prompt {row}"
            )
