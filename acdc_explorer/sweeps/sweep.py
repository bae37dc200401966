"""Many searches by one call, on whatever runs functions, in a folder that outlives it."""

from __future__ import annotations

import math
import os
import warnings
from pathlib import Path
from typing import Any

import pandas as pd

from acdc_explorer.errors import check_whole_number
from acdc_explorer.progress import working_on
from acdc_explorer.sweeps.grid import Grid, rows_of
from acdc_explorer.sweeps.row import SweepRow
from acdc_explorer.sweeps.row_files import FAILED, folder_of, path_of, read_record
from acdc_explorer.sweeps.running import SweepRun
from acdc_explorer.sweeps.table import table_of
from acdc_explorer.workers.executor import Executor, check_executor


def sweep(
    grid: Grid,
    out: str | os.PathLike[str] = "runs/",
    executor: Executor | None = None,
    *,
    n_workers: int | None = None,
    timeout: float | None = None,
    retry_failed: bool = False,
) -> pd.DataFrame:
    """Finds the circuit of every row of a grid, each in a job of its own, each in a file.

    A row whose file is in the folder is not searched again, so that the same call goes on where one
    was interrupted, and two sweeps on one folder share its rows. A row that fails is a row too,
    with its traceback.

    A script that calls this without an executor, or with one of processes, does so under
    `if __name__ == "__main__":`. `show_progress` shows how many rows are done, and the time left.

    Args:
        grid: a mapping of lists, as `{"models": ["mini"], "tasks": ["ioi"], "thresholds": ["3%",
            "7%"], "seeds": range(3)}`, for every combination; a list of such mappings, for those of
            each; or a DataFrame, with a row for each search. Settings are model and task, which
            must be there; n_prompts and seed, as in `load_task`; threshold, faithfulness, method,
            rule, order, order_seed, ablation, positions, split_qkv, screen and top_n, as in
            `find_circuit`; each of them in the singular or the plural. Random orders go by the
            row's seed where no order_seed is given. Models are given by what every worker can load:
            a name, a folder or a file.
        out: the folder, made if it is not there. Workers elsewhere must see it by the same path.
            Each row's file opens with `Circuit.load`.
        executor: where jobs run: a `concurrent.futures.ProcessPoolExecutor` that spawns its
            processes (in forked ones PyTorch hangs), a `dask.distributed.Client`, a
            `submitit.AutoExecutor`, or anything else with `submit(function, *arguments)`. By
            default worker processes on this machine, which end
            with the call (`workers.local_executor`).
        n_workers: of these, how many; by default one for each GPU, or for each core.
        timeout: seconds after which a row fails, at the next step of its search. A row that hangs
            within a step ends its worker process; others are started in its place where they are
            this call's own. A `ProcessPoolExecutor` of yours is broken by that, and the sweep ends
            with a RuntimeError; a thread cannot be ended at all.
        retry_failed: whether rows that failed before are searched again. Their files stay until
            they are overwritten.

    Returns:
        One row for each row of the grid: its settings (`faithfulness`, if asked for, as `target`);
        state ("done" or "failed"); of the circuit kept and connected (edges), edges (of the model),
        tested, faithfulness, metric (its name), full, corrupted, value (the metric's), and its
        threshold in the metric's units, threshold_value, with the ends of the interval of
        thresholds that give the same circuit, same_from and same_to; seconds; error and traceback
        of a row that failed; file, which `Circuit.load` opens.

    Raises:
        ValueError: if the grid or another argument is wrong, before anything is searched.
        OSError: if a file cannot be written, as on a full disk. What is done is in the folder.
        RuntimeError: if workers end as soon as they start, or an executor of yours is broken
            because one of its workers was killed. Likewise.
    """
    rows = rows_of(grid)
    if executor is not None:
        check_executor(executor)
        if n_workers is not None:
            raise ValueError("n_workers goes without executor, which has its own workers")
    elif n_workers is not None:
        check_whole_number("n_workers", n_workers, 1)
    is_number = isinstance(timeout, (int, float)) and not isinstance(timeout, bool)
    if timeout is not None and not (is_number and 0 < timeout < math.inf):
        raise ValueError(f"timeout must be a number of seconds above 0, or None; got {timeout!r}")

    try:
        folder = folder_of(out)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"out cannot be made as a folder: {error}") from None

    todo = [row for row in rows if _is_to_be_done(folder, row, retry_failed)]
    # Those of the same prompts one after another: a worker keeps the last ones' runs.
    todo.sort(key=_prompts)
    if todo:
        n_there = len(rows) - len(todo)
        were_there = f" ({n_there:,} more were there)" if n_there else ""
        with working_on(f"sweeping{were_there}: rows", len(todo)) as done:
            run = SweepRun(folder, executor, n_workers, timeout, done, retry_failed=retry_failed)
            run.run(todo)
    table = table_of(folder, rows)
    n_failed = int((table["state"] == FAILED).sum())
    if n_failed:
        warnings.warn(
            f"{n_failed} of {len(table)} rows failed; the table's columns error and traceback say "
            "why. They are tried again with retry_failed=True",
            stacklevel=2,
        )
    return table


def _is_to_be_done(folder: Path, row: SweepRow, retry_failed: bool) -> bool:
    """Whether a row has to be searched."""
    path = path_of(folder, row)
    try:
        record = read_record(path)
    except ValueError as error:
        warnings.warn(f"{error}; it is searched again", stacklevel=3)
        return True
    return record is None or (record["state"] == FAILED and retry_failed)


def _prompts(row: SweepRow) -> tuple[Any, ...]:
    """What tells the runs of one row from those of another."""
    return row.model, row.task, row.n_prompts, row.seed, row.ablation, row.positions, row.split_qkv
