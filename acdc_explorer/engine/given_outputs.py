"""Circuits in which nodes write what they are made to, and what nodes write in a circuit."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.evaluate import BATCH_FLOATS
from acdc_explorer.engine.patched_runs import GivenOutput, PatchedRuns
from acdc_explorer.engine.removed_edges import RemovedEdges
from acdc_explorer.engine.runs import PromptRuns
from acdc_explorer.graph import Node


def evaluate_given(
    engine: Engine, circuit: RemovedEdges, given: Mapping[Node, GivenOutput]
) -> Float[Tensor, " prompt"]:
    """The metric of a circuit on each prompt, some of whose nodes write what they are made to.

    Args:
        engine: model, prompts and ablation.
        circuit: the removed edges.
        given: node -> what it writes, on all prompts.
    """
    values = []
    for runs in _batches(engine):
        here = {node: output.of_prompts(runs.rows) for node, output in given.items()}
        of_prompts = [circuit.of_prompts(runs.rows)]
        final = PatchedRuns(engine, runs.from_the_start(), of_prompts, here).final_at_end()
        values.append(engine.scoring.values(final, runs.rows)[0])
    return torch.cat(values)


def outputs_in(
    engine: Engine, circuit: RemovedEdges, nodes: Collection[Node]
) -> dict[Node, Float[Tensor, "prompt pos feature"]]:
    """What nodes write in a circuit's run, up to END; heads before W_O.

    Of the last block's heads and MLP only what they write at END is the circuit's.

    Args:
        engine: model, prompts and ablation.
        circuit: the removed edges.
        nodes: of which to keep the outputs.
    """
    outputs: dict[Node, list[Tensor]] = {node: [] for node in nodes}
    for runs in _batches(engine):
        patched = PatchedRuns(engine, runs, [circuit.of_prompts(runs.rows)], record=nodes)
        patched.final_at_end()
        for node, of_batches in outputs.items():
            of_batches.append(patched.recorded.get(node, runs.clean.output_of(node)))
    return {node: torch.cat(of_batches) for node, of_batches in outputs.items()}


def _batches(engine: Engine) -> Iterator[PromptRuns]:
    """All prompts' runs, as many at a time as fit in memory with one patched run of each."""
    graph, weights = engine.graph, engine.weights
    inputs_of_a_block = 4 * graph.n_heads
    head_sums = graph.n_layers if weights.norms_head_sums else 0
    n_vectors = len(graph.senders) + inputs_of_a_block + head_sums
    floats = engine.task.n_positions * weights.d_model * n_vectors
    return engine.batches(max(1, BATCH_FLOATS // floats))
