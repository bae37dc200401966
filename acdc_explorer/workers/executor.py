"""Where work runs: anything with `submit`, and worker processes on this machine.

No module that a starting worker imports from here may import torch at its top: a worker is told
which GPU is its own before torch looks for them.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Protocol, runtime_checkable

from acdc_explorer.errors import check_whole_number

# What has nothing to do ends at once.
_SECONDS_TO_END = 2.0


class Future(Protocol):
    """The promise of one result."""

    def done(self) -> bool:
        """Whether there is a result, or an error in its place."""

    def result(self) -> Any:
        """The result; raises the error that there is in its place."""


@runtime_checkable
class Executor(Protocol):
    """What runs functions elsewhere.

    A `concurrent.futures.ProcessPoolExecutor` that spawns its processes, a
    `dask.distributed.Client`, a `submitit.AutoExecutor` are such, and whatever else has this
    method. Work is parted by the number of its workers: `n_workers`, if it has an attribute of that
    name, which can be set on any executor; else as `n_workers_of` finds it.
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Future:
        """Has `fn(*args)` run; both can be pickled."""


class LocalExecutor(ProcessPoolExecutor):
    """Worker processes on this machine; see `local_executor`.

    Attributes:
        n_workers: how many there are.
    """

    def __init__(self, n_workers: int, devices: list[str]):
        """Starts them as they are needed.

        Args:
            n_workers: how many.
            devices: the GPUs, by what CUDA_VISIBLE_DEVICES calls them; workers take turns.
        """
        context = multiprocessing.get_context("spawn")
        self.n_workers = n_workers
        super().__init__(n_workers, context, _start_worker, (context.Value("i", 0), devices))

    def __exit__(self, *exception: object) -> None:
        """Ends the processes."""
        self.end()

    def end(self) -> None:
        """Ends the processes; what is still done by then was given up, and is not waited for."""
        # Shutting down lets go of them.
        processes = [*(self._processes or {}).values()]
        self.shutdown(wait=False, cancel_futures=True)
        until = time.monotonic() + _SECONDS_TO_END
        for process in processes:
            process.join(max(0.0, until - time.monotonic()))
            if process.is_alive():
                process.terminate()


def local_executor(n_workers: int | None = None) -> LocalExecutor:
    """Makes worker processes on this machine, each of which computes with one thread.

    They are spawned, so that a script that uses them keeps what it does under
    `if __name__ == "__main__":`. Each takes some seconds to start, and holds a model of its own;
    where that is too much, load the model with `memory_gib`, which holds for each.

    Args:
        n_workers: how many; by default one for each GPU, or, where there is none, one for each core
            that this process may use. With GPUs each worker sees one of them.

    Returns:
        The executor, to be used in a `with` block, at whose end the processes end, also one that
        still works at something whose result nobody has waited for.

    Raises:
        ValueError: if `n_workers` is not a whole number from 1 on.
    """
    if n_workers is not None:
        check_whole_number("n_workers", n_workers, 1)
    devices = _visible_devices()
    return LocalExecutor(n_workers or len(devices) or _n_cores(), devices)


def n_workers_of(executor: Executor) -> int:
    """How many workers an executor has; where it does not say, the number of cores here."""
    told = getattr(executor, "n_workers", None)
    if told is None and hasattr(executor, "nthreads"):
        # A Dask client: worker -> its threads. Jobs take turns within a process.
        told = len(executor.nthreads())
    if told is None:
        told = getattr(executor, "_max_workers", None)
    return max(1, int(told or _n_cores()))


def check_executor(executor: object) -> None:
    """Raises a ValueError if something cannot be given work, or would hang with it.

    Torch's threads do not survive the fork of a process, so that the first job in a forked worker
    may wait for them forever.
    """
    if isinstance(executor, type) and issubclass(executor, Executor):
        raise ValueError(
            f"executor must be an executor, not its class; got {executor.__name__} itself, where "
            f"{executor.__name__}(...) or local_executor() belongs"
        )
    if not isinstance(executor, Executor):
        raise ValueError(
            "executor must have submit(function, *arguments), as local_executor(), a "
            "concurrent.futures.ProcessPoolExecutor, a dask.distributed.Client or a "
            f"submitit.AutoExecutor; got {type(executor).__name__}"
        )
    if isinstance(executor, ProcessPoolExecutor):
        context: Any = getattr(executor, "_mp_context", None)
        # Of the default context too, whose method is that of the system.
        if context is not None and context.get_start_method() == "fork":
            raise ValueError(
                "executor must be a ProcessPoolExecutor whose processes are not forked, since "
                "PyTorch hangs in those: local_executor(), or ProcessPoolExecutor(..., "
                'mp_context=multiprocessing.get_context("spawn")); got one that forks'
            )


def _n_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _visible_devices() -> list[str]:
    """The GPUs that this process sees, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    n_devices = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = [name.strip() for name in named.split(",")] if named else []
    return names[:n_devices] or [str(number) for number in range(n_devices)]


def _start_worker(n_started: Any, devices: list[str]) -> None:
    """Runs first in every worker.

    Args:
        n_started: how many workers have started, a number that they share.
        devices: the GPUs.
    """
    with n_started.get_lock():
        number = n_started.value
        n_started.value += 1
    if devices:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
