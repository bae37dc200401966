"""Switching edges off and on in the explorer."""

from __future__ import annotations

import re
import threading
import time

import numpy as np
import pytest
from conftest import random_task, until

import acdc_explorer as ax
from acdc_explorer.explorer import circuit_widget
from acdc_explorer.explorer.selection import Selection


@pytest.fixture
def explorer(model, task):
    explorer = ax.Explorer(model, task, 0.1)
    explorer._runner.rest(True)
    explorer.wait(30)
    yield explorer
    explorer.close()


def drawn(explorer, name):
    (trace,) = (t for t in explorer._graph_view.figure.widget.data if t.name == name)
    return trace


def settles(explorer, n_changes):
    until(lambda: len(explorer.circuit.by_hand) == n_changes)
    until(lambda: explorer._state.circuit is explorer.circuit)


def test_an_edge_removed_on_the_page_is_out_of_the_circuit(explorer, model, task):
    searched, edge = explorer.circuit, explorer.circuit.kept[0]
    what_if = explorer._what_if
    assert what_if.toggle.disabled
    assert what_if.undo.disabled
    explorer.selected_edge = edge
    assert what_if.toggle.description == "Remove"
    what_if.toggle.click()
    settles(explorer, 1)
    expected = ax.edit(model, task, searched, remove=[edge])
    assert explorer.circuit == expected
    assert what_if.toggle.description == "Restore"
    # Marked in the graph, told in the status, in the panel's row and in the table.
    assert list(drawn(explorer, "hand-marks").marker.symbol) == ["x-thin-open"]
    assert np.isfinite(drawn(explorer, "removed-by-hand").x).any()
    assert "by hand: <b>1 removed</b>" in explorer._page.status.value
    assert f"{expected.metric_value:.3f}" in what_if.html.value
    assert f"{searched.faithfulness:.1%}" in what_if.html.value
    assert 'data-part="by-hand"' in explorer._graph_view.key.widget.value
    # What it says next on the first prompt.
    tokens = ax.top_tokens(model, task, expected, 0)
    said = tokens[(tokens.run == "circuit") & (tokens.role == "answer")].iloc[0]
    until(lambda: f"<b>{100 * said.probability:.2g}%</b>" in what_if.html.value)
    # All edges are drawn by what they do now.
    effects = ax.edge_effects(model, task, expected)
    until(lambda: explorer._graph_view.effects is not None)
    until(lambda: explorer._graph_view.effects == pytest.approx(dict(effects), abs=1e-4))
    # The panel's numbers are of the circuit as it is now.
    found = ax.inspect_edge(model, task, expected, edge)
    until(lambda: f'data-effect="{found.effect:.6f}"' in explorer._side_panel.panel.value)
    assert 'data-state="removed"' in explorer._side_panel.panel.value


def test_undo_redo_and_reset(explorer):
    searched = explorer.circuit
    first, second = searched.kept[:2]
    # Faster than the worker: the second knows of the first.
    explorer.edit(remove=[first])
    explorer.edit(remove=[second], restore=[searched.removed[0]])
    settles(explorer, 3)
    twice = explorer.circuit
    explorer.undo()
    settles(explorer, 1)
    assert [change.edge.id for change in explorer.circuit.by_hand] == [first]
    explorer.redo()
    settles(explorer, 3)
    assert explorer.circuit == twice
    explorer._what_if.reset.click()
    settles(explorer, 0)
    assert explorer.circuit == searched
    assert explorer._what_if.html.value == ""
    until(lambda: explorer._graph_view.effects is None)
    explorer.undo()
    settles(explorer, 3)
    explorer.undo()
    explorer.undo()
    settles(explorer, 0)
    # There is nothing before that.
    explorer.undo()
    assert not explorer._state.edits.can_undo


def test_the_lines_do_the_same_in_a_script(explorer, model, task):
    searched = explorer.circuit
    first, second = searched.kept[:2]
    explorer.edit(remove=[first])
    settles(explorer, 1)
    explorer.edit(remove=[second], restore=[searched.removed[0]])
    settles(explorer, 3)
    explorer.undo()
    settles(explorer, 1)
    explorer.redo()
    settles(explorer, 3)
    lines = explorer._state.script.lines
    assert lines[:3] == [
        "import acdc_explorer as ax",
        "model = ...  # the one that was given to the explorer",
        "task = ...  # 'random', the one that was given to the explorer",
    ]
    names = {"ax": ax, "model": model, "task": task}
    assert len(lines) == 3 + 1 + 4
    for line in lines[3:]:
        exec(line, names)
    assert {*names["circuit"].by_hand} == {*explorer.circuit.by_hand}
    assert names["circuit"].metric_value == explorer.circuit.metric_value
    explorer.reset()
    exec(explorer._state.script.lines[-1], names)
    assert names["circuit"] == searched


