"""How well a method recovers a circuit that is known: ROC, AUC, precision, recall."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.published import PublishedCircuit
from acdc_explorer.circuits.threshold_path import ThresholdPath
from acdc_explorer.errors import unknown_name
from acdc_explorer.graph import Edge, Graph
from acdc_explorer.measures.edge_scoring import (
    EdgeScores,
    Ranking,
    ScoreMatrix,
    ranked_by,
    score_matrix,
)
from acdc_explorer.models.loading import load_model
from acdc_explorer.models.model import ModelLike
from acdc_explorer.models.toys import HANDMADE
from acdc_explorer.options import ABLATIONS, Ablation


@dataclass(frozen=True)
class Recovery:
    """Edges that were found, against those of a circuit that is known.

    Attributes:
        n_edges: all edges of the graph, which is what rates are shares of: a true positive rate is
            a share of the true edges, a false positive rate of all others.
        true_edges: ids of the known circuit's edges.
        found: ids of the edges that count as found.
        curve: the ROC curve, a row for every cut that scores allow, from no edges to all of them:
            score (edges that are ranked by this much or more are taken), n_edges (so many), tpr
            (true positive rate, which is recall), fpr (false positive rate), precision (NaN for no
            edges), f1.
    """

    n_edges: int
    true_edges: tuple[str, ...]
    found: tuple[str, ...]
    curve: pd.DataFrame = field(repr=False)

    @property
    def n_right(self) -> int:
        """How many of the edges that were found are true."""
        return len(set(self.found) & set(self.true_edges))

    @property
    def precision(self) -> float:
        """The share of the edges that were found that are true; NaN if none was found."""
        return self.n_right / len(self.found) if self.found else np.nan

    @property
    def recall(self) -> float:
        """The share of the true edges that were found: the true positive rate."""
        return self.n_right / len(self.true_edges)

    @property
    def false_positive_rate(self) -> float:
        """The share of all other edges that were found."""
        return (len(self.found) - self.n_right) / (self.n_edges - len(self.true_edges))

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall; 0 if nothing true was found."""
        return 2 * self.n_right / (len(self.found) + len(self.true_edges))

    @property
    def auc(self) -> float:
        """The area under the ROC curve, its points joined by straight lines.

        The chance that a true edge is ranked above another one, ties counting half. Of a circuit,
        whose edges have no ranks, the mean of recall and 1 - false positive rate.
        """
        return float(np.trapezoid(self.curve["tpr"], self.curve["fpr"]))

    @property
    def auc_pessimistic(self) -> float:
        """The same, its points joined by steps, across and then up: ties count nothing.

        So did Conmy et al. 2023 (arXiv 2304.14997, section 4).
        """
        return float((np.diff(self.curve["fpr"]) * self.curve["tpr"].iloc[:-1]).sum())

    @property
    def best_f1(self) -> float:
        """The largest F1 at any cut."""
        return float(self.curve["f1"].max())

    def __str__(self) -> str:
        """In a line."""
        return (
            f"{self.n_right} of {len(self.true_edges)} true edges found, "
            f"{len(self.found) - self.n_right} of {self.n_edges - len(self.true_edges):,} others; "
            f"precision {self.precision:.3f}, recall {self.recall:.3f}, F1 {self.f1:.3f}, AUC "
            f"{self.auc:.3f}"
        )


def recovery(
    model: ModelLike,
    found: Circuit | ThresholdPath | EdgeScores | Iterable[str | Edge],
    true_edges: Circuit | PublishedCircuit | Iterable[str | Edge] | None = None,
    *,
    ablation: Ablation | None = None,
    ranking: Ranking = "absolute",
    above: float = 0.0,
) -> Recovery:
    """Compares the edges that a method found, or how it ranks them, with a circuit that is known.

    Counted are all edges of the graph. Edges without a score have 0; edges that a search has not
    tested are not found.

    Args:
        model: anything that `load_model` takes; whose graph, and if it is hand-built or compiled,
            whose circuit.
        found: a circuit, whose kept edges score 1 and all others 0, or a list of edges, which are
            scored likewise; a threshold path, whose edges score the largest threshold at which they
            are kept; or scores, as `score_edges` and `attribute` return them, or edge ids ->
            scores.
        true_edges: of the known circuit: ids, another circuit, or a `PublishedCircuit`. None: the
            circuit that a hand-built or compiled model was made with, as it is under the ablation.
        ablation: for which the hand-built model's circuit is taken. None: that of the circuit or
            the path; of anything else, "corrupted".
        ranking: whether edges rank by the size of their score ("absolute"), so that edges that hurt
            are found too, or by the score ("signed").
        above: edges count as found if they rank above this; the curve has all cuts.

    Returns:
        Precision, recall and F1 of the edges found, the ROC curve and its area.

    Raises:
        ValueError: if an edge is not in the graph, the known circuit has no edges or all of them,
            or is not known.
    """
    loaded = load_model(model)
    circuits = found.circuits if isinstance(found, ThresholdPath) else [found]
    searched = [circuit for circuit in circuits if isinstance(circuit, Circuit)]
    if searched:
        graph, of_search = searched[0].graph, searched[0].settings.ablation
    else:
        graph, of_search = loaded.graph, "corrupted"
    if ablation not in (None, *ABLATIONS):
        raise unknown_name("ablation", ablation, ABLATIONS)
    true = _true_mask(loaded.name, graph, true_edges, ablation or of_search)
    scores = _scores_of(graph, found)
    ranks = np.where(graph.edge_mask, ranked_by(scores, ranking), -np.inf)
    return Recovery(
        n_edges=graph.n_edges,
        true_edges=tuple(graph.ids_of(true)),
        found=tuple(graph.ids_of(ranks > above)),
        curve=roc_curve(ranks[graph.edge_mask], true[graph.edge_mask]),
    )


