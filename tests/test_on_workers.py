"""Measures, repeated searches and threshold paths on several workers: what one process finds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from worker_jobs import AtOnce, Failing

import acdc_explorer as ax
from acdc_explorer.circuits.steps import EdgeStep
from acdc_explorer.workers.executor import local_executor

FEW = {"n_random": 20, "n_bootstrap": 50, "held_out": False, "ablations": "corrupted"}


def of_other_prompts(result):
    return replace(result, fingerprint="")


def with_last(result, **changed):
    """Steps of a search whose last decision is otherwise."""
    steps = [*result.steps]
    last = max(n for n, step in enumerate(steps) if isinstance(step, EdgeStep))
    steps[last] = replace(steps[last], borderline=False, **changed)
    return replace(result, steps=tuple(steps))


def with_run(result, **changed):
    """Searches of a study of which the first is otherwise."""
    return replace(result, runs=(replace(result.runs[0], **changed), *result.runs[1:]))


@pytest.fixture(scope="module")
def circuit(model, task):
    return ax.find_circuit(model, task, 0.2)


class TestMeasure:
    @pytest.fixture(scope="class")
    def alone(self, model, task, circuit):
        return ax.measure(model, task, circuit, **FEW)

    @staticmethod
    def same(one, other):
        pd.testing.assert_frame_equal(one.random, other.random)
        pd.testing.assert_frame_equal(one.edges, other.edges)
        assert one.tests == other.tests

    def test_values_are_those_of_one_process(self, model, task, circuit, alone):
        executor = AtOnce()
        self.same(ax.measure(model, task, circuit, executor=executor, **FEW), alone)
        assert executor.n_submitted > 4 * executor.n_workers

    @pytest.mark.parametrize(
        ("spoil", "said"),
        [
            (of_other_prompts, "of another model or other prompts"),
            (lambda result: replace(result, values=result.values[1:]), "values of shape"),
            (lambda result: replace(result, values=result.values * np.nan), "are no numbers"),
            (lambda result: 7, "returned a int"),
        ],
    )
    def test_what_comes_back_wrong_is_done_here(self, model, task, circuit, alone, spoil, said):
        with pytest.warns(RuntimeWarning, match=said):
            found = ax.measure(model, task, circuit, executor=Failing({1: spoil}), **FEW)
        self.same(found, alone)


class TestStability:
    def test_circuits_are_those_of_one_process(self, model, task):
        options = {"n": 3, "kinds": ["orders", "prompts", "thresholds"]}
        alone = ax.stability(model, task, 0.2, **options)
        apart = ax.stability(model, task, 0.2, executor=AtOnce(), **options)
        found = [
            [(run.name, run.n_prompts, run.kept) for run in each.runs] for each in (alone, apart)
        ]
        assert found[0] == found[1]
        pd.testing.assert_frame_equal(alone.edges, apart.edges)
        pd.testing.assert_frame_equal(alone.kinds, apart.kinds)

    @pytest.mark.parametrize(
        ("spoil", "said"),
        [
            (of_other_prompts, "of another model or other prompts"),
            (lambda result: replace(result, runs=result.runs[1:]), "returned searches"),
            (lambda result: None, "returned a NoneType"),
            (lambda result: with_run(result, threshold=np.nan), "which cannot be"),
            (lambda result: with_run(result, faithfulness=np.inf), "which cannot be"),
            (lambda result: with_run(result, kept=result.runs[0].kept * 2), "with edges twice"),
        ],
    )
    def test_what_comes_back_wrong_is_done_here(self, model, task, spoil, said):
        options = {"n": 2, "kinds": ["orders", "prompts"]}
        with pytest.warns(RuntimeWarning, match=said):
            apart = ax.stability(model, task, 0.4, executor=Failing({0: spoil}), **options)
        alone = ax.stability(model, task, 0.4, **options)
        assert [run.kept for run in apart.runs] == [run.kept for run in alone.runs]

    def test_prompts_of_other_seeds_are_drawn_there(self):
        model = ax.load_model("mini")
        task = ax.load_task("ioi", model, n_prompts=4)
        options = {"n": 2, "kinds": ["seeds"]}
        alone = ax.stability(model, task, "30%", **options)
        apart = ax.stability(model, task, "30%", executor=AtOnce(), **options)
        assert [run.kept for run in apart.runs] == [run.kept for run in alone.runs]


class TestThresholdPath:
    @staticmethod
    def same(one, other):
        assert [circuit.kept for circuit in one.circuits] == [
            circuit.kept for circuit in other.circuits
        ]
        ends = [[circuit.valid_interval for circuit in each.circuits] for each in (one, other)]
        np.testing.assert_allclose(*ends, rtol=1e-4)

    def test_it_is_that_of_one_process(self, model, task):
        alone = ax.threshold_path(model, task, 0.3, 0.8)
        assert len(alone.circuits) > 3
        self.same(ax.threshold_path(model, task, 0.3, 0.8, executor=AtOnce()), alone)

    def test_it_stops_and_goes_on(self, model, task):
        some = ax.threshold_path(model, task, 0.3, 0.8, seconds=0, executor=AtOnce())
        assert len(some.circuits) == 1
        rest = ax.threshold_path(model, task, 0.3, 0.8, replay=some, executor=AtOnce())
        self.same(rest, ax.threshold_path(model, task, 0.3, 0.8))

    @pytest.mark.parametrize(
        ("spoil", "said"),
        [
            (of_other_prompts, "of another model or other prompts"),
            (lambda result: replace(result, steps=()), "without a decision"),
            (
                lambda result: replace(result, steps=result.steps[: len(result.steps) // 2]),
                "each of",
            ),
            (lambda result: with_last(result, after=np.nan), "are no numbers"),
            (lambda result: with_last(result, after=99.0, kept=False), "against its own values"),
            (lambda result: "", "returned a str"),
        ],
    )
    def test_what_comes_back_wrong_is_done_here(self, model, task, spoil, said):
        with pytest.warns(RuntimeWarning, match=said):
            path = ax.threshold_path(model, task, 0.5, 0.8, executor=Failing({0: spoil}))
        self.same(path, ax.threshold_path(model, task, 0.5, 0.8))


@pytest.mark.parametrize("call", [ax.measure, ax.stability, ax.threshold_path])
def test_what_is_no_executor_is_refused(call, model, task, circuit):
    argument = {"measure": circuit}.get(call.__name__, 0.2)
    with pytest.raises(ValueError, match="executor must have submit"):
        call(model, task, argument, executor=2)


@pytest.mark.slow
def test_two_processes(model, task, circuit):
    with local_executor(2) as pool:
        for call, arguments in (
            (ax.measure, (circuit,)),
            (ax.stability, (0.2,)),
            (ax.threshold_path, (0.3, 0.8)),
        ):
            options = {
                ax.measure: FEW,
                ax.stability: {"n": 3, "kinds": ["orders", "prompts"]},
                ax.threshold_path: {},
            }[call]
            alone = call(model, task, *arguments, **options)
            apart = call(model, task, *arguments, executor=pool, **options)
            assert str(apart) == str(alone)
