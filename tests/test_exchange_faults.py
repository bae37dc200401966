"""Files of other tools that would say something else than the circuit, or than was in them."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import labelled_task
from test_exchange import ENDINGS, eap_ig_json, torch_file, write

import acdc_explorer as ax
from acdc_explorer.checked_json import shown
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.exchange import reading
from acdc_explorer.circuits.exchange.neuronpedia import PromptOfGraph, write_neuronpedia
from acdc_explorer.circuits.exchange.scores import scores_of
from acdc_explorer.circuits.threshold_path import ThresholdPath
from acdc_explorer.explorer.session import Session
from acdc_explorer.graph import graph_of

GRAPH = graph_of(1, 1)
CFG = {"n_layers": 1, "n_heads": 1, "parallel_attn_mlp": False}


@pytest.fixture(scope="module")
def circuit(model, task):
    return ax.find_circuit(model, task, 0.05)


@pytest.fixture(scope="module")
def unfinished(circuit):
    return replace(circuit, complete=False, steps=circuit.steps[:20])


def of_table(text: str, graph=GRAPH) -> Circuit:
    return Circuit.from_content(text.encode(), "table", graph)


def tensors(**changes) -> dict:
    """EAP-IG's tensors of the smallest model, whose edges are all kept."""
    kept = torch.from_numpy(GRAPH.edge_mask.T.copy())
    return {"cfg": CFG, "edges_scores": kept.double(), "edges_in_graph": kept, **changes}


def of_tensors(data: dict) -> Circuit:
    return Circuit.from_content(torch_file(data), "file")


@pytest.mark.parametrize("name", [*ENDINGS, "mib"])
def test_an_unfinished_search_is_for_our_own_format_alone(unfinished, tmp_path, name):
    path = tmp_path / "ioi_gpt2"
    if name == "acdc_explorer":
        ax.export_circuit(unfinished, path, name)
        assert Circuit.from_file(path) == unfinished
        return
    with pytest.raises(ValueError, match=r'has not come to its end.*write format "acdc_'):
        ax.export_circuit(unfinished, path, name)
    assert not path.exists()


def test_a_table_of_an_unfinished_search_is_refused(unfinished):
    with pytest.raises(ValueError, match=r"line \d+: state must be 'kept' or.*got 'untested'"):
        of_table(unfinished.edges.to_csv(index=False), None)


def test_a_threshold_path_is_of_the_same_search(model, task, circuit):
    assert "exact" in scores_of(circuit, ThresholdPath((circuit,))).told
    lower = ax.find_circuit(model, task, 0.02)
    assert "exact" in scores_of(circuit, ThresholdPath((circuit, lower))).told
    of_pairs, of_lists = (replace(circuit, task_options={"a": a}) for a in ((1, 2), [1, 2]))
    assert "exact" in scores_of(of_pairs, ThresholdPath((of_lists,))).told
    for changes, told in (
        ({"model_name": "gpt2"}, "model_name is .*got 'gpt2'"),
        ({"task_name": "else"}, "task_name is .*got 'else'"),
        ({"task_options": {"seed": 5}}, "task_options is .*got {'seed': 5}"),
        ({"metric_name": "else"}, "metric_name is .*got 'else'"),
        ({"settings": replace(circuit.settings, rule="signed")}, "rule is 'abs'; got 'signed'"),
    ):
        with pytest.raises(ValueError, match=f"path must be of the same search.*{told}"):
            scores_of(circuit, ThresholdPath((replace(circuit, **changes),)))


def test_arguments_without_effect_are_refused(circuit, tmp_path):
    path = ThresholdPath((circuit,))
    for given in ({"absolute": True}, {"threshold_path": path}):
        with pytest.raises(ValueError, match=f"{next(iter(given))} is for scores in other tools'"):
            ax.export_circuit(circuit, tmp_path / "ours.json", **given)
    ax.export_circuit(circuit, tmp_path / "theirs.csv")
    with pytest.raises(ValueError, match=r"a threshold path scores the circuit of a search.*csv"):
        ax.export_circuit(Circuit.from_file(tmp_path / "theirs.csv"), tmp_path / "x.csv",
                          threshold_path=path)  # fmt: skip
    assert not (tmp_path / "x.csv").exists()


