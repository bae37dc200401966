"""The plot under the slider: what it says is what the circuits are."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
from conftest import bridge_of, random_gpt2

import acdc_explorer as ax
from acdc_explorer.circuits.steps import EdgeStep
from acdc_explorer.circuits.threshold_path import ThresholdPath
from acdc_explorer.explorer.panel.threshold_plot import path_html, sensitivity
from acdc_explorer.models import Model
from acdc_explorer.runner.session import CurvePoint
from acdc_explorer.runner.state import Snapshot


@pytest.fixture(scope="module")
def model():
    return Model(bridge_of(random_gpt2("3x2")), "random 3x2")


@pytest.fixture(scope="module")
def circuit(model, task):
    return ax.find_circuit(model, task, 0.3)


def test_the_sentence_names_the_edge_that_comes_and_the_one_that_goes(model, task, circuit):
    text = sensitivity(circuit)
    low, high = circuit.valid_interval
    joins, goes = re.findall(r"<code>(.*?)</code>", text)
    names = [name.replace("&gt;", ">").replace("&lt;", "<") for name in (joins, goes)]
    below = ax.find_circuit(model, task, low - 1e-5)
    above = ax.find_circuit(model, task, high + 1e-5)
    assert names[0] in below.kept
    assert names[0] not in circuit.kept
    assert names[1] in circuit.kept
    assert names[1] not in above.kept
    assert f"{100 * low / abs(circuit.full_metric):.3g}%" in text


def test_every_known_interval_can_be_gone_to(model, task, circuit):
    path = ax.threshold_path(model, task, 0.1, 1.0, seconds=5)
    curves = {"eap": (CurvePoint(3, 0.1), CurvePoint(40, 1.2))}
    text = path_html(Snapshot("done", circuit, path=path, curves=curves))
    wanted = {repr(each.threshold) for each in path.circuits}
    found = re.findall(r'data-threshold="(.*?)"', text)
    assert set(found) == wanted
    # On the ruler and in the plot.
    assert len(found) == 2 * len(wanted)
    assert f"{len(path.circuits)} intervals known" in text
    assert "┄</span> EAP" in text
    assert "EAP-IG" not in text
    coordinates = [float(value) for value in re.findall(r'(?:cx|cy|x|y|x1|y1)="(-?[\d.]+)"', text)]
    assert all(-1 <= value <= 341 for value in coordinates)


def test_the_ruler_goes_as_far_as_the_slider(model, task, circuit):
    text = path_html(Snapshot("done", circuit))
    ticks = re.findall(r">([\d.]+)%</text>", text[: text.index("faithfulness against")])
    assert ticks == ["0.01", "0.1", "1", "10", "100"]
    # A threshold's place is that of its share of the clean metric on the log scale.
    line = float(re.search(r'class="now" x1="([\d.]+)"', text)[1])
    places = [float(x) for x in re.findall(r'<text x="([\d.]+)" y="32"', text)]
    percent = 100 * circuit.threshold / abs(circuit.full_metric)
    share = (math.log10(percent) + 2) / 4
    assert line == pytest.approx(places[0] + share * (places[-1] - places[0]), abs=0.2)


@pytest.mark.parametrize("n_kept", [0, 1, 2])
@pytest.mark.parametrize("unit", ["", "logits"])
def test_few_edges_and_metrics_without_a_unit_are_told_in_words(circuit, n_kept, unit):
    kept = circuit.decisions[:n_kept]
    steps = [
        replace(step, kept=step in kept) if isinstance(step, EdgeStep) else step
        for step in circuit.steps
    ]
    few = replace(circuit, steps=tuple(steps), metric_unit=unit)
    text = path_html(Snapshot("done", few, path=ThresholdPath((few,))))
    words = ["0 edges", "1 edge", "2 edges"][n_kept]
    assert f"%: {words}, faithfulness" in text or f"% upwards: {words}, faithfulness" in text
    assert "1 interval known" in text
    assert f": {words} kept" in few.summary()
    sentence = re.sub("<.*?>", "", sensitivity(few))
    low, high = few.valid_interval
    end = "and above" if n_kept == 0 else f"to {high:.3g}"
    assert f"({low:.3g} {end}{f' {unit}' if unit else ''})" in sentence
    assert ("upwards" in sentence) == (n_kept == 0)
    assert "inf" not in sentence


def test_nothing_is_said_before_there_is_a_circuit(circuit):
    assert path_html(Snapshot("loading")) == ""
    assert path_html(Snapshot("running", circuit)) == ""


def test_edges_dropped_at_lower_thresholds_are_told(model, task, circuit):
    path = ax.threshold_path(model, task, 0.05, 1.5)
    text = path_html(Snapshot("done", circuit, path=path))
    assert ("Not monotone" in text) == bool(path.dropped)
    assert path.dropped
