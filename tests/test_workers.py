"""Work shared out over processes: what comes back, what does not, and the model there."""

from __future__ import annotations

import gc
import os
import pickle
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
from conftest import bridge_of, random_gpt2
from worker_jobs import (
    AtOnce,
    Failing,
    die_once,
    double,
    hang_once,
    model_in_process,
    n_threads,
    sleep,
    visible_devices,
)

import acdc_explorer as ax
from acdc_explorer.engine.references import _key_of
from acdc_explorer.metrics import METRICS
from acdc_explorer.workers.executor import (
    LocalExecutor,
    check_executor,
    local_executor,
    n_workers_of,
)
from acdc_explorer.workers.gathering import gather, gather_all
from acdc_explorer.workers.references import _load, _read, fingerprint_of, model_of, reference_of


def is_whole(job, result):
    if not isinstance(result, int):
        raise ValueError(f"{result!r} is no number")


class TestGather:
    def test_every_job_comes_back_with_its_number(self):
        assert dict(gather(AtOnce(), double, [5, 7, 9])) == {0: 10, 1: 14, 2: 18}

    def test_an_error_takes_the_place_of_a_result(self):
        (bad,) = (value for number, value in gather(AtOnce(), double, [1, -1]) if number == 1)
        assert isinstance(bad, ValueError)
        assert "negative" in str(bad)

    def test_what_is_no_executor_is_refused(self):
        with pytest.raises(ValueError, match=r"executor must have submit.*got int"):
            list(gather(3, double, [1]))

    def test_one_that_takes_no_more_work_is_an_error_for_each_job(self):
        pool = local_executor(1)
        pool.shutdown()
        outcomes = dict(gather(pool, double, [1, 2]))
        assert all(isinstance(outcome, RuntimeError) for outcome in outcomes.values())
        assert len(outcomes) == 2

    def test_a_job_without_an_answer_is_given_up_in_the_end(self):
        outcomes = dict(gather(Failing({0: "never"}), double, [1, 2], patience=0.05))
        assert outcomes[1] == 4
        assert isinstance(outcomes[0], TimeoutError)

    def test_what_has_not_begun_is_cancelled_when_it_is_left(self):
        executor = Failing({1: "never", 2: "never"})
        futures = []
        submit = executor.submit
        executor.submit = lambda *args: futures.append(submit(*args)) or futures[-1]
        outcomes = gather(executor, double, [1, 2, 3])
        assert next(outcomes) == (0, 2)
        outcomes.close()
        assert [future.cancelled() for future in futures] == [False, True, True]


class TestGatherAll:
    @pytest.mark.parametrize(
        ("spoilt", "said"),
        [
            (OSError("the machine is gone"), "OSError: the machine is gone"),
            ("never", "no word from any worker"),
            (lambda result: "garbage", "'garbage' is no number"),
        ],
    )
    def test_what_no_worker_did_is_done_here_and_said_once(self, spoilt, said):
        with pytest.warns(RuntimeWarning, match=said) as caught:
            found = dict(
                gather_all(
                    Failing({0: spoilt, 2: spoilt}),
                    double,
                    [1, 2, 3],
                    is_whole,
                    "doublings",
                    patience=0.05,
                )
            )
        assert found == {0: 2, 1: 4, 2: 6}
        assert len(caught) == 1
        assert "2 of 3 jobs (doublings)" in str(caught[0].message)

    def test_what_is_wrong_here_too_is_raised(self):
        with pytest.raises(ValueError, match="-1 is negative"):
            list(gather_all(AtOnce(), double, [-1], is_whole, "doublings"))

    def test_what_is_done_here_is_checked_too(self):
        def is_small(job, result):
            raise ValueError(f"{result} is too large")

        failing = Failing({0: OSError("gone")})
        with pytest.raises(ValueError, match="14 is too large"):
            list(gather_all(failing, double, [7], is_small, "doublings"))


class TestExecutors:
    @pytest.mark.parametrize("n", [0, -1, 1.5, True, "two"])
    def test_the_number_of_workers_is_checked(self, n):
        with pytest.raises(ValueError, match="n_workers must be a whole number from 1 on"):
            local_executor(n)

    def test_how_many_workers_there_are(self):
        executor = AtOnce()
        assert n_workers_of(executor) == 2
        executor.n_workers = 64
        assert n_workers_of(executor) == 64
        with local_executor(3) as pool:
            assert n_workers_of(pool) == 3
        check_executor(pool)

    def test_processes_that_are_forked_are_refused_since_they_hang(self):
        forking = ProcessPoolExecutor(1, mp_context=get_context("fork"))
        with pytest.raises(
            ValueError, match=r"local_executor\(\).*get_context.*got one that forks"
        ):
            check_executor(forking)
        check_executor(ProcessPoolExecutor(1, mp_context=get_context("spawn")))

    def test_a_class_is_no_executor(self):
        with pytest.raises(ValueError, match="got AtOnce itself"):
            check_executor(AtOnce)


