"""How well a model does the tasks that it was trained on, on prompts held out of training."""

from __future__ import annotations

from typing import Literal

import pandas as pd

from acdc_explorer.engine.cache import engine_for
from acdc_explorer.engine.evaluate import evaluate_removed
from acdc_explorer.engine.removed_edges import RemovedEdges
from acdc_explorer.graph import Node
from acdc_explorer.inspection import attention_by_label
from acdc_explorer.models.model import Model
from acdc_explorer.tasks.builtin.registry import STANDARD_TASKS
from acdc_explorer.tasks.prompts import PromptPair
from acdc_explorer.tasks.task import Task
from acdc_explorer.training.splits import HELD_OUT, IOI_TEMPLATES, Split, split_of, split_of_order

_SEED = 10_001
# So many prompts are drawn for one that is wanted, since about one in ten is of its split.
_DRAWS = 20


def what_is_held_out(task: str) -> str:
    """In words, for the model card."""
    return HELD_OUT[task].what if task in HELD_OUT else "orders of two names; templates"


def held_out_task(
    name: str, model: Model, n_prompts: int, split: Literal["validation", "test"] = "test"
) -> Task:
    """A task's prompts that training never completed, each once.

    Args:
        name: of the task.
        model: whose tokenizer is used.
        n_prompts: how many at most; some tasks have few.
        split: "validation" while anything is still to be chosen by them.
    """
    recipe = STANDARD_TASKS[name]
    if name in HELD_OUT:
        drawn = recipe.pairs(_DRAWS * n_prompts, _SEED)
        pairs = [pair for pair in drawn if split_of(name, pair) == split]
    else:
        n_orders = n_prompts // 2
        orders = _ioi_pairs(name, _DRAWS * n_orders, templates="training", order=split)
        templates = _ioi_pairs(name, 2 * n_prompts, templates=split, order="training")
        pairs = [*orders[:n_orders], *templates[: n_prompts - n_orders]]
    unique = list({pair.clean: pair for pair in pairs}.values())
    return Task.from_pairs(name, unique[:n_prompts], model, recipe.metric)


def _ioi_pairs(name: str, n_draws: int, *, templates: Split, order: Split) -> list[PromptPair]:
    """Of so many prompts of IOI or a variant, those whose two names' order is of a split."""
    # The recipe of a variant is `ioi_pairs` with another corruption.
    make = STANDARD_TASKS[name].pairs
    drawn = make(n_draws, _SEED, templates=IOI_TEMPLATES[templates])
    return [pair for pair in drawn if split_of_order(*_names(pair)) == order]


def _names(pair: PromptPair) -> tuple[str, str]:
    """The two names of an IOI prompt, in order of appearance."""
    (a, b), (c, d) = sorted((pair.spans["IO"], pair.spans["S1"]))
    return pair.clean[a:b], pair.clean[c:d]


def measure(model: Model, task: Task) -> dict[str, float]:
    """How well a model does a task.

    Returns:
        accuracy (a right answer is the likeliest of all tokens); the metric's mean on clean and on
        corrupted prompts, the latter scored with the clean prompts' answers; its standard deviation
        over clean prompts; n_prompts.
    """
    engine = engine_for(model, task)
    best = engine.scoring.clean_logits.argmax(-1).cpu()
    return {
        "accuracy": (best[:, None] == task.answer_tokens).any(1).double().mean().item(),
        "clean": engine.full_metric,
        "clean_deviation": engine.clean_by_prompt.std().item(),
        "corrupted": engine.corrupted_metric,
        "n_prompts": task.n_prompts,
    }


def head_table(model: Model, task: Task) -> pd.DataFrame:
    """For each head: its effect when all its edges are removed, and whom it attends to.

    Columns: effect (logits), END to IO, S1, S2; S2 to S1 and S1+1; S1+1 to S1 (mean attention).
    """
    engine = engine_for(model, task)
    graph = engine.graph
    heads = [node for node in graph.nodes if node.kind == "head"]
    circuits = []
    for head in heads:
        mask = graph.mask_of([])
        mask[:, graph.sender_index[head]] = graph.edge_mask[:, graph.sender_index[head]]
        circuits.append(RemovedEdges(mask))
    values = evaluate_removed(engine, circuits).double().mean(1)
    return pd.DataFrame(
        [
            {"head": head.label, "effect": engine.full_metric - value, **_looks(engine, head)}
            for head, value in zip(heads, values.tolist(), strict=True)
        ]
    ).set_index("head")


def _looks(engine: object, head: Node) -> dict[str, float]:
    table = attention_by_label(engine, head)  # type: ignore[arg-type]
    wanted = [("END", "IO"), ("END", "S1"), ("END", "S2"), ("S2", "S1"), ("S2", "S1+1"),
              ("S1+1", "S1")]  # fmt: skip
    return {f"{query} → {key}": table[key].to_dict()[query] for query, key in wanted}
