"""What is kept of an explorer: sessions, scripts and the methods paragraph."""

from __future__ import annotations

import json
import re

import pytest
from conftest import labelled_task, until

import acdc_explorer as ax
from acdc_explorer.explorer.script import search_line
from acdc_explorer.explorer.session import Session


@pytest.fixture
def explorer(model, task):
    explorer = ax.Explorer(model, task, 0.1)
    explorer._runner.rest(True)
    explorer.wait(30)
    yield explorer
    explorer.close()


def changed(explorer):
    """By hand, in its view, and in what the parts keep."""
    edge = explorer.circuit.kept[0]
    explorer.edit(remove=[edge])
    until(lambda: explorer.circuit.by_hand)
    explorer.selected_edge = explorer.circuit.kept[3]
    explorer._graph_view._toggle("hurts")
    explorer._graph_view._toggle("merged")
    explorer._page.tabs.selected_index = 1
    explorer._state.kept["notes"] = {"of": ["anything", 1]}
    return explorer


def test_a_session_opens_as_it_was(explorer, model, task, tmp_path):
    changed(explorer).save(tmp_path / "session.json")
    again = ax.Explorer.load(tmp_path / "session.json", model=model, task=task)
    try:
        again._runner.rest(True)
        assert again.wait(30) == "done"
        until(lambda: again.circuit.by_hand)
        assert again.circuit == explorer.circuit
        assert again.selected_edge == explorer.selected_edge
        until(lambda: "data-effect" in again._side_panel.panel.value)
        assert again._graph_view.shown == explorer._graph_view.shown
        assert again._page.tabs.selected_index == 1
        assert again._state.kept == {"notes": {"of": ["anything", 1]}}
        assert again._state.script.lines == explorer._state.script.lines
        again.reset()
        until(lambda: not again.circuit.by_hand)
        assert again.circuit == ax.find_circuit(model, task, 0.1)
    finally:
        again.close()


def test_the_page_saves_and_loads_one(explorer):
    name, type_, text = changed(explorer)._file("session")
    assert name.endswith(".session.json")
    assert type_ == "application/json"
    edited, edge = explorer.circuit, explorer.selected_edge
    explorer.reset()
    explorer.selected_edge = None
    explorer._graph_view._toggle("hurts")
    explorer._state.kept.clear()
    until(lambda: not explorer.circuit.by_hand)
    explorer._load(name, text.encode())
    explorer.wait(30)
    until(lambda: explorer.circuit.by_hand)
    assert explorer.circuit == edited
    assert explorer.selected_edge == edge
    assert not explorer._graph_view.shown.shows("hurts")
    assert explorer._state.kept == {"notes": {"of": ["anything", 1]}}


def test_by_name_it_needs_nothing_else(tmp_path):
    explorer = ax.Explorer("mini", "ioi", "20%", n_prompts=8, seed=3)
    try:
        explorer.wait(60)
        explorer.save(tmp_path / "session.json")
        again = ax.Explorer.load(tmp_path / "session.json")
        try:
            assert again.wait(60) == "done"
            assert again.circuit == explorer.circuit
            assert "0 tests/s" in again._controls.progress.value or again.circuit.n_tested
        finally:
            again.close()
        lines = explorer._state.script.lines
        names = {}
        exec("\n".join(lines), names)
        assert names["circuit"].kept == explorer.circuit.kept
        assert names["circuit"].metric_value == pytest.approx(explorer.circuit.metric_value)
    finally:
        explorer.close()


def test_a_circuit_file_opens_too(explorer, model, task, tmp_path):
    explorer.circuit.save(tmp_path / "circuit.json")
    again = ax.Explorer.load(tmp_path / "circuit.json", model=model, task=task)
    try:
        assert again.wait(30) == "done"
        assert again.circuit == explorer.circuit
    finally:
        again.close()


def test_wrong_files_are_refused_in_words(explorer, tmp_path):
    good = json.loads(changed(explorer)._session().to_json())
    for data, said in [
        ("no JSON", "is no circuit that can be read here: its format is unknown"),
        ({"format": "else"}, "is no circuit that can be read here: its format is unknown"),
        (good | {"version": 2}, "of version 2; this acdc_explorer reads version 1"),
        (good | {"view": []}, "damaged session file: view must be an object"),
        (good | {"view": {"columns": "sideways"}}, 'view.columns must be "heads" or'),
        (good | {"view": {"tab": -1}}, "view.tab must be text"),
        (good | {"script": [1]}, r"script\[0\] must be text"),
        (good | {"circuit": {}}, "damaged session file: circuit"),
    ]:
        text = data if isinstance(data, str) else json.dumps(data)
        with pytest.raises(ValueError, match=said):
            Session.from_content(text.encode(), "file")
        path = tmp_path / "session.json"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=said):
            ax.Explorer.load(path)
        explorer._load("file", text.encode())
        assert re.search(said, explorer._page.error.value.replace("&quot;", '"'))
    with pytest.raises(ValueError, match="there is no session file"):
        ax.Explorer.load(tmp_path / "nothing.json")


