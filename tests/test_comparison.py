"""Comparing two circuits."""

from __future__ import annotations

import json
import math

import pytest
from conftest import bridge_of, labelled_task, random_gpt2, random_task

import acdc_explorer as ax
from acdc_explorer.models import Model


@pytest.fixture(scope="module")
def model():
    return Model(bridge_of(random_gpt2("2x4")), "random 2x4")


def test_edges_of_both_and_of_one_alone(model):
    task = random_task()
    first, second = (ax.find_circuit(model, task, threshold) for threshold in (0.05, 0.2))
    compared = ax.compare(first, second)
    both, either = {*first.kept} & {*second.kept}, {*first.kept} | {*second.kept}
    assert both
    assert len(both) < len(first.kept)
    rows = compared.edges.set_index("edge")
    assert {*rows.index} == either
    assert {*rows.index[rows["where"] == "both"]} == both
    assert {*rows.index[rows["where"] == "first"]} == {*first.kept} - both
    assert {*rows.index[rows["where"] == "second"]} == {*second.kept} - both
    assert compared.jaccard == pytest.approx(len(both) / len(either))
    for circuit, column in ((first, "effect_first"), (second, "effect_second")):
        effects = circuit.edges.set_index("edge").effect
        assert rows[column].equals(effects[rows.index].rename(column))
    assert compared.faithfulness == (first.faithfulness, second.faithfulness)
    assert f"{len(both)} edges in both" in str(compared)
    assert "acdc at 0.05" in str(compared)


def test_with_itself_with_lists_and_with_nothing(model):
    circuit = ax.find_circuit(model, random_task(), 0.05)
    assert ax.compare(circuit, circuit).jaccard == 1
    one = ax.compare(circuit, circuit.kept[:1])
    assert (one.n("both"), one.n("first"), one.n("second")) == (1, len(circuit.kept) - 1, 0)
    assert one.edges.effect_second.isna().all()
    assert math.isnan(one.faithfulness[1])
    assert "faithfulness" not in str(one).splitlines()[1]
    empty = ax.find_circuit(model, random_task(), 1e6)
    assert ax.compare(empty, []).jaccard == 1


def test_components_by_hand(model):
    circuit = ax.find_circuit(model, random_task(), 0.05)
    one = ax.edit(model, random_task(), circuit, remove=circuit.kept)
    one = ax.edit(model, random_task(), one, restore=["m0->logits", "input->m0"])
    compared = ax.compare(one, ["m0->logits", "input->a1.h2<k>"])
    rows = compared.components.set_index("component").to_dict("index")
    assert list(compared.components.component) == ["input", "m0", "a1.h2", "logits"]
    assert rows == {
        "input": {"both": 0, "first": 1, "second": 1},
        "m0": {"both": 1, "first": 1, "second": 0},
        "a1.h2": {"both": 0, "first": 0, "second": 1},
        "logits": {"both": 1, "first": 0, "second": 0},
    }
    assert "by hand" in compared.first
    assert ax.compare(one, one).components.second.sum() == 0


def test_pinned_and_saved_circuits_compare_as_the_circuits_do(model, tmp_path):
    first, second = (ax.find_circuit(model, random_task(), each) for each in (0.05, 0.2))
    expected = ax.compare(first, second)
    second.save(tmp_path / "second.json")
    of_file = ax.compare(first, tmp_path / "second.json")
    assert of_file.edges.equals(expected.edges)
    assert str(of_file) == str(expected) == str(ax.compare(first, str(tmp_path / "second.json")))
    values = json.loads(json.dumps(ax.PinnedCircuit.of(second).to_dict()))
    pinned = ax.PinnedCircuit.from_dict(values)
    assert pinned == ax.PinnedCircuit.of(second)
    compared = ax.compare(first, pinned)
    assert str(compared) == str(expected)
    kept_by_second = expected.edges["where"] != "first"
    assert compared.edges[kept_by_second].equals(expected.edges[kept_by_second])
    assert compared.edges[~kept_by_second].effect_second.isna().all()
    unscored = ax.PinnedCircuit("one", first.graph, {"input->m0": 0.5})
    again = ax.PinnedCircuit.from_dict(unscored.to_dict())
    assert math.isnan(again.faithfulness)
    assert "1 edge)" in repr(again)
    with pytest.raises(FileNotFoundError):
        ax.compare(first, "there is none.json")


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("effects", {"a9.h9->logits": 1.0}, "effects: .*a9.h9"),
        ("effects", {"input->m0": "much"}, "effects.input->m0 must be a finite number"),
        ("name", 3, "name must be"),
        ("faithfulness", "high", "faithfulness must be a finite number"),
    ],
)
def test_what_is_wrong_with_a_pinned_circuit_is_named(model, field, value, told):
    values = ax.PinnedCircuit.of(ax.find_circuit(model, random_task(), 0.2)).to_dict()
    with pytest.raises(ValueError, match=told):
        ax.PinnedCircuit.from_dict({**values, field: value})


def test_a_published_circuit_needs_a_model_of_its_shape(model):
    circuit = ax.find_circuit(model, random_task(), 0.05)
    with pytest.raises(ValueError, match=r"a\d+\.h\d+"):
        ax.compare(circuit, ax.published_circuit("ioi"))
    with pytest.raises(ValueError, match="nowhere"):
        ax.compare(circuit, ["nowhere->logits"])


def test_other_edges_are_refused_by_shape(model):
    whole = ax.find_circuit(model, labelled_task(), 0.1)
    by_position = ax.find_circuit(model, labelled_task(), 0.1, positions=True)
    with pytest.raises(ValueError, match=r"2 layers x 4 heads, the second of .* by position"):
        ax.compare(whole, by_position)
    one_input = ax.find_circuit(model, labelled_task(), 0.1, split_qkv=False)
    with pytest.raises(ValueError, match="heads with one input"):
        ax.compare(whole, one_input)
