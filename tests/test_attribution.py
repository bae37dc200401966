"""Attribution: scores against finite differences, integrals against what they must add up to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import (
    attention_only,
    bridge_of,
    labelled_task,
    random_gpt2,
    random_model,
    random_task,
)
from derivatives import assert_derivatives

import acdc_explorer as ax
from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.circuits.steps import EdgeStep
from acdc_explorer.engine.engine import Engine
from acdc_explorer.graph import LOGITS
from acdc_explorer.models import Model
from acdc_explorer.models.bridge import extract_weights
from acdc_explorer.models.forward import run_blocks, run_of_blocks
from acdc_explorer.searches.acdc import acdc_steps
from acdc_explorer.searches.attribution import edge_scores, preview_attribution, preview_scores
from acdc_explorer.testing.reference import Reference

KINDS = [
    "gpt2", "gpt_neo", "llama", "qwen3", "gemma", "gpt_neox", "attention-only", "gemma2", "gemma3",
    "olmo2",
]  # fmt: skip


def make(kind="gpt2", task=None, **options):
    if kind == "attention-only":
        bridge = attention_only()
    else:
        bridge = bridge_of(random_gpt2("2x4") if kind == "gpt2" else random_model(kind))
    return Engine(extract_weights(bridge).double(), task or labelled_task(), **options)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_derivatives_on_every_architecture(kind):
    assert_derivatives(make(kind))


@pytest.mark.parametrize("ablation", ["zero", "mean"])
@pytest.mark.parametrize(
    "options", [{"positions": True}, {"split_qkv": False}, {"positions": True, "split_qkv": False}]
)
def test_scores_are_derivatives_of_every_kind_of_edge(ablation, options):
    assert_derivatives(make(ablation=ablation, **options))


@pytest.mark.parametrize("metric", ["prob_diff", "nll"])
def test_scores_are_derivatives_of_every_metric(metric):
    assert_derivatives(make(task=labelled_task(metric=metric)))


def test_labels_add_up_to_the_whole_edge():
    engine, positional = make(), make(positions=True)
    whole, at_labels = edge_scores(engine), edge_scores(positional)
    for row, receiver in enumerate(engine.graph.receivers):
        rows = [positional.graph.receiver_index[r] for r in positional.graph.receivers_at(receiver)]
        np.testing.assert_allclose(at_labels[rows].sum(0), whole[row], rtol=0, atol=1e-9)


def test_integrated_scores_of_the_input_add_up_to_the_whole_difference():
    """The integral of the gradient along a path is the difference at its ends."""
    engine = make()
    scores = edge_scores(engine, "eap_ig", steps=400)
    difference = engine.full_metric - engine.corrupted_metric
    assert scores[:, 0].sum() == pytest.approx(difference, abs=0.02 * abs(difference))
    assert edge_scores(engine)[:, 0].sum() != pytest.approx(difference, rel=0.1)


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox", "gemma2"])
def test_conductance_through_every_cut_adds_up_to_the_whole_difference(kind):
    """To a small embedding's change, so that few points do."""
    engine = make(kind)
    weights, runs = engine.weights, engine.slices[0]
    embedding = runs.clean.resid_pre[0].lerp(runs.ablated.resid_pre[0], 0.01)
    near = run_of_blocks(weights, run_blocks(weights, embedding))
    engine.slices = (runs.between(runs.clean, near),)
    difference = engine.full_metric - engine.corrupted_metric
    graph, scores = engine.graph, edge_scores(engine, "ceap", steps=20)
    for layer in range(graph.n_layers + 1):
        below = [node.kind == "input" or node.layer < layer for node in graph.senders]
        above = [at.node == LOGITS or at.node.layer >= layer for at in graph.receivers]
        through = scores[above][:, below].sum()
        assert through == pytest.approx(difference, rel=0.02), layer


def test_the_preview_is_of_some_prompts_and_sees_what_kl_divergence_does():
    """At the clean run, its minimum, the gradient of that metric is zero."""
    task = random_task(n_prompts=6, metric="kl_divergence")
    engine = make(task=task)
    scores = preview_scores(engine)
    assert np.abs(edge_scores(engine)).max() < 1e-9
    assert np.abs(scores).max() > 0.1
    few = make(task=task.take(range(4)))
    np.testing.assert_allclose(edge_scores(few, "eap_ig"), scores, rtol=0, atol=1e-9)
    assert preview_scores(engine) is scores


@pytest.mark.parametrize(
    ("large_from", "metric", "method"),
    [
        (10_000, "logit_diff", "eap_ig"),
        (10, "logit_diff", "relp"),
        # As above: by one gradient at the clean run nothing would show.
        (10, "kl_divergence", "eap_ig"),
    ],
)
def test_the_preview_of_a_large_graph_is_by_relp(monkeypatch, large_from, metric, method):
    monkeypatch.setattr("acdc_explorer.searches.attribution.LARGE_GRAPH", large_from)
    engine = make(task=random_task(n_prompts=6, metric=metric))
    attribution = preview_attribution(engine)
    assert attribution.method == method
    np.testing.assert_array_equal(preview_scores(engine), edge_scores(engine, method, n_prompts=4))


