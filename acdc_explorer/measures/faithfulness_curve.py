"""How faithful the best-ranked edges are, by how many of them there are: the MIB benchmark's curve.

Mueller et al. 2025, MIB: A Mechanistic Interpretability Benchmark, arXiv 2504.13151, section 3:
CPR, the circuit performance ratio, and CMD, the circuit-model distance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from acdc_explorer.arguments import resolve
from acdc_explorer.arithmetic import plain_arithmetic
from acdc_explorer.circuits.connected import on_paths
from acdc_explorer.engine.cache import engine_for
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.evaluate import evaluate_removed
from acdc_explorer.engine.removed_edges import RemovedEdges
from acdc_explorer.graph import Graph
from acdc_explorer.measures.edge_scoring import (
    RANKINGS,
    SCORING_METHODS,
    EdgeScores,
    ScoreMatrix,
    check_method,
    ranked_by,
    score_matrix,
    scores_by,
)
from acdc_explorer.measures.held_out import prompts_to_measure_on
from acdc_explorer.models.model import ModelLike
from acdc_explorer.options import Ablation
from acdc_explorer.tasks.task import Task

# Of all edges, at which MIB measures.
SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


@dataclass(frozen=True)
class FaithfulnessCurve:
    """How faithful circuits of the best-ranked edges are, for several methods.

    Attributes:
        table: a row for each method, ranking and size: method; ranking ("signed": the edges that
            help most first; "absolute": those of the largest effect, whether they help or hurt);
            share of all edges that are taken; n_edges, how many that are; n_connected, how many of
            them lie on a path from the input to the logits, which alone are kept; faithfulness,
            (circuit - ablated) / (clean - ablated metric).
        told: which prompts faithfulness was measured on, in words.
        held_out: whether those are others than edges were scored on.
    """

    table: pd.DataFrame
    told: str
    held_out: bool

    @property
    def areas(self) -> pd.DataFrame:
        """The curves' areas, by trapezoids between the shares.

        Returns:
            A row for each method, ranking and axis: method, ranking, axis, cpr, the area under
            faithfulness (higher is better, but above 1 means that edges which hurt are left out,
            not that the circuit is more like the model), and cmd, the area of |1 - faithfulness|
            (0 is best). On the axis "linear" these are integrals over the share, as in MIB, which
            reports cpr of ranking "signed" and cmd of "absolute"; half of it are circuits of more
            than half of all edges. On "log10", over the share's logarithm, small circuits count as
            much as large ones; divided by the axis's length, so that cpr of a faithfulness that is
            1 throughout is 1. (MIB's code can do that, too, with natural logarithms and without the
            division.)
        """
        rows = []
        for (method, ranking), curve in self.table.groupby(["method", "ranking"], sort=False):
            faithfulness, share = curve["faithfulness"].to_numpy(), curve["share"].to_numpy()
            decades = np.log10(share)
            for axis, x, length in (
                ("linear", share, 1.0),
                ("log10", decades, decades[-1] - decades[0]),
            ):
                rows.append(
                    {
                        "method": method,
                        "ranking": ranking,
                        "axis": axis,
                        "cpr": np.trapezoid(faithfulness, x) / length,
                        "cmd": np.trapezoid(np.abs(1 - faithfulness), x) / length,
                    }
                )
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        """MIB's two numbers for each method, in a line each."""
        areas = self.areas.query("axis == 'linear'").set_index(["method", "ranking"])
        lines = [
            f"{method}: CPR {areas.loc[(method, 'signed'), 'cpr']:.3f}, "
            f"CMD {areas.loc[(method, 'absolute'), 'cmd']:.3f}"
            for method in self.table["method"].unique()
        ]
        return "\n".join([*lines, f"measured on {self.told}"])


