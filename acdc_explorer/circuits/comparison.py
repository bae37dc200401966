"""Two circuits beside one another: which edges are of both, and which of one alone."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.pinned import PinnedCircuit
from acdc_explorer.circuits.published import PublishedCircuit
from acdc_explorer.circuits.summary import named
from acdc_explorer.graph import Edge, Graph

# What a circuit can be compared with; a path is one of a circuit's file.
Comparable = (
    Circuit | PinnedCircuit | PublishedCircuit | str | os.PathLike[str] | Iterable[str | Edge]
)
BOTH, FIRST, SECOND = "both", "first", "second"


@dataclass(frozen=True, repr=False)
class Comparison:
    """Which edges two circuits share.

    Attributes:
        first: what the first one is, in words.
        second: what the second one is.
        edges: a row for each edge of either, those of both first: edge; where ("both", "first" or
            "second"); effect_first and effect_second, when each search tested it, in its metric's
            units (0 where it was removed untested; NaN where it is not known, as for circuits
            without a search, and for what a pinned circuit does without).
        components: a row for each node that has an edge in either, in the order of the model:
            component, its id; both, first and second, how many of its edges, in and out, are in
            both circuits and in one alone.
        faithfulness: of the two, each on its own prompts; NaN where there was no search.
    """

    first: str
    second: str
    edges: pd.DataFrame
    components: pd.DataFrame
    faithfulness: tuple[float, float]

    def n(self, where: str) -> int:
        """How many edges are in "both", in "first" alone, or in "second" alone."""
        return int((self.edges["where"] == where).sum())

    @property
    def jaccard(self) -> float:
        """Edges of both over edges of either; 1 if there are none."""
        return self.n(BOTH) / len(self.edges) if len(self.edges) else 1.0

    def __str__(self) -> str:
        """In a few lines."""
        scores = [
            "" if math.isnan(each) else f", faithfulness {each:.1%}" for each in self.faithfulness
        ]
        n_both, n_first, n_second = (self.n(where) for where in (BOTH, FIRST, SECOND))
        return (
            f"first: {self.first}, {n_both + n_first} edges{scores[0]}\n"
            f"second: {self.second}, {n_both + n_second} edges{scores[1]}\n"
            f"{n_both} edges in both, {n_first} in the first alone, {n_second} in the second "
            f"alone; Jaccard index {self.jaccard:.2f}"
        )

    def __repr__(self) -> str:
        return str(self)


def compare(first: Circuit, second: Comparable) -> Comparison:
    """Compares the kept edges of two circuits.

    They may be of other thresholds, methods, tasks or models, as long as these have the same edges.

    Args:
        first: a circuit.
        second: another one, a pinned or a published one, the path of a circuit's file of any format
            (see `Circuit.from_file`), or the ids of its edges.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is none of a circuit; if the two are of models of other shapes, or
            one by position and the other not; or an edge is not in the first one's graph.
    """
    if isinstance(second, (str, os.PathLike)):
        second = Circuit.from_file(second, first.graph)
    graph = first.graph
    told, effects, score = "edges", np.full(graph.edge_mask.shape, np.nan), np.nan
    if isinstance(second, (Circuit, PinnedCircuit)):
        if second.graph != graph:
            raise ValueError(
                f"circuits of other edges cannot be compared: the first is of {graph.shape}, the "
                f"second of {second.graph.shape}"
            )
        score = second.faithfulness
    if isinstance(second, Circuit):
        mask, told, effects = second.kept_mask, named(second), _effects(second)
    elif isinstance(second, PinnedCircuit):
        mask, told = graph.mask_of(second.effects), second.name
        for edge_id, effect in second.effects.items():
            effects[graph.cell(graph.parse_edge(edge_id))] = effect
    elif isinstance(second, PublishedCircuit):
        mask, told = graph.mask_of(second.edge_ids), f"{second.task} in {second.model}, published"
    else:
        mask = graph.mask_of(second)
    masks = first.kept_mask, mask
    parts = {BOTH: masks[0] & masks[1], FIRST: masks[0] & ~masks[1], SECOND: masks[1] & ~masks[0]}
    columns: dict[str, list[object]] = {"edge": [], "where": []}
    columns |= {"effect_first": [], "effect_second": []}
    of_first = _effects(first)
    for where, part in parts.items():
        columns["edge"] += graph.ids_of(part)
        columns["where"] += [where] * int(part.sum())
        columns["effect_first"] += of_first[part].tolist()
        columns["effect_second"] += effects[part].tolist()
    return Comparison(
        named(first),
        told,
        pd.DataFrame(columns),
        _components(graph, parts),
        (first.faithfulness, score),
    )


def _components(graph: Graph, parts: dict[str, np.ndarray]) -> pd.DataFrame:
    """How many edges of each node are in each part; see `Comparison`."""
    rows = []
    for node in graph.nodes:
        into, out_of = graph.rows_of(node), graph.sender_index.get(node)
        counts = {
            where: int(part[into].sum()) + (0 if out_of is None else int(part[:, out_of].sum()))
            for where, part in parts.items()
        }
        if any(counts.values()):
            rows.append({"component": node.id, **counts})
    return pd.DataFrame(rows, columns=["component", *parts])


def _effects(circuit: Circuit) -> np.ndarray:
    """The effects of all edges [n_receivers, n_senders], as in `Circuit.edges`."""
    tested = circuit.decision_arrays
    effects = np.where(circuit.removed_mask | circuit.kept_mask, 0.0, np.nan)
    effects[tested.cells] = tested.before - tested.after
    return circuit.imported.score_matrix if circuit.imported else effects