def test_they_stay_at_another_threshold_and_go_with_another_task(explorer, model, task):
    edge = explorer.circuit.kept[0]
    explorer.edit(remove=[edge])
    settles(explorer, 1)
    explorer.threshold = 0.2
    explorer.wait(30)
    searched = ax.find_circuit(model, task, 0.2)
    there = edge in searched.kept
    assert explorer.circuit.kept == [each for each in searched.kept if each != edge]
    assert len(explorer.circuit.by_hand) == there
    explorer.threshold = 0.1
    explorer.wait(30)
    settles(explorer, 1)
    explorer._use_task(random_task(seed=3))
    explorer.wait(30)
    assert explorer.circuit.by_hand == ()
    assert not explorer._state.edits.can_undo


def test_a_double_click_and_keys(explorer, monkeypatch):
    # However busy the machine is.
    monkeypatch.setattr(circuit_widget, "_DOUBLE_CLICK", 60.0)
    edge = explorer.circuit.kept[0]
    explorer._edges_clicked([edge])
    explorer._edges_clicked([edge])
    settles(explorer, 1)
    assert explorer.selected_edge == edge
    keys = explorer._what_if.keys
    keys["u"]()
    settles(explorer, 0)
    keys["r"]()
    settles(explorer, 1)
    keys["x"]()
    settles(explorer, 0)
    # Two edges clicked one after the other are two selections.
    explorer._edges_clicked([edge])
    explorer._edges_clicked([explorer.circuit.kept[1]])
    assert explorer.selected_edge == explorer.circuit.kept[1]
    assert explorer._state.edits.current == ()


def test_a_node_goes_and_comes_back_as_a_whole(explorer, model, task):
    searched = explorer.circuit
    node = searched.graph.parse_edge(searched.kept[0]).sender
    explorer._select(Selection("node", node.id))
    explorer._what_if.toggle.click()
    until(lambda: explorer.circuit.by_hand)
    assert explorer.circuit == ax.edit(model, task, searched, remove=[node])
    explorer._what_if.toggle.click()
    settles(explorer, 0)


def test_what_cannot_be_done_is_said(explorer):
    explorer.threshold = 0.5
    explorer.wait(30)
    searched = explorer.circuit
    nodes = {node for edge in searched.kept_effects for node in (edge.sender, edge.receiver.node)}
    outside = next(node for node in searched.graph.nodes if node not in nodes)
    explorer._select(Selection("node", outside.id))
    assert explorer._what_if.toggle.description == "Restore"
    explorer._what_if.toggle.click()
    assert re.search("acdc-error.*has nothing to be restored", explorer._what_if.html.value)
    with pytest.raises(ValueError, match="unknown"):
        explorer.edit(remove=["a9.h9"])
    assert explorer.circuit == searched
    explorer.selected_node = None
    explorer._what_if.keys["x"]()
    assert "select an edge or a node first" in explorer._what_if.html.value


def test_a_file_with_changes_opens_with_them(explorer):
    edge = explorer.circuit.kept[0]
    explorer.edit(remove=[edge])
    settles(explorer, 1)
    edited = explorer.circuit
    explorer.reset()
    settles(explorer, 0)
    explorer._load("circuit.json", edited.to_json().encode())
    explorer.wait(30)
    settles(explorer, 1)
    assert explorer.circuit == edited
    assert "1 removed" in explorer._what_if.html.value


def test_folded_and_shown_again_it_has_them(explorer):
    explorer.edit(remove=[explorer.circuit.kept[0]])
    settles(explorer, 1)
    edited = explorer.circuit
    explorer._fold()
    explorer.run()
    explorer.wait(30)
    settles(explorer, 1)
    assert explorer.circuit == edited


