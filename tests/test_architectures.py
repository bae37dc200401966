"""Every kind of model that the engine takes, against transformers and the slow reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import (
    KINDS,
    assert_logits_equal_transformers,
    attention_only,
    bridge_of,
    random_model,
    random_task,
    ungrouped,
)

from acdc_explorer.circuit import Circuit
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.patched import evaluate_removed
from acdc_explorer.engine.reference import Reference
from acdc_explorer.engine.removed import RemovedEdges
from acdc_explorer.engine.weights import UnsupportedModelError, extract_weights
from acdc_explorer.searches.acdc import acdc_steps
from acdc_explorer.searches.steps import EdgeStep, SearchSettings

ALL = [*KINDS, "attention-only"]
# transformers computes RMS norms and softmaxes in float32 whatever the model's precision.
TOLERANCE = 5e-5


def bridges(kind):
    """A bridge for the engine, and one in float64 for the reference."""
    if kind == "attention-only":
        return attention_only(), attention_only(torch.float64)
    hf_model = random_model(kind)
    return bridge_of(hf_model), bridge_of(ungrouped(hf_model), torch.float64)


def make(kind, ablation="corrupted"):
    bridge, exact = bridges(kind)
    # Prompts longer than the sliding windows, and differing early enough to fall out of them.
    task = random_task(length=11)
    return Engine(extract_weights(bridge), task, ablation), Reference(exact, task, ablation)


@pytest.mark.parametrize("kind", list(KINDS))
def test_logits_equal_transformers(kind):
    assert_logits_equal_transformers(random_model(kind))


@pytest.mark.parametrize("kind", ["gpt_neo", "mistral"])
def test_windows_are_seen(kind):
    weights = extract_weights(bridge_of(random_model(kind)))
    assert weights.blocks[-1].window == 4
    # GPT-Neo alternates; Mistral slides in every block.
    assert weights.blocks[0].window == (None if kind == "gpt_neo" else 4)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("ablation", ["corrupted", "zero", "mean"])
def test_random_removed_sets_equal_the_reference(kind, ablation):
    engine, reference = make(kind, ablation)
    assert engine.graph == reference.graph
    rng = np.random.default_rng(0)
    edges = engine.graph.edge_mask
    masks = [edges & (rng.random(edges.shape) < share) for share in (0, 0.02, 0.3, 0.8, 1)]
    expected = torch.stack([reference.evaluate(mask) for mask in masks])
    assert (expected.mean(1) - expected[0].mean()).abs().max() > 0.01
    circuits = [RemovedEdges(mask) for mask in masks]
    exact = evaluate_removed(engine.doubled, circuits)
    torch.testing.assert_close(exact, expected.double(), rtol=0, atol=TOLERANCE)
    if ablation != "zero":
        # A stream of which all is taken away is rounding alone, and an RMS norm blows that up.
        single = evaluate_removed(engine, circuits).double()
        torch.testing.assert_close(single, exact, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("threshold", [0.03, 0.2])
def test_every_decision_equals_the_reference(kind, threshold):
    engine, reference = make(kind)
    settings = SearchSettings(threshold, str(threshold))
    got = [s for s in acdc_steps(engine, settings) if isinstance(s, EdgeStep)]
    expected = list(reference.acdc(settings))
    assert any(step.kept for step in expected)
    assert not all(step.kept for step in expected)
    assert [step.edge.id for step in got] == [step.edge.id for step in expected]
    assert [step.kept for step in got] == [step.kept for step in expected]
    for mine, exact in zip(got, expected, strict=True):
        assert mine.after == pytest.approx(exact.after, abs=TOLERANCE)


def test_the_heads_of_a_parallel_block_do_not_feed_its_mlp():
    graph = extract_weights(bridge_of(random_model("gpt_neox"))).graph
    with pytest.raises(ValueError, match="L1H0 does not come before MLP 1"):
        graph.parse_edge("a1.h0->m1")
    assert graph.parse_edge("a0.h0->m1").id == "a0.h0->m1"


def test_an_attention_only_model_has_no_mlps(tmp_path):
    engine, _ = make("attention-only")
    assert not any(node.kind == "mlp" for node in engine.graph.nodes)
    settings = SearchSettings(0.1, "0.1")
    circuit = Circuit.of_search("toy", engine, settings, acdc_steps(engine, settings))
    circuit.save(tmp_path / "toy.json")
    assert Circuit.load(tmp_path / "toy.json").graph == engine.graph


def test_query_heads_of_one_group_have_keys_of_their_own():
    """Removing an edge into one query head's keys must not change its neighbour's."""
    engine, _ = make("llama")
    assert engine.graph.parse_edge("input->a1.h1<k>")
    first, second = (
        evaluate_removed(engine, [RemovedEdges(engine.graph.mask_of([edge]))])[0]
        for edge in ("input->a1.h0<k>", "input->a1.h1<k>")
    )
    assert (first - second).abs().max() > 1e-3


def test_the_reference_says_that_it_needs_ungrouped_heads():
    with pytest.raises(ValueError, match="as many key-value heads as query heads \\(4\\)"):
        Reference(bridge_of(random_model("llama")), random_task())


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("Gemma2", {"head_dim": 8}, "norms after as well as before.*cap on attention scores"),
        ("Mixtral", {"num_local_experts": 2}, "experts"),
        ("Bloom", {"n_layer": 2, "n_head": 4}, "alibi positions"),
        ("GPTJ", {"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4}, "interleaved rotary"),
    ],
)
def test_what_cannot_be_reproduced_is_refused_with_the_reason(monkeypatch, name, options, reason):
    monkeypatch.setitem(KINDS, "refused", (name, options))
    with pytest.raises(UnsupportedModelError, match=reason):
        extract_weights(bridge_of(random_model("refused")))


def test_a_saved_folder_of_another_kind_loads_and_is_searched(tmp_path):
    import acdc_explorer as ax

    random_model("qwen3").save_pretrained(tmp_path)
    model = ax.load_model(tmp_path, device="cpu")
    circuit = ax.find_circuit(model, random_task(), threshold=0.2)
    assert circuit.kept
    assert circuit.complete
    removed = circuit.edges.query("state == 'removed'").edge
    assert ax.evaluate(model, random_task(), removed) == pytest.approx(
        circuit.metric_value, abs=1e-4
    )
