"""The graph: what is drawn of a circuit, where, how, and what the user's choices change."""

from __future__ import annotations

import re
import threading
from dataclasses import replace

import numpy as np
import pytest
from drawings import (
    circuit_of_edges,
    draw,
    edges_hit,
    make_figure,
    n_curves,
    random_circuit,
    traces,
)

import acdc_explorer as ax
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.steps import EdgeStep, ReceiverStep
from acdc_explorer.explorer.drawing.curves import CURVE_POINTS
from acdc_explorer.explorer.drawing.figure import MAX_DRAWN
from acdc_explorer.explorer.drawing.graph_view import GraphView
from acdc_explorer.explorer.drawing.layout import LayerLayout, PositionLayout
from acdc_explorer.explorer.drawing.rows import Rows
from acdc_explorer.explorer.drawing.shown import kept_edges, lit_edges
from acdc_explorer.explorer.drawing.traces import line_name, make_traces
from acdc_explorer.explorer.selection import Selection
from acdc_explorer.graph import Graph, graph_of
from acdc_explorer.runner.state import Snapshot


class View:
    """A graph view of one finished circuit, as the explorer drives it."""

    def __init__(self, circuit: Circuit):
        self.task = ax.load_task("ioi", ax.load_model("mini"), n_prompts=2)
        nothing = lambda *_: None  # noqa: E731
        self.view = GraphView(nothing, threading.RLock(), nothing, self.select, {}, nothing)
        self.show(circuit)

    def select(self, selection: Selection | None) -> None:
        self.selected = selection and selection.id
        self.view.select(selection)

    def show(self, circuit: Circuit, selected: str | None = None) -> None:
        self.view.draw(Snapshot("done", circuit, task=self.task), selected, "heads")

    def press(self, part: str) -> None:
        self.view.key.widget._handle_custom_msg({"chosen": part}, [])

    @property
    def buttons(self) -> dict[str, str]:
        """Part -> whether it is pressed."""
        pattern = r'data-part="([^"]+)" aria-pressed="(\w+)"'
        return dict(re.findall(pattern, self.view.key.widget.value))

    @property
    def traces(self):
        return traces(self.view.figure)


@pytest.mark.parametrize("n_kept", [0, 5, 2000])
def test_few_and_many_edges_are_drawn_and_no_more_than_the_cap(n_kept):
    figure, circuit = make_figure(), random_circuit(n_kept)
    n_traces = len(figure.widget.data)
    draw(figure, circuit)
    assert len(figure.widget.data) == n_traces
    assert figure.n_drawn == min(n_kept, MAX_DRAWN)
    lines = [trace for name, trace in traces(figure).items() if name.startswith("edges-")]
    assert sum(map(n_curves, lines)) == figure.n_drawn
    effects = {step.edge.id: abs(step.effect) for step in circuit.decisions}
    largest = sorted(effects.values(), reverse=True)[:MAX_DRAWN]
    assert sorted((effects[edge] for edge in edges_hit(figure)), reverse=True) == largest


def test_width_is_a_share_of_the_clean_metric_and_what_hurts_is_dotted():
    figure, circuit = make_figure(), random_circuit(60)
    draw(figure, circuit)
    drawn = traces(figure)
    widths = set()
    for step in circuit.decisions:
        share = abs(step.effect) / circuit.full_metric
        size = 0 if share < 0.02 else 1 if share < 0.1 else 2
        widths.add(size)
        trace = drawn[line_name(step.edge.kind, size, hurts=step.effect < 0)]
        around = {node for each in circuit.decisions
                  for node in (each.edge.sender, each.edge.receiver.node)}  # fmt: skip
        x = LayerLayout(circuit.graph).curves([step.edge], around).x
        rows = np.asarray(trace.x).reshape(-1, CURVE_POINTS + 1)[:, :-1]
        assert np.isclose(rows, x).all(1).any()
        assert trace.line.dash == ("3px,3px" if step.effect < 0 else "solid")
    assert widths == {0, 1, 2}
    thickness = [drawn[line_name("q", size, hurts=False)].line.width for size in range(3)]
    assert thickness == sorted(set(thickness))


