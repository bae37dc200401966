"""Metrics that are functions: what they are given, what they may return, where they are tried."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import VOCAB, bridge_of, random_gpt2, random_task

import acdc_explorer as ax
from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.circuits.steps import EdgeStep
from acdc_explorer.engine.engine import Engine
from acdc_explorer.metrics import METRICS, Metric, logit_diff
from acdc_explorer.models import Model
from acdc_explorer.models.bridge import extract_weights
from acdc_explorer.searches.attribution import edge_scores
from acdc_explorer.searches.methods import search_steps
from acdc_explorer.testing.reference import Reference

N_PROMPTS = 19
ANSWERS = torch.randint(VOCAB, (N_PROMPTS,), generator=torch.Generator().manual_seed(5))


def answer_logit(logits):
    """A metric that knows which answer belongs to which prompt."""
    return logits[torch.arange(N_PROMPTS), ANSWERS.to(logits.device)]


def make(metric, slice_size=None, n_prompts=N_PROMPTS, **options):
    hf_model = random_gpt2("2x4")
    task = random_task(n_prompts=n_prompts, metric=metric)
    weights = extract_weights(bridge_of(hf_model))
    return Engine(weights, task, slice_size=slice_size, **options), hf_model


def decisions(engine, threshold=0.02, **options):
    settings = SearchSettings(threshold, "", **options)
    return [s for s in search_steps(engine, settings) if isinstance(s, EdgeStep)]


@pytest.mark.slow
@pytest.mark.parametrize("slice_size", [None, 4])
@pytest.mark.parametrize("method", ["acdc", "path_patching"])
def test_a_function_sees_all_prompts_of_one_circuit_at_a_time(slice_size, method):
    """More than 16 prompts and 20 kept edges, where attribution of some prompts steps in."""
    shapes = set()

    def metric(logits):
        shapes.add(tuple(logits.shape))
        return answer_logit(logits)

    engine, hf_model = make(metric, slice_size)
    reference = Reference(bridge_of(hf_model, torch.float64), engine.task)
    got = decisions(engine, method=method)
    settings = SearchSettings(0.02, "", method=method)
    slow = reference.acdc if method == "acdc" else reference.path_patching
    expected = list(slow(settings))
    assert sum(step.kept for step in got) > 20
    assert [(s.edge, s.kept) for s in got] == [(s.edge, s.kept) for s in expected]
    assert shapes == {(N_PROMPTS, VOCAB)}


def test_a_column_of_the_logits_is_a_column_throughout():
    """Indexing the first axes by number once took circuits for prompts."""
    engine, hf_model = make(lambda logits: logits[:, 5])
    reference = Reference(bridge_of(hf_model, torch.float64), engine.task)
    got, expected = decisions(engine, 0.1), list(reference.acdc(SearchSettings(0.1, "")))
    assert [(s.edge, s.kept) for s in got] == [(s.edge, s.kept) for s in expected]


@pytest.mark.parametrize("method", ["eap", "eap_ig"])
def test_attribution_of_a_function_in_slices(method):
    """A function that tells prompts apart scores edges as the built-in metric that it repeats."""
    task = random_task(n_prompts=N_PROMPTS)

    def difference(logits):
        rows = torch.arange(N_PROMPTS)
        return logits[rows, task.answer_tokens[:, 0]] - logits[rows, task.wrong_tokens[:, 0]]

    expected = edge_scores(make("logit_diff")[0], method)
    for slice_size in (None, 4):
        got = edge_scores(make(difference, slice_size)[0], method)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        (lambda logits: logits.sum(), r"a tensor of shape \[\]"),
        (lambda logits: logits[0], r"a tensor of shape \[40\]"),
        (lambda logits: logits[..., None], r"a tensor of shape \[5, 40, 1\]"),
        (lambda logits: 1.0, "a float"),
        (lambda logits: True, "a bool"),
        (lambda logits: None, "a NoneType"),
        (lambda logits: logits[:, 0].numpy(), "a ndarray"),
        (lambda logits: logits.argmax(-1) == 3, r"a tensor of bool \(append \.float\(\)\)"),
        (lambda logits: logits.argmax(-1), r"a tensor of int64 \(append"),
        (lambda logits: logits[:, 0] / 0, "(-?inf|nan) for prompt 0"),
    ],
)
def test_what_a_function_may_not_return(returned, told):
    with pytest.raises(ValueError, match=rf"one finite value per prompt, here \[5\].*it.*{told}"):
        make(returned, n_prompts=5)


def test_a_value_must_not_depend_on_other_prompts():
    with pytest.raises(ValueError, match="a value of its own logits alone"):
        make(lambda logits: logits[:, 3] - logits[:, 3].mean())


def test_a_function_must_take_float64():
    vector = torch.ones(VOCAB)
    with pytest.raises(ValueError, match="must take float64 logits too"):
        make(lambda logits: logits @ vector)
    make(lambda logits: logits @ vector.to(logits))


def test_not_finite_in_mid_search():
    """A value that only a patched run makes NaN is told of, not compared with the threshold."""
    plain, _ = make("logit_diff", n_prompts=1)
    clean = plain.scoring.clean_logits[:, 5]

    def metric(logits):
        far = (logits[:, 5] - clean.to(logits)).abs() > 1
        return torch.where(far, torch.nan, logits[:, 5])

    broken, _ = make(metric, n_prompts=1)
    with pytest.raises(ValueError, match=r"finite value per prompt.*returned nan for prompt 0"):
        decisions(broken)


def test_a_metric_by_name_that_overflows_is_told_of():
    engine, _ = make("logit_diff")
    infinite = Metric(
        "infinite", "infinite", "", lambda *args: torch.full_like(logit_diff(*args), torch.inf)
    )
    with pytest.raises(ValueError, match="returned inf for prompt 0"):
        make(infinite)
    engine.scoring.values = lambda final, rows: torch.full(final.shape[:-1], torch.inf)
    with pytest.raises(ValueError, match="'logit_diff' is inf once an edge is removed"):
        decisions(engine)


def test_a_metric_without_a_gradient_searches_but_is_not_attributed():
    def right(logits):
        return (logits.argmax(-1) == ANSWERS.to(logits.device)).float() + logits[:, 0].detach()

    engine, hf_model = make(right)
    assert not engine.scoring.has_gradient
    got = decisions(engine, 0.02)
    assert sum(step.kept for step in got) > 20
    expected = Reference(bridge_of(hf_model, torch.float64), engine.task).acdc(
        SearchSettings(0.02, "")
    )
    assert [(s.edge, s.kept) for s in got] == [(s.edge, s.kept) for s in expected]
    with pytest.raises(ValueError, match="'right' has no gradient"):
        edge_scores(engine)
    with pytest.raises(ValueError, match="'right' has no gradient"):
        decisions(engine, order="attribution")


def test_false_claims_of_a_metric_are_found():
    def larger_in_batches(logits, *_):
        return logits[..., 0] * logits.ndim

    with pytest.raises(ValueError, match="is said to take batches, but gives other values"):
        make(Metric("own", "own", "", larger_in_batches, takes_batches=True))
    with pytest.raises(ValueError, match="is said to be linear"):
        make(Metric("own", "own", "", lambda logits, *_: logits[:, 0], linear=True))


def test_metrics_by_name_take_batches():
    engine, _ = make("logit_diff")
    for metric in METRICS.values():
        copied = Metric(f"own {metric.name}", "", "", metric.per_prompt, takes_batches=True)
        engine, _ = make(copied)
        by_name, _ = make(metric.name)
        torch.testing.assert_close(engine.clean_by_prompt, by_name.clean_by_prompt)
        assert metric.takes_batches


def test_a_name_does_not_decide_the_direction():
    """A function called `nll` is higher for better, as every function is."""

    def nll(logits):
        return logits[:, 5] - logits[:, 7]

    model = Model(bridge_of(random_gpt2("2x4")), "random")
    task = random_task(metric=nll)
    circuit = ax.find_circuit(model, task, 0.3, rule="signed")
    low, high = circuit.valid_interval
    assert low < 0.3 <= high
    path = ax.threshold_path(model, task, 0.2, 0.5, rule="signed", seconds=20)
    kept = [tuple(each.kept) for each in path.circuits]
    assert len(set(kept)) == len(kept)
