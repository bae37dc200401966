"""The tasks that come with the package, by name."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

from acdc_explorer.errors import check_whole_number, unknown_name
from acdc_explorer.models.loading import BUNDLED, load_model
from acdc_explorer.tasks.builtin import pools
from acdc_explorer.tasks.builtin.agreement import subject_verb_agreement_pairs
from acdc_explorer.tasks.builtin.docstring import docstring_pairs
from acdc_explorer.tasks.builtin.facts import capital_country_pairs, hypernymy_pairs
from acdc_explorer.tasks.builtin.gendered_pronouns import gendered_pronouns_pairs
from acdc_explorer.tasks.builtin.greater_than import greater_than_pairs, last_digit_pairs
from acdc_explorer.tasks.builtin.induction import induction_pairs
from acdc_explorer.tasks.builtin.ioi import ioi_pairs
from acdc_explorer.tasks.builtin.known import letter_pairs, switch_pairs
from acdc_explorer.tasks.builtin.multiple_choice import multiple_choice_pairs
from acdc_explorer.tasks.builtin.rasp import RASP_TASKS
from acdc_explorer.tasks.builtin.recipe import PromptForm, TaskRecipe
from acdc_explorer.tasks.builtin.successors import days_pairs, months_pairs, numbers_pairs
from acdc_explorer.tasks.prompts import PromptPair
from acdc_explorer.tasks.task import Task
from acdc_explorer.tasks.tokenizing import fast_tokenizer, fitting_pairs, pair_faults
from acdc_explorer.tasks.word_pool import one_token_words

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from acdc_explorer.models import Model

# In a bundled model's folder: task -> what was measured.
MEASURED_FILE = "tasks.json"
# Where a tokenizer splits some words otherwise than the task needs, so many times the prompts are
# drawn to find enough that fit.
_DRAWS = 8


# Those of the literature, which `mini` has learned.
STANDARD_TASKS: dict[str, TaskRecipe] = {
    "ioi": TaskRecipe(
        description="indirect object identification: who of two people is given something",
        source="Wang et al. 2022, arXiv 2211.00593",
        pairs=ioi_pairs,
        one_token=("IO", "S1", "S2"),
        pools=pools.IOI,
    ),
    "ioi_s2_other": TaskRecipe(
        description="IOI; only the second mention of the subject becomes a third name",
        source="Hanna et al. 2024, arXiv 2403.17806",
        pairs=partial(ioi_pairs, corruption="s2_other"),
        one_token=("IO", "S1", "S2"),
        pools=pools.IOI,
    ),
    "ioi_s2_flip": TaskRecipe(
        description="IOI; the second mention of the subject becomes the indirect object",
        source="Mueller et al. 2025 (MIB), arXiv 2504.13151",
        pairs=partial(ioi_pairs, corruption="s2_flip"),
        one_token=("IO", "S1", "S2"),
        pools=pools.IOI,
    ),
    "greater_than": TaskRecipe(
        description="a war lasted from 1732 to 17..: a number above 32",
        source="Hanna et al. 2023, arXiv 2305.00586",
        pairs=greater_than_pairs,
        metric="prob_diff",
        one_token=("XX", "YY"),
        other_forms=(
            PromptForm(
                last_digit_pairs,
                one_token=("Y",),
                notes=(
                    "this tokenizer does not write years as two and two digits, so the prompts "
                    "give the ten too, and ask for a last digit above the first year's",
                ),
            ),
        ),
    ),
    "gendered_pronouns": TaskRecipe(
        description="he or she, by a name; against 'That person'",
        source="Mathwin, Corlouer et al. 2023, gendered pronouns in GPT-2 small",
        pairs=gendered_pronouns_pairs,
        pools=pools.GENDERED_PRONOUNS,
    ),
    "gendered_pronouns_opposite": TaskRecipe(
        description="he or she, by a name; against a name of the other gender",
        source="Mathwin, Corlouer et al. 2023, gendered pronouns in GPT-2 small",
        pairs=partial(gendered_pronouns_pairs, corruption="opposite"),
        pools=pools.GENDERED_PRONOUNS,
    ),
    "induction": TaskRecipe(
        description="random words again: the word that followed the first time",
        source="Olsson et al. 2022, arXiv 2209.11895",
        pairs=induction_pairs,
        pools=pools.INDUCTION,
    ),
    "docstring": TaskRecipe(
        description="the next argument name in a Python docstring",
        source="Heimersheim and Janiak 2023, a circuit for Python docstrings",
        pairs=docstring_pairs,
        pools=pools.DOCSTRING,
    ),
    "subject_verb_agreement": TaskRecipe(
        description="is or are, by the subject's number, past a second noun",
        source="Linzen et al. 2016, arXiv 1611.01368",
        pairs=subject_verb_agreement_pairs,
        pools=pools.SUBJECT_VERB_AGREEMENT,
    ),
    "months": TaskRecipe(
        description="the month after the one that it was last month",
        source="blog post on automatic circuit discovery (2022), the first ACDC",
        pairs=months_pairs,
        pools=pools.MONTHS,
    ),
    "days": TaskRecipe(
        description="the day after the one that it was yesterday",
        source="Gould et al. 2023 (successor heads), arXiv 2312.09230",
        pairs=days_pairs,
        pools=pools.DAYS,
    ),
    "numbers": TaskRecipe(
        description="the next number in counting",
        source="Lan et al. 2023, arXiv 2311.04131",
        pairs=numbers_pairs,
        other_forms=(
            PromptForm(
                partial(numbers_pairs, given="space"),
                notes=(
                    "this tokenizer writes a space and a number as two tokens, so the prompts end "
                    "in the space",
                ),
            ),
            PromptForm(
                partial(numbers_pairs, given="all but the last digit"),
                notes=(
                    "this tokenizer writes numbers digit by digit, so the prompts give all of the "
                    "next number but its last digit, and ask for that",
                ),
            ),
        ),
    ),
    "capital_country": TaskRecipe(
        description="the country of a capital",
        source="Hanna et al. 2024, arXiv 2403.17806",
        pairs=capital_country_pairs,
        pools=pools.CAPITAL_COUNTRY,
    ),
    "hypernymy": TaskRecipe(
        description="what kind of thing something is",
        source="Hanna et al. 2024, arXiv 2403.17806",
        pairs=hypernymy_pairs,
        pools=pools.HYPERNYMY,
    ),
    "multiple_choice": TaskRecipe(
        description="the letter of the choice that says the color just read",
        source="Wiegreffe et al. 2024 (copying colors), arXiv 2407.15018",
        pairs=multiple_choice_pairs,
        pools=pools.MULTIPLE_CHOICE,
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
    **RASP_TASKS,
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


def load_task(
    name: str, model: Model | str | os.PathLike[str], n_prompts: int = 64, seed: int = 0
) -> Task:
    """Makes one of the package's tasks for a model.

    Words that the model's tokenizer splits are left out, of names, nouns and all others that a task
    has many of. Other prompts that it splits otherwise than the task needs (a year that is one
    token, a name that is two at the beginning of a sentence) are left out too, and others drawn in
    their place. Where hardly any year or number is as the task needs it, the prompts take another
    form. The task's `notes` say which words were left out, and what the other form is.

    Args:
        name: see `list_tasks`.
        model: whose tokenizer is used; or its name, folder or file.
        n_prompts: number of clean prompts, each with a corrupted twin.
        seed: the same seed gives the same prompts.

    Raises:
        ValueError: if there is no such task, the number is not positive, the tokenizer splits too
            many of the words (the message says which), or too few prompts fit it (the message
            names what does not).
    """
    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    check_whole_number("n_prompts", n_prompts, 1)
    check_whole_number("seed", seed, 0)
    # Of numpy's whole numbers, JSON knows none.
    n_prompts, seed = int(n_prompts), int(seed)
    if isinstance(model, (str, os.PathLike)):
        model = load_model(model)
    recipe, tokenizer = TASKS[name], fast_tokenizer(model.tokenizer)
    words, notes = one_token_words(name, recipe.pools, tokenizer)
    for form in recipe.forms:
        pairs = _fitting_pairs(form, words, tokenizer, n_prompts, seed)
        if len(pairs) == n_prompts:
            break
    else:
        form = recipe.forms[0]
        drawn = form.pairs(_DRAWS * n_prompts, seed, **words)
        # Some do not fit, or enough would have been found.
        pair_faults(drawn, tokenizer, form.one_token).raise_if_any()
    options = {"n_prompts": n_prompts, "seed": seed}
    task = Task.from_pairs(name, pairs, model, recipe.metric, options)
    return replace(task, notes=[*notes, *form.notes])


def tasks_for(model: Model) -> tuple[str, ...]:
    """Names of the tasks that can be made for a model: whose words its tokenizer has."""
    names = []
    for name in TASKS:
        try:
            load_task(name, model, 1)
        except ValueError:
            continue
        names.append(name)
    return tuple(names)


def _fitting_pairs(
    form: PromptForm,
    words: Mapping[str, Sequence[str]],
    tokenizer: PreTrainedTokenizerBase,
    n_prompts: int,
    seed: int,
) -> list[PromptPair]:
    """As many pairs as asked for, if so many are found that fit the model's tokenizer."""
    for n_drawn in (n_prompts, _DRAWS * n_prompts):
        drawn = form.pairs(n_drawn, seed, **words)
        pairs = fitting_pairs(drawn, tokenizer, form.one_token)[:n_prompts]
        if len(pairs) == n_prompts:
            break
    return pairs
