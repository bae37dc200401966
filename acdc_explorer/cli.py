"""The command line. `acdc-explorer` opens the example notebook; other commands print or convert.

Everything heavy (torch, pandas, the engine) is imported inside the command that needs it, so that
`acdc-explorer --help` and a JupyterLab launch cost nothing.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acdc_explorer import __version__
from acdc_explorer.convert import add_convert
from acdc_explorer.sweeps.commands import add_commands as add_sweep_commands

if TYPE_CHECKING:
    from acdc_explorer.circuits.circuit import Circuit

PROGRAM = "acdc-explorer"
NOTEBOOK = "ioi.ipynb"
DEFAULT_FOLDER = "acdc_notebooks"
SHOWN_EDGES = 40
STOP_SECONDS = 15.0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status.

    Args:
        argv: the arguments after the program's name; those of this process when None.

    Returns:
        0; 1 if rows of a sweep failed; or 2 where an argument, a file or the network is at fault,
        after one line on stderr.
    """
    arguments = build_parser().parse_args(
        _with_default_command(sys.argv[1:] if argv is None else argv)
    )
    try:
        return int(arguments.command(arguments))
    except (ValueError, OSError) as error:
        # A message may hold line breaks of its own; what a script greps for is one line.
        print(f"{PROGRAM}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted", file=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of every command; each sets `command` to the function that runs it."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Find and explore a transformer's circuits. With no command: lab.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND")

    lab = commands.add_parser("lab", help="open the example notebook in JupyterLab (the default)")
    lab.add_argument("--no-browser", action="store_true", help="only print the address to open")
    lab.add_argument("--port", type=int, help="port of the server (default: JupyterLab's choice)")
    lab.add_argument(
        "--dir",
        type=Path,
        metavar="DIR",
        help=f"where your copy of the notebook lives (default: ./{DEFAULT_FOLDER})",
    )
    lab.set_defaults(command=_lab)

    search = commands.add_parser("search", help="find a circuit and print it")
    search.add_argument("model", metavar="MODEL", help="a name from `models`, or a model's folder")
    search.add_argument("task", metavar="TASK", help="a name from `tasks`")
    search.add_argument(
        "--threshold",
        help="in the metric's units, or in per cent of the clean metric (default: 7%%)",
    )
    search.add_argument(
        "--faithfulness",
        metavar="SHARE",
        help="instead of a threshold: the sparsest circuit that is so faithful, as 80%%",
    )
    search.add_argument(
        "--screen",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="for large models: edges whose predicted change is below this share of the threshold "
        "go untested; 0.5 is a good one (default: 0)",
    )
    search.add_argument(
        "--method",
        default="acdc",
        help="acdc (default), path_patching, eap, eap_ig, ceap or relp",
    )
    search.add_argument(
        "--positions", action="store_true", help="edges by token position, as the task labels them"
    )
    search.add_argument("--n-prompts", type=int, default=64, metavar="N", help="default: 64")
    search.add_argument("--seed", type=int, default=0, help="of the prompts (default: 0)")
    search.add_argument("--out", type=Path, metavar="FILE", help="save the whole circuit as JSON")
    search.set_defaults(command=_search)

    add_convert(commands.add_parser("convert", help="write a circuit's file in another format"))
    add_sweep_commands(commands)
    models = commands.add_parser("models", help="list the models known by name")
    models.set_defaults(command=_models)
    tasks = commands.add_parser("tasks", help="list the tasks")
    tasks.set_defaults(command=_tasks)
    return parser


def shipped_notebook() -> Path:
    """Returns the example notebook as shipped: the checkout's, else the installed one.

    Raises:
        FileNotFoundError: naming where it was looked for.
    """
    candidates = [
        Path(__file__).resolve().parents[1] / "notebooks" / NOTEBOOK,
        Path(sysconfig.get_path("data"), "share", "acdc_explorer", "notebooks", NOTEBOOK),
    ]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    looked = " and ".join(str(candidate) for candidate in candidates)
    raise FileNotFoundError(f"the example notebook is missing: looked for {looked}")


def working_copy(shipped: Path, folder: Path | None = None) -> Path:
    """Returns a copy of the notebook that the user may edit, making it if there is none.

    The other notebooks that lie beside it are copied too.

    A copy that is already there is never written to: the user's edits live in it.

    Args:
        shipped: the notebook to copy.
        folder: where the copy goes. When None: `acdc_notebooks` in the current folder, or in the
            home folder where the current one cannot be written to.

    Raises:
        OSError: no folder can be written to.
    """
    if folder is not None:
        return _copy_into(shipped, folder)
    try:
        return _copy_into(shipped, Path.cwd() / DEFAULT_FOLDER)
    except OSError:
        return _copy_into(shipped, Path.home() / DEFAULT_FOLDER)


def lab_command(notebook: Path, *, browser: bool = True, port: int | None = None) -> list[str]:
    """Returns the command that serves `notebook`, with the Python that runs this."""
    command = [sys.executable, "-m", "jupyterlab", str(notebook)]
    # So that the address it prints is the notebook's, for those who open it by hand.
    command.append(f"--LabApp.default_url=/lab/tree/{notebook.name}")
    # Ctrl-C already went to this program; the server is not to ask a second time.
    command.append("--ServerApp.answer_yes=True")
    if not browser:
        command.append("--no-browser")
    if port is not None:
        command.append(f"--ServerApp.port={port}")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        # A container's only user is root; JupyterLab would refuse to start.
        command.append("--allow-root")
    return command


