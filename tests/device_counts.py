"""Counts what costs time on a GPU, on any machine: operators, read-backs and copies from the host.

A GPU runs operators one after another while the host goes on; a value that the host wants back
makes it wait for all of them, and a tensor made from numbers of the host has to be sent there.
Here all is on the CPU, so which tensors would be on the device is followed: the model's are, and
what is computed of them; what Python or numpy makes is not, until `.to(device)` sends it.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

# Values that the host waits for.
_READ_BACK = {
    Tensor.item, Tensor.tolist, Tensor.numpy, Tensor.cpu, Tensor.__bool__, Tensor.__float__,
    Tensor.__int__, Tensor.__index__, Tensor.__array__, Tensor.__contains__, Tensor.nonzero,
    torch.nonzero, Tensor.unique, torch.unique, Tensor.masked_select, torch.masked_select,
    torch.equal, Tensor.equal, torch.allclose, Tensor.allclose, Tensor.is_nonzero,
    torch.repeat_interleave, Tensor.repeat_interleave, torch.argwhere, Tensor.argwhere,
    Tensor.__format__,
}  # fmt: skip
# Made where they are told to be, else on the host.
_FACTORIES = {
    torch.empty, torch.zeros, torch.ones, torch.full, torch.arange, torch.eye, torch.rand,
    torch.randn, torch.randint, torch.randperm, torch.linspace, torch.tensor, torch.as_tensor,
    torch.from_numpy, torch.tril_indices, torch.triu_indices,
}  # fmt: skip
# What is computed without a launch: other views of the same numbers.
_VIEWS = {
    "view", "_unsafe_view", "expand", "slice", "select", "transpose", "permute", "t", "unsqueeze",
    "squeeze", "alias", "detach", "split", "split_with_sizes", "unbind", "as_strided", "empty",
    "empty_like", "empty_strided", "new_empty", "_reshape_alias", "unfold", "narrow", "diagonal",
    "lift_fresh", "resize_", "set_",
}  # fmt: skip


class MixedDevicesError(AssertionError):
    """A tensor of the host met one of the device."""


class DeviceCounts(TorchFunctionMode):
    """While it is on, follows what is on the device and counts; use it as `with DeviceCounts()`.

    Attributes:
        operators: how many of each kind would be launched.
        read_backs: how often the host waits for values, by the line that asks for them.
        copies: how often the host sends numbers, by the line that does.
    """

    def __init__(self, *on_host: Tensor) -> None:
        """Counts from now on.

        Args:
            on_host: tensors that are not on the device, though made before.
        """
        super().__init__()
        self.operators, self.read_backs = Counter[str](), Counter[str]()
        self.copies = Counter[str]()
        # Tensors on the host; the keys are compared by identity.
        self._on_host = WeakIdKeyDictionary()
        self._label(on_host, on_host=True)
        self._dispatch = _Operators(self.operators)

    def __enter__(self) -> DeviceCounts:
        self._dispatch.__enter__()
        return super().__enter__()

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        self._dispatch.__exit__(*exception)

    def is_on_host(self, tensor: Tensor) -> bool:
        """Whether a tensor would not be on the device."""
        return tensor in self._on_host

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _FACTORIES:
            return self._made(func, args, kwargs)
        if func is Tensor.to:
            return self._sent(args, kwargs)
        if func in (torch.rms_norm, torch.nn.functional.rms_norm):
            return self._as_one(func, args, kwargs)
        if func in (Tensor.__getitem__, Tensor.__setitem__):
            return self._indexed(func, args)
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        hosts = [tensor for tensor in tensors if self.is_on_host(tensor)]
        if func is Tensor.new_tensor:
            self.copies[_line()] += 1
        if func in _READ_BACK or (func is torch.where and len(args) == 1):
            if len(hosts) < len(tensors):
                self.read_backs[_line()] += 1
            return self._label(func(*args, **kwargs), on_host=func is Tensor.cpu or bool(hosts))
        if func is Tensor.copy_ and self.is_on_host(args[1]):
            self.copies[_line()] += 1
        elif len(hosts) < len(tensors) and any(host.ndim for host in hosts):
            raise MixedDevicesError(
                f"{getattr(func, '__name__', func)} takes tensors of the device and of the host at "
                f"{_line()}"
            )
        on_host = bool(hosts) and len(hosts) == len(tensors)
        return self._label(func(*args, **kwargs), on_host=on_host)

    def _as_one(self, func: Callable[..., Any], args: tuple, kwargs: dict) -> Any:
        """Runs what is one operator on a GPU and several here."""
        before = Counter(self.operators)
        result = func(*args, **kwargs)
        self.operators.clear()
        self.operators.update(before + Counter({func.__name__: 1}))
        return self._label(result, on_host=self.is_on_host(args[0]))

    def _made(self, func: Callable[..., Any], args: tuple, kwargs: dict) -> Any:
        told = kwargs.get("device") is not None
        if told and func in (torch.tensor, torch.as_tensor):
            self.copies[_line()] += 1
        return self._label(func(*args, **kwargs), on_host=not told)

    def _sent(self, args: tuple, kwargs: dict) -> Any:
        tensor, *where = args
        told = "device" in kwargs or any(
            isinstance(each, (torch.device, str, Tensor)) for each in (*where, *kwargs.values())
        )
        was_on_host = self.is_on_host(tensor)
        # One that is sent is another tensor, though here it may be the same.
        sent = tensor.to(*where, **kwargs)
        if told and was_on_host:
            self.copies[_line()] += 1
        # The device that the engine sends to is called torch.device("cpu") here.
        fetched = any(each == "cpu" for each in where if isinstance(each, str))
        if fetched and not was_on_host:
            self.read_backs[_line()] += 1
        if sent is tensor and told:
            sent = tensor.clone()
        return self._label(sent, on_host=fetched or (was_on_host and not told))

    def _indexed(self, func: Callable[..., Any], args: tuple) -> Any:
        tensor, index = args[:2]
        on_host = self.is_on_host(tensor)
        for part in index if isinstance(index, tuple) else (index,):
            if on_host:
                continue
            if isinstance(part, Tensor):
                if self.is_on_host(part):
                    self.copies[_line()] += 1
                elif part.dtype == torch.bool and (
                    func is Tensor.__getitem__ or isinstance(args[2], Tensor)
                ):
                    self.read_backs[_line()] += 1
            elif getattr(part, "ndim", 0) or isinstance(part, (list, range)):
                self.copies[_line()] += 1
        if not on_host and isinstance(args[-1], Tensor) and self.is_on_host(args[-1]):
            self.copies[_line()] += func is Tensor.__setitem__
        return self._label(func(*args), on_host=on_host)

    def _label(self, result: Any, *, on_host: bool) -> Any:
        if on_host:
            for leaf in tree_leaves(result):
                if isinstance(leaf, Tensor):
                    self._on_host[leaf] = True
        return result


class _Operators(TorchDispatchMode):
    def __init__(self, counted: Counter[str]) -> None:
        super().__init__()
        self._counted = counted

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        if name not in _VIEWS:
            self._counted[name] += 1
        return func(*args, **(kwargs or {}))


def _line() -> str:
    """Where this package's code is, as file:line."""
    for frame in reversed(traceback.extract_stack()):
        if "/acdc_explorer/" in frame.filename and "/tests/" not in frame.filename:
            return f"{frame.filename.split('/acdc_explorer/')[-1]}:{frame.lineno}"
    return "elsewhere"
