"""The widget without a browser: traits, clicks as the page sends them, panels, errors."""

from __future__ import annotations

import gc
import html
import importlib
import math
import re
import threading
import time
import weakref
from datetime import UTC, datetime

import numpy as np
import pytest
from conftest import labelled_task, random_task
from ipywidgets import Widget

import acdc_explorer as ax
from acdc_explorer.arguments import SearchOptions
from acdc_explorer.explorer.drawing.layout import CURVE_POINTS
from acdc_explorer.explorer.widgets.file_buttons import FileButtons
from acdc_explorer.explorer.widgets.plotly_private import SyncedFigureWidget, click
from acdc_explorer.explorer.words import effect_in_words
from acdc_explorer.inspection import edge_effect, with_the_rest
from acdc_explorer.searches.methods import search_steps

THRESHOLD = 0.05


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


def drag(controls, percent, *, rests=True):
    """What the page tells of the threshold slider."""
    controls.threshold._handle_custom_msg({"percent": percent, "rests": rests}, [])


def parts_of(widget):
    """A widget and all that it is made of."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from parts_of(child)


def trace_number(explorer, name):
    return [trace.name for trace in explorer._graph_view.figure.widget.data].index(name)


def panel_data(explorer):
    return dict(re.findall(r'data-(edge|effect|node)="([^"]*)"', explorer._side_panel.panel.value))


def drawn_edges(explorer):
    hits = explorer._graph_view.figure.widget.data[trace_number(explorer, "edge-hits")]
    return list(dict.fromkeys(edge for edge in hits.customdata if edge))


@pytest.mark.slow
def test_a_screened_circuit_is_said_to_be_one(model, task):
    explorer = ax.Explorer(model, task, 0.3, screen=0.5)
    explorer._runner.rest(True)
    try:
        explorer.wait(30)
        assert explorer.status == "done"
        circuit = explorer.circuit
        assert circuit.n_screened > 0
        line = explorer._page.status.value
        assert f"{circuit.n_tested}</b> tested" in line
        assert f"{circuit.n_screened}</b> screened" in line
        screened = next(step.edge for step in circuit.decisions if step.screened)
        found = ax.inspect_edge(model, task, circuit, screened.id)
        assert math.isnan(found.effect_when_decided)
        assert not math.isnan(found.effect)
        assert "<b>screened</b> · audit …" in line
        assert "○</span> ACDC, screened" in explorer._page._threshold_plot.value
        # In the background it is audited, then verified, and is the exact one from then on.
        explorer._runner.rest(False)
        until(lambda: re.search(r"audit <b>\d+ of \d+</b> wrong", explorer._page.status.value), 30)
        until(lambda: explorer.circuit.n_screened == 0, 90)
        until(lambda: "every edge tested" in explorer._page.status.value)
        assert explorer.circuit.kept == ax.find_circuit(model, task, 0.3).kept
    finally:
        explorer.close()


def test_faithfulness_and_threshold_move_one_another(model):
    task = random_task(seed=5)
    explorer = ax.Explorer(model, task, 0.3)
    try:
        explorer.wait(30)
        controls = explorer._controls
        reached = 100 * explorer.circuit.faithfulness
        assert controls.faithfulness.value == pytest.approx(min(max(reached, 0), 100))
        controls.faithfulness.value = 70.0
        assert explorer.wait(60) == "done"
        assert explorer.faithfulness == "70%"
        assert explorer.circuit.faithfulness >= 0.7
        assert explorer.threshold == explorer.circuit.threshold
        percent = 100 * explorer.circuit.threshold / abs(explorer.circuit.full_metric)
        assert controls.threshold.value == pytest.approx(min(percent, 100), rel=1e-6)
        assert controls.faithfulness.value == 70.0
        assert controls.rule.value == "signed"
        assert "rule signed" in explorer._page.status.value
        drag(explorer._controls, 20.0)
        until(lambda: explorer.threshold == "20%")
        assert explorer.wait(60) == "done"
        assert explorer.threshold == "20%"
        assert explorer.faithfulness is None
        assert explorer.circuit.settings.rule == "signed"
        controls.rule.value = "abs"
        assert explorer.wait(60) == "done"
        assert explorer.circuit.kept == ax.find_circuit(model, task, "20%").kept
        for wrong in ("150%", "much", 0):
            with pytest.raises(ValueError, match="faithfulness must be a share"):
                explorer.faithfulness = wrong
    finally:
        explorer.close()


def test_faithfulness_from_the_start(model):
    explorer = ax.Explorer(model, random_task(seed=5), faithfulness="60%")
    try:
        assert explorer.wait(60) == "done"
        assert explorer.circuit.faithfulness >= 0.6
        assert explorer.threshold == explorer.circuit.threshold
    finally:
        explorer.close()
    with pytest.raises(ValueError, match="faithfulness must be a share"):
        ax.Explorer(model, random_task(), faithfulness="60 edges")


def test_the_background_waits_while_a_cell_runs(model, task, monkeypatch):
    from IPython.core.events import EventManager, available_events

    class Shell:
        events = EventManager(None, available_events)

    monkeypatch.setattr("acdc_explorer.explorer.notebook.own_cells.get_ipython", Shell)
    explorer = ax.Explorer(model, task, THRESHOLD)
    Shell.events.trigger("pre_run_cell", None)
    try:
        assert explorer.wait(30) == "done"
        # The bit at hand.
        time.sleep(0.3)
        n_known = len(explorer._runner.snapshot().path.circuits)
        time.sleep(0.3)
        assert len(explorer._runner.snapshot().path.circuits) == n_known
        assert explorer._runner.snapshot().exploring
        Shell.events.trigger("post_run_cell", None)
        until(lambda: len(explorer._runner.snapshot().path.circuits) > n_known, 30)
    finally:
        explorer.close()
    assert not any(Shell.events.callbacks.values())


def test_it_finds_the_circuit_and_says_where_it_stands(explorer, model, task):
    expected = ax.find_circuit(model, task, THRESHOLD)
    assert explorer.status == "done"
    assert explorer.circuit.kept == expected.kept
    assert set(drawn_edges(explorer)) == set(expected.kept)
    line = explorer._page.status.value
    assert 'data-status="done"' in line
    for number in (expected.full_metric, expected.metric_value, expected.corrupted_metric):
        assert f"{number:.3f}" in line
    assert f"{len(expected.kept)}</b> kept" in line
    assert f"{expected.faithfulness:.1%}" in line
    assert "random 2x4" in repr(explorer)


def test_a_clicked_edge_shows_what_inspect_edge_finds(explorer, model, task):
    hits = trace_number(explorer, "edge-hits")
    click(explorer._graph_view.figure.widget, hits, 7)
    clicked = explorer._graph_view.figure.widget.data[hits].customdata[7]
    assert explorer.selected_edge == clicked
    until(lambda: "effect" in panel_data(explorer))
    found = ax.inspect_edge(model, task, explorer.circuit, clicked)
    shown = panel_data(explorer)
    assert shown["edge"].replace("&gt;", ">").replace("&lt;", "<") == clicked
    assert float(shown["effect"]) == pytest.approx(found.effect, abs=2e-6)
    for label, value in found.by_position.items():
        assert re.search(rf'data-position="{label}".*?{value:+.3f}'.replace("+", r"\+"),
                         explorer._side_panel.panel.value)  # fmt: skip
    selected = explorer._graph_view.figure.widget.data[trace_number(explorer, "selected")]
    assert np.isfinite(selected.x).sum() == CURVE_POINTS


def test_a_clicked_node_lists_its_edges_to_go_on_with(explorer):
    nodes = trace_number(explorer, "nodes")
    click(explorer._graph_view.figure.widget, nodes, len(explorer.circuit.graph.nodes) - 1)
    assert explorer.selected_node == "logits"
    until(lambda: panel_data(explorer).get("node") == "logits")
    into_logits = [edge for edge in explorer.circuit.kept if edge.endswith("->logits")]
    assert set(explorer._side_panel.chooser.edge_ids) == set(into_logits)
    first = explorer._side_panel.chooser.edge_ids[0]
    effects = explorer.circuit.edges.set_index("edge").effect
    told = explorer._side_panel.chooser.buttons[0].description
    assert told == f"{effects[first]:+.3f}  {explorer.circuit.graph.parse_edge(first).label}"
    explorer._side_panel.chooser.buttons[0].click()
    assert explorer.selected_edge == first
    assert explorer.selected_node is None
    until(lambda: "effect" in panel_data(explorer))


def test_a_node_without_edges_gives_way_to_the_edge_that_it_covers():
    explorer = ax.Explorer("mini", "ioi", "7%")
    explorer.wait(60)
    figure = explorer._graph_view.figure
    until(lambda: len(figure._hits.edges) == len(explorer.circuit.kept))
    edges, nodes = [], []
    figure._on_edges, figure._on_node = edges.append, nodes.append
    trace = figure.widget.data[trace_number(explorer, "nodes")]
    used = {name for edge in explorer.circuit.kept
            for name in (edge.split("->")[0], edge.split("->")[1].split("<")[0])}  # fmt: skip
    for index, name in enumerate(trace.customdata):
        edges.clear(), nodes.clear()
        click(figure.widget, trace_number(explorer, "nodes"), index)
        room = pixels_away(figure, trace.x[index], trace.y[index])
        if name not in used and room.min() < 7:
            assert edges[0][0] == figure._hits.edges[room.argmin()].edge.id
            assert not nodes
        else:
            assert nodes == [name]
    # From L0H3 to L2H1 leads the strongest edge, right through L1H2.
    click(figure.widget, trace_number(explorer, "nodes"), list(trace.customdata).index("a1.h2"))
    assert edges[-1][0] == "a0.h3->a2.h1<k>"
    explorer.close()


def pixels_away(figure, x, y):
    """How far each curve's nearest hit point is, where the whole picture is seen."""
    across, up = figure.layout.pixels
    return np.hypot((figure._hits.x - x) * across, (figure._hits.y - y) * up).min(1)