def luminance(colour: np.ndarray) -> float:
    """Relative, of sRGB from 0 to 1, as in WCAG 2.2."""
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("background", ["#ffffff", "#111111"])
def test_every_line_can_be_told_from_the_background(background):
    """WCAG 1.4.11 wants 3:1; in both of JupyterLab's themes, since Plotly knows no theme."""
    behind = np.array([*bytes.fromhex(background[1:])]) / 255
    lines = [trace for trace in make_traces() if trace.mode == "lines"]
    # What few searches keep is to look faint; its share is told besides.
    lines = [trace for trace in lines if not trace.name.endswith("-seldom")]
    # A band through which its line is to be seen, which has the contrast.
    lines = [trace for trace in lines if trace.name != "only-here"]
    assert len(lines) == 32
    for trace in lines:
        colour = np.array([*bytes.fromhex(trace.line.color[1:])]) / 255
        drawn = trace.opacity * colour + (1 - trace.opacity) * behind
        darker, lighter = sorted(map(luminance, (drawn, behind)))
        assert (lighter + 0.05) / (darker + 0.05) >= 3, trace.name
        # A thinner one is smeared over two rows of pixels.
        assert trace.line.width >= 1


def test_an_effect_that_is_rounding_is_not_said_to_hurt():
    graph = graph_of(4, 4)
    circuit = circuit_of_edges(graph, {"input->logits": -1e-5, "m0->logits": -1e-3})
    hurts = {each.edge.id: each.hurts for each in kept_edges(circuit)}
    assert hurts == {"input->logits": False, "m0->logits": True}
    figure = make_figure()
    draw(figure, circuit)
    hits = traces(figure)["edge-hits"]
    text = dict(zip(hits.customdata, hits.text, strict=True))
    assert text["input->logits"].split("<br>")[2] == "no effect"
    assert text["m0->logits"].split("<br>")[2] == "-0.001"


def test_untested_edges_are_told_apart_and_never_drawn_as_kept(model, task):
    circuit = ax.find_circuit(model, task, 0.05)
    upto = next(
        index for index, step in enumerate(circuit.steps)
        if isinstance(step, ReceiverStep) and step.receiver.id == "m1"
    )  # fmt: skip
    partial = replace(circuit, steps=circuit.steps[: upto + 1], complete=False)
    figure = make_figure()
    receiver = circuit.steps[upto].receiver
    draw(figure, partial, receiver=receiver)
    data = traces(figure)
    assert n_curves(data["untested"]) == circuit.graph.n_senders_to(receiver)
    assert edges_hit(figure) == set(partial.kept)
    hover = dict(zip(data["nodes"].customdata, data["nodes"].hovertext, strict=True))
    kept_from = {step.edge.sender.id for step in partial.decisions if step.kept}
    untested = {node.id for node in circuit.graph.nodes if node.layer == 0} - kept_from
    assert untested
    assert all("not tested yet" in hover[node] for node in untested)
    draw(figure, circuit)
    assert n_curves(data["untested"]) == 0


@pytest.mark.parametrize("shape", [(2, 4), (4, 8), (12, 12), (24, 16)])
def test_nodes_never_share_a_place_and_edges_go_upwards(shape):
    layout = LayerLayout(graph_of(*shape))
    places = [(spot.x, spot.y) for spot in layout.spots]
    assert [spot.node for spot in layout.spots] == list(layout.graph.nodes)
    assert len(set(places)) == len(places)
    for x, y in places:
        assert layout.x_range[0] < x < layout.x_range[1]
        assert layout.rows.range[0] < y < layout.rows.range[1]
    rng = np.random.default_rng(0)
    cells = np.argwhere(layout.graph.edge_mask)
    edges = [layout.graph.edge_at(*cells[row]) for row in rng.choice(len(cells), 50)]
    curves = layout.curves(edges)
    assert curves.edge.tolist() == list(range(50))
    assert (np.diff(curves.y, axis=1) > -1e-3).all()


