"""Circuits in the files of other tools: written, read, and refused."""

from __future__ import annotations

import io
import json
import math
import pickle
import zipfile

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import labelled_task, random_task

import acdc_explorer as ax
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.exchange import reading
from acdc_explorer.circuits.exchange.scores import scores_of
from acdc_explorer.circuits.exchange.writing import FORMATS
from acdc_explorer.explorer.session import Session
from acdc_explorer.graph import graph_of

# What names of files say of the format.
ENDINGS = {
    "acdc_explorer": "json",
    "eap-ig": "eap-ig.json",
    "eap-ig-pt": "pt",
    "csv": "csv",
    "prune-scores": "prune-scores.pt",
    "graphml": "graphml",
    "gexf": "gexf",
}
WITH_POSITIONS = "acdc_explorer", "csv", "graphml", "gexf"


@pytest.fixture(scope="module")
def circuit(model, task):
    return ax.find_circuit(model, task, 0.05)


@pytest.fixture(scope="module")
def by_position(model):
    return ax.find_circuit(model, labelled_task(), 0.05, positions=True)


@pytest.fixture(scope="module")
def imported(circuit, tmp_path_factory):
    path = tmp_path_factory.mktemp("imported") / "ours.eap-ig.json"
    ax.export_circuit(circuit, path)
    return Circuit.from_file(path)


def eap_ig_json(n_layers: int, n_heads: int, kept: set[str], *, parallel: bool = False) -> dict:
    """What `Graph.to_json` of EAP-IG writes, made by its rules alone: which parent precedes which
    child, and how both are called."""
    stream, edges = ["input"], []
    for layer in range(n_layers):
        heads, mlp = [f"a{layer}.h{head}" for head in range(n_heads)], f"m{layer}"
        for parent in stream:
            edges += [f"{parent}->{head}<{letter}>" for head in heads for letter in "qkv"]
        edges += [f"{parent}->{mlp}" for parent in (stream if parallel else stream + heads)]
        stream += [*heads, mlp]
    edges += [f"{parent}->logits" for parent in stream]
    return {
        "cfg": {
            "n_layers": n_layers,
            "n_heads": n_heads,
            "parallel_attn_mlp": parallel,
            "d_model": 32,
        },
        "nodes": {name: {"in_graph": True} for name in [*stream, "logits"]},
        "edges": {
            name: {"score": (number - 50) / 100, "in_graph": name in kept}
            for number, name in enumerate(edges)
        },
    }


def write(path, data) -> str:
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", ENDINGS)
def test_what_is_written_is_read_again(circuit, tmp_path, name):
    path = tmp_path / f"circuit.{ENDINGS[name]}"
    ax.export_circuit(circuit, path)
    found = Circuit.from_file(path)
    assert found.graph == circuit.graph
    assert (found.kept_mask == circuit.kept_mask).all()
    assert (found.removed_mask == circuit.removed_mask).all()
    assert set(found.connected()) == set(circuit.connected())
    if name == "acdc_explorer":
        assert found == circuit
        assert not found.lacks
        return
    scores = scores_of(circuit).matrix
    where = circuit.kept_mask
    if "a score for every edge" in FORMATS[name].keeps:
        where = circuit.graph.edge_mask
    assert np.allclose(found.imported.score_matrix[where], scores[where], rtol=1e-6)
    assert path.name in found.lacks
    # From this file to each of the others and back.
    ax.export_circuit(found, tmp_path / "again.csv")
    again = Circuit.from_file(tmp_path / "again.csv")
    assert (again.kept_mask == circuit.kept_mask).all()


@pytest.mark.parametrize("name", ENDINGS)
def test_positions_are_kept_or_refused(by_position, tmp_path, name):
    path = tmp_path / "circuit.any"
    if name in WITH_POSITIONS:
        ax.export_circuit(by_position, path, name)
        found = Circuit.from_file(path)
        assert found.graph == by_position.graph
        assert (found.kept_mask == by_position.kept_mask).all()
    else:
        with pytest.raises(ValueError, match="position"):
            ax.export_circuit(by_position, path, name)
        assert not path.exists()