def test_edges_that_lie_together_are_offered_too(explorer):
    figure = explorer._graph_view.figure
    chosen = []
    figure._on_edges = chosen.append
    hits_x, hits_y = figure._hits.x, figure._hits.y
    n_edges, per_edge = hits_x.shape
    ids = [each.edge.id for each in figure._hits.edges]
    for edge in range(n_edges):
        click(figure.widget, trace_number(explorer, "edge-hits"), edge * per_edge + 2)
        here = pixels_away(figure, hits_x[edge, 2], hits_y[edge, 2])
        offered = chosen[-1]
        assert offered[0] == ids[edge]
        assert set(offered) <= {ids[near] for near in np.flatnonzero(here < 7)}
    assert any(len(offered) > 1 for offered in chosen)


def test_the_keyboard_way_by_size_of_effect(explorer):
    by_effect = explorer.circuit.edges.query("state == 'kept'").sort_values(
        "effect", key=lambda effect: -effect.abs()
    )
    ordered = by_effect.edge.tolist()
    for expected in ordered[:3]:
        explorer._side_panel.finder.next.click()
        assert explorer.selected_edge == expected
    explorer._side_panel.finder.previous.click()
    assert explorer.selected_edge == ordered[1]
    explorer._side_panel.finder.search.value = "a1.h0"
    assert explorer.selected_node == "a1.h0"
    explorer._side_panel.finder.search.value = "a7.h0->logits"
    until(lambda: "unknown edge" in explorer._side_panel.panel.value)


def test_the_finder_takes_the_names_on_the_page_and_says_what_is_selected(explorer):
    panel, search = explorer._side_panel, explorer._side_panel.finder.search
    for name in ("1.0", "L1H0", "A1.H0", " a1.h0 "):
        explorer.selected_node = None
        search.value = name
        assert explorer.selected_node == search.value == "a1.h0"
    # By another name of what is selected already.
    search.value = "L1H0"
    assert explorer.selected_node == search.value == "a1.h0"
    for number in range(3):
        panel.finder.next.click()
        assert search.value == explorer.selected_edge == panel._by_effect()[number]
    # The same as before, after a selection elsewhere.
    search.value = "1.0"
    assert explorer.selected_node == search.value == "a1.h0"
    edge = explorer.circuit.graph.parse_edge(explorer.circuit.kept[0])
    search.value = edge.label.lower()
    assert explorer.selected_edge == search.value == edge.id
    assert explorer.selected_node is None
    search.value = ""
    assert explorer.selected_edge is explorer.selected_node is None
    assert "Nothing selected" in panel.panel.value
    search.value = "MLP 9"
    assert search.value == "MLP 9"
    assert "unknown node" in panel.panel.value
    # What is not there leaves no trace in the graph, whatever it is drawn by.
    explorer.shown_position = "MIDDLE"
    until(lambda: explorer._graph_view.effects is not None)
    assert "unknown node" in panel.panel.value
    explorer.shown_position = None
    assert explorer._page.error.value == ""
    explorer.selected_edge = edge.label
    assert explorer.selected_edge == search.value == edge.id
    click(explorer._graph_view.figure.widget, trace_number(explorer, "edge-hits"), 7)
    assert search.value == explorer.selected_edge


