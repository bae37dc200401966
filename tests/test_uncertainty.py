"""How far each test of a search was from ending the other way, for want of prompts."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import bridge_of, labelled_task, random_gpt2, random_model, random_task

import acdc_explorer as ax
from acdc_explorer.circuits.steps import ReceiverStep
from acdc_explorer.engine.cache import engine_for
from acdc_explorer.engine.engine import Engine
from acdc_explorer.measures.uncertainty import EdgeChange, edge_changes, uncertainty_of
from acdc_explorer.metrics import Metric
from acdc_explorer.tasks.task import Task

N_PROMPTS = 5


@pytest.fixture(scope="module")
def model():
    return ax.load_model(bridge_of(random_gpt2("3x2")))


@pytest.fixture(scope="module")
def normed():
    return ax.load_model(bridge_of(random_model("gemma2")))


def by_prompt(model, task: Task, removed, **options) -> np.ndarray:
    """The metric of each prompt, each evaluated by itself."""
    rows = [task.take([row]) for row in range(task.n_prompts)]
    return np.array([ax.evaluate(model, row, removed, **options) for row in rows])


def check_by_hand(model, task: Task, circuit, n_checked: int = 12, **options) -> None:
    """Some tests of a circuit, kept ones and removed ones, against runs of single prompts."""
    found = ax.uncertainty(model, task, circuit)
    tests = [step for step in circuit.decisions if not step.screened]
    assert found.edges["edge"].tolist() == [step.edge.id for step in tests]
    changes = [circuit.change_of(step) for step in tests]
    np.testing.assert_allclose(found.edges["change"], changes, atol=2e-5)
    assert (found.edges["decision"] == "kept").tolist() == [step.kept for step in tests]
    kept = [number for number, step in enumerate(tests) if step.kept]
    every = max(1, len(tests) // n_checked)
    checked = {*kept[:: max(1, len(kept) // n_checked)], *range(0, len(tests), every)}
    removed, number, graph = set(), 0, circuit.graph
    clean = by_prompt(model, task, [], **options)
    for step in circuit.steps:
        if isinstance(step, ReceiverStep):
            if not step.live:
                removed |= {edge.id for edge in graph.edges() if edge.receiver == step.receiver}
            continue
        if not step.screened:
            if number in checked:
                before = by_prompt(model, task, removed, **options)
                after = by_prompt(model, task, removed | {step.edge.id}, **options)
                if circuit.settings.rule == "cumulative":
                    before = clean
                row = found.edges.loc[number]
                error = (before - after).std(ddof=1) / math.sqrt(task.n_prompts)
                assert row["standard_error"] == pytest.approx(error, abs=2e-5)
                distance = abs(row["change"] - circuit.threshold)
                assert row["uncertain"] == (distance <= 2 * error)
                n = math.ceil(task.n_prompts * (2 * error / distance) ** 2)
                assert row["prompts_to_settle"] == pytest.approx(max(1, n), rel=0.01, abs=1)
            number += 1
        if not step.kept:
            removed.add(step.edge.id)
    assert any(number in checked for number in kept)


class TestByHand:
    @pytest.mark.parametrize("rule", ["abs", "signed", "cumulative"])
    def test_of_every_rule(self, model, rule):
        task = random_task(n_prompts=N_PROMPTS)
        check_by_hand(model, task, ax.find_circuit(model, task, 0.3, rule=rule))

    @pytest.mark.parametrize("metric", ["kl_divergence", "prob_diff"])
    def test_of_other_metrics(self, model, metric):
        task = random_task(n_prompts=N_PROMPTS, metric=metric)
        circuit = ax.find_circuit(model, task, 0.005)
        assert circuit.settings.rule == ("signed" if metric == "kl_divergence" else "abs")
        check_by_hand(model, task, circuit)

    @pytest.mark.parametrize("ablation", ["corrupted", "zero"])
    def test_of_normed_sums_of_heads(self, normed, ablation):
        task = random_task(n_prompts=3)
        circuit = ax.find_circuit(normed, task, 0.3, ablation=ablation)
        check_by_hand(normed, task, circuit, ablation=ablation)

    @pytest.mark.slow
    def test_where_each_position_has_edges(self, model):
        task = labelled_task()
        circuit = ax.find_circuit(model, task, 0.05, positions=True)
        check_by_hand(model, task, circuit, positions=True)

    def test_screened_edges_are_passed_over(self, model):
        task = random_task(n_prompts=N_PROMPTS)
        circuit = ax.find_circuit(model, task, 0.3, screen=0.3)
        assert circuit.n_screened
        assert circuit.n_tested
        check_by_hand(model, task, circuit)
        said = f"{circuit.n_screened} screened edges were not tested"
        assert said in str(ax.uncertainty(model, task, circuit))

    def test_prompts_in_slices(self, model):
        task = random_task(n_prompts=N_PROMPTS)
        circuit = ax.find_circuit(model, task, 0.3)
        whole = ax.uncertainty(model, task, circuit).edges
        sliced = Engine(engine_for(model, task).weights, task, slice_size=2)
        rows = pd.DataFrame(edge_changes(sliced, circuit))
        np.testing.assert_allclose(rows["standard_error"], whole["standard_error"], atol=1e-5)


class TestTable:
    def test_by_hand(self, model):
        task = random_task(n_prompts=N_PROMPTS)
        circuit = ax.find_circuit(model, task, 1.0)
        found = uncertainty_of(
            circuit,
            [
                EdgeChange("sure", 3.0, 0.5, kept=True),
                EdgeChange("unsure", 1.25, 0.25, kept=True),
                EdgeChange("near", 0.9, 0.1, kept=False),
                EdgeChange("at the threshold", 1.0, 0.1, kept=True),
                EdgeChange("the same for all", 0.0, 0.0, kept=False),
            ],
            n_prompts=100,
            n_errors=2.0,
        )
        assert found.edges["uncertain"].tolist() == [False, True, True, True, False]
        # 100 (2 x 0.5 / 2)^2, 100 (0.5 / 0.25)^2, 100 (0.2 / 0.1)^2.
        settle = found.edges["prompts_to_settle"].tolist()
        assert settle[:2] == [25, 400]
        assert settle[2] in (400, 401)
        assert settle[3] is pd.NA
        assert settle[4] == 1
        assert str(found).startswith(
            "3 of 5 tested edges are uncertain at n=100: their change is within 2 standard errors "
            "of the threshold; 2 of them were kept"
        )
        assert "Half of the uncertain ones would be settled by 400 prompts" in str(found)

    @pytest.mark.slow
    def test_that_many_prompts_settle_it(self):
        """On mini: of the edges that some prompts leave open, most are decided by as many more."""
        model = ax.load_model("mini")
        task = ax.load_task("greater_than", model, 32)
        circuit = ax.find_circuit(model, task, "7%")
        few = ax.uncertainty(model, task, circuit).edges
        again = task.take(list(range(32)) * 4)
        circuit = ax.find_circuit(model, again, circuit.threshold)
        many = ax.uncertainty(model, again, circuit).edges
        # The same prompts four times over halve the error, but for n - 1.
        ratio = few["standard_error"] / many["standard_error"]
        np.testing.assert_allclose(ratio.dropna(), 2 * math.sqrt(127 / 124), rtol=1e-2)
        assert many["uncertain"].sum() < few["uncertain"].sum()


class TestWrongArguments:
    def test_are_named(self, model):
        task = random_task(n_prompts=N_PROMPTS)
        circuit = ax.find_circuit(model, task, 0.3)
        grown = ax.find_circuit(model, task, 0.3, method="path_patching")
        one = task.take([0])
        of_one = ax.find_circuit(model, one, 0.3)
        for n_errors in (0, -1.0, math.inf, "2"):
            with pytest.raises(ValueError, match="n_errors must be a positive number; got"):
                ax.uncertainty(model, task, circuit, n_errors=n_errors)
        with pytest.raises(ValueError, match="of another model or other prompts"):
            ax.uncertainty(model, random_task(seed=1, n_prompts=N_PROMPTS), circuit)
        with pytest.raises(ValueError, match="found by 'path_patching'"):
            ax.uncertainty(model, task, grown)
        with pytest.raises(ValueError, match="at least two prompts; got 1"):
            ax.uncertainty(model, one, of_one)

    def test_a_metric_of_ones_own(self, model):
        def margin(logits: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
            return logits[..., 3] - logits[..., 7]

        # Of each prompt by itself, as it is taken here; a function may be of all of them.
        metric = Metric("margin", "margin", "", margin)
        task = random_task(n_prompts=N_PROMPTS, metric=metric)
        check_by_hand(model, task, ax.find_circuit(model, task, 0.3))