@pytest.mark.parametrize("shape", [(4, 8), (12, 12)])
def test_no_edge_leaves_the_picture(shape):
    layout = LayerLayout(graph_of(*shape))
    graph = layout.graph
    columns = [graph.edge_at(row, column) for row, column in np.argwhere(graph.edge_mask)[::7]]
    mlps = [graph.parse_edge(f"m0->m{shape[0] - 1}"), graph.parse_edge("input->logits")]
    for around in ((), graph.nodes[::5]):
        curves = layout.curves([*columns, *mlps], around)
        x_range, y_range = layout.x_range, layout.rows.range
        for values, (low, high) in ((curves.x, x_range), (curves.y, y_range)):
            assert low < values.min()
            assert values.max() < high


def test_nodes_do_not_touch_one_another_on_deep_and_wide_models():
    for shape in ((4, 8), (30, 9), (16, 32), (48, 25)):
        graph = graph_of(*shape)
        layout = LayerLayout(graph)
        spots = np.array([(spot.x, spot.y) for spot in layout.spots]) * layout.pixels
        apart = np.hypot(*(spots[:, None] - spots[None]).transpose(2, 0, 1))
        np.fill_diagonal(apart, np.inf)
        # Below this no number can be read in a node: then they may touch.
        assert apart.min() >= min(layout.node_size, 11)
        assert layout.height <= 720


def test_edges_go_around_nodes_that_they_do_not_touch():
    layout = LayerLayout(graph_of(4, 8))
    graph = layout.graph
    edge = graph.parse_edge("a0.h1->a2.h5<k>")
    radius = layout.node_size / 2

    def distance(curves, node):
        spot = layout.spots_of(graph.parse_node(node))[0]
        # Between the points that are drawn, as Plotly does.
        fine = np.linspace(0, CURVE_POINTS - 1, 200)
        x, y = (np.interp(fine, range(CURVE_POINTS), part[0]) for part in (curves.x, curves.y))
        across, up = layout.pixels
        return np.hypot((x - spot.x) * across, (y - spot.y) * up).min()

    straight = layout.curves([edge])
    assert distance(straight, "a1.h3") < radius
    around = [graph.parse_node(node) for node in ("a0.h1", "a1.h3", "a2.h5")]
    bent = layout.curves([edge], around)
    assert distance(bent, "a1.h3") > radius
    # Its own nodes it touches still.
    assert distance(bent, "a0.h1") < 1
    assert distance(bent, "a2.h5") < radius


def test_crossings_are_few_on_a_real_circuit():
    circuit = ax.find_circuit("mini", "ioi", "3%")
    layout = LayerLayout(circuit.graph)
    edges = [circuit.graph.parse_edge(edge) for edge in circuit.kept]
    inside = {node for edge in edges for node in (edge.sender, edge.receiver.node)}
    places = np.array([(s.x, s.y) for n in inside for s in layout.spots_of(n)]) * layout.pixels

    def crossed(curves):
        points = np.stack([curves.x, curves.y], -1) * layout.pixels
        near = np.hypot(*(points[:, 1:-1, None] - places).transpose(3, 0, 1, 2))
        touching = (near < layout.node_size / 2).any(1)
        ends = points[:, [0, -1], None] - places
        own = (np.hypot(*ends.transpose(3, 0, 1, 2)) < layout.node_size / 2).any(1)
        return int((touching & ~own).sum())

    assert crossed(layout.curves(edges)) >= 2
    assert crossed(layout.curves(edges, inside)) == 0


