"""Executors and jobs for the tests of what runs on workers; real workers import this module."""

from __future__ import annotations

import os
import pickle
import signal
import time
from concurrent.futures import Future
from pathlib import Path

import torch

from acdc_explorer.workers.references import ModelReference, fingerprint_of, model_of


class AtOnce:
    """Runs everything in this process as it is submitted, pickled on the way like any job."""

    n_workers = 2

    def __init__(self):
        self.n_submitted = 0

    def submit(self, fn, /, *args):
        self.n_submitted += 1
        future = Future()
        try:
            copied, arguments = pickle.loads(pickle.dumps((fn, args)))
            future.set_result(pickle.loads(pickle.dumps(copied(*arguments))))
        except Exception as error:
            future.set_exception(error)
        return future


class Failing(AtOnce):
    """Some jobs, by their number, end otherwise than they should."""

    def __init__(self, spoilt):
        super().__init__()
        self.spoilt = spoilt

    def submit(self, fn, /, *args):
        number, future = self.n_submitted, super().submit(fn, *args)
        if number not in self.spoilt:
            return future
        wrong = Future()
        outcome = self.spoilt[number]
        if outcome == "never":
            return wrong
        if isinstance(outcome, Exception):
            wrong.set_exception(outcome)
        else:
            wrong.set_result(outcome(future.result()))
        return wrong


def double(number: int) -> int:
    if number < 0:
        raise ValueError(f"{number} is negative")
    return 2 * number


def die_once(marker: str) -> int:
    """Kills its process, the first time that it is called."""
    path = Path(marker)
    if path.exists():
        return 1
    path.touch()
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def hang_once(marker: str) -> int:
    """Does not return, the first time that it is called."""
    path = Path(marker)
    if not path.exists():
        path.touch()
        time.sleep(3600)
    return 1


def sleep(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def visible_devices(seconds: float) -> str:
    time.sleep(seconds)
    return os.environ.get("CUDA_VISIBLE_DEVICES", "")


def n_threads(_: object) -> int:
    return torch.get_num_threads()


def model_in_process(reference: ModelReference) -> tuple[int, int, str]:
    """Which process it is, which object the model is there, and the fingerprint of its weights."""
    model = model_of(reference)
    return os.getpid(), id(model), fingerprint_of(model)
