"""Verifying on several workers: the same circuit, whatever becomes of the workers."""

from __future__ import annotations

import os
import signal
import time
import warnings
from copy import copy
from dataclasses import replace

import numpy as np
import pytest
from conftest import bridge_of, labelled_task, random_gpt2, random_model
from worker_jobs import AtOnce, Failing

import acdc_explorer as ax
from acdc_explorer.engine.cache import engine_for
from acdc_explorer.engine.references import EngineReference
from acdc_explorer.searches.verification_parts import parts_of
from acdc_explorer.verification import _engine_of
from acdc_explorer.workers.executor import local_executor

SCREEN = 0.9


@pytest.fixture(scope="module")
def searched(model, task):
    # One of whose screened edges should have stayed.
    return ax.find_circuit(model, task, 0.2, screen=SCREEN)


def decisions(circuit):
    return [(step.edge, step.kept, step.screened) for step in circuit.decisions]


def same_values(one, other):
    values = [
        [value for step in circuit.decisions for value in (step.before, step.after)]
        for circuit in (one, other)
    ]
    np.testing.assert_allclose(*values, atol=1e-4)


@pytest.mark.parametrize(("kind", "threshold"), [("gpt2", 0.05), ("gpt2", 0.02), ("gemma2", 0.1)])
def test_it_is_that_of_one_process_with_some_wrong_and_with_none(kind, threshold, task):
    model = ax.Model(bridge_of(random_gpt2("3x2") if kind == "gpt2" else random_model(kind)), kind)
    circuit = ax.find_circuit(model, task, threshold, screen=SCREEN)
    alone = ax.verify(model, task, circuit)
    apart = ax.verify(model, task, circuit, executor=AtOnce())
    assert decisions(apart) == decisions(alone)
    same_values(apart, alone)
    assert apart.settings == alone.settings
    assert [type(step) for step in apart.steps] == [type(step) for step in alone.steps]
    assert (apart.complete, apart.n_screened) == (True, 0)
    # With many workers it goes on in rounds for longer.
    executor = AtOnce()
    executor.n_workers = 30
    assert decisions(ax.verify(model, task, circuit, executor=executor)) == decisions(alone)


@pytest.mark.parametrize(
    "options", [{"positions": True}, {"split_qkv": False}, {"ablation": "zero"}, {"rule": "signed"}]
)
def test_with_other_edges_and_ablations(model, options):
    task = labelled_task()
    circuit = ax.find_circuit(model, task, 0.1, screen=SCREEN, **options)
    apart = ax.verify(model, task, circuit, executor=AtOnce())
    assert decisions(apart) == decisions(ax.verify(model, task, circuit))


def test_it_can_be_left_and_gone_on_with(model, task, searched):
    executor = AtOnce()
    some = ax.verify(model, task, searched, executor=executor, seconds=0)
    assert some.n_screened < searched.n_screened or not some.complete
    rest = ax.verify(model, task, some, executor=executor)
    assert decisions(rest) == decisions(ax.verify(model, task, searched))


def test_workers_that_do_not_answer_are_not_waited_for_past_its_time(model, task, searched):
    silent = Failing(dict.fromkeys(range(99), "never"))
    began = time.monotonic()
    with pytest.warns(RuntimeWarning, match="no word from any worker for 1 s"):
        some = ax.verify(model, task, searched, executor=silent, seconds=0.1)
    assert time.monotonic() - began < 60
    assert some.n_screened < searched.n_screened or not some.complete


def test_changes_by_hand_stay(model, task, searched):
    edited = ax.edit(model, task, searched, remove=[searched.kept[0]])
    apart = ax.verify(model, task, edited, executor=AtOnce())
    assert apart.by_hand == edited.by_hand


def of_other_model(result):
    return replace(result, fingerprint="0" * 64)


def of_other_edges(result):
    rows, columns = result.tests.cells
    return replace(result, tests=replace(result.tests, cells=(rows, columns[::-1])))


def too_few(result):
    return replace(result, tests=result.tests.up_to(1))


def no_numbers(result):
    return replace(result, tests=replace(result.tests, after=result.tests.after * np.nan))


def keeps_all(result):
    return replace(result, tests=replace(result.tests, kept=result.tests.kept | True))


