"""Edges switched off and on by hand: what is in the circuit then, and what it is worth."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from conftest import labelled_task, random_task

import acdc_explorer as ax
from acdc_explorer.testing.reference import Reference


@pytest.fixture(scope="module")
def circuit(model, task):
    return ax.find_circuit(model, task, 0.1)


def changes_of(circuit):
    return [(change.edge.id, change.kept) for change in circuit.by_hand]


def test_a_removed_edge_is_out_and_the_metric_is_that_of_the_slow_reference(model, task, circuit):
    edge = circuit.kept[0]
    edited = ax.edit(model, task, circuit, remove=[edge])
    assert changes_of(edited) == [(edge, False)]
    assert edited.kept == circuit.kept[1:]
    assert {*edited.removed} == {*circuit.removed, edge}
    slow = Reference(model.bridge, task).evaluate(edited.removed_mask).mean().item()
    assert edited.metric_value == pytest.approx(slow, abs=1e-4)
    assert edited.metric_value == pytest.approx(ax.evaluate(model, task, removed=edited.removed))
    assert edited.searched() == circuit
    assert circuit.by_hand == ()


def test_a_restored_edge_is_in_with_the_effect_that_its_test_found(model, task, circuit):
    removed = circuit.edges[(circuit.edges.state == "removed") & circuit.edges.order.notna()]
    edge, effect = removed.edge.iloc[0], removed.effect.iloc[0]
    edited = ax.edit(model, task, circuit, restore=[edge])
    assert changes_of(edited) == [(edge, True)]
    assert {*edited.kept} == {*circuit.kept, edge}
    assert edited.metric_value == pytest.approx(ax.evaluate(model, task, removed=edited.removed))
    row = edited.edges.set_index("edge").loc[edge]
    assert (row.state, row.by_hand, row.effect) == ("kept", True, effect)
    assert edited.edges.by_hand.sum() == 1
    assert edited.to_networkx().number_of_edges() == len(edited.kept)


def test_an_edge_removed_untested_is_restored_last(model, task):
    circuit = ax.find_circuit(model, task, 0.5)
    untested = circuit.edges[(circuit.edges.state == "removed") & circuit.edges.order.isna()]
    edge = untested.edge.iloc[0]
    edited = ax.edit(model, task, circuit, restore=[edge])
    assert edited.kept == [*circuit.kept, edge]
    assert edited.edges.set_index("edge").effect[edge] == 0


def test_a_node_is_all_its_edges_and_comes_back_with_those_that_the_search_kept(
    model, task, circuit
):
    node = circuit.edges[circuit.edges.state == "kept"].sender.value_counts().index[0]
    own = [edge for edge in circuit.kept
           if node in (edge.split("->")[0], edge.split("->")[1].split("<")[0])]  # fmt: skip
    edited = ax.edit(model, task, circuit, remove=[node])
    assert {*edited.kept} == {*circuit.kept} - {*own}
    # The name of a page.
    back = ax.edit(model, task, edited, restore=[node.upper().replace("A", "L").replace(".", "")])
    assert back == circuit


def test_changes_add_up_and_what_is_undone_is_none(model, task, circuit):
    first, second, *_ = circuit.kept
    edited = ax.edit(model, task, circuit, remove=[first])
    edited = ax.edit(model, task, edited, remove=[second], restore=[circuit.removed[0]])
    assert changes_of(edited) == [(first, False), *sorted_by_row(
        circuit, [(second, False), (circuit.removed[0], True)])]  # fmt: skip
    back = ax.edit(model, task, edited, remove=[circuit.removed[0]], restore=[first, second])
    assert back == circuit
    assert back.metric_value == circuit.metric_value


def sorted_by_row(circuit, changes):
    ids = list(circuit.edges.edge)
    return sorted(changes, key=lambda change: ids.index(change[0]))


def test_what_cannot_be_changed_is_refused_by_name(model, task, circuit):
    kept, removed = circuit.kept[0], circuit.removed[0]
    for asked, said in [
        ({"remove": [removed]}, f"'{removed}' is not in the circuit"),
        ({"restore": [kept]}, f"'{kept}' has nothing to be restored"),
        ({"remove": ["a7.h0"]}, "a7.h0"),
        ({"remove": ["a0.h0->nowhere"]}, "nowhere"),
        ({"remove": kept}, r"come as a list, as \["),
        ({"restore": ["logits"]}, "'logits' has nothing to be restored"),
    ]:
        with pytest.raises(ValueError, match=said):
            ax.edit(model, task, circuit, **asked)
    with pytest.raises(ValueError, match="other prompts"):
        ax.edit(model, random_task(seed=7), circuit, remove=[kept])


def test_the_file_keeps_them(model, task, circuit, tmp_path):
    edited = ax.edit(model, task, circuit, remove=circuit.kept[:2], restore=[circuit.removed[3]])
    edited.save(tmp_path / "circuit.json")
    again = ax.Circuit.load(tmp_path / "circuit.json")
    assert again == edited
    assert again.searched() == circuit
    data = json.loads(edited.to_json())
    for changes, said in [
        ([["a0.h0->nowhere", True]], r"by_hand.changes\[0\]"),
        ([[circuit.kept[0], 1]], r"changes\[0\].kept must be true or false"),
        ([[circuit.kept[0]]], r"must be \[edge, kept\]"),
        ([[circuit.kept[0], False]] * 2, "each edge once"),
    ]:
        data["by_hand"]["changes"] = changes
        with pytest.raises(ValueError, match=said):
            ax.Circuit.from_dict(data)


def test_older_files_have_none(circuit):
    data = json.loads(circuit.to_json())
    del data["by_hand"]
    for version in (1, 2):
        assert ax.Circuit.from_dict(data | {"version": version}) == circuit


def test_an_unfinished_search_can_be_changed_too(model, task, circuit):
    """Edges that it has not come to are in the model as it runs."""
    searching = ax.search(model, task, 0.1)
    steps = [next(searching) for _ in range(12)]
    begun = ax.Circuit(**{**vars_of(circuit), "steps": steps, "complete": False})
    untested = begun.edges[begun.edges.state == "untested"].edge.iloc[0]
    edited = ax.edit(model, task, begun, remove=[untested])
    assert untested in edited.removed
    assert untested not in edited.kept
    assert ax.edit(model, task, edited, restore=[untested]) == begun


def vars_of(circuit):
    return {name: getattr(circuit, name) for name in circuit.__dataclass_fields__}


def test_positions_and_the_summary(model):
    task = labelled_task()
    circuit = ax.find_circuit(model, task, 0.05, positions=True)
    edited = ax.edit(model, task, circuit, remove=[circuit.kept[0]], restore=[circuit.removed[0]])
    assert edited.metric_value == pytest.approx(
        ax.evaluate(model, task, removed=edited.removed, positions=True)
    )
    assert "(1 removed and 1 restored by hand)" in edited.summary()
    assert "by hand" not in circuit.summary()


def test_verifying_keeps_them(model, task):
    screened = ax.find_circuit(model, task, 0.1, screen=0.5)
    assert screened.n_screened
    edge = screened.kept[0]
    edited = ax.edit(model, task, screened, remove=[edge])
    verified = ax.verify(model, task, edited)
    assert verified.n_screened == 0
    assert changes_of(verified) == [(edge, False)]
    exact = ax.find_circuit(model, task, 0.1)
    assert verified.kept == [each for each in exact.kept if each != edge]
    assert not math.isnan(verified.metric_value)
    np.testing.assert_allclose(
        verified.metric_value, ax.evaluate(model, task, removed=verified.removed), rtol=1e-5
    )