def faithfulness_curve(
    model: ModelLike,
    task: Task | str,
    methods: Sequence[str] | Mapping[str, EdgeScores] = SCORING_METHODS,
    *,
    held_out: Task | bool | None = None,
    shares: Sequence[float] = SHARES,
    ablation: Ablation = "corrupted",
    positions: bool = False,
    split_qkv: bool = True,
) -> FaithfulnessCurve:
    """Measures how faithful the best-ranked edges are, at several sizes, for several methods.

    As MIB does (arXiv 2504.13151): of the edges in the order of their scores the first
    int(share x number of edges) are taken; those of them that are on no path from the input to the
    logits are removed as well; all others carry their ablated output. Other than in MIB

    - every method is measured by both rankings, and areas are given on a linear and on a
      logarithmic axis;
    - edges of the same score are taken from the logits backwards, where MIB leaves it to the
      sort; of ACDC's scores many are the same;
    - "acdc" is no method of MIB; its edges rank by the largest threshold at which they are kept, so
      that its two rankings are one.

    MIB's numbers are comparable with those on the same model, task, prompts and metric only, of
    which it has its own.

    Args:
        model: anything that `load_model` takes.
        task: a `Task`, or the name of one; edges are scored on its prompts.
        methods: of `score_edges`, by name; or a name -> scores made before, as `score_edges`
            returns them, or edge ids -> scores, the higher the more an edge helps. "acdc" takes
            long on large models.
        held_out: prompts to measure faithfulness on; True: prompts of another seed; None: likewise,
            if there are any; False: those of `task`.
        shares: of all edges, ascending, the last one at most 1; two or more.
        ablation: what removed edges carry, as in `find_circuit`.
        positions: likewise.
        split_qkv: likewise.

    Returns:
        The table of all methods, rankings and sizes, and the curves' areas.

    Raises:
        ValueError: naming the argument that is wrong and what is allowed; or if the clean and the
            ablated metric are equal, so that there is nothing to be faithful to.
    """
    _check_shares(shares)
    _check_methods(methods)
    with plain_arithmetic():
        loaded, task = resolve(model, task)
        measured_on = prompts_to_measure_on(loaded, task, held_out)

        def engine_of(prompts: Task) -> Engine:
            return engine_for(loaded, prompts, ablation, positions=positions, split_qkv=split_qkv)

        graph = engine_of(measured_on.task).graph
        if positions and graph != engine_of(task).graph:
            raise ValueError(
                f"held_out must have the position labels of the task, {', '.join(task.positions)}; "
                f"it has {', '.join(measured_on.task.positions)}"
            )
        if isinstance(methods, Mapping):
            scores = {name: score_matrix(graph, given) for name, given in methods.items()}
        else:
            scores = {name: scores_by(loaded.name, engine_of(task), name) for name in methods}
        table = _table(engine_of(measured_on.task), scores, shares)
    return FaithfulnessCurve(table, measured_on.told, measured_on.held_out)


def _check_methods(methods: Sequence[str] | Mapping[str, EdgeScores]) -> None:
    if isinstance(methods, str):
        raise ValueError(f"methods must be a list of names, not the single string {methods!r}")
    if not methods:
        raise ValueError("methods must name one method at least")
    if not isinstance(methods, Mapping):
        for name in methods:
            check_method(name)


def _check_shares(shares: Sequence[float]) -> None:
    values = np.asarray(shares, dtype=float)
    if not (len(values) > 1 and (np.diff(values) > 0).all() and 0 < values[0] <= values[-1] <= 1):
        raise ValueError(
            f"shares must be two or more numbers that ascend, above 0 and up to 1; got {shares!r}"
        )


def _table(
    engine: Engine, scores: Mapping[str, ScoreMatrix], shares: Sequence[float]
) -> pd.DataFrame:
    """The rows of `FaithfulnessCurve.table`."""
    graph, ablated = engine.graph, engine.corrupted_metric
    if engine.full_metric == ablated:
        raise ValueError(
            f"faithfulness is not defined: the metric is {ablated:.6g} with all edges and with none"
        )
    rows, circuits = [], []
    for method, matrix in scores.items():
        for ranking in RANKINGS:
            ranks = ranked_by(matrix, ranking)
            for share in shares:
                n_edges = int(share * graph.n_edges)
                kept = on_paths(graph, best_edges(graph, ranks, n_edges))
                circuits.append(RemovedEdges(graph.edge_mask & ~kept))
                rows.append(
                    {
                        "method": method,
                        "ranking": ranking,
                        "share": float(share),
                        "n_edges": n_edges,
                        "n_connected": int(kept.sum()),
                    }
                )
    values = evaluate_removed(engine, circuits).double().mean(-1).cpu().numpy()
    faithfulness = (values - ablated) / (engine.full_metric - ablated)
    return pd.DataFrame(rows).assign(faithfulness=faithfulness)


def best_edges(graph: Graph, ranks: ScoreMatrix, n: int) -> np.ndarray:
    """The edges that rank highest, bool [n_receivers, n_senders]; ties from the logits backwards.

    Args:
        graph: of the model.
        ranks: by which to choose; the highest first.
        n: how many.
    """
    cells = np.flatnonzero(graph.edge_mask)[::-1]
    best = cells[np.argsort(-ranks.flat[cells], kind="stable")[:n]]
    mask = np.zeros(graph.edge_mask.shape, dtype=bool)
    mask.flat[best] = True
    return mask
