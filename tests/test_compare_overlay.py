"""Another circuit laid over the graph: which edges are drawn as what, and what the key says."""

from __future__ import annotations

import re

import numpy as np
import pytest
from drawings import circuit_of_edges, edges_hit, n_curves
from test_graph_view import View

import acdc_explorer as ax
from acdc_explorer.explorer.compared import Compared
from acdc_explorer.explorer.drawing.figure import MAX_DRAWN
from acdc_explorer.explorer.drawing.overlay import with_other
from acdc_explorer.explorer.drawing.shown import kept_edges
from acdc_explorer.graph import graph_of

GRAPH = graph_of(2, 2)
# Both lead from the input to the logits; one edge is of both.
HERE = {"input->a1.h0<q>": 1.0, "a1.h0->logits": -0.5, "m0->logits": 0.2}
THERE = {"input->a1.h1<v>": 0.4, "a1.h1->logits": 0.9, "m0->logits": 0.1, "a0.h0->m0": 0.02}


@pytest.fixture
def view():
    view = View(circuit_of_edges(GRAPH, HERE))
    compare(view, circuit_of_edges(GRAPH, THERE))
    return view


def compare(view: View, other) -> None:
    circuit = circuit_of_edges(GRAPH, HERE)
    view.view.comparison = ax.compare(circuit, other)
    view.show(circuit)


def test_each_edge_is_drawn_by_where_it_is(view):
    assert n_curves(view.traces["only-here"]) == 2
    assert n_curves(view.traces["only-there"]) == 3
    # Those of both and those only here are drawn as always besides; what leads from nothing too.
    own = [t for name, t in view.traces.items() if name.startswith("edges-")]
    assert sum(map(n_curves, own)) + n_curves(view.traces["unconnected"]) == 3
    assert edges_hit(view.view.figure) == HERE.keys() | THERE.keys()
    assert view.view.figure.n_drawn == 3
    hits = view.traces["edge-hits"]
    text = dict(zip(hits.customdata, hits.text, strict=True))
    assert "only in this circuit" in text["a1.h0->logits"]
    assert "in both circuits, in the other +0.100" in text["m0->logits"]
    assert "only in the other one" in text["a1.h1->logits"]
    assert "in the other +0.900" in text["a1.h1->logits"]


def test_nodes_of_the_other_circuit_are_named_and_told_apart(view):
    nodes = view.traces["nodes"]
    at = {name: row for row, name in enumerate(nodes.customdata)}
    assert nodes.textfont.color[at["a1.h1"]] == "#222222"
    assert "only in the other circuit" in nodes.hovertext[at["a1.h1"]]
    assert nodes.marker.line.color[at["a1.h1"]] != nodes.marker.line.color[at["a1.h0"]]
    assert "other" not in nodes.hovertext[at["m0"]]


@pytest.mark.parametrize(
    ("part", "name", "hidden"),
    [
        ("in-both", "in both (1)", {"m0->logits"}),
        ("only-here", "only here (2)", HERE.keys() - THERE.keys()),
        ("only-there", "only there (3)", THERE.keys() - HERE.keys()),
    ],
)
def test_the_key_counts_and_hides_each_part(view, part, name, hidden):
    assert re.search(rf'data-part="{part}".*?{re.escape(name)}', view.view.key.widget.value)
    view.press(part)
    assert edges_hit(view.view.figure) == (HERE.keys() | THERE.keys()) - hidden
    view.press(part)
    compare(view, circuit_of_edges(GRAPH, HERE))
    assert "only here (0)" in view.view.key.widget.value


def test_the_picture_shows_the_same(view):
    svg = view.view.svg()
    for told in ("in both", "only here", "only there", "compared with m · t, acdc at 0.01"):
        assert told in svg
    for name in ("only-here", "only-there"):
        line = view.traces[name].line
        assert f"stroke='{line.color}' stroke-width='{line.width}'" in svg


def test_what_a_selection_dims_has_no_band(view):
    view.show(circuit_of_edges(GRAPH, HERE), "a1.h1->logits")
    assert n_curves(view.traces["selected"]) == 1
    assert n_curves(view.traces["only-there"]) < 3
    assert n_curves(view.traces["only-here"]) == 0


def test_merged_lines_are_of_one_part_each():
    circuit = circuit_of_edges(GRAPH, {"input->a1.h0<q>": 1.0})
    view = View(circuit)
    view.view.comparison = ax.compare(circuit, ["input->a1.h0<k>", "input->a1.h0<v>"])
    view.press("merged")
    assert n_curves(view.traces["only-here"]) == 1
    assert n_curves(view.traces["only-there"]) == 1
    texts = [text for text in view.traces["edge-hits"].text if "not in this" in text]
    assert texts[0].endswith("<br>input → L1H0 v")


def test_two_large_circuits_leave_room_for_each_other():
    graph = graph_of(12, 12)
    ids = np.random.default_rng(0).permutation(graph.edge_ids)
    circuit = circuit_of_edges(graph, {edge: 1.0 + n / 1e4 for n, edge in enumerate(ids[:700])})
    other = circuit_of_edges(graph, {edge: n / 1e4 for n, edge in enumerate(ids[700:1400])})
    edges = with_other(kept_edges(circuit), ax.compare(circuit, other), circuit)
    assert len(edges) == 1400
    drawn = edges[:MAX_DRAWN]
    assert sum(each.is_out for each in drawn) == MAX_DRAWN // 2
    theirs = [each.effect for each in drawn if each.is_out]
    assert theirs == sorted(theirs, reverse=True)
    # An edge list has no effects: its edges are drawn nevertheless.
    listed = with_other(kept_edges(circuit), ax.compare(circuit, ids[700:702]), circuit)
    assert sum(each.is_out for each in listed) == 2


def test_the_circuit_before_is_the_last_one_of_other_edges():
    compared = Compared()
    compared.choose(None, follows=True)
    first, second = circuit_of_edges(GRAPH, HERE), circuit_of_edges(GRAPH, THERE)
    assert compared.comparison(None) is None
    assert compared.comparison(first) is None
    # One that has just the same edges, as of a threshold nearby, leaves it as it is.
    assert compared.comparison(circuit_of_edges(GRAPH, HERE)) is None
    assert compared.comparison(circuit_of_edges(GRAPH, THERE, complete=False)) is None
    comparison = compared.comparison(second)
    assert comparison is not None
    assert (comparison.n("first"), comparison.n("second")) == (3, 2)
    assert compared.comparison(second) is comparison
    assert compared.previous is not None
    # Of another model, nothing came before.
    other = circuit_of_edges(graph_of(3, 2), {"input->logits": 1.0})
    assert compared.comparison(other) is None
    compared.choose(first)
    assert compared.comparison(other) is None
    assert "other edges" in compared.error
    assert compared.comparison(second) is not None
    assert compared.error == ""
