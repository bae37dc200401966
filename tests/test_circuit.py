"""A circuit's tables, numbers, graph and file."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
from conftest import bridge_of, random_gpt2, random_task

import acdc_explorer as ax
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.circuits.steps import EdgeStep, ReceiverStep
from acdc_explorer.engine.cache import engine_for
from acdc_explorer.graph import Edge, graph_of
from acdc_explorer.metrics import METRICS, Metric
from acdc_explorer.models import Model
from acdc_explorer.searches.methods import circuit_of
from acdc_explorer.searches.order import search_receivers, search_senders


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
        "after", "borderline", "screened", "connected", "by_hand",
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
        assert key == (data.get("qkv") or "other")


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
    engine = engine_for(model, task)
    partial = circuit_of("m", engine, circuit.settings, circuit.steps[:30], complete=False)
    assert (partial.edges.state == "untested").any()
    partial.save(tmp_path / "partial.json")
    loaded = Circuit.load(tmp_path / "partial.json")
    assert not loaded.complete
    assert loaded.edges.equals(partial.edges)
    assert "not finished" in loaded.summary()


def test_an_unbegun_circuit_is_the_full_model(model, task, circuit):
    empty = circuit_of("m", engine_for(model, task), circuit.settings, [], complete=False)
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
        (
            '{"format": "acdc_explorer.circuit", "version": 1}',
            "damaged circuit file: model is missing",
        ),
        ('{"format": "acdc_explorer.circuit", "version": true}', "of version True; this"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON .it nests too deep"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
    ],
    ids=lambda value: str(value)[:40],
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
        (lambda data: data["steps"].append([1, 2, 3]), "steps.*must be .receiver, live. or"),
        (lambda data: data["settings"].update(rule="none"), "settings: unknown rule"),
        (lambda data: data["settings"].update(surprise=1), "settings: unknown field 'surprise'"),
        (lambda data: data["settings"].update(threshold="x"), "settings.threshold must be a"),
        (lambda data: data["settings"].update(threshold=math.nan), "finite number above 0"),
        (lambda data: data["settings"].update(threshold=-1), "finite number above 0.*got -1"),
        (lambda data: data["settings"].update(threshold=True), "finite number above 0.*got True"),
        (lambda data: data["settings"].update(order_seed=1.5), "settings.order_seed must be a"),
        (lambda data: data["settings"].pop("threshold_text"), "threshold_text is missing"),
        (lambda data: data["model"].update(n_layers="many"), "model.n_layers must be a whole"),
        (lambda data: data["model"].update(n_layers=10**9), "from 1 to 1000; got 1000000000"),
        (lambda data: data["model"].update(n_layers=True), "from 1 to 1000; got True"),
        (lambda data: data["model"].update(n_layers=1000, n_heads=1000), "at most 300,000,000 are"),
        (lambda data: data["model"].update(has_mlps=1), "model.has_mlps must be true or false"),
        (lambda data: data["model"].update(labels=["a", "a"]), "model.labels must be a list of at"),
        (lambda data: data["model"].update(labels=[""]), "different texts, none empty"),
        (lambda data: data["model"].update(labels=[3]), "model.labels.0. must be text; got 3"),
        (lambda data: data["steps"][1].__setitem__(3, "false"),
         "steps.1..kept must be true or false; got 'false'"),
        (lambda data: data["steps"][1].__setitem__(1, math.nan), "steps.1..before must be a"),
        (lambda data: data["steps"][1].__setitem__(2, 10**400), "steps.1..after must be a finite"),
        (lambda data: data["steps"][1].__setitem__(2, True), "after must be a finite.*got True"),
        (lambda data: data["steps"][0].__setitem__(1, 1), "steps.0..live must be true or false"),
        (lambda data: data["steps"][0].__setitem__(0, "logit"), "receiver 'logit'. Did you mean"),
        (lambda data: data["steps"].insert(2, data["steps"][1]), "steps.2.: .* a second time"),
        (lambda data: data["steps"].append(["logits", False]), "logits comes a second time"),
        (lambda data: data["steps"].append(data["steps"][1]), "among the edges into a0.h0<q>"),
        (lambda data: data["steps"].pop(0), "steps.0.: .* among the edges into no receiver"),
        (lambda data: data["steps"][0].__setitem__(1, False), "into logits, which is not live"),
        (lambda data: data["metric"].update(full=math.nan), "metric.full must be a finite number"),
        (lambda data: data["metric"].update(corrupted="1"), "metric.corrupted must be a finite"),
        (lambda data: data["metric"].update(higher_is_better=1), "higher_is_better must be true"),
        (lambda data: data["metric"].pop("circuit"), "metric.circuit is missing"),
        (lambda data: data.update(complete="no"), "complete must be true or false; got 'no'"),
        (lambda data: data.update(steps={}), "steps must be a list; got an object"),
        (lambda data: data["task"].update(options=[]), "task.options must be an object"),
    ],
)  # fmt: skip
def test_damaged_files_say_what_is_wrong(circuit, tmp_path, change, message):
    path = tmp_path / "c.json"
    circuit.save(path)
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=rf"c\.json' is a damaged circuit file: .*{message}"):
        Circuit.load(path)


def test_a_big_models_file_reads_back_as_it_was(tmp_path):
    graph, steps = graph_of(12, 12), list[ReceiverStep | EdgeStep]()
    for receiver in search_receivers(graph):
        steps.append(ReceiverStep(receiver, live=True))
        for sender in search_senders(graph, receiver):
            edge = Edge(graph.senders[sender], receiver)
            steps.append(EdgeStep(edge, 3.0, 2.0, kept=sender == 0))
    settings = SearchSettings(0.1, "0.1")
    circuit = Circuit("m", "t", {}, graph, settings, "logit_diff", 3.0, 0.0, 3.0, tuple(steps))
    circuit.save(tmp_path / "c.json")
    assert Circuit.load(tmp_path / "c.json") == circuit


def test_files_without_a_direction_have_that_of_their_metric(circuit):
    data = circuit.to_dict()
    del data["metric"]["unit"], data["metric"]["higher_is_better"]
    for name, unit, higher in [("nll", "nats", False), ("logit_diff", "logits", True),
                               ("my_own", "", True)]:  # fmt: skip
        data["metric"]["name"] = name
        loaded = Circuit.from_dict(data)
        assert (loaded.metric_unit, loaded.higher_is_better) == (unit, higher)


def damage() -> Metric:
    """A metric of which less is better, that no one knows by name."""

    def values(logits, answers, wrong, clean):
        return METRICS["logit_diff"].per_prompt(logits, wrong, answers, clean)

    return Metric("damage", "damage", "units", values, higher_is_better=False,
                  default_rule="signed")  # fmt: skip


def nll(logits):
    """A user's function that happens to be called as a metric is, but goes the other way."""
    return logits[..., 3] - logits[..., 4]


