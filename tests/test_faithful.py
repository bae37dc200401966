"""Looking for the sparsest circuit that is faithful enough."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch
from conftest import bridge_of, mostly_slow, random_gpt2, random_task

import acdc_explorer as ax
from acdc_explorer.models import Model
from acdc_explorer.searches.faithful import chosen, parse_faithfulness


@pytest.fixture(scope="module")
def model():
    return Model(bridge_of(random_gpt2("2x4")), "random 2x4")


@pytest.fixture(scope="module")
def task():
    return random_task(seed=5)


def quietly(*args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ax.find_circuit(*args, **options)


@pytest.mark.parametrize("target", mostly_slow(["50%", 0.8, "95%"], 0.8))
@pytest.mark.parametrize("rule", [None, "abs"])
def test_it_is_the_circuit_of_its_threshold_and_faithful(model, task, target, rule):
    found = quietly(model, task, faithfulness=target, rule=rule)
    assert found.faithfulness >= parse_faithfulness(target)
    assert found.settings.rule == (rule or "signed")
    again = ax.find_circuit(model, task, found.threshold, rule=found.settings.rule)
    assert again.kept == found.kept
    assert ax.evaluate(model, task, kept=found.kept) == pytest.approx(found.metric_value, abs=1e-4)


def test_the_next_larger_threshold_is_not_faithful_enough(model, task):
    found = quietly(model, task, faithfulness="80%")
    above = ax.find_circuit(model, task, 1.1 * found.threshold, rule="signed")
    assert above.faithfulness < 0.8


@pytest.mark.slow
def test_on_mini_it_takes_fewer_edges_than_attribution(mini):
    ioi = ax.load_task("ioi", mini, n_prompts=16)
    by_search = quietly(mini, ioi, faithfulness="80%")
    by_attribution = quietly(mini, ioi, faithfulness="80%", method="eap")
    assert by_search.faithfulness >= 0.8
    assert by_attribution.faithfulness >= 0.8
    assert by_attribution.settings.rule == "abs"
    assert len(by_search.kept) < len(by_attribution.kept)


def test_screened(model, task):
    found = quietly(model, task, faithfulness="80%", screen=0.3)
    assert found.faithfulness >= 0.8
    assert found.settings.screen == 0.3


def test_where_none_is_that_faithful_the_best_is_returned_with_a_warning(model, task, monkeypatch):
    monkeypatch.setattr("acdc_explorer.searches.faithful._LOWEST_EXACT", 0.5)
    with pytest.warns(UserWarning, match="no circuit down to threshold .* is 100% faithful"):
        found = ax.find_circuit(model, task, faithfulness=1.0)
    assert found.faithfulness < 1
    assert found.complete


def test_what_is_chosen(model, task):
    """The largest threshold that reaches it, wherever others fall short; and a fall is said."""
    some = ax.find_circuit(model, task, 0.2)
    full, span = some.full_metric, some.full_metric - some.corrupted_metric

    def at(threshold, share):
        settings = replace(some.settings, threshold=threshold)
        return replace(some, settings=settings, metric_value=full - (1 - share) * span)

    circuits = [at(0.1, 0.7), at(0.4, 0.85), at(0.2, 0.83), at(0.8, 0.1)]
    circuit, notes = chosen(circuits, 0.8)
    assert circuit.threshold == 0.4
    assert len(notes) == 1
    assert "83.0% at 0.2, 70.0% at 0.1" in notes[0]
    circuit, notes = chosen(circuits, 0.9)
    assert circuit.threshold == 0.4
    assert "no circuit down to threshold 0.1 is 90% faithful" in notes[0]
    circuit, notes = chosen(circuits[1:2], 0.8)
    assert (circuit.threshold, notes) == (0.4, [])


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "150%", "much", "0%", True, float("nan"), ""])
def test_what_is_no_share_is_refused(model, task, wrong):
    with pytest.raises(ValueError, match="faithfulness must be a share above 0 and at most 1"):
        ax.find_circuit(model, task, faithfulness=wrong)


def test_a_threshold_besides_is_refused(model, task):
    with pytest.raises(ValueError, match="give either threshold= or faithfulness="):
        ax.find_circuit(model, task, "7%", faithfulness="80%")
    with pytest.raises(ValueError, match="give either top_n= or faithfulness="):
        ax.find_circuit(model, task, method="eap", top_n=5, faithfulness="80%")


def test_kl_divergence_which_is_zero_on_the_clean_run(model):
    by_kl = random_task(seed=5, metric="kl_divergence")
    found = quietly(model, by_kl, faithfulness="80%")
    assert 0.8 <= found.faithfulness < 1
    assert found.metric_value < 0.2 * found.corrupted_metric


def test_a_metric_that_corruption_does_not_change_is_refused(model, task):
    flat = ax.Metric("flat", "flat", "", lambda logits, *_: torch.ones(len(logits)))
    with pytest.raises(ValueError, match="the same in the clean and in the ablated run"):
        ax.find_circuit(model, replace(task, metric=flat), faithfulness="80%")
