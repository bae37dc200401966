"""Groups in the explorer: kept, drawn as one node, opened, made in their tab and checked there."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from drawings import circuit_of_edges

import acdc_explorer as ax
from acdc_explorer.circuits.groups import Group, Groups
from acdc_explorer.explorer.drawing.closed_groups import NO_GROUPS, ClosedGroups, grouped
from acdc_explorer.explorer.drawing.graph_view import GraphView
from acdc_explorer.explorer.drawing.layout import LayerLayout, PositionLayout
from acdc_explorer.explorer.drawing.shown import kept_edges
from acdc_explorer.explorer.groups.groups_html import checked_html, groups_html
from acdc_explorer.explorer.groups.groups_tab import GroupsTab
from acdc_explorer.explorer.groups.lines import line_of_groups
from acdc_explorer.explorer.kept_groups import KEPT_AS, KeptGroups
from acdc_explorer.explorer.parts import PARTS
from acdc_explorer.graph import Node, graph_of
from acdc_explorer.runner.state import Snapshot

EDGES = {
    "input->a0.h0<q>": 0.3,
    "input->a0.h1<q>": -0.2,
    "input->a0.h1<k>": 0.4,
    "a0.h0->a1.h0<v>": 0.5,
    "a0.h1->a1.h0<v>": 0.25,
    "a0.h1->m0": 0.05,
    "m0->logits": 0.2,
    "a1.h0->logits": 1.0,
}
EARLY = Group("early <heads>", ("a0.h0", "a0.h1"), ("IO",))


@pytest.fixture(scope="module")
def circuit():
    return circuit_of_edges(graph_of(2, 2), EDGES)


def close(circuit, *groups):
    return ClosedGroups.of(groups, circuit)


def test_a_closed_group_has_the_sums_of_its_edges(circuit):
    closed = close(circuit, EARLY)
    # At the place of the member with the largest effects: 0.3 + 0.5 against 0.9.
    assert closed.place(Node("head", 0, 0)) == Node("head", 0, 1)
    assert closed.place(Node("mlp", 0)) == Node("mlp", 0)
    drawn = grouped(kept_edges(circuit), closed, circuit, merged=False)
    titles = {each.title: each for each in drawn if each.title}
    assert set(titles) == {
        "input → early <heads> q", "input → early <heads> k",
        "early <heads> → L1H0 v", "early <heads> → MLP 0",
    }  # fmt: skip
    into = titles["input → early <heads> q"]
    assert into.effect == pytest.approx(0.1)
    # By the sum, 3% of the clean metric; of its largest edge it is 10%.
    assert (into.size, into.hurts) == (1, False)
    assert {edge.id for edge in into.all_edges} == {"input->a0.h0<q>", "input->a0.h1<q>"}
    assert titles["early <heads> → L1H0 v"].effect == pytest.approx(0.75)
    merged = grouped(kept_edges(circuit), closed, circuit, merged=True)
    assert len(merged) == len(drawn) - 1
    assert grouped(kept_edges(circuit), NO_GROUPS, circuit, merged=False) == kept_edges(circuit)


def test_edges_within_a_group_are_not_drawn(circuit):
    drawn = grouped(
        kept_edges(circuit), close(circuit, Group("all", ("a0.h0", "a0.h1", "a1.h0"))), circuit,
        merged=False,
    )  # fmt: skip
    ids = {edge.id for each in drawn for edge in each.all_edges}
    assert ids == set(EDGES) - {"a0.h0->a1.h0<v>", "a0.h1->a1.h0<v>"}


def test_members_stand_at_one_place(circuit):
    closed = close(circuit, EARLY)
    layout = LayerLayout(circuit.graph, None, (), closed)
    apart = LayerLayout(circuit.graph)
    (spot,) = layout.spots_of(Node("head", 0, 0))
    assert spot == apart.spots_of(Node("head", 0, 1))[0]
    assert len(layout.spots) == len(apart.spots) - 1
    curves = layout.curves([circuit.graph.parse_edge("input->a0.h0<q>")])
    assert curves.y[0, -1] == pytest.approx(spot.y)
    # A group across layers may lie above what it writes to.
    tall = close(circuit, Group("tall", ("a0.h1", "a1.h0")))
    high = LayerLayout(circuit.graph, None, (), tall)
    down = high.curves([circuit.graph.parse_edge("a0.h1->m0")])
    assert np.isfinite(down.x).all()


def test_members_stand_at_one_place_by_position():
    graph = graph_of(2, 2, labels=("IO", "END"))
    edges = {
        "input->a0.h0<q>@IO": 0.3,
        "a0.h0->a1.h0<v>@IO": 0.5,
        "a0.h1->a1.h0<q>@END": 0.7,
        "a1.h0->logits@END": 1.0,
    }
    circuit = circuit_of_edges(graph, edges)
    closed = close(circuit, EARLY)
    kept = [graph.parse_edge(edge) for edge in edges]
    names = {"IO": "IO", "END": "END"}
    layout = PositionLayout(graph, kept, names, lambda query, key: True, None, closed)
    assert {spot.label for spot in layout.spots_of(Node("head", 0, 1))} == {"IO", "END"}
    assert Node("head", 0, 1) not in {spot.node for spot in layout.spots}
    for edge in kept:
        assert layout.ends(edge)


def test_a_closed_group_is_one_node_and_opens_by_a_click(circuit):
    opened, selected, nothing = [], [], lambda *_: None
    view = GraphView(
        nothing, threading.RLock(), nothing, selected.append, {}, nothing, opened.append
    )
    view.groups = [EARLY]
    task = ax.load_task("ioi", ax.load_model("mini"), n_prompts=2)
    view.draw(Snapshot("done", circuit, task=task), None, "heads")
    figure = view.figure
    traces = {trace.name: trace for trace in figure.widget.data}
    nodes = traces["nodes"]
    assert list(nodes.customdata).count("a0.h0") == 0
    at = list(nodes.customdata).index("a0.h1")
    assert nodes.text[at] == "×2"
    assert "early &lt;heads&gt;" in nodes.hovertext[at]
    assert "L0H0, L0H1" in nodes.hovertext[at]
    assert list(traces["groups"].text) == ["early <heads>"]
    assert "the sum over" in "".join(traces["edge-hits"].text)
    svg = view.svg()
    assert "early &lt;heads&gt;" in svg
    assert "×2" in svg
    view._node_clicked("a0.h1")
    assert opened == ["early <heads>"]
    view._node_clicked("a1.h0")
    assert [each.id for each in selected] == ["a1.h0"]
    # A member is marked at the group's place.
    view.select(ax.explorer.selection.Selection("node", "a0.h0"))
    assert traces["selected-node"].x[0] == nodes.x[at]
    view.groups = []
    view.draw(Snapshot("done", circuit, task=task), None, "heads")
    assert "×2" not in nodes.text
    assert np.isnan(traces["groups"].x).all()


def test_groups_are_kept_as_json():
    kept = KeptGroups(Groups((EARLY,)), frozenset({EARLY.name}), frozenset(), 0.7)
    assert KeptGroups.of({KEPT_AS: kept.as_kept()}) == kept
    assert KeptGroups.of({}) == KeptGroups()
    assert KeptGroups.of({KEPT_AS: {"groups": 7}}) == KeptGroups()
    # Another model has no such nodes.
    assert not len(KeptGroups.of({KEPT_AS: kept.as_kept()}, graph_of(1, 1)).groups)
    assert kept.toggled(EARLY.name).closed == frozenset()


def test_groups_by_similarity_leave_others_alone():
    kept = KeptGroups().with_group(Group("mine", ("a0.h0", "a0.h1")))
    found = Groups((Group("x", ("a0.h1", "a1.h0", "a1.h1")), Group("y", ("a0.h2", "a0.h0"))))
    alike = kept.with_alike(found, 0.8)
    assert {group.name: group.nodes for group in alike.groups} == {
        "mine": ("a0.h0", "a0.h1"),
        "L1H0 and 1 more": ("a1.h0", "a1.h1"),
    }
    assert alike.closed == {"mine", "L1H0 and 1 more"}
    assert [group.name for group in alike.with_alike(Groups(), 0.9).groups] == ["mine"]
    # What is changed by hand stays.
    named = alike.changed("L1H0 and 1 more", "movers", ("IO",)).with_alike(Groups(), 0.9)
    assert [group.name for group in named.groups] == ["mine", "movers"]
    assert named.closed == {"mine", "movers"}
    assert [group.name for group in named.without("mine").groups] == ["movers"]
    # A group by hand takes a member from one by similarity, which is called after those left.
    three = KeptGroups().with_alike(
        Groups((Group("L0H0 and 2 more", ("a0.h0", "a0.h1", "m0")),)), 1
    )
    taken = three.with_group(Group("mine", ("a0.h0",)))
    assert [group.name for group in taken.groups] == ["mine", "L0H1 and 1 more"]
    assert taken.alike == {"L0H1 and 1 more"}


def test_what_is_written_is_escaped(circuit):
    html = groups_html(KeptGroups(Groups((EARLY,))), circuit)
    assert "<heads>" not in html
    assert "early &lt;heads&gt;" in html
    # 0.3 - 0.2 + 0.4 in, 0.5 + 0.25 + 0.05 out.
    assert "+0.500" in html
    assert "+0.800" in html


def until(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_the_tab_makes_changes_and_checks_groups():
    explorer = ax.Explorer("mini", "ioi", n_prompts=16)
    try:
        explorer.wait(60)
        number = PARTS.index(GroupsTab)
        tab = explorer._page._parts[number]
        explorer._tabs.selected_index = 2 + number
        until(lambda: tab._alike is not None)
        assert "heads" in tab.alike.value
        tab.similarity.value = 0.6
        assert not len(tab.kept.groups)
        tab.by_similarity.click()
        expected = ax.group_heads("mini", explorer._runner.snapshot().task, explorer.circuit, 0.6)
        assert tab.kept.groups == expected
        assert len(expected)
        tab.similarity.value = 0.99
        assert tab.kept.similarity == 0.99
        tab.similarity.value = 0.6
        assert tab.kept.groups == expected
        first = expected.groups[0]
        nodes = explorer._graph_view.figure.widget.data[
            explorer._graph_view.figure._traces["nodes"]
        ]
        assert f"×{len(first.nodes)}" in nodes.text
        tab._chosen("edit 0")
        tab.name.value, tab.inputs.value = "movers", "IOU"
        tab.make.click()
        assert "unknown position label" in tab.error.value
        tab.inputs.value = "IO"
        tab.make.click()
        assert tab.error.value == ""
        assert tab.kept.groups["movers"].inputs == ("IO",)
        explorer._graph_view._node_clicked(str(nodes.customdata[
            list(nodes.text).index(f"×{len(first.nodes)}")]))  # fmt: skip
        assert "movers" not in tab.kept.closed
        tab.nodes.value = "L0H1, MLP 99"
        tab.make.click()
        assert "MLP 99" in tab.error.value
        tab.nodes.value = "L0H1, MLP 0"
        tab.make.click()
        assert tab.kept.groups["group 1"].nodes == ("a0.h1", "m0")
        tab.check.click()
        until(lambda: "all together" in tab.found.value)
        found = tab._result()
        assert "movers" in tab.found.value
        line = line_of_groups(tab.kept)
        assert line in str(explorer._state.script)
        names = {"ax": ax, "model": "mini", "task": explorer._runner.snapshot().task}
        names["circuit"] = explorer.circuit
        exec(line, names)
        assert names["groups"] == tab.kept.groups
        again = ax.scrub("mini", names["task"], names["circuit"], names["groups"], draws=5)
        np.testing.assert_allclose(again.by_draw.metric, found.by_draw.metric)
        assert "movers" in tab.saved_html()
        tab._chosen(f"dissolve {[group.name for group in tab.kept.groups].index('group 1')}")
        assert "group 1" not in tab.table.value
        # What was checked is of other groups.
        assert tab.found.value == ""
    finally:
        explorer.close()


def test_what_was_checked_is_told_in_words(circuit):
    model = ax.load_model("induction-pair")
    task = ax.load_task("induction-pair", model, 24)
    found = ax.scrub(
        model, task, ax.find_circuit(model, task, 0.5),
        Groups((Group("copies", ("a1.h0",), ("second",)), Group("looks back", ("a0.h0",)))),
        draws=2,
    )  # fmt: skip
    html = checked_html(found)
    assert "nearly all stays" in html
    assert "some is lost" in html
    assert "left out, with which no other agrees" in html
