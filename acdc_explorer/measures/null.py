"""What chance would give: random circuits, random other edges, and edges added at random."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from acdc_explorer.graph import INPUT, LOGITS, Graph
from acdc_explorer.measures.evaluator import Evaluator
from acdc_explorer.measures.hypotheses import (
    ALPHA,
    HypothesisTest,
    minimality,
    no_answer,
    partial_necessity,
    sufficiency,
    tie,
)
from acdc_explorer.measures.random_circuits import (
    alike_edges,
    any_edges,
    connected_edges,
    path_through,
)
from acdc_explorer.measures.scores import Scores, share
from acdc_explorer.progress import working_on

Kept = Bool[np.ndarray, "receiver sender"]
_Draw = TypeVar("_Draw")


def against_random(
    evaluate: Evaluator, kept: Kept, scores: Scores, n: int, rng: np.random.Generator
) -> tuple[pd.DataFrame, HypothesisTest]:
    """How many random circuits of its size come as near to the full model as a circuit.

    Args:
        evaluate: evaluates circuits, of some model, prompts and ablation.
        kept: the circuit.
        scores: of it.
        n: how many of each kind.
        rng: draws them.

    Returns:
        `Measurement.random`; and the test of sufficiency, against connected ones.
    """
    graph, n_edges = evaluate.engine.graph, int(kept.sum())
    draws = {
        "any edges": lambda: any_edges(graph.edge_mask, n_edges, rng),
        "alike edges": lambda: alike_edges(graph, kept, rng),
        "connected edges": lambda: connected_edges(graph, n_edges, rng),
    }
    full, ablated = scores.full.mean(), scores.ablated.mean()
    distance, near = abs(full - scores.circuit.mean()), tie(scores.full, scores.ablated)
    rows, tests = {}, {}
    for kind, draw in draws.items():
        circuits = _drawn(draw, n)
        values = evaluate(circuits, f"evaluating random circuits of {kind}").mean(1)
        distances = np.abs(full - values)
        tests[kind] = sufficiency(distance, distances, f"random circuits of {kind}", near)
        faithfulness = share(values, full, ablated)
        rows[kind] = {
            "n": n,
            "as_near": int((distances <= distance + near).sum()),
            "shared": float(np.mean([(each & kept).sum() for each in circuits])),
            "faithfulness_median": float(np.median(faithfulness)),
            "faithfulness_best": float(faithfulness[distances.argmin()]),
        }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("random circuits")
    test = tests["connected edges"]
    if graph.labels:
        # Paths are from node to node, whatever the positions (`circuits/connected.py`).
        told = f"{test.told} By position these hardly connect, which makes it an easy test."
        test = replace(test, told=told)
    return table, test


def against_other_edges(
    evaluate: Evaluator, kept: Kept, scores: Scores, n: int, rng: np.random.Generator
) -> HypothesisTest:
    """Whether removing a circuit does more damage than removing as many other edges.

    Args:
        evaluate: as for `against_random`; so are the others.
        kept: likewise.
        scores: likewise.
        n: how often edges outside of the circuit are drawn.
        rng: likewise.
    """
    engine = evaluate.engine
    outside = engine.graph.edge_mask & ~kept
    if outside.sum() < kept.sum() or not kept.any():
        why = "There are not as many other edges." if kept.any() else "No edge is kept."
        return no_answer("partial necessity", why)
    n_edges, everything = int(kept.sum()), engine.graph.edge_mask
    circuits = _drawn(lambda: everything & ~any_edges(outside, n_edges, rng), n)
    values = evaluate(circuits, "removing other edges").mean(1)
    sign, full = engine.metric.sign, scores.full.mean()
    near = tie(scores.full, scores.ablated)
    return partial_necessity(sign * (full - scores.without.mean()), sign * (full - values), near)


def each_alone(
    evaluate: Evaluator,
    kept: Kept,
    scores: Scores,
    n: int,
    max_edges: int,
    rng: np.random.Generator,
) -> tuple[pd.DataFrame, HypothesisTest]:
    """What each kept edge does in a circuit, against edges that are added to it at random.

    Args:
        evaluate: as for `against_random`; so are the others.
        kept: likewise.
        scores: likewise.
        n: how often a random path is added, of which one edge is removed again.
        max_edges: so many kept edges at most.
        rng: likewise.

    Returns:
        `Measurement.edges`, and the test of minimality.
    """
    graph = evaluate.engine.graph
    cells = rng.permutation(np.argwhere(kept))[:max_edges]
    # As they stand in the graph.
    cells = cells[np.lexsort(cells.T[::-1])]
    less_one = [_without(kept, tuple(cell)) for cell in cells]
    values = evaluate([kept, *less_one], "removing each kept edge alone")
    by_prompt = values[0] - values[1:]
    # To the whole graph nothing can be added.
    n_added = 0 if (kept == graph.edge_mask).all() else n
    added = _drawn(lambda: _with_random_path(graph, kept, rng), n_added)
    pairs = [each for circuit, cell in added for each in (circuit, _without(circuit, cell))]
    of_added = evaluate(pairs, "adding random paths").mean(1)
    effects, near = by_prompt.mean(1), tie(scores.full, scores.ablated)

    def size(changes: Float[np.ndarray, " change"]) -> Float[np.ndarray, " change"]:
        return np.where(np.abs(changes) <= near, 0.0, np.abs(changes))

    by_chance = size(of_added[::2] - of_added[1::2])
    test, p_values = minimality(size(effects), by_chance, int(kept.sum()))
    n_prompts = by_prompt.shape[1]
    table = pd.DataFrame(
        {
            "edge": [graph.edge_at(*cell).id for cell in cells],
            "effect": effects,
            "standard_error": by_prompt.std(1, ddof=1) / np.sqrt(n_prompts)
            if n_prompts > 1
            else np.full(len(cells), np.nan),
            "p_value": p_values,
            "above_random": p_values <= ALPHA,
        }
    )
    return table, test


def _drawn(draw: Callable[[], _Draw], n: int) -> list[_Draw]:
    """Draws, which takes a while in a large graph."""
    drawn = []
    with working_on("drawing at random", n) as done:
        for _ in range(n):
            drawn.append(draw())
            done(len(drawn))
    return drawn


def _with_random_path(
    graph: Graph, kept: Kept, rng: np.random.Generator
) -> tuple[Kept, tuple[int, int]]:
    """A circuit with a random path through an edge that it lacks, and one of the edges added."""
    row, column = rng.choice(np.argwhere(graph.edge_mask & ~kept))
    path = path_through(graph, (row, column), {INPUT, LOGITS}, rng)
    added = [cell for cell in path if not kept[cell]]
    inflated = kept.copy()
    inflated[tuple(np.array(path).T)] = True
    return inflated, added[rng.integers(len(added))]


def _without(kept: Kept, cell: tuple[int, int]) -> Kept:
    less = kept.copy()
    less[cell] = False
    return less