@pytest.mark.parametrize(("metric", "higher", "unit"), [(damage(), False, "units"),
                                                        (nll, True, "")])  # fmt: skip
def test_a_circuit_knows_its_metrics_direction(model, tmp_path, metric, higher, unit):
    task = random_task(metric=metric)
    found = ax.find_circuit(model, task, 0.1, rule="signed")
    assert (found.higher_is_better, found.metric_unit) == (higher, unit)
    low, high = found.valid_interval
    assert 0 <= low < 0.1 <= high
    assert 0 < len(found.kept) < found.n_tested
    found.save(tmp_path / "c.json")
    loaded = Circuit.load(tmp_path / "c.json")
    assert loaded == found
    assert loaded.valid_interval == (low, high)


@pytest.mark.parametrize("positions", [False, True])
@pytest.mark.parametrize("kind", ["graphml", "gexf", "gml"])
def test_graph_files_read_back(model, task, tmp_path, kind, positions):
    circuit = ax.find_circuit(model, task, 0.2, positions=positions)
    graph = circuit.to_networkx()
    write, read = getattr(nx, f"write_{kind}"), getattr(nx, f"read_{kind}")
    write(graph, tmp_path / "graph")
    options = {"force_multigraph": True} if kind == "graphml" else {}
    back = read(tmp_path / "graph", **options)
    assert set(back.nodes) == set(graph.nodes)
    assert len(circuit.kept) > 3
    assert sorted(data["id"] for *_, data in back.edges(data=True)) == sorted(circuit.kept)
    if kind == "gml":
        assert back.nodes == graph.nodes
        assert back.edges == graph.edges


@pytest.mark.parametrize("method", ["acdc", "path_patching", "eap"])
def test_connected_edges_are_those_on_a_path_from_input_to_logits(model, task, method):
    circuit = ax.find_circuit(model, task, 0.3, method=method)
    graph = circuit.to_networkx()
    from_input = nx.descendants(graph, "input") | {"input"}
    to_logits = nx.ancestors(graph, "logits") | {"logits"}
    expected = {
        data["id"]
        for sender, receiver, data in graph.edges(data=True)
        if sender in from_input and receiver in to_logits
    }
    assert expected
    connected = circuit.connected()
    assert set(connected) == expected
    assert connected == [edge for edge in circuit.kept if edge in expected]
    assert (circuit.connected_mask == circuit.graph.mask_of(connected)).all()
    assert circuit.edges.connected.dtype == bool
    assert set(circuit.edges.edge[circuit.edges.connected]) == expected


def test_edges_from_nothing_are_told(model, task):
    whole = ax.find_circuit(model, task, 0.05)
    assert len(whole.connected()) == len(whole.kept)
    assert "connected" not in whole.summary()
    steps = [
        replace(step, kept=step.edge.id in ("m1->logits", "a0.h1->m1", "input->m1", "m0->m1"))
        if isinstance(step, EdgeStep) else step
        for step in whole.steps
    ]  # fmt: skip
    cut = replace(whole, steps=tuple(steps))
    assert cut.connected() == ["m1->logits", "input->m1"]
    assert "4 edges kept (2 connected to the input), 110 tested" in cut.summary()
    # While a search goes on, it has not come to the input yet.
    assert "connected" not in replace(cut, complete=False).summary()


def test_labels_need_not_agree_along_a_path():
    """What is read as a key at one label is used by the queries of later ones."""
    graph = graph_of(2, 1, labels=("IO", "END"))
    ids = ["a1.h0->logits@END", "m0->a1.h0<k>@IO", "input->m0@IO", "a0.h0->a1.h0<q>@END"]
    steps = tuple(EdgeStep(graph.parse_edge(edge), 2.0, 1.0, kept=True) for edge in ids)
    settings = SearchSettings(0.1, "0.1")
    circuit = Circuit("m", "t", {}, graph, settings, "logit_diff", 3.0, 0.0, 3.0, steps)
    assert circuit.connected() == ids[:3]


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