@pytest.mark.parametrize(
    "graph",
    [
        graph_of(2, 2, parallel=True),
        graph_of(2, 2, has_mlps=False),
        graph_of(2, 3, split_qkv=False),
        graph_of(1, 1),
        graph_of(2, 2, labels=("S", "END")),
    ],
    ids=lambda graph: graph.shape,
)
def test_models_of_all_shapes(graph, tmp_path):
    edges = graph.edge_ids[::3]
    write(tmp_path / "kept.csv", "edge\n" + "\n".join(edges))
    circuit = Circuit.from_file(tmp_path / "kept.csv", graph)
    assert circuit.kept == edges
    of_eap_ig = not graph.labels and graph.has_mlps and graph.split_qkv
    has_place = {"eap-ig": of_eap_ig, "eap-ig-pt": of_eap_ig, "prune-scores": not graph.labels}
    for name in set(ENDINGS) - {"acdc_explorer"}:
        path = tmp_path / "circuit.any"
        if not has_place.get(name, True):
            with pytest.raises(ValueError, match=r"EAP-IG has no such graphs|counts tokens"):
                ax.export_circuit(circuit, path, name)
            continue
        ax.export_circuit(circuit, path, name)
        found = Circuit.from_file(path)
        assert found.graph == graph
        assert (found.kept_mask == circuit.kept_mask).all()


@pytest.mark.parametrize("parallel", [False, True])
def test_files_as_eap_ig_writes_them(tmp_path, parallel):
    kept = {"input->a0.h1<q>", "a0.h1->m1", "m1->logits"}
    data = eap_ig_json(2, 3, kept, parallel=parallel)
    found = Circuit.from_file(write(tmp_path / "graph.json", data))
    assert found.graph == graph_of(2, 3, parallel=parallel)
    assert set(found.kept) == kept
    assert found.edges.set_index("edge").effect.to_dict() == {
        name: edge["score"] for name, edge in data["edges"].items()
    }
    # Ours has the same names, in the same places, as its reader needs them.
    ax.export_circuit(found, tmp_path / "ours.json", "eap-ig")
    ours = json.loads((tmp_path / "ours.json").read_text())
    assert ours["edges"] == data["edges"]
    assert ours["nodes"].keys() == data["nodes"].keys()
    assert ours["cfg"].keys() == data["cfg"].keys()
    # With scores of nodes, which need not be numbers, and with neurons.
    data["nodes"]["m1"] |= {"score": math.nan, "neurons": [True], "neurons_scores": [math.nan]}
    assert Circuit.from_file(write(tmp_path / "nodes.json", data)).kept == found.kept


def test_tensors_as_eap_ig_writes_them(tmp_path):
    n_layers, n_heads = 2, 3
    names = [f"a{layer}.h{head}" for layer in range(n_layers) for head in range(n_heads)]
    senders = ["input", *names[:3], "m0", *names[3:], "m1"]
    receivers = []
    for layer in range(n_layers):
        receivers += [f"a{layer}.h{head}<{q}>" for q in "qkv" for head in range(n_heads)]
        receivers.append(f"m{layer}")
    receivers.append("logits")
    scores = torch.zeros(len(senders), len(receivers))
    kept = torch.zeros_like(scores, dtype=torch.bool)
    for name, score in {"a0.h2->a1.h1<k>": -0.5, "m0->logits": 2.0}.items():
        cell = tuple(
            ids.index(end) for ids, end in zip((senders, receivers), name.split("->"), strict=True)
        )
        kept[cell], scores[cell] = True, score
    # After node-level pruning there are cells that are no edges.
    kept[senders.index("m1"), 0] = True
    data = {
        "cfg": {"n_layers": 2, "n_heads": 3, "parallel_attn_mlp": False, "d_model": 32},
        "src_nodes": senders,
        "dst_nodes": receivers,
        "edges_scores": scores,
        "edges_in_graph": kept,
        "nodes_in_graph": torch.ones(len(senders), dtype=torch.bool),
    }
    torch.save(data, tmp_path / "graph.pt")
    found = Circuit.from_file(tmp_path / "graph.pt")
    assert {edge.id: effect for edge, effect in found.kept_effects.items()} == {
        "a0.h2->a1.h1<k>": -0.5,
        "m0->logits": 2.0,
    }
    ax.export_circuit(found, tmp_path / "ours.pt", "eap-ig-pt")
    ours = torch.load(tmp_path / "ours.pt", weights_only=True)
    assert ours.keys() == data.keys()
    assert (ours["src_nodes"], ours["dst_nodes"]) == (senders, receivers)
    assert torch.equal(ours["edges_scores"], scores)
    for name, wrong in (
        ("edges_scores", scores[1:]),
        ("edges_scores", scores.to_sparse()),
        ("edges_scores", scores * 1j),
        ("edges_in_graph", None),
        ("src_nodes", senders[::-1]),
        ("dst_nodes", 5),
    ):
        torch.save(data | {name: wrong}, tmp_path / "wrong.pt")
        with pytest.raises(ValueError, match=f"wrong.pt.*{name} must be"):
            Circuit.from_file(tmp_path / "wrong.pt")
    torch.save(data | {"edges_scores": torch.full_like(scores, math.nan)}, tmp_path / "nan.pt")
    with pytest.raises(ValueError, match=r"the score of input->a0.h0<q> must be a finite number"):
        Circuit.from_file(tmp_path / "nan.pt")


