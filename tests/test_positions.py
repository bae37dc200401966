"""Edges by position label, and heads with one input, against the slow reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import (
    attention_only,
    bridge_of,
    labelled_task,
    mostly_slow,
    random_gpt2,
    random_model,
    ungrouped,
)

from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.circuits.steps import EdgeStep, ReceiverStep
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.evaluate import evaluate_removed
from acdc_explorer.engine.removed_edges import RemovedEdges
from acdc_explorer.graph import INPUT, Edge, Node, Receiver, graph_of
from acdc_explorer.models.bridge import extract_weights
from acdc_explorer.options import ABLATIONS
from acdc_explorer.searches.acdc import acdc_steps
from acdc_explorer.searches.methods import search_steps
from acdc_explorer.searches.order import search_receivers
from acdc_explorer.searches.path_patching import path_patching_steps
from acdc_explorer.testing.reference import Reference

KINDS = ["gpt2", "gpt_neo", "llama", "gpt_neox", "attention-only", "gemma2", "olmo2"]


def make(kind, ablation="corrupted", **options):
    if kind == "attention-only":
        bridge, exact = attention_only(), attention_only(torch.float64)
    else:
        hf_model = random_gpt2("2x4") if kind == "gpt2" else random_model(kind)
        bridge, exact = bridge_of(hf_model), bridge_of(ungrouped(hf_model), torch.float64)
    task = labelled_task()
    engine = Engine(extract_weights(bridge), task, ablation, **options)
    return engine, Reference(exact, task, ablation, **options)


def compare(engine, reference, settings):
    """The same decisions; what the engine passes over untested makes no difference at all."""
    steps = list(search_steps(engine, settings))
    passed_over = {
        step.receiver for step in steps if isinstance(step, ReceiverStep) and not step.live
    }
    expected = []
    slow = {"acdc": reference.acdc, "path_patching": reference.path_patching}
    for step in slow[settings.method](settings):
        if step.edge.receiver in passed_over:
            assert abs(step.effect) < 1e-6
        else:
            expected.append(step)
    assert any(step.kept for step in expected)
    got = [step for step in steps if isinstance(step, EdgeStep)]
    assert [(step.edge.id, step.kept) for step in got] == [
        (step.edge.id, step.kept) for step in expected
    ]
    for mine, exact in zip(got, expected, strict=True):
        assert mine.after == pytest.approx(exact.after, abs=5e-5)


VARIANTS = [
    {"positions": True},
    {"split_qkv": False},
    {"positions": True, "split_qkv": False},
]


@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize("ablation", ["corrupted", "zero", "mean"])
@pytest.mark.parametrize("kind", mostly_slow(KINDS, "gpt2", "gemma2"))
def test_random_removed_sets_equal_the_reference(kind, ablation, options):
    engine, reference = make(kind, ablation, **options)
    assert engine.graph == reference.graph
    rng = np.random.default_rng(0)
    edges = engine.graph.edge_mask
    masks = [edges & (rng.random(edges.shape) < share) for share in (0, 0.05, 0.5, 0.95, 1)]
    expected = torch.stack([reference.evaluate(mask) for mask in masks])
    assert (expected.mean(1) - expected[0].mean()).abs().max() > 0.01
    got = evaluate_removed(engine.in_float64, [RemovedEdges(mask) for mask in masks])
    torch.testing.assert_close(got, expected.double(), rtol=0, atol=5e-5)


@pytest.mark.parametrize("options", [{}, *VARIANTS])
@pytest.mark.parametrize("kind", ["gpt2", "mistral"])
def test_blocks_of_prompts_do_not_change_values(kind, options, monkeypatch):
    engine, _ = make(kind, **options)
    engine, edges = engine.in_float64, engine.graph.edge_mask
    rng = np.random.default_rng(1)
    masks = [edges & (rng.random(edges.shape) < share) for share in (0.1, 0.5, 0.9)]
    circuits = [RemovedEdges(mask) for mask in masks]
    # Together, and one by one, since each alone may sum its kept edges instead.
    together = evaluate_removed(engine, circuits)
    monkeypatch.setattr("acdc_explorer.engine.patched_runs._BLOCK_FLOATS", 1)
    monkeypatch.setattr("acdc_explorer.engine.patched_runs._BLOCK_TOKENS", 1)
    alone = torch.cat([evaluate_removed(engine, [circuit]) for circuit in circuits])
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-12)
    torch.testing.assert_close(evaluate_removed(engine, circuits), together, rtol=0, atol=1e-12)


@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize("ablation", mostly_slow(ABLATIONS, "corrupted"))
@pytest.mark.parametrize("threshold", [pytest.param(0.15, marks=pytest.mark.slow), 0.3])
def test_every_decision_equals_the_reference(ablation, threshold, options):
    engine, reference = make("gpt2", ablation, **options)
    settings = SearchSettings(threshold, str(threshold), ablation=ablation)
    compare(engine, reference, settings)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, VARIANTS[-1]])
@pytest.mark.parametrize("ablation", ["corrupted", "zero", "mean"])
def test_what_inputs_read_is_summed_again_where_there_is_no_room(ablation, options, monkeypatch):
    monkeypatch.setattr("acdc_explorer.engine.live_circuit._BASE_FLOATS", 0)
    engine, reference = make("gpt2", ablation, **options)
    compare(engine, reference, SearchSettings(0.05, "0.05", ablation=ablation))


@pytest.mark.slow
@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize("kind", KINDS[1:])
def test_every_decision_on_other_architectures(kind, options):
    engine, reference = make(kind, **options)
    settings = SearchSettings(0.15, "0.15")
    compare(engine, reference, settings)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, *VARIANTS])
@pytest.mark.parametrize("rule", ["abs", "signed"])
@pytest.mark.parametrize("ablation", ["corrupted", "zero"])
def test_path_patching_equals_the_reference(ablation, rule, options):
    engine, reference = make("gpt2", ablation, **options)
    compare(engine, reference, SearchSettings(0.1, "0.1", method="path_patching", rule=rule))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS[1:])
def test_path_patching_on_other_architectures(kind):
    engine, reference = make(kind, positions=True)
    compare(engine, reference, SearchSettings(0.15, "0.15", method="path_patching"))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"positions": True}])
@pytest.mark.parametrize("threshold", [0.1, 0.6])
def test_the_cumulative_rule_equals_the_reference(threshold, options):
    engine, reference = make("gpt2", **options)
    compare(engine, reference, SearchSettings(threshold, "", rule="cumulative"))


@pytest.mark.parametrize("method", ["acdc", "path_patching"])
@pytest.mark.parametrize("length", [1, 3, 64])
def test_the_number_of_edges_at_once_does_not_change_decisions(method, length):
    engine, _ = make("gpt2", positions=True)
    settings = SearchSettings(0.1, "0.1", method=method)
    steps = acdc_steps if method == "acdc" else path_patching_steps
    expected, got = ([*steps(engine, settings, n)] for n in (None, length))
    assert [decision(step) for step in got] == [decision(step) for step in expected]


def decision(step):
    return (step.edge.id, step.kept) if isinstance(step, EdgeStep) else (step.receiver, step.live)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["acdc", "path_patching"])
def test_edges_at_the_threshold_are_decided_in_float64(method):
    engine, reference = make("gpt2", positions=True)
    slow = reference.acdc if method == "acdc" else reference.path_patching
    steps = list(slow(SearchSettings(0.2, "0.2", method=method)))
    change = min(abs(step.effect) for step in steps if step.kept)
    for threshold in (change * (1 + 1e-9), change * (1 - 1e-9)):
        settings = SearchSettings(threshold, str(threshold), method=method)
        assert any(getattr(step, "borderline", False) for step in search_steps(engine, settings))
        compare(engine, reference, settings)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["acdc", "path_patching"])
@pytest.mark.parametrize("options", [{}, {"positions": True}])
def test_replayed_searches_equal_fresh_ones(method, options):
    engine, _ = make("gpt2", **options)
    settings = [SearchSettings(value, "", method=method) for value in (0.05, 0.15, 0.5)]
    fresh = [list(search_steps(engine, each)) for each in settings]
    assert len({len(steps) for steps in fresh}) > 1
    for then in fresh:
        for now, expected in zip(settings, fresh, strict=True):
            for cut in (len(then), len(then) // 3):
                got = list(search_steps(engine, now, then[:cut]))
                assert [decision(step) for step in got] == [decision(step) for step in expected]


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma", "gemma3"])
def test_what_zero_ablation_empties_does_not_depend_on_chains(kind):
    """An RMS norm makes the rounding in an empty stream large; both precisions must agree."""
    engine, _ = make(kind, "zero")
    settings = SearchSettings(0.15, "0.15", ablation="zero")
    found = [[*acdc_steps(engine, settings, length)] for length in (1, 4, 64)]
    exact = [*acdc_steps(engine.in_float64, settings)]
    for steps in found:
        for step, other in zip(steps, exact, strict=True):
            assert decision(step) == decision(other)
            if isinstance(step, EdgeStep):
                assert step.after == pytest.approx(other.after, abs=5e-5)


def test_labels_that_share_a_token_are_named():
    task = labelled_task()
    task.positions["again"] = task.positions["MIDDLE"]
    with pytest.raises(ValueError, match="'MIDDLE' and 'again' share a token in prompt 0"):
        Engine(extract_weights(bridge_of(random_gpt2("2x4"))), task, positions=True)


def test_edges_at_positions_are_named_and_counted():
    graph = graph_of(2, 4, labels=("S one", "END", "rest"))
    plain = graph_of(2, 4)
    into_logits = len(plain.senders)
    assert graph.n_edges == 3 * (plain.n_edges - into_logits) + into_logits
    edge = Edge(INPUT, Receiver(Node("head", 1, 2), "k", "S one"))
    assert edge.id == "input->a1.h2<k>@S one"
    assert graph.parse_edge(edge.id) == edge
    assert len(set(graph.edge_ids)) == graph.n_edges
    assert all(graph.parse_edge(name).id == name for name in graph.edge_ids)
    with pytest.raises(ValueError, match=r"Did you mean 'input->a1\.h2<k>@S one'"):
        graph.parse_edge("input->a1.h2<k>@Sone")
    with pytest.raises(ValueError, match="unknown edge"):
        graph.parse_edge("input->a1.h2<k>")
    order = [receiver.id for receiver in search_receivers(graph)]
    assert order[:5] == ["logits@END", "m1@END", "m1@S one", "m1@rest", "a1.h3<v>@END"]