def test_only_nodes_of_the_circuit_show_their_labels():
    """All have one: Plotly loses labels that come back after having been empty."""
    figure, circuit = make_figure(), random_circuit(10, (4, 8))
    draw(figure, circuit)
    nodes = traces(figure)["nodes"]
    inside = {n for s in circuit.decisions for n in (s.edge.sender.id, s.edge.receiver.node.id)}
    for node_id, text, colour in zip(
        nodes.customdata, nodes.text, nodes.textfont.color, strict=True
    ):
        assert text
        assert (colour == "#222222") == (node_id in inside - {"input", "logits"})


def test_idle_nodes_of_large_models_are_left_out():
    figure = make_figure()
    circuit = replace(random_circuit(10), complete=True)
    draw(figure, circuit)
    inside = {n for s in circuit.decisions for n in (s.edge.sender.id, s.edge.receiver.node.id)}
    assert set(traces(figure)["nodes"].customdata) == inside | {"input", "logits"}


class TestUnconnectedEdges:
    """m1->logits was kept, and then all that led into m1 was removed."""

    effects = {  # noqa: RUF012
        "a1.h0->logits": 0.9, "input->a1.h0<v>": 0.8, "m1->logits": 1.5, "input->m0": 0.4,
    }  # fmt: skip

    def test_they_are_faint_once_that_is_known(self):
        circuit = circuit_of_edges(graph_of(2, 2), self.effects)
        figure = make_figure()
        draw(figure, circuit)
        assert n_curves(traces(figure)["unconnected"]) == 2
        kept = kept_edges(circuit)
        assert [each.connected for each in kept] == [True, True, False, False]
        # Unconnected ones come last, whatever their size.
        assert kept[2].edge.id == "m1->logits"
        text = dict(zip(traces(figure)["edge-hits"].customdata, traces(figure)["edge-hits"].text,
                        strict=True))  # fmt: skip
        assert "not on any path" in text["m1->logits"]
        assert "not on any path" not in text["a1.h0->logits"]
        draw(figure, replace(circuit, complete=False))
        assert n_curves(traces(figure)["unconnected"]) == 0

    def test_the_key_counts_and_hides_them(self):
        view = View(circuit_of_edges(graph_of(2, 2), self.effects))
        assert "2 lead from nothing" in view.view.key.widget.value
        assert view.buttons["unconnected"] == "true"
        view.press("unconnected")
        assert view.buttons["unconnected"] == "false"
        assert edges_hit(view.view.figure) == {"a1.h0->logits", "input->a1.h0<v>"}
        assert n_curves(view.traces["unconnected"]) == 0
        view.show(circuit_of_edges(graph_of(2, 2), dict(list(self.effects.items())[:2])))
        assert "unconnected" not in view.buttons


