"""The threshold path: every interval's circuit is that of a fresh search, at both ends."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import bridge_of, random_gpt2, random_task

import acdc_explorer as ax
from acdc_explorer.engine.cache import engine_for
from acdc_explorer.metrics import METRICS, Metric
from acdc_explorer.models import Model
from acdc_explorer.searches.methods import circuit_of
from acdc_explorer.searches.threshold_path import path_steps


@pytest.fixture(scope="module")
def model():
    return Model(bridge_of(random_gpt2("3x2")), "random 3x2")


@pytest.fixture(scope="module")
def task():
    return random_task()


@pytest.fixture(scope="module", params=["acdc", "path_patching"])
def found(request, model, task):
    return request.param, ax.threshold_path(model, task, 0.05, 1.5, method=request.param)


def test_intervals_cover_the_whole_range_and_do_not_overlap(found):
    _, path = found
    table = path.table
    assert len(table) > 8
    assert table.high.iloc[0] >= 1.5
    assert table.low.iloc[-1] <= 0.05
    assert table.meets_next.iloc[:-1].all()
    for upper, lower in zip(table.low, table.high[1:], strict=False):
        assert lower == pytest.approx(upper, rel=1e-4)
    assert table.edges.iloc[0] < table.edges.iloc[-1]


def test_every_interval_is_a_fresh_searchs(found, model, task):
    method, path = found
    for circuit in path.circuits[:: max(1, len(path.circuits) // 8)]:
        low, high = circuit.valid_interval
        inside = [low + share * (min(high, 2.0) - low) for share in (0.02, 0.5, 0.98)]
        for threshold in inside:
            assert path.at(threshold) is circuit
            fresh = ax.find_circuit(model, task, threshold, method=method)
            assert fresh.kept == circuit.kept


def test_scores_are_the_largest_thresholds_at_which_edges_stay(found, model, task):
    method, path = found
    assert path.scores.is_monotonic_decreasing
    for edge, score in path.scores.iloc[:: max(1, len(path.scores) // 6)].items():
        if score > 1.4:
            continue
        below, above = (
            ax.find_circuit(model, task, score * factor, method=method).kept
            for factor in (1 - 1e-4, 1 + 1e-4)
        )
        assert edge in below
        assert edge not in above


def test_edges_that_a_lower_threshold_drops_are_told(found):
    _, path = found
    kept = [set(circuit.kept) for circuit in path.circuits]
    expected = {
        edge for higher, lower in zip(kept, kept[1:], strict=False) for edge in higher - lower
    }
    assert set(path.dropped) == expected


def test_a_budget_leaves_gaps_and_a_path_goes_on(model, task):
    whole = ax.threshold_path(model, task, 0.1, 1.0)
    part = ax.threshold_path(model, task, 0.1, 1.0, seconds=0)
    assert len(part.circuits) == 1
    rest = ax.threshold_path(model, task, 0.1, 1.0, replay=part)
    assert rest.table.edges.tolist() == whole.table.edges.tolist()
    np.testing.assert_allclose(rest.table.low, whole.table.low, rtol=0, atol=1e-5)


def test_files_keep_everything(found, tmp_path):
    _, path = found
    path.save(tmp_path / "path.json")
    loaded = ax.ThresholdPath.load(tmp_path / "path.json")
    assert loaded.table.equals(path.table)
    assert [each.kept for each in loaded.circuits] == [each.kept for each in path.circuits]
    (tmp_path / "other.json").write_text('{"format": "x"}')
    with pytest.raises(ValueError, match=r"other\.json' is no file of a threshold path"):
        ax.ThresholdPath.load(tmp_path / "other.json")


def test_bad_ranges_and_foreign_paths_are_refused(model, task):
    with pytest.raises(ValueError, match=r"high must be above low; got low '5%' and high 0\.001"):
        ax.threshold_path(model, task, "5%", 0.001)
    known = ax.threshold_path(model, random_task(seed=1), 0.5, 1.0)
    with pytest.raises(ValueError, match="of another model or other prompts"):
        ax.threshold_path(model, task, 0.5, 1.0, replay=known)


def nll(logits):
    """Called as a metric of which less is better, but of this more is."""
    return logits[..., 3] - logits[..., 4]


def test_the_direction_of_an_own_metric_gives_the_intervals(model):
    def damage(logits, answers, wrong, clean):
        return METRICS["logit_diff"].per_prompt(logits, wrong, answers, clean)

    own = Metric("damage", "damage", "logits", damage, higher_is_better=False)
    for metric in (own, nll):
        task = random_task(metric=metric)
        path = ax.threshold_path(model, task, 0.02, 1.0, rule="signed")
        table = path.table
        assert 3 < len(table) < 100
        assert (table.low < table.high).all()
        assert table.low.is_monotonic_decreasing
        assert table.meets_next.iloc[:-1].all()
        for circuit in path.circuits:
            assert path.at(circuit.threshold) is circuit


def test_a_path_that_makes_no_progress_stops(model, task, monkeypatch):
    """Were a circuit's interval wrong for any reason, no threshold would ever be settled."""
    engine = engine_for(model, task)
    settings = replace(ax.find_circuit(model, task, 0.5).settings, rule="signed")

    def wrong_way_round(*arguments, **options):
        return replace(circuit_of(*arguments, **options), higher_is_better=False)

    monkeypatch.setattr("acdc_explorer.searches.threshold_path.circuit_of", wrong_way_round)
    steps = path_steps("m", engine, settings, 0.2, 1.0)
    assert sum(isinstance(step, ax.Circuit) for step in steps) < 12


def test_damaged_paths_name_the_place(found, tmp_path):
    _, path = found
    path.save(tmp_path / "path.json")
    data = json.loads((tmp_path / "path.json").read_text())
    data["circuits"][1]["steps"][1][3] = "false"
    for content, message in [
        (json.dumps(data), r"circuits\[1\]\.steps\[1\]\.kept must be true or false; got 'false'"),
        ("[" * 100_000, "not valid JSON .it nests too deep"),
        ('{"format": "acdc_explorer.path", "circuits": [{}]}', r"circuits\[0\].format is missing"),
        ('{"format": "acdc_explorer.path"}', "circuits is missing"),
        ('{"format": "acdc_explorer.path", "circuits": {}}', "circuits must be a list"),
    ]:
        (tmp_path / "x.json").write_text(content)
        with pytest.raises(ValueError, match=rf"is no file of a threshold path: {message}"):
            ax.ThresholdPath.load(tmp_path / "x.json")


def test_a_failed_save_leaves_the_old_path(found, tmp_path, monkeypatch):
    _, path = found
    (tmp_path / "path.json").write_text("old")

    def fail(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        path.save(tmp_path / "path.json")
    assert (tmp_path / "path.json").read_text() == "old"
    with pytest.raises(ValueError, match="it is a folder"):
        path.save(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["path.json"]
