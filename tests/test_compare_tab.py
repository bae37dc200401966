"""Comparing in the explorer: the tab, pins, files, and the lines that do the same."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from test_what_if import until

import acdc_explorer as ax
from acdc_explorer.explorer.compare.compare_tab import CompareTab
from acdc_explorer.explorer.compare.lines import line_of_comparison
from acdc_explorer.explorer.session import Session
from acdc_explorer.graph import graph_of


@pytest.fixture
def explorer(model, task):
    explorer = ax.Explorer(model, task, 0.1)
    explorer._runner.rest(True)
    explorer.wait(30)
    tab_of(explorer).open(True)
    yield explorer
    explorer.close()


def tab_of(explorer) -> CompareTab:
    return next(part for part in explorer._page._parts if isinstance(part, CompareTab))


def press(explorer, key: str) -> None:
    tab_of(explorer).choices._handle_custom_msg({"chosen": key}, [])


def chosen(explorer) -> list[str]:
    """Keys of the buttons that are pressed."""
    html = tab_of(explorer).choices.value
    return re.findall(r'data-compare="with:([^"]+)" aria-pressed="true"', html)


def counts(explorer) -> tuple[int, ...] | None:
    """Edges of both, only here, only there, as the tab tells them."""
    found = re.search(r'data-both="(\d+)" data-here="(\d+)" data-there="(\d+)"',
                      tab_of(explorer).html.value)  # fmt: skip
    return found and tuple(map(int, found.groups()))


def expected(explorer, other) -> tuple[int, ...]:
    comparison = ax.compare(explorer.circuit, other)
    return tuple(comparison.n(where) for where in ("both", "first", "second"))


def move(explorer, threshold) -> None:
    before = explorer.circuit
    explorer.threshold = threshold
    until(lambda: explorer.status == "done" and explorer.circuit.settings != before.settings)


def drawn(explorer, name):
    (trace,) = (t for t in explorer._graph_view.figure.widget.data if t.name == name)
    return np.isfinite(np.asarray(trace.x, dtype=float)).any()


def test_a_pin_outlives_the_threshold_the_page_and_the_file(explorer, model, task, tmp_path):
    tab_of(explorer).pin.click()
    pinned = explorer.circuit
    name = f"1: {pinned.model_name} · {pinned.task_name}, acdc at 0.1: {len(pinned.kept)} edges"
    assert name in tab_of(explorer).choices.value
    press(explorer, "with:pin-1")
    assert chosen(explorer) == ["pin-1"]
    assert "The two have the same edges" in tab_of(explorer).html.value
    move(explorer, 0.02)
    assert counts(explorer) == expected(explorer, pinned)
    assert drawn(explorer, "only-here")
    assert f"only here ({counts(explorer)[1]})" in explorer._graph_view.key.widget.value
    explorer._fold()
    explorer._unfold()
    explorer.wait(30)
    tab_of(explorer).open(True)
    assert chosen(explorer) == ["pin-1"]
    assert counts(explorer) == expected(explorer, pinned)
    # As plain values, small.
    assert len(json.dumps(explorer._state.kept["pins"])) < 60 * len(pinned.kept) + 600
    explorer.save(tmp_path / "session.json")
    names = {"ax": ax, "circuit": pinned}
    for line in explorer._state.script.lines:
        # The searches are tested by themselves.
        if line.startswith(("pin_", "comparison")):
            exec(line, names)
    assert names["comparison"].jaccard == 1
    again = ax.compare(explorer.circuit, names["pin_1"])
    assert (again.n("both"), again.n("first"), again.n("second")) == counts(explorer)
    other = ax.Explorer.load(tmp_path / "session.json", model=model, task=task)
    try:
        other.wait(30)
        tab_of(other).open(True)
        press(other, "with:pin-1")
        assert counts(other) == counts(explorer)
        press(other, "unpin:1")
        assert counts(other) is None
        assert other._state.kept["pins"] == []
        assert "pin-1" not in tab_of(other).choices.value
    finally:
        other.close()


def test_what_changed_follows_the_threshold(explorer):
    explorer._graph_view.key.widget._handle_custom_msg({"chosen": "changes"}, [])
    assert chosen(explorer) == ["last"]
    assert "No other circuit has been shown yet" in tab_of(explorer).html.value
    for threshold in (0.02, 0.3):
        before = explorer.circuit
        move(explorer, threshold)
        assert counts(explorer) == expected(explorer, before)
    assert drawn(explorer, "only-there")
    # A change by hand is one too.
    before, edge = explorer.circuit, explorer.circuit.kept[0]
    explorer.edit(remove=[edge])
    until(lambda: explorer.circuit.by_hand)
    until(lambda: counts(explorer) == (len(before.kept) - 1, 0, 1))
    assert counts(explorer) == expected(explorer, before)
    explorer._graph_view.key.widget._handle_custom_msg({"chosen": "changes"}, [])
    assert chosen(explorer) == ["none"]
    assert not drawn(explorer, "only-there")
    explorer.compare("last")
    assert chosen(explorer) == ["last"]
    explorer.compare(None)
    assert counts(explorer) is None


def test_other_thresholds_and_selecting(explorer, model, task):
    explorer._runner.rest(False)
    until(lambda: len(explorer._runner.snapshot().path.circuits) > 2)
    until(lambda: tab_of(explorer).choices.value.count("with:path-") > 1)
    keys = re.findall(r'data-compare="with:(path-[^"]+)"', tab_of(explorer).choices.value)
    press(explorer, f"with:{keys[-1]}")
    other = explorer._state.compared.other
    assert f"path-{other.threshold!r}" == keys[-1]
    assert counts(explorer) == expected(explorer, other)
    line = explorer._state.script.lines[-1]
    assert line.startswith("comparison = ax.compare(circuit, ax.find_circuit(model, task, ")
    names = {"ax": ax, "model": model, "task": task, "circuit": explorer.circuit}
    exec(line, names)
    assert (
        names["comparison"]
        .edges["where"]
        .equals(ax.compare(explorer.circuit, other).edges["where"])
    )
    edges = re.findall(r'data-compare="edge:([^"]+)"', tab_of(explorer).html.value)
    edge = edges[0].replace("&gt;", ">").replace("&lt;", "<")
    tab_of(explorer).html._handle_custom_msg({"chosen": f"edge:{edge}"}, [])
    assert explorer.selected_edge == edge
    tab_of(explorer).html._handle_custom_msg({"chosen": "node:logits"}, [])
    assert explorer.selected_node == "logits"


def test_files_lists_and_what_cannot_be_compared(explorer, model, task, tmp_path, monkeypatch):
    other = ax.find_circuit(model, task, 0.02)
    other.save(tmp_path / "other <b>.json")
    monkeypatch.chdir(tmp_path)
    explorer.compare("other <b>.json")
    assert counts(explorer) == expected(explorer, other)
    names = {"ax": ax, "circuit": explorer.circuit}
    exec(explorer._state.script.lines[-1], names)
    assert str(names["comparison"]) == str(ax.compare(explorer.circuit, other))
    tab_of(explorer)._load("other <b>.json", other.to_json().encode())
    assert chosen(explorer) == ["file"]
    assert "other &lt;b&gt;.json" in tab_of(explorer).choices.value
    explorer.compare(iter(other.kept[:2]))
    assert counts(explorer) == expected(explorer, other.kept[:2])
    tab_of(explorer)._load("no.json", b"{}")
    assert "acdc-error" in tab_of(explorer).html.value
    assert "no.json" in tab_of(explorer).html.value
    with pytest.raises(ValueError, match="nowhere"):
        explorer.compare(["nowhere->logits"])
    with pytest.raises(ValueError, match="unknown edge"):
        explorer.compare(ax.published_circuit("ioi"))
    with pytest.raises(FileNotFoundError):
        explorer.compare("there is none.json")
    changed = ax.edit(model, task, other, remove=other.kept[:1])
    assert line_of_comparison(changed, other) == f"comparison = ax.compare(circuit, {changed.kept})"
    published = ax.published_circuit("ioi")
    assert line_of_comparison(published, other).endswith("ax.published_circuit('ioi'))")


def test_a_pin_of_a_model_of_another_shape_is_refused_in_words(explorer):
    other = ax.PinnedCircuit("other", graph_of(3, 2), {"input->logits": 1.0})
    explorer._state.kept["pins"] = [{"number": 1, **other.to_dict()}]
    tab_of(explorer).circuit_changed()
    lines = list(explorer._state.script.lines)
    press(explorer, "with:pin-1")
    assert "circuits of other edges cannot be compared" in tab_of(explorer).html.value
    assert "3 layers x 2 heads" in tab_of(explorer).html.value
    assert chosen(explorer) == ["none"]
    assert explorer._state.script.lines == lines


def test_a_damaged_pin_of_a_session_is_left_out(explorer):
    tab_of(explorer).pin.click()
    good = explorer._state.kept["pins"]
    bad = [{"number": 2}, 3, {**good[0], "number": None}, {**good[0], "effects": {"x->y": 1}}]
    explorer._state.kept["pins"] = [*bad, *good]
    tab_of(explorer).circuit_changed()
    assert re.findall(r"with:(pin-\d+)", tab_of(explorer).choices.value) == ["pin-1"]


def test_a_saved_page_tells_the_two_without_buttons(explorer, tmp_path):
    explorer.compare(explorer.circuit.kept[:1])
    html = tab_of(explorer).saved_html()
    assert "1 edge in both" in html
    assert "<button" not in html


def test_circuits_of_other_tools(explorer, model, task, tmp_path):
    other = ax.find_circuit(model, task, 0.02)
    for ending in ("eap-ig.json", "csv", "graphml", "prune-scores.pt"):
        ax.export_circuit(other, tmp_path / f"other.{ending}")
        explorer.compare(None)
        tab_of(explorer)._load(f"other.{ending}", (tmp_path / f"other.{ending}").read_bytes())
        assert counts(explorer) == expected(explorer, other)
        assert chosen(explorer) == ["file"]
    ax.export_circuit(other, tmp_path / "other.pt")
    explorer.compare(tmp_path / "other.pt")
    assert counts(explorer) == expected(explorer, other)
    assert chosen(explorer) == ["file"]
    assert "EAP-IG file" in tab_of(explorer).choices.value
    assert drawn(explorer, "only-there")
    # A list of edges is of the model that is shown.
    few = f"edge\n{other.kept[0]}".encode()
    tab_of(explorer)._load("few.csv", few)
    assert counts(explorer) == expected(explorer, other.kept[:1])
    explorer.compare(None)
    explorer._load("other.pt", (tmp_path / "other.pt").read_bytes())
    until(lambda: counts(explorer) == (len(other.kept), 0, 0))
    explorer._load("few.csv", few)
    until(lambda: counts(explorer) == (1, 0, 0))
    explorer._load("wrong.json", b'{"cfg": {"n_layers": 1, "n_heads": 1}, "edges": {}}')
    assert "1 layers x 1 heads" in explorer._page.error.value


def test_an_explorer_opens_a_circuit_of_another_tool(model, task, tmp_path):
    other = ax.find_circuit(model, task, 0.02)
    folder, path = tmp_path / "ioi_gpt2", tmp_path / "other.pt"
    ax.export_circuit(other, folder, "mib")
    assert set(Session.from_file(folder).circuit.kept) == set(other.kept)
    ax.export_circuit(other, path)
    with pytest.raises(ValueError, match="does not say on what model and prompts"):
        ax.Explorer.load(path)
    explorer = ax.Explorer.load(path, model=model, task=task)
    try:
        explorer.wait(30)
        tab_of(explorer).open(True)
        # It is shown as changes by hand, which can be taken back, and has its metric.
        until(lambda: counts(explorer) == (len(other.kept), 0, 0))
        assert explorer.circuit.metric_value == pytest.approx(other.metric_value)
        compared = ax.compare(explorer.circuit.searched(), other)
        explorer.undo()
        told = tuple(map(compared.n, ("both", "first", "second")))
        until(lambda: counts(explorer) == told)
    finally:
        explorer.close()


def test_an_explorer_opens_a_list_of_edges_of_the_model_that_is_given(model, task, tmp_path):
    with pytest.raises(ValueError, match="there is no session file"):
        ax.Explorer.load(tmp_path / "none.csv", model="no such model", task=task)
    path, edges = tmp_path / "few.csv", ["m0->logits", "input->m0"]
    path.write_text("\n".join(["edge", *edges]))
    with pytest.raises(ValueError, match="does not say what model it is of"):
        ax.Explorer.load(path)
    explorer = ax.Explorer.load(path, model=model, task=task)
    try:
        until(
            lambda: explorer.circuit and set(explorer.circuit.kept) == {"m0->logits", "input->m0"}
        )
    finally:
        explorer.close()
