"""What the command line knows of sweeps: `sweep` and `show`.

Everything heavy is imported inside the command that needs it, as in `cli`.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from typing import Any


def add_commands(commands: Any) -> None:
    """Adds the parsers of both commands.

    Args:
        commands: what `ArgumentParser.add_subparsers` returned.
    """
    sweep = commands.add_parser("sweep", help="find a circuit for every row of a grid")
    sweep.add_argument("grid", type=Path, metavar="GRID", help="a .yaml, .json or .csv file")
    sweep.add_argument(
        "--out", type=Path, default=Path("runs"), metavar="DIR", help="default: ./runs"
    )
    sweep.add_argument(
        "--workers", type=int, metavar="N", help="processes (default: one for each GPU or core)"
    )
    sweep.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="after which a row fails (default: never)"
    )
    sweep.add_argument(
        "--retry-failed", action="store_true", help="search rows again that failed before"
    )
    sweep.set_defaults(command=_sweep)

    show = commands.add_parser("show", help="print the table of a sweep's folder")
    show.add_argument("folder", type=Path, metavar="DIR")
    show.set_defaults(command=_show)


def _sweep(arguments: argparse.Namespace) -> int:
    """Returns 1 if some rows failed, else 0."""
    from acdc_explorer.progress import show_progress
    from acdc_explorer.sweeps.grid import read_grid
    from acdc_explorer.sweeps.row_files import FAILED
    from acdc_explorer.sweeps.sweep import sweep
    from acdc_explorer.sweeps.table import shown_table

    # On a terminal alone: a log or a pipe is no place for bars.
    show_progress(sys.stderr.isatty())
    try:
        with warnings.catch_warnings():
            # The table says so.
            warnings.filterwarnings("ignore", message=r".* rows failed;")
            table = sweep(
                read_grid(arguments.grid),
                arguments.out,
                n_workers=arguments.workers,
                timeout=arguments.timeout,
                retry_failed=arguments.retry_failed,
            )
    except KeyboardInterrupt:
        print(f"what is done is in {arguments.out}; the same command goes on", file=sys.stderr)
        raise
    except RuntimeError as error:
        # Workers that end: told in one line, like what is wrong with the arguments.
        raise ValueError(str(error)) from error
    print(shown_table(table))
    return int((table["state"] == FAILED).any())


def _show(arguments: argparse.Namespace) -> int:
    from acdc_explorer.sweeps.table import n_running, read_sweep, shown_table

    print(shown_table(read_sweep(arguments.folder)))
    running = n_running(arguments.folder)
    if running:
        print(f"{running:,} more running")
    return 0