class TestKey:
    """Each button hides and shows its edges, and those that are hidden cannot be hit."""

    effects = {  # noqa: RUF012
        "a0.h0->a1.h0<q>": 0.9, "a0.h0->a1.h0<k>": -0.1, "a0.h0->a1.h0<v>": 0.02,
        "a1.h0->logits": -1.0, "input->a0.h0<v>": 0.5,
    }  # fmt: skip

    @pytest.fixture
    def view(self):
        return View(circuit_of_edges(graph_of(2, 2), self.effects))

    def test_it_tells_what_there_is(self, view):
        assert list(view.buttons) == [
            "q", "k", "v", "other", "helps", "hurts", "size-0", "size-1", "size-2", "merged",
            "changes",
        ]  # fmt: skip
        assert 'title="Effect, of the clean metric: 1 edge"' in view.view.key.widget.value
        assert 'title="Their removal helps: 2 edges"' in view.view.key.widget.value

    @pytest.mark.parametrize(
        ("part", "hidden"),
        [
            ("q", {"a0.h0->a1.h0<q>"}),
            ("v", {"a0.h0->a1.h0<v>", "input->a0.h0<v>"}),
            ("hurts", {"a0.h0->a1.h0<k>", "a1.h0->logits"}),
            ("size-0", {"a0.h0->a1.h0<v>"}),
            ("size-1", {"a0.h0->a1.h0<k>"}),
        ],
    )
    def test_what_is_hidden_is_not_hit(self, view, part, hidden):
        view.press(part)
        assert edges_hit(view.view.figure) == set(self.effects) - hidden
        lines = [trace for name, trace in view.traces.items() if name.startswith("edges-")]
        assert sum(map(n_curves, lines)) == len(self.effects) - len(hidden)
        assert view.buttons[part] == "false"
        view.press(part)
        assert edges_hit(view.view.figure) == set(self.effects)

    def test_one_line_for_a_pair_of_heads(self, view):
        view.press("merged")
        assert view.buttons["merged"] == "true"
        figure = view.view.figure
        assert edges_hit(figure) == {"a0.h0->a1.h0<q>", "a1.h0->logits", "input->a0.h0<v>"}
        assert figure.n_drawn == 5
        clicked = []
        figure._on_edges = clicked.append
        index = list(traces(figure)["edge-hits"].customdata).index("a0.h0->a1.h0<q>")
        figure._clicked_edge(None, type("Points", (), {"point_inds": [index]})(), None)
        assert clicked[0][:3] == ["a0.h0->a1.h0<q>", "a0.h0->a1.h0<k>", "a0.h0->a1.h0<v>"]
        text = traces(figure)["edge-hits"].text[index]
        assert "L0H0 → L1H0 k -0.100" in text


class TestSelection:
    """What is selected is lit, with the strongest way through it; all else is dim."""

    effects = {  # noqa: RUF012
        "a2.h0->logits": 1.0, "a2.h1->logits": 0.5, "a1.h0->a2.h0<q>": 0.8,
        "a0.h0->a1.h0<v>": 0.7, "a0.h1->a1.h0<v>": 0.2, "input->a0.h0<v>": 0.6,
        "input->a0.h1<v>": 0.1, "input->a2.h1<v>": 0.3,
    }  # fmt: skip

    def test_the_ways_through_an_edge_and_a_node(self):
        circuit = circuit_of_edges(graph_of(3, 2), self.effects)
        kept, graph = kept_edges(circuit), circuit.graph
        lit = {e.id for e in lit_edges(kept, graph, graph.parse_edge("a0.h1->a1.h0<v>"))}
        assert lit == {
            "a0.h1->a1.h0<v>", "input->a0.h1<v>", "a1.h0->a2.h0<q>", "a2.h0->logits",
        }  # fmt: skip
        lit = {e.id for e in lit_edges(kept, graph, graph.parse_node("a1.h0"))}
        assert lit == {
            "a0.h0->a1.h0<v>", "a0.h1->a1.h0<v>", "input->a0.h0<v>", "a1.h0->a2.h0<q>",
            "a2.h0->logits",
        }  # fmt: skip

    def test_the_rest_is_dim_and_comes_back(self):
        view = View(circuit_of_edges(graph_of(3, 2), self.effects))
        assert n_curves(view.traces["dimmed"]) == 0
        view.show(view.view._snapshot.circuit, "a2.h1")
        assert n_curves(view.traces["dimmed"]) == 6
        assert edges_hit(view.view.figure) == set(self.effects)
        assert np.isfinite(view.traces["selected-node"].x).all()
        view.view.select(None)
        assert n_curves(view.traces["dimmed"]) == 0

    def test_a_removed_edge_looks_removed(self):
        graph = graph_of(2, 2)
        steps = [
            EdgeStep(graph.parse_edge("m1->logits"), 3.0, 2.0, kept=True),
            EdgeStep(graph.parse_edge("m0->logits"), 3.0, 3.0, kept=False),
        ]
        circuit = replace(circuit_of_edges(graph, {}), steps=tuple(steps))
        view = View(circuit)
        view.show(circuit, "m0->logits")
        assert n_curves(view.traces["selected-removed"]) == 1
        assert n_curves(view.traces["selected"]) == 0
        view.show(circuit, "m1->logits")
        assert n_curves(view.traces["selected-removed"]) == 0
        assert n_curves(view.traces["selected"]) == 1


