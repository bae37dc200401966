"""Evaluating any sets of removed edges, each by one patched forward run.

For each set of removed edges, the clean prompts run with every receiver's input replaced by either
of two sums, which are the same:

    clean input + sum over all senders (this run's output - clean output)
                + sum over removed senders (ablated output - this run's output)
    ablated input - sum over kept senders (ablated output - this run's output)

The first sum of each is one running stream shared by all receivers. The last is one matrix product
for all the inputs of a block: over the removed senders, or the kept ones if there are fewer. Under
zero ablation it is always the kept ones: next to nothing may be left in a stream, and a norm would
make the rounding large that the first form leaves there. Where what the heads of a block write
together is normed, those are summed in the same two ways by themselves, for every input above.

Only tokens from the first that can differ between the runs up to END are computed, and of the last
block only END; keys and values before them are clean.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.patched_runs import PatchedRuns
from acdc_explorer.engine.removed_edges import (
    RemovedEdges,
    computed_senders,
    differ_at_logits_alone,
)
from acdc_explorer.engine.scoring import Scoring
from acdc_explorer.graph import Node
from acdc_explorer.progress import working_on

# Floats that one batch of patched runs may hold besides the engine's own caches.
BATCH_FLOATS = 64_000_000
# Circuits of which what they remove is held in memory at once.
_AT_ONCE = 256


def evaluate_removed(
    engine: Engine, circuits: Sequence[RemovedEdges]
) -> Float[Tensor, "circuit prompt"]:
    """The metric of each circuit on each prompt.

    Args:
        engine: model, prompts and ablation.
        circuits: sets of removed edges; any number, and any number of prompts: both are taken in
            batches that fit in memory.
    """
    if not circuits:
        return engine.clean_by_prompt.new_empty((0, engine.n_prompts))
    return torch.cat(list(evaluate_by_parts(engine, circuits)), dim=1)


def evaluate_by_parts(
    engine: Engine, circuits: Sequence[RemovedEdges], at_most: int | None = None
) -> Iterator[Float[Tensor, "circuit prompt"]]:
    """The same, the values of some prompts after those of others.

    Args:
        engine: as for `evaluate_removed`.
        circuits: likewise, but one at least.
        at_most: so many prompts at a time; None: as many as fit in memory.
    """
    for scores in _scores_by_parts(engine, circuits, [engine.scoring], at_most):
        yield scores[0]


def evaluate_scorings(
    engine: Engine, circuits: Sequence[RemovedEdges], scorings: Sequence[Scoring]
) -> Float[Tensor, "scoring circuit prompt"]:
    """Several metrics of each circuit on each prompt, from one run of it.

    Args:
        engine: as for `evaluate_removed`.
        circuits: likewise, but one at least.
        scorings: of the engine's prompts, one at least.
    """
    return torch.cat(list(_scores_by_parts(engine, circuits, scorings)), dim=2)


def evaluate_prompt(
    engine: Engine, circuits: Sequence[RemovedEdges], row: int
) -> Float[Tensor, " circuit"]:
    """The metric of each circuit on one prompt alone.

    Args:
        engine: as for `evaluate_removed`.
        circuits: likewise, but one at least.
        row: number of the prompt.
    """
    (scores,) = _scores_by_parts(engine, circuits, [engine.scoring], row=row)
    return scores[0, :, 0]


def evaluate_without_each(
    engine: Engine,
    removed: Bool[np.ndarray, "receiver sender"],
    edges: Sequence[tuple[int, int]],
    row: int | None = None,
) -> Float[Tensor, "edge prompt"]:
    """The metric with each of some edges removed by itself, besides those that are, in float64.

    Args:
        engine: as for `evaluate_removed`.
        removed: edges that are removed in any case.
        edges: the cells of the others in an edge matrix.
        row: number of the only prompt to run; None: all of them.
    """
    n_prompts = engine.n_prompts if row is None else 1
    values = [engine.clean_by_prompt.new_empty((0, n_prompts))]
    with working_on("removing each kept edge alone", len(edges)) as done:
        for start in range(0, len(edges), _AT_ONCE):
            some = edges[start : start + _AT_ONCE]
            masks = np.repeat(removed[None], len(some), axis=0)
            for mask, cell in zip(masks, some, strict=True):
                mask[cell] = True
            circuits = [RemovedEdges(mask) for mask in masks]
            if row is None:
                values.append(evaluate_removed(engine, circuits))
            else:
                values.append(evaluate_prompt(engine, circuits, row)[:, None])
            done(start + len(some))
    return torch.cat(values).double()


def logits_of_prompt(
    engine: Engine, circuits: Sequence[RemovedEdges], row: int
) -> Float[Tensor, "circuit vocab"]:
    """The logits at END of a few circuits on one prompt.

    Args:
        engine: as for `evaluate_removed`.
        circuits: likewise, but one at least, and as many as fit in memory together.
        row: number of the prompt.
    """
    final = PatchedRuns(engine, engine.runs_of(row), circuits).final_at_end()[:, 0]
    return engine.scoring.logits(final).expand(len(circuits), -1)


def pattern_on_prompt(
    engine: Engine, circuit: RemovedEdges, head: Node, row: int
) -> Float[Tensor, "query key"]:
    """A head's attention in a circuit on one prompt, from each token up to END.

    Args:
        engine: as for `evaluate_removed`.
        circuit: in which kept edges lead from the head to the logits: others' inputs are not kept.
        head: of the model.
        row: number of the prompt.
    """
    runs = engine.runs_of(row)
    pattern = PatchedRuns(engine, runs, [circuit]).pattern(head)
    # Before the first changed token all is clean.
    length, n_before = pattern.shape[1], pattern.shape[1] - pattern.shape[0]
    clean = runs.clean.pattern(engine.weights, head)[0, :n_before, :length]
    return torch.cat([clean, pattern])


def _scores_by_parts(
    engine: Engine,
    circuits: Sequence[RemovedEdges],
    scorings: Sequence[Scoring],
    at_most: int | None = None,
    row: int | None = None,
) -> Iterator[Float[Tensor, "scoring circuit some_prompts"]]:
    """Of all prompts, so many at a time; or of one alone."""
    shared, each = _floats_per_prompt(engine, circuits)
    fitting = max(1, BATCH_FLOATS // (shared + each))
    in_batches = engine.batches(min(fitting, at_most or fitting))
    for runs in in_batches if row is None else [engine.runs_of(row)]:
        size = max(1, (BATCH_FLOATS // runs.n_prompts - shared) // each)
        of_prompts = [circuit.of_prompts(runs.rows) for circuit in circuits]
        batches = [of_prompts[start : start + size] for start in range(0, len(circuits), size)]
        scores = []
        for batch in batches:
            final = PatchedRuns(engine, runs, batch).final_at_end()
            values = [scoring.values(final, runs.rows) for scoring in scorings]
            scores.append(torch.stack(values).expand(-1, len(batch), -1))
        yield torch.cat(scores, dim=1)


def _floats_per_prompt(engine: Engine, circuits: Sequence[RemovedEdges]) -> tuple[int, int]:
    """What a batch of patched runs holds: once for all circuits, and for each of them."""
    computed = computed_senders(engine.graph, circuits)
    width = engine.most_changed_positions * engine.weights.d_model
    head_sums = engine.graph.n_layers if engine.weights.norms_head_sums else 0
    if differ_at_logits_alone(engine.graph, circuits):
        # Each has but sums of its own at END.
        return width * len(computed), 2 * engine.weights.d_model * (1 + head_sums)
    inputs_of_a_block = 4 * engine.graph.n_heads
    each = int(computed.sum()) + inputs_of_a_block + head_sums
    return width * len(computed), width * each
