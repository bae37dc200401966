"""A score for every edge, as other tools' files want one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from acdc_explorer.circuits.circuit import Circuit
    from acdc_explorer.circuits.threshold_path import ThresholdPath


@dataclass(frozen=True, eq=False)
class EdgeScores:
    """Scores of all edges.

    Attributes:
        matrix: [n_receivers, n_senders]; 0 where there is no edge.
        told: where they come from, in a sentence.
    """

    matrix: np.ndarray
    told: str


def scores_of(
    circuit: Circuit, path: ThresholdPath | None = None, *, absolute: bool = False
) -> EdgeScores:
    """Scores the edges by the largest threshold at which each is kept.

    With a path that is exact: of all its circuits, the end of the highest interval of thresholds in
    which the edge is kept; 0 for edges that none keeps. Without one it is told from the decisions
    of the one search, by the change that each test found: the largest threshold at which the edge
    would stay, all decisions before it being as they are. (By rule "signed" edges that hurt stay at
    none, and have their change all the same.) Edges that were removed untested have 0.
    Of a circuit from another tool's file the scores are that file's, and 0 where it has none.

    Args:
        circuit: whose edges are scored; by its effects the score gets its sign.
        path: of searches with the same settings, or None.
        absolute: whether the scores are sizes; else positive for edges that help and negative for
            those that hurt, whatever the metric's direction.

    Raises:
        ValueError: if the path has no circuits, or some of other edges or another search; or if the
            circuit is from another tool's file, whose scores no path changes.
    """
    graph = circuit.graph
    if circuit.imported:
        if path is not None:
            raise ValueError(f"a threshold path scores the circuit of a search; {circuit.lacks}")
        matrix = np.nan_to_num(circuit.imported.score_matrix)
        told = "Scores are those of the file that the circuit came from."
        return EdgeScores(abs(matrix) if absolute else matrix, told)
    circuits = [circuit] if path is None else list(path.circuits)
    if not circuits or any(each.graph != graph for each in circuits):
        raise ValueError("the path must have circuits of the same edges as the circuit")
    for each in circuits:
        _check_same_search(each, circuit)
    sizes, signs = np.zeros((2, *graph.edge_mask.shape))
    for each in circuits:
        tested = each.decision_arrays
        effects = tested.before - tested.after
        if path is None:
            args = tested.before, tested.after, each.full_metric, each.higher_is_better
            # The signed rule's changes are negative where an edge hurts.
            sizes[tested.cells] = abs(each.settings.change(*args))
        else:
            first = each.kept_mask & (sizes == 0)
            sizes[first] = each.valid_interval[1]
        sign = np.where((effects < 0) == each.higher_is_better, -1, 1)
        # Of a path, by the circuit of the highest threshold that has tested the edge.
        signs[tested.cells] = np.where(signs[tested.cells] == 0, sign, signs[tested.cells])
    told = "Scores are the largest threshold at which each edge is kept, " + (
        "from the decisions of this one search." if path is None else "exact, from the path."
    )
    return EdgeScores(sizes if absolute else sizes * signs, told)


def check_finished(circuit: Circuit) -> None:
    """Raises a ValueError if a circuit's search has not come to its end.

    Other tools' files know no untested edges: they would look as if they were removed.
    """
    if not circuit.complete:
        raise ValueError(
            "the search has not come to its end, and other tools' files know no untested edges: "
            'let it end first, or write format "acdc_explorer", which keeps what is untested'
        )


def _check_same_search(found: Circuit, circuit: Circuit) -> None:
    """Raises a ValueError if two circuits' searches differ in more than the threshold."""
    asked, given = _search_of(circuit), _search_of(found)
    for name, value in asked.items():
        # A file has lists for tuples.
        texts = [json.dumps(each, default=str) for each in (value, given[name])]
        if given[name] != value and texts[0] != texts[1]:
            raise ValueError(
                f"the path must be of the same search as the circuit, whose {name} is {value!r}; "
                f"got {given[name]!r}"
            )


def _search_of(circuit: Circuit) -> dict[str, object]:
    """What a search was of, but for its threshold."""
    return {
        "model_name": circuit.model_name,
        "task_name": circuit.task_name,
        "task_options": dict(circuit.task_options),
        "metric_name": circuit.metric_name,
        **{
            name: value
            for name, value in vars(circuit.settings).items()
            if name not in ("threshold", "threshold_text")
        },
    }
