"""The tensors of a transformer, taken from a TransformerBridge, and the check that they suffice.

The engine computes with these in its own functions (`forward.py`). A model whose logits those
functions do not reproduce is refused here, by name and with the reason, and never run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from acdc_explorer.graph import QKV, Graph, graph_of

_T = TypeVar("_T")


@dataclass(frozen=True)
class Norm:
    """A layer norm, or an RMS norm where there is no bias."""

    weight: Float[Tensor, " d"]
    bias: Float[Tensor, " d"] | None
    eps: float


@dataclass(frozen=True)
class Rotary:
    """Rotary positions: what the first `rotary` dimensions of queries and keys are turned by.

    Attributes:
        cos_and_sin: cosines, and sines, those of the first half of the dimensions negative.
    """

    cos_and_sin: Float[Tensor, "2 ctx rotary"]

    @classmethod
    def of(cls, cos: Float[Tensor, "ctx rotary"], sin: Float[Tensor, "ctx rotary"]) -> Rotary:
        """From cosines and sines, as models give them."""
        low, high = sin.chunk(2, -1)
        return cls(torch.stack([cos, torch.cat([-low, high], -1)]))


@dataclass(frozen=True)
class Mlp:
    """The weights of an MLP; a gated one has a `W_gate`.

    Attributes:
        ln: of what it reads; None in a model without such norms.
        ln_post: of what it writes, bias included, before that reaches the stream; None in most.
        b_gate: or None, whether gated or not.
    """

    ln: Norm | None
    ln_post: Norm | None
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
        ln1: of what heads read; None in a model without such norms.
        ln1_post: of what all heads write together, b_O included, before that reaches the stream
            (Gemma 2 and 3, OLMo 2 and 3); None in most.
        q_norm: of queries before they are rotated, or None; `k_norm` likewise. Its weight is that
            of one head, or of all in a row where they are normed together (OLMo 2 and 3).
        rotary: rotary positions, or None. Blocks of a kind share the tensors.
        window: how many keys a query sees, its own included, or None for all.
        mlp: or None in an attention-only model.
    """

    ln1: Norm | None
    ln1_post: Norm | None
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
    rotary: Rotary | None
    window: int | None
    mlp: Mlp | None

    def projection(self, qkv: QKV) -> tuple[Tensor, Tensor]:
        """Weight [head, d_model, d_head] and bias [head, d_head] of queries, keys or values."""
        return getattr(self, f"W_{qkv.upper()}"), getattr(self, f"b_{qkv.upper()}")

    def head_norm(self, qkv: QKV) -> Norm | None:
        """The norm of queries or keys; values have none."""
        return {"q": self.q_norm, "k": self.k_norm, "v": None}[qkv]

    def norms_heads_together(self, qkv: QKV) -> bool:
        """Whether the queries, or keys, of all heads pass one norm in a row."""
        norm, (n_heads, _, d_head) = self.head_norm(qkv), self.W_Q.shape
        return norm is not None and n_heads > 1 and len(norm.weight) == n_heads * d_head


@dataclass(frozen=True)
class ModelWeights:
    """All the weights of a decoder-only transformer and what is needed to use them.

    Under grouped-query attention keys' and values' weights are repeated, so that every query head
    has its own, as in EAP-IG and the MIB benchmark.

    Attributes:
        W_E: token embeddings, not yet times `embed_scale`.
        W_pos: learned positions, or None.
        embed_scale: what token embeddings are multiplied by (Gemma: sqrt(d_model)).
        ln_final: or None in a model without norms.
        activation: name of the MLP's activation, a key of `ACTIVATIONS`.
        attn_scale: attention scores are divided by it.
        attn_cap: then they become cap * tanh(score / cap) (Gemma 2), if it is not None.
        logit_cap: likewise for logits.
        parallel: whether an MLP reads what the heads of its block read.
        n_ctx: the longest prompt that the engine takes, in tokens.
    """

    W_E: Float[Tensor, "vocab d_model"]
    embed_scale: float
    W_pos: Float[Tensor, "ctx d_model"] | None
    blocks: tuple[Block, ...]
    ln_final: Norm | None
    W_U: Float[Tensor, "d_model vocab"]
    b_U: Float[Tensor, " vocab"]
    activation: str
    attn_scale: float
    attn_cap: float | None
    logit_cap: float | None
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

    # Kept: searches ask for every sender that they add up.
    @cached_property
    def norms_head_sums(self) -> bool:
        """Whether what a block's heads write together is normed before it reaches the stream."""
        return any(block.ln1_post is not None for block in self.blocks)

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
        """What is computed in; matrices may be stored in less."""
        return self.b_U.dtype

    def double(self) -> ModelWeights:
        """For computing in float64 the values that decide borderline edges.

        Matrices, nearly all of a model's memory, stay in float32: `linear` converts each one for
        the product in which it is used.
        """
        return map_tensors(self, lambda tensor: tensor.double() if tensor.ndim < 2 else tensor)


def map_tensors(
    value: _T, function: Callable[[Tensor], Tensor], done: dict[Tensor, Tensor] | None = None
) -> _T:
    """The same with every tensor replaced by what a function makes of it, however deep it lies.

    Args:
        value: a tensor, or a tuple or dataclass of such values.
        function: called once for each tensor, so that what was shared stays shared.
        done: what it has made so far.
    """
    done = {} if done is None else done
    if isinstance(value, Tensor):
        if value not in done:
            done[value] = function(value)
        return done[value]  # type: ignore[return-value]
    if isinstance(value, tuple):
        mapped = (map_tensors(item, function, done) for item in value)
        return tuple(mapped)  # type: ignore[return-value]
    if is_dataclass(value) and not isinstance(value, type):
        changed = {
            field.name: map_tensors(getattr(value, field.name), function, done)
            for field in fields(value)
        }
        return replace(value, **changed)
    return value
