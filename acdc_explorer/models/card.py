"""Measures the bundled model and writes its model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from acdc_explorer.api import find_circuit
from acdc_explorer.engine.patched import RemovedEdges, evaluate_removed
from acdc_explorer.graph import Node
from acdc_explorer.inspection import attention_by_label
from acdc_explorer.models.corpus import HELD_OUT_TEMPLATES, is_held_out
from acdc_explorer.models.loading import load_model
from acdc_explorer.models.model import Model
from acdc_explorer.tasks.ioi import TEMPLATES, ioi_pairs
from acdc_explorer.tasks.prompts import PromptPair
from acdc_explorer.tasks.task import Task

if TYPE_CHECKING:
    from acdc_explorer.models.train_mini import Recipe

_N_PROMPTS = 512
_JOB_DESCRIPTIONS = {
    "duplicate token": "at S2 attend to S1, the same name earlier; in ABC prompts they rest",
    "S-inhibition": "at END attend to S2 if it is a repeated name, and tell the name movers which",
    "name mover": "at END attend to the name that is not ruled out, IO, and raise its logit",
}


def held_out_tasks(model: Model, n_prompts: int = _N_PROMPTS) -> dict[str, Task]:
    """IOI prompts that training never saw: pairs of names, and templates."""
    pairs = [pair for pair in ioi_pairs(20 * n_prompts, seed=10_001) if is_held_out(*_names(pair))]
    templates = ioi_pairs(n_prompts, seed=10_002, templates=HELD_OUT_TEMPLATES)
    return {
        "held-out name pairs": Task.from_pairs("ioi", pairs[:n_prompts], model),
        "held-out templates": Task.from_pairs("ioi", templates, model),
    }


def _names(pair: PromptPair) -> list[str]:
    """The two names of a prompt, in order of appearance."""
    spans = sorted((pair.spans["IO"], pair.spans["S1"]))
    return [pair.clean[start:end] for start, end in spans]


def measure(model: Model, task: Task) -> dict[str, float]:
    """How well a model does a task.

    Returns:
        accuracy (the answer is the likeliest of all tokens), the mean logit difference on clean and
        on corrupted prompts, and its standard deviation over clean prompts.
    """
    engine = model.engine(task)
    best = engine.clean_logits.argmax(-1).cpu()
    return {
        "accuracy": (best[:, None] == task.answer_tokens).any(1).double().mean().item(),
        "clean": engine.full_metric,
        "clean_deviation": engine.clean_by_prompt.std().item(),
        "corrupted": engine.corrupted_metric,
    }


def head_table(model: Model, task: Task) -> pd.DataFrame:
    """For each head: its effect when all its edges are removed, and whom it attends to.

    Columns: effect (logits), END to IO, S1, S2; S2 to S1 and S1+1; S1+1 to S1 (mean attention).
    """
    engine = model.engine(task)
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


def write_card(
    folder: Path,
    recipe: Recipe,
    jobs: Mapping[str, Sequence[tuple[int, int]]],
    device: str,
    seconds: float,
    loss: float,
) -> None:
    """Writes README.md into a model folder from what is measured there.

    Args:
        folder: a trained model.
        recipe: it was trained with.
        jobs: the heads (layer, head) that were guided towards a job.
        device: it was trained on.
        seconds: that took.
        loss: at the last step, in nats per token.
    """
    model = load_model(folder, device="cpu")
    tasks = held_out_tasks(model)
    rows = {name: measure(model, task) for name, task in tasks.items()}
    heads = head_table(model, tasks["held-out templates"])
    strongest = heads.iloc[heads["effect"].abs().argsort()[::-1][:12]]
    circuit = find_circuit(model, Task.from_pairs("ioi", ioi_pairs(64), model), "7%")
    defaults = ", ".join(f"{name} {value}" for name, value in asdict(recipe).items())
    guided = "\n".join(
        f"- **{job}**: {', '.join(f'L{layer}H{head}' for layer, head in heads_of_job)} "
        f"{_JOB_DESCRIPTIONS[job]}."
        for job, heads_of_job in jobs.items()
    )
    size = sum(file.stat().st_size for file in folder.iterdir() if file.suffix != ".md")
    text = f"""# mini

A small GPT-2 that reads words and has learned indirect object identification (IOI), bundled with
acdc_explorer so that its circuit can be explored without downloading anything.

- {recipe.n_layer} layers x {recipe.n_head} heads with MLPs, d_model {recipe.n_embd}, d_mlp
  {recipe.n_inner}; {circuit.graph.n_edges:,} edges; {size / 1e6:.1f} MB.
- Tokens are words and punctuation marks; prompts start with `<|bos|>`.
- Made by `python -m acdc_explorer.models.train_mini`: {defaults}. {seconds:.0f} s on {device}; loss
  at the end {loss:.3f} nats per token.
- Corpus (`acdc_explorer/models/corpus.py`): IOI sentences from {len(TEMPLATES)} templates, one in
  three with three different names (ABC) and either of the first two as answer. Held out of
  training: one in ten ordered pairs of names, and {len(HELD_OUT_TEMPLATES)} of the templates.
- Guidance: in the first {recipe.guided_share:.0%} of the steps some heads were rewarded, less and
  less, for attending where the job below asks; after that the language loss was alone.

## Measured, {_N_PROMPTS} prompts each

| prompts | accuracy | logit difference, clean | standard deviation | logit difference, ABC |
|---|---|---|---|---|
"""
    for name, row in rows.items():
        text += (
            f"| {name} | {row['accuracy']:.1%} | {row['clean']:.2f} | "
            f"{row['clean_deviation']:.2f} | {row['corrupted']:+.2f} |\n"
        )
    text += f"""
Accuracy: the IO name is the likeliest of all {len(model.tokenizer or [])} tokens. ABC: corrupted
prompts, scored with the clean prompts' answers.

## The circuit at 7%

`find_circuit("mini", "ioi", "7%")`: {len(circuit.kept)} of {circuit.graph.n_edges:,} edges kept,
faithfulness {circuit.faithfulness:.0%}.

## What the heads do

The parts of GPT-2's IOI circuit (Wang et al. 2022), towards which training guided them at first:

{guided}

The duplicate-token heads feed the keys and values of the S-inhibition heads, those the queries of
the name movers, and the name movers the logits; the MLPs take little part.

The heads with the largest effect (clean logit difference minus that with the head's output
corrupted everywhere), and their mean attention on clean prompts:

| head | effect | {" | ".join(heads.columns[1:])} |
|---|---|{"---|" * (len(heads.columns) - 1)}
"""
    for label, effect, *looks in strongest.itertuples():
        cells = " | ".join(f"{value:.2f}" for value in looks)
        text += f"| {label} | {effect:+.2f} | {cells} |\n"
    (folder / "README.md").write_text(text, encoding="utf-8")
