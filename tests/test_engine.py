"""The engine against the slow reference, on random models where every edge matters."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import (
    SHAPES,
    assert_logits_equal_transformers,
    bridge_of,
    random_gpt2,
    random_task,
)

from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.evaluate import evaluate_removed
from acdc_explorer.engine.removed_edges import RemovedEdges
from acdc_explorer.metrics import METRICS
from acdc_explorer.models.bridge import extract_weights
from acdc_explorer.models.faults import UnsupportedModelError
from acdc_explorer.testing.reference import Reference

ABLATION_KINDS = ["corrupted", "zero", "mean"]


def removed_sets(graph, seed=0):
    """No edge, random sets from sparse to dense, every edge."""
    rng = np.random.default_rng(seed)
    shares = (0, 0.01, 0.1, 0.5, 0.9, 0.99, 1)
    return [graph.edge_mask & (rng.random(graph.edge_mask.shape) < share) for share in shares]


def test_logits_equal_the_original_models(hf_model):
    """Against transformers itself: the bridge is not in between."""
    assert_logits_equal_transformers(hf_model)


@pytest.mark.parametrize("ablation", ABLATION_KINDS)
def test_random_removed_sets_equal_the_reference(hf_model, ablation):
    task = random_task()
    reference = Reference(bridge_of(hf_model, torch.float64), task, ablation)
    engine = Engine(extract_weights(bridge_of(hf_model)), task, ablation)
    masks = removed_sets(engine.graph)
    expected = torch.stack([reference.evaluate(mask) for mask in masks])
    assert (expected.mean(1) - expected[0].mean()).abs().max() > 0.01
    circuits = [RemovedEdges(mask) for mask in masks]
    torch.testing.assert_close(
        evaluate_removed(engine.in_float64, circuits), expected, rtol=0, atol=1e-12
    )
    single = evaluate_removed(engine, circuits).double()
    torch.testing.assert_close(single, expected, rtol=0, atol=5e-5)


def test_none_removed_is_clean_and_all_removed_is_corrupted(hf_model):
    task = random_task()
    bridge = bridge_of(hf_model)
    engine = Engine(extract_weights(bridge), task)
    graph = engine.graph
    none, everything = evaluate_removed(
        engine, [RemovedEdges(graph.mask_of([])), RemovedEdges(graph.edge_mask)]
    )
    rows = torch.arange(task.n_prompts)
    for tokens, value in ((task.clean_tokens, none), (task.corrupted_tokens, everything)):
        with torch.no_grad():
            logits = bridge(tokens, prepend_bos=False)[rows, task.end]
        expected = logits[rows, task.answer_tokens[:, 0]] - logits[rows, task.wrong_tokens[:, 0]]
        torch.testing.assert_close(value, expected, rtol=0, atol=2e-5)
    assert engine.corrupted_metric == pytest.approx(everything.mean().item(), abs=1e-5)


@pytest.mark.parametrize("metric", list(METRICS))
def test_every_metric_equals_the_reference(metric):
    hf_model, task = random_gpt2("2x4"), random_task(metric=metric)
    reference = Reference(bridge_of(hf_model, torch.float64), task)
    engine = Engine(extract_weights(bridge_of(hf_model)), task).in_float64
    masks = removed_sets(engine.graph, seed=1)
    expected = torch.stack([reference.evaluate(mask) for mask in masks])
    got = evaluate_removed(engine, [RemovedEdges(mask) for mask in masks])
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


def test_sets_of_answers_are_averaged():
    task = random_task()
    generator = torch.Generator().manual_seed(5)
    answers, wrong = (torch.randint(40, (task.n_prompts, 3), generator=generator) for _ in "ab")
    hf_model = random_gpt2("3x2")
    many = random_task()
    object.__setattr__(many, "answer_tokens", answers)
    object.__setattr__(many, "wrong_tokens", wrong)
    engine = Engine(extract_weights(bridge_of(hf_model)), many)
    with torch.no_grad():
        logits = hf_model(task.clean_tokens).logits[torch.arange(task.n_prompts), task.end]
    expected = logits.gather(1, answers).mean(1) - logits.gather(1, wrong).mean(1)
    torch.testing.assert_close(engine.clean_by_prompt, expected, rtol=0, atol=2e-5)


def test_an_edge_removed_at_all_positions_piece_by_piece_is_the_edge_removed(hf_model):
    """Removing an edge at a set of positions and at the others must meet in the whole."""
    engine = Engine(extract_weights(bridge_of(hf_model)), random_task()).in_float64
    graph = engine.graph
    rng = np.random.default_rng(2)
    mask = graph.edge_mask & (rng.random(graph.edge_mask.shape) < 0.3)
    everywhere = torch.from_numpy(engine.slices[0].sets.all.mask)
    nowhere = torch.zeros_like(everywhere)
    for row, column in rng.permutation(np.argwhere(graph.edge_mask & ~mask))[:12]:
        edge = graph.edge_at(row, column)
        whole = mask.copy()
        whole[row, column] = True
        expected, at_all, at_none, base = evaluate_removed(
            engine,
            [
                RemovedEdges(whole),
                RemovedEdges(mask, (edge, everywhere)),
                RemovedEdges(mask, (edge, nowhere)),
                RemovedEdges(mask),
            ],
        )
        torch.testing.assert_close(at_all, expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(at_none, base, rtol=0, atol=1e-12)


@pytest.mark.parametrize("floats", [1, 20_000, 60_000])
def test_batches_of_circuits_and_prompts_do_not_change_values(hf_model, monkeypatch, floats):
    engine = Engine(extract_weights(bridge_of(hf_model)), random_task(), "mean").in_float64
    masks = removed_sets(engine.graph)
    edge = engine.graph.edge_at(*np.argwhere(engine.graph.edge_mask & ~masks[3])[5])
    positions = torch.rand(engine.slices[0].sets.all.mask.shape, generator=torch.Generator()) < 0.5
    circuits = [*map(RemovedEdges, masks), RemovedEdges(masks[3], (edge, positions))]
    together = evaluate_removed(engine, circuits)
    monkeypatch.setattr("acdc_explorer.engine.evaluate.BATCH_FLOATS", floats)
    torch.testing.assert_close(evaluate_removed(engine, circuits), together, rtol=0, atol=1e-12)


def test_a_model_whose_logits_differ_is_refused():
    bridge = bridge_of(random_gpt2("2x4"))
    bridge.cfg.act_fn = "relu"
    with pytest.raises(UnsupportedModelError, match="logits differ"):
        extract_weights(bridge)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"length": 20}, "reads 16 at most"), ({"vocabulary": 10}, "reads 40 tokens")],
)
def test_tasks_that_do_not_fit_the_model(change, message):
    weights = extract_weights(bridge_of(random_gpt2("2x4")))
    task = random_task(length=change.get("length", 9))
    if "vocabulary" in change:
        task.clean_tokens[0, 0] = 40
    with pytest.raises(ValueError, match=message):
        Engine(weights, task)


def test_unknown_ablation_is_named():
    weights = extract_weights(bridge_of(random_gpt2("2x4")))
    with pytest.raises(ValueError, match="Did you mean 'zero'"):
        Engine(weights, random_task(), "zeroo")


def test_all_test_shapes_are_used():
    assert set(SHAPES) == {"2x4", "3x2", "4x1"}