def test_what_is_not_there_yet_cannot_be_saved(tmp_path):
    explorer = ax.Explorer("nowhere", "ioi")
    try:
        explorer.wait(30)
        with pytest.raises(ValueError, match="no circuit yet"):
            explorer.save(tmp_path / "session.json")
        assert explorer._file("session") is None
    finally:
        explorer.close()


class TestScript:
    def test_a_slider_that_goes_on_leaves_one_search(self, explorer):
        for threshold in (0.2, 0.3):
            explorer.threshold = threshold
            explorer.wait(30)
        until(lambda: "0.3" in explorer._state.script.lines[-1])
        searches = [line for line in explorer._state.script.lines if "find_circuit" in line]
        assert searches == ["circuit = ax.find_circuit(model, task, threshold='0.3', rule='abs')"]

    def test_changes_by_hand_are_made_again_after_another_search(self, explorer, model, task):
        explorer.edit(remove=[explorer.circuit.kept[0]])
        explorer.threshold = 0.2
        explorer.wait(30)
        until(lambda: explorer.circuit.threshold == 0.2)
        names = {"ax": ax, "model": model, "task": task}
        for line in explorer._state.script.lines[3:]:
            exec(line, names)
        assert names["circuit"].kept == explorer.circuit.kept
        assert names["circuit"].by_hand == explorer.circuit.by_hand

    @pytest.mark.parametrize(
        "options",
        [
            {"method": "path_patching"},
            {"rule": "signed", "order": "random", "order_seed": 3},
            {"ablation": "zero", "split_qkv": False},
            {"positions": True},
            {"screen": 0.5},
        ],
    )
    def test_the_line_of_a_search_finds_the_same(self, model, options):
        task = labelled_task()
        circuit = ax.find_circuit(model, task, 0.1, **options)
        names = {"ax": ax, "model": model, "task": task}
        exec(search_line(circuit), names)
        assert names["circuit"] == circuit

    def test_the_tab_shows_it_while_it_is_open(self, explorer):
        tabs = explorer._page.tabs
        number = tabs.titles.index("Script")
        tab = next(part for part in explorer._page._parts if part.title == "Script")
        assert tab.script.value == ""
        tabs.selected_index = number
        assert tab.script.value == str(explorer._state.script)
        assert tab.methods.value == ax.methods_paragraph(explorer.circuit)
        edge = explorer.circuit.kept[0]
        explorer.edit(remove=[edge])
        assert f"remove=['{edge}']" in tab.script.value
        until(lambda: "By hand" in tab.methods.value)


class TestMethodsParagraph:
    def test_it_names_what_decided(self, model, task):
        circuit = ax.find_circuit(model, task, "10%", order="random", order_seed=4, screen=0.5)
        text = ax.methods_paragraph(circuit)
        for said in (
            "random 2x4 (2 layers of 4 heads and MLPs)",
            "ACDC (Conmy et al., 2023)",
            "110 in all",
            "their activations on the corrupted prompts",
            "senders in random order (seed 4)",
            f"below {circuit.threshold:.4g} logits (10% of the full model's logit diff)",
            f"{len(circuit.kept)} edges were kept",
            f"{circuit.n_screened} went without a test of their own",
            f"faithfulness {circuit.faithfulness:.1%}",
        ):
            assert said in text
        assert "By hand" not in text

    def test_of_positions_changes_by_hand_and_other_methods(self, model):
        task = labelled_task()
        circuit = ax.find_circuit(
            model, task, 0.1, method="eap", ablation="mean", positions=True, rule="signed"
        )
        edited = ax.edit(model, task, circuit, remove=circuit.kept[:1])
        text = ax.methods_paragraph(edited)
        assert "edge attribution patching (Syed et al., 2023)" in text
        assert f"at each of the positions {', '.join(circuit.graph.labels)}" in text
        assert "their mean over the corrupted prompts" in text
        assert "the damage of its effect on the logit diff" in text
        assert f"By hand, of the edges we had 1 removed ({circuit.kept[0]} removed)" in text
