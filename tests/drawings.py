"""Circuits made by hand or at random, drawn without a page; for the tests of what is drawn."""

from __future__ import annotations

import numpy as np

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.circuits.steps import EdgeStep
from acdc_explorer.explorer.drawing.curves import CURVE_POINTS
from acdc_explorer.explorer.drawing.figure import CircuitFigure
from acdc_explorer.explorer.drawing.layout import LayerLayout
from acdc_explorer.explorer.drawing.shown import Shown, kept_edges, to_draw
from acdc_explorer.graph import Graph, graph_of


def circuit_of_edges(graph: Graph, effects: dict[str, float], complete: bool = True) -> Circuit:
    """A circuit that keeps these edges, of a clean metric of 3."""
    steps = [
        EdgeStep(graph.parse_edge(edge), 3.0, 3.0 - effect, kept=True)
        for edge, effect in effects.items()
    ]
    return Circuit(
        "m", "t", {}, graph, SearchSettings(0.01, "0.01"), "logit_diff", 3.0, 0.0, 3.0,
        tuple(steps), complete,
    )  # fmt: skip


def random_circuit(n_kept: int, shape: tuple[int, int] = (12, 12)) -> Circuit:
    """Random kept edges, in GPT-2 small's shape; not finished, so that none is unconnected."""
    graph = graph_of(*shape)
    rng = np.random.default_rng(0)
    cells = np.argwhere(graph.edge_mask)
    chosen = cells[rng.choice(len(cells), n_kept, replace=False)]
    effects = {
        graph.edge_at(*cell).id: effect
        for cell, effect in zip(chosen, 0.3 * rng.normal(size=n_kept), strict=True)
    }
    return circuit_of_edges(graph, effects, complete=False)


def make_figure(**listeners):
    silent = {name: lambda *_: None for name in ("on_edges", "on_node", "on_fold", "on_nothing")}
    return CircuitFigure(**{**silent, **listeners})


def draw(figure: CircuitFigure, circuit: Circuit, shown: Shown | None = None, **options) -> None:
    kept = to_draw(kept_edges(circuit), shown or Shown())
    figure.draw(circuit, kept, LayerLayout(circuit.graph), **options)


def traces(figure: CircuitFigure):
    return {trace.name: trace for trace in figure.widget.data}


def n_curves(trace) -> int:
    return int(np.isfinite(np.asarray(trace.x, dtype=float)).sum()) // CURVE_POINTS


def edges_hit(figure: CircuitFigure) -> set[str]:
    return {name for name in traces(figure)["edge-hits"].customdata if name}
