"""What comes back from workers, as it comes; what does not is told, and can be done here."""

from __future__ import annotations

import concurrent.futures
import math
import threading
import time
import warnings
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

from acdc_explorer.workers.executor import Executor, Future, check_executor

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")

# How often to look whether something is done, where nothing tells.
_POLL_SECONDS = 0.05
# After so long without word from any worker, jobs are done here too, beginning with the last.
PATIENCE_SECONDS = 1800.0

# Two threads of a worker would share the caches of one engine.
_one_at_a_time = threading.RLock()


def gather(
    executor: Executor,
    function: Callable[[_Job], _Result],
    jobs: Sequence[_Job],
    *,
    patience: float = math.inf,
) -> Generator[tuple[int, _Result | Exception], None, None]:
    """Has a function called with each of some jobs, and yields what it returns as it comes.

    Args:
        executor: runs them.
        function: of one argument, the job; it can be pickled, as one at the top of a module can.
        jobs: plain data. Those that come first are begun first.
        patience: seconds. If nothing has come for so long, the last job is given up (its result is
            a TimeoutError), then, each time that this is iterated, the last of those left, until
            a worker is heard of again.

    Yields:
        The number of a job with what the function returned, or with the exception that it raised,
        or that says why there is no result: of a process that has been killed, say. Each job comes
        once, in the order in which they end. If the iterator is left, by an interrupt too, jobs
        that have not begun are cancelled.

    Raises:
        ValueError: if the executor is none.
    """
    check_executor(executor)
    pending: dict[int, Future] = {}
    refused: dict[int, Exception] = {}
    try:
        for number, job in enumerate(jobs):
            try:
                pending[number] = executor.submit(_run, function, job)
            except Exception as error:
                # As an executor does whose processes have been killed.
                refused[number] = error
        yield from refused.items()
        allowed = patience
        while pending:
            done = _wait(pending, allowed)
            for number in done:
                yield number, _outcome(pending.pop(number))
            allowed = patience
            if not done:
                last = max(pending)
                _cancel(pending.pop(last))
                yield last, TimeoutError(f"no word from any worker for {patience:.0f} s")
                allowed = 0.0
    finally:
        for future in pending.values():
            _cancel(future)


def gather_all(
    executor: Executor,
    function: Callable[[_Job], _Result],
    jobs: Sequence[_Job],
    check: Callable[[_Job, Any], None],
    what: str,
    *,
    patience: float = PATIENCE_SECONDS,
) -> Generator[tuple[int, _Result], None, None]:
    """Like `gather`, but no job is lost: what no worker has done is done in this process.

    Args:
        executor: as for `gather`; so are the others.
        function: likewise.
        jobs: likewise.
        check: called with a job and its result; raises a ValueError for one that cannot be right.
        what: a job is, in words, as "part of the verification", for the warning.
        patience: likewise.

    Yields:
        The number of a job, and its result.

    Raises:
        Exception: what the function, or the check of its result, raises here as well.
    """
    reasons: list[str] = []
    outcomes = gather(executor, function, jobs, patience=patience)
    try:
        for number, outcome in outcomes:
            try:
                if isinstance(outcome, Exception):
                    raise outcome
                check(jobs[number], outcome)
                result = outcome
            except Exception as error:
                result = _run(function, jobs[number])
                check(jobs[number], result)
                reasons.append(f"{type(error).__name__}: {error}")
            yield number, result
    finally:
        outcomes.close()
        if reasons:
            warnings.warn(
                f"{len(reasons)} of {len(jobs)} jobs ({what}) failed on the workers and were done "
                f"in this process, with the same result. The first failure: {reasons[0]}",
                RuntimeWarning,
                stacklevel=2,
            )


def _run(function: Callable[[_Job], _Result], job: _Job) -> _Result:
    with _one_at_a_time:
        return function(job)


def _wait(pending: dict[int, Future], seconds: float) -> list[int]:
    """Waits until some futures are done, for so long at most; returns their numbers."""
    until = time.monotonic() + seconds
    while True:
        done = [number for number, future in pending.items() if future.done()]
        left = until - time.monotonic()
        if done or left <= 0:
            return done
        futures = [*pending.values()]
        if all(isinstance(future, concurrent.futures.Future) for future in futures):
            concurrent.futures.wait(
                futures,  # type: ignore[arg-type]
                timeout=None if math.isinf(left) else left,
                return_when=concurrent.futures.FIRST_COMPLETED,
            )
        else:
            time.sleep(min(left, _POLL_SECONDS))


def _outcome(future: Future) -> Any:
    try:
        return future.result()
    except Exception as error:
        return error


def _cancel(future: Future) -> None:
    """Cancels it if it can be; one that runs goes on, and is not waited for."""
    cancel = getattr(future, "cancel", None)
    if cancel is not None:
        cancel()