def test_prune_scores_as_auto_circuit_has_them(tmp_path):
    heads, scores = 2, {}
    for layer, n_before in enumerate((1, 4)):
        for letter in "qkv":
            scores[f"blocks.{layer}.hook_{letter}_input"] = torch.zeros(heads, n_before)
        scores[f"blocks.{layer}.hook_mlp_in"] = torch.zeros(n_before + heads)
    scores["blocks.1.hook_resid_post"] = torch.zeros(7)
    # Senders count input, then of each block its heads and its MLP.
    scores["blocks.1.hook_k_input"][1, 3] = 0.5
    scores["blocks.1.hook_resid_post"][5] = -2.0
    torch.save(scores, tmp_path / "scores.pt")
    found = Circuit.from_file(tmp_path / "scores.pt")
    assert found.graph == graph_of(2, 2)
    assert {edge.id: effect for edge, effect in found.kept_effects.items()} == {
        "m0->a1.h1<k>": 0.5,
        "a1.h1->logits": -2.0,
    }
    # Its ACDC: the lowest threshold that removed the edge, and infinity if none did.
    acdc = {name: torch.full_like(tensor, 0.1) for name, tensor in scores.items()}
    acdc["blocks.0.hook_mlp_in"][1] = math.inf
    torch.save(acdc, tmp_path / "acdc.pt")
    kept_by_acdc = Circuit.from_file(tmp_path / "acdc.pt")
    assert kept_by_acdc.kept == ["a0.h0->m0"]
    assert kept_by_acdc.imported.scores["a0.h0->m0"] == pytest.approx(0.2)
    assert len(kept_by_acdc.imported.scores) == found.graph.n_edges
    best = Circuit.from_file(tmp_path / "scores.pt", top_n=1)
    assert best.kept == ["a1.h1->logits"]
    # A kept edge stays one without a score, as one that was restored by hand.
    unscored = Circuit.from_file(write(tmp_path / "a.csv", "edge\nm0->m1"), found.graph)
    ax.export_circuit(unscored, tmp_path / "ours.prune-scores.pt")
    assert Circuit.from_file(tmp_path / "ours.prune-scores.pt").kept == ["m0->m1"]
    for wrong, told in (
        ({"blocks.0.hook_mlp_in": torch.zeros(5, 3)}, "by token position.*scores.sum"),
        (
            {"blocks.1.hook_mlp_in": torch.zeros(2)},
            r"must be a tensor of numbers \[6\]; got one \[2\]",
        ),
        ({"blocks.0.ln": torch.zeros(2)}, "'blocks.0.ln' is no module"),
        ({"blocks.1.hook_attn_in": torch.zeros(2)}, "blocks.1.hook_attn_in is missing, or"),
    ):
        torch.save(scores | wrong, tmp_path / "wrong.pt")
        with pytest.raises(ValueError, match=told):
            Circuit.from_file(tmp_path / "wrong.pt")


