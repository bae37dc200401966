"""Sweeps in this process: the grid, the files, the table, and what may come between."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import acdc_explorer as ax
from acdc_explorer import cli, progress
from acdc_explorer.sweeps import claims, running
from acdc_explorer.sweeps.claims import claim_path, is_claimed, owner_of, try_claim
from acdc_explorer.sweeps.grid import read_grid, rows_of
from acdc_explorer.sweeps.job import GRACE_SECONDS, UNWRITABLE, WRITTEN, Answer
from acdc_explorer.sweeps.row import SweepRow
from acdc_explorer.sweeps.row_files import path_of, read_record, write_failed
from acdc_explorer.sweeps.table import n_running

# Hand-built, and loaded in no time.
GRID = {"models": "five-heads", "tasks": "five-heads", "thresholds": [0.5, 2], "n_prompts": 4}
IOI = {"models": ["mini"], "tasks": ["ioi"], "n_prompts": 4, "thresholds": ["20%", "30%"]}


@pytest.fixture
def here():
    with ThreadPoolExecutor(1) as executor:
        yield executor


class Refusing:
    """To be given to a sweep that has nothing to do."""

    def submit(self, function, /, *arguments):
        raise AssertionError("nothing should be submitted")


class Interrupting:
    """As if Ctrl-C were pressed at once."""

    def submit(self, function, /, *arguments):
        raise KeyboardInterrupt


class Garbling:
    """Answers something, and does nothing."""

    def __init__(self, answer):
        self.answer, self.n_submitted = answer, 0

    def submit(self, function, /, *arguments):
        self.n_submitted += 1
        future = Future()
        if isinstance(self.answer, BaseException):
            future.set_exception(self.answer)
        else:
            future.set_result(self.answer)
        return future


class TestGrid:
    def test_every_combination_the_last_setting_fastest(self):
        rows = rows_of({"models": ["mini"], "tasks": ["ioi", "months"], "thresholds": ["7%", 0.3]})
        found = [(row.task, row.threshold) for row in rows]
        assert found == [("ioi", "7%"), ("ioi", 0.3), ("months", "7%"), ("months", 0.3)]
        assert {row.seed for row in rows} == {0}

    def test_lists_of_grids_keep_apart_what_does_not_go_together(self):
        base = {"model": "mini", "task": "ioi"}
        rows = rows_of(
            [base | {"order": "attribution"}, base | {"method": ["eap", "eap_ig"], "top_n": 20}]
        )
        assert [(row.method, row.order) for row in rows] == [
            ("acdc", "attribution"), ("eap", "default"), ("eap_ig", "default"),
        ]  # fmt: skip
        assert [row.threshold for row in rows] == ["7%", None, None]

    def test_a_table_of_rows_may_leave_cells_empty(self):
        table = pd.DataFrame(
            {"model": "mini", "task": ["ioi", "days"], "seed": [None, 3], "threshold": [0.1, None],
             "faithfulness": [None, "80%"], "positions": np.array([True, False])}
        )  # fmt: skip
        first, second = rows_of(table)
        assert (first.seed, first.threshold, first.faithfulness) == (0, 0.1, None)
        assert (second.seed, second.threshold, second.faithfulness) == (3, None, "80%")
        assert isinstance(second.seed, int)
        assert [first.positions, second.positions] == [True, False]

    def test_equal_rows_are_one(self):
        rows = rows_of(GRID | {"thresholds": [0.5, "0.5", np.float64(0.5), " 0.50"]})
        assert len(rows) == 1

    def test_what_is_drawn_goes_by_the_rows_seed(self):
        drawn = rows_of(GRID | {"orders": "random", "seeds": [3], "thresholds": 1})[0]
        assert drawn.order_seed == 3
        given = rows_of(GRID | {"orders": "random", "seeds": [3], "order_seeds": 5})[0]
        assert given.order_seed == 5
        # In the default order it changes nothing, so that it makes no other row.
        assert len(rows_of(GRID | {"order_seeds": range(3)})) == 2

    def test_a_key_is_that_of_the_settings_and_stays(self):
        row = SweepRow.of({"model": "mini", "task": "ioi"})
        assert row.key == SweepRow.of({"model": "mini", "task": "ioi", "threshold": "7%"}).key
        assert row.key == "00a52f7e75bb4999"
        others = [{"seed": 1}, {"threshold": "8%"}, {"positions": True}, {"rule": "signed"}]
        keys = {SweepRow.of({"model": "mini", "task": "ioi", **other}).key for other in others}
        assert len(keys | {row.key}) == 5

    def test_a_folder_is_named_by_its_whole_path(self, tmp_path, monkeypatch):
        (tmp_path / "tuned").mkdir()
        monkeypatch.chdir(tmp_path)
        assert rows_of({"model": "tuned", "task": "ioi"})[0].model == str(tmp_path / "tuned")
        assert rows_of({"model": Path("mini"), "task": "ioi"})[0].model == "mini"
        # What a row's file says stays the same, wherever it is read.
        assert SweepRow.of({"model": "tuned", "task": "ioi"}).model == "tuned"

    def test_per_cents_are_told_by_their_number(self):
        rows = rows_of({"model": "mini", "task": "ioi", "thresholds": ["7%", "7.0%", " 7 %"]})
        assert [row.threshold for row in rows] == ["7%"]

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("g.yaml", "models: five-heads\ntasks: [five-heads]\nthresholds: [0.5, 2]\n"
                       "n_prompts: 4\n"),
            ("g.json", json.dumps(GRID)),
            ("g.csv", "model,task,threshold,n_prompts\nfive-heads,five-heads,0.5,4\n"
                      "five-heads,five-heads,2,4\n"),
        ],
    )  # fmt: skip
    def test_from_a_file(self, name, text, tmp_path):
        (tmp_path / name).write_text(text)
        assert rows_of(read_grid(tmp_path / name)) == rows_of(GRID)

    @pytest.mark.parametrize(
        ("name", "text", "message"),
        [
            ("g.toml", "", "a grid's file must be .yaml, .yml, .json or .csv"),
            ("g.yaml", "a: [", "cannot be read as YAML"),
            ("g.json", "{", "cannot be read as JSON"),
            ("g.csv", "", "cannot be read as CSV"),
            ("g.json", '{"models": "mini", "seeds": 0, "seeds": 1}', "'seeds' comes twice"),
            ("g.yaml", "models: mini\nseeds: 0\nseeds: 1\n", "'seeds' comes twice"),
            ("g.json", "[" * 100_000, "nests too deep"),
            ("g.yaml", "[" * 20_000, "nests too deep"),
        ],
    )
    def test_a_file_that_is_none_is_named(self, name, text, message, tmp_path):
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=message):
            read_grid(tmp_path / name)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"modles": ["mini"]}, "unknown setting of a grid 'modles'. Did you mean 'models'"),
            ({"tasks": ["ioi", "ioj"]}, "row 2 of the grid: unknown task 'ioj'"),
            ({"methods": ["acdcc"]}, "row 0 of the grid: unknown method 'acdcc'"),
            ({"thresholds": ["7%", "many"]}, "row 1 of the grid: threshold must be a positive"),
            ({"seeds": [-1]}, "seed must be a whole number from 0 on; got -1"),
            ({"n_prompts": [0]}, "n_prompts must be a whole number from 1 on; got 0"),
            ({"positions": ["yes"]}, "positions must be True or False; got 'yes'"),
            ({"faithfulness": ["80%"]}, "give either threshold= or faithfulness="),
            ({"thresholds": []}, "the grid has no values for threshold"),
            ({"threshold": 1}, "the grid names threshold twice"),
            ({"models": [3]}, "model must be a name, a folder or a file here"),
            ({"tasks": [None]}, "row 0 of the grid: task is missing"),
            ({"tasks": [["ioi"]]}, "task must be one text, number, True or False; got a list of 1"),
            ({"rules": [{}]}, "rule must be one text, number, True or False; got an object"),
        ],
    )
    def test_wrong_settings_are_named_before_anything_is_searched(self, change, message, tmp_path):
        with pytest.raises(ValueError, match=message):
            ax.sweep({**GRID, **change}, tmp_path / "runs", Refusing())
        assert not (tmp_path / "runs").exists()

    @pytest.mark.parametrize(
        ("grid", "message"),
        [
            ("g.yaml", "grid must be a mapping of lists"),
            (["mini"], "a list of grids must hold grids"),
            ([], "the grid has no rows"),
        ],
    )
    def test_what_is_no_grid(self, grid, message, tmp_path):
        with pytest.raises(ValueError, match=message):
            ax.sweep(grid, tmp_path)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"n_workers": 0}, "n_workers must be a whole number from 1 on"),
            ({"executor": 3}, "executor must have submit"),
            ({"executor": Refusing(), "n_workers": 2}, "n_workers goes without executor"),
            ({"timeout": 0}, "timeout must be a number of seconds above 0"),
            ({"timeout": "1"}, "timeout must be a number of seconds above 0"),
        ],
    )
    def test_other_arguments(self, options, message, tmp_path):
        with pytest.raises(ValueError, match=message):
            ax.sweep(GRID, tmp_path, **options)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"top_n": 5}, "top_n goes with the methods eap, eap_ig, ceap, relp; got 'acdc'"),
            ({"methods": "eap", "top_n": 0}, "top_n must be a whole number from 1 on; got 0"),
            ({"methods": "eap", "top_n": "x"}, "top_n must be a whole number from 1 on; got 'x'"),
            ({"methods": "eap", "top_n": 5, "thresholds": 1}, "give either top_n or threshold"),
        ],
    )
    def test_how_many_edges_are_asked_for_is_checked_beforehand(self, change, message):
        with pytest.raises(ValueError, match=message):
            rows_of({"models": "mini", "tasks": "ioi", **change})

    @pytest.mark.parametrize("out", [3, "~nobody-of-this-name/runs"])
    def test_out_that_is_no_path(self, out):
        with pytest.raises(ValueError, match="folder"):
            ax.sweep(GRID, out)
        with pytest.raises(ValueError, match="folder"):
            ax.read_sweep(out)

    def test_a_model_of_a_very_long_name_is_a_row(self):
        assert rows_of({"model": "x" * 5000, "task": "ioi"})[0].model == "x" * 5000

    def test_out_that_is_a_file(self, tmp_path):
        (tmp_path / "runs").write_text("")
        with pytest.raises(ValueError, match="out cannot be made as a folder"):
            ax.sweep(GRID, tmp_path / "runs")


class TestRows:
    def test_each_is_what_find_circuit_finds(self, tmp_path, here):
        table = ax.sweep(IOI, tmp_path, here)
        assert table["state"].tolist() == ["done"] * 2
        task = ax.load_task("ioi", "mini", 4)
        for row in table.itertuples():
            circuit = ax.find_circuit("mini", task, row.threshold)
            assert ax.Circuit.load(row.file).to_dict() == circuit.to_dict()
            assert (row.kept, row.connected) == (len(circuit.kept), len(circuit.connected()))
            assert (row.edges, row.tested) == (circuit.graph.n_edges, circuit.n_tested)
            assert (row.faithfulness, row.value) == (circuit.faithfulness, circuit.metric_value)
            assert (row.same_from, row.same_to) == circuit.valid_interval
            assert row.threshold_value == circuit.threshold
            assert row.seconds > 0
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
            f"{row.key}.json" for row in rows_of(IOI)
        )

    def test_what_is_there_is_not_searched_again(self, tmp_path, here):
        table = ax.sweep(GRID, tmp_path, here)
        again = ax.sweep(GRID, tmp_path, Refusing())
        pd.testing.assert_frame_equal(again, table)
        # With one row more, that one alone is.
        more = ax.sweep(GRID | {"thresholds": [0.5, 0.9, 2]}, tmp_path, here)
        assert more["threshold"].tolist() == [0.5, 0.9, 2]
        pd.testing.assert_frame_equal(more.iloc[[0, 2]].reset_index(drop=True), table)
        pd.testing.assert_frame_equal(ax.read_sweep(tmp_path), more)

    def test_settings_reach_the_search(self, tmp_path, here):
        grid = [
            {**IOI, "thresholds": ["30%"], "orders": "random", "seeds": 2, "ablations": "mean"},
            {**IOI, "thresholds": ["30%"], "positions": True, "screens": 0.5, "rules": "signed"},
            {"models": "mini", "tasks": "ioi", "n_prompts": 4, "methods": "eap", "top_n": 9},
        ]
        table = ax.sweep(grid, tmp_path, here)
        first, second, third = (ax.Circuit.load(file) for file in table["file"])
        assert first.settings.order == "random"
        assert (first.settings.order_seed, first.settings.ablation) == (2, "mean")
        assert first.task_options["seed"] == 2
        assert (second.settings.screen, second.settings.rule) == (0.5, "signed")
        assert second.graph.labels
        assert third.settings.method == "eap"
        assert len(third.kept) <= 9

    def test_a_faithfulness_is_a_target(self, tmp_path, here):
        asked = {"faithfulness": "80%", "n_prompts": 4}
        table = ax.sweep({"models": "five-heads", "tasks": "five-heads", **asked}, tmp_path, here)
        assert table["target"].tolist() == ["80%"]
        assert table["faithfulness"][0] >= 0.8

    def test_failures_are_rows(self, tmp_path, here):
        grid = [GRID, {"models": "five-heads", "tasks": "ioi"}]
        with pytest.warns(UserWarning, match="1 of 3 rows failed"):
            table = ax.sweep(grid, tmp_path, here)
        assert table["state"].tolist() == ["done", "done", "failed"]
        failed = table.iloc[2]
        assert failed["error"].startswith("ValueError: task 'ioi' needs 5 names")
        assert "load_task" in failed["traceback"]
        assert pd.isna(failed["file"])
        # It is not tried again unless asked for.
        with pytest.warns(UserWarning, match="1 of 3 rows failed"):
            ax.sweep(grid, tmp_path, Refusing())
        file = path_of(tmp_path, rows_of(grid)[2])
        before = file.stat().st_mtime_ns
        with pytest.warns(UserWarning, match="1 of 3 rows failed"):
            ax.sweep(grid, tmp_path, here, retry_failed=True)
        assert file.stat().st_mtime_ns > before
        # It stays until it is overwritten.
        with pytest.raises(KeyboardInterrupt):
            ax.sweep(grid, tmp_path, Interrupting(), retry_failed=True)
        assert read_record(file)["error"]["type"] == "ValueError"

    @pytest.mark.parametrize(
        ("place", "name", "value"),
        [
            ("circuit", "kept", "abc"),
            ("circuit", "kept", 1.5),
            ("circuit", "value", "1"),
            ("circuit", "metric", 3),
            ("settings", "task", ["ioi"]),
            ("settings", "model", "x" * 5000),
        ],
    )
    def test_one_odd_file_is_one_damaged_row(self, place, name, value, tmp_path, here):
        file = Path(ax.sweep(GRID, tmp_path, here)["file"][0])
        first, _, second = file.read_text().partition("\n")
        record = json.loads(first.rstrip(",") + "}")
        record["sweep"][place][name] = value
        file.write_text(f"{json.dumps(record)[:-1]},\n{second}")
        (tmp_path / "notes.json").write_text("[]")
        assert sorted(ax.read_sweep(tmp_path)["state"]) == ["damaged", "done"]

    def test_a_folder_s_rows_are_found_wherever_it_is_read_from(self, tmp_path, here, monkeypatch):
        table = ax.sweep(GRID, tmp_path / "runs", here)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path))
        # A folder of the model's name makes no other row of what was searched.
        (tmp_path / "five-heads").mkdir()
        for folder in ("runs", "~/runs"):
            pd.testing.assert_frame_equal(ax.read_sweep(folder), table)

    @pytest.mark.parametrize("damage", ["cut", "empty", "other", "of another row"])
    def test_a_damaged_file_is_made_again(self, damage, tmp_path, here):
        table = ax.sweep(GRID, tmp_path, here)
        first, second = map(Path, table["file"])
        whole = first.read_text()
        first.write_text(
            {"cut": whole[:-9], "empty": "", "other": "{}\n", "of another row": second.read_text()}[
                damage
            ]
        )
        shown = ax.read_sweep(tmp_path)
        assert sorted(shown["state"]) == ["damaged", "done"]
        with pytest.warns(UserWarning, match=f"{first.name}.*searched again"):
            again = ax.sweep(GRID, tmp_path, here)
        assert again["kept"].equals(table["kept"])

    def test_it_says_how_far_it_has_come(self, tmp_path, here):
        heard = []
        ax.sweep(GRID | {"thresholds": 0.5}, tmp_path, here)
        with progress.heard_by(heard.append):
            ax.sweep(GRID | {"thresholds": [0.5, 1.5, 2]}, tmp_path, here)
        told = [(event.done, event.of) for event in heard if event.what.startswith("sweeping")]
        assert told[0] == (0, 2)
        assert (1, 2) in told
        assert heard[0].what == "sweeping (1 more were there): rows"

    def test_more_rows_than_are_given_out_at_once(self, tmp_path, here, monkeypatch):
        monkeypatch.setattr(running, "MOST_GIVEN_OUT", 2)
        grid = GRID | {"thresholds": [0.3, 0.5, 0.9, 1.5, 2]}
        assert ax.sweep(grid, tmp_path, here)["state"].tolist() == ["done"] * 5

    def test_a_folder_that_is_not_there(self, tmp_path):
        with pytest.raises(ValueError, match="there is no folder"):
            ax.read_sweep(tmp_path / "no")


class TestClaims:
    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "row.json"

    def test_one_process_alone_has_it(self, path):
        claim = try_claim(path)
        assert owner_of(path).is_this_process()
        assert is_claimed(path)
        assert try_claim(path) is None
        claim.release()
        assert not is_claimed(path)
        try_claim(path).release()
        assert list(path.parent.iterdir()) == []

    def test_that_of_a_process_that_has_ended_is_taken_over(self, path):
        code = (
            "import os; from pathlib import Path; from acdc_explorer.sweeps.claims import *;"
            f"try_claim(Path({str(path)!r})); os._exit(0)"
        )
        subprocess.run([sys.executable, "-c", code], check=True)
        assert claim_path(path).exists()
        assert not is_claimed(path)
        try_claim(path).release()

    @pytest.mark.parametrize("text", ["", "{", '{"host": "elsewhere", "pid": 1, "started": 0.5}'])
    def test_that_of_another_machine_for_want_of_signs_of_life(self, text, path):
        claim_path(path).write_text(text)
        assert is_claimed(path)
        assert try_claim(path) is None
        assert n_running(path.parent) == 1
        long_ago = time.time() - claims.STALE_SECONDS - 1
        os.utime(claim_path(path), (long_ago, long_ago))
        assert not is_claimed(path)
        try_claim(path).release()

    def test_its_owner_gives_signs_of_life(self, path, monkeypatch):
        monkeypatch.setattr(claims, "HEARTBEAT_SECONDS", 0.05)
        seen = threading.Event()
        claim = try_claim(path, seen.set)
        os.utime(claim_path(path), (0, 0))
        assert seen.wait(10)
        assert time.time() - claim_path(path).stat().st_mtime < 60
        claim.release()

    def test_a_row_that_another_is_at_is_waited_for(self, tmp_path, here):
        """And taken over once that one has given up."""
        rows = rows_of(GRID)
        first = try_claim(path_of(tmp_path, rows[0]))
        with ThreadPoolExecutor(1) as sweeping:
            running = sweeping.submit(ax.sweep, GRID, tmp_path, here)
            while read_record(path_of(tmp_path, rows[1])) is None:
                time.sleep(0.05)
            time.sleep(0.2)
            assert not running.done()
            shown = ax.read_sweep(tmp_path)
            assert len(shown) == 1
            assert n_running(tmp_path) == 1
            first.release()
            assert running.result(60)["state"].tolist() == ["done", "done"]

    def test_one_that_was_taken_over_is_left_to_its_new_owner(self, path, monkeypatch):
        monkeypatch.setattr(claims, "HEARTBEAT_SECONDS", 0.05)
        seen = threading.Event()
        claim = try_claim(path, seen.set)
        text = '{"host": "elsewhere", "pid": 1, "started": 0.5}'
        claim_path(path).write_text(text)
        os.utime(claim_path(path), (1, 1))
        seen.clear()
        assert seen.wait(10)
        claim.release()
        assert claim_path(path).read_text() == text
        assert claim_path(path).stat().st_mtime == 1


class TestFaults:
    @pytest.mark.parametrize(
        ("answer", "said"),
        [
            (42, "it answered 42, and there is no file"),
            ({"state": "written"}, "it answered {'state': 'written'}, and there is no file"),
            (RuntimeError("gone"), "RuntimeError: gone"),
        ],
    )
    def test_garbage_is_asked_again_and_then_told(self, answer, said, tmp_path):
        garbling = Garbling(answer)
        with pytest.warns(UserWarning, match="a worker was lost at a row|2 of 2 rows failed"):
            table = ax.sweep(GRID, tmp_path, garbling)
        assert garbling.n_submitted == 4
        assert table["state"].tolist() == ["failed"] * 2
        assert table["error"].str.startswith("LostRowError: the row was lost twice").all()
        assert table["error"].str.contains(said, regex=False).all()

    def test_a_file_that_is_late_is_waited_for(self, tmp_path, here):
        """As on a network's disk."""

        class Late:
            def submit(self, function, /, *arguments):
                threading.Timer(0.5, here.submit, (function, *arguments)).start()
                return Garbling(Answer(WRITTEN)).submit(function)

        assert ax.sweep(GRID, tmp_path, Late())["state"].tolist() == ["done"] * 2

    def test_an_interrupt_leaves_what_is_done(self, tmp_path, here):
        class Interrupting:
            def __init__(self):
                self.n_submitted = 0

            def submit(self, function, /, *arguments):
                future = here.submit(function, *arguments)
                self.n_submitted += 1
                if self.n_submitted == 2:
                    future.result()
                    raise KeyboardInterrupt
                return future

        grid = GRID | {"thresholds": [0.5, 0.9, 2]}
        with pytest.raises(KeyboardInterrupt):
            ax.sweep(grid, tmp_path, Interrupting())
        assert len(ax.read_sweep(tmp_path)) == 2
        assert ax.sweep(grid, tmp_path, here)["state"].tolist() == ["done"] * 3

    def test_a_row_over_its_time_fails(self, tmp_path, here):
        with pytest.warns(UserWarning, match="1 of 1 rows failed"):
            table = ax.sweep({"models": "mini", "tasks": "ioi"}, tmp_path, here, timeout=0.01)
        assert table["error"][0] == (
            "TimeoutError: it took longer than the timeout of 0.01 seconds"
        )
        assert table["seconds"][0] < GRACE_SECONDS

    def test_a_folder_that_workers_do_not_share_ends_the_sweep(self, tmp_path, monkeypatch):
        monkeypatch.setattr(running, "_LATE_SECONDS", 0.2)
        elsewhere = Garbling(Answer(WRITTEN))
        with pytest.raises(OSError, match="must see the folder by this very path"):
            ax.sweep(GRID, tmp_path, elsewhere)
        assert list(tmp_path.iterdir()) == []

    def test_claims_of_a_killed_sweep_are_no_sign_that_a_row_was_begun(self, tmp_path, monkeypatch):
        class Dying(ThreadPoolExecutor):
            def submit(self, function, /, *arguments):
                return Garbling(BrokenExecutor("it died")).submit(function)

        monkeypatch.setattr(running, "local_executor", Dying)
        ended = {"host": socket.gethostname(), "pid": 2**22 - 5, "started": 1.0}
        for row in rows_of(GRID):
            claim_path(path_of(tmp_path, row)).write_text(json.dumps(ended))
        with pytest.raises(RuntimeError, match="worker processes end before they begin a row"):
            ax.sweep(GRID, tmp_path, n_workers=1)
        assert list(tmp_path.iterdir()) == []

    def test_a_row_that_hung_is_named_where_it_broke_an_executor(self, tmp_path):
        second = rows_of(GRID)[1]

        class Hanging:
            def submit(self, function, /, *arguments):
                future = Garbling(BrokenExecutor("it died")).submit(function)
                if SweepRow.of(arguments[-1].settings) == second:
                    # As the worker does before it ends itself.
                    write_failed(tmp_path, second, TimeoutError("too long"), 1.0)
                return future

        with pytest.raises(RuntimeError, match="hung until its TimeoutError") as error:
            ax.sweep(GRID, tmp_path, Hanging(), timeout=1.0)
        assert str(second) in str(error.value)

    def test_a_full_disk_is_told_before_other_rows_have_ended(self, tmp_path, monkeypatch):
        ended = []

        class Full(ThreadPoolExecutor):
            def submit(self, function, /, *arguments):
                return Garbling(Answer(UNWRITABLE, "no room")).submit(function)

            def end(self):
                ended.append(self)

            def shutdown(self, *arguments, **options):
                raise AssertionError("this would wait for what is running")

        monkeypatch.setattr(running, "local_executor", Full)
        with pytest.raises(OSError, match="no room"):
            ax.sweep(GRID, tmp_path, n_workers=1)
        assert len(ended) == 1

    def test_workers_of_the_users_stay_when_it_is_interrupted(self, tmp_path, monkeypatch):
        told = []
        monkeypatch.setattr(running, "end_children", lambda *args, **options: told.append(args))

        with pytest.raises(KeyboardInterrupt):
            ax.sweep(GRID, tmp_path, Interrupting())
        assert told == []

    def test_a_folder_that_goes_away_ends_the_sweep(self, tmp_path):
        class Removing(ThreadPoolExecutor):
            def submit(self, function, /, *arguments):
                if (tmp_path / "runs").exists():
                    (tmp_path / "runs").rmdir()
                return super().submit(function, *arguments)

        with Removing(1) as executor, pytest.raises(OSError, match="cannot be written to") as error:
            ax.sweep(GRID, tmp_path / "runs", executor)
        assert "the same call goes on from them" in str(error.value)


