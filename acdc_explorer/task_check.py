"""Whether a model does a task, and what it answers, told before a search is spent on it."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from acdc_explorer.arguments import resolve
from acdc_explorer.arithmetic import plain_arithmetic
from acdc_explorer.engine.cache import engine_for
from acdc_explorer.engine.memory import GIB, free_bytes
from acdc_explorer.engine.scoring import mean_metric
from acdc_explorer.metrics import ACCURACY
from acdc_explorer.models.model import ModelLike
from acdc_explorer.tasks.task import Task

# Below it a model is said not to do a task: of two answers it is barely more than a guess.
_POOR_ACCURACY = 0.6
# If corruption changes the metric by less than this part of it, the usual threshold of 7% leaves
# hardly an edge to find.
_SMALL_GAP = 0.2


@dataclass(frozen=True)
class TaskCheck:
    """How well a model does a task.

    Attributes:
        task: name of the task.
        model: name of the model.
        n_prompts: how many prompts were asked.
        accuracy: share of clean prompts on which the best answer's logit is above every wrong
            answer's.
        metric: what the metric is called.
        unit: of the metric.
        clean: the metric on the clean prompts, mean over prompts.
        clean_deviation: its standard deviation over prompts.
        corrupted: the metric on the corrupted prompts.
        corrupted_deviation: its standard deviation.
        warnings: what stands against a search, in sentences; empty if nothing does.
        memory_need: what a search would take beside the model's weights, in GiB, about.
        memory_free: what is free where the model is, in GiB.
        notes: what was assumed when the task was made.
    """

    task: str
    model: str
    n_prompts: int
    accuracy: float
    metric: str
    unit: str
    clean: float
    clean_deviation: float
    corrupted: float
    corrupted_deviation: float
    memory_need: float
    memory_free: float
    warnings: tuple[str, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        rows = "\n".join(f"  {name:<10} {value}" for name, value in self._rows())
        remarks = "".join(f"\n  {kind}: {text}" for kind, text in self._remarks())
        return f"{self._title()}\n{rows}{remarks}"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(value)}</td></tr>"
            for name, value in self._rows()
        )
        remarks = "".join(
            f"<li><b>{kind}</b>: {html.escape(text)}</li>" for kind, text in self._remarks()
        )
        return (
            f"<div><b>{html.escape(self._title())}</b><table>{rows}</table>"
            f"{f'<ul>{remarks}</ul>' if remarks else ''}</div>"
        )

    def _title(self) -> str:
        return f"{self.task} on {self.model}, {self.n_prompts} prompt{'s' * (self.n_prompts != 1)}"

    def _rows(self) -> list[tuple[str, str]]:
        right = round(self.accuracy * self.n_prompts)
        # Not 100% while one is wrong.
        share = "100%" if right == self.n_prompts else f"{min(self.accuracy, 0.999):.1%}"
        unit = f" {self.unit}" if self.unit else ""
        return [
            ("accuracy", f"{share} ({right} of {self.n_prompts})"),
            ("metric", self.metric),
            ("clean", f"{self.clean:.3f} ± {self.clean_deviation:.3f}{unit}"),
            ("corrupted", f"{self.corrupted:.3f} ± {self.corrupted_deviation:.3f}{unit}"),
            ("memory", f"{self.memory_need:.1f} GiB for a search; {self.memory_free:.1f} are free"),
        ]

    def _remarks(self) -> list[tuple[str, str]]:
        warnings = [("warning", text) for text in self.warnings]
        return [*warnings, *(("note", text) for text in self.notes)]


def check_task(model: ModelLike, task: Task | str) -> TaskCheck:
    """Whether a model does a task at all, and whether corruption matters to it.

    Args:
        model: anything that `load_model` takes.
        task: a `Task`, or the name of one.
    """
    with plain_arithmetic():
        loaded, task = resolve(model, task)
        engine = engine_for(loaded, task)
        clean, corrupted = engine.clean_by_prompt, engine.corrupted_by_prompt
        accuracy = mean_metric(engine.scoring.with_metric(ACCURACY).clean_values)
    return TaskCheck(
        task=task.name,
        model=loaded.name,
        n_prompts=task.n_prompts,
        accuracy=accuracy,
        metric=engine.metric.label,
        unit=engine.metric.unit,
        clean=engine.full_metric,
        clean_deviation=_deviation(clean),
        corrupted=engine.corrupted_metric,
        corrupted_deviation=_deviation(corrupted),
        memory_need=engine.memory_need.total / GIB,
        memory_free=free_bytes(loaded.weights.device) / GIB,
        warnings=tuple(_warnings(accuracy, clean, corrupted, engine.metric.label)),
        notes=tuple(task.notes),
    )


def _deviation(values: Tensor) -> float:
    return values.double().std().item() if len(values) > 1 else 0.0


def _warnings(accuracy: float, clean: Tensor, corrupted: Tensor, metric: str) -> list[str]:
    warnings = []
    if accuracy < _POOR_ACCURACY:
        warnings.append(
            f"the model hardly does this task: its answer is right on {accuracy:.0%} of the "
            "prompts, so that a circuit would explain little"
        )
    difference = (clean - corrupted).double()
    gap = difference.mean().abs().item()
    scale = clean.double().mean().abs().item()
    noise = 2 * _deviation(difference) / math.sqrt(len(difference))
    told = f"clean and corrupted prompts differ by {gap:.3g} in {metric}"
    if gap < max(_SMALL_GAP * scale, torch.finfo(torch.float32).eps):
        warnings.append(
            f"{told}, which is {gap / scale:.0%} of the clean value: too close for a search, since "
            "no threshold can tell the edges apart that make the difference"
            if scale
            else f"{told}: too close for a search"
        )
    elif gap < noise:
        warnings.append(
            f"{told}, within sampling noise (2 standard errors = {noise:.3g}): take more prompts"
        )
    return warnings


def preview_task(model: ModelLike, task: Task | str) -> pd.DataFrame:
    """The prompts as a table, one per row, with what a model answers.

    Args:
        model: anything that `load_model` takes.
        task: a `Task`, or the name of one.

    Returns:
        The columns of `Task.preview`, and top_answer, correct, and the metric by its name.
    """
    with plain_arithmetic():
        loaded, task = resolve(model, task)
        engine, tokenizer = engine_for(loaded, task), loaded.tokenizer
        top = engine.scoring.clean_logits.argmax(-1).tolist()
        correct = engine.scoring.with_metric(ACCURACY).clean_values
    table = task.preview()
    table["top_answer"] = [tokenizer.decode([token]) for token in top] if tokenizer else top
    table["correct"] = correct.bool().tolist()
    table[engine.metric.name] = engine.clean_by_prompt.tolist()
    return table