def test_scores_are_the_largest_threshold_at_which_an_edge_is_kept(model, task, circuit, tmp_path):
    decided = scores_of(circuit).matrix
    effects = circuit.edges.set_index("edge").effect
    for edge in circuit.kept:
        score = decided[circuit.graph.cell(circuit.graph.parse_edge(edge))]
        assert score == pytest.approx(effects[edge])
        assert abs(score) >= circuit.threshold
    path = ax.threshold_path(model, task, low=0.4, high=1.0)
    ax.export_circuit(circuit, tmp_path / "ioi_gpt2", "mib", threshold_path=path, absolute=True)
    data = json.loads((tmp_path / "ioi_gpt2" / "importances.json").read_text())
    assert {name: edge["score"] for name, edge in data["edges"].items() if edge["score"]} == {
        name: pytest.approx(score) for name, score in path.scores.items()
    }
    signed = scores_of(circuit, path).matrix
    assert np.allclose(abs(signed), scores_of(circuit, path, absolute=True).matrix)
    assert (signed < 0).any()
    found = Circuit.from_file(tmp_path / "ioi_gpt2")
    assert (found.task_name, found.model_name) == ("ioi", "gpt2")
    assert (found.kept_mask == circuit.kept_mask).all()
    with pytest.raises(ValueError, match="choose one of the folders in it: ioi_gpt2"):
        Circuit.from_file(tmp_path)
    # Of any name, as MIB takes it; or one for each size.
    folder = tmp_path / "ioi_gpt2"
    ax.export_circuit(circuit, folder / "scores.pt")
    with pytest.raises(ValueError, match=r"choose one of them: importances.json, scores.pt"):
        Circuit.from_file(folder)
    (folder / "importances.json").unlink()
    assert (Circuit.from_file(folder).kept_mask == circuit.kept_mask).all()
    (folder / "scores.pt").unlink()
    with pytest.raises(ValueError, match=r"the folder has no .json or .pt file"):
        Circuit.from_file(folder)
    with pytest.raises(ValueError, match="are called <task>_<model>"):
        ax.export_circuit(circuit, tmp_path / "ioi", "mib")
    other = ax.find_circuit(model, labelled_task(), 0.5, positions=True)
    with pytest.raises(ValueError, match="circuits of the same edges"):
        ax.export_circuit(other, tmp_path / "x.csv", threshold_path=path)


def test_scores_are_positive_where_an_edge_helps(model):
    task = random_task(metric="kl_divergence")
    circuit = ax.find_circuit(model, task, 0.02)
    # Removing what helps raises the divergence, which is a negative effect.
    edge, effect = max(circuit.kept_effects.items(), key=lambda item: -item[1])
    assert effect < 0
    assert scores_of(circuit).matrix[circuit.graph.cell(edge)] == pytest.approx(-effect)


def test_tables_of_edges_from_anywhere(circuit, tmp_path):
    circuit.edges.to_csv(tmp_path / "edges.csv", index=False)
    found = Circuit.from_file(tmp_path / "edges.csv")
    assert (found.kept_mask == circuit.kept_mask).all()
    assert found.edges.effect.to_numpy() == pytest.approx(circuit.edges.effect.to_numpy())
    few = write(tmp_path / "few.csv", "edge,score\nL0H1 → MLP 0,0.5\nA1.H2->LOGITS,\n")
    with pytest.raises(
        ValueError,
        match=r"does not say what model it is of: read it by `Circuit.from_file` with `graph=`",
    ):
        Circuit.from_file(few)
    found = Circuit.from_file(few, circuit.graph)
    assert found.kept == ["a0.h1->m0", "a1.h2->logits"]
    assert found.imported.scores == {"a0.h1->m0": 0.5}
    for text in ("edge\n", "edge\nfoo\n", "edge\nfoo->\n", "edge\n->logits\n"):
        with pytest.raises(ValueError, match="does not say what model it is of"):
            Circuit.from_file(write(tmp_path / "wrong.csv", text))
    for text, told in (
        ("edge\nm0->m1\nM0->m1\n", "line 3: the edge m0->m1 comes a second time"),
        ("edge\nm0->m9\n", "line 2: unknown edge 'm0->m9'"),
        ("edge,score\nm0->m1,nan\n", "line 2: score must be a finite number.*got nan"),
        ("edge,score\nm0->m1,much\n", "line 2: score must be a number; got 'much'"),
        ("edge,kept\nm0->m1,perhaps\n", "line 2: kept must be true or false; got 'perhaps'"),
        ("edge,kept\nm0->m1,true\n,,,,,,\n", "no table of comma-separated values"),
        ("edge,kept\nm0->m1,true,3\n", "no table of comma-separated values"),
        ("edge, edge\nm0->m1,m0->m1\n", "must have one column 'edge'; got edge, edge"),
    ):
        with pytest.raises(ValueError, match=told):
            Circuit.from_file(write(tmp_path / "wrong.csv", text), circuit.graph)


def test_networkx_writes_graphs_of_all_circuits(circuit, by_position, tmp_path):
    for searched in (circuit, by_position):
        nx.write_gexf(searched.to_networkx(), tmp_path / "graph.gexf")
        nx.write_graphml(searched.to_networkx(), tmp_path / "graph.graphml")
        for path in (tmp_path / "graph.gexf", tmp_path / "graph.graphml"):
            with pytest.raises(ValueError, match="does not say what model it is of"):
                Circuit.from_file(path)
            found = Circuit.from_file(path, searched.graph)
            effects = {edge.id: effect for edge, effect in searched.kept_effects.items()}
            assert found.imported.scores == pytest.approx(effects)


