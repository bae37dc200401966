"""Sweeps on real workers: processes, Dask, submitit; killed, hanging, interrupted, out of disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import psutil
import pytest

import acdc_explorer as ax
from acdc_explorer.sweeps import running
from acdc_explorer.sweeps.claims import claim_path, owner_of
from acdc_explorer.sweeps.grid import rows_of
from acdc_explorer.sweeps.row_files import path_of
from acdc_explorer.workers.executor import local_executor

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

QUICK = {"models": "or-gate", "tasks": "or-gate", "thresholds": [0.3, 0.9, 2], "n_prompts": 4}
# A search of a second or more, so that it can be killed in the middle.
LONG = {"models": "mini", "tasks": "ioi", "thresholds": "0.3%", "n_prompts": 16}


@pytest.fixture(scope="module")
def pool():
    """Two workers for all tests that leave them alive."""
    with local_executor(2) as executor:
        yield executor


@contextmanager
def sending(signum: int, folder: Path, row, times: int = 1) -> Iterator[list[int]]:
    """Signals to the process that is at a row, so many of them; yields their numbers."""
    told, over = list[int](), threading.Event()

    def watch() -> None:
        while not over.wait(0.05) and len(told) < times:
            owner = owner_of(path_of(folder, row))
            if owner is not None and owner.pid not in told and not owner.has_ended():
                os.kill(owner.pid, signum)
                told.append(owner.pid)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield told
    finally:
        over.set()
        thread.join()


def killing(folder: Path, row, times: int = 1):
    """Kills the process that is at a row, so many of them; yields their numbers."""
    return sending(signal.SIGKILL, folder, row, times)


def script(folder: Path, grid: dict, before: str = "", options: str = "") -> list[str]:
    """The command that runs a sweep in a Python of its own."""
    file = folder / "script.py"
    file.write_text(
        # Of a shell's background, where these tests may run, interrupts are ignored.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"import acdc_explorer as ax\n{textwrap.dedent(before)}\n"
        f'if __name__ == "__main__":\n'
        f"    print(ax.sweep({grid!r}, {str(folder / 'runs')!r}{options})['state'].tolist())\n"
    )
    return [sys.executable, str(file)]


def environment() -> dict[str, str]:
    path = [str(Path(ax.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(path)}


def wait_for(condition, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def expected(tmp_path_factory, pool):
    """What a sweep finds when nothing comes between."""
    table = ax.sweep(QUICK, tmp_path_factory.mktemp("expected"), pool)
    assert table["state"].eq("done").all()
    return table


def same(found: pd.DataFrame, expected: pd.DataFrame) -> bool:
    # As text: beside "7%" a threshold is not a number's column.
    columns = ["threshold", "state", "kept", "connected", "faithfulness", "value"]
    return found[columns].astype(str).values.tolist() == (
        expected[columns].astype(str).values.tolist()
    )


class TestExecutors:
    def test_dask(self, tmp_path, expected):
        from dask.distributed import Client, LocalCluster

        with (
            LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster) as client,
        ):
            assert same(ax.sweep(QUICK, tmp_path, client), expected)
            # A worker that is killed is started anew, and its row given out again.
            row = rows_of(LONG)[0]
            with killing(tmp_path, row) as killed:
                table = ax.sweep(LONG, tmp_path, client)
            assert len(killed) == 1
            assert table["state"].tolist() == ["done"]

    def test_submitit(self, tmp_path, expected, monkeypatch):
        import submitit

        monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
        executor = submitit.AutoExecutor(tmp_path / "logs", cluster="local")
        executor.update_parameters(timeout_min=5)
        grid = QUICK | {"thresholds": [0.9]}
        found = ax.sweep(grid, tmp_path / "runs", executor)
        assert same(found, expected.iloc[[1]])
        # A job that is killed, twice.
        with (
            killing(tmp_path / "runs", rows_of(LONG)[0], times=2),
            pytest.warns(UserWarning, match="lost|failed"),
        ):
            table = ax.sweep(LONG, tmp_path / "runs", executor)
        assert table["error"][0].startswith("LostRowError: the row was lost twice")


class TestKilled:
    def test_a_row_whose_worker_is_killed_is_searched_again(self, tmp_path, expected):
        grid = [LONG, QUICK]
        with (
            killing(tmp_path, rows_of(LONG)[0]) as killed,
            pytest.warns(UserWarning, match="a worker was lost at a row"),
        ):
            table = ax.sweep(grid, tmp_path, n_workers=2)
        assert len(killed) == 1
        assert table["state"].eq("done").all()
        assert same(table[1:], expected)
        assert list(tmp_path.glob("*.claim")) == []

    def test_a_row_that_ends_every_worker_fails_and_takes_no_other_with_it(
        self, tmp_path, expected
    ):
        """All the same when it has another long row beside it, whose worker ends too."""
        beside = {**LONG, "seeds": 1}
        grid = [LONG, beside, QUICK]
        with (
            killing(tmp_path, rows_of(LONG)[0], times=9) as killed,
            pytest.warns(UserWarning, match="a worker was lost at a row|rows failed"),
        ):
            table = ax.sweep(grid, tmp_path, n_workers=2)
        assert len(killed) == 2
        assert table["state"].tolist() == ["failed", "done"] + ["done"] * 3
        assert "often out of memory" in table["error"][0]
        assert "BrokenProcessPool" in table["traceback"][0]
        assert same(table[2:], expected)

    def test_an_executor_of_the_users_that_is_broken_is_told(self, tmp_path, expected, pool):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
            assert same(ax.sweep(QUICK, tmp_path / "whole", executor), expected)
            with (
                killing(tmp_path, rows_of(LONG)[0]),
                pytest.raises(RuntimeError, match="the executor is broken"),
            ):
                ax.sweep([LONG, QUICK], tmp_path, executor)
        assert same(ax.sweep(QUICK, tmp_path, pool), expected)

    def test_workers_that_never_start_end_the_sweep(self, tmp_path):
        """As those of a script without a guard, which run the script again."""
        file = tmp_path / "script.py"
        file.write_text(f"import acdc_explorer as ax\nax.sweep({QUICK!r}, {str(tmp_path)!r})\n")
        ended = subprocess.run(
            [sys.executable, str(file)], env=environment(), capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert ended.returncode == 1
        assert 'under `if __name__ == "__main__":`' in ended.stderr.strip().splitlines()[-1]


class TestHanging:
    def test_a_row_that_hangs_fails_after_its_time(self, tmp_path):
        """No search of this package hangs that we know of, so that one is made to."""
        hanging = """
            import time
            from acdc_explorer.sweeps import claims, job
            claims.HEARTBEAT_SECONDS = job.GRACE_SECONDS = 1.0
            search = job._search
            job._search = lambda row: time.sleep(999) if row.model == "mini" else search(row)
        """
        options = ", n_workers=2, timeout=10"
        command = script(tmp_path, [LONG, QUICK], before=hanging, options=options)
        ended = subprocess.run(
            command, env=environment(), capture_output=True, text=True, check=False
        )
        assert ended.stdout.strip() == str(["failed"] + ["done"] * 3), ended.stderr
        assert "1 of 4 rows failed" in ended.stderr
        error = ax.read_sweep(tmp_path / "runs")["error"].dropna().item()
        assert error == "TimeoutError: it took longer than the timeout of 10 seconds"

    def test_a_worker_that_stands_still_is_ended(self, tmp_path, monkeypatch, expected):
        """A stopped process does not even notice that its time is over."""
        monkeypatch.setattr(running, "STILL_SECONDS", 10.0)
        row = rows_of(LONG)[0]
        with (
            sending(signal.SIGSTOP, tmp_path, row) as stopped,
            pytest.warns(UserWarning, match="a worker was lost at a row"),
        ):
            table = ax.sweep([LONG, QUICK], tmp_path, n_workers=2, timeout=15)
        assert len(stopped) == 1
        assert table["state"].eq("done").all()
        assert same(table[1:], expected)


class TestInterrupted:
    @pytest.mark.parametrize("to_all", [True, False], ids=["in a terminal", "the caller alone"])
    def test_ctrl_c_leaves_a_folder_to_go_on_from(self, to_all, tmp_path, pool):
        grid, runs = [QUICK, LONG, LONG | {"seeds": 1}], tmp_path / "runs"
        process = subprocess.Popen(
            script(tmp_path, grid, options=", n_workers=2"), env=environment(),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        long_row = path_of(runs, rows_of(LONG)[0])
        wait_for(lambda: owner_of(long_row))
        workers = psutil.Process(process.pid).children(recursive=True)
        if to_all:
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGINT or "KeyboardInterrupt" in told
        _, alive = psutil.wait_procs(workers, timeout=10)
        assert alive == []
        assert list(runs.glob("*.claim")) == []
        assert list(runs.glob("*.part")) == []
        done = ax.read_sweep(runs)
        assert done["state"].eq("done").all()
        assert len(done) <= 3 + 1
        before = {path: path.stat().st_mtime_ns for path in runs.glob("*.json")}
        table = ax.sweep(QUICK, runs, pool)
        assert table["state"].eq("done").all()
        assert all(path.stat().st_mtime_ns == then for path, then in before.items())

    def test_a_sweep_that_is_killed_leaves_one_too(self, tmp_path, pool):
        runs = tmp_path / "runs"
        process = subprocess.Popen(
            script(tmp_path, LONG, options=", n_workers=1"), env=environment(),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        row = path_of(runs, rows_of(LONG)[0])
        wait_for(lambda: owner_of(row))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        wait_for(lambda: owner_of(row).has_ended())
        assert claim_path(row).exists()
        assert ax.sweep(LONG, runs, pool)["state"].tolist() == ["done"]
        assert list(runs.glob("*.claim")) == []


class TestTogether:
    def test_two_sweeps_share_a_folder(self, tmp_path, expected):
        """Each row is searched once: a file that is there is not written again."""
        grid = {**LONG, "thresholds": ["1%"], "seeds": list(range(4))}
        processes = [
            subprocess.Popen(
                script(folder, grid, options=", n_workers=1").copy(), env=environment(),
                stdout=subprocess.PIPE, text=True,
            )
            for folder in [tmp_path] * 2
        ]  # fmt: skip
        written: dict[Path, int] = {}
        while any(process.poll() is None for process in processes):
            for path in (tmp_path / "runs").glob("*.json"):
                inode = path.stat().st_ino
                assert written.setdefault(path, inode) == inode
            time.sleep(0.02)
        said = [process.communicate()[0].strip() for process in processes]
        assert said == [str(["done"] * 4)] * 2
        assert len(written) == 4


class TestNoRoom:
    def test_a_disk_that_is_full_ends_the_sweep_and_leaves_what_is_done(self, tmp_path):
        """The system refuses larger files, as it would on a full disk; circuits of mini are."""
        limit = """
            import resource
            resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, resource.RLIM_INFINITY))
        """
        grid = [QUICK, {**LONG, "thresholds": "1%", "n_prompts": 8}]
        command = script(tmp_path, grid, before=limit, options=", n_workers=1")
        ended = subprocess.run(
            command, env=environment(), capture_output=True, text=True, check=False
        )
        assert ended.returncode == 1
        last = ended.stderr.strip().splitlines()[-1]
        assert last.startswith("OSError: a row's file cannot be written to")
        assert "File too large" in last
        assert "the same call goes on" in last
        # Those that were under way then are searched by the next call.
        done = ax.read_sweep(tmp_path / "runs")
        assert set(done["state"]) == {"done"}
        assert list((tmp_path / "runs").glob("*.part")) == []

    def test_a_row_out_of_memory_fails_and_the_next_one_is_searched(self, tmp_path):
        """The system gives this process no more than 300 MB beside what it has."""
        runs = str(tmp_path / "runs")
        code = f"""
            import resource, psutil, acdc_explorer as ax
            from concurrent.futures import ThreadPoolExecutor
            with ThreadPoolExecutor(1) as here:
                ax.sweep({LONG | {"thresholds": "20%", "n_prompts": 8}!r}, {runs!r}, here)
                limit = psutil.Process().memory_info().data + (300 << 20)
                resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))
                ax.sweep([{LONG | {"n_prompts": 2500}!r}, {QUICK!r}], {runs!r}, here)
        """
        ended = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], env=environment(), capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        table = ax.read_sweep(runs)
        assert table["state"].value_counts().to_dict() == {"done": 4, "failed": 1}
        assert "memory" in table["error"].dropna().item()


def test_the_readme_sweeps_as_it_says(tmp_path, monkeypatch):
    readme = (Path(ax.__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    section = readme.partition("## Many searches at once")[2].partition("## ")[0]
    names = {"ax": ax}
    monkeypatch.chdir(tmp_path)
    exec(section.partition("```python")[2].partition("```")[0], names)
    assert names["table"]["state"].tolist() == ["done"] * 8
    assert len(ax.read_sweep("runs/")) == 8