class TestCommandLine:
    def test_a_sweep_and_what_it_found(self, tmp_path, capsys, monkeypatch):
        grid, runs = tmp_path / "grid.yaml", tmp_path / "runs"
        grid.write_text("models: five-heads\ntasks: [five-heads]\nthresholds: [0.5, 2]\n")
        # Its workers take long to start; what they do is tested in test_sweep_workers.py.
        monkeypatch.setattr(running, "local_executor", ThreadPoolExecutor)
        argv = ["sweep", str(grid), "--out", str(runs), "--workers", "1"]
        assert cli.main(argv) == 0
        found = capsys.readouterr().out
        table = ax.read_sweep(runs)
        assert [f"{row.threshold:g}" in found for row in table.itertuples()] == [True, True]
        assert "five-heads" not in found.partition("\n")[0]
        assert "2 rows: 2 done" in found
        assert cli.main(["show", str(runs)]) == 0
        assert capsys.readouterr().out == found

    def test_a_failure_is_shown_with_its_error_and_ends_in_1(self, tmp_path, capsys, monkeypatch):
        grid, runs = tmp_path / "grid.json", tmp_path / "runs"
        grid.write_text('{"models": "five-heads", "tasks": ["five-heads", "ioi"], "threshold": 1}')
        monkeypatch.setattr(running, "local_executor", ThreadPoolExecutor)
        assert cli.main(["sweep", str(grid), "--out", str(runs), "--timeout", "60"]) == 1
        found = capsys.readouterr().out
        assert "2 rows: 1 done, 1 failed" in found
        assert "ValueError: task 'ioi' needs 5 names" in found

    def test_workers_that_end_are_told_in_one_line(self, tmp_path, capsys, monkeypatch):
        def no_workers(n_workers):
            raise RuntimeError("worker processes end before they begin")

        grid = tmp_path / "grid.json"
        grid.write_text(json.dumps(GRID))
        monkeypatch.setattr(running, "local_executor", no_workers)
        assert cli.main(["sweep", str(grid), "--out", str(tmp_path / "runs")]) == 2
        assert "error: worker processes end before they begin" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("argv", "said"),
        [
            (["sweep", "no.yaml"], "no.yaml"),
            (["show", "no"], "there is no folder 'no'"),
        ],
    )
    def test_what_is_wrong_is_one_line(self, argv, said, tmp_path, capsys, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert cli.main(argv) == 2
        assert said in capsys.readouterr().err
