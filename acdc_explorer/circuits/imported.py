"""The edges of a circuit that came from a file of another tool, without a search."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from acdc_explorer.checked_json import LARGEST, Value
from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.graph import Edge, Graph

if TYPE_CHECKING:
    from acdc_explorer.circuits.circuit import Circuit

UNKNOWN_MODEL, UNKNOWN_TASK, UNKNOWN_METRIC = "unknown model", "unknown task", "unknown metric"
# There was no search, so that of its settings only what removed edges carry says something.
_SETTINGS = SearchSettings(math.nan, "no threshold")


@dataclass(frozen=True)
class ImportedEdges:
    """Which edges a file keeps, and how it scores edges.

    Attributes:
        origin: the file, in words.
        graph: nodes and edges of the model.
        kept: ids of the kept edges, in the order of the file.
        scores: edge id -> score, of the edges that have one, kept or not; what scores mean is up
            to the tool that wrote them.
        model_name: of the model, as far as the file says; else `UNKNOWN_MODEL`.
        task_name: of the task, likewise.
    """

    origin: str
    graph: Graph
    kept: tuple[str, ...]
    scores: Mapping[str, float]
    model_name: str = UNKNOWN_MODEL
    task_name: str = UNKNOWN_TASK

    @property
    def lacks(self) -> str:
        """What a circuit of these edges lacks, in a sentence."""
        return (
            f"{self.origin} has edges, and maybe scores, but no tests and decisions of a search, "
            "no threshold, and no metric before it is measured"
        )

    @cached_property
    def kept_mask(self) -> np.ndarray:
        """Boolean [n_receivers, n_senders]: the kept edges."""
        return self.graph.mask_of(self.kept)

    @cached_property
    def score_matrix(self) -> np.ndarray:
        """The scores, [n_receivers, n_senders]; NaN where there is none."""
        matrix = np.full(self.graph.edge_mask.shape, np.nan)
        for edge_id, score in self.scores.items():
            matrix[self.graph.cell(self.graph.parse_edge(edge_id))] = score
        return matrix

    def kept_scores(self) -> dict[Edge, float]:
        """The kept edges with their scores, NaN where there is none."""
        parse, scores = self.graph.parse_edge, self.scores
        return {parse(edge_id): scores.get(edge_id, math.nan) for edge_id in self.kept}

    def circuit_fields(self) -> dict[str, Any]:
        """The arguments of `Circuit`, of which most say that something is not known."""
        return {
            "model_name": self.model_name,
            "task_name": self.task_name,
            "task_options": {},
            "graph": self.graph,
            "settings": _SETTINGS,
            "metric_name": UNKNOWN_METRIC,
            "full_metric": math.nan,
            "corrupted_metric": math.nan,
            "metric_value": math.nan,
            "steps": (),
            "imported": self,
        }

    def to_dict(self) -> dict[str, Any]:
        """What a circuit's own file says of them, beside the graph."""
        return {
            "origin": self.origin,
            "model_name": self.model_name,
            "task_name": self.task_name,
            "kept": list(self.kept),
            "scores": dict(self.scores),
        }

    @staticmethod
    def from_value(value: Value, graph: Graph) -> ImportedEdges:
        """Reads what `to_dict` wrote.

        Raises:
            ValueError: naming the value that is wrong.
        """
        collector, kept = EdgeCollector(graph), EdgeCollector(graph)
        for edge_id in value["scores"].mapping():
            collector.add(edge_id, value["scores"][edge_id], kept=False)
        for item in value["kept"].items():
            kept.add(item.text(), None, kept=True)
        return ImportedEdges(
            value["origin"].text(),
            graph,
            tuple(kept.kept),
            collector.scores,
            value["model_name"].text(),
            value["task_name"].text(),
        )


class EdgeCollector:
    """Takes the edges of a file one after the other, and refuses what cannot be.

    Attributes:
        kept: ids of the kept edges so far.
        scores: edge id -> score so far.
    """

    def __init__(self, graph: Graph):
        """Begins with no edge.

        Args:
            graph: of the model.
        """
        self.kept: list[str] = []
        self.scores: dict[str, float] = {}
        self._graph = graph
        self._senders = {sender.id: number for number, sender in enumerate(graph.senders)}
        self._receivers = {receiver.id: receiver for receiver in graph.receivers}
        self._seen: set[str] = set()

    def add(self, name: str, score: Value | None, *, kept: bool) -> None:
        """Takes one more edge.

        Args:
            name: of the edge, in whatever case and spelling.
            score: a number of the file; None: it has no score.
            kept: whether it is in the circuit.

        Raises:
            ValueError: if there is no such edge, it was there before, or its score is no finite
                number.
        """
        edge_id = self._id_of(name)
        if edge_id in self._seen:
            raise ValueError(f"the edge {edge_id} comes a second time")
        self._seen.add(edge_id)
        if score is not None:
            self.scores[edge_id] = score.number()
        if kept:
            self.kept.append(edge_id)

    def _id_of(self, name: str) -> str:
        # By the ids of its two ends: to take every name apart takes several times as long.
        sender_id, _, receiver_id = name.partition("->")
        sender, receiver = self._senders.get(sender_id), self._receivers.get(receiver_id)
        if sender is None or receiver is None or sender >= self._graph.n_senders_to(receiver):
            return self._graph.parse_edge(name).id
        return name


def edges_of_matrices(
    origin: str, graph: Graph, kept: np.ndarray, scores: np.ndarray, **names: str
) -> ImportedEdges:
    """Edges from matrices.

    Args:
        origin: the file, in words.
        graph: of the model.
        kept: boolean [n_receivers, n_senders].
        scores: [n_receivers, n_senders]; read where there are edges.
        names: `model_name` and `task_name`, where they are known.

    Raises:
        ValueError: if the score of an edge is no finite number, or as large as none may be in our
            own files, naming the edge.
    """
    mask = graph.edge_mask
    values = scores[mask]
    # NaN is neither.
    fit = abs(values) < LARGEST
    if not fit.all():
        number = int(np.flatnonzero(~fit)[0])
        raise ValueError(
            f"the score of {graph.edge_ids[number]} must be a finite number, smaller than "
            f"{LARGEST:g}; got {values[number]}"
        )
    scored = dict(zip(graph.edge_ids, values.tolist(), strict=True))
    return ImportedEdges(origin, graph, tuple(graph.ids_of(kept & mask)), scored, **names)


def best_scored(edges: ImportedEdges, n: int) -> ImportedEdges:
    """The same with other edges kept: those of the largest |score|.

    Args:
        edges: with scores.
        n: how many to keep; of equal scores those first that the file has first.

    Raises:
        ValueError: if fewer have a score.
    """
    if n > len(edges.scores):
        raise ValueError(f"{edges.origin} has scores of {len(edges.scores):,} edges, not of {n:,}")
    ranked = sorted(edges.scores, key=lambda edge_id: -abs(edges.scores[edge_id]))
    return replace(edges, kept=tuple(ranked[:n]), origin=f"the best {n:,} edges of {edges.origin}")


def check_searched(circuit: Circuit, what: str) -> None:
    """Raises a ValueError if a circuit has no decisions of a search.

    Args:
        circuit: from anywhere.
        what: needs them, as the subject of a sentence.
    """
    if circuit.lacks:
        raise ValueError(f"{what} needs the tests and decisions of a search; {circuit.lacks}")
