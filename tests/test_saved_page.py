"""The page as a file: what is in it, how large it is, and that no name breaks out of it."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from drawings import circuit_of_edges
from test_graph_view import View

import acdc_explorer as ax
from acdc_explorer.circuits.groups import Group
from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.circuits.steps import EdgeStep
from acdc_explorer.circuits.threshold_path import ThresholdPath
from acdc_explorer.explorer.drawing.figure import MAX_DRAWN
from acdc_explorer.explorer.saved_page.circuits import MAX_CIRCUITS, circuits_on_slider
from acdc_explorer.explorer.saved_page.page import write_page
from acdc_explorer.explorer.selection import Selection
from acdc_explorer.graph import graph_of
from acdc_explorer.runner.state import Snapshot

GRAPH = graph_of(2, 2)


def at_threshold(circuit, threshold: float, removed: str | None = None):
    """A circuit of another threshold, whose interval ends at the smallest kept effect."""
    steps = tuple(circuit.steps)
    if removed is not None:
        edge = circuit.graph.parse_edge(removed)
        steps += (EdgeStep(edge, 3.0, 3.0 - threshold * 0.99, kept=False, borderline=True),)
    return replace(circuit, settings=SearchSettings(threshold, str(threshold)), steps=steps)


def saved(tmp_path, circuit, path=ThresholdPath(), selection=None, view=None):  # noqa: B008
    """The text of a page, and what its script is given."""
    view = view or View(circuit)
    snapshot = Snapshot("done", circuit, task=view.task, path=path)
    file = tmp_path / "page.html"
    write_page(file, view.view, snapshot, selection, "<p>measured</p>", ["<p>above</p>"], [])
    text = file.read_text(encoding="utf-8")
    data = re.search(r'<script type="application/json" id="acdc-data">(.*?)</script>', text)
    assert data is not None
    return text, json.loads(data.group(1))


def test_all_circuits_of_the_path_are_in_it_and_the_shown_one_in_its_place(tmp_path):
    sparse = at_threshold(circuit_of_edges(GRAPH, {"input->logits": 2.0}), 1.0, "m0->logits")
    dense = circuit_of_edges(GRAPH, {"input->logits": 2.0, "m0->logits": 0.6, "input->m0": -0.5})
    dense = at_threshold(dense, 0.2, "a0.h0->logits")
    # Of the same interval as the shown one, which takes its place.
    double = at_threshold(dense, 0.3)
    path = ThresholdPath((sparse, double))
    text, data = saved(tmp_path, dense, path, Selection("edge", "m0->logits"))
    assert data["saved"] == 0
    assert data["selected"] == "edge:m0->logits"
    assert [each["kept"] for each in data["circuits"]] == [3, 1]
    ids = [edge[0] for edge in data["edges"]]
    assert {*ids} == {"input->logits", "m0->logits", "input->m0"}
    rows = {ids[row[0]]: row for row in data["circuits"][0]["edges"]}
    bits = data["bits"]
    assert rows["input->m0"][1] == -0.5
    assert rows["input->m0"][3] == 2
    assert rows["input->m0"][4] == bits["connected"]
    assert data["circuits"][1]["text"].startswith("threshold 33.3% (1), the same circuit from 0.99")
    assert "faithfulness 100.0%" in data["circuits"][1]["text"]
    nodes = [node[0] for node in data["nodes"]]
    assert [nodes[n] for n in data["circuits"][0]["nodes"]["in"]] == ["input", "m0", "logits"]
    assert all(len(flat) == 2 * data["points"] for curves in data["curves"] for flat in curves)
    assert "The slider goes over the 2 circuits that had been found" in text
    assert "Nothing on this page runs the model" in text


def test_one_circuit_has_no_slider(tmp_path):
    text, data = saved(tmp_path, circuit_of_edges(GRAPH, {"input->logits": 2.0}))
    assert 'id="acdc-slider"' not in text
    assert "slider goes" not in text
    assert len(data["circuits"]) == 1


def test_a_comparison_and_changes_by_hand_are_in_it(tmp_path):
    circuit = circuit_of_edges(GRAPH, {"input->logits": 2.0, "m0->logits": 0.6})
    view = View(circuit)
    view.view.comparison = ax.compare(circuit, ["input->logits", "input->m0"])
    view.show(circuit)
    text, data = saved(tmp_path, circuit, view=view)
    ids, bits = [edge[0] for edge in data["edges"]], data["bits"]
    rows = {ids[row[0]]: row for row in data["circuits"][0]["edges"]}
    assert rows["input->m0"][4] & bits["out"]
    assert rows["input->m0"][1] is None
    assert rows["m0->logits"][4] & bits["onlyHere"]
    assert not rows["input->logits"][4] & (bits["out"] | bits["onlyHere"])
    assert "only there" in text


def test_closed_groups_are_drawn_open(tmp_path):
    circuit = circuit_of_edges(GRAPH, {"input->a0.h0<q>": 2.0, "a0.h1->logits": 0.6})
    view = View(circuit)
    view.view.groups = [Group("early", ("a0.h0", "a0.h1"))]
    view.show(circuit)
    _, data = saved(tmp_path, circuit, view=view)
    assert [len(curves) for curves in data["curves"]] == [1, 1]
    assert len(data["spots"]) == len(GRAPH.nodes)


@pytest.mark.parametrize("name", ["</script><b>x", "<!--<script>", "\u2028 & \"'"])
def test_no_name_breaks_out(tmp_path, name):
    circuit = circuit_of_edges(GRAPH, {"input->logits": 2.0})
    plain, _ = saved(tmp_path, circuit)
    view = View(circuit)
    view.view.notes = {"input->logits": name}
    foreign = replace(circuit, model_name=name, task_name=name, metric_unit=name)
    view.show(foreign)
    text, data = saved(tmp_path, foreign, view=view)
    assert data["unit"] == name
    assert data["circuits"][0]["said"] == {"0": [name]}
    for tag in ("<script", "</script", "<!--", "<b>"):
        assert text.count(tag) == plain.count(tag)


@pytest.mark.slow
def test_a_long_path_of_large_circuits_stays_small(tmp_path):
    graph, rng = graph_of(12, 12), np.random.default_rng(0)
    ids = rng.permutation(graph.edge_ids)
    circuits = []
    for number in range(MAX_CIRCUITS + 20):
        effects = {edge: 1 + 0.001 * n for n, edge in enumerate(ids[: 20 * (number + 1)])}
        circuit = circuit_of_edges(graph, effects)
        low = 0.5 / 1.05**number
        step = EdgeStep(graph.parse_edge(ids[-1]), 3.0, 3.0 - low, kept=False)
        settings = SearchSettings(low * 1.01, "t")
        circuits.append(replace(circuit, settings=settings, steps=(*circuit.steps, step)))
    path = ThresholdPath(tuple(circuits))
    on_slider = circuits_on_slider(circuits[0], path)
    assert len(on_slider) == MAX_CIRCUITS
    assert any(each is circuits[0] for each in on_slider)
    assert circuits[-1] in on_slider
    _, data = saved(tmp_path, circuits[-20], ThresholdPath(tuple(circuits[-20:])))
    # Of each the edges that are drawn.
    assert [len(each["edges"]) for each in data["circuits"]] == [MAX_DRAWN] * 20
    curves = len(json.dumps(data["curves"], separators=(",", ":")))
    assert curves < 150 * MAX_DRAWN
    # With all hundred the page is under 3 MB besides Plotly.
    each = len(json.dumps(data["circuits"], separators=(",", ":"))) / 20
    assert each * MAX_CIRCUITS < 2e6
