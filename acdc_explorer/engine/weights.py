"""The tensors of a transformer, taken from a TransformerBridge, and the check that they suffice.

The engine computes with these in its own functions (`forward.py`). A model whose logits those
functions do not reproduce is refused here, by name and with the reason, and never run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from acdc_explorer.graph import Graph, graph_of

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_fast": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
}

_T = TypeVar("_T")


class UnsupportedModelError(ValueError):
    """The engine cannot reproduce this model, and says why."""


@dataclass(frozen=True)
class Norm:
    """A layer norm."""

    weight: Float[Tensor, " d_model"]
    bias: Float[Tensor, " d_model"]
    eps: float


@dataclass(frozen=True)
class Block:
    """The weights of one transformer block."""

    ln1: Norm
    W_Q: Float[Tensor, "head d_model d_head"]
    W_K: Float[Tensor, "head d_model d_head"]
    W_V: Float[Tensor, "head d_model d_head"]
    W_O: Float[Tensor, "head d_head d_model"]
    b_Q: Float[Tensor, "head d_head"]
    b_K: Float[Tensor, "head d_head"]
    b_V: Float[Tensor, "head d_head"]
    b_O: Float[Tensor, " d_model"]
    ln2: Norm
    W_in: Float[Tensor, "d_model d_mlp"]
    b_in: Float[Tensor, " d_mlp"]
    W_out: Float[Tensor, "d_mlp d_model"]
    b_out: Float[Tensor, " d_model"]


@dataclass(frozen=True)
class ModelWeights:
    """All the weights of a decoder-only transformer and what is needed to use them.

    Attributes:
        activation: name of the MLP's activation, a key of `ACTIVATIONS`.
        attn_scale: attention scores are divided by it.
    """

    W_E: Float[Tensor, "vocab d_model"]
    W_pos: Float[Tensor, "ctx d_model"]
    blocks: tuple[Block, ...]
    ln_final: Norm
    W_U: Float[Tensor, "d_model vocab"]
    b_U: Float[Tensor, " vocab"]
    activation: str
    attn_scale: float

    @property
    def graph(self) -> Graph:
        """The nodes and edges of this model."""
        return graph_of(len(self.blocks), self.blocks[0].W_Q.shape[0])

    @property
    def device(self) -> torch.device:
        """Where all the tensors are."""
        return self.W_E.device

    @property
    def n_vocab(self) -> int:
        """The number of tokens."""
        return self.W_E.shape[0]

    @property
    def n_ctx(self) -> int:
        """The longest prompt that the model can read, in tokens."""
        return self.W_pos.shape[0]

    def double(self) -> ModelWeights:
        """A copy in float64, for the values that decide borderline edges."""
        return _map_tensors(self, lambda tensor: tensor.double())


def _map_tensors(value: _T, function: Callable[[Tensor], Tensor]) -> _T:
    if isinstance(value, Tensor):
        return function(value)  # type: ignore[return-value]
    if isinstance(value, tuple):
        return tuple(_map_tensors(item, function) for item in value)  # type: ignore[return-value]
    if is_dataclass(value) and not isinstance(value, type):
        changed = {
            field.name: _map_tensors(getattr(value, field.name), function)
            for field in fields(value)
        }
        return replace(value, **changed)
    return value


def extract_weights(bridge: TransformerBridge) -> ModelWeights:
    """Takes the weights out of a bridge and checks that they reproduce its logits.

    Args:
        bridge: a model booted by TransformerLens, on any device; its weights are not copied where
            they are float32 already.

    Raises:
        UnsupportedModelError: if the architecture has parts that the engine does not compute, or
            the engine's logits on random tokens differ from the bridge's.
    """
    cfg = bridge.cfg
    reasons = _unsupported_parts(cfg)
    if reasons:
        raise UnsupportedModelError(
            f"cannot patch {_name(cfg)} edge by edge: it has {', '.join(reasons)}, which the "
            "engine does not compute. Supported: GPT-2-style models (learned positions, layer "
            "norm, multi-head attention, plain MLP)"
        )
    with torch.no_grad():
        weights = _map_tensors(_read(bridge), lambda tensor: tensor.detach().float().contiguous())
    _check_logits(bridge, weights)
    return weights


def _unsupported_parts(cfg: Any) -> list[str]:
    heads, kv_heads = cfg.n_heads, cfg.n_key_value_heads
    checks = {
        f"{cfg.normalization_type} normalisation": cfg.normalization_type not in ("LN", "LNPre"),
        f"{cfg.positional_embedding_type} positions": cfg.positional_embedding_type != "standard",
        "grouped-query attention": kv_heads not in (None, heads),
        "a gated MLP": bool(cfg.gated_mlp),
        "no MLPs": bool(cfg.attn_only),
        "parallel attention and MLP": bool(cfg.parallel_attn_mlp),
        "norms after as well as before each sublayer": bool(cfg.use_normalization_before_and_after),
        "local attention": bool(cfg.use_local_attn),
        "an attention scale that differs by layer": bool(cfg.scale_attn_by_inverse_layer_idx),
        f"the activation {cfg.act_fn!r}": cfg.act_fn not in ACTIVATIONS,
        "experts": bool(getattr(cfg, "num_experts", None)),
    }
    return [part for part, present in checks.items() if present]


def _name(cfg: Any) -> str:
    return str(getattr(cfg, "model_name", None) or getattr(cfg, "architecture", "this model"))


def _read(bridge: Any) -> ModelWeights:
    return ModelWeights(
        W_E=bridge.W_E,
        W_pos=bridge.W_pos,
        blocks=tuple(_read_block(block, bridge.W_E) for block in bridge.blocks),
        ln_final=_read_norm(bridge.ln_final),
        W_U=bridge.W_U,
        b_U=bridge.b_U,
        activation=bridge.cfg.act_fn,
        attn_scale=_attn_scale(bridge.cfg),
    )


def _attn_scale(cfg: Any) -> float:
    if not cfg.use_attn_scale:
        return 1.0
    # TransformerLens writes -1 for "the usual one".
    return float(cfg.attn_scale) if cfg.attn_scale > 0 else math.sqrt(cfg.d_head)


def _read_norm(norm: Any) -> Norm:
    original = norm.original_component
    return Norm(original.weight, original.bias, float(original.eps))


def _read_block(block: Any, like: Tensor) -> Block:
    attn, mlp = block.attn, block.mlp

    def or_zeros(bias: Tensor | None, *shape: int) -> Tensor:
        return like.new_zeros(shape) if bias is None else bias

    n_heads, d_model, d_head = attn.W_Q.shape
    return Block(
        ln1=_read_norm(block.ln1),
        W_Q=attn.W_Q,
        W_K=attn.W_K,
        W_V=attn.W_V,
        W_O=attn.W_O,
        b_Q=or_zeros(attn.b_Q, n_heads, d_head),
        b_K=or_zeros(attn.b_K, n_heads, d_head),
        b_V=or_zeros(attn.b_V, n_heads, d_head),
        b_O=or_zeros(attn.b_O, d_model),
        ln2=_read_norm(block.ln2),
        W_in=mlp.W_in,
        b_in=or_zeros(mlp.b_in, mlp.W_in.shape[1]),
        W_out=mlp.W_out,
        b_out=or_zeros(mlp.b_out, d_model),
    )


def _check_logits(bridge: Any, weights: ModelWeights) -> None:
    from acdc_explorer.engine.forward import run

    generator = torch.Generator().manual_seed(0)
    shape = (2, min(12, weights.n_ctx))
    tokens = torch.randint(weights.n_vocab, shape, generator=generator).to(weights.device)
    with torch.no_grad():
        expected = bridge(tokens, prepend_bos=False).float()
        got = run(weights, tokens).logits(weights)
    error, scale = (got - expected).abs().max().item(), expected.abs().max().item()
    if not error <= 1e-4 * max(1.0, scale):
        raise UnsupportedModelError(
            f"cannot patch {_name(bridge.cfg)} edge by edge: the engine's logits differ from the "
            f"model's by {error:.2g} on logits up to {scale:.2g}. The model has a part that its "
            "configuration does not tell of, or computes in less than float32"
        )
