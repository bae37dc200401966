"""The edge table: the same rows as `Circuit.edges`, and linked with what is selected."""

from __future__ import annotations

import json
import time

import numpy as np
import pandas as pd
import pytest
from conftest import labelled_task

import acdc_explorer as ax
from acdc_explorer.circuits.by_hand import changed_by_hand
from acdc_explorer.explorer.edge_names import search_texts
from acdc_explorer.explorer.table import edge_rows as rows_of
from acdc_explorer.explorer.table.edge_rows import edge_columns, edge_rows
from acdc_explorer.explorer.table.edge_table import EdgeTable
from acdc_explorer.explorer.table.table_html import summary_html
from acdc_explorer.explorer.widgets.data_table import Column

THRESHOLD = 0.05


@pytest.fixture(scope="module")
def circuit(model, task):
    return ax.find_circuit(model, task, THRESHOLD)


def columns_of(circuit, edges):
    return {column.name: column for column in edge_columns(circuit, edges)}


@pytest.mark.parametrize("state", ["kept", "removed", "untested", "all"])
@pytest.mark.parametrize("positions", [False, True])
def test_the_same_rows_as_the_circuits_table(model, state, positions):
    task = labelled_task()
    steps = list(ax.search(model, task, THRESHOLD, positions=positions))
    whole = ax.find_circuit(model, task, THRESHOLD, positions=positions)
    # Stopped half-way, so that some edges are untested.
    circuit = ax.Circuit(**{**vars_of(whole), "steps": steps[: len(steps) // 2], "complete": False})
    table = circuit.edges if state == "all" else circuit.edges[circuit.edges.state == state]
    rows = edge_rows(circuit, state)
    assert rows.n_of_state == rows.n_found == len(table) > 0
    found, expected = rows.edges.set_index("edge"), table.set_index("edge")
    assert sorted(found.index) == sorted(expected.index)
    sizes = found.effect.abs()
    assert sizes.dropna().is_monotonic_decreasing
    columns = columns_of(circuit, rows.edges)
    expected = expected.loc[found.index]
    assert ("position" in columns) is positions
    for name in ("state", "qkv", "position") if positions else ("state", "qkv"):
        values = [value or "" for value in columns[name].values]
        assert values == expected[name].fillna("").tolist()
    np.testing.assert_array_equal(columns["effect"].values, expected.effect)
    np.testing.assert_array_equal(columns["order"].values, expected.order.astype(float))
    share = expected.effect / abs(circuit.full_metric)
    np.testing.assert_allclose(columns["share"].values, share)
    labels = [circuit.graph.parse_edge(edge).label for edge in found.index]
    assert columns["label"].values == labels
    assert set(columns["connected"].values) == {None}


def vars_of(circuit):
    return {name: getattr(circuit, name) for name in circuit.__dataclass_fields__}


def test_which_ends_are_not_connected(circuit):
    edges = edge_rows(circuit, "all").edges
    told = columns_of(circuit, edges)["connected"].values
    for edge, is_connected, state, text in zip(
        edges.edge, edges.connected, edges.state, told, strict=True
    ):
        assert (text == "yes") is is_connected, edge
        assert (text is None) is (state != "kept")
    # Without what the last layer's heads read, they lead from nothing.
    kept = [edge for edge in circuit.kept if "->a1" in edge]
    cut = ax.Circuit(**{**vars_of(circuit), "by_hand": changes(circuit, kept)})
    edges = edge_rows(cut, "kept").edges
    told = dict(zip(edges.edge, columns_of(cut, edges)["connected"].values, strict=True))
    heads = [edge for edge in cut.kept if edge.startswith("a1.h")]
    assert heads
    assert {told[edge] for edge in heads} == {"leads from nothing"}


def changes(circuit, removed):
    return changed_by_hand(circuit, remove=removed)


def test_marks(model, task):
    circuit = ax.find_circuit(model, task, 0.3, screen=0.5)
    by_hand = circuit.kept[0]
    circuit = ax.edit(model, task, circuit, remove=[by_hand])
    edges = edge_rows(circuit, "all").edges
    marks = dict(zip(edges.edge, columns_of(circuit, edges)["marks"].values, strict=True))
    table = circuit.edges.set_index("edge")
    names = {"borderline": "borderline", "screened": "screened", "by_hand": "by hand"}
    assert table.screened.any()
    for edge, told in marks.items():
        assert told == [mark for name, mark in names.items() if table.loc[edge, name]]
    assert "by hand" in marks[by_hand]
    assert by_hand in edge_rows(circuit, "removed").edges.edge.tolist()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a1.h2", {"a1.h2->a2.h10<q>"}),
        ("1.2", {"a1.h2->a2.h10<q>"}),
        ("2.1", {"a2.h1->logits"}),
        ("2.10", {"a1.h2->a2.h10<q>"}),
        ("L2H1", {"a2.h1->logits"}),
        ("mlp 3", {"m3->logits"}),
        ("m3->", {"m3->logits"}),
        ("logits", {"a2.h1->logits", "m3->logits", "a12.h1->logits"}),
        ("logits 2.1", {"a2.h1->logits"}),
        ("->logits a12", {"a12.h1->logits"}),
        ("h1", set()),
        ("(", set()),
        ("<q>", {"a1.h2->a2.h10<q>"}),
    ],
)
def test_what_is_typed_is_found_by_ids_and_labels(text, found):
    ids = ["a1.h2->a2.h10<q>", "a2.h1->logits", "m3->logits", "a12.h1->logits"]
    ends = [edge.split("<")[0].split("->") for edge in ids]
    edges = pd.DataFrame(
        {
            "edge": ids,
            "sender": [sender for sender, _ in ends],
            "receiver": [receiver for _, receiver in ends],
            "qkv": ["q", None, None, None],
        }
    )
    patterns = [rows_of._pattern(word) for word in text.split()]
    told = zip(ids, search_texts(edges), strict=True)
    assert {edge for edge, line in told if all(each.search(line) for each in patterns)} == found


def test_too_many_rows_for_the_page(circuit, monkeypatch):
    monkeypatch.setattr(rows_of, "MOST_ROWS", 5)
    rows = edge_rows(circuit, "all")
    sizes = circuit.edges.effect.abs().sort_values(ascending=False)
    assert rows.edges.effect.abs().tolist() == sizes[:5].tolist()
    assert (rows.n_of_state, rows.n_found) == (circuit.graph.n_edges,) * 2
    assert "5 of 110 edges that have the largest effect" in summary_html(circuit, rows, "all")
    into = edge_rows(circuit, "all", "->logits")
    assert into.n_found == 11
    assert all(edge.endswith("->logits") for edge in into.edges.edge)
    assert "11 of 110 edges match what you typed; here are the 5" in summary_html(
        circuit, into, "all"
    )
    two = edge_rows(circuit, "all", "a1.h2->logits")
    assert "1 of 110 edges match what you typed." in summary_html(circuit, two, "all")


def test_in_words(circuit):
    rows = edge_rows(circuit, "kept")
    n_kept = len(circuit.kept)
    assert f"<b>{n_kept}</b> kept, {110 - n_kept} removed of the model's 110 edges" in summary_html(
        circuit, rows, "kept"
    )


def test_a_metric_that_is_zero_has_no_shares(model):
    task = labelled_task(metric="kl_divergence")
    circuit = ax.find_circuit(model, task, 0.01)
    edges = edge_rows(circuit, "kept").edges
    assert len(edges)
    assert "share" not in columns_of(circuit, edges)


def test_columns_are_values_that_json_knows():
    column = Column("x", "x", "x", np.array([1.5, np.nan, -2.0]), "number")
    assert json.loads(json.dumps(column.as_dict(), allow_nan=False))["values"] == [1.5, None, -2.0]


@pytest.fixture
def explorer(model, task):
    explorer = ax.Explorer(model, task, THRESHOLD)
    explorer.wait(30)
    yield explorer
    explorer.close()


def until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def open_table(explorer) -> EdgeTable:
    (part,) = (each for each in explorer._page._parts if isinstance(each, EdgeTable))
    explorer._page.tabs.selected_index = explorer._page.tabs.titles.index("Edges")
    return part


def test_nothing_is_sent_before_the_tab_is_opened(explorer):
    (part,) = (each for each in explorer._page._parts if isinstance(each, EdgeTable))
    assert part.table.table == {}
    open_table(explorer)
    assert part.table.table["keys"] == edge_rows(explorer.circuit, "kept").edges.edge.tolist()


def test_it_is_linked_with_the_selection_both_ways(explorer):
    part = open_table(explorer)
    first, second = part.table.table["keys"][:2]
    part.table._handle_custom_msg({"chosen": first}, [])
    assert explorer.selected_edge == first
    assert part.table.current == first
    explorer.selected_edge = second
    assert part.table.current == second
    explorer.selected_node = "a1.h0"
    assert part.table.current is None
    explorer._page.tabs.selected_index = 0
    explorer.selected_edge = first
    assert part.table.current is None
    open_table(explorer)
    assert part.table.current == first


def test_other_states_and_thresholds(explorer):
    part = open_table(explorer)
    part.states.value = "removed"
    removed = part.table.table["keys"]
    assert sorted(removed) == sorted(explorer.circuit.removed)
    explorer.threshold = 10 * THRESHOLD
    explorer.wait(30)
    assert sorted(part.table.table["keys"]) == sorted(explorer.circuit.removed) != sorted(removed)
    part.states.value = "untested"
    assert part.table.table["keys"] == []
    assert "been through all edges" in part.table.table["empty"]


def test_typing_asks_for_more_where_not_all_are_there(explorer, monkeypatch):
    monkeypatch.setattr(rows_of, "MOST_ROWS", 5)
    part = open_table(explorer)
    part.states.value = "all"
    assert part.table.table["incomplete"]
    part.table._handle_custom_msg({"text": "a1.h2->logits"}, [])
    assert part.table.table["keys"] == ["a1.h2->logits"]
    assert part.table.table["incomplete"], "other texts may find others"
    part.table._handle_custom_msg({"text": ""}, [])
    assert len(part.table.table["keys"]) == 5


def test_edges_are_removed_and_restored(explorer):
    part = open_table(explorer)
    first, second = part.table.table["keys"][:2]
    before = explorer.circuit
    part.table._handle_custom_msg({"action": "remove", "keys": [first, second]}, [])
    until(lambda: first not in part.table.table["keys"])
    assert second not in part.table.table["keys"]
    part.states.value = "removed"
    rows = part.table.table
    marks = next(column["values"] for column in rows["columns"] if column["name"] == "marks")
    by_hand = [key for key, mark in zip(rows["keys"], marks, strict=True) if "by hand" in mark]
    assert {*by_hand} == {first, second}
    part.table._handle_custom_msg({"action": "restore", "keys": [second]}, [])
    until(lambda: second not in part.table.table["keys"])
    assert {*explorer.circuit.kept} == {*before.kept} - {first}
    # What is not in the circuit cannot be removed, as when somebody else was quicker.
    part.table._handle_custom_msg({"action": "remove", "keys": [first]}, [])
    assert "is not in the circuit" in part.summary.value