def test_a_name_given_before_the_model_is_loaded_is_looked_up_once_it_is(model, task):
    explorer = ax.Explorer(model, task, THRESHOLD)
    explorer.selected_edge = "L0H1 → L1H2 q"
    try:
        assert explorer.wait(30) == "done"
        until(lambda: "effect" in panel_data(explorer))
        assert panel_data(explorer)["edge"] == "a0.h1-&gt;a1.h2&lt;q&gt;"
        is_removed = "a0.h1->a1.h2<q>" in explorer.circuit.removed
        name = "selected-removed" if is_removed else "selected"
        selected = explorer._graph_view.figure.widget.data[trace_number(explorer, name)]
        assert np.isfinite(selected.x).sum() == CURVE_POINTS
    finally:
        explorer.close()


def test_a_removed_edge_can_be_inspected_by_its_id(explorer, model, task):
    removed = explorer.circuit.edges.query("state == 'removed'").edge.iloc[3]
    explorer.selected_edge = removed
    until(lambda: "effect" in panel_data(explorer))
    assert "<b>removed</b>" in explorer._side_panel.panel.value
    explorer.selected_edge = None
    assert "Nothing selected" in explorer._side_panel.panel.value


def test_setting_the_threshold_searches_again_and_moves_the_slider(explorer, model, task):
    explorer.threshold = "40%"
    assert explorer.wait(30) == "done"
    assert explorer.circuit.kept == ax.find_circuit(model, task, "40%").kept
    assert explorer._controls.threshold.value == pytest.approx(40)
    assert explorer._controls.threshold.text.startswith("40% = ")
    drag(explorer._controls, 10.0)
    until(lambda: explorer.threshold == "10%")
    assert explorer.wait(30) == "done"
    assert explorer.circuit.kept == ax.find_circuit(model, task, "10%").kept


def test_traits_can_be_observed(model, task):
    explorer = ax.Explorer(model, task, THRESHOLD)
    seen = []
    explorer.observe(lambda change: seen.append((change.name, change.new)),
                     ["status", "selected_edge", "circuit"])  # fmt: skip
    explorer.run()
    explorer.wait(30)
    explorer.selected_edge = explorer.circuit.kept[0]
    names = [name for name, _ in seen]
    assert {"status", "selected_edge", "circuit"} <= set(names)
    assert [value for name, value in seen if name == "status"][-1] == "done"
    explorer.close()


@pytest.mark.parametrize("threshold", [0, -1, float("nan"), "abc"])
def test_bad_thresholds_are_refused_at_once(explorer, model, task, threshold):
    with pytest.raises(ValueError, match="threshold must be a positive number"):
        explorer.threshold = threshold
    assert explorer.threshold == THRESHOLD
    with pytest.raises(ValueError, match="threshold must be a positive number"):
        ax.Explorer(model, task, threshold)


def test_an_error_in_the_search_is_shown_and_the_widget_goes_on(explorer, monkeypatch):
    def broken(*_, **__):
        raise ArithmeticError("<b>the engine</b> broke")
        yield

    with monkeypatch.context() as patch:
        patch.setattr("acdc_explorer.runner.session.search_steps", broken)
        explorer.run()
        assert explorer.wait(10) == "error"
    assert 'class="acdc-error"' in explorer._page.error.value
    assert "&lt;b&gt;the engine&lt;/b&gt; broke" in explorer._page.error.value
    explorer.run()
    assert explorer.wait(30) == "done"
    assert explorer._page.error.value == ""


def test_an_edges_effect_is_shown_before_those_of_its_positions(explorer, model, task, monkeypatch):
    """In a large model positions take seconds; what is shown whole stays until all is new."""
    measured = threading.Event()

    def held_up(*arguments):
        assert measured.wait(10)
        return with_the_rest(*arguments)

    monkeypatch.setattr("acdc_explorer.explorer.panel.side_panel.with_the_rest", held_up)
    panel, edge = explorer._side_panel.panel, explorer.circuit.kept[0]
    explorer.selected_edge = edge
    until(lambda: 'aria-busy="true"' in panel.value)
    effect = ax.inspect_edge(model, task, explorer.circuit, edge).effect
    assert f'in this circuit</th><td class="num">{effect:+.3f}' in panel.value
    assert 'alone in the full model</th><td class="num">measuring …' in panel.value
    assert "effect by position" not in panel.value
    assert "effect" not in panel_data(explorer)
    measured.set()
    until(lambda: "effect" in panel_data(explorer))
    assert "effect by position" in panel.value
    assert "aria-busy" not in panel.value
    measured.clear()
    before = panel.value
    explorer.threshold = 0.1
    explorer.wait(30)
    assert panel.value == before
    measured.set()
    until(lambda: panel.value != before)
    assert "effect by position" in panel.value


def test_closing_while_an_edge_is_measured_is_no_error(model, task, monkeypatch):
    explorer = ax.Explorer(model, task, THRESHOLD)
    explorer.wait(30)
    begun, closed = threading.Event(), threading.Event()

    def held_up(*arguments):
        begun.set()
        assert closed.wait(10)
        return edge_effect(*arguments)

    monkeypatch.setattr("acdc_explorer.explorer.panel.side_panel.edge_effect", held_up)
    runner = explorer._runner
    explorer.selected_edge = explorer.circuit.kept[0]
    assert begun.wait(10)
    closing = threading.Thread(target=explorer.close)
    closing.start()
    until(lambda: runner._closed)
    closed.set()
    closing.join(10)
    assert not runner._thread.is_alive()
    assert runner.snapshot().error is None


