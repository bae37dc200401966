"""The arithmetic that the engine relies on, whatever the caller has switched on around it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import torch

_T = TypeVar("_T")


@contextmanager
def plain_arithmetic() -> Iterator[None]:
    """Plain tensors in full precision: no autocast, inference mode, gradients or reduced products.

    Under autocast, and with `torch.set_float32_matmul_precision` below "highest", products are
    rounded to 16 bits or so; tensors made in inference mode cannot be differentiated later on.
    """
    precision = torch.get_float32_matmul_precision()
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        for device_type in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device_type):
                stack.enter_context(torch.autocast(device_type, enabled=False))
        if precision != "highest":
            torch.set_float32_matmul_precision("highest")
            stack.callback(torch.set_float32_matmul_precision, precision)
        yield


def stepwise(steps: Iterator[_T]) -> Iterator[_T]:
    """Takes each step of an iterator in plain arithmetic; between steps the caller's holds."""
    end = object()
    while True:
        with plain_arithmetic():
            step = next(steps, end)
        if step is end:
            return
        yield step  # type: ignore[misc]