def _scores_of(
    graph: Graph, found: Circuit | ThresholdPath | EdgeScores | Iterable[str | Edge]
) -> ScoreMatrix:
    if isinstance(found, Circuit):
        return found.kept_mask.astype(float)
    if isinstance(found, ThresholdPath):
        return score_matrix(graph, found.scores)
    if isinstance(found, pd.DataFrame | pd.Series | Mapping):
        return score_matrix(graph, found)
    return graph.mask_of(found).astype(float)


def roc_curve(scores: np.ndarray, true: np.ndarray) -> pd.DataFrame:
    """True against false positives at every cut, equal scores taken together.

    Args:
        scores: [n_edges], the highest first to be taken.
        true: bool [n_edges], some of them and not all.

    Returns:
        As `Recovery.curve`.
    """
    order = np.argsort(-scores, kind="stable")
    scores, true = scores[order], true[order]
    # The last edge of every score, after which a cut is possible.
    ends = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    n_taken, n_right = np.append(0, ends + 1), np.append(0, true.cumsum()[ends])
    n_true = int(true.sum())
    with np.errstate(invalid="ignore"):
        precision = n_right / n_taken
    return pd.DataFrame(
        {
            "score": np.append(np.inf, scores[ends]),
            "n_edges": n_taken,
            "tpr": n_right / n_true,
            "fpr": (n_taken - n_right) / (len(true) - n_true),
            "precision": precision,
            "f1": 2 * n_right / (n_taken + n_true),
        }
    )


def _true_mask(
    model_name: str,
    graph: Graph,
    true_edges: Circuit | PublishedCircuit | Iterable[str | Edge] | None,
    ablation: Ablation,
) -> np.ndarray:
    """The known circuit as a boolean matrix; raises a ValueError if there is none, or no others."""
    if true_edges is None:
        if model_name not in HANDMADE:
            raise ValueError(
                f"the circuit of {model_name!r} is not known; give true_edges=, ids of its edges "
                f"or a published circuit. It is known of {', '.join(HANDMADE)}"
            )
        mask = _mask_of_whole(graph, HANDMADE[model_name].true_edges[ablation])
    elif isinstance(true_edges, Circuit):
        mask = graph.mask_of(true_edges.kept)
    elif isinstance(true_edges, PublishedCircuit):
        mask = _mask_of_whole(graph, true_edges.edge_ids)
    else:
        mask = graph.mask_of(true_edges)
    n_true = int(mask.sum())
    if n_true in (0, graph.n_edges):
        raise ValueError(
            f"true_edges must be some edges of the graph and not all; got {n_true} of its "
            f"{graph.n_edges}"
        )
    return mask


def _mask_of_whole(graph: Graph, edge_ids: Iterable[str]) -> np.ndarray:
    """Edges told with heads' inputs apart and positions together, in a graph that may do neither.

    Raises:
        ValueError: if the graph tells positions apart.
    """
    if graph.labels:
        raise ValueError(
            "the known circuit does not tell positions apart, and the circuit found does: search "
            "with positions=False, or give true_edges= with positions"
        )
    edges = map(replace(graph, split_qkv=True).parse_edge, edge_ids)
    if graph.split_qkv:
        return graph.mask_of(edges)
    return graph.mask_of(replace(edge, receiver=replace(edge.receiver, qkv=None)) for edge in edges)
