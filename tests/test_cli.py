"""The command line: what it copies, what it launches, what it prints, how it fails."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pytest

import acdc_explorer
from acdc_explorer import cli
from acdc_explorer.circuits.threshold_path import ThresholdPath
from acdc_explorer.graph import graph_of

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK_TEXT = json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


class Launcher:
    """Stands in for the one function that starts a process."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.environments: list[dict[str, str]] = []

    def __call__(self, command: Sequence[str], environment: Mapping[str, str]) -> int:
        self.commands.append(list(command))
        self.environments.append(dict(environment))
        return 0


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch) -> Launcher:
    fake = Launcher()
    monkeypatch.setattr(cli, "run_server", fake)
    return fake


@pytest.fixture
def shipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    notebook = tmp_path / "shipped" / "ioi.ipynb"
    notebook.parent.mkdir()
    notebook.write_text(NOTEBOOK_TEXT)
    notebook.with_name("positions.ipynb").write_text("another")
    monkeypatch.setattr(cli, "shipped_notebook", lambda: notebook)
    return notebook


@pytest.fixture
def cwd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


class TestLab:
    @pytest.mark.parametrize("argv", [[], ["lab"]])
    def test_copies_the_notebook_and_opens_the_copy(
        self, argv: list[str], launcher: Launcher, shipped: Path, cwd: Path
    ) -> None:
        assert cli.main(argv) == 0
        copy = cwd / "acdc_notebooks" / "ioi.ipynb"
        assert copy.read_text() == NOTEBOOK_TEXT
        assert copy.with_name("positions.ipynb").read_text() == "another"
        (command,) = launcher.commands
        assert command[:4] == [sys.executable, "-m", "jupyterlab", str(copy)]
        assert "--no-browser" not in command
        assert launcher.environments[0]["JUPYTER_PREFER_ENV_PATH"] == "1"

    @pytest.mark.parametrize("prefix", [[], ["lab"]])
    def test_options_need_no_command_before_them(
        self, prefix: list[str], launcher: Launcher, shipped: Path, cwd: Path, tmp_path: Path
    ) -> None:
        folder = tmp_path / "else" / "where"
        argv = [*prefix, "--no-browser", "--port", "8899", "--dir", str(folder)]
        assert cli.main(argv) == 0
        (command,) = launcher.commands
        assert command[3] == str(folder / "ioi.ipynb")
        assert "--no-browser" in command
        assert "--ServerApp.port=8899" in command
        assert not list(cwd.iterdir())

    def test_edits_are_kept_and_a_fresh_copy_is_explained(
        self, launcher: Launcher, shipped: Path, cwd: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        cli.main([])
        assert "fresh copy" not in capsys.readouterr().out
        copy = cwd / "acdc_notebooks" / "ioi.ipynb"
        copy.write_text("my work")
        assert cli.main([]) == 0
        assert copy.read_text() == "my work"
        assert launcher.commands[1][3] == str(copy)
        out = capsys.readouterr().out
        assert str(copy) in out
        assert "fresh copy" in out
        copy.rename(copy.with_name("mine.ipynb"))
        assert cli.main([]) == 0
        assert copy.read_text() == NOTEBOOK_TEXT

    def test_home_is_used_where_the_current_folder_cannot_be_written_to(
        self,
        launcher: Launcher,
        shipped: Path,
        cwd: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        # A file in the way stops root too, whom no permission bit stops.
        (cwd / "acdc_notebooks").write_text("a file, not a folder")
        home = tmp_path / "home"
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.setenv("USERPROFILE", str(home))
        assert cli.main([]) == 0
        copy = home / "acdc_notebooks" / "ioi.ipynb"
        assert copy.read_text() == NOTEBOOK_TEXT
        assert launcher.commands[0][3] == str(copy)

    def test_dir_that_is_a_file_is_an_error(
        self, launcher: Launcher, shipped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        blocked = tmp_path / "blocked"
        blocked.write_text("")
        assert cli.main(["--dir", str(blocked)]) == 2
        assert one_error_line(capsys).endswith(f"File exists: '{blocked}'")
        assert not launcher.commands

    def test_without_jupyterlab_the_extra_is_named(
        self,
        launcher: Launcher,
        shipped: Path,
        cwd: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: None)
        assert cli.main([]) == 2
        assert "'acdc_explorer[lab]'" in one_error_line(capsys)
        assert not launcher.commands
        assert not list(cwd.iterdir())

    def test_impossible_port(
        self, launcher: Launcher, shipped: Path, cwd: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(["--port", "70000"]) == 2
        assert "70000" in one_error_line(capsys)

    def test_the_checkout_ships_the_notebook(self) -> None:
        assert cli.shipped_notebook() == ROOT / "notebooks" / "ioi.ipynb"

    def test_installed_without_a_checkout(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        installed = tmp_path / "share" / "acdc_explorer" / "notebooks" / "ioi.ipynb"
        installed.parent.mkdir(parents=True)
        installed.write_text(NOTEBOOK_TEXT)
        monkeypatch.setattr(cli, "__file__", str(tmp_path / "lib" / "acdc_explorer" / "cli.py"))
        monkeypatch.setattr(cli.sysconfig, "get_path", lambda name: str(tmp_path))
        assert cli.shipped_notebook() == installed
        installed.unlink()
        with pytest.raises(FileNotFoundError, match="example notebook is missing"):
            cli.shipped_notebook()


class TestServer:
    def test_exit_status_is_the_servers(self) -> None:
        command = [sys.executable, "-c", "import os; raise SystemExit(int(os.environ['STATUS']))"]
        assert cli.run_server(command, {**os.environ, "STATUS": "7"}) == 7

    @pytest.mark.slow
    @pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
    def test_real_server_answers_and_ends_with_the_program(
        self, signum: signal.Signals, tmp_path: Path
    ) -> None:
        """The command as installed, on loopback: it serves the notebook and leaves no process."""
        port = free_port()
        folder = tmp_path / "notebooks"
        log = tmp_path / "log"
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "HOME": str(tmp_path),
            "JUPYTER_TOKEN": "secret",
            "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
            "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
        }
        command = [sys.executable, "-m", "acdc_explorer.cli", "lab", "--no-browser"]
        command += ["--port", str(port), "--dir", str(folder)]
        with log.open("w") as output:
            program = subprocess.Popen(
                command, env=environment, cwd=tmp_path, stdout=output, stderr=subprocess.STDOUT
            )
            try:
                url = f"http://127.0.0.1:{port}/api/contents/ioi.ipynb?content=0&token=secret"
                served = wait_for_json(url, program, log)
                program.send_signal(signum)
                assert program.wait(30) == 0, log.read_text()
                assert f":{port}/lab/tree/ioi.ipynb?token=" in log.read_text()
            finally:
                if program.poll() is None:
                    program.kill()
                    program.wait()
        assert served["name"] == "ioi.ipynb"
        assert served["writable"]
        assert (folder / "ioi.ipynb").read_bytes() == cli.shipped_notebook().read_bytes()
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0, "the server is still there"


class TestConvert:
    def test_from_format_to_format(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        few, like, target = (tmp_path / name for name in ("few.csv", "all.csv", "new.graphml"))
        graph = graph_of(2, 2)
        like.write_text("edge\n" + "\n".join(graph.edge_ids))
        few.write_text("edge,score\nm0->logits,2\ninput->m0,1\n")
        assert cli.main(["convert", str(few), str(target)]) == 2
        assert "does not say what model it is of" in capsys.readouterr().err
        assert cli.main(["convert", str(few), str(target), "--like", str(like)]) == 0
        assert f"written to {target}" in capsys.readouterr().out
        found = acdc_explorer.Circuit.from_file(target)
        assert found.graph == graph
        assert set(found.kept) == {"m0->logits", "input->m0"}
        folder = tmp_path / "ioi_gpt2"
        assert cli.main(["convert", str(target), str(folder), "--format", "mib"]) == 0
        assert cli.main(["convert", str(folder), str(few), "--top-n", "1"]) == 0
        assert acdc_explorer.Circuit.from_file(few).kept == ["m0->logits"]
        assert cli.main(["convert", str(target), str(tmp_path / "new.dat")]) == 2
        assert "means no format; give one" in capsys.readouterr().err

    def test_exact_scores_of_a_threshold_path(self, tmp_path: Path) -> None:
        model = acdc_explorer.load_model("mini")
        task = acdc_explorer.load_task("ioi", model, n_prompts=4)
        circuit = acdc_explorer.find_circuit(model, task, "30%")
        circuit.save(tmp_path / "circuit.json")
        path = ThresholdPath((circuit,))
        path.save(tmp_path / "path.json")
        folder = tmp_path / "ioi_mini"
        argv = ["convert", str(tmp_path / "circuit.json"), str(folder), "--format", "mib"]
        argv += ["--threshold-path", str(tmp_path / "path.json"), "--absolute"]
        assert cli.main(argv) == 0
        scores = acdc_explorer.Circuit.from_file(folder).imported.scores
        assert {edge: score for edge, score in scores.items() if score} == path.scores.to_dict()


class TestSearch:
    def test_prints_the_circuit_that_find_circuit_returns(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        saved = tmp_path / "circuit.json"
        argv = ["search", "mini", "ioi", "--threshold", "30%", "--n-prompts", "8", "--seed", "3"]
        assert cli.main([*argv, "--out", str(saved)]) == 0
        captured = capsys.readouterr()
        assert captured.err == ""

        model = acdc_explorer.load_model("mini")
        task = acdc_explorer.load_task("ioi", model, n_prompts=8, seed=3)
        circuit = acdc_explorer.find_circuit(model, task, threshold="30%")
        assert acdc_explorer.Circuit.load(saved).kept == circuit.kept
        assert f"{len(circuit.kept)} of {len(circuit.edges)}" in captured.out
        assert f"{circuit.metric_value:.4f}" in captured.out
        assert f"connected          {len(circuit.connected())} of them" in captured.out
        printed = [line.split()[0] for line in captured.out.splitlines() if "->" in line]
        kept = circuit.edges[circuit.edges["state"] == "kept"]
        by_size = kept.reindex(kept["effect"].abs().sort_values(ascending=False).index)
        assert printed == list(by_size["edge"][: cli.SHOWN_EDGES])

    def test_method_and_positions(self, capsys: pytest.CaptureFixture[str]) -> None:
        argv = ["search", "mini", "months", "--method", "path_patching", "--positions"]
        assert cli.main([*argv, "--threshold", "10%"]) == 0
        printed = [line for line in capsys.readouterr().out.splitlines() if "->" in line]
        model = acdc_explorer.load_model("mini")
        circuit = acdc_explorer.find_circuit(
            model, acdc_explorer.load_task("months", model), "10%",
            method="path_patching", positions=True,
        )  # fmt: skip
        assert {line.rsplit(maxsplit=1)[0].strip() for line in printed} == set(circuit.kept)

    @pytest.mark.parametrize(
        ("given", "passed"), [("7%", "7%"), ("0.5", 0.5), ("abc", "abc"), ("1e-3", 1e-3)]
    )
    def test_threshold_is_a_number_or_left_to_the_search(
        self, given: str, passed: float | str
    ) -> None:
        assert cli._number(given) == passed

    @pytest.mark.parametrize(
        ("argv", "names"),
        [
            (["search", "minu", "ioi"], "'mini'"),
            (["search", "mini", "ioj"], "'ioi'"),
            (["search", "mini", "ioi", "--threshold", "abc"], "abc"),
            (["search", "mini", "ioi", "--method", "acdcc"], "'acdc'"),
            (["search", "mini", "ioi", "--out", "no/such/folder/c.json"], "no/such/folder"),
            # Said before anything is loaded: this model does not exist.
            (["search", "minu", "ioi", "--out", "."], "--out: cannot write '.': it is a folder"),
        ],
    )
    def test_wrong_arguments_end_in_one_line(
        self, argv: list[str], names: str, cwd: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(argv) == 2
        assert names in one_error_line(capsys)

    def test_lines_of_a_message_are_joined(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def fail() -> pd.DataFrame:
            raise OSError("first\n  second")

        monkeypatch.setattr(acdc_explorer, "list_models", fail)
        assert cli.main(["models"]) == 2
        assert capsys.readouterr().err == "acdc-explorer: error: first second\n"

    def test_an_interrupt_is_no_traceback(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def interrupt() -> pd.DataFrame:
            raise KeyboardInterrupt

        monkeypatch.setattr(acdc_explorer, "list_models", interrupt)
        assert cli.main(["models"]) == 130
        assert capsys.readouterr().err == "acdc-explorer: interrupted\n"


class TestLists:
    @pytest.mark.parametrize(("command", "name"), [("models", "mini"), ("tasks", "ioi")])
    def test_lists(self, command: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main([command]) == 0
        assert name in capsys.readouterr().out.split()

    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as stop:
            cli.main(["--version"])
        assert stop.value.code == 0
        assert capsys.readouterr().out == f"acdc-explorer {acdc_explorer.__version__}\n"

    def test_unknown_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as stop:
            cli.main(["serch"])
        assert stop.value.code == 2
        assert "serch" in capsys.readouterr().err

    def test_help_imports_nothing_heavy(self) -> None:
        code = (
            "import sys\n"
            "from acdc_explorer import cli\n"
            "cli.build_parser().format_help()\n"
            "print([m for m in ('torch', 'pandas', 'ipywidgets') if m in sys.modules])\n"
        )
        result = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert result.stdout.strip() == "[]"


def one_error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """Returns what stderr holds, having checked that it is one line of this program's."""
    error = capsys.readouterr().err
    assert error.startswith("acdc-explorer: error: ")
    assert error.count("\n") == 1
    return error.rstrip("\n")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_json(url: str, program: subprocess.Popen[bytes], log: Path) -> dict[str, object]:
    """Returns what `url` answers, as soon as it does; fails with the log if the program ends."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if program.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                result: dict[str, object] = json.load(answer)
                return result
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise AssertionError(f"no answer from {url}; the log says:\n{log.read_text()}")