def test_a_circuit_from_a_file_is_measured_compared_and_changed(model, task, circuit, imported):
    assert math.isnan(imported.faithfulness)
    assert "no metric yet" in imported.summary()
    found = ax.measure(model, task, imported, held_out=False, ablations=(), n_random=20)
    assert found.ablations.faithfulness["corrupted"] == pytest.approx(circuit.faithfulness)
    measured = ax.edit(model, task, imported)
    assert measured.faithfulness == pytest.approx(circuit.faithfulness)
    assert "faithfulness" in measured.summary()
    edge = circuit.kept[0]
    edited = ax.edit(model, task, imported, remove=[edge])
    assert edge not in edited.kept
    assert edited.metric_value == pytest.approx(
        ax.edit(model, task, circuit, remove=[edge]).metric_value
    )
    assert ax.compare(circuit, imported).jaccard == ax.compare(imported, circuit).jaccard == 1
    assert ax.recovery(model, circuit, imported).f1 == 1
    effect = ax.inspect_edge(model, task, imported, edge).effect
    assert effect == pytest.approx(ax.inspect_edge(model, task, circuit, edge).effect)
    assert len(ax.by_prompt(model, task, imported).prompts) == task.n_prompts


def test_it_says_what_it_lacks(model, task, imported):
    for ask in (ax.verify, ax.audit, ax.uncertainty, ax.another_circuit):
        with pytest.raises(ValueError, match=r"needs the tests and decisions.*ours.eap-ig.json.*"):
            ask(model, task, imported)
    with pytest.raises(ValueError, match="a replay needs"):
        ax.find_circuit(model, task, 0.05, replay=imported)
    with pytest.raises(ValueError, match="a paragraph on methods needs"):
        ax.methods_paragraph(imported)
    assert all(map(math.isnan, imported.valid_interval))


def test_it_can_be_saved_with_its_scores(model, task, imported, tmp_path):
    for circuit in (imported, ax.edit(model, task, imported, remove=imported.kept[:1])):
        circuit.save(tmp_path / "c.json")
        for found in (Circuit.load(tmp_path / "c.json"), Circuit.from_file(tmp_path / "c.json")):
            assert found.kept == circuit.kept
            assert found.imported == circuit.imported
            assert np.array_equal(found.faithfulness, circuit.faithfulness, equal_nan=True)


def test_other_models_are_refused(model, task, tmp_path):
    path = write(tmp_path / "graph.json", eap_ig_json(2, 3, {"m0->logits"}))
    circuit = Circuit.from_file(path)
    with pytest.raises(ValueError, match="2 layers x 3 heads; this one has 2 layers x 4 heads"):
        ax.measure(model, task, circuit)
    with pytest.raises(ValueError, match="2 layers x 3 heads; this one has 2 layers x 4 heads"):
        Circuit.from_file(path, model.graph)
    with pytest.raises(ValueError, match="has scores of 75 edges, not of 1,000"):
        Circuit.from_file(path, top_n=1000)


def test_the_circuit_of_a_session(circuit, tmp_path):
    path = write(tmp_path / "session.json", Session(circuit).to_json())
    assert Circuit.from_file(path) == circuit
    assert ax.compare(circuit, path).jaccard == 1


