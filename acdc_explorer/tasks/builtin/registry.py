"""The tasks that come with the package, by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

from acdc_explorer.errors import unknown_name
from acdc_explorer.models.loading import BUNDLED
from acdc_explorer.tasks.builtin.agreement import subject_verb_agreement_pairs
from acdc_explorer.tasks.builtin.docstring import docstring_pairs
from acdc_explorer.tasks.builtin.facts import capital_country_pairs, hypernymy_pairs
from acdc_explorer.tasks.builtin.gendered_pronouns import gendered_pronouns_pairs
from acdc_explorer.tasks.builtin.greater_than import greater_than_pairs
from acdc_explorer.tasks.builtin.induction import induction_pairs
from acdc_explorer.tasks.builtin.ioi import ioi_pairs
from acdc_explorer.tasks.builtin.known import (
    counted_pairs,
    letter_pairs,
    reversed_pairs,
    switch_pairs,
)
from acdc_explorer.tasks.builtin.multiple_choice import multiple_choice_pairs
from acdc_explorer.tasks.builtin.successors import days_pairs, months_pairs, numbers_pairs
from acdc_explorer.tasks.prompts import PromptPair
from acdc_explorer.tasks.task import Task
from acdc_explorer.tasks.tokenizing import fitting_pairs

if TYPE_CHECKING:
    from acdc_explorer.models import Model

# In a bundled model's folder: task -> what was measured.
MEASURED_FILE = "tasks.json"
# Where a tokenizer splits some words otherwise than the task needs, so many times the prompts are
# drawn to find enough that fit.
_DRAWS = 8


@dataclass(frozen=True)
class TaskRecipe:
    """How to make one of the package's tasks.

    Attributes:
        description: what the model has to do, in one line.
        source: the paper it is from.
        pairs: (number of prompts, seed) -> prompt pairs.
        metric: its usual metric.
        one_token: position labels that must be one token each for the task to make sense.
    """

    description: str
    source: str
    pairs: Callable[[int, int], list[PromptPair]]
    metric: str = "logit_diff"
    one_token: tuple[str, ...] = ()


# Those of the literature, which `mini` has learned.
STANDARD_TASKS: dict[str, TaskRecipe] = {
    "ioi": TaskRecipe(
        description="indirect object identification: who of two people is given something",
        source="Wang et al. 2022, arXiv 2211.00593",
        pairs=ioi_pairs,
    ),
    "ioi_s2_other": TaskRecipe(
        description="IOI; only the second mention of the subject becomes a third name",
        source="Hanna et al. 2024, arXiv 2403.17806",
        pairs=partial(ioi_pairs, corruption="s2_other"),
    ),
    "ioi_s2_flip": TaskRecipe(
        description="IOI; the second mention of the subject becomes the indirect object",
        source="Mueller et al. 2025 (MIB), arXiv 2504.13151",
        pairs=partial(ioi_pairs, corruption="s2_flip"),
    ),
    "greater_than": TaskRecipe(
        description="a war lasted from 1732 to 17..: a number above 32",
        source="Hanna et al. 2023, arXiv 2305.00586",
        pairs=greater_than_pairs,
        metric="prob_diff",
        one_token=("XX", "YY"),
    ),
    "gendered_pronouns": TaskRecipe(
        description="he or she, by a name; against 'That person'",
        source="Mathwin, Corlouer et al. 2023, gendered pronouns in GPT-2 small",
        pairs=gendered_pronouns_pairs,
    ),
    "gendered_pronouns_opposite": TaskRecipe(
        description="he or she, by a name; against a name of the other gender",
        source="Mathwin, Corlouer et al. 2023, gendered pronouns in GPT-2 small",
        pairs=partial(gendered_pronouns_pairs, corruption="opposite"),
    ),
    "induction": TaskRecipe(
        description="random words again: the word that followed the first time",
        source="Olsson et al. 2022, arXiv 2209.11895",
        pairs=induction_pairs,
    ),
    "docstring": TaskRecipe(
        description="the next argument name in a Python docstring",
        source="Heimersheim and Janiak 2023, a circuit for Python docstrings",
        pairs=docstring_pairs,
    ),
    "subject_verb_agreement": TaskRecipe(
        description="is or are, by the subject's number, past a second noun",
        source="Linzen et al. 2016, arXiv 1611.01368",
        pairs=subject_verb_agreement_pairs,
    ),
    "months": TaskRecipe(
        description="the month after the one that it was last month",
        source="blog post on automatic circuit discovery (2022), the first ACDC",
        pairs=months_pairs,
    ),
    "days": TaskRecipe(
        description="the day after the one that it was yesterday",
        source="Gould et al. 2023 (successor heads), arXiv 2312.09230",
        pairs=days_pairs,
    ),
    "numbers": TaskRecipe(
        description="the next number in counting",
        source="Lan et al. 2023, arXiv 2311.04131",
        pairs=numbers_pairs,
    ),
    "capital_country": TaskRecipe(
        description="the country of a capital",
        source="Hanna et al. 2024, arXiv 2403.17806",
        pairs=capital_country_pairs,
    ),
    "hypernymy": TaskRecipe(
        description="what kind of thing something is",
        source="Hanna et al. 2024, arXiv 2403.17806",
        pairs=hypernymy_pairs,
    ),
    "multiple_choice": TaskRecipe(
        description="the letter of the choice that says the color just read",
        source="Wiegreffe et al. 2024 (copying colors), arXiv 2407.15018",
        pairs=multiple_choice_pairs,
    ),
}

TASKS: dict[str, TaskRecipe] = {
    **STANDARD_TASKS,
    # For the hand-built models of the same names.
    "five-heads": TaskRecipe(
        description="five heads each add 1 to the logit difference",
        source="hand-built",
        pairs=switch_pairs,
    ),
    "or-gate": TaskRecipe(
        description="either of two heads suffices",
        source="hand-built; after Conmy et al. 2023, arXiv 2304.14997, appendix M",
        pairs=switch_pairs,
    ),
    "induction-pair": TaskRecipe(
        description="a previous-token head and an induction head",
        source="hand-built; after Olsson et al. 2022, arXiv 2209.11895",
        pairs=letter_pairs,
    ),
    "rasp-reverse": TaskRecipe(
        description="the last of the letters backwards, which is the first",
        source="Lindner et al. 2023, arXiv 2301.05062; Conmy et al. 2023, arXiv 2304.14997",
        pairs=reversed_pairs,
    ),
    "rasp-proportion": TaskRecipe(
        description="which share of the letters is an x",
        source="Lindner et al. 2023, arXiv 2301.05062; Conmy et al. 2023, arXiv 2304.14997",
        pairs=counted_pairs,
    ),
}


def list_tasks() -> pd.DataFrame:
    """The tasks that come with the package.

    Returns:
        Columns: task, description, source, labels (of positions), metric; and for each bundled
        model "accuracy on" it: the share of prompts, like those it was trained on but held out,
        whose likeliest next token is right; missing where it was not measured.
    """
    accuracies = bundled_accuracies()
    rows = [
        {
            "task": name,
            "description": recipe.description,
            "source": recipe.source,
            "labels": ", ".join([*recipe.pairs(1, 0)[0].spans, "END"]),
            "metric": recipe.metric,
            **{f"accuracy on {model}": found.get(name) for model, found in accuracies.items()},
        }
        for name, recipe in TASKS.items()
    ]
    return pd.DataFrame(rows)


def bundled_accuracies() -> dict[str, dict[str, float]]:
    """Bundled model -> task -> accuracy, as its training script measured and stored them."""
    found = {}
    for model, folder in BUNDLED.items():
        measured = folder / MEASURED_FILE
        rows = json.loads(measured.read_text(encoding="utf-8")) if measured.exists() else {}
        found[model] = {task: row["accuracy"] for task, row in rows.items()}
    return found


def load_task(name: str, model: Model, n_prompts: int = 64, seed: int = 0) -> Task:
    """Makes one of the package's tasks for a model.

    Prompts that the model's tokenizer splits otherwise than the task needs (a year that is one
    token, two capitals of unlike length) are left out and others drawn in their place.

    Args:
        name: see `list_tasks`.
        model: whose tokenizer is used.
        n_prompts: number of clean prompts, each with a corrupted twin.
        seed: the same seed gives the same prompts.

    Raises:
        ValueError: if there is no such task, the number is not positive, or too few prompts fit
            the model's tokenizer (the message names what does not).
    """
    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    if not isinstance(n_prompts, int) or n_prompts < 1:
        raise ValueError(f"n_prompts must be a positive whole number; got {n_prompts!r}")
    recipe = TASKS[name]
    pairs = fitting_pairs(recipe.pairs(n_prompts, seed), model.tokenizer, recipe.one_token)
    if len(pairs) < n_prompts:
        drawn = recipe.pairs(_DRAWS * n_prompts, seed)
        pairs = fitting_pairs(drawn, model.tokenizer, recipe.one_token)[:n_prompts]
        # Too few fit: tokenise all, so that the error names those that do not.
        pairs = pairs if len(pairs) == n_prompts else drawn
    options = {"n_prompts": n_prompts, "seed": seed}
    return Task.from_pairs(name, pairs, model, recipe.metric, options)
