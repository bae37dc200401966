"""Giving out a sweep's rows until each has its file, whatever becomes of the workers."""

from __future__ import annotations

import math
import os
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from acdc_explorer.progress import working_on
from acdc_explorer.sweeps.claims import Owner, claim_path, end_children, is_claimed
from acdc_explorer.sweeps.job import BUSY, UNWRITABLE, WRITTEN, Answer, Job, run_row
from acdc_explorer.sweeps.row import SweepRow
from acdc_explorer.sweeps.row_files import FAILED, path_of, stamp_of, whole_record, write_failed
from acdc_explorer.workers.executor import Executor, LocalExecutor, local_executor
from acdc_explorer.workers.gathering import gather

# How often to look whether another sweep has come to the end of a row.
_POLL_SECONDS = 0.5
# So many rows are given out at once: clusters refuse more, and looking after each takes time.
MOST_GIVEN_OUT = 1000
# How late a file may be that was written on another machine.
_LATE_SECONDS = 60.0
# So often in a row worker processes may end before they begin with any row.
_FALSE_STARTS = 3
# For worker processes to start, and to end a row that is over its time, before they are taken to be
# stopped altogether.
STILL_SECONDS = 60.0
# How long workers that were told to end are waited for, before their claims are taken away.
_ENDING_SECONDS = 5.0


class LostRowError(RuntimeError):
    """A row whose worker ended, or answered without having written a file, twice."""


class _Lost(NamedTuple):
    """A row that came back without its file, and what came back instead."""

    row: SweepRow
    answer: Any


class _GivenOut(NamedTuple):
    """Rows that have no file after they were given out.

    Attributes:
        lost: begun by a worker that ended or answered something else.
        unbegun: given out when the worker processes ended, before any of these was at them.
        busy: somebody else is at them.
    """

    lost: list[_Lost]
    unbegun: list[SweepRow]
    busy: list[SweepRow]


