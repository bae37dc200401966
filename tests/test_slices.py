"""Prompts in slices, where their activations do not fit in memory: the same results."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import bridge_of, labelled_task, mostly_slow, random_gpt2, random_model, random_task

import acdc_explorer as ax
from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.circuits.steps import EdgeStep
from acdc_explorer.engine import runs as runs_module
from acdc_explorer.engine.cache import engine_for
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.evaluate import evaluate_removed
from acdc_explorer.engine.memory import prompts_that_fit
from acdc_explorer.engine.removed_edges import RemovedEdges
from acdc_explorer.inspection import attention_by_label
from acdc_explorer.models import Model
from acdc_explorer.models.bridge import extract_weights
from acdc_explorer.searches.attribution import edge_scores
from acdc_explorer.searches.methods import search_steps


@pytest.fixture
def largest_run(monkeypatch):
    """How many prompts the engine has run at once, since the list was last emptied."""
    sizes = []
    run = runs_module.run

    def counted(weights, tokens):
        sizes.append(len(tokens))
        return run(weights, tokens)

    monkeypatch.setattr(runs_module, "run", counted)
    return sizes


def pair(kind="gpt2", slice_size=2, ablation="corrupted", task=None, **options):
    """Engines with all prompts at once and in slices."""
    hf_model = random_gpt2("2x4") if kind == "gpt2" else random_model(kind)
    weights, task = extract_weights(bridge_of(hf_model)), task or random_task()
    whole = Engine(weights, task, ablation, **options)
    return whole, Engine(weights, task, ablation, slice_size=slice_size, **options)


def assert_same_search(whole: Engine, sliced: Engine, settings: SearchSettings) -> None:
    expected, got = (
        [step for step in search_steps(engine, settings) if isinstance(step, EdgeStep)]
        for engine in (whole, sliced)
    )
    assert any(step.kept for step in expected)
    assert [(step.edge, step.kept) for step in got] == [(s.edge, s.kept) for s in expected]
    for one, other in zip(got, expected, strict=True):
        assert one.before == pytest.approx(other.before, abs=1e-5)
        assert one.after == pytest.approx(other.after, abs=1e-5)


@pytest.mark.parametrize("slice_size", [pytest.param(1, marks=pytest.mark.slow), 3])
@pytest.mark.parametrize("ablation", ["corrupted", "zero", "mean"])
@pytest.mark.parametrize("method", ["acdc", "path_patching"])
def test_every_decision(slice_size, ablation, method, largest_run):
    whole, _ = pair(ablation=ablation)
    settings = SearchSettings(0.05, "0.05", method=method, ablation=ablation)
    list(search_steps(whole, settings))
    largest_run.clear()
    sliced = Engine(whole.weights, whole.task, ablation, slice_size=slice_size)
    assert_same_search(whole, sliced, settings)
    assert max(largest_run) == slice_size


@pytest.mark.parametrize("kind", mostly_slow(["llama", "gpt_neox", "gpt_neo"], "llama"))
def test_every_decision_on_other_architectures(kind):
    assert_same_search(*pair(kind), SearchSettings(0.05, "0.05"))


@pytest.mark.parametrize("method", ["acdc", "path_patching"])
@pytest.mark.parametrize("split_qkv", mostly_slow([True, False], False))
def test_every_decision_at_positions(method, split_qkv):
    """In the first prompt one label changes nothing, so that its slice has no such receiver."""
    engines = pair(slice_size=1, task=labelled_task(), positions=True, split_qkv=split_qkv)
    assert_same_search(*engines, SearchSettings(0.05, "0.05", method=method))


@pytest.mark.slow
def test_borderline_edges():
    whole, sliced = pair()
    steps = search_steps(whole, SearchSettings(0.1, "0.1"))
    change = min(abs(s.effect) for s in steps if isinstance(s, EdgeStep) and s.kept)
    for threshold in (change * (1 - 1e-6), change * (1 + 1e-6)):
        assert_same_search(whole, sliced, SearchSettings(threshold, ""))
    assert 1 <= sliced.in_float64.slice_size < 5


@pytest.mark.parametrize("ablation", ["corrupted", "zero", "mean"])
def test_what_else_is_computed(ablation):
    whole, sliced = pair(ablation=ablation)
    torch.testing.assert_close(sliced.clean_by_prompt, whole.clean_by_prompt)
    torch.testing.assert_close(sliced.corrupted_by_prompt, whole.corrupted_by_prompt)
    torch.testing.assert_close(sliced.scoring.clean_logits, whole.scoring.clean_logits)
    generator = torch.Generator().manual_seed(0)
    random = torch.rand(whole.graph.edge_mask.shape, generator=generator).numpy()
    circuits = [RemovedEdges(whole.graph.edge_mask & (random < share)) for share in (0.1, 0.9)]
    torch.testing.assert_close(
        evaluate_removed(sliced, circuits), evaluate_removed(whole, circuits), atol=1e-5, rtol=0
    )
    assert edge_scores(sliced) == pytest.approx(edge_scores(whole), abs=1e-5)
    head = whole.graph.senders[1]
    attention = [attention_by_label(engine, head).to_numpy() for engine in (sliced, whole)]
    assert attention[0] == pytest.approx(attention[1], abs=1e-6)


def test_memory_of_a_model_decides():
    # Two runs of 2 layers x 9 tokens x (3 x 32 + 4 x 8) floats of 4 bytes.
    per_prompt = 2 * 2 * 9 * (3 * 32 + 4 * 8) * 4
    bridge, task = bridge_of(random_gpt2("2x4")), random_task()
    small = Model(bridge, "small", memory_gib=2.5 * per_prompt / 2**30)
    engine = engine_for(small, task)
    assert engine.slice_size == 2
    runs = [*engine.slices[0].of_rows(0, 1).clean.__dict__.values()]
    floats = sum(t.numel() for value in runs for t in (value if isinstance(value, list) else []))
    assert 2 * floats * 4 == per_prompt
    assert engine_for(small, task, "zero").slice_size == 5
    circuit = ax.find_circuit(small, task, 0.1)
    assert circuit.kept == ax.find_circuit(Model(bridge, "large"), task, 0.1).kept
    assert prompts_that_fit(small.weights, task, "corrupted", None) == task.n_prompts
    assert prompts_that_fit(small.weights, task, "corrupted", math.inf) == task.n_prompts
    assert prompts_that_fit(small.weights, task, "corrupted", 1e-9) == 1


def test_bad_memory_is_named():
    bridge = bridge_of(random_gpt2("2x4"))
    for given in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="positive number of GiB; got"):
            ax.load_model(bridge, memory_gib=given)
    with pytest.raises(ValueError, match="goes with a model that is being loaded"):
        ax.load_model(Model(bridge, "m"), memory_gib=1)