def test_an_error_in_the_inspection_is_shown_in_the_panel(explorer, monkeypatch):
    def broken(*_, **__):
        raise ArithmeticError("cannot measure")

    monkeypatch.setattr("acdc_explorer.explorer.panel.side_panel.edge_effect", broken)
    explorer.selected_edge = explorer.circuit.kept[0]
    until(lambda: "cannot measure" in explorer._side_panel.panel.value)
    assert explorer.status == "done"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "minni"}, "Did you mean &#x27;mini&#x27;"),
        ({"task": "ioj"}, "Did you mean &#x27;ioi&#x27;"),
    ],
)
def test_wrong_names_are_shown_in_words(monkeypatch, arguments, message):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    explorer = ax.Explorer(**arguments)
    assert explorer.wait(60) == "error"
    assert message in explorer._page.error.value
    assert explorer.circuit is None
    explorer.selected_edge = "input->m0"
    assert "not loaded" in explorer._side_panel.panel.value
    explorer.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "eapp"}, r"unknown method 'eapp'\. Did you mean 'eap'"),
        ({"rule": "both"}, r"unknown rule 'both'\. .*Allowed: abs, signed, cumulative"),
        ({"order": "any"}, r"unknown order 'any'"),
        ({"order_seed": -1}, "order_seed must be a whole number from 0 on; got -1"),
        ({"ablation": "none"}, r"unknown ablation 'none'\. .*Allowed: corrupted, zero, mean"),
        ({"positions": "yes"}, "positions must be True or False; got 'yes'"),
        ({"split_qkv": 2}, "split_qkv must be True or False; got 2"),
        ({"screen": 1.0}, "screen must be a share of the threshold"),
        ({"screen": "half"}, "screen must be a share of the threshold"),
        ({"screen": 0.5, "method": "eap"}, "screen is for method 'acdc'"),
        ({"replay": "circuit.json"}, "replay must be a Circuit; got a str"),
        ({"top_n": 5, "method": "eap"}, "top_n does not apply here: give a threshold"),
        ({"treshold": 1}, "unknown option 'treshold'"),
        ({"n_prompts": 0}, "n_prompts must be a whole number from 1 on; got 0"),
        ({"seed": 0.5}, "seed must be a whole number from 0 on; got 0.5"),
    ],
)
def test_wrong_options_are_refused_at_the_start(model, task, arguments, message):
    with pytest.raises(ValueError, match=message):
        ax.Explorer(model, task, **arguments)


# Of each option a value that is not the default one.
OPTIONS = {
    "method": ["path_patching", "eap", "eap_ig"],
    "rule": ["signed", "cumulative"],
    "order": ["ascending_heads", "random", "attribution"],
    "order_seed": [3],
    "ablation": ["zero", "mean"],
    "positions": [True],
    "split_qkv": [False],
    "screen": [0.5],
    "replay": [],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in OPTIONS.items() for value in values]
)
def test_every_option_is_that_of_find_circuit(model, name, value):
    task = labelled_task()
    options = {name: value, **({"order": "random"} if name == "order_seed" else {})}
    explorer = ax.Explorer(model, task, 0.3, **options)
    explorer._runner.rest(True)
    try:
        assert explorer.wait(60) == "done"
        assert explorer.circuit.kept == ax.find_circuit(model, task, 0.3, **options).kept
        assert explorer._page.error.value == ""
        assert explorer._controls.method.value == options.get("method", "acdc")
    finally:
        explorer.close()


def test_no_option_is_untested():
    assert {*OPTIONS, "top_n"} == set(SearchOptions.__annotations__)


def test_a_circuit_to_replay_is_for_its_own_prompts_alone(model, monkeypatch):
    task = random_task()
    circuit = ax.find_circuit(model, task, 0.3)
    explorer = ax.Explorer(model, task, 0.2, replay=circuit)
    try:
        assert explorer.wait(30) == "done"
        assert explorer.circuit.kept == ax.find_circuit(model, task, 0.2).kept
        explorer._controls.rule.value = "signed"
        assert explorer.wait(30) == "done"
        explorer.faithfulness = "50%"
        assert explorer.wait(60) == "done"
    finally:
        explorer.close()
    with pytest.raises(ValueError, match="give either replay= or faithfulness="):
        ax.Explorer(model, task, faithfulness="50%", replay=circuit)


def test_the_rule_of_a_target_is_that_of_find_circuit(model):
    task = random_task(seed=5)
    explorer = ax.Explorer(model, task, faithfulness="60%", method="eap")
    try:
        assert explorer.wait(60) == "done"
        expected = ax.find_circuit(model, task, faithfulness="60%", method="eap")
        assert explorer.circuit.settings.rule == expected.settings.rule == "abs"
        assert explorer.circuit.kept == expected.kept
    finally:
        explorer.close()


