"""A circuit's tables, numbers, graph and file."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from conftest import bridge_of, random_gpt2, random_task

import acdc_explorer as ax
from acdc_explorer.circuit import Circuit
from acdc_explorer.models import Model


@pytest.fixture(scope="module")
def model():
    return Model(bridge_of(random_gpt2("2x4")), "random 2x4")


@pytest.fixture(scope="module")
def task():
    return random_task()


@pytest.fixture(scope="module")
def circuit(model, task):
    return ax.find_circuit(model, task, 0.05)


def test_the_table_has_every_edge_once(circuit):
    edges = circuit.edges
    assert list(edges.edge) == circuit.graph.edge_ids
    assert list(edges.columns) == [
        "edge", "sender", "receiver", "qkv", "position", "state", "effect", "order", "before",
        "after", "borderline",
    ]  # fmt: skip
    assert set(edges.state) == {"kept", "removed"}
    tested = edges[edges.order.notna()].sort_values("order")
    assert list(tested.edge) == [step.edge.id for step in circuit.decisions]
    np.testing.assert_allclose(tested.effect, tested.before - tested.after)
    assert (edges[edges.order.isna()].effect == 0).all()
    row = edges.set_index("edge").loc["input->a0.h1<v>"]
    assert (row.sender, row.receiver, row.qkv) == ("input", "a0.h1", "v")


def test_kept_edges_matter_and_removed_ones_do_not(circuit):
    edges = circuit.edges
    tested = edges[edges.order.notna()]
    assert (tested[tested.state == "kept"].effect.abs() >= 0.05).all()
    assert (tested[tested.state == "removed"].effect.abs() < 0.05).all()
    assert circuit.kept == list(tested[tested.state == "kept"].sort_values("order").edge)


def test_the_metric_is_that_of_the_removed_edges(model, task, circuit):
    removed = circuit.edges.query("state == 'removed'").edge
    assert ax.evaluate(model, task, removed) == pytest.approx(circuit.metric_value, abs=1e-5)
    assert ax.evaluate(model, task, []) == pytest.approx(circuit.full_metric, abs=1e-6)
    everything = ax.evaluate(model, task, circuit.graph.edge_ids)
    assert everything == pytest.approx(circuit.corrupted_metric, abs=1e-5)
    span = circuit.full_metric - circuit.corrupted_metric
    expected = (circuit.metric_value - circuit.corrupted_metric) / span
    assert circuit.faithfulness == pytest.approx(expected)


def test_networkx_has_the_kept_edges(circuit):
    graph = circuit.to_networkx()
    ids = sorted(data["id"] for *_, data in graph.edges(data=True))
    assert ids == sorted(circuit.kept)
    for sender, receiver, key, data in graph.edges(keys=True, data=True):
        assert data["id"].startswith(f"{sender}->{receiver}")
        assert key == (data["qkv"] or "other")


def test_a_file_brings_back_everything(circuit, tmp_path):
    path = tmp_path / "circuit.json"
    circuit.save(path)
    loaded = Circuit.load(path)
    assert loaded.steps == circuit.steps
    assert loaded.settings == circuit.settings
    assert loaded.summary() == circuit.summary()
    assert loaded.edges.equals(circuit.edges)
    assert [file.name for file in tmp_path.iterdir()] == ["circuit.json"]


def test_a_partial_circuit_keeps_its_untested_edges(model, task, circuit, tmp_path):
    engine = model.engine(task)
    partial = Circuit.of_search("m", engine, circuit.settings, circuit.steps[:30], complete=False)
    assert (partial.edges.state == "untested").any()
    partial.save(tmp_path / "partial.json")
    loaded = Circuit.load(tmp_path / "partial.json")
    assert not loaded.complete
    assert loaded.edges.equals(partial.edges)
    assert "not finished" in loaded.summary()


def test_an_unbegun_circuit_is_the_full_model(model, task, circuit):
    empty = Circuit.of_search("m", model.engine(task), circuit.settings, [], complete=False)
    assert empty.metric_value == empty.full_metric
    assert (empty.edges.state == "untested").all()
    assert empty.valid_interval == (0.0, math.inf)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[1, 2]", "no circuit file"),
        ('{"format": "other"}', "no circuit file"),
        ('{"format": "acdc_explorer.circuit", "version": 99}', "of version 99; this"),
        ('{"format": "acdc_explorer.circuit", "version": 1}', "damaged circuit file: KeyError"),
        (b"\xff\xfe\x00", "not valid JSON"),
    ],
)
def test_bad_files_are_refused(tmp_path, content, message):
    path = tmp_path / "c.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message):
        Circuit.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data["steps"].append(["a9.h9->logits", 1, 2, True, False]), "unknown edge"),
        (lambda data: data["steps"].append([1, 2, 3]), "damaged"),
        (lambda data: data["settings"].update(rule="none"), "unknown rule"),
        (lambda data: data["settings"].update(surprise=1), "damaged"),
        (lambda data: data["model"].update(n_layers="many"), "damaged"),
    ],
)
def test_damaged_files_say_what_is_wrong(circuit, tmp_path, change, message):
    path = tmp_path / "c.json"
    circuit.save(path)
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=message):
        Circuit.load(path)


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        Circuit.load(tmp_path / "none.json")


def test_a_saved_search_goes_on_in_another_process(tmp_path):
    """Cut short, saved, loaded: the rest is as if it had never stopped."""
    import dataclasses

    import acdc_explorer as ax

    model = ax.load_model("mini", device="cpu")
    task = ax.load_task("ioi", model, n_prompts=8)
    whole = ax.find_circuit(model, task, "7%")
    cut = dataclasses.replace(whole, steps=whole.steps[: len(whole.steps) // 2], complete=False)
    cut.save(tmp_path / "cut.json")
    rest = ax.find_circuit(model, task, "7%", replay=ax.Circuit.load(tmp_path / "cut.json"))
    assert rest.kept == whole.kept
    assert rest.complete
    lower = ax.find_circuit(model, task, "3%", replay=whole)
    assert lower.kept == ax.find_circuit(model, task, "3%").kept
    other = ax.load_task("ioi", model, n_prompts=8, seed=1)
    with pytest.raises(ValueError, match="another model or other prompts"):
        ax.find_circuit(model, other, "7%", replay=whole)
    with pytest.raises(ValueError, match="found with rule 'abs'; this search has 'signed'"):
        ax.find_circuit(model, task, "7%", rule="signed", replay=whole)


def test_replay_tells_other_prompts_by_their_corrupted_metric_too():
    """The clean KL divergence is 0 on any prompts."""
    import dataclasses

    import acdc_explorer as ax

    model = ax.load_model("mini", device="cpu")
    tasks = [
        dataclasses.replace(
            ax.load_task("ioi", model, n_prompts=8, seed=seed), metric="kl_divergence"
        )
        for seed in (0, 1)
    ]
    found = ax.find_circuit(model, tasks[0], 0.5)
    assert ax.find_circuit(model, tasks[0], 0.5, replay=found).kept == found.kept
    with pytest.raises(ValueError, match="other prompts: kl_divergence 0 clean"):
        ax.find_circuit(model, tasks[1], 0.5, replay=found)