def test_batches_of_prompts_do_not_change_scores(monkeypatch):
    engine = make(positions=True)
    together = edge_scores(engine, "eap_ig")
    monkeypatch.setattr("acdc_explorer.engine.memory.ATTRIBUTION_FLOATS", 1)
    np.testing.assert_allclose(edge_scores(engine, "eap_ig"), together, rtol=0, atol=1e-12)


@pytest.fixture(scope="module")
def model():
    return Model(bridge_of(random_gpt2("2x4")), "random 2x4")


def test_the_table_ranks_every_edge(model):
    task = random_task()
    table = ax.attribute(model, task)
    assert sorted(table.edge) == sorted(model.graph.edge_ids)
    assert table.score.abs().is_monotonic_decreasing
    assert list(table.columns) == ["edge", "sender", "receiver", "qkv", "position", "score"]
    # To first order the effect of the edge alone.
    circuit = ax.find_circuit(model, task, 0.1)
    exact = [ax.inspect_edge(model, task, circuit, edge).effect_alone for edge in table.edge[::6]]
    assert np.corrcoef(exact, table.score[::6])[0, 1] > 0.5


@pytest.mark.parametrize("method", ["eap", "eap_ig"])
def test_a_circuit_of_all_edges_above_a_threshold(model, method):
    task = random_task()
    circuit = ax.find_circuit(model, task, 0.3, method=method)
    table = ax.attribute(model, task, method).set_index("edge").score
    expected = {edge for edge in table.index if abs(table[edge]) >= 0.3}
    assert circuit.kept
    assert set(circuit.kept) <= expected
    # What is missing leads nowhere.
    for edge in expected - set(circuit.kept):
        receiver = circuit.graph.parse_edge(edge).receiver.node.id
        assert not any(kept.startswith(f"{receiver}->") for kept in circuit.kept)
    for step in circuit.decisions:
        assert step.effect == pytest.approx(table[step.edge.id], abs=1e-6)
    removed = set(model.graph.edge_ids) - set(circuit.kept)
    assert circuit.metric_value == pytest.approx(ax.evaluate(model, task, removed), abs=1e-5)


def test_the_largest_n(model):
    task = random_task()
    circuit = ax.find_circuit(model, task, method="eap", top_n=12)
    assert 0 < len(circuit.kept) <= 12
    largest = set(ax.attribute(model, task).edge[:12])
    assert set(circuit.kept) <= largest
    with pytest.raises(
        ValueError, match="top_n is for methods eap, eap_ig, ceap, relp; got method 'acdc'"
    ):
        ax.find_circuit(model, task, top_n=12)
    with pytest.raises(ValueError, match="top_n must be a whole number between 1 and"):
        ax.find_circuit(model, task, method="eap", top_n=0)


def test_unknown_methods_are_named(model):
    with pytest.raises(ValueError, match=r"unknown attribution method 'eapig'\. Did you mean"):
        ax.attribute(model, random_task(), "eapig")
    with pytest.raises(ValueError, match="steps must be a whole number from 1 on"):
        ax.attribute(model, random_task(), "eap_ig", steps=0)


def test_public_names_are_not_hidden_by_modules(model):
    """A subpackage that is imported takes the place of a name like its own."""
    task = random_task()
    ax.find_circuit(model, task, 0.1)
    assert [step.kept for step in ax.search(model, task, 0.1)]
    for name in ax.__all__:
        assert not isinstance(getattr(ax, name), type(torch))


def test_the_least_important_edges_are_tested_first():
    engine, task = make(), labelled_task()
    scores = edge_scores(engine)
    settings = SearchSettings(0.1, "0.1", order="attribution")
    steps = [step for step in acdc_steps(engine, settings) if isinstance(step, EdgeStep)]
    for receiver in {step.edge.receiver for step in steps}:
        row = [
            abs(scores[engine.graph.cell(step.edge)])
            for step in steps
            if step.edge.receiver == receiver
        ]
        assert row == sorted(row)
    reference = Reference(bridge_of(random_gpt2("2x4"), torch.float64), task)
    expected = list(reference.acdc(settings, scores))
    assert [(s.edge, s.kept) for s in steps] == [(s.edge, s.kept) for s in expected]


def test_expected_effects_change_no_decision(monkeypatch):
    engine = make(task=random_task(n_prompts=20))
    settings = SearchSettings(0.05, "0.05")
    plain = list(acdc_steps(engine, settings))
    monkeypatch.setattr("acdc_explorer.searches.acdc._KEPT_BEFORE_EXPECTING", 0)
    steered = list(acdc_steps(engine, settings))
    assert [(s.edge, s.kept) if isinstance(s, EdgeStep) else s for s in steered] == [
        (s.edge, s.kept) if isinstance(s, EdgeStep) else s for s in plain
    ]
