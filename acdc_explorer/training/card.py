"""Measures the bundled model and writes its model card, and what `list_tasks` tells of it."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acdc_explorer.api import find_circuit
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.files import write_text
from acdc_explorer.models.loading import load_model
from acdc_explorer.models.model import Model
from acdc_explorer.tasks.builtin.ioi import TEMPLATES
from acdc_explorer.tasks.builtin.registry import MEASURED_FILE, STANDARD_TASKS, load_task
from acdc_explorer.training.corpus import PARTS
from acdc_explorer.training.measuring import head_table, held_out_task, measure, what_is_held_out
from acdc_explorer.training.splits import IOI_TEMPLATES

if TYPE_CHECKING:
    from acdc_explorer.training.train_mini import Recipe, Round

logger = logging.getLogger(__name__)

N_PROMPTS = 512
THRESHOLD = "7%"
_JOB_DESCRIPTIONS = {
    "duplicate token": "from S2 to S1, the same name earlier, and nowhere from names not repeated; "
    "in multiple choice, from the right choice to the same color earlier",
    "S-inhibition": "from END to S2 if it is a repeated name, to tell the name movers which",
    "name mover": "from END to the name that is not ruled out, IO, whose logit it raises",
    "two back": "in a docstring's definition, from an argument to the one before; in multiple "
    "choice, from a choice to its letter",
    "last argument": "from END to the argument documented last (B_doc)",
    "answer mover": "from END to the argument after that one in the definition (C_def); in "
    "multiple choice, to the right choice",
}


def log_validation(folder: Path) -> None:
    """Logs how a model does on validation prompts, and its IOI circuit on 64 of them.

    Args:
        folder: a trained model.
    """
    model = load_model(folder, device="cpu")
    for name in STANDARD_TASKS:
        found = measure(model, held_out_task(name, model, N_PROMPTS, "validation"))
        logger.info(
            "%s: %d prompts, accuracy %.1f%%, clean %.2f, corrupted %+.2f",
            name,
            found["n_prompts"],
            100 * found["accuracy"],
            found["clean"],
            found["corrupted"],
        )
    task = held_out_task("ioi", model, 64, "validation")
    circuit = find_circuit(model, task, THRESHOLD)
    logger.info(
        "ioi at %s: %d edges kept, faithfulness %.0f%%",
        THRESHOLD,
        len(circuit.kept),
        100 * circuit.faithfulness,
    )


def write_card(
    folder: Path,
    recipe: Recipe,
    rounds: Sequence[Round],
    jobs: Mapping[str, Sequence[tuple[int, int]]],
    device: str,
    seconds: float,
    loss: float,
) -> None:
    """Writes README.md and tasks.json into a model folder from what is measured there.

    Args:
        folder: a trained model.
        recipe: it was trained with.
        rounds: of its training.
        jobs: the heads (layer, head) that were guided towards a job.
        device: it was trained on.
        seconds: that took.
        loss: at the last step, in nats per token, answers weighted as in training.
    """
    model = load_model(folder, device="cpu")
    measured: dict[str, dict[str, Any]] = {
        name: {
            "metric": STANDARD_TASKS[name].metric,
            **measure(model, held_out_task(name, model, N_PROMPTS)),
        }
        for name in STANDARD_TASKS
    }
    write_text(folder / MEASURED_FILE, json.dumps(measured, indent=1) + "\n")
    circuits = {
        name: find_circuit(model, load_task(name, model), THRESHOLD) for name in STANDARD_TASKS
    }
    size = sum(file.stat().st_size for file in folder.iterdir() if file.suffix != ".md")
    defaults = "\n".join(f"  {name} {value}," for name, value in asdict(recipe).items())
    shares = ", ".join(f"{name} {part.weight:g}" for name, part in PARTS.items())
    text = f"""# mini

A small GPT-2 that reads words and has learned {len(STANDARD_TASKS)} tasks, bundled with
acdc_explorer so that its circuits can be explored without downloading anything.

- {recipe.n_layer} layers x {recipe.n_head} heads with MLPs, d_model {recipe.n_embd}, d_mlp
  {recipe.n_inner}; {model.graph.n_edges:,} edges; {size / 1e6:.1f} MB.
- Tokens are words, punctuation marks, and one or two digits; prompts start with `<|bos|>`.
- Made by `python -m acdc_explorer.training.train_mini`:
{defaults}
  in {seconds:.0f} s on {device}; loss at the end {loss:.3f} nats per token.
- Corpus (`acdc_explorer/models/corpus.py`), sentences of each task by weight: {shares}.
  IOI sentences come from {len(TEMPLATES)} templates, one in three with three different names (ABC)
  and either of the first two as answer. Where a corrupted prompt is of another kind than the clean
  one, one sentence in three is such a prompt, with an answer that tells nothing.