def test_parts_that_are_shared_are_not_written_out():
    shared = ()
    for _ in range(23):
        shared = (shared, shared)
    with pytest.raises(ValueError, match=r"n_layers must be a whole number.*got a tuple of 2"):
        of_tensors(tensors(cfg={**CFG, "n_layers": shared}))
    scores = {"blocks.0.hook_q_input": torch.zeros(1, 1), shared[0][0][0][0][0][0]: 1}
    with pytest.raises(ValueError, match="a tuple of 2 is no module"):
        of_tensors(scores)
    assert [shown(value) for value in (np.float64(2), None, True, {1}, "x")] == [
        repr(np.float64(2)), "None", "True", "a set", "'x'",
    ]  # fmt: skip


def test_scores_are_of_a_size_that_is_read_again():
    scores = torch.from_numpy(GRAPH.edge_mask.T.copy()).double()
    fits = of_tensors(tensors(edges_scores=scores * 9e99))
    assert Circuit.from_json(fits.to_json()).imported == fits.imported
    for size in (1e100, -1e150, math.inf, math.nan):
        with pytest.raises(ValueError, match=r"must be a finite number, smaller than 1e\+100; got"):
            of_tensors(tensors(edges_scores=scores * size))


def test_columns_come_once():
    rows = "edge,{}\ninput->a0.h0<q>,1,1\n"
    for names in ("score, score", "score,score", "kept,kept ", "effect,effect", "state, state"):
        with pytest.raises(ValueError, match=f"must have one column '{names.split(',')[0]}'; got"):
            of_table(rows.format(names))
    assert of_table(rows.format("note,note")).kept == ["input->a0.h0<q>"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("edge\n\n \ninput->m0\nm7\n", "line 5: unknown edge 'm7'"),
        ("edge,score\r\n\r\ninput->m0,x\r\n", "line 3: score must be a number; got 'x'"),
        ("edge,kept\n\ninput->m0,x\n", "line 3: kept must be true or false; got 'x'"),
        ("edge,state\n\ninput->m0,untested\n", "line 3: state must be"),
    ],
)
def test_lines_count_empty_ones(text, told):
    with pytest.raises(ValueError, match=told):
        of_table(text)


def test_a_session_reads_no_more_of_a_file_than_a_circuit(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="has 2,000 bytes; circuits of at most 1,000 are read"):
        Session.from_file(write(tmp_path / "large.json", "{" + " " * 1999))


def test_entities_in_letters_of_two_bytes_are_refused():
    text = '<!DOCTYPE x [<!ENTITY a "b">]><graphml>&a;</graphml>'
    for content in (text.encode("utf-16-le"), text.encode("utf-16-be")):
        # So that it is told from other files.
        with pytest.raises(ValueError, match="zero bytes"):
            Circuit.from_content(content + b"<!--<graphml-->", "file")


def test_graphs_by_neuron_or_by_position_are_refused():
    whole, part = torch.ones(3, 4), torch.ones(3, 4)
    part[1, 2] = 0
    everything = of_tensors(tensors()).kept
    assert of_tensors(tensors(neurons_in_graph=whole)).kept == everything
    nothing = {"neurons_in_graph": None, "positional_edges_in_graph": None}
    assert of_tensors(tensors(**nothing)).kept == everything
    for changes, told in (
        ({"neurons_in_graph": part.bool()}, r"some neurons of a0\.h0 alone"),
        ({"neurons_in_graph": [1]}, "neurons_in_graph must be a tensor"),
        ({"positional_edges_in_graph": torch.ones(2, 3, 5)}, "in_graph must be missing or None"),
        ({"positional_edges_in_graphs": torch.ones(2, 3, 5)}, "in_graphs must be missing or None"),
    ):
        with pytest.raises(ValueError, match=told):
            of_tensors(tensors(**changes))
    # Of a node that is not in the circuit no neuron is.
    kept = torch.zeros(3, 5, dtype=torch.bool)
    kept[0, 4] = True
    assert of_tensors(tensors(edges_in_graph=kept, neurons_in_graph=part)).kept == ["input->logits"]
    data = eap_ig_json(1, 1, {"m0->logits"})
    data["nodes"]["a0.h0"]["neurons"] = [False, False]
    assert Circuit.from_content(json.dumps(data).encode(), "x").kept == ["m0->logits"]
    data["nodes"]["m0"]["neurons"] = [True, False]
    with pytest.raises(ValueError, match="some neurons of m0 alone"):
        Circuit.from_content(json.dumps(data).encode(), "x")


