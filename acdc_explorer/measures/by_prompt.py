"""A circuit prompt by prompt: on which it fails, and what its edges and the model do on one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from acdc_explorer.arguments import check_found_here, engine_of, resolve
from acdc_explorer.arithmetic import plain_arithmetic
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.evaluate import (
    evaluate_prompt,
    evaluate_scorings,
    evaluate_without_each,
    logits_of_prompt,
)
from acdc_explorer.engine.removed_edges import RemovedEdges
from acdc_explorer.errors import check_whole_number
from acdc_explorer.measures.scores import share, shares_of_prompts
from acdc_explorer.measures.templates import prompts_by_template
from acdc_explorer.metrics import ACCURACY, METRICS, NO_TOKEN
from acdc_explorer.models.model import Model, ModelLike
from acdc_explorer.tasks.task import Task

# The template of prompts whose own has too few of them.
OTHER = "other"
# The runs whose predictions `top_tokens` tells.
RUNS = "full", "circuit", "ablated"
ANSWER, WRONG_ANSWER = "answer", "wrong answer"
_PROMPTS_TOLD = 8


@dataclass(frozen=True, repr=False)
class ByPrompt:
    """A circuit on each prompt by itself.

    Attributes:
        model_name: of the model.
        task_name: of the task.
        metric_name: of the metric.
        prompts: a row for each prompt, by its number: text (of the clean prompt; its number where
            the task has no texts); template (see `measures/templates.py`; "other" for prompts whose
            template has fewer than four of them; None where the task's templates cannot be told);
            full, ablated and circuit, the metric of the full model, with every edge removed, and of
            the circuit; faithfulness, (circuit - ablated) / (full - ablated), NaN where these two
            differ by less than a thousandth of what they do on the prompt where they differ most;
            full_right and circuit_right, whether the best answer's logit is above every wrong
            answer's; fails, whether the circuit is wrong where the full model is right; and kl, the
            divergence of the circuit's next-token distribution from the full model's, in nats.
        by_template: a row for each template, the most frequent first, with the means over its
            prompts: n_prompts, full, ablated, circuit, faithfulness (of the means), full_accuracy
            and accuracy (the share of prompts on which the full model, the circuit, is right),
            n_fails and kl. Empty where the task's templates cannot be told.
    """

    model_name: str
    task_name: str
    metric_name: str
    prompts: pd.DataFrame
    by_template: pd.DataFrame

    @property
    def fails(self) -> list[int]:
        """Numbers of the prompts on which the circuit is wrong though the full model is right."""
        return self.prompts.index[self.prompts.fails].tolist()

    def worst_first(self) -> pd.DataFrame:
        """`prompts`, first those on which the circuit fails, then by their faithfulness."""
        return self.prompts.sort_values(
            ["fails", "faithfulness"], ascending=[False, True], kind="stable"
        )

    def __str__(self) -> str:
        """In a few sentences."""
        n, n_full, n_circuit = (
            len(self.prompts),
            int(self.prompts.full_right.sum()),
            int(self.prompts.circuit_right.sum()),
        )
        sentences = [
            f"{self.model_name} · {self.task_name}, {n} prompt{'s' * (n != 1)}: the full model is "
            f"right on {n_full}, the circuit on {n_circuit}.",
            self._told_fails(),
        ]
        known = self.prompts.faithfulness.dropna()
        if len(known):
            sentences.append(
                f"Faithfulness of single prompts: median {known.median():.0%}, lowest "
                f"{known.min():.0%} (prompt {known.idxmin()}), highest {known.max():.0%} (prompt "
                f"{known.idxmax()})."
            )
        of_templates = self.by_template.faithfulness.dropna()
        if len(of_templates) > 1:
            sentences.append(
                f"Of {len(self.by_template)} templates it is lowest for "
                f"“{of_templates.idxmin()}”: {of_templates.min():.0%}."
            )
        return " ".join(sentences)

    def _told_fails(self) -> str:
        fails = self.fails
        if not fails:
            return "It is wrong on no prompt on which the full model is right."
        told = ", ".join(map(str, fails[:_PROMPTS_TOLD]))
        more = f" and {len(fails) - _PROMPTS_TOLD} others" if len(fails) > _PROMPTS_TOLD else ""
        return (
            f"On {len(fails)} it is wrong though the full model is right: "
            f"prompt{'s' * (len(fails) != 1)} {told}{more}."
        )

    def __repr__(self) -> str:
        return str(self)


def by_prompt(model: ModelLike, task: Task | str, circuit: Circuit) -> ByPrompt:
    """What a circuit does on each prompt: how faithful it is there, and whether it is right.

    Removed edges carry what they did in the search (`ablation`); one patched run of all prompts.

    Args:
        model: anything that `load_model` takes; the one that the circuit was found in.
        task: the one that the circuit was found for: a `Task`, or the name of one.
        circuit: finished or not; untested edges count as present.

    Returns:
        A table of the prompts and one of their templates; printed, what stands out.

    Raises:
        ValueError: if the circuit is of another model or of other prompts.
    """
    with plain_arithmetic():
        engine, _ = _engine_of(model, task, circuit)
        others = [engine.scoring.with_metric(each) for each in (METRICS["kl_divergence"], ACCURACY)]
        removed = [RemovedEdges(circuit.removed_mask)]
        evaluated = evaluate_scorings(engine, removed, [engine.scoring, *others])
        values, kl, right = evaluated[:, 0].double().cpu().numpy()
        full, ablated = (
            each.double().cpu().numpy()
            for each in (engine.clean_by_prompt, engine.corrupted_by_prompt)
        )
        full_right = others[1].clean_values.bool().cpu().numpy()
    task = engine.task
    prompts = pd.DataFrame(
        {
            "text": [prompt_text(task, row) for row in range(task.n_prompts)],
            "template": np.array(_templates(task), dtype=object),
            "full": full,
            "ablated": ablated,
            "circuit": values,
            "faithfulness": shares_of_prompts(values, full, ablated),
            "full_right": full_right,
            "circuit_right": right > 0,
            "fails": full_right & (right == 0),
            "kl": kl,
        }
    ).rename_axis("prompt")
    return ByPrompt(
        circuit.model_name, task.name, engine.metric.name, prompts, _by_template(prompts)
    )


def prompt_effects(
    model: ModelLike, task: Task | str, circuit: Circuit, prompt: int
) -> pd.DataFrame:
    """What each kept edge of a circuit does on one prompt alone.

    One patched run of the prompt for each edge, several at a time.

    Args:
        model: anything that `load_model` takes; the one that the circuit was found in.
        task: the one that the circuit was found for: a `Task`, or the name of one.
        circuit: finished or not; untested edges count as present.
        prompt: its number, from 0 on.

    Returns:
        A row for each kept edge, the largest |effect| first: edge; effect, the metric of the
        circuit on this prompt minus that with the edge removed too, the rest of the circuit as it
        is; effect_when_decided, the mean over all prompts when the search tested the edge.

    Raises:
        ValueError: if there is no such prompt, or the circuit is of another model or of other
            prompts.
    """
    with plain_arithmetic():
        engine, _ = _engine_of(model, task, circuit)
        _check_prompt(engine.task, prompt)
        # In the order of the graph, so that those run together have what lies below them in common.
        cells = np.argwhere(circuit.kept_mask)
        whole = evaluate_prompt(engine, [RemovedEdges(circuit.removed_mask)], prompt).item()
        edges = [(row, column) for row, column in cells.tolist()]
        without = evaluate_without_each(engine, circuit.removed_mask, edges, prompt)
        effects = whole - without[:, 0].cpu().numpy()
    decided = circuit.edges.effect.to_numpy()[circuit.kept_mask[circuit.graph.edge_mask]]
    table = pd.DataFrame(
        {
            "edge": circuit.graph.ids_of(circuit.kept_mask),
            "effect": effects,
            "effect_when_decided": decided,
        }
    )
    return table.sort_values("effect", key=lambda effect: -effect.abs(), ignore_index=True)


def top_tokens(
    model: ModelLike, task: Task | str, circuit: Circuit, prompt: int, n: int = 5
) -> pd.DataFrame:
    """What the full model, a circuit and the ablated model say next on one prompt.

    Args:
        model: anything that `load_model` takes; the one that the circuit was found in.
        task: the one that the circuit was found for: a `Task`, or the name of one.
        circuit: finished or not; untested edges count as present.
        prompt: its number, from 0 on.
        n: how many tokens of each run, the most probable first; the best answer and the best wrong
            answer come besides.

    Returns:
        A row for each token of each run: run ("full"; "circuit"; "ablated", with every edge
        removed), rank (from 1 on), token (as text; its number where the model has no tokenizer),
        probability, logit, and role ("answer", "wrong answer" or "").

    Raises:
        ValueError: if there is no such prompt, n is no whole number from 1 on, or the circuit is of
            another model or of other prompts.
    """
    check_whole_number("n", n, 1)
    with plain_arithmetic():
        engine, loaded = _engine_of(model, task, circuit)
        _check_prompt(engine.task, prompt)
        graph = engine.graph
        masks = graph.mask_of([]), circuit.removed_mask, graph.edge_mask
        logits = logits_of_prompt(engine, [RemovedEdges(mask) for mask in masks], prompt)
        logits = logits.double().cpu()
    roles = {ANSWER: engine.task.answer_tokens, WRONG_ANSWER: engine.task.wrong_tokens}
    role_of = {
        token: role
        for role, tokens in roles.items()
        for token in tokens[prompt].tolist()
        if token != NO_TOKEN
    }
    # A token may be both; then it is an answer.
    role_of |= {t: ANSWER for t in roles[ANSWER][prompt].tolist() if t != NO_TOKEN}
    rows: list[dict[str, object]] = []
    for run, of_run in zip(RUNS, logits, strict=True):
        probabilities, order = of_run.softmax(-1), of_run.argsort(descending=True).tolist()
        # The best of each role, wherever it stands.
        best = (next((t for t in order if role_of.get(t) == role), None) for role in roles)
        shown = {token for token in best if token is not None}
        rows += (
            {
                "run": run,
                "rank": rank,
                "token": loaded.tokenizer.decode([token]) if loaded.tokenizer else token,
                "probability": probabilities[token].item(),
                "logit": of_run[token].item(),
                "role": role_of.get(token, ""),
            }
            for rank, token in enumerate(order, start=1)
            if rank <= n or token in shown
        )
    return pd.DataFrame(rows)


def prompt_text(task: Task, row: int) -> str:
    """A clean prompt's text, or what it is called where the task has no texts."""
    return task.texts[row] if task.texts else f"prompt {row}"


def _engine_of(model: ModelLike, task: Task | str, circuit: Circuit) -> tuple[Engine, Model]:
    """The engine that a circuit was found on, checked to be that; and the model."""
    if not isinstance(circuit, Circuit):
        raise ValueError(f"circuit must be a Circuit; got a {type(circuit).__name__}")
    loaded, task = resolve(model, task)
    engine = engine_of(circuit, loaded, task)
    check_found_here(engine, circuit, "the circuit")
    return engine, loaded


def _check_prompt(task: Task, prompt: int) -> None:
    check_whole_number("prompt", prompt, 0)
    if prompt >= task.n_prompts:
        raise ValueError(f"task {task.name!r} has prompts 0 to {task.n_prompts - 1}; got {prompt}")


def _templates(task: Task) -> Sequence[str | None]:
    """Each prompt's template."""
    groups = prompts_by_template(task)
    templates: list[str | None] = [OTHER if groups else None] * task.n_prompts
    for template, rows in groups.items():
        for row in rows:
            templates[row] = template
    return templates


def _by_template(prompts: pd.DataFrame) -> pd.DataFrame:
    """`ByPrompt.by_template`."""
    groups = prompts.groupby("template")
    table = groups.agg(
        n_prompts=("full", "size"),
        full=("full", "mean"),
        ablated=("ablated", "mean"),
        circuit=("circuit", "mean"),
        full_accuracy=("full_right", "mean"),
        accuracy=("circuit_right", "mean"),
        n_fails=("fails", "sum"),
        kl=("kl", "mean"),
    )
    faithfulness = share(*(table[name].to_numpy() for name in ("circuit", "full", "ablated")))
    table.insert(4, "faithfulness", faithfulness)
    return table.sort_values("n_prompts", ascending=False, kind="stable")