class SweepRun:
    """The rows of one call of `sweep`, on their way to their files.

    A row that a worker was at when it ended may be what ended it. When one of a pool's processes
    is killed, all of them end, those beside it too. So rows that were begun are given out again one
    at a time, which shows whose fault it was: one that is lost a second time has failed.
    """

    def __init__(
        self,
        folder: Path,
        executor: Executor | None,
        n_workers: int | None,
        timeout: float | None,
        done: Callable[[int], None],
        *,
        retry_failed: bool = False,
    ):
        """Starts nothing yet.

        Args:
            folder: where the files go.
            executor: the user's; None: worker processes are started here, anew if they end.
            n_workers: how many of these; None: as many as there are GPUs or cores.
            timeout: of a row, in seconds, or None.
            done: called with the number of rows that have their file.
            retry_failed: whether the files of rows that failed before count as none. They stay
                until they are overwritten.
        """
        self._folder, self._executor, self._n_workers = folder, executor, n_workers
        self._timeout, self._done, self._retry_failed = timeout, done, retry_failed
        # Of rows that failed before: which file says so.
        self._failed_before: dict[str, tuple[int, int]] = {}
        self._n_done, self._n_false_starts = 0, 0
        self._attempts = Counter[str]()
        # The processes that were started here, while there are any.
        self._pool: LocalExecutor | None = None

    def run(self, rows: Sequence[SweepRow]) -> None:
        """Has all rows searched.

        Args:
            rows: without a file, with a damaged one, or that failed and are to be searched again.

        Raises:
            OSError: if a file cannot be written.
            RuntimeError: if workers end before they begin a row, or the user's executor is broken.
        """
        waiting, busy = list(rows), list[SweepRow]()
        if self._retry_failed:
            for row in rows:
                record = whole_record(path_of(self._folder, row))
                if record is not None and record["state"] == FAILED:
                    self._failed_before[row.key] = stamp_of(path_of(self._folder, row))
        # What a killed sweep has left would look like rows that workers of this one have begun.
        self._take_claims_away(rows)
        try:
            while waiting or busy:
                found = self._give_out(waiting[:MOST_GIVEN_OUT])
                waiting = found.unbegun + waiting[MOST_GIVEN_OUT:]
                busy += found.busy
                for lost in found.lost:
                    again = self._try_alone(lost)
                    waiting += again.unbegun
                    busy += again.busy
                if not waiting:
                    waiting, busy = self._wait_for_others(busy)
        except BaseException as error:
            # The user's own workers stay, whatever they are at.
            if self._executor is None and isinstance(error, KeyboardInterrupt):
                self._end_workers(rows)
            if self._pool is not None:
                # In place of waiting until they have done what they are at.
                self._pool.end()
                self._pool = None
            self._take_claims_away(rows, _ENDING_SECONDS)
            raise
        self._close_pool()

    def _give_out(self, rows: Sequence[SweepRow]) -> _GivenOut:
        """Gives rows to the workers, and waits until each has come back."""
        found = _GivenOut([], [], [])
        broken: list[_Lost] = []
        hung: list[SweepRow] = []
        # A row is over once it has taken its time, but on a cluster it may wait for days to begin.
        patience = math.inf
        if self._timeout is not None and self._executor is None:
            patience = self._timeout + STILL_SECONDS
        jobs = [self._job(row) for row in rows]
        # Closed, however this is left, so that what has not begun is cancelled.
        with closing(gather(self._workers(), run_row, jobs, patience=patience)) as answers:
            for number, answer in answers:
                row = rows[number]
                stands_still = isinstance(answer, TimeoutError) and patience < math.inf
                if stands_still and not broken:
                    self._end_workers(rows, by_force=True)
                # Whatever a worker says is told apart by what it is: it may be garbage.
                state, why = answer if isinstance(answer, Answer) else ("", "")
                if state == WRITTEN and not self._appears(row):
                    state, why = UNWRITABLE, "a worker has written it, but it is not there"
                if state == UNWRITABLE:
                    raise OSError(
                        f"a row's file cannot be written to {str(self._folder)!r} ({why}). The "
                        "rows that are done are there; the same call goes on from them. Workers "
                        "elsewhere must see the folder by this very path"
                    )
                if self._has_file(row):
                    self._count(1)
                    if isinstance(answer, BrokenExecutor) and self._is_over_time(row):
                        hung.append(row)
                elif state == BUSY:
                    found.busy.append(row)
                elif stands_still or isinstance(answer, BrokenExecutor):
                    broken.append(_Lost(row, answer))
                else:
                    found.lost.append(_Lost(row, answer))
        if broken:
            self._sort_out(broken, found, hung)
        return found

    def _sort_out(
        self, broken: Sequence[_Lost], found: _GivenOut, hung: Sequence[SweepRow]
    ) -> None:
        """Finds out which rows a broken pool was at, and lets go of the pool.

        Args:
            broken: what came back of it.
            found: to which these rows are added.
            hung: rows whose time was over, which ends the worker that is at one.

        Raises:
            RuntimeError: if a new pool would not help, or the pool is the user's.
        """
        reason = broken[0].answer
        if self._executor is not None:
            why = "one of its workers was killed, perhaps for want of memory"
            if hung:
                why = f"a row hung until its TimeoutError, which ended its worker: {hung[0]}"
            raise RuntimeError(
                f"the executor is broken ({reason}): {why}. The rows that are done are in the "
                "folder; the same call with a new executor goes on from them"
            ) from reason
        # Only once its processes have ended is it known which claims are of others.
        self._close_pool()
        self._n_false_starts += 1
        for lost in broken:
            path = path_of(self._folder, lost.row)
            if self._has_file(lost.row):
                self._count(1)
            elif is_claimed(path):
                found.busy.append(lost.row)
            elif claim_path(path).exists():
                found.lost.append(lost)
                self._n_false_starts = 0
            else:
                found.unbegun.append(lost.row)
        if self._n_false_starts >= _FALSE_STARTS:
            raise RuntimeError(
                f"worker processes end before they begin a row, {_FALSE_STARTS} times by now. A "
                'script must call sweep under `if __name__ == "__main__":`, since each worker '
                "imports it"
            ) from reason

    def _try_alone(self, lost: _Lost) -> _GivenOut:
        """Gives out a row that was lost, with no other beside it; it fails if it is lost again."""
        warnings.warn(
            f"a worker was lost at a row ({_in_words(lost.answer)}), which is now searched again "
            f"with no other beside it: {lost.row}",
            stacklevel=5,
        )
        again = self._give_out([lost.row])
        for row, answer in again.lost:
            error = LostRowError(
                "the row was lost twice, the second time with no other beside it: "
                f"{_in_words(answer)}. A worker process that is killed was often out of memory"
            )
            error.__cause__ = answer if isinstance(answer, Exception) else None
            claim_path(path_of(self._folder, row)).unlink(missing_ok=True)
            write_failed(self._folder, row, error, None)
            self._count(1)
        return again

    def _wait_for_others(self, busy: list[SweepRow]) -> tuple[list[SweepRow], list[SweepRow]]:
        """Waits until all rows that others are at have their files, or some are left by them.

        Returns:
            Those that were left, and those that somebody is still at.
        """
        if not busy:
            return [], []
        with working_on(f"waiting for another sweep's workers, who are at {len(busy):,} rows"):
            while True:
                n_before = len(busy)
                busy = [row for row in busy if not self._has_file(row)]
                self._count(n_before - len(busy))
                left = [row for row in busy if not is_claimed(path_of(self._folder, row))]
                if left or not busy:
                    return left, [row for row in busy if row not in left]
                time.sleep(_POLL_SECONDS)

    def _job(self, row: SweepRow) -> Job:
        attempt = self._attempts[row.key]
        self._attempts[row.key] += 1
        asked_by = Owner.this_process()
        retry_failed = row.key in self._failed_before
        return Job(str(self._folder), row.as_dict(), asked_by, self._timeout, attempt, retry_failed)

    def _has_file(self, row: SweepRow) -> bool:
        path = path_of(self._folder, row)
        if whole_record(path) is None:
            return False
        before = self._failed_before.get(row.key)
        return before is None or before != stamp_of(path)

    def _is_over_time(self, row: SweepRow) -> bool:
        """Whether a row failed since its time was over."""
        record = whole_record(path_of(self._folder, row))
        if record is None or record["state"] != FAILED:
            return False
        return bool(record["error"]["type"] == TimeoutError.__name__)

    def _appears(self, row: SweepRow) -> bool:
        """Whether a file that a worker has written is there; on a network's disk it may be late."""
        until = time.monotonic() + _LATE_SECONDS
        while not self._has_file(row):
            if time.monotonic() > until:
                return False
            time.sleep(_POLL_SECONDS)
            # Has the system ask the disk again.
            os.listdir(self._folder)
        return True

    def _count(self, n_rows: int) -> None:
        self._n_done += n_rows
        if n_rows:
            self._n_false_starts = 0
            self._done(self._n_done)

    def _workers(self) -> Executor:
        if self._executor is not None:
            return self._executor
        if self._pool is None:
            self._pool = local_executor(self._n_workers)
            # Raises at once if this process may start no others, as when a worker imports a
            # script that sweeps without a guard. Later that would look like a row's fault.
            self._pool.submit(int)
        return self._pool

    def _close_pool(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def _end_workers(self, rows: Sequence[SweepRow], *, by_force: bool = False) -> None:
        """Ends the processes that were started here and are at some rows."""
        end_children([path_of(self._folder, row) for row in rows], by_force=by_force)

    def _take_claims_away(self, rows: Sequence[SweepRow], seconds: float = 0.0) -> None:
        """Those of processes that have ended, or do so in a little while."""
        until = time.monotonic() + seconds
        left = [path_of(self._folder, row) for row in rows]
        while left:
            for path in left:
                if not is_claimed(path):
                    claim_path(path).unlink(missing_ok=True)
            left = [path for path in left if claim_path(path).exists()]
            if time.monotonic() > until:
                return
            time.sleep(0.1)


def _in_words(answer: Any) -> str:
    """What came back in place of a row's file."""
    if isinstance(answer, Exception):
        return f"{type(answer).__name__}: {answer}"
    return f"it answered {answer!r}, and there is no file"
