"""One edge, one node: every number against the slow reference or full evaluations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import bridge_of, random_gpt2, random_task

import acdc_explorer as ax
from acdc_explorer.graph import Edge
from acdc_explorer.models import Model
from acdc_explorer.testing.reference import Reference


@pytest.fixture(scope="module")
def hf():
    return random_gpt2("2x4")


@pytest.fixture(scope="module")
def model(hf):
    return Model(bridge_of(hf), "random 2x4")


@pytest.fixture(scope="module")
def task():
    return random_task()


@pytest.fixture(scope="module")
def circuit(model, task):
    return ax.find_circuit(model, task, 0.05)


def some_edges(circuit):
    removed = circuit.edges.query("state == 'removed'")
    return [*circuit.kept[::5], removed.edge.iloc[0], removed.edge.iloc[-1]]


def test_effects_equal_the_reference(hf, model, task, circuit):
    reference = Reference(bridge_of(hf, torch.float64), task)
    for edge_id in some_edges(circuit):
        found = ax.inspect_edge(model, task, circuit, edge_id)
        cell = circuit.graph.cell(found.edge)
        with_edge, without = circuit.removed_mask.copy(), circuit.removed_mask.copy()
        with_edge[cell], without[cell] = False, True
        by_prompt = reference.evaluate(with_edge) - reference.evaluate(without)
        np.testing.assert_allclose(found.by_prompt, by_prompt, atol=2e-5)
        assert found.effect == pytest.approx(by_prompt.mean().item(), abs=1e-5)
        alone = circuit.graph.mask_of([edge_id])
        none = circuit.graph.mask_of([])
        expected = (reference.evaluate(none) - reference.evaluate(alone)).mean().item()
        assert found.effect_alone == pytest.approx(expected, abs=1e-5)


def test_state_and_decision_are_the_searchs(model, task, circuit):
    table = circuit.edges.set_index("edge")
    for edge_id in some_edges(circuit):
        found = ax.inspect_edge(model, task, circuit, edge_id)
        assert found.state == table.loc[edge_id, "state"]
        if table.loc[edge_id, "order"] is not None and not np.isnan(table.loc[edge_id, "before"]):
            assert found.effect_when_decided == table.loc[edge_id, "effect"]


def test_positions_are_labels_and_rest_and_meet_in_the_whole(model, circuit):
    """With a label on every token and one prompt, an edge into the logits acts at END alone."""
    task = random_task()
    found = ax.inspect_edge(model, task, circuit, circuit.kept[0])
    assert list(found.by_position.index) == ["MIDDLE", "END", "rest"]
    assert found.edge.receiver.id == "logits"
    assert found.by_position["END"] == pytest.approx(found.effect, abs=1e-6)
    assert found.by_position["MIDDLE"] == pytest.approx(0, abs=1e-6)
    assert found.by_position["rest"] == pytest.approx(0, abs=1e-6)


def test_attention_rows_sum_to_one_and_match_the_bridge(hf, model, task, circuit):
    found = ax.inspect_node(model, task, circuit, "a1.h2")
    table = found.attention
    assert list(table.index) == ["MIDDLE", "END"]
    assert list(table.columns) == ["MIDDLE", "END", "other"]
    np.testing.assert_allclose(table.sum(1), 1, atol=1e-5)
    bridge = bridge_of(hf)
    _, cache = bridge.run_with_cache(task.clean_tokens, prepend_bos=False)
    pattern = cache["blocks.1.attn.hook_pattern"][:, 2]
    rows = torch.arange(task.n_prompts)
    expected = pattern[rows, task.end, task.positions["MIDDLE"]].mean().item()
    assert table.loc["END", "MIDDLE"] == pytest.approx(expected, abs=1e-5)


def test_attention_is_given_for_heads_only(model, task, circuit):
    into_logits = ax.inspect_edge(model, task, circuit, "m0->logits")
    assert into_logits.attention == {}
    both = ax.inspect_edge(model, task, circuit, "a0.h0->a1.h1<k>")
    assert set(both.attention) == {"sender", "receiver"}
    assert ax.inspect_node(model, task, circuit, "m0").attention is None


def test_node_flows_are_the_kept_edges_ranked(model, task, circuit):
    kept = circuit.edges.query("state == 'kept'")
    for node in ("a1.h2", "m0", "input", "logits"):
        found = ax.inspect_node(model, task, circuit, node)
        assert set(found.incoming.edge) == set(kept[kept.receiver == node].edge)
        assert set(found.outgoing.edge) == set(kept[kept.sender == node].edge)
        for flows in (found.incoming, found.outgoing):
            sizes = flows.effect.abs().tolist()
            assert sizes == sorted(sizes, reverse=True)


def test_wrong_names_and_shapes_are_refused(model, task, circuit):
    with pytest.raises(ValueError, match="unknown edge"):
        ax.inspect_edge(model, task, circuit, "a0.h0->nowhere")
    with pytest.raises(ValueError, match="unknown node"):
        ax.inspect_node(model, task, circuit, "a9.h9")
    other = Model(bridge_of(random_gpt2("3x2")), "other")
    with pytest.raises(ValueError, match="2 layers x 4 heads; this one has 3 layers x 2 heads"):
        ax.inspect_edge(other, task, circuit, circuit.kept[-1])


def test_edges_can_be_given_as_objects(model, task, circuit):
    edge = circuit.decisions[0].edge
    assert isinstance(edge, Edge)
    assert ax.inspect_edge(model, task, circuit, edge).edge == edge
