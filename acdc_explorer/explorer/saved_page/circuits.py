"""What the script of a saved page draws: the circuits that had been found, as plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.threshold_path import ThresholdPath
from acdc_explorer.explorer.drawing.curves import CURVE_POINTS, HIT_POINTS
from acdc_explorer.explorer.drawing.figure import MAX_DRAWN
from acdc_explorer.explorer.drawing.layout import Layout
from acdc_explorer.explorer.drawing.nodes import LOOKS, MANY_NODES, SYMBOLS
from acdc_explorer.explorer.drawing.shown import DrawnEdge, untested_nodes
from acdc_explorer.explorer.drawing.traces import node_text, trace_name
from acdc_explorer.explorer.selection import Selection
from acdc_explorer.explorer.style import KIND_NAMES
from acdc_explorer.explorer.words import plain, smallest_effect
from acdc_explorer.graph import Edge

# Thresholds on the slider: more would make a page of many megabytes.
MAX_CIRCUITS = 100
# What is known of an edge in a circuit, as bits that are added up.
CONNECTED, BORDERLINE, SCREENED, OUT, ONLY_HERE, BY_HAND = (2**bit for bit in range(6))


def circuits_on_slider(shown: Circuit, path: ThresholdPath) -> list[Circuit]:
    """The circuits among which the slider goes, the lowest threshold first.

    Args:
        shown: when the page is saved; it takes the place of the one of its own threshold.
        path: circuits of other thresholds, of which some are left out if there are very many.
    """
    others = [each for each in path.circuits if each.graph == shown.graph]
    low, high = shown.valid_interval
    others = [each for each in others if not low < each.threshold <= high]
    if len(others) >= MAX_CIRCUITS:
        chosen = np.linspace(0, len(others) - 1, MAX_CIRCUITS - 1).round().astype(int)
        others = [others[number] for number in dict.fromkeys(chosen.tolist())]
    return sorted([shown, *others], key=lambda each: each.threshold)


def page_data(
    shown: Circuit,
    drawn: Sequence[tuple[Circuit, Sequence[DrawnEdge]]],
    layout: Layout,
    trace_names: Sequence[str],
    selection: Selection | None,
    *,
    merged: bool,
) -> dict[str, Any]:
    """All that the script needs, as values that JSON knows.

    Args:
        shown: the circuit that was shown.
        drawn: the circuits in the order of the slider, each with its edges, the largest first.
        layout: where things lie, with room for the nodes of all of them.
        trace_names: of the figure's traces.
        selection: what was selected, or None.
        merged: whether the edges from one node to another's q, k and v are drawn as one line.
    """
    edges = [*dict.fromkeys(e.edge for _, each in drawn for e in each[:MAX_DRAWN])]
    number_of = {edge: number for number, edge in enumerate(edges)}
    nodes = {node: number for number, node in enumerate(shown.graph.nodes)}
    inside = {node for edge in edges for node in (edge.sender, edge.receiver.node)}
    curves: list[list[list[float]]] = [[] for _ in edges]
    # In lots: which nodes they pass is looked up for all curves of a lot at once.
    for start in range(0, len(edges), MAX_DRAWN):
        lot = layout.curves(edges[start : start + MAX_DRAWN], inside)
        points = np.stack([lot.x, lot.y], 2).reshape(-1, 2 * CURVE_POINTS)
        for number, flat in zip(lot.edge, points, strict=True):
            curves[start + int(number)].append([round(float(value), 3) for value in flat])
    return {
        "unit": shown.metric_unit,
        "merged": merged,
        "kinds": KIND_NAMES,
        "bits": {"connected": CONNECTED, "borderline": BORDERLINE, "screened": SCREENED,
                 "out": OUT, "onlyHere": ONLY_HERE, "byHand": BY_HAND},
        "points": CURVE_POINTS,
        "hits": [HIT_POINTS.start, HIT_POINTS.stop],
        "edges": [_edge(edge, nodes) for edge in edges],
        "curves": curves,
        "nodes": [[node.id, node.label, node_text(node), SYMBOLS[node.kind], node.layer]
                  for node in nodes],
        "spots": [[nodes[spot.node], spot.label or "", round(spot.x, 3), round(spot.y, 3)]
                  for spot in layout.spots],
        "looks": LOOKS,
        "nodeSize": layout.node_size,
        "hidesIdle": len(layout.spots) > MANY_NODES,
        "circuits": [
            _circuit(circuit, each, number_of, nodes, trace_names) for circuit, each in drawn
        ],
        "saved": next(n for n, (circuit, _) in enumerate(drawn) if circuit is shown),
        "selected": None if selection is None else f"{selection.kind}:{selection.id}",
    }  # fmt: skip


def _edge(edge: Edge, nodes: Mapping[Any, int]) -> list[Any]:
    ends = nodes[edge.sender], nodes[edge.receiver.node]
    return [edge.id, edge.label, edge.kind, *ends, edge.receiver.position or ""]


def _circuit(
    circuit: Circuit,
    drawn: Sequence[DrawnEdge],
    number_of: Mapping[Edge, int],
    nodes: Mapping[Any, int],
    trace_names: Sequence[str],
) -> dict[str, Any]:
    tested, shape = circuit.decision_arrays, circuit.graph.edge_mask.shape
    order = np.full(shape, -1)
    order[tested.cells] = np.arange(len(tested.kept))
    borderline, screened = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    borderline[tested.cells], screened[tested.cells] = tested.borderline, tested.screened
    trace_of = {name: number for number, name in enumerate(trace_names)}
    rows, said = [], {}
    for each in drawn[:MAX_DRAWN]:
        number, cell = number_of[each.edge], circuit.graph.cell(each.edge)
        bits = CONNECTED * each.connected + BORDERLINE * bool(borderline[cell])
        bits += SCREENED * bool(screened[cell]) + OUT * each.is_out
        bits += ONLY_HERE * (each.where == "first") + BY_HAND * (each.by_hand is not None)
        effect = None if math.isnan(each.effect) else float(f"{each.effect:.4g}")
        trace = trace_of[trace_name(each, dimmed=False)]
        rows.append([number, effect, trace, int(order[cell]), bits])
        if lines := _said(each):
            said[number] = lines
    inside = {node for e in drawn if not e.is_out for node in (e.edge.sender, e.edge.receiver.node)}
    there = {n for e in drawn if e.where == "second" for n in (e.edge.sender, e.edge.receiver.node)}
    states = {"in": inside, "there": there - inside, "untested": untested_nodes(circuit)}
    return {
        "text": standing(circuit, sum(not each.is_out for each in drawn[:MAX_DRAWN])),
        "threshold": threshold_text(circuit),
        "full": circuit.full_metric,
        "smallest": smallest_effect(circuit),
        "kept": len(circuit.kept),
        "complete": circuit.complete,
        "edges": rows,
        "said": said,
        "nodes": {state: sorted(nodes[node] for node in of) for state, of in states.items()},
    }


def _said(drawn: DrawnEdge) -> list[str]:
    """What else is known of an edge."""
    lines = []
    if drawn.steadiness is not None:
        lines.append(f"kept in {drawn.steadiness:.0%} of the repeated searches")
    if drawn.by_hand is not None:
        lines.append(f"{drawn.by_hand} by hand")
    return [*lines, drawn.note] if drawn.note else lines


def threshold_text(circuit: Circuit) -> str:
    """A threshold with its unit, and as a share of the clean metric."""
    absolute = " ".join(filter(None, (f"{circuit.threshold:.3g}", circuit.metric_unit)))
    if not circuit.full_metric:
        return absolute
    return f"{100 * circuit.threshold / abs(circuit.full_metric):.3g}% ({absolute})"


def standing(circuit: Circuit, n_drawn: int) -> str:
    """Where a circuit of the slider stands, in one line of plain text.

    Args:
        circuit: the circuit.
        n_drawn: how many of its kept edges are drawn.
    """
    low, high = circuit.valid_interval
    end = "all higher ones" if math.isinf(high) else f"{high:.3g}"
    n_kept = len(circuit.kept)
    drawn = f" (the {n_drawn} largest drawn)" if n_drawn < n_kept else ""
    parts = [
        f"threshold {threshold_text(circuit)}, the same circuit from {low:.3g} to {end}",
        f"{n_kept:,} of {circuit.graph.n_edges:,} edges kept{drawn}",
        f"{circuit.metric_name.replace('_', ' ')} {plain(circuit.metric_value)} "
        f"{circuit.metric_unit}".rstrip(),
    ]
    if not math.isnan(circuit.faithfulness):
        parts.append(f"faithfulness {circuit.faithfulness:.1%}")
    if circuit.n_screened:
        parts.append("screened")
    if not circuit.complete:
        parts.append("search not finished")
    return " · ".join(parts)