def test_after_a_request_that_fails_no_circuit_is_shown(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    explorer = ax.Explorer("mini", "ioi", "30%", n_prompts=4)
    try:
        assert explorer.wait(60) == "done"
        box = explorer._graph_view.figure.box
        explorer.selected_edge = explorer.circuit.kept[0]
        for name, wrong, right in (("task", "ioj", "ioi"), ("model", "minni", "mini")):
            assert explorer.circuit is not None
            assert box.layout.visibility == "visible"
            getattr(explorer._controls, name).value = wrong
            assert explorer.wait(60) == "error"
            assert explorer.circuit is explorer.selected_edge is None
            assert box.layout.visibility == "hidden"
            assert "no circuit yet" in explorer._page.status.value
            assert explorer._page._threshold_plot.value == ""
            assert "Nothing selected" in explorer._side_panel.panel.value
            getattr(explorer._controls, name).value = right
            assert explorer.wait(60) == "done"
            assert explorer._page.error.value == ""
    finally:
        explorer.close()


def test_another_model_gets_a_task_that_it_can_do():
    explorer = ax.Explorer("mini", "ioi", "30%", n_prompts=4)
    controls = explorer._controls
    try:
        assert explorer.wait(60) == "done"
        assert "ioi" in controls.task.options
        assert "five-heads" not in controls.task.options
        controls.model.value = "five-heads"
        assert explorer.wait(60) == "done"
        assert controls.task.value == explorer.circuit.task_name == "five-heads"
        assert controls.task.options == ("five-heads", "or-gate")
        said = "task &#x27;ioi&#x27; cannot be made for five-heads; this is &#x27;five-heads&#x27;"
        assert said in explorer._page.status.value
        # A task that is asked for by name is not replaced.
        controls.task.value = "ioi"
        assert explorer.wait(60) == "error"
        summary, rest = explorer._page.error.value.split("</summary>")
        assert "<summary>task &#x27;ioi&#x27; needs 5 names" in summary
        assert len(html.unescape(summary)) < 350
        assert "words that the model does not know" in rest
        controls.model.value = "mini"
        assert explorer.wait(60) == "done"
        assert explorer.circuit.task_name == "ioi"
    finally:
        explorer.close()


class TestLifetime:
    """What is left of an explorer whose output is cleared; messages as the page sends them."""

    @pytest.fixture(autouse=True)
    def _at_once(self, monkeypatch):
        monkeypatch.setattr("acdc_explorer.explorer.notebook.presence.GRACE_SECONDS", 0.2)

    @staticmethod
    def page(explorer, **message):
        explorer._presence._handle_custom_msg(message, [])

    def test_a_cleared_output_leaves_nothing_running_and_no_widget(self, model):
        # What brings it Plotly's script stays for the next figure.
        SyncedFigureWidget().close()
        before = set(Widget.widgets)
        explorer = ax.Explorer(model, random_task(), 0.001)
        thread = explorer._runner._thread
        self.page(explorer, view="here")
        explorer.wait(60)
        kept = explorer.circuit.kept
        self.page(explorer, view="gone", cleared=True)
        until(lambda: not thread.is_alive())
        until(lambda: set(Widget.widgets) == before)
        assert explorer.status == "done"
        assert explorer.circuit.kept == kept

    def test_all_that_holds_the_model_is_let_go_of(self, monkeypatch):
        """At once, and not when Python next looks for circles of references."""
        monkeypatch.setattr("acdc_explorer.runner.session.PATH_SECONDS", 600.0)
        # PyTorch imports it with the first gradient, and keeps what called it in a circle.
        importlib.import_module("torch._dynamo")
        gc.collect()
        gc.disable()
        explorer = ax.Explorer("mini", "ioi", "30%", n_prompts=4)
        self.page(explorer, view="here")
        explorer.wait(60)
        search = explorer._runner._at_hand._search
        held = [weakref.ref(each) for each in (search.model, search.engine)]
        del search
        self.page(explorer, view="gone", cleared=True)
        try:
            until(lambda: [each() for each in held] == [None, None])
        finally:
            gc.enable()

    def test_displayed_again_it_goes_on_from_its_circuit(self, model):
        task = random_task()
        explorer = ax.Explorer(model, task, 0.05)
        try:
            explorer.wait(30)
            explorer.selected_edge = explorer.circuit.kept[0]
            circuit = explorer.circuit
            self.page(explorer, view="here")
            self.page(explorer, view="gone", cleared=True)
            until(lambda: explorer.comm is None)
            with explorer._lifetime:
                bundle = explorer._repr_mimebundle_()
            assert "application/vnd.jupyter.widget-view+json" in str(bundle)
            assert explorer.model_id in str(bundle)
            assert explorer.wait(30) == "done"
            assert explorer.circuit.kept == circuit.kept
            assert explorer.circuit.threshold == circuit.threshold
            assert set(drawn_edges(explorer)) == set(circuit.kept)
            until(lambda: "effect" in panel_data(explorer))
            assert explorer.children == tuple(explorer._page.parts)
            drag(explorer._controls, 40.0)
            assert explorer.wait(30) == "done"
            assert explorer.circuit.kept == ax.find_circuit(model, task, "40%").kept
            # A second time, and told from Python instead.
            self.page(explorer, view="here")
            self.page(explorer, view="gone", cleared=True)
            until(lambda: explorer.comm is None)
            explorer.threshold = 0.3
            assert explorer.wait(30) == "done"
            assert explorer.circuit.kept == ax.find_circuit(model, task, 0.3).kept
        finally:
            explorer.close()

    def test_while_another_view_answers_it_goes_on(self, explorer):
        self.page(explorer, view="here")
        self.page(explorer, view="gone", cleared=True)
        self.page(explorer, view="here")
        time.sleep(0.5)
        assert explorer.comm is not None
        assert not explorer._runner._rests

    def test_a_closed_page_only_has_the_background_rest(self, explorer):
        self.page(explorer, view="here")
        self.page(explorer, view="gone", cleared=False)
        assert explorer._runner._rests
        time.sleep(0.5)
        assert explorer.comm is not None
        self.page(explorer, view="here")
        assert not explorer._runner._rests

    @pytest.mark.slow
    def test_a_page_that_does_not_answer_is_one_that_is_closed(self, model, monkeypatch):
        monkeypatch.setattr("acdc_explorer.explorer.notebook.presence.LOOK_SECONDS", 0.2)
        explorer = ax.Explorer(model, random_task(), 0.05)
        asked = []
        monkeypatch.setattr(explorer._presence, "send", asked.append)
        try:
            time.sleep(0.5)
            assert not asked
            self.page(explorer, view="here")
            until(lambda: asked)
            assert not explorer._runner._rests
            until(lambda: explorer._runner._rests)
            self.page(explorer, view="here")
            assert not explorer._runner._rests
            # The kernel would not hear it.
            explorer._own_cells.running = True
            n_asked = len(asked)
            until(lambda: len(asked) > n_asked + 2)
            assert explorer._on_view
        finally:
            explorer.close()
        time.sleep(0.3)
        n_asked = len(asked)
        time.sleep(0.5)
        assert len(asked) == n_asked

    def test_a_search_is_ended_too(self, model, monkeypatch):
        def slow_steps(*args, **options):
            for step in search_steps(*args, **options):
                time.sleep(0.05)
                yield step

        monkeypatch.setattr("acdc_explorer.runner.session.search_steps", slow_steps)
        explorer = ax.Explorer(model, random_task(), 0.05)
        try:
            until(lambda: explorer.circuit is not None and explorer.circuit.n_tested > 1)
            self.page(explorer, view="here")
            self.page(explorer, view="gone", cleared=True)
            until(lambda: explorer.comm is None)
            until(lambda: explorer.status == "stopped")
            assert explorer.wait(1) == "stopped"
            monkeypatch.undo()
            # Until the page is gone wholly.
            with explorer._lifetime:
                explorer._repr_mimebundle_()
            assert explorer.wait(30) == "done"
            assert explorer.circuit.complete
        finally:
            explorer.close()

    def test_never_displayed_it_is_left_alone(self, explorer):
        time.sleep(0.5)
        assert explorer.comm is not None
        assert explorer._runner._thread.is_alive()

    def test_closed_it_stays_closed_and_says_so(self, model):
        explorer = ax.Explorer(model, random_task(), 0.05)
        explorer.wait(30)
        explorer.close()
        assert explorer._repr_mimebundle_ is None
        assert repr(explorer).startswith("Explorer(closed; ")
        with pytest.raises(RuntimeError, match="closed"):
            explorer.run()


def test_texts_of_tasks_are_escaped(model):
    task = random_task(texts=["<script>alert(1)</script>"] * 5)
    explorer = ax.Explorer(model, task, THRESHOLD)
    explorer.wait(30)
    explorer.selected_edge = explorer.circuit.kept[0]
    until(lambda: "effect" in panel_data(explorer))
    assert "<script>" not in explorer._side_panel.panel.value
    assert "&lt;script&gt;" in explorer._side_panel.panel.value
    explorer.close()


def test_pausing_stopping_and_going_on(model, task, monkeypatch):
    from acdc_explorer.searches.methods import search_steps

    def slow_steps(*args, **options):
        for step in search_steps(*args, **options):
            time.sleep(0.01)
            yield step

    monkeypatch.setattr("acdc_explorer.runner.session.search_steps", slow_steps)
    explorer = ax.Explorer(model, task, THRESHOLD)
    until(lambda: explorer.circuit is not None and explorer.circuit.n_tested > 3)
    explorer._controls.pause.click()
    until(lambda: explorer.status == "paused")
    assert explorer._controls.pause.tooltip == "Go on with the search"
    assert (explorer.circuit.edges.state == "untested").any()
    explorer.selected_edge = explorer.circuit.decisions[0].edge.id
    until(lambda: "effect" in panel_data(explorer))
    explorer.resume()
    until(lambda: explorer.status == "running")
    explorer.stop()
    assert explorer.wait(10) == "stopped"
    assert not explorer.circuit.complete
    assert explorer._controls.stop.disabled
    explorer.close()


def test_a_snapshot_is_a_page_of_its_own(explorer, tmp_path):
    path = tmp_path / "page.html"
    explorer.selected_edge = explorer.circuit.kept[0]
    until(lambda: "effect" in panel_data(explorer))
    explorer.snapshot_html(path)
    text = path.read_text(encoding="utf-8")
    assert "edge-hits" in text
    assert text.count('<tr><td><button type="button" data-goto="edge:') == (
        len(explorer.circuit.kept)
    )
    n_loose = len(explorer.circuit.kept) - len(explorer.circuit.connected())
    assert text.count("<td>leads from nothing</td>") == n_loose
    assert panel_data(explorer)["effect"] in text
    assert "plotly.js v" in text
    assert not re.search(r'<script[^>]+src=|<link[^>]+href="http', text)


def test_the_state_sent_to_a_new_page_is_the_figure_as_it_is(explorer):
    widget = explorer._graph_view.figure.widget
    state = widget.get_state()
    traces = {trace["name"]: trace for trace in state["_widget_data"]}
    assert len(traces["edge-hits"]["customdata"]) == 5 * len(explorer.circuit.kept)
    assert state["_widget_layout"]["xaxis"]["ticktext"][-1] == "MLP"


def test_private_names_of_plotly_are_still_there():
    figure = SyncedFigureWidget()
    for name in ("_data", "_layout_obj", "_config", "_send_relayout_msg"):
        assert hasattr(figure, name), name
    for name in ("_widget_data", "_widget_layout", "_js2py_pointsCallback", "_js2py_traceDeltas"):
        assert figure.has_trait(name), name
    assert figure._config["responsive"] is True


class TestPositions:
    """Circuits with positions, and the share of one position in circuits without."""

    @pytest.fixture(scope="class")
    def positional(self):
        explorer = ax.Explorer("mini", "ioi", "3%", n_prompts=16, positions=True)
        explorer.wait(60)
        yield explorer
        explorer.close()

    def test_nodes_stand_in_the_columns_of_their_positions(self, positional):
        assert positional.columns == "positions"
        nodes = positional._graph_view.figure.layout.spots
        ticks, names = positional._graph_view.figure.widget.layout.xaxis.tickvals, []
        for name in positional._graph_view.figure.widget.layout.xaxis.ticktext:
            names.append(name.split("</b>")[0].removeprefix("<b>"))
        assert names[0] == "rest"
        assert names[-1] == "END"
        ends = [*positional._graph_view.figure.layout.separators, 1e9]
        wanted = {("logits", "END")}
        for step in positional.circuit.decisions:
            if step.kept:
                wanted.add((step.edge.sender.id, step.edge.receiver.position))
        assert {(spot.node.id, spot.label) for spot in nodes} == wanted
        for spot in nodes:
            column = next(number for number, end in enumerate(ends) if spot.x < end)
            assert names[column] == spot.label
        assert list(ticks) == sorted(ticks)
        assert len({(spot.x, spot.y) for spot in nodes}) == len(nodes)

    def test_attention_moves_between_columns(self, positional):
        layout = positional._graph_view.figure.layout
        between = 0
        for step in positional.circuit.decisions:
            if not step.kept:
                continue
            ends = layout.ends(step.edge)
            assert ends
            receiver = step.edge.receiver
            for start, end in ends:
                assert (start.node, end.node) == (step.edge.sender, receiver.node)
                assert start.label == receiver.position
                if receiver.qkv in ("k", "v"):
                    between += start.label != end.label
                else:
                    assert end.label == receiver.position
        assert between > 0

    def test_a_bar_leads_to_the_edge_at_that_position(self, positional):
        edge = next(edge for edge in positional.circuit.kept if "<v>@S2" in edge)
        positional.selected_edge = edge
        until(lambda: "data-effect" in positional._side_panel.panel.value)
        assert "V-composition" in positional._side_panel.panel.value
        positional._side_panel.panel._handle_custom_msg({"chosen": "S1"}, [])
        assert positional.selected_edge == edge.replace("@S2", "@S1")

    def test_by_head_all_nodes_are_there(self, positional):
        positional.columns = "heads"
        assert len(positional._graph_view.figure.layout.spots) == len(
            positional.circuit.graph.nodes
        )
        positional.columns = "positions"

    def test_the_page_of_its_own_names_the_composition(self, positional, tmp_path):
        positional.snapshot_html(tmp_path / "page.html")
        text = (tmp_path / "page.html").read_text(encoding="utf-8")
        edge = next(edge for edge in positional.circuit.kept if "<v>@S2" in edge)
        assert f"{html.escape(edge)}</button></td><td>V-composition" in text

    def test_a_bar_shows_that_positions_share_in_the_graph(self):
        explorer = ax.Explorer("mini", "ioi", "7%", n_prompts=16)
        explorer.wait(60)
        explorer.selected_edge = explorer.circuit.kept[0]
        until(lambda: "data-effect" in explorer._side_panel.panel.value)
        explorer._side_panel.panel._handle_custom_msg({"chosen": "S2"}, [])
        assert explorer.shown_position == "S2"
        until(lambda: explorer._graph_view.effects is not None)
        model = ax.load_model("mini")
        task = ax.load_task("ioi", model, n_prompts=16)
        for edge in explorer.circuit.kept[:4] + explorer.circuit.kept[-2:]:
            found = ax.inspect_edge(model, task, explorer.circuit, edge)
            assert explorer._graph_view.effects[edge] == pytest.approx(
                found.by_position["S2"], abs=1e-4
            )
        hits = next(
            trace for trace in explorer._graph_view.figure.widget.data if trace.name == "edge-hits"
        )
        shown = {text.split("<br>")[0]: text.split("<br>")[2] for text in hits.text}
        edge = explorer.circuit.graph.parse_edge(explorer.circuit.kept[-1])
        share = explorer._graph_view.effects[edge.id]
        assert shown[edge.label] == effect_in_words(share, explorer.circuit)
        assert "what they add at S2" in explorer._page.status.value
        explorer._side_panel.panel._handle_custom_msg({"chosen": "S2"}, [])
        assert explorer.shown_position is None
        assert "what they add" not in explorer._page.status.value
        explorer.close()

    def test_the_buttons_search_with_the_rest_and_by_path_patching(self):
        explorer = ax.Explorer("mini", "ioi", "7%", n_prompts=8)
        explorer.wait(60)
        assert explorer._controls.columns.layout.display == "none"
        explorer._controls.positions.value = True
        explorer.wait(60)
        assert explorer.circuit.graph.labels
        assert explorer._controls.columns.layout.display != "none"
        explorer._controls.method.value = "path_patching"
        explorer.wait(60)
        assert explorer.circuit.settings.method == "path_patching"
        assert explorer.circuit.kept
        assert "nan" not in explorer._page.status.value
        explorer._controls.positions.value = False
        explorer.wait(60)
        assert explorer.circuit.graph.labels == ()
        assert explorer.columns == "heads"
        explorer.close()


PROMPTS = """clean,corrupted,answer,wrong_answer,name
"So John is a really great friend, isn't","So Mary is a really great friend, isn't",he,she,John
"So Laura is a really great friend, isn't","So Kevin is a really great friend, isn't",she,he,Laura
"""


class TestOwnPrompts:
    """Pasting or uploading prompts."""

    @pytest.fixture
    def explorer(self):
        explorer = ax.Explorer("mini", "ioi", "7%", n_prompts=4)
        explorer.wait(60)
        yield explorer
        explorer.close()

    def test_pasted_prompts_are_checked_shown_and_searched(self, explorer):
        own = explorer._own_prompts
        assert own.box.layout.display == "none"
        explorer._controls.own_prompts.value = True
        assert own.box.layout.display == ""
        own.text.value = PROMPTS
        own.check.click()
        until(lambda: not own.search.disabled)
        assert "100% (2 of 2)" in own.found.value
        assert "So John is a really great friend, isn" in own.found.value
        own.search.click()
        explorer.wait(60)
        assert explorer.circuit.task_name == "own prompts"
        assert explorer._controls.task.value == "own prompts"
        expected = ax.find_circuit("mini", ax.Task.from_csv_text(PROMPTS, "mini"), "7%")
        assert explorer.circuit.kept == expected.kept

    def test_an_uploaded_file_is_checked_at_once(self, explorer):
        own = explorer._own_prompts
        content = memoryview(PROMPTS.encode())
        own.upload.value = ({"name": "p.csv", "type": "", "size": 1, "content": content,
                             "last_modified": datetime(2026, 1, 1, tzinfo=UTC)},)  # fmt: skip
        until(lambda: not own.search.disabled)
        assert own.text.value == PROMPTS

    def test_faults_are_told_as_everywhere_and_escaped(self, explorer):
        own = explorer._own_prompts
        own.text.value = PROMPTS.replace("So Mary is a", "So <b>Mary</b> is")
        own.check.click()
        until(lambda: "alert" in own.found.value)
        with pytest.raises(ValueError, match="row") as error:
            ax.Task.from_csv_text(own.text.value, "mini")
        assert "<b>" not in own.found.value
        assert html.unescape(re.sub("</?div[^>]*>", "", own.found.value)) == str(error.value)
        assert own.search.disabled
        own.text.value = ""
        own.check.click()
        until(lambda: "alert" in own.found.value and "row" not in own.found.value)

    def test_a_file_that_is_no_text(self, explorer):
        own = explorer._own_prompts
        content = memoryview(b"\xff\xfe\x00")
        own.upload.value = ({"name": "p.csv", "type": "", "size": 1, "content": content,
                             "last_modified": datetime(2026, 1, 1, tzinfo=UTC)},)  # fmt: skip
        assert "not text in UTF-8" in own.found.value


def test_the_panel_says_that_something_else_could_stand_in():
    """Of an OR gate's two inputs the one tested last stays; alone neither matters."""
    model = ax.load_model("or-gate")
    explorer = ax.Explorer(model, ax.load_task("or-gate", model, 4), 0.5)
    explorer.wait(30)
    for edge, said in (("a0.h0->m0", True), ("m0->logits", False)):
        assert edge in explorer.circuit.kept
        explorer.selected_edge = edge
        until(lambda edge=edge: panel_data(explorer).get("effect") and edge.replace(">", "&gt;")
              in explorer._side_panel.panel.value)  # fmt: skip
        assert ("the last one tested stays" in explorer._side_panel.panel.value) == said
    explorer.close()


def test_a_batch_leaves_no_trace_without_its_values():
    """Plotly's own update says "undefined" for what does not change (see `plotly_private`)."""
    widget = SyncedFigureWidget(data=[{"x": [1.0], "y": [1.0]}, {"x": [2.0], "y": [2.0]}])
    with widget.batch_update():
        widget.data[0].x = [3.0]
        widget.data[1].y = [4.0]
        restyle, _, indexes = widget._build_update_params_from_batch()
    assert indexes == [0, 1]
    assert [list(values) for values in restyle["x"]] == [[3.0], [2.0]]
    assert [list(values) for values in restyle["y"]] == [[1.0], [4.0]]


class TestSlider:
    """The threshold slider as it is dragged, and its buttons."""

    @pytest.fixture
    def explorer(self, model, task):
        explorer = ax.Explorer(model, task, "20%")
        explorer.wait(30)
        explorer._runner.rest(True)
        yield explorer
        explorer.close()

    def test_known_circuits_follow_and_others_wait_until_it_rests(self, explorer, model, task):
        low, high = explorer.circuit.valid_interval
        full = abs(explorer.circuit.full_metric)
        controls = explorer._controls
        inside = 100 * math.sqrt(low * high) / full
        drag(controls, inside, rests=False)
        assert explorer.threshold == f"{inside:.3g}%"
        before = explorer.circuit.kept
        outside = 100 * low / full / 3
        for share in (outside * 1.5, outside * 1.2, outside):
            drag(controls, share, rests=False)
            # It is said, and not searched for yet.
            assert controls.threshold_text.value.startswith(f"= {share / 100 * full:.3g}")
            assert controls.threshold.text.startswith(f"{share:.3g}% = ")
            assert explorer.threshold == f"{inside:.3g}%"
            assert explorer.circuit.kept == before
        drag(controls, outside)
        assert explorer.threshold == f"{outside:.3g}%"
        assert explorer.wait(30) == "done"
        assert explorer.circuit.kept == ax.find_circuit(model, task, explorer.threshold).kept
        # Beyond its ends it can be typed, and stands at the end.
        drag(controls, 250)
        assert explorer.wait(30) == "done"
        assert explorer.threshold == "250%"
        assert controls.threshold.value == 100

    def test_the_buttons_go_from_circuit_to_circuit(self, explorer, model, task):
        seen = [explorer.circuit.kept]
        for button, further in ((explorer._controls.lower, 1), (explorer._controls.higher, 0)):
            low, high = explorer.circuit.valid_interval
            button.click()
            assert explorer.wait(30) == "done"
            expected = low * (1 - 1e-4) if further else high * (1 + 1e-4)
            assert explorer.threshold == expected
            assert explorer.circuit.kept == ax.find_circuit(model, task, expected).kept
            seen.append(explorer.circuit.kept)
        assert seen[0] != seen[1]
        assert seen[2] == seen[0]

    def test_at_the_ends_the_buttons_do_nothing(self, model, task):
        explorer = ax.Explorer(model, task, 1e6)
        try:
            explorer.wait(30)
            assert explorer.circuit.kept == []
            explorer._controls.higher.click()
            assert explorer.threshold == 1e6
        finally:
            explorer.close()


class TestFiles:
    """The picture beside the widget, and the buttons that save and load."""

    def file(self, explorer, kind):
        sent = []
        buttons = next(part for part in parts_of(explorer) if isinstance(part, FileButtons))
        buttons.send = sent.append
        buttons._handle_custom_msg({"wanted": kind}, [])
        return buttons, sent

    def test_they_are_named_after_what_is_shown(self, explorer):
        for kind, begin in (("svg", "<svg"), ("png", "<svg"), ("json", "{")):
            _, (sent,) = self.file(explorer, kind)
            assert sent["name"] == f"random_2x4-random-0.05.{kind}"
            assert sent["text"].startswith(begin)

    def test_a_saved_circuit_is_loaded_without_a_test(self, explorer, model, task):
        saved = ax.find_circuit(model, task, "30%", rule="signed", order="random")
        buttons, _ = self.file(explorer, "svg")
        buttons._handle_custom_msg({"loaded": "a.json"}, [saved.to_json().encode()])
        assert explorer.wait(30) == "done"
        assert explorer.circuit.steps == saved.steps
        assert explorer.circuit.settings.rule == "signed"
        assert explorer.threshold == "30%"
        assert explorer._controls.rule.value == "signed"

    def test_a_wrong_file_is_told_and_changes_nothing(self, explorer):
        before = explorer.circuit
        buttons, _ = self.file(explorer, "svg")
        for text in ("<b>no", '{"format": "x"}', "[1]"):
            buttons._handle_custom_msg({"loaded": "<b>.json"}, [text.encode()])
            assert re.search("is no (session or )?circuit", explorer._page.error.value)
            assert "&lt;b&gt;.json" in explorer._page.error.value
            assert explorer.circuit is before

    def test_the_picture_in_the_notebook_is_renewed(self, explorer, monkeypatch):
        shown = []
        monkeypatch.delenv("VSCODE_PID", raising=False)
        for where in ("explorer", "notebook.lasting_picture"):
            monkeypatch.setattr(
                f"acdc_explorer.explorer.{where}.display",
                lambda bundle, **options: shown.append(bundle) or Handle(),
            )

        class Handle:
            def update(self, bundle, raw):
                shown.append(bundle)

        explorer._ipython_display_()
        widget, picture = shown
        assert "application/vnd.jupyter.widget-view+json" in widget
        n_edges = len(explorer.circuit.kept)
        assert f"{n_edges} edges" in picture["image/svg+xml"]
        explorer.threshold = "40%"
        explorer.wait(30)
        until(lambda: len(shown) == 3)
        assert f"{len(explorer.circuit.kept)} edge" in shown[2]["image/svg+xml"]
        assert shown[2]["text/plain"] == repr(explorer)
