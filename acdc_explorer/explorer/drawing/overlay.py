"""Another circuit laid over the one that is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, zip_longest

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.comparison import BOTH, FIRST, SECOND, Comparison
from acdc_explorer.explorer.drawing.shown import DrawnEdge
from acdc_explorer.explorer.words import effect_in_words


def with_other(
    kept: Sequence[DrawnEdge], comparison: Comparison | None, circuit: Circuit
) -> list[DrawnEdge]:
    """The edges of a circuit, marked as those of both or its own, and those of the other alone.

    The other's own come in between, the largest first, lest one circuit leave no room for the other
    where not all can be drawn.

    Args:
        kept: edges of the circuit that is shown.
        comparison: of that circuit with another one; None: there is none.
        circuit: that is shown.
    """
    if comparison is None:
        return list(kept)
    rows = comparison.edges
    where = dict(zip(rows.edge, rows["where"], strict=True))
    there = dict(zip(rows.edge, rows.effect_second, strict=True))
    ours = [
        replace(each, where=where.get(each.edge.id), note=_note(each, where, there, circuit))
        for each in kept
    ]
    listed = {each.edge.id for each in kept}
    theirs = [
        DrawnEdge(circuit.graph.parse_edge(edge_id), there[edge_id], 0, hurts=False,
                  connected=False, where=SECOND, note=_effect_there(there[edge_id], circuit))
        for edge_id in rows.edge[rows["where"] == SECOND] if edge_id not in listed
    ]  # fmt: skip
    theirs.sort(key=lambda each: 0.0 if math.isnan(each.effect) else -abs(each.effect))
    both = chain.from_iterable(zip_longest(ours, theirs))
    return [each for each in both if each is not None]


def _note(
    drawn: DrawnEdge, where: dict[str, str], there: dict[str, float], circuit: Circuit
) -> str:
    """What was said of an edge before, and what the comparison says."""
    edge_id, told = drawn.edge.id, ""
    if where.get(edge_id) == BOTH:
        told = "in both circuits"
        if effect := _effect_there(there[edge_id], circuit):
            told += f", {effect}"
    elif where.get(edge_id) == FIRST:
        told = "only in this circuit, not in the other"
    return " · ".join(filter(None, (drawn.note, told)))


def _effect_there(effect: float, circuit: Circuit) -> str:
    """What an edge does in the other circuit, as far as known."""
    return "" if math.isnan(effect) else f"in the other {effect_in_words(effect, circuit)}"
