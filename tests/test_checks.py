"""Below the graph: the circuit measured and searched again, without a browser."""

from __future__ import annotations

import html
import re
import time
from dataclasses import replace

import pandas as pd
import pytest
from conftest import bridge_of, random_gpt2, random_task

import acdc_explorer as ax
from acdc_explorer.explorer.checks import checks as checks_module
from acdc_explorer.models import Model


@pytest.fixture(scope="module")
def model():
    return Model(bridge_of(random_gpt2("2x4")), "random 2x4")


@pytest.fixture
def explorer(model):
    explorer = ax.Explorer(model, random_task(), 0.05)
    # What goes on in the background would take half of the time.
    explorer._runner.rest(True)
    explorer.wait(30)
    yield explorer
    explorer.close()


def until(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def check(explorer, name):
    """Presses a button and waits until its result is shown."""
    explorer._checks.buttons[name].click()
    until(lambda: name in explorer.found)
    until(lambda: explorer._checks.cancel.layout.display == "none")
    return explorer.found[name]


def text_of(explorer):
    return html.unescape(re.sub("<[^>]*>", " ", explorer._checks.html.value))


def keys(explorer):
    return re.findall(r'data-part="([^"]*)"', explorer._graph_view.key.widget.value)


def test_a_measurement_is_shown(explorer, model):
    checks = explorer._checks
    assert explorer.found == {}
    assert not checks.html.value
    found = check(explorer, "measurement")
    direct = ax.measure(model, random_task(), explorer.circuit)
    pd.testing.assert_frame_equal(found.ablations, direct.ablations, rtol=1e-4, atol=1e-5)
    text = text_of(explorer)
    for line in (*found.observations, *(test.told for test in found.tests)):
        assert line in text
    assert f"{found.faithfulness:.0%}" in text
    assert "100 random circuits of" in text


def test_what_repeated_searches_keep_is_drawn_and_said(explorer, model, monkeypatch):
    monkeypatch.setattr(checks_module, "_STABILITY_RUNS", 3)
    assert "seldom" not in keys(explorer)
    found = check(explorer, "stability")
    assert [*found.kinds.kind] == ["orders", "prompts", "all"]
    assert "nothing" not in found.notes
    shares = dict(zip(found.edges.edge, found.edges["all"], strict=True))
    drawn = explorer._graph_view.drawn_edges()
    assert {each.edge.id: each.steadiness for each in drawn} == {
        edge: shares[edge] for edge in explorer.circuit.kept
    }
    seldom = [each for each in drawn if each.is_seldom]
    assert seldom
    assert len(seldom) == sum(shares[edge] < 0.8 for edge in explorer.circuit.kept)
    assert "seldom" in keys(explorer)
    figure = explorer._graph_view.figure.widget
    faint = [t for t in figure.data if t.name.endswith("-seldom") and len(t.x) > 1]
    assert faint
    assert all(trace.opacity == 0.4 for trace in faint)
    hits = next(trace for trace in figure.data if trace.name == "edge-hits")
    assert any(f"kept in {seldom[0].steadiness:.0%} of the repeated" in text for text in hits.text)
    n_drawn = len(set(hits.customdata))
    explorer._graph_view._toggle("seldom")
    assert len(set(hits.customdata)) == n_drawn - len(seldom)
    assert "Searched again 6 times" in text_of(explorer)


@pytest.mark.slow
def test_results_go_with_their_circuit(explorer):
    check(explorer, "measurement")
    kept = explorer.circuit.kept
    low, high = explorer.circuit.valid_interval
    check(explorer, "uncertainty")
    assert any(each.note for each in explorer._graph_view.drawn_edges())
    explorer.threshold = (low + high) / 2
    explorer.wait(30)
    assert explorer.circuit.kept == kept
    # The edges are the same; what the decisions were compared with is not.
    assert [*explorer.found] == ["measurement"]
    assert explorer._checks.html.value
    assert not any(each.note for each in explorer._graph_view.drawn_edges())
    pause = explorer._options(ablation="zero")
    explorer._request = replace(explorer._request, options=pause)
    explorer.run()
    explorer.wait(30)
    assert explorer.found == {}
    check(explorer, "measurement")
    assert explorer.found["measurement"].ablation == "zero"
    explorer.threshold = 3.0
    explorer.wait(30)
    assert explorer.circuit.kept != kept
    assert explorer.found == {}
    assert not explorer._checks.html.value


def test_a_check_can_be_given_up(explorer, monkeypatch):
    monkeypatch.setattr(checks_module, "_STABILITY_RUNS", 500)
    checks = explorer._checks
    checks.buttons["stability"].click()
    assert all(button.disabled for button in checks.buttons.values())
    assert checks.cancel.layout.display == ""
    until(lambda: "searching again" in checks.progress.value)
    checks.cancel.click()
    until(lambda: checks.cancel.layout.display == "none")
    assert explorer.found == {}
    assert explorer.status == "done"
    assert not any(button.disabled for button in checks.buttons.values())
    assert not checks.progress.value
    assert not checks.html.value


def test_what_goes_wrong_is_said_and_escaped(explorer, monkeypatch):
    def fails(*args, **options):
        raise ValueError("no <such> thing")

    monkeypatch.setattr(checks_module, "measure", fails)
    explorer._checks.buttons["measurement"].click()
    until(lambda: "no &lt;such&gt; thing" in explorer._checks.html.value)
    assert 'role="alert"' in explorer._checks.html.value
    explorer.threshold = 0.2
    explorer.wait(30)
    until(lambda: not explorer._checks.html.value)


@pytest.mark.slow
def test_results_are_there_again_when_the_explorer_is(explorer, tmp_path):
    check(explorer, "measurement")
    shown = explorer._checks.html.value
    explorer.snapshot_html(tmp_path / "page.html")
    assert shown in (tmp_path / "page.html").read_text(encoding="utf-8")
    explorer._fold()
    explorer._unfold()
    explorer.wait(30)
    assert explorer._checks.html.value == shown


def test_uncertain_decisions_are_named(explorer):
    found = check(explorer, "uncertainty")
    assert str(found) in text_of(explorer)
    uncertain = found.edges[found.edges.uncertain]
    for edge in uncertain.edge[:30]:
        assert edge in text_of(explorer)
    notes = {each.edge.id: each.note for each in explorer._graph_view.drawn_edges()}
    kept = uncertain[uncertain.decision == "kept"]
    assert {edge for edge, note in notes.items() if note} == {*kept.edge}
    edge, prompts = kept.edge.iloc[0], kept.prompts_to_settle.iloc[0]
    assert notes[edge] == f"uncertain at 5 prompts; {prompts:,.0f} would settle it"
    figure = explorer._graph_view.figure.widget
    hits = next(trace for trace in figure.data if trace.name == "edge-hits")
    assert any(notes[edge] in text for text in hits.text)


@pytest.mark.parametrize(("model_name", "is_found"), [("or-gate", True), ("five-heads", False)])
def test_another_circuit_is_looked_for(model_name, is_found):
    explorer = ax.Explorer(model_name, model_name, 0.5)
    try:
        explorer.wait(60)
        found = check(explorer, "another")
        assert found.found is is_found
        assert str(found) in text_of(explorer)
        assert all(edge in text_of(explorer) for edge in found.kept)
    finally:
        explorer.close()
