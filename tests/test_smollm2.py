"""A real language model, from the package that ships it, against transformers and the reference."""

from __future__ import annotations

import random
import tempfile
from itertools import chain

import pytest
import torch
from conftest import bridge_of, ungrouped
from real_model import require_smollm2

import acdc_explorer as ax
from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.circuits.steps import EdgeStep, ReceiverStep
from acdc_explorer.engine.cache import engine_for
from acdc_explorer.models.forward import run
from acdc_explorer.models.from_pip import pip_model_file
from acdc_explorer.searches.acdc import acdc_steps
from acdc_explorer.testing.reference import Reference

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("smollm2"), pytest.mark.timeout(600)]
# Decisions looked at again: some of edges kept, some of the others.
SAMPLED = 1


@pytest.fixture(scope="module")
def model():
    """Loaded as users load it."""
    require_smollm2()
    return ax.load_model("smollm2", device="cpu")


@pytest.fixture(scope="module")
def hf_model():
    """The same file read by transformers alone."""
    from transformers import AutoModelForCausalLM

    require_smollm2()
    with tempfile.TemporaryDirectory() as empty:
        file = str(pip_model_file("smollm2").absolute())
        return AutoModelForCausalLM.from_pretrained(empty, gguf_file=file).eval()


@pytest.fixture(scope="module")
def task(model):
    """Few prompts, since each decision by the reference runs the whole model on them."""
    return ax.load_task("ioi", model, n_prompts=4, seed=0)


def test_logits_equal_transformers(model, hf_model, task):
    with torch.no_grad():
        expected = hf_model(task.clean_tokens).logits
    got = run(model.weights, task.clean_tokens).logits(model.weights)
    assert expected.abs().max() > 10
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(
        model.bridge(task.clean_tokens, prepend_bos=False), expected, rtol=1e-4, atol=1e-3
    )


def test_it_does_ioi(model):
    report = ax.check_task(model, ax.load_task("ioi", model, n_prompts=16, seed=0))
    assert report.accuracy >= 0.9
    assert report.clean > 2 > report.corrupted


def test_a_sample_of_decisions_equals_the_plain_search(model, hf_model, task):
    """Each in the state in which it was made: one full forward run before it and one after it."""
    engine = engine_for(model, task)
    threshold = 0.1 * abs(engine.full_metric - engine.corrupted_metric)
    steps = list(acdc_steps(engine, SearchSettings(threshold, "10%")))
    tested = [step for step in steps if isinstance(step, EdgeStep)]
    of_both = [[step for step in tested if step.kept is kept] for kept in (True, False)]
    rng = random.Random(0)
    sample = {step.edge.id for step in chain(*(rng.sample(each, SAMPLED) for each in of_both))}
    reference = Reference(bridge_of(ungrouped(hf_model)), task)
    graph, removed = engine.graph, engine.graph.mask_of([])
    for step in steps:
        if isinstance(step, ReceiverStep):
            if not step.live:
                row = graph.receiver_index[step.receiver]
                removed[row] = graph.edge_mask[row]
            continue
        before = reference.evaluate(removed).mean().item() if step.edge.id in sample else None
        removed[graph.cell(step.edge)] = True
        if before is not None:
            after = reference.evaluate(removed).mean().item()
            assert step.before == pytest.approx(before, abs=2e-3)
            assert step.after == pytest.approx(after, abs=2e-3)
            assert step.kept is (abs(before - after) >= threshold)
        if step.kept:
            removed[graph.cell(step.edge)] = False
