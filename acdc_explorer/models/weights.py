"""The tensors of a transformer, taken from a TransformerBridge, and the check that they suffice.

The engine computes with these in its own functions (`forward.py`). A model whose logits those
functions do not reproduce is refused here, by name and with the reason, and never run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from acdc_explorer.graph import QKV, Graph, graph_of

if TYPE_CHECKING:
    pass

_T = TypeVar("_T")


@dataclass(frozen=True)
class Norm:
    """A layer norm, or an RMS norm where there is no bias."""

    weight: Float[Tensor, " d"]
    bias: Float[Tensor, " d"] | None
    eps: float


@dataclass(frozen=True)
class Rotary:
    """Rotary positions: what the first `rotary` dimensions of queries and keys are turned by."""

    cos: Float[Tensor, "ctx rotary"]
    sin: Float[Tensor, "ctx rotary"]


@dataclass(frozen=True)
class Mlp:
    """The weights of an MLP; a gated one has a `W_gate`.

    Attributes:
        ln: or None in a model without norms.
        b_gate: or None, whether gated or not.
    """

    ln: Norm | None
    W_gate: Float[Tensor, "d_model d_mlp"] | None
    b_gate: Float[Tensor, " d_mlp"] | None
    W_in: Float[Tensor, "d_model d_mlp"]
    b_in: Float[Tensor, " d_mlp"]
    W_out: Float[Tensor, "d_mlp d_model"]
    b_out: Float[Tensor, " d_model"]

    @property
    def n_weights(self) -> int:
        """Numbers in its matrices, which are of one size."""
        return self.W_in.numel() * (2 if self.W_gate is None else 3)


@dataclass(frozen=True)
class Block:
    """The weights of one transformer block.

    Attributes:
        ln1: or None in a model without norms.
        q_norm: of each head's queries before they are rotated, or None; `k_norm` likewise.
        window: how many keys a query sees, its own included, or None for all.
        mlp: or None in an attention-only model.
    """

    ln1: Norm | None
    W_Q: Float[Tensor, "head d_model d_head"]
    W_K: Float[Tensor, "head d_model d_head"]
    W_V: Float[Tensor, "head d_model d_head"]
    W_O: Float[Tensor, "head d_head d_model"]
    b_Q: Float[Tensor, "head d_head"]
    b_K: Float[Tensor, "head d_head"]
    b_V: Float[Tensor, "head d_head"]
    b_O: Float[Tensor, " d_model"]
    q_norm: Norm | None
    k_norm: Norm | None
    window: int | None
    mlp: Mlp | None

    def projection(self, qkv: QKV) -> tuple[Tensor, Tensor]:
        """Weight [head, d_model, d_head] and bias [head, d_head] of queries, keys or values."""
        return getattr(self, f"W_{qkv.upper()}"), getattr(self, f"b_{qkv.upper()}")


@dataclass(frozen=True)
class ModelWeights:
    """All the weights of a decoder-only transformer and what is needed to use them.

    Under grouped-query attention keys' and values' weights are repeated, so that every query head
    has its own, as in EAP-IG and the MIB benchmark.

    Attributes:
        W_pos: learned positions, or None.
        rotary: rotary positions, or None.
        ln_final: or None in a model without norms.
        activation: name of the MLP's activation, a key of `ACTIVATIONS`.
        attn_scale: attention scores are divided by it.
        parallel: whether an MLP reads what the heads of its block read.
        n_ctx: the longest prompt that the engine takes, in tokens.
    """

    W_E: Float[Tensor, "vocab d_model"]
    W_pos: Float[Tensor, "ctx d_model"] | None
    rotary: Rotary | None
    blocks: tuple[Block, ...]
    ln_final: Norm | None
    W_U: Float[Tensor, "d_model vocab"]
    b_U: Float[Tensor, " vocab"]
    activation: str
    attn_scale: float
    parallel: bool
    n_ctx: int

    @property
    def graph(self) -> Graph:
        """The nodes and edges of this model, q, k and v apart, for all positions together."""
        return self.graph_with(True, ())

    def graph_with(self, split_qkv: bool, labels: tuple[str, ...]) -> Graph:
        """The nodes and edges of this model; see `Graph` for the arguments."""
        first = self.blocks[0]
        n_heads, has_mlps = first.W_Q.shape[0], first.mlp is not None
        return graph_of(len(self.blocks), n_heads, has_mlps, self.parallel, split_qkv, labels)

    @property
    def device(self) -> torch.device:
        """Where all the tensors are."""
        return self.W_E.device

    @property
    def d_model(self) -> int:
        """How wide the residual stream is."""
        return self.W_E.shape[1]

    @property
    def n_vocab(self) -> int:
        """The number of tokens."""
        return self.W_E.shape[0]

    @property
    def dtype(self) -> torch.dtype:
        """What is computed in; the embedding and the unembedding may be stored in less."""
        return self.b_U.dtype

    def double(self) -> ModelWeights:
        """For computing in float64 the values that decide borderline edges.

        The embedding and the unembedding, the largest matrices of a small model, stay as they are:
        few of their rows and columns are needed.
        """
        names = [field.name for field in fields(self) if field.name not in ("W_E", "W_U")]
        doubled = {
            name: map_tensors(getattr(self, name), lambda tensor: tensor.double()) for name in names
        }
        return replace(self, **doubled)


def map_tensors(value: _T, function: Callable[[Tensor], Tensor]) -> _T:
    """The same with every tensor replaced by what a function makes of it, however deep it lies."""
    if isinstance(value, Tensor):
        return function(value)  # type: ignore[return-value]
    if isinstance(value, tuple):
        return tuple(map_tensors(item, function) for item in value)  # type: ignore[return-value]
    if is_dataclass(value) and not isinstance(value, type):
        changed = {
            field.name: map_tensors(getattr(value, field.name), function) for field in fields(value)
        }
        return replace(value, **changed)
    return value