def run_server(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Runs a server until it ends or this process is interrupted, and leaves none behind.

    Args:
        command: the command line.
        environment: its environment variables.

    Returns:
        The server's exit status; 0 after an interrupt, which is how one ends a server.
    """
    with subprocess.Popen(command, env=dict(environment)) as server:
        previous = signal.signal(signal.SIGTERM, _interrupt)
        try:
            return server.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            _stop(server)
            signal.signal(signal.SIGTERM, previous)


def _lab(arguments: argparse.Namespace) -> int:
    if importlib.util.find_spec("jupyterlab") is None:
        raise ValueError(
            "JupyterLab is not installed in this Python. It comes with the extra `lab`: "
            "pip install 'acdc_explorer[lab]' (in a checkout: pip install -e '.[lab]')"
        )
    if arguments.port is not None and not 1 <= arguments.port <= 65535:
        raise ValueError(f"--port must be between 1 and 65535, not {arguments.port}")
    shipped = shipped_notebook()
    notebook = working_copy(shipped, arguments.dir)
    print(f"Your notebook: {notebook}")
    if notebook.read_bytes() != shipped.read_bytes():
        print(
            "It differs from the one shipped, and is opened as you left it. "
            "For a fresh copy, rename it or pass --dir with another folder."
        )
    sys.stdout.flush()
    command = lab_command(notebook, browser=not arguments.no_browser, port=arguments.port)
    # The kernel must be the Python that has acdc_explorer, not a `python3` kernel that the user
    # once registered from another environment.
    environment = {"JUPYTER_PREFER_ENV_PATH": "1", **os.environ}
    return run_server(command, environment)


def _search(arguments: argparse.Namespace) -> int:
    import acdc_explorer as ax
    from acdc_explorer.files import check_writable

    if arguments.out is not None:
        # Said now, not after the search.
        try:
            check_writable(arguments.out)
        except ValueError as error:
            raise ValueError(f"--out: {error}") from None
    started = time.perf_counter()
    # On a terminal alone: a log or a pipe is no place for bars.
    ax.show_progress(sys.stderr.isatty())
    model = ax.load_model(arguments.model)
    task = ax.load_task(arguments.task, model, n_prompts=arguments.n_prompts, seed=arguments.seed)
    circuit = ax.find_circuit(
        model,
        task,
        threshold=_number(arguments.threshold),
        faithfulness=_number(arguments.faithfulness),
        screen=arguments.screen,
        method=arguments.method,
        positions=arguments.positions,
    )
    if arguments.out is not None:
        circuit.save(arguments.out)
    print(_report(circuit))
    print(f"seconds            {time.perf_counter() - started:.1f}")
    if arguments.out is not None:
        print(f"saved              {arguments.out}")
    return 0


def _models(arguments: argparse.Namespace) -> int:
    import acdc_explorer as ax

    print(ax.list_models().to_string(index=False))
    return 0


def _tasks(arguments: argparse.Namespace) -> int:
    import acdc_explorer as ax

    print(ax.list_tasks().to_string(index=False))
    return 0


def _report(circuit: Circuit) -> str:
    """Returns the kept edges, largest effect first, and below them where the circuit stands."""
    edges = circuit.edges
    kept = edges[edges["state"] == "kept"].sort_values("effect", key=abs, ascending=False)
    wide = max([28, *(len(edge) + 2 for edge in kept["edge"][:SHOWN_EDGES])])
    lines = [f"{'edge':<{wide}}{'effect':>10}"]
    lines += [
        f"{edge:<{wide}}{effect:>+10.4f}"
        for edge, effect in zip(kept["edge"][:SHOWN_EDGES], kept["effect"], strict=False)
    ]
    if len(kept) > SHOWN_EDGES:
        lines.append(f"... and {len(kept) - SHOWN_EDGES} more (--out FILE saves them all)")
    low, high = circuit.valid_interval
    screened = f", {circuit.n_screened} screened" if circuit.n_screened else ""
    facts: dict[str, Any] = {
        "edges kept": f"{len(kept)} of {len(edges)} ({circuit.n_tested} tested{screened})",
        "connected": f"{len(circuit.connected())} of them, on paths from input to logits",
        "full model": f"{circuit.full_metric:.4f}",
        "circuit": f"{circuit.metric_value:.4f}",
        "corrupted": f"{circuit.corrupted_metric:.4f}",
        "faithfulness": f"{circuit.faithfulness:.1%}",
        "threshold": f"{circuit.threshold:.4g}",
        "same circuit for": f"thresholds in ({low:.4g}, {high:.4g}]",
    }
    return "\n".join([*lines, "", *(f"{name:<19}{value}" for name, value in facts.items())])


def _number(text: str | None) -> float | str | None:
    """Returns a number where `text` is one; else `text`, for the search to read or refuse."""
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        return text


def _copy_into(shipped: Path, folder: Path) -> Path:
    folder = folder.expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    # The others too: the first one points to them.
    for notebook in sorted(shipped.parent.glob("*.ipynb")):
        copy = folder / notebook.name
        if not copy.exists():
            # "x": should another process make it first, that one is kept.
            with copy.open("xb") as target, notebook.open("rb") as source:
                shutil.copyfileobj(source, target)
    return folder / shipped.name


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def _stop(server: subprocess.Popen[bytes]) -> None:
    """Ends the server and, through it, its kernels; by force only if it does not go."""
    if server.poll() is not None:
        return
    server.terminate()
    try:
        server.wait(STOP_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        server.kill()
        server.wait()


def _with_default_command(argv: Sequence[str]) -> list[str]:
    """Returns `argv` with `lab` put before it where it names no command."""
    if argv and (not argv[0].startswith("-") or argv[0] in {"-h", "--help", "--version"}):
        return list(argv)
    return ["lab", *argv]


if __name__ == "__main__":
    sys.exit(main())
