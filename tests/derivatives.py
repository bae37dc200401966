"""Attribution scores against finite differences."""

from __future__ import annotations

import numpy as np

from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.evaluate import evaluate_removed
from acdc_explorer.engine.removed_edges import RemovedEdges
from acdc_explorer.engine.runs import PromptRuns
from acdc_explorer.searches.attribution import edge_scores


def assert_derivatives(engine: Engine, step: float = 1e-6) -> None:
    """Against patching some edges alone, each by a small part of the way to its ablated value."""
    runs = engine.slices[0]
    between = runs.clean.map(lambda clean, ablated: clean.lerp(ablated, step), runs.ablated)
    near = engine.with_graph(positions=bool(engine.graph.labels), split_qkv=engine.graph.split_qkv)
    near.slices = (
        PromptRuns(
            engine.weights, engine.task, runs.rows, engine.ablation, runs=(runs.clean, between)
        ),
    )
    graph, scores = engine.graph, edge_scores(engine)
    cells = np.random.default_rng(0).permutation(np.argwhere(graph.edge_mask))[:60]
    masks = [graph.mask_of([graph.edge_at(*cell)]) for cell in cells]
    values = evaluate_removed(near, [RemovedEdges(mask) for mask in masks]).mean(1)
    expected = (engine.full_metric - values.numpy()) / step
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(scores[tuple(cells.T)], expected, rtol=0, atol=2e-4)
    assert (scores[~graph.edge_mask] == 0).all()