- Guidance, in sentences of IOI, docstring and multiple choice: some heads were rewarded for
  attending where the jobs below ask, the other heads for not attending there; and the two names'
  logits in IOI were held together but for what the last block's heads write. That faded; it was
  gone after {" and ".join(f"{part.guided_share:.0%}" for part in rounds)} of the rounds' steps.
  So the outline of these three circuits is taught, not found by the model itself; no other task is
  guided.

## Where heads were guided to attend

{_jobs_list(jobs)}

## Measured on what training never saw

{_measured_table(measured, circuits)}
At most {N_PROMPTS} prompts each, fewer where a task has no more. Accuracy: a right answer is the
likeliest of all {len(model.tokenizer or [])} tokens. The metric's mean with its standard deviation
over prompts; corrupted prompts are scored with the clean prompts' answers. Circuit:
`find_circuit("mini", task, "{THRESHOLD}")` on 64 prompts, held out or not; edges kept of
{model.graph.n_edges:,}, and faithfulness.

Held out (`acdc_explorer/models/splits.py`): training never completed a sentence with what the
table names. Of that, one in ten is for validation and one in ten for the test; of the
{len(TEMPLATES)} IOI templates, {len(IOI_TEMPLATES["validation"])} and {len(IOI_TEMPLATES["test"])}.
Half of the IOI prompts have held-out orders, half held-out templates. Variants of the training were
compared on validation prompts alone. The table is of test prompts; they decided nothing, but that
numbers were given more weight in the last version.

What it shows, and what not: the words themselves were all seen in other sentences of the task. For
months, days, numbers, capitals and kinds it is the sentence that is new or the word in it, not the
fact: that March follows February was read elsewhere. In docstring prompts the numbers of arguments
and of words vary, so no fixed place holds the answer. The answer 99 of numbers
is that of one sequence alone, 95 96 97 98, which is held out: as an answer training never saw it.

{_ioi_section(model, circuits["ioi"], jobs)}"""
    write_text(folder / "README.md", text)


def _measured_table(
    measured: Mapping[str, Mapping[str, Any]], circuits: Mapping[str, Circuit]
) -> str:
    text = (
        "| task | held out | prompts | accuracy | metric | clean | corrupted | edges kept | "
        "faithfulness |\n|---|---|---|---|---|---|---|---|---|\n"
    )
    for name, row in measured.items():
        circuit = circuits[name]
        text += (
            f"| {name} | {what_is_held_out(name)} | {row['n_prompts']} | {row['accuracy']:.1%} | "
            f"{row['metric']} | {row['clean']:.2f} ± {row['clean_deviation']:.2f} | "
            f"{row['corrupted']:+.2f} | {len(circuit.kept)} | {circuit.faithfulness:.0%} |\n"
        )
    return text


def _jobs_list(jobs: Mapping[str, Sequence[tuple[int, int]]]) -> str:
    return "\n".join(
        f"- **{job}**: {', '.join(f'L{layer}H{head}' for layer, head in heads)} "
        f"{_JOB_DESCRIPTIONS[job]}."
        for job, heads in jobs.items()
    )


def _edges_between(circuit: Circuit, jobs: Mapping[str, Sequence[tuple[int, int]]]) -> str:
    """Counts the kept edges from class to class, as a table; other nodes are called by name."""
    job_of = {f"a{layer}.h{head}": job for job, heads in jobs.items() for layer, head in heads}
    counts: Counter[tuple[str, str]] = Counter()
    for edge in circuit.kept:
        sender, _, receiver = edge.partition("->")
        node, _, letter = receiver.partition("<")
        into = job_of.get(node, node) + (f", {letter[0]}" if letter else "")
        counts[job_of.get(sender, sender), into] += 1
    rows = [f"| {sender} | {into} | {number} |" for (sender, into), number in counts.items()]
    return "\n".join(["| from | to | edges |", "|---|---|---|", *rows])


def _ioi_section(
    model: Model, circuit: Circuit, jobs: Mapping[str, Sequence[tuple[int, int]]]
) -> str:
    heads = head_table(model, held_out_task("ioi", model, N_PROMPTS))
    strongest = heads.iloc[heads["effect"].abs().argsort()[::-1][:12]]
    text = f"""## The IOI circuit

`find_circuit("mini", "ioi", "{THRESHOLD}")`: {len(circuit.kept)} of {circuit.graph.n_edges:,} edges
kept. Between the classes of heads above, which are the parts of GPT-2's IOI circuit (Wang et al.
2022), the input and the logits:

{_edges_between(circuit, jobs)}

The heads with the largest effect (clean logit difference minus that with the head's output
corrupted everywhere), and their mean attention on clean prompts:

| head | effect | {" | ".join(heads.columns[1:])} |
|---|---|{"---|" * (len(heads.columns) - 1)}
"""
    for label, effect, *looks in strongest.itertuples():
        cells = " | ".join(f"{value:.2f}" for value in looks)
        text += f"| {label} | {effect:+.2f} | {cells} |\n"
    return text
