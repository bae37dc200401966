"""How many rows of a sweep are searched in a minute, and what each costs beside its search.

The same rows, IOI on `mini` at thresholds that differ, are searched by a plain loop over
`find_circuit`, then by sweeps with 1 and 2 workers. Prints a table in Markdown. Workers are started
and have loaded the model before the clock starts; what that takes is told by itself. `--rows` sets
how many rows.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from typing import Any

import acdc_explorer as ax
from acdc_explorer.sweeps.grid import rows_of
from acdc_explorer.workers.executor import local_executor

N_PROMPTS = 64


def grid_of(n_rows: int, *, first: int = 0) -> dict[str, Any]:
    """So many rows, none of which is in another such grid."""
    thresholds = [f"{7 + number / 1000}%" for number in range(first, first + n_rows)]
    return {"models": "mini", "tasks": "ioi", "n_prompts": N_PROMPTS, "thresholds": thresholds}


def in_a_loop(n_rows: int) -> float:
    """Seconds of a loop over the searches alone, once model and task are loaded."""
    model = ax.load_model("mini")
    task = ax.load_task("ioi", model, N_PROMPTS)
    ax.find_circuit(model, task, "7%")
    started = time.perf_counter()
    for row in rows_of(grid_of(n_rows)):
        ax.find_circuit(model, task, row.threshold)
    return time.perf_counter() - started


def in_a_sweep(n_rows: int, n_workers: int) -> tuple[float, float, float]:
    """Seconds to start the workers, of the sweep, and of its rows as the workers measured them."""
    with tempfile.TemporaryDirectory() as folder, local_executor(n_workers) as executor:
        started = time.perf_counter()
        ax.sweep(grid_of(4 * n_workers, first=n_rows), folder, executor)
        begun = time.perf_counter()
        table = ax.sweep(grid_of(n_rows), folder, executor)
        ended = time.perf_counter()
    return begun - started, ended - begun, float(table["seconds"].sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100)
    n_rows = parser.parse_args().rows
    seconds = in_a_loop(n_rows)
    print("| | rows per minute | per row | of it beside the search | workers started in |")
    print("|---|---|---|---|---|")
    each = seconds / n_rows
    print(f"| a loop | {60 / each:,.0f} | {each * 1000:.0f} ms | | |")
    for n_workers in (1, 2):
        start, took, in_rows = in_a_sweep(n_rows, n_workers)
        each = took / n_rows
        beside = n_workers * each - in_rows / n_rows
        print(
            f"| {n_workers} worker{'s' * (n_workers > 1)} | {60 / each:,.0f} | "
            f"{each * 1000:.0f} ms | {beside * 1000:.0f} ms | {start:.0f} s |"
        )


if __name__ == "__main__":
    main()
