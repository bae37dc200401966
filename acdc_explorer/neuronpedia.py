"""A circuit on one prompt as a graph to upload to Neuronpedia."""

from __future__ import annotations

import os
import re

from acdc_explorer.arguments import check_found_here, engine_of, resolve
from acdc_explorer.arithmetic import plain_arithmetic
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.exchange.neuronpedia import PromptOfGraph, write_neuronpedia
from acdc_explorer.circuits.exchange.scores import scores_of
from acdc_explorer.errors import check_whole_number
from acdc_explorer.files import write_text
from acdc_explorer.models.model import Model, ModelLike
from acdc_explorer.tasks.task import Task


def export_to_neuronpedia(
    model: ModelLike,
    task: Task | str,
    circuit: Circuit,
    path: str | os.PathLike[str],
    *,
    scan: str,
    prompt: int = 0,
    slug: str | None = None,
) -> None:
    """Writes a circuit on one prompt as Neuronpedia's graph JSON, to be uploaded there.

    Nodes are heads and MLPs at a token: of a position label the token at which it stands in this
    prompt, of a span its last one. Edges at a label that the prompt does not have are left out.
    Weights of links are the edges' scores, as `export_circuit` writes them.
    `Circuit.from_file` reads such graphs again, but none of transcoders' features.

    Args:
        model: that the circuit was found on, as `find_circuit` takes it.
        task: likewise.
        circuit: found with `positions=True`.
        path: of the file.
        scan: Neuronpedia's id of the model, as "gpt2-small"; it has to exist there.
        prompt: its number, from 0 on.
        slug: what the graph is called in its address: letters, digits, _ . and - alone; None: task
            and prompt.

    Raises:
        ValueError: if the circuit is of another model or other prompts, or not by position; there
            is no such prompt; or naming what Neuronpedia would refuse.
    """
    check_whole_number("prompt", prompt, 0)
    with plain_arithmetic():
        loaded, task = resolve(model, task)
        engine = engine_of(circuit, loaded, task)
        check_found_here(engine, circuit, "the circuit")
        if prompt >= task.n_prompts:
            raise ValueError(
                f"task {task.name!r} has prompts 0 to {task.n_prompts - 1}; got {prompt}"
            )
        answer = int(task.answer_tokens[prompt, 0])
        probability = float(engine.scoring.clean_logits[prompt].softmax(-1)[answer])
    end = int(task.end[prompt])
    tokens = task.clean_tokens[prompt, : end + 1].tolist()
    if task.token_texts:
        texts = list(task.token_texts[prompt][: end + 1])
    else:
        texts = [_text_of(loaded, token) for token in tokens]
    places = {label: mask[prompt].nonzero() for label, mask in task.position_masks.items()}
    positions = {label: int(place[-1]) for label, place in places.items() if len(place)}
    whole = task.texts[prompt] if task.texts else " ".join(texts)
    told = PromptOfGraph(whole, texts, positions, _text_of(loaded, answer), probability)
    slug = slug or re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{task.name}-prompt-{prompt}")
    text = write_neuronpedia(circuit, scores_of(circuit), told, scan=scan, slug=slug)
    write_text(path, text)


def _text_of(model: Model, token: int) -> str:
    """A token in words; its number where the model has no tokenizer."""
    return str(model.tokenizer.decode([token])) if model.tokenizer else str(token)
