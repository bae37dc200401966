"""One attention head: where it looks on a prompt, and what it writes towards the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from acdc_explorer.arguments import check_found_here, engine_of, resolve
from acdc_explorer.arithmetic import plain_arithmetic
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.engine.cache import engine_for
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.evaluate import pattern_on_prompt
from acdc_explorer.engine.label_attention import attention_by_label
from acdc_explorer.engine.removed_edges import RemovedEdges, live_senders
from acdc_explorer.errors import check_whole_number
from acdc_explorer.graph import Graph, Node
from acdc_explorer.heads.attribution import attribution_of, parts_of
from acdc_explorer.models.model import Model, ModelLike
from acdc_explorer.tasks.task import Task

# Of the tokens that `__str__` names.
_NAMED = 3

Pattern = Float[np.ndarray, "query key"]


@dataclass(frozen=True, eq=False, repr=False)
class HeadOnPrompt:
    """What a head does on one prompt; `HeadInspection` tells what the attributes are."""

    head: Node
    prompt: int
    tokens: tuple[str, ...]
    corrupted_tokens: tuple[str, ...]
    clean: Pattern
    corrupted: Pattern
    in_circuit: Pattern | None
    writes_clean: float
    writes_corrupted: float

    @property
    def difference(self) -> Pattern:
        """Clean minus corrupted attention [query, key]."""
        return self.clean - self.corrupted

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        """In a few sentences."""
        told = [f"{self.head.label} on prompt {self.prompt}:"]
        for name, pattern, tokens in (
            ("clean", self.clean, self.tokens),
            ("corrupted", self.corrupted, self.corrupted_tokens),
        ):
            most = np.argsort(-pattern[-1])[:_NAMED]
            parts = ", ".join(f"{tokens[key]!r} [{key}] {pattern[-1, key]:.2f}" for key in most)
            told.append(f"at END it attends ({name}) to {parts}.")
        told.append(
            f"It writes {self.writes_clean:+.3f} logits towards the answer, on the corrupted "
            f"prompt {self.writes_corrupted:+.3f}."
        )
        return " ".join(told)


@dataclass(frozen=True, eq=False, repr=False)
class HeadInspection(HeadOnPrompt):
    """What one attention head does, on one prompt and on average.

    Attributes:
        head: the head.
        prompt: number of the prompt.
        tokens: of the clean prompt up to END, as text; their numbers if the model has no tokenizer.
        corrupted_tokens: likewise.
        clean: its attention in the clean run [query, key], from each token up to END (row) to each
            (column); a row adds up to 1.
        corrupted: in the corrupted run.
        in_circuit: in the circuit's run of the clean prompt, removed edges carrying what they did
            in the search; None if no circuit was given, or no kept edges lead from the head to the
            logits.
        writes_clean: what it adds to the logit difference of this prompt directly, in logits (see
            `direct_logit_attribution`).
        writes_corrupted: on the corrupted prompt.
        mean_by_label: mean attention over all clean prompts, from each position label (rows) to
            each label and "other" (columns).
        writes: a row for each prompt: what it adds to the logit difference directly on the clean
            and on the corrupted prompt, and the difference of the two.
    """

    mean_by_label: pd.DataFrame
    writes: pd.DataFrame


def inspect_head(
    model: ModelLike,
    task: Task | str,
    head: str | Node,
    prompt: int = 0,
    circuit: Circuit | None = None,
) -> HeadInspection:
    """Where a head attends on a prompt, clean and corrupted, and what it writes to the answer.

    Args:
        model: anything that `load_model` takes.
        task: a `Task`, or the name of one.
        head: its id, as "a9.h6", or another of its names.
        prompt: number of the prompt whose attention is shown, from 0 on.
        circuit: if given, the head's attention in it is told too; one that was found in this model
            for this task.

    Raises:
        ValueError: if the model has no such head or the task no such prompt, or the circuit is of
            another model or of other prompts.
    """
    with plain_arithmetic():
        loaded, task = resolve(model, task)
        if circuit is None:
            engine = engine_for(loaded, task)
        else:
            engine = engine_of(circuit, loaded, task)
            check_found_here(engine, circuit, "the circuit")
        node = head_of(engine.graph, head)
        found = head_on_prompt(engine, loaded, node, prompt, circuit)
        written = attribution_of(engine, loaded.name)
        writes = pd.DataFrame(
            {"clean": written.clean[node.id], "corrupted": written.corrupted[node.id]}
        )
        writes["difference"] = writes.clean - writes.corrupted
        return HeadInspection(
            **vars(found), mean_by_label=attention_by_label(engine, node), writes=writes
        )


def head_of(graph: Graph, head: str | Node) -> Node:
    """A head by any of its names.

    Raises:
        ValueError: if it is none of the graph.
    """
    node = graph.parse_node(head.id if isinstance(head, Node) else head)
    if node.kind != "head":
        raise ValueError(f"head must be an attention head, as 'a0.h0'; got {node.id!r}")
    return node


def head_on_prompt(
    engine: Engine, model: Model, head: Node, row: int, circuit: Circuit | None = None
) -> HeadOnPrompt:
    """What a head does on one prompt, from the runs of this prompt alone.

    Args:
        engine: of the model and the prompts.
        model: whose tokenizer writes the tokens.
        head: of its graph.
        row: number of the prompt.
        circuit: as for `inspect_head`.

    Raises:
        ValueError: if there is no such prompt.
    """
    task, weights = engine.task, engine.weights
    check_whole_number("prompt", row, 0)
    if row >= task.n_prompts:
        raise ValueError(f"task {task.name!r} has prompts 0 to {task.n_prompts - 1}; got {row}")
    runs, length = engine.runs_of(row), int(task.end[row]) + 1
    in_circuit = None
    if circuit is not None:
        live = live_senders(circuit.removed_mask, circuit.graph)
        if live[circuit.graph.sender_index[head]]:
            removed = RemovedEdges(circuit.removed_mask)
            in_circuit = pattern_on_prompt(engine, removed, head, row).double().cpu().numpy()
    clean, corrupted = (
        run.pattern(weights, head)[0, :length, :length].double().cpu().numpy()
        for run in (runs.clean, runs.corrupted)
    )
    writes = parts_of(runs, engine.scoring)[0, :, engine.graph.sender_index[head]].tolist()
    tokens, corrupted_tokens = (
        token_words(model, each[row, :length].tolist())
        for each in (task.clean_tokens, task.corrupted_tokens)
    )
    return HeadOnPrompt(head, row, tokens, corrupted_tokens, clean, corrupted, in_circuit, *writes)


def token_words(model: Model, tokens: Sequence[int]) -> tuple[str, ...]:
    """Tokens as text; their numbers if the model has no tokenizer."""
    tokenizer = model.tokenizer
    if tokenizer is None:
        return tuple(map(str, tokens))
    return tuple(str(tokenizer.decode([token])) for token in tokens)