class TestReferences:
    def test_a_name_is_not_loaded_until_it_is_asked_for(self):
        reference = reference_of("five-heads")
        assert pickle.loads(pickle.dumps(reference)) == reference
        assert model_of(reference).name == "five-heads"
        assert model_of(reference) is model_of(reference_of("five-heads"))

    def test_a_model_of_this_process_is_itself(self):
        model = ax.load_model("five-heads")
        reference = reference_of(model)
        assert reference.file is None
        assert model_of(reference) is model

    def test_one_without_a_name_is_written_once_and_goes_with_it(self, model):
        task = ax.load_task("ioi", ax.load_model("mini"), n_prompts=2)
        assert pickle.loads(pickle.dumps(task)).metric is METRICS["logit_diff"]
        own = ax.Model(model.bridge, "own")
        reference = reference_of(own)
        assert reference_of(own) is reference
        file = Path(reference.file)
        fingerprint = fingerprint_of(own)
        read = _read(reference)
        assert fingerprint_of(read) == fingerprint == reference.fingerprint
        assert (read.name, read.tokenizer, read.prepend_bos) == ("own", None, own.prepend_bos)
        del own
        gc.collect()
        assert not file.exists()
        with pytest.raises(ValueError, match=r"weights of model 'own' are not in"):
            model_of(reference)

    def test_what_killed_processes_leave_behind_goes_after_a_week(self, model):
        first = Path(reference_of(ax.Model(model.bridge, "own")).file)
        # The model has gone, and so has its file.
        left, recent = (first.with_name(f"{name}.pt") for name in ("left", "recent"))
        for file, days in ((left, 8), (recent, 6)):
            file.touch()
            os.utime(file, (time.time() - days * 86_400,) * 2)
        own = ax.Model(model.bridge, "own")
        assert Path(reference_of(own).file).exists()
        assert (first.exists(), left.exists(), recent.exists()) == (False, False, True)
        recent.unlink()
        Path(reference_of(own).file).unlink()
        assert Path(reference_of(own).file).exists()

    def test_other_weights_are_other_models(self):
        model = ax.load_model("five-heads")
        before = reference_of(model)
        model.weights.W_U[0, 0] += 1
        after = reference_of(model)
        assert after != before
        del model
        gc.collect()
        with pytest.raises(ValueError, match="'five-heads' has other weights here"):
            model_of(after)

    def test_what_memory_a_model_may_take_goes_with_it(self, model):
        named, own = ax.load_model("five-heads"), ax.Model(model.bridge, "own")
        for each in (named, own):
            before = reference_of(each)
            each.memory_gib = 0.5
            after = reference_of(each)
            assert (before.memory_gib, after.memory_gib) == (None, 0.5)
            assert _load(pickle.loads(pickle.dumps(after))).memory_gib == 0.5
            assert after.file == before.file

    def test_norms_count(self):
        mini = ax.load_model("mini")
        before = fingerprint_of(mini)
        norm = replace(mini.weights.ln_final, eps=0.1)
        mini.weights = replace(mini.weights, ln_final=norm)
        assert fingerprint_of(mini) != before

    def test_tasks_of_the_same_tokens_may_be_two(self):
        model = ax.load_model("five-heads")
        first, second = (ax.load_task("five-heads", model, 4, seed) for seed in (0, 1))
        second = replace(first, options=second.options)
        keys = [_key_of(task) for task in (first, second)]
        assert keys[0] != keys[1]

    def test_a_folder_s_path_is_absolute(self, bpe, tmp_path, monkeypatch):
        folder = Path(bpe.loaded_from.name)
        assert folder.is_absolute()
        monkeypatch.chdir(folder.parent)
        assert reference_of(folder.name).loaded_from.name == str(folder)


@pytest.mark.slow
class TestRealWorkers:
    """Processes that are really there, and really die."""

    @pytest.fixture(scope="class")
    def pool(self):
        with local_executor(2) as pool:
            yield pool

    def test_each_loads_a_model_once(self, pool):
        own = ax.Model(bridge_of(random_gpt2("2x4")), "own")
        for reference in (
            reference_of("mini"),
            reference_of(ax.load_model("mini")),
            reference_of(own),
        ):
            found = [value for _, value in gather(pool, model_in_process, [reference] * 8)]
            assert len({(process, place) for process, place, _ in found}) == len(
                {process for process, _, _ in found}
            )
            assert len({fingerprint for *_, fingerprint in found}) == 1

    def test_each_computes_with_one_thread(self, pool):
        (found,) = (value for _, value in gather(pool, n_threads, [0]))
        assert found == 1

    def test_each_sees_a_gpu_of_its_own(self):
        with LocalExecutor(2, ["3", "GPU-5"]) as pool:
            # So long that both have started.
            seen = dict(gather(pool, visible_devices, [1.0] * 4)).values()
        assert set(seen) == {"3", "GPU-5"}

    def test_a_worker_that_is_killed_takes_nothing_with_it(self, tmp_path):
        with local_executor(1) as pool:
            outcomes = dict(gather(pool, die_once, [str(tmp_path / "first"), str(tmp_path / "b")]))
            assert all(isinstance(value, BrokenProcessPool) for value in outcomes.values())
        marker = str(tmp_path / "again")
        with local_executor(1) as pool:
            results = gather_all(pool, die_once, [marker, marker], is_whole, "parts")
            with pytest.warns(RuntimeWarning, match="2 of 2 jobs"):
                found = dict(results)
        assert found == {0: 1, 1: 1}

    def test_a_worker_that_hangs_is_not_waited_for(self, tmp_path):
        jobs = [str(tmp_path / "only")]
        with local_executor(1) as pool:
            pool.submit(double, 1).result()
            results = gather_all(pool, hang_once, jobs, is_whole, "parts", patience=1.0)
            with pytest.warns(RuntimeWarning, match="no word from any worker for 1 s"):
                assert dict(results) == {0: 1}
            (process,) = pool._processes.values()
        process.join(10)
        assert not process.is_alive()

    def test_an_interrupt_cancels_what_has_not_begun(self, pool):
        import signal

        main = threading.get_ident()
        timer = threading.Timer(0.5, lambda: signal.pthread_kill(main, signal.SIGINT))
        timer.start()
        jobs = gather(pool, sleep, [1.0] * 40)
        with pytest.raises(KeyboardInterrupt):
            list(jobs)
        timer.join()
        began = time.monotonic()
        assert pool.submit(double, 1).result() == 2
        assert time.monotonic() - began < 10