class TestArrowKeys:
    """Nodes can be reached without a mouse: in its row, or the nearest of the next row."""

    effects = {  # noqa: RUF012
        "a1.h0->logits": 1.0, "a1.h3->logits": 1.0, "a0.h1->a1.h0<q>": 0.5, "m0->a1.h3<v>": 0.5,
        "input->a0.h1<v>": 0.5, "input->m0": 0.5,
    }  # fmt: skip

    def test_they_go_from_node_to_node_of_the_circuit(self):
        view = View(circuit_of_edges(graph_of(2, 4), self.effects))
        keys = view.view.figure.box.children[-1]
        ways = ["up", "down", "right", "right", "down", "down", "left", "down", "up", "sideways"]
        gone = []
        for way in ways:
            keys._handle_custom_msg({"way": way}, [])
            gone.append(view.selected)
        assert gone == [
            "logits", "a1.h0", "a1.h3", "a1.h3", "m0", "a0.h1", "a0.h1", "input", "a0.h1", "a0.h1",
        ]  # fmt: skip

    def test_from_an_edge_they_go_on_from_where_it_leads(self):
        view = View(circuit_of_edges(graph_of(2, 4), self.effects))
        view.view.select(Selection("edge", "a0.h1->a1.h0<q>"))
        view.view.figure.box.children[-1]._handle_custom_msg({"way": "right"}, [])
        assert view.selected == "a1.h3"

    def test_a_node_of_several_columns_leads_to_the_nearest_from_any(self):
        graph = graph_of(1, 1, labels=("A", "END"))
        names = "input->a0.h0<v>@A", "input->a0.h0<q>@END", "a0.h0->logits@END"
        edges = [graph.parse_edge(name) for name in names]
        layout = PositionLayout(graph, edges, {"A": "A", "END": "END"}, lambda *_: True)
        head, nodes = graph.parse_node("a0.h0"), set(graph.nodes)
        assert len(layout.spots_of(graph.parse_node("input"))) == 2
        assert layout.neighbour(graph.parse_node("input"), "up", nodes) == head
        assert layout.neighbour(head, "up", nodes) == graph.parse_node("logits")


class TestFolding:
    """Layers, and heads of wide models, in which nothing is kept take little room."""

    def test_rows(self):
        rows = Rows(8, {0, 4, 5})
        assert [fold.name for fold in rows.folds] == ["L1–L3", "L6–L7"]
        assert rows.ticks[1] == ["input", "L0", "L1–L3", "L4", "L5", "L6–L7", "logits"]
        assert rows.ticks[0] == sorted(rows.ticks[0])
        assert rows.height < Rows(8).height
        assert Rows(8).folds == []
        # One alone is not worth it.
        assert Rows(5, {0, 2, 4}).folds == []

    def test_a_deep_model_is_folded_once_the_search_has_ended(self):
        effects = {"a20.h3->logits": 1.0, "a2.h1->a20.h3<v>": 0.5, "input->a2.h1<v>": 0.4}
        circuit = circuit_of_edges(graph_of(30, 9), effects)
        view = View(circuit)
        folds = [fold.name for fold in view.view.figure.layout.rows.folds]
        assert folds == ["L0–L1", "L3–L19", "L21–L29"]
        assert view.traces["folds"].text[1] == "··· L3–L19 ···"
        assert view.view.figure.layout.node_size == 27
        view.view.figure._clicked_fold(None, type("Points", (), {"point_inds": [0]})(), None)
        assert [f.name for f in view.view.figure.layout.rows.folds] == ["L3–L19", "L21–L29"]
        assert view.buttons["folded"] == "false"
        view.press("folded")
        assert [f.name for f in view.view.figure.layout.rows.folds] == folds
        view.press("folded")
        assert view.view.figure.layout.rows.folds == []
        view.press("folded")
        view.show(replace(circuit, complete=False))
        assert view.view.figure.layout.rows.folds == []

    def test_what_is_selected_is_never_folded(self):
        effects = {"a20.h3->logits": 1.0, "input->a20.h3<v>": 0.4}
        view = View(circuit_of_edges(graph_of(30, 9), effects))
        view.show(view.view._snapshot.circuit, "a7.h2->a11.h0<q>")
        folded = {layer for fold in view.view.figure.layout.rows.folds for layer in fold.layers}
        assert not {7, 11, 20} & folded
        # It has not been tested: it is neither kept nor removed.
        assert n_curves(view.traces["selected"]) == 1

    def test_a_wide_model_shows_the_heads_that_it_needs(self):
        effects = {"a3.h30->logits": 1.0, "a1.h2->a3.h30<v>": 0.5, "input->a1.h2<v>": 0.4}
        view = View(circuit_of_edges(graph_of(4, 32), effects))
        assert view.view.figure.layout.x_ticks[1] == ["H2", "H30", "MLP"]
        view.press("folded")
        assert len(view.view.figure.layout.x_ticks[1]) == 33

    def test_small_models_are_never_folded(self):
        effects = {"a3.h0->logits": 1.0, "input->a3.h0<v>": 0.4}
        view = View(circuit_of_edges(graph_of(4, 8), effects))
        assert view.view.figure.layout.rows.folds == []
        assert "folded" not in view.buttons


