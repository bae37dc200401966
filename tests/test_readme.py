"""What the README says of the bundled model's circuits is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import acdc_explorer as ax

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def circuits():
    model = ax.load_model("mini")
    task = ax.load_task("ioi", model, n_prompts=64, seed=0)
    return model, task, ax.find_circuit(model, task, threshold="3%")


def test_the_script_names_edges_of_the_circuit(circuits):
    model, task, circuit = circuits
    positional = ax.find_circuit(model, task, "7%", positions=True)
    script = README.partition("## In a script")[2].partition("## ")[0]
    named = re.findall(r"'([^' ]+->[^' ]+)'|\"([^\" ]+->[^\" ]+)\"", script)
    edges = [one or other for one, other in named]
    assert len(edges) >= 4
    assert set(edges) <= {*circuit.kept, *positional.kept}
    assert script.count(f"{len(circuit.kept)} edges in the order of the tests") == 1
    assert script.count(f"the {len(circuit.connected())} that the input reaches") == 1
    # The first example shows an edge that does something.
    inspected = re.search(r'inspect_edge\(model, task, circuit, "([^"]+)"\)', script)
    effects = ax.inspect_edge(model, task, circuit, inspected[1]).by_position
    assert effects.abs().max() > 0.5


def test_what_a_circuit_can_be_asked_runs_as_it_stands(circuits):
    model, task, circuit = circuits
    section = README.partition("## Ask the circuit")[2].partition("## ")[0]
    code = section.partition("```python")[2].partition("```")[0]
    names = {"ax": ax, "model": model, "task": task, "circuit": circuit}
    exec(code, names)
    assert [change.edge.id for change in names["edited"].by_hand if not change.kept] == [
        "a3.h0->logits"
    ]


def test_files_of_other_tools_are_written_and_read(circuits, tmp_path, monkeypatch):
    model, task, circuit = circuits
    section = README.partition("## Files of other tools")[2].partition("## ")[0]
    code = section.partition("```python")[2].partition("```")[0]
    monkeypatch.chdir(tmp_path)
    names = {"ax": ax, "model": model, "task": task, "circuit": circuit}
    exec(code, names)
    assert set(names["theirs"].kept) == set(circuit.kept)
    assert (tmp_path / "ioi_gpt2" / "importances.json").is_file()


@pytest.mark.slow
def test_one_search_on_many_processes_runs_as_it_stands(circuits):
    model, *_ = circuits
    section = README.partition("## One search on many processes")[2].partition("## ")[0]
    code = section.partition("```python")[2].partition("```")[0]
    task = ax.load_task("ioi", model, n_prompts=16, seed=0)
    dense = ax.find_circuit(model, task, "1%", screen=0.5)
    circuit = ax.find_circuit(model, task, "3%")
    names = {"ax": ax, "model": model, "task": task, "circuit": circuit, "dense": dense}
    exec(code, names)
    assert names["exact"].kept == ax.verify(model, task, dense).kept
    assert len(names["again"].runs) >= 20
    assert names["path"].at(names["path"].circuits[0].threshold) is not None
