"""A circuit's scores on each prompt, and what they come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.evaluate import evaluate_removed, evaluate_scorings
from acdc_explorer.engine.removed_edges import RemovedEdges
from acdc_explorer.engine.scoring import mean_metric
from acdc_explorer.metrics import ACCURACY, METRICS
from acdc_explorer.progress import working_on

# Of single prompts' faithfulness; a prompt whose metric the corruption hardly changes, by less than
# this share of the most, has none.
_PERCENTILES = 10, 90
_LEAST_SPAN = 1e-3
# Of intervals.
_ENDS = 2.5, 97.5
# The runs of `Scores`.
RUNS = "full", "ablated", "circuit", "without"


@dataclass(frozen=True)
class Scores:
    """The metric on every prompt [prompt] of four runs, and two other metrics of the circuit's.

    Attributes:
        full: with no edge removed.
        ablated: with all removed.
        circuit: with all removed but the circuit's.
        without: with the circuit's removed.
        kl: of the circuit's run.
        accuracy: likewise.
        full_accuracy: of the full model.
    """

    full: Float[np.ndarray, " prompt"]
    ablated: Float[np.ndarray, " prompt"]
    circuit: Float[np.ndarray, " prompt"]
    without: Float[np.ndarray, " prompt"]
    kl: Float[np.ndarray, " prompt"]
    accuracy: Float[np.ndarray, " prompt"]
    full_accuracy: Float[np.ndarray, " prompt"]


def scores_of(engine: Engine, kept: Bool[np.ndarray, "receiver sender"]) -> Scores:
    """Runs the model with a circuit alone, and without it."""
    others = [engine.scoring.with_metric(each) for each in (METRICS["kl_divergence"], ACCURACY)]
    removed = [RemovedEdges(engine.graph.edge_mask & ~kept), RemovedEdges(kept)]
    values = _array(evaluate_scorings(engine, removed, [engine.scoring, *others]))
    return Scores(
        full=_array(engine.clean_by_prompt),
        ablated=_array(engine.corrupted_by_prompt),
        circuit=values[0, 0],
        without=values[0, 1],
        kl=values[1, 0],
        accuracy=values[2, 0],
        full_accuracy=_array(others[1].clean_values),
    )


def row_of(scores: Scores, draws: Int[np.ndarray, "draw prompt"]) -> dict[str, float]:
    """A row of `Measurement.ablations`.

    Args:
        scores: under one ablation.
        draws: numbers of prompts.
    """
    full, ablated = scores.full, scores.ablated
    row: dict[str, float] = {name: getattr(scores, name).mean() for name in RUNS}
    for name, values in (("faithfulness", scores.circuit), ("remainder", scores.without)):
        row[name] = float(share(values.mean(), full.mean(), ablated.mean()))
        drawn = share(values[draws].mean(1), full[draws].mean(1), ablated[draws].mean(1))
        if len(values) == 1:
            # Of one prompt there is no interval.
            drawn = np.full(len(drawn), np.nan)
        row[f"{name}_low"], row[f"{name}_high"] = np.nanpercentile(drawn, _ENDS)
    single = shares_of_prompts(scores.circuit, full, ablated)
    single = single[~np.isnan(single)]
    low, high = np.percentile(single, _PERCENTILES) if len(single) else (np.nan, np.nan)
    row |= {"prompts_low": low, "prompts_high": high}
    return row | {
        name: getattr(scores, name).mean() for name in ("kl", "accuracy", "full_accuracy")
    }


def faithfulness_of(engine: Engine, kept: Bool[np.ndarray, "receiver sender"]) -> float:
    """The faithfulness of a circuit, as a share; NaN where there is nothing to be faithful to."""
    removed = RemovedEdges(engine.graph.edge_mask & ~kept)
    value = mean_metric(evaluate_removed(engine, [removed])[0])
    return float(share(value, engine.full_metric, engine.corrupted_metric))


def share(
    value: np.ndarray | float, full: np.ndarray | float, ablated: np.ndarray | float
) -> np.ndarray:
    """(value - ablated) / (full - ablated), NaN where that is no number."""
    span = np.asarray(full - ablated, dtype=float)
    return (value - ablated) / np.where(span == 0, np.nan, span)


def shares_of_prompts(
    values: Float[np.ndarray, " prompt"],
    full: Float[np.ndarray, " prompt"],
    ablated: Float[np.ndarray, " prompt"],
) -> Float[np.ndarray, " prompt"]:
    """`share` prompt by prompt; NaN where the corruption hardly changes the metric."""
    spans = np.abs(full - ablated)
    told = spans > _LEAST_SPAN * spans.max()
    return np.where(told, share(values, full, ablated), np.nan)


def evaluated(
    engine: Engine,
    circuits: Sequence[Bool[np.ndarray, "receiver sender"]],
    what: str,
    at_once: int = 1,
) -> Float[np.ndarray, "circuit prompt"]:
    """The metric of each circuit on each prompt.

    Args:
        engine: model and prompts.
        circuits: the edges that are kept.
        what: is being done, in words.
        at_once: how many to run together: several where they differ late in the model alone, so
            that they share most of the run. Else each has its own, which computes what it needs.
    """
    values = []
    with working_on(what, len(circuits)) as done:
        for start in range(0, len(circuits), at_once):
            some = circuits[start : start + at_once]
            removed = [RemovedEdges(engine.graph.edge_mask & ~kept) for kept in some]
            values.append(_array(evaluate_removed(engine, removed)))
            done(start + len(some))
    return np.concatenate([np.empty((0, engine.n_prompts)), *values])


def _array(values: Tensor) -> np.ndarray:
    return values.double().cpu().numpy()