def test_ports_stay_on_their_nodes_when_zoomed():
    graph = graph_of(4, 8)
    figure = make_figure()
    circuit = circuit_of_edges(graph, {"a0.h1->a2.h5<q>": 1.0}, complete=False)
    draw(figure, circuit)
    name = line_name("q", 2, hurts=False)
    layout = figure.layout
    middle = layout.spots_of(graph.parse_node("a2.h5"))[0].x

    def beside():
        return middle - traces(figure)[name].x[CURVE_POINTS - 1]

    whole = beside()
    assert 0 < whole * layout.pixels[0] < layout.node_size / 2
    low, high = layout.x_range
    # As the page tells of a zoom.
    figure.widget._js2py_relayout = {
        "relayout_data": {"xaxis.range[0]": low, "xaxis.range[1]": low + (high - low) / 4},
        "source_view_id": "x",
    }
    assert beside() == pytest.approx(whole / 4, rel=1e-3)
    figure.widget._js2py_relayout = {
        "relayout_data": {"xaxis.autorange": True, "yaxis.autorange": True},
        "source_view_id": "x",
    }
    assert beside() == pytest.approx(whole)


def test_empty_columns_of_positions_are_narrow():
    graph = Graph(2, 2, labels=("A", "B", "END"))
    kept = [graph.parse_edge("m0->logits@END"), graph.parse_edge("input->m0@END")]
    names = {label: label for label in ("A", "B", "END")}
    layout = PositionLayout(graph, kept, names, lambda *_: True)
    widths = np.diff([layout.x_range[0], *layout.separators, layout.x_range[1]])
    assert widths[0] == pytest.approx(widths[1])
    assert widths[2] > 1.5 * widths[0]


def test_heads_and_mlps_of_a_column_never_overlap():
    graph = Graph(30, 2, labels=("A", "END"))
    kept = [graph.parse_edge(f"m{layer}->logits@END") for layer in range(30)]
    kept += [graph.parse_edge(f"a{layer}.h1->m29@END") for layer in range(30)]
    names = {label: label for label in ("A", "END")}
    layout = PositionLayout(graph, kept, names, lambda *_: True)
    spots = np.array([(spot.x, spot.y) for spot in layout.spots]) * layout.pixels
    apart = np.hypot(*(spots[:, None] - spots[None]).transpose(2, 0, 1))
    np.fill_diagonal(apart, np.inf)
    assert apart.min() >= layout.node_size
