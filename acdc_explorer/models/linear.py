"""Products with weights, by the faster of the two libraries that PyTorch brings for a CPU.

`@` goes to MKL, which on AMD's processors leaves AVX-512 unused: on one core of a Zen 5 EPYC, 320
rows through a matrix of 768 x 3,072 run at 105 GFLOP/s there and at 220 in oneDNN, which looks only
at what the processor can do. Small products are quicker in MKL, since a call of oneDNN takes some
20 microseconds before it starts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_fast": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
}
# oneDNN's names for them: operation and variant.
_FUSED = {
    "gelu": ("gelu", "none"),
    "gelu_new": ("gelu", "tanh"),
    "gelu_fast": ("gelu", "tanh"),
    "gelu_pytorch_tanh": ("gelu", "tanh"),
    "relu": ("relu", ""),
    "silu": ("swish", ""),
    None: ("none", ""),
}
# Multiplications from which oneDNN is the quicker one.
_WORTH = 1_000_000


@cache
def _has_onednn() -> bool:
    return (
        torch.backends.mkldnn.is_available()
        and "AVX512" in torch.backends.cpu.get_cpu_capability()
        # What torch.compile calls; there is no public name for it.
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def _by_onednn(x: Tensor, n_out: int) -> bool:
    return (
        x.numel() * n_out >= _WORTH
        and x.dtype == torch.float32
        and x.device.type == "cpu"
        and _has_onednn()
    )


def linear(
    x: Float[Tensor, "*batch d_in"],
    weight: Float[Tensor, "d_in d_out"],
    bias: Float[Tensor, " d_out"] | None = None,
    activation: str | None = None,
) -> Float[Tensor, "*batch d_out"]:
    """activation(x @ weight + bias), in the precision of `x`.

    Args:
        x: rows.
        weight: in TransformerLens's layout; converted for this product if of another precision.
        bias: added to every row.
        activation: a key of `ACTIVATIONS`.
    """
    if _by_onednn(x, weight.shape[1]):
        if not x.requires_grad:
            return _onednn(x, weight, bias, activation)
        out = _WithGradient.apply(x, weight, bias)
        return out if activation is None else ACTIVATIONS[activation](out)
    out = F.linear(x, weight.to(x.dtype).T, None if bias is None else bias.to(x.dtype))
    return out if activation is None else ACTIVATIONS[activation](out)


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None) -> Tensor:
    operation, variant = _FUSED[activation]
    rows = x.reshape(-1, x.shape[-1])
    # Of a matrix cut from a larger one oneDNN makes loops, a thousand times slower.
    weight = weight.T if weight.T.is_contiguous() else weight.contiguous().T
    out = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, operation, [], variant)
    return out.view(*x.shape[:-1], -1)


class _WithGradient(torch.autograd.Function):
    """x @ weight + bias by oneDNN, which itself knows no gradients; of weights none is needed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.weight = weight
        return _onednn(x, weight, bias, None)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return linear(gradient, ctx.weight.T), None, None


def linear_each(
    x: Float[Tensor, "chosen *batch d_in"],
    weight: Float[Tensor, "head d_in d_out"],
    bias: Float[Tensor, "head d_out"] | None,
    heads: Sequence[int],
) -> Float[Tensor, "chosen *batch d_out"]:
    """`linear` for some heads of a block, each with a weight and a bias of its own.

    Args:
        x: rows for each chosen head.
        weight: of all heads.
        bias: likewise.
        heads: which are chosen.
    """
    if _by_onednn(x[0], weight.shape[2]):
        return torch.stack(
            [
                linear(rows, weight[head], None if bias is None else bias[head])
                for rows, head in zip(x, heads, strict=True)
            ]
        )
    rows, weight = x.flatten(1, -2), chosen(weight, heads).to(x.dtype)
    if bias is None:
        out = torch.bmm(rows, weight)
    else:
        out = torch.baddbmm(chosen(bias, heads)[:, None].to(x.dtype), rows, weight)
    return out.unflatten(1, x.shape[1:-1])


def chosen(tensor: Tensor, rows: Sequence[int]) -> Tensor:
    """Some rows of a tensor, in a given order, without a list of them being sent to its device.

    A view where they follow one another. `tensor[rows]` would have a GPU wait for the list.
    """
    first = rows[0]
    if list(rows) == list(range(first, first + len(rows))):
        return tensor[first : first + len(rows)]
    return torch.stack([tensor[row] for row in rows])
