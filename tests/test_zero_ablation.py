"""Zero ablation on models with RMS norms, which make whatever rounding leaves in a stream large."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import bridge_of, mostly_slow, random_model, random_task, ungrouped

from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.circuits.steps import EdgeStep
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.evaluate import evaluate_removed
from acdc_explorer.engine.removed_edges import RemovedEdges
from acdc_explorer.inspection import edge_inspection
from acdc_explorer.models.bridge import extract_weights
from acdc_explorer.searches.methods import circuit_of, search_steps
from acdc_explorer.testing.reference import Reference

TOLERANCE = 5e-5


def make(seed):
    hf_model = random_model("llama", seed)
    task = random_task(seed)
    exact = bridge_of(ungrouped(hf_model), torch.float64)
    engine = Engine(extract_weights(bridge_of(hf_model)), task, "zero")
    return engine, Reference(exact, task, "zero")


def masks_of(engine, n, seed):
    """Removed sets of every size; inputs of which little or nothing is left among them."""
    rng, edges = np.random.default_rng(seed), engine.graph.edge_mask
    for _ in range(n):
        mask = rng.random(edges.shape) < rng.random()
        mask[rng.random(len(mask)) < 0.3] = True
        # Kept but for a sender or two.
        nearly = rng.random(len(mask)) < 0.2
        mask[nearly] = rng.random((nearly.sum(), mask.shape[1])) < 0.9
        yield mask & edges


def assert_equal_to_the_reference(seed, n_masks):
    engine, reference = make(seed)
    masks = list(masks_of(engine, n_masks, seed))
    circuits = [RemovedEdges(mask) for mask in masks]
    expected = torch.stack([reference.evaluate(mask) for mask in masks]).double()
    together = evaluate_removed(engine, circuits).double()
    torch.testing.assert_close(together, expected, rtol=0, atol=TOLERANCE)
    # Alone, another of the two sums could be taken.
    alone = torch.cat([evaluate_removed(engine, [circuit]) for circuit in circuits]).double()
    torch.testing.assert_close(alone, expected, rtol=0, atol=TOLERANCE)


def test_removed_sets():
    assert_equal_to_the_reference(seed=0, n_masks=60)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_hundreds_of_removed_sets(seed):
    assert_equal_to_the_reference(seed, n_masks=200)


@pytest.mark.parametrize("threshold", mostly_slow([0.02, 0.1, 0.5], 0.1))
@pytest.mark.parametrize("seed", mostly_slow([0, 1, 2], 0))
def test_every_decision(seed, threshold):
    engine, reference = make(seed)
    settings = SearchSettings(threshold, "", ablation="zero")
    expected = list(reference.acdc(settings))
    got = [s for s in search_steps(engine, settings) if isinstance(s, EdgeStep)]
    assert [(s.edge, s.kept) for s in got] == [(s.edge, s.kept) for s in expected]
    for mine, exact in zip(got, expected, strict=True):
        assert mine.after == pytest.approx(exact.after, abs=TOLERANCE)


def test_an_edge_removed_at_some_positions():
    """The last edge into an input, switched off label by label."""
    engine, reference = make(0)
    settings = SearchSettings(0.5, "", ablation="zero")
    steps = list(search_steps(engine, settings))
    circuit = circuit_of("llama", engine, settings, steps)
    by_label = Reference(reference.bridge, engine.task, "zero", positions=True)
    for step in [step for step in circuit.decisions if step.kept][:10]:
        got = edge_inspection(engine, circuit, step.edge)
        for label, effect in got.by_position.items():
            masks = []
            for removed_here in (False, True):
                mask = np.zeros(by_label.graph.edge_mask.shape, dtype=bool)
                for row, column in np.argwhere(circuit.removed_mask):
                    receiver = circuit.graph.receivers[row]
                    for at_label in by_label.graph.receivers_at(receiver):
                        mask[by_label.graph.receiver_index[at_label], column] = True
                here = step.edge.receiver.at(str(label))
                if here in by_label.graph.receiver_index:
                    cell = by_label.graph.receiver_index[here]
                    mask[cell, circuit.graph.sender_index[step.edge.sender]] = removed_here
                masks.append(mask)
            expected = (by_label.evaluate(masks[0]) - by_label.evaluate(masks[1])).mean().item()
            assert effect == pytest.approx(expected, abs=TOLERANCE)
