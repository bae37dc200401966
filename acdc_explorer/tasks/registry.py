"""The tasks that come with the package, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from acdc_explorer.errors import unknown_name
from acdc_explorer.tasks.ioi import ioi_pairs
from acdc_explorer.tasks.known import letter_pairs, switch_pairs
from acdc_explorer.tasks.prompts import PromptPair
from acdc_explorer.tasks.task import Task

if TYPE_CHECKING:
    from acdc_explorer.models import Model


@dataclass(frozen=True)
class TaskRecipe:
    """How to make one of the package's tasks.

    Attributes:
        description: what the model has to do, in one line.
        source: the paper it is from.
        metric: its usual metric.
        pairs: (number of prompts, seed) -> prompt pairs.
    """

    description: str
    source: str
    metric: str
    pairs: Callable[[int, int], list[PromptPair]]


TASKS: dict[str, TaskRecipe] = {
    "ioi": TaskRecipe(
        description="indirect object identification: who of two people is given something",
        source="Wang et al. 2022, arXiv 2211.00593",
        metric="logit_diff",
        pairs=ioi_pairs,
    ),
    # For the hand-built models of the same names.
    "five-heads": TaskRecipe(
        description="five heads each add 1 to the logit difference",
        source="hand-built",
        metric="logit_diff",
        pairs=switch_pairs,
    ),
    "or-gate": TaskRecipe(
        description="either of two heads suffices",
        source="hand-built; after Conmy et al. 2023, arXiv 2304.14997, appendix M",
        metric="logit_diff",
        pairs=switch_pairs,
    ),
    "induction-pair": TaskRecipe(
        description="a previous-token head and an induction head",
        source="hand-built; after Olsson et al. 2022, arXiv 2209.11895",
        metric="logit_diff",
        pairs=letter_pairs,
    ),
}


def list_tasks() -> pd.DataFrame:
    """The tasks that come with the package.

    Returns:
        Columns: task, description, source, labels (of positions), metric.
    """
    rows = [
        {
            "task": name,
            "description": recipe.description,
            "source": recipe.source,
            "labels": ", ".join([*recipe.pairs(1, 0)[0].spans, "END"]),
            "metric": recipe.metric,
        }
        for name, recipe in TASKS.items()
    ]
    return pd.DataFrame(rows)


def load_task(name: str, model: Model, n_prompts: int = 64, seed: int = 0) -> Task:
    """Makes one of the package's tasks for a model.

    Args:
        name: see `list_tasks`.
        model: whose tokenizer is used.
        n_prompts: number of clean prompts, each with a corrupted twin.
        seed: the same seed gives the same prompts.

    Raises:
        ValueError: if there is no such task, the number is not positive, or the model's tokenizer
            splits an answer into several tokens (the message names them).
    """
    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    if not isinstance(n_prompts, int) or n_prompts < 1:
        raise ValueError(f"n_prompts must be a positive whole number; got {n_prompts!r}")
    recipe = TASKS[name]
    pairs = recipe.pairs(n_prompts, seed)
    options = {"n_prompts": n_prompts, "seed": seed}
    return Task.from_pairs(name, pairs, model, recipe.metric, options)
