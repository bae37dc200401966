"""A score for every edge by any method, so that methods can be compared by how they rank edges."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from jaxtyping import Float

from acdc_explorer.arguments import resolve
from acdc_explorer.arithmetic import plain_arithmetic
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.circuits.tables import edge_columns
from acdc_explorer.circuits.threshold_path import ThresholdPath
from acdc_explorer.engine.cache import engine_for
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.evaluate import evaluate_removed
from acdc_explorer.engine.removed_edges import RemovedEdges
from acdc_explorer.errors import unknown_name
from acdc_explorer.graph import Graph
from acdc_explorer.models.model import ModelLike
from acdc_explorer.options import Ablation
from acdc_explorer.progress import working_on
from acdc_explorer.searches.attribution import IG_STEPS, edge_scores
from acdc_explorer.searches.methods import circuit_of, search_steps
from acdc_explorer.searches.threshold_path import path_steps
from acdc_explorer.tasks.task import Task

ScoringMethod = Literal["acdc", "exact", "eap", "eap_ig", "ceap", "relp"]
SCORING_METHODS: tuple[ScoringMethod, ...] = get_args(ScoringMethod)

# By what edges are ranked: the score, so that edges that hurt come last; or its size.
Ranking = Literal["signed", "absolute"]
RANKINGS: tuple[Ranking, ...] = get_args(Ranking)

# A table with the columns "edge" and "score", or edge ids -> scores.
EdgeScores = pd.DataFrame | pd.Series | Mapping[str, float]
ScoreMatrix = Float[np.ndarray, "receiver sender"]

# The lowest threshold for method "acdc", as a share of |clean - ablated metric|.
_LOWEST_SHARE = 1e-3


def score_edges(
    model: ModelLike,
    task: Task | str,
    method: ScoringMethod = "acdc",
    *,
    ablation: Ablation = "corrupted",
    positions: bool = False,
    split_qkv: bool = True,
    lowest: float | None = None,
    steps: int = IG_STEPS,
) -> pd.DataFrame:
    """Scores every edge by one method.

    Args:
        model: anything that `load_model` takes.
        task: a `Task`, or the name of one.
        method: "acdc", the largest threshold at which a search keeps the edge, from the circuits of
            all thresholds (`threshold_path`), 0 if none does; exact, and by far the slowest.
            "exact", how much worse the metric is without the edge, alone in the full model, by one
            patched run for each. "eap", "eap_ig", "ceap" or "relp", the same approximately.
        ablation: what removed edges carry, as in `find_circuit`.
        positions: likewise.
        split_qkv: likewise.
        lowest: for "acdc", the lowest threshold, in the metric's units; edges that only lower ones
            keep get 0. None: 0.1% of |clean - ablated metric|.
        steps: for "eap_ig" and "ceap", points on the way from the clean to the ablated embedding.

    Returns:
        One row per edge: edge, sender, receiver, qkv, position, score (in the metric's units), the
        largest |score| first. Positive: the edge helps, whatever the metric's direction. (Of
        metrics of which lower is better, as KL divergence, `attribute` gives the opposite: what the
        metric falls by.) Scores of "acdc" are thresholds, and never negative.

    Raises:
        ValueError: naming the argument that is wrong and what is allowed.
    """
    if lowest is not None and not (math.isfinite(lowest) and lowest > 0):
        raise ValueError(f"lowest must be a positive threshold; got {lowest!r}")
    check_method(method)
    with plain_arithmetic():
        loaded, task = resolve(model, task)
        engine = engine_for(loaded, task, ablation, positions=positions, split_qkv=split_qkv)
        scores = scores_by(loaded.name, engine, method, lowest, steps)
    graph = engine.graph
    table = pd.DataFrame({**edge_columns(graph), "score": scores[graph.edge_mask]})
    return table.sort_values("score", key=abs, ascending=False, kind="stable", ignore_index=True)


def check_method(method: str) -> None:
    """Raises a ValueError if `score_edges` knows no such method."""
    if method not in SCORING_METHODS:
        raise unknown_name("method", method, SCORING_METHODS)


def scores_by(
    model_name: str,
    engine: Engine,
    method: str,
    lowest: float | None = None,
    steps: int = IG_STEPS,
) -> ScoreMatrix:
    """The scores of `score_edges` as a matrix; 0 where there is no edge.

    Args:
        model_name: of the model.
        engine: model, task, ablation and granularity.
        method: one of `SCORING_METHODS`.
        lowest: as in `score_edges`.
        steps: likewise.
    """
    if method == "acdc":
        return acdc_scores(model_name, engine, lowest)
    fall = exact_scores(engine) if method == "exact" else edge_scores(engine, method, steps)
    return fall if engine.metric.higher_is_better else -fall


def acdc_scores(model_name: str, engine: Engine, lowest: float | None = None) -> ScoreMatrix:
    """The largest threshold at which ACDC keeps each edge; 0 for edges that it never keeps.

    Args:
        model_name: of the model.
        engine: model, task, ablation and granularity. The rule is the metric's own.
        lowest: as in `score_edges`.

    Raises:
        ValueError: if there is no lowest threshold, the clean and the ablated metric being equal.
    """
    span = abs(engine.full_metric - engine.corrupted_metric)
    low = lowest or _LOWEST_SHARE * span
    if not low:
        raise ValueError(
            f"the metric is {engine.full_metric:.6g} with all edges and with none, so that no "
            "threshold suggests itself; give lowest="
        )
    settings = SearchSettings(
        low, f"{low:.6g}", rule=engine.metric.default_rule, ablation=engine.ablation
    )
    path = ThresholdPath()
    with working_on("scoring edges by ACDC: thresholds searched"):
        # Above the interval of a circuit without edges there are no others.
        top = _empty_circuit(model_name, engine, settings, max(span, low))
        path = path.with_circuit(top)
        high = top.valid_interval[0]
        if high > low:
            for step in path_steps(model_name, engine, settings, low, high, path):
                if isinstance(step, Circuit):
                    path = path.with_circuit(step)
    return score_matrix(engine.graph, path.scores)


def _empty_circuit(
    model_name: str, engine: Engine, settings: SearchSettings, threshold: float
) -> Circuit:
    """The circuit of a threshold so high that no edge is kept, and all higher ones."""
    while True:
        at = replace(settings, threshold=threshold, threshold_text=f"{threshold:.6g}")
        circuit = circuit_of(model_name, engine, at, list(search_steps(engine, at)))
        if not circuit.kept:
            return circuit
        threshold *= 2


def exact_scores(engine: Engine) -> ScoreMatrix:
    """What the metric falls by without each edge, alone in the full model; 0 where there is none.

    One patched run for each edge, those into one receiver in a batch, since they share all that
    lies below it.
    """
    graph, scores = engine.graph, np.zeros(engine.graph.edge_mask.shape)
    with working_on("scoring edges by their effects alone: edges", graph.n_edges) as done:
        n_done = 0
        for row, receiver in enumerate(graph.receivers):
            n_senders = graph.n_senders_to(receiver)
            masks = np.zeros((n_senders, *scores.shape), dtype=bool)
            masks[range(n_senders), row, range(n_senders)] = True
            values = evaluate_removed(engine, [RemovedEdges(mask) for mask in masks])
            lost = engine.clean_by_prompt.double() - values.double()
            scores[row, :n_senders] = lost.mean(-1).cpu().numpy()
            n_done += n_senders
            done(n_done)
    return scores


def score_matrix(graph: Graph, scores: EdgeScores) -> ScoreMatrix:
    """Scores of edges as a matrix; 0 for edges that have none.

    Args:
        graph: of the model.
        scores: a table with the columns edge and score, or edge ids -> scores.

    Raises:
        ValueError: if an edge is not in the graph or is scored twice, or a score is no number.
    """
    if isinstance(scores, pd.DataFrame):
        missing = {"edge", "score"} - set(scores.columns)
        if missing:
            raise ValueError(
                "a table of scores must have the columns edge and score; it lacks "
                f"{', '.join(sorted(missing))}"
            )
        pairs: Any = zip(scores["edge"], scores["score"], strict=True)
    elif isinstance(scores, pd.Series | Mapping):
        pairs = scores.items()
    else:
        raise ValueError(
            "scores must be a table with the columns edge and score, or a mapping of edge ids to "
            f"scores; got {type(scores).__name__}"
        )
    matrix, scored = np.zeros(graph.edge_mask.shape), graph.mask_of([])
    for edge, score in pairs:
        cell = graph.cell(graph.parse_edge(edge))
        if scored[cell]:
            raise ValueError(f"edge {edge!r} is scored twice")
        if isinstance(score, str) or math.isnan(score):
            raise ValueError(f"the score of edge {edge!r} must be a number; got {score!r}")
        matrix[cell], scored[cell] = score, True
    return matrix


def ranked_by(scores: ScoreMatrix, ranking: Ranking) -> ScoreMatrix:
    """The numbers by which edges are ranked, the highest first.

    Raises:
        ValueError: for another ranking than "signed" and "absolute".
    """
    if ranking not in RANKINGS:
        raise unknown_name("ranking", ranking, RANKINGS)
    return np.abs(scores) if ranking == "absolute" else scores