def changed(**changes) -> dict:
    return eap_ig_json(2, 2, set()) | changes


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (changed(edges={"m0->m7": {"score": 1, "in_graph": True}}), "unknown edge 'm0->m7'"),
        (changed(edges={"m1->m0": {"score": 1, "in_graph": True}}), "does not come before"),
        (changed(edges={"m0->m1": {"score": math.nan, "in_graph": True}}),
         "edges.m0->m1.score must be a finite number.*got nan"),
        (changed(edges={"m0->m1": {"score": 1}}), "edges.m0->m1.in_graph is missing"),
        (changed(edges={"m0->m1": {"score": 1, "in_graph": 1}}), "must be true or false; got 1"),
        (changed(edges=[]), "edges must be an object; got a list of 0"),
        (changed(cfg={"n_layers": 10**6, "n_heads": 1}), "n_layers must be a whole number from 1"),
        (changed(cfg={"n_layers": 900, "n_heads": 900}), "at most 300,000,000 are allowed"),
        ('{"cfg": {}, "edges": {}, "edges": {}}', "'edges' comes twice in one object"),
        ('{"a":' * 100_000, "nests too deep"),
        ("{", "not valid JSON"),
        ({"nodes": 1}, "its format is unknown; known are"),
        ("", "its format is unknown"),
        ({"metadata": {}, "nodes": [], "links": []}, "features of transcoders"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><graphml>&a;</graphml>', "XML entities"),
        ("<graphml", "no graph that networkx reads"),
        ('<gexf version="1.2">', "no graph that networkx reads"),
    ],
)  # fmt: skip
def test_damaged_and_hostile_files(tmp_path, data, told):
    with pytest.raises(ValueError, match=f"wrong.any' is no circuit that can be read.*{told}"):
        Circuit.from_file(write(tmp_path / "wrong.any", data))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", ENDINGS)
def test_files_damaged_at_random(circuit, tmp_path, name):
    """Each is read, or refused by a ValueError, whatever the library behind it makes of it."""
    ax.export_circuit(circuit, tmp_path / "circuit.any", name)
    content, rng = (tmp_path / "circuit.any").read_bytes(), np.random.default_rng(0)
    n_refused = 0
    for _ in range(60):
        damaged, at = bytearray(content), int(rng.integers(len(content)))
        kind = rng.integers(3)
        if kind == 0:
            damaged[at] = rng.integers(256)
        elif kind == 1:
            del damaged[at : at + int(rng.integers(1, 40))]
        else:
            damaged[at:at] = content[: int(rng.integers(1, 40))]
        try:
            Circuit.from_content(bytes(damaged), "file")
        except ValueError:
            n_refused += 1
    assert n_refused


def test_nothing_in_a_file_is_executed(tmp_path, monkeypatch):
    ran = tmp_path / "ran"

    class Hostile:
        def __reduce__(self):
            return ran.write_text, ("x",)

    for content, told in (
        (pickle.dumps({"scores": Hostile()}), "it is a pickle, which could run anything"),
        (torch_file({"scores": Hostile()}), "it holds Python objects, which could run anything"),
    ):
        (tmp_path / "hostile.pt").write_bytes(content)
        with pytest.raises(ValueError, match=rf"hostile.pt'.*{told}"):
            Circuit.from_file(tmp_path / "hostile.pt")
        assert not ran.exists()
    # A number stored once that claims to be many.
    wide = {"blocks.0.hook_q_input": torch.zeros(1, 1), "blocks.0.hook_mlp_in": torch.zeros(2)}
    wide |= {f"blocks.0.hook_{letter}_input": torch.zeros(1, 1) for letter in "kv"}
    wide["blocks.0.hook_resid_post"] = torch.zeros(1).expand(3)
    (tmp_path / "wide.pt").write_bytes(torch_file(wide))
    with pytest.raises(ValueError, match="stores fewer numbers than its shape"):
        Circuit.from_file(tmp_path / "wide.pt")
    monkeypatch.setattr(reading, "_MOST_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("data.pkl", b"0" * 20_000)
    with pytest.raises(ValueError, match="unpacked it has 20,000 bytes; at most 1,000 are read"):
        Circuit.from_file(tmp_path / "bomb.pt")
    with pytest.raises(ValueError, match="has 2,000 bytes; circuits of at most 1,000 are read"):
        Circuit.from_file(write(tmp_path / "large.json", "{" + " " * 1999))
    with pytest.raises(FileNotFoundError):
        Circuit.from_file(tmp_path / "none.json")


def torch_file(data) -> bytes:
    file = io.BytesIO()
    torch.save(data, file)
    return file.getvalue()


def test_the_formats_and_what_they_lose(circuit, tmp_path):
    table = ax.list_formats()
    assert isinstance(table, pd.DataFrame)
    assert set(table.format) == {*ENDINGS, "mib"}
    assert (table.lost != "").all()
    with pytest.raises(ValueError, match=r"unknown format 'gefx'. Did you mean 'gexf'"):
        ax.export_circuit(circuit, tmp_path / "x", "gefx")
    with pytest.raises(ValueError, match=r"the ending of 'x.dat' means no format; give one"):
        ax.export_circuit(circuit, "x.dat")
    with pytest.raises(ValueError, match="there is no folder"):
        ax.export_circuit(circuit, tmp_path / "no" / "x.csv")
