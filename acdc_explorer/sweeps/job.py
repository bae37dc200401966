"""What a worker does: one row of a sweep, from loading the model to writing the row's file."""

from __future__ import annotations

import os
import time
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from acdc_explorer.api import find_circuit
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.models.model import Model
from acdc_explorer.progress import Progress, heard_by
from acdc_explorer.sweeps.claims import Owner, claim_path, try_claim
from acdc_explorer.sweeps.row import SweepRow
from acdc_explorer.sweeps.row_files import FAILED, path_of, whole_record, write_done, write_failed
from acdc_explorer.tasks.builtin.registry import load_task
from acdc_explorer.tasks.task import Task
from acdc_explorer.workers.references import model_of, reference_of

# How long a search that is over its time has to come to its next step and notice.
GRACE_SECONDS = 10.0
WRITTEN, BUSY, UNWRITABLE = "written", "busy", "unwritable"


class Job(NamedTuple):
    """A row as it is given to a worker, as plain data.

    Attributes:
        folder: of the sweep, by the same path for the worker as for whoever asks.
        settings: of the row, by name.
        asked_by: the process that asks.
        timeout: in seconds; None: as long as it takes.
        attempt: how often the row was given out before. Dask takes two equal jobs for one.
        retry_failed: whether a file that says that the row failed counts as none.
    """

    folder: str
    settings: dict[str, Any]
    asked_by: Owner
    timeout: float | None
    attempt: int
    retry_failed: bool = False


class Answer(NamedTuple):
    """What a worker says of a row.

    Attributes:
        state: WRITTEN: its file is there, whatever came of the row; BUSY: another process is at it;
            UNWRITABLE: its file cannot be written.
        why: in words, if it cannot.
    """

    state: str
    why: str = ""


def run_row(job: Job) -> Answer:
    """Searches one row and writes its file, unless it is there or another process is at it.

    A row that fails is written too, with its traceback.
    """
    row, folder = SweepRow.of(job.settings), Path(job.folder)
    clock = _Clock(folder, row, job.timeout, ends_process=not job.asked_by.is_this_process())
    claim = None
    try:
        claim = try_claim(path_of(folder, row), clock.end_what_hangs)
        if claim is None:
            return Answer(BUSY)
        # It may have been written since it was given out.
        if not _is_written(folder, row, job.retry_failed):
            _search_and_write(folder, row, clock)
    except OSError as error:
        return Answer(UNWRITABLE, f"{type(error).__name__}: {error}")
    finally:
        if claim is not None:
            claim.release()
    return Answer(WRITTEN)


class _Clock:
    """Ends what takes longer than it may."""

    def __init__(self, folder: Path, row: SweepRow, timeout: float | None, ends_process: bool):
        self._folder, self._row, self._timeout = folder, row, timeout
        self._ends_process = ends_process
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the row was begun."""
        return time.monotonic() - self._started

    @property
    def is_set(self) -> bool:
        """Whether there is a time after which the row fails."""
        return self._timeout is not None

    def check(self, progress: Progress) -> None:
        """Raises a TimeoutError once time is over; called at every step of what takes long."""
        if self._is_over() and not progress.ended:
            raise self._error()

    def end_what_hangs(self) -> None:
        """Ends the worker's process, if it hangs in a step; called on another thread."""
        if self._ends_process and self._is_over(GRACE_SECONDS):
            try:
                write_failed(self._folder, self._row, self._error(), self.seconds)
                claim_path(path_of(self._folder, self._row)).unlink(missing_ok=True)
            finally:
                os._exit(1)

    def _is_over(self, grace: float = 0.0) -> bool:
        return self._timeout is not None and self.seconds > self._timeout + grace

    def _error(self) -> TimeoutError:
        return TimeoutError(f"it took longer than the timeout of {self._timeout:g} seconds")


def _is_written(folder: Path, row: SweepRow, retry_failed: bool) -> bool:
    # One that is damaged is to be written again.
    record = whole_record(path_of(folder, row))
    return record is not None and not (retry_failed and record["state"] == FAILED)


def _search_and_write(folder: Path, row: SweepRow, clock: _Clock) -> None:
    try:
        with heard_by(clock.check) if clock.is_set else nullcontext():
            circuit = _search(row)
    except Exception as error:
        write_failed(folder, row, error, clock.seconds)
    else:
        write_done(folder, row, circuit, clock.seconds)


def _search(row: SweepRow) -> Circuit:
    model = model_of(reference_of(row.model))
    task = _task_of(model, row.task, row.n_prompts, row.seed)
    return find_circuit(model, task, row.threshold, faithfulness=row.faithfulness, **row.options())


@lru_cache(maxsize=1)
def _task_of(model: Model, name: str, n_prompts: int, seed: int) -> Task:
    """The last task that was asked for: rows that follow one another often have the same one.

    Not more of them, since a task keeps its runs in memory.
    """
    return load_task(name, model, n_prompts, seed)
