"""Circuits as graphs for Neuronpedia: what its schema requires, and what its page needs."""

from __future__ import annotations

import json
import re

import pytest

import acdc_explorer as ax
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.exchange import neuronpedia

SCAN = "gpt2-small"


@pytest.fixture(scope="module")
def model(mini):
    return mini


@pytest.fixture(scope="module")
def task(model):
    return ax.load_task("ioi", model, n_prompts=4)


@pytest.fixture(scope="module")
def circuit(model, task):
    return ax.find_circuit(model, task, "10%", positions=True)


@pytest.fixture(scope="module")
def file(model, task, circuit, tmp_path_factory):
    path = tmp_path_factory.mktemp("neuronpedia") / "graph.json"
    ax.export_to_neuronpedia(model, task, circuit, path, scan=SCAN, prompt=1)
    return path


@pytest.fixture(scope="module")
def data(file):
    return json.loads(file.read_text(encoding="utf-8"))


def test_the_schema(data, task):
    """The required fields of apps/webapp/app/api/graph/graph-schema.json, and their types."""
    metadata = data["metadata"]
    assert {"slug", "scan", "prompt_tokens", "prompt"} <= metadata.keys()
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+", metadata[name]) for name in ("slug", "scan"))
    assert metadata["prompt"] == task.texts[1]
    assert metadata["prompt_tokens"] == list(task.token_texts[1][: int(task.end[1]) + 1])
    assert set(data["qParams"]) == {"pinnedIds", "supernodes", "linkType", "clickedId"}
    types = {
        "node_id": str,
        "feature": (int, type(None)),
        "layer": str,
        "ctx_idx": int,
        "feature_type": str,
        "jsNodeId": str,
        "clerp": str,
    }
    for node in data["nodes"]:
        assert node.keys() == types.keys()
        assert all(isinstance(node[name], type_) for name, type_ in types.items())
        assert 0 <= node["ctx_idx"] < len(metadata["prompt_tokens"])
    ids = [node["node_id"] for node in data["nodes"]]
    assert len(set(ids)) == len(ids)
    for link in data["links"]:
        assert {link["source"], link["target"]} <= set(ids)
        assert isinstance(link["weight"], float)
    assert len({(link["source"], link["target"], link["edge"]) for link in data["links"]}) == len(
        data["links"]
    )


def test_the_page_needs_layers_and_a_probability(data, model, task, circuit):
    (logit,) = [node for node in data["nodes"] if node["feature_type"] == "logit"]
    assert logit["node_id"] == data["qParams"]["clickedId"]
    text, probability = re.fullmatch(r'Output "(.*)" \(p=([0-9.]+)\)', logit["clerp"]).groups()
    assert text == task.preview().answer[1].strip()
    top = ax.top_tokens(model, task, circuit, 1)
    told = top[(top.run == "full") & (top.role == "answer")].probability.iloc[0]
    assert float(probability) == pytest.approx(told, abs=1e-3)
    layers = {node["layer"] for node in data["nodes"]}
    assert "E" in layers
    assert all(layer.isdigit() for layer in layers - {"E"})


def test_edges_lead_from_where_they_are_read_to_where_their_head_writes(data, circuit, task):
    nodes = {node["node_id"]: node for node in data["nodes"]}
    places = {label: mask[1].nonzero() for label, mask in task.position_masks.items()}
    assert {link["edge"] for link in data["links"]} == set(circuit.kept)
    later = 0
    for link in data["links"]:
        edge = circuit.graph.parse_edge(link["edge"])
        at = int(places[edge.receiver.position or "END"][-1])
        assert nodes[link["source"]]["ctx_idx"] == at
        if edge.receiver.qkv in ("k", "v"):
            assert nodes[link["target"]]["ctx_idx"] >= at
            later += nodes[link["target"]]["ctx_idx"] > at
        else:
            assert nodes[link["target"]]["ctx_idx"] == at
    # What is read at one token moves on to others.
    assert later


def test_it_is_read_again(file, circuit):
    found = Circuit.from_file(file)
    assert (found.kept_mask == circuit.kept_mask).all()
    assert (found.model_name, found.task_name) == (circuit.model_name, circuit.task_name)
    assert ax.compare(circuit, file).jaccard == 1


def test_what_neuronpedia_would_refuse(model, task, circuit, file, tmp_path, monkeypatch):
    def export(circuit=circuit, **changes):
        ax.export_to_neuronpedia(
            model, task, circuit, tmp_path / "new.json", **{"scan": SCAN, **changes}
        )

    with pytest.raises(ValueError, match=r"scan must be of letters.*got 'gpt2 small'"):
        export(scan="gpt2 small")
    with pytest.raises(ValueError, match=r"slug must be of letters.*got 'a/b'"):
        export(slug="a/b")
    with pytest.raises(ValueError, match="has prompts 0 to 3; got 4"):
        export(prompt=4)
    with pytest.raises(ValueError, match="search with positions=True"):
        export(ax.find_circuit(model, task, "50%"))
    with pytest.raises(ValueError, match="use export_to_neuronpedia"):
        ax.export_circuit(circuit, tmp_path / "x.json", "neuronpedia")
    monkeypatch.setattr(neuronpedia, "_MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="takes at most 1,000 bytes"):
        export()
    assert not (tmp_path / "new.json").exists()
    data = json.loads(file.read_text(encoding="utf-8"))
    data["links"][0]["weight"] = float("nan")
    (tmp_path / "nan.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match=r"links\[0\].weight must be a finite number"):
        Circuit.from_file(tmp_path / "nan.json")