def test_an_unfinished_search_takes_them_in_when_it_has_ended(model, task):
    explorer = ax.Explorer(model, task, 0.1)
    try:
        explorer.wait(30)
        edge = explorer.circuit.kept[0]
        explorer.run()
        explorer.edit(remove=[edge])
        explorer.wait(30)
        settles(explorer, 1)
        assert edge in explorer.circuit.removed
    finally:
        explorer.close()


def test_who_waits_sees_the_change(explorer):
    edge = explorer.circuit.kept[0]
    explorer.edit(remove=[edge])
    explorer.wait(30)
    assert edge in explorer.circuit.removed


def test_an_untested_edge_of_a_stopped_search_goes_and_comes_back(model, task):
    explorer = ax.Explorer(model, task, 0.1)
    try:
        explorer.wait(30)
        explorer.run()
        explorer.pause()
        explorer.stop()
        explorer.wait(30)
        circuit = explorer.circuit
        edge = next(iter(circuit.edges.edge[circuit.edges.state != "removed"]))
        explorer.edit(remove=[edge])
        explorer.wait(30)
        assert edge in explorer.circuit.removed
        explorer.edit(restore=[edge])
        explorer.wait(30)
        assert edge not in explorer.circuit.removed
        assert explorer.circuit.by_hand == ()
    finally:
        explorer.close()


def test_what_is_undone_at_another_threshold_is_so_in_the_script(explorer, model, task):
    first = explorer.circuit.kept[0]
    explorer.edit(remove=[first])
    explorer.wait(30)
    explorer.threshold = 0.5
    explorer.wait(30)
    second = explorer.circuit.kept[-1]
    explorer.edit(remove=[second])
    explorer.wait(30)
    explorer.undo()
    explorer.wait(30)
    names = {"ax": ax, "model": model, "task": task}
    for line in explorer._state.script.lines[3:]:
        exec(line, names)
    assert names["circuit"].kept == explorer.circuit.kept


def test_edited_before_the_search_has_ended_the_script_is_in_order(model, task):
    edge = ax.find_circuit(model, task, 0.1).kept[0]
    explorer = ax.Explorer(model, task, 0.1)
    try:
        until(lambda: explorer.circuit is not None)
        explorer.edit(remove=[edge])
        explorer.wait(30)
        names = {"ax": ax, "model": model, "task": task}
        assert explorer._state.script.lines[0] == "import acdc_explorer as ax"
        for line in explorer._state.script.lines[3:]:
            exec(line, names)
        assert names["circuit"] == explorer.circuit
    finally:
        explorer.close()


def test_the_circuit_before_is_the_one_with_its_changes(explorer):
    explorer.edit(remove=[explorer.circuit.kept[0]])
    explorer.wait(30)
    before = explorer.circuit
    explorer.threshold = 0.2
    explorer.wait(30)
    explorer._state.compared.comparison(explorer.circuit)
    assert explorer._state.compared.previous == before


def test_folded_and_shown_again_the_view_is_as_it_was(explorer):
    explorer._graph_view._toggle("merged")
    explorer._page.tabs.selected_index = 2
    lines = list(explorer._state.script.lines)
    explorer._fold()
    explorer._unfold()
    explorer.wait(30)
    assert explorer._graph_view.shown.merged
    assert explorer._page.tabs.selected_index == 2
    assert explorer._state.script.lines == lines


def test_an_option_set_while_the_page_goes_holds_nobody_up(explorer):
    """Whoever lets go of the page takes the lock of lifetimes first, then that of the page."""
    explorer.edit(remove=[explorer.circuit.kept[0]])
    explorer.wait(30)
    explorer._lifetime.acquire()
    try:
        setting = threading.Thread(target=explorer._option_set, args=("rule", "signed"))
        setting.start()
        time.sleep(0.2)
        got = explorer._ui.acquire(timeout=10)
        assert got
        explorer._ui.release()
    finally:
        explorer._lifetime.release()
    setting.join(10)
    assert not setting.is_alive()


def test_a_tab_that_fails_says_so_and_the_search_goes_on(explorer, monkeypatch):
    tab = explorer._page._parts[0]
    monkeypatch.setattr(type(tab), "circuit_changed", lambda self: 1 / 0)
    explorer._page.tabs.selected_index = 2
    explorer.threshold = 0.2
    assert explorer.wait(30) == "done"
    explorer.threshold = 0.3
    assert explorer.wait(30) == "done"