def of_other_values(result):
    return replace(result, tests=replace(result.tests, after=result.tests.before + 1))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (ConnectionError("lost"), "ConnectionError: lost"),
        (lambda result: None, "returned a NoneType"),
        (of_other_model, "of another model or other prompts"),
        (of_other_edges, "which are not the"),
        (too_few, "which are not the"),
        (no_numbers, "values that are no numbers"),
        (keeps_all, "went on after an edge that stays"),
        (of_other_values, "removes .* against its own values"),
    ],
)
def test_what_comes_back_wrong_is_refused_by_name_and_done_here(model, task, searched, spoil, said):
    with pytest.warns(RuntimeWarning, match=said):
        apart = ax.verify(model, task, searched, executor=Failing({0: spoil}))
    assert decisions(apart) == decisions(ax.verify(model, task, searched))


def test_a_metric_that_cannot_be_sent_is_computed_here(model, task):
    own = replace(task, metric=lambda logits: logits[:, 5] - logits[:, 7])
    circuit = ax.find_circuit(model, own, 0.2, screen=SCREEN)
    with pytest.warns(RuntimeWarning, match="(?i)pickle"):
        apart = ax.verify(model, own, circuit, executor=AtOnce())
    assert decisions(apart) == decisions(ax.verify(model, own, circuit))


def test_tasks_that_differ_in_a_metric_of_the_user_s_own_are_told_apart(model, task):
    by_name = [EngineReference.of(model, engine_for(model, each)) for each in (task, copy(task))]
    assert len({reference.task_key for reference in by_name}) == 1
    metrics = [lambda logits: logits[:, 5], lambda logits: logits[:, 6]]
    own = [replace(task, metric=metric) for metric in metrics]
    references = [EngineReference.of(model, engine_for(model, each)) for each in own]
    assert [reference.task_here() for reference in references] == own


def test_what_is_no_executor_is_refused(model, task, searched):
    with pytest.raises(ValueError, match="executor must have submit"):
        ax.verify(model, task, searched, executor="two")


def test_each_screened_edge_is_in_one_part(model, task, searched):
    loaded, engine = _engine_of(model, task, searched)
    reference = EngineReference.of(loaded, engine)
    screened = np.flatnonzero(searched.decision_arrays.screened)
    for n in (1, 3, 1000):
        parts = parts_of(reference, searched, n)
        assert len(parts) <= n
        assert np.concatenate([part.to_test for part in parts]).tolist() == screened.tolist()


@pytest.mark.slow
class TestRealWorkers:
    @pytest.fixture(scope="class")
    def mini(self):
        model = ax.load_model("mini")
        task = ax.load_task("ioi", model, n_prompts=32)
        circuit = ax.find_circuit(model, task, "1%", screen=0.5)
        return model, task, circuit, ax.verify(model, task, circuit)

    def test_two_processes(self, mini, model, task, searched):
        with local_executor(2) as pool, warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            named, prompts, circuit, alone = mini
            assert decisions(ax.verify(named, prompts, circuit, executor=pool)) == decisions(alone)
            # A model that no name leads to.
            apart = ax.verify(model, task, searched, executor=pool)
        assert decisions(apart) == decisions(ax.verify(model, task, searched))

    def test_a_worker_is_killed_in_the_middle(self, mini):
        model, task, circuit, alone = mini
        with local_executor(2) as pool:
            killed = [pool.submit(os.getpid).result()]
            submit = pool.submit

            def and_kill(fn, /, *args):
                future = submit(fn, *args)
                if killed:
                    os.kill(killed.pop(), signal.SIGKILL)
                return future

            pool.submit = and_kill
            with pytest.warns(RuntimeWarning, match="BrokenProcessPool"):
                apart = ax.verify(model, task, circuit, executor=pool)
        assert decisions(apart) == decisions(alone)

    def test_dask(self, mini):
        from dask.distributed import Client

        model, task, circuit, alone = mini
        with Client(n_workers=2, threads_per_worker=1, dashboard_address=None) as client:
            assert decisions(ax.verify(model, task, circuit, executor=client)) == decisions(alone)

    def test_submitit(self, mini, tmp_path):
        import submitit

        model, task, circuit, alone = mini
        executor = submitit.AutoExecutor(folder=tmp_path, cluster="local")
        executor.n_workers = 1
        assert decisions(ax.verify(model, task, circuit, executor=executor)) == decisions(alone)