def test_tensors_that_are_stored_with_the_other_sign():
    scores = torch.from_numpy(GRAPH.edge_mask.T.copy()).double()
    negative = torch.complex(torch.zeros_like(scores), scores).conj().imag
    assert negative.is_neg()
    assert set(of_tensors(tensors(edges_scores=negative)).imported.scores.values()) == {-1.0}


def test_kept_edges_of_tiny_scores_stay(tmp_path):
    circuit = of_table("edge,score\ninput->a0.h0<q>,1e-50\ninput->m0,-1e-50\nm0->logits,1\n")
    ax.export_circuit(circuit, tmp_path / "x.prune-scores.pt")
    found = Circuit.from_file(tmp_path / "x.prune-scores.pt")
    assert set(found.kept) == set(circuit.kept)
    assert found.imported.scores["input->a0.h0<q>"] > 0 > found.imported.scores["input->m0"]


def drawn_by_neuronpedia(circuit: Circuit) -> dict:
    prompt = PromptOfGraph("a b c", ["a", "b", "c"], {"S": 0, "END": 2}, "d", 0.5)
    text = write_neuronpedia(circuit, scores_of(circuit), prompt, scan="x", slug="x")
    return json.loads(text)


def test_one_input_of_a_head_leads_to_later_tokens():
    graph = graph_of(2, 1, split_qkv=False, labels=("S", "END"))
    data = drawn_by_neuronpedia(of_table("edge\ninput->a1.h0@S\na1.h0->logits@END\n", graph))
    (into,) = [link for link in data["links"] if link["edge"] == "input->a1.h0@S"]
    (out,) = [link for link in data["links"] if link["edge"] == "a1.h0->logits@END"]
    assert into["target"] == out["source"]
    # What a query reads stays where it is.
    graph = graph_of(2, 1, labels=("S", "END"))
    data = drawn_by_neuronpedia(of_table("edge\ninput->a1.h0<q>@S\na1.h0->logits@END\n", graph))
    (into,) = [link for link in data["links"] if link["edge"] == "input->a1.h0<q>@S"]
    assert into["target"].endswith("_0")


def test_neuronpedia_asks_for_a_node_above_layer_0_that_is_drawn():
    graph = graph_of(2, 1, labels=("S", "rest", "END"))
    assert drawn_by_neuronpedia(of_table("edge\na1.h0->logits@END\n", graph))["links"]
    for edges in ("m0->logits@END", "input->a1.h0<q>@rest\nm0->logits@END"):
        with pytest.raises(ValueError, match="needs a node above layer 0"):
            drawn_by_neuronpedia(of_table(f"edge\n{edges}\n", graph))


def test_neuronpedia_draws_no_unfinished_search(model):
    circuit = ax.find_circuit(model, labelled_task(), 0.5, positions=True)
    with pytest.raises(ValueError, match="has not come to its end"):
        drawn_by_neuronpedia(replace(circuit, complete=False))


def test_labels_have_no_space_around_them(task):
    for label in (" S", "S ", ""):
        positions = {label: np.zeros(task.n_prompts)}
        with pytest.raises(ValueError, match=f"no space around it; got {label!r}"):
            replace(task, positions=positions)
