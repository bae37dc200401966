"""From a TransformerBridge to plain tensors, and the check that they suffice.

A model whose logits the engine does not reproduce is refused here, by name and with the reason, and
never run.
"""

from __future__ import annotations

import math
from dataclasses import replace
from inspect import signature
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from acdc_explorer.models.faults import UnsupportedModelError
from acdc_explorer.models.forward import run
from acdc_explorer.models.unsupported import unsupported_parts
from acdc_explorer.models.weights import Block, Mlp, ModelWeights, Norm, Rotary, map_tensors

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

# Rotary tables are made this long at most; the paths of a circuit are not for whole books.
_LONGEST = 4096


def extract_weights(bridge: TransformerBridge) -> ModelWeights:
    """Takes the weights out of a bridge and checks that they reproduce its logits.

    Args:
        bridge: a model booted by TransformerLens, on any device; its weights are shared, not
            copied, where they are float32 already and laid out as matrices (see `_plain`).

    Raises:
        UnsupportedModelError: if the architecture has parts that the engine does not compute, or
            the engine's logits on random tokens differ from the bridge's.
    """
    try:
        reasons = unsupported_parts(bridge)
        if reasons:
            raise UnsupportedModelError(
                f"cannot patch {_name(bridge.cfg)} edge by edge: it has {', '.join(reasons)}, "
                "which the engine does not compute. Supported: models of GPT-2's, GPT-Neo's, "
                "GPT-NeoX's, OPT's, LLaMA's, Mistral's, Qwen 2 and 3's, Gemma 1 to 3's, OLMo 2 and "
                "3's and Phi's kind, with or without MLPs or norms"
            )
        with torch.no_grad():
            weights = map_tensors(_read(bridge), _plain)
    except (AttributeError, LookupError, TypeError, NotImplementedError) as error:
        raise UnsupportedModelError(
            f"cannot patch {_name(bridge.cfg)} edge by edge: it is built in another way than the "
            f"models that the engine knows ({error})"
        ) from error
    _check_logits(bridge, weights)
    return weights


def _plain(tensor: Tensor) -> Tensor:
    """A weight in float32: the bridge's own memory where it is so laid out that `linear` is fast.

    That is as matrices, or as transposed ones: PyTorch's `Linear` holds the transpose of what is
    used here, and a tied unembedding is the embedding's. What is cut from larger matrices (W_O by
    heads, GPT-2's W_Q) is copied.
    """
    tensor = tensor.detach().float()
    if not (tensor.is_contiguous() or (tensor.ndim > 1 and tensor.mT.is_contiguous())):
        tensor = tensor.contiguous()
    # What was made in inference mode cannot be differentiated through.
    return tensor.clone() if tensor.is_inference() else tensor


def _name(cfg: Any) -> str:
    return str(getattr(cfg, "model_name", None) or getattr(cfg, "architecture", "this model"))


def _read(bridge: Any) -> ModelWeights:
    cfg = bridge.cfg
    is_rotary = cfg.positional_embedding_type == "rotary"
    n_ctx = min(cfg.n_ctx, _LONGEST)
    rotaries = _read_rotaries(bridge, n_ctx) if is_rotary else [None] * cfg.n_layers
    return ModelWeights(
        W_E=bridge.W_E,
        embed_scale=_embed_scale(bridge) if is_rotary else 1.0,
        W_pos=None if is_rotary else bridge.W_pos,
        blocks=tuple(
            _read_block(block, bridge, rotary)
            for block, rotary in zip(bridge.blocks, rotaries, strict=True)
        ),
        ln_final=_read_norm(bridge.ln_final, cfg),
        W_U=bridge.W_U,
        b_U=bridge.b_U,
        activation=cfg.act_fn,
        attn_scale=_attn_scale(bridge.blocks[0].attn.original_component, cfg),
        attn_cap=_cap(cfg.attn_scores_soft_cap),
        logit_cap=_cap(cfg.output_logits_soft_cap),
        parallel=bool(cfg.parallel_attn_mlp),
        n_ctx=n_ctx,
    )


def _embed_scale(bridge: Any) -> float:
    """What the model multiplies token embeddings by (Gemma: sqrt(d_model)), seen at block 0.

    Learned positions, which would hide it, go with no such factor.
    """
    tokens = torch.arange(min(4, bridge.W_E.shape[0]), device=bridge.W_E.device)[None]
    name = "blocks.0.hook_resid_pre"
    _, cache = bridge.run_with_cache(tokens, prepend_bos=False, names_filter=[name])
    embedded = bridge.W_E[tokens]
    scale = (cache[name] * embedded).sum().double() / (embedded**2).sum().double()
    return float(scale) if abs(scale - 1) > 1e-4 else 1.0


def _read_rotaries(bridge: Any, n_ctx: int) -> list[Rotary]:
    """Each block's; blocks of one kind (local or global attention) share theirs."""
    module = bridge.rotary_emb.original_component
    positions = torch.arange(n_ctx, device=bridge.W_E.device)[None]
    like = bridge.W_E.new_zeros(1, 1, 1, dtype=torch.float32)
    if "layer_type" not in signature(module.forward).parameters:
        cos, sin = module(like, positions)
        return [Rotary.of(cos[0], sin[0])] * bridge.cfg.n_layers
    kinds = bridge.original_model.config.layer_types
    by_kind = {}
    for kind in dict.fromkeys(kinds):
        cos, sin = module(like, positions, kind)
        by_kind[kind] = Rotary.of(cos[0], sin[0])
    return [by_kind[kind] for kind in kinds]


def _cap(cap: float | None) -> float | None:
    # TransformerLens writes -1 for none.
    return float(cap) if cap is not None and cap > 0 else None


def _attn_scale(attn: Any, cfg: Any) -> float:
    scaling = getattr(attn, "scaling", None)
    if isinstance(scaling, float):
        return 1 / scaling
    # Of TransformerLens's own attention, which heeds no `use_attn_scale`.
    if isinstance(getattr(attn, "scale", None), float):
        return float(attn.scale)
    # GPT-Neo scales nothing; TransformerLens's configuration does not tell.
    if not cfg.use_attn_scale or hasattr(attn, "attention_type"):
        return 1.0
    # TransformerLens writes -1 for "the usual one".
    return float(cfg.attn_scale) if cfg.attn_scale > 0 else math.sqrt(cfg.d_head)


def _read_norm(norm: Any, cfg: Any) -> Norm | None:
    # TransformerLens's own models are not wrapped around others.
    original = getattr(norm, "original_component", None) or norm
    if isinstance(original, torch.nn.Identity):
        return None
    eps = float(getattr(original, "eps", None) or getattr(original, "variance_epsilon", cfg.eps))
    # An "LNPre" has no parameters: its weight was folded into what reads it.
    weight = getattr(original, "weight", torch.ones(cfg.d_model, device=cfg.device))
    bias = getattr(original, "bias", None)
    # The last norm may be an RMS norm among layer norms.
    rms = "RMS" in type(original).__name__ or str(cfg.normalization_type).startswith("RMS")
    if bias is None and not rms:
        bias = torch.zeros_like(weight)
    return Norm(weight + 1 if cfg.rmsnorm_uses_offset else weight, bias, eps)


def _read_norm_of(module: Any, name: str, cfg: Any) -> Norm | None:
    """A norm that some models' blocks, or heads, have."""
    return _read_norm(getattr(module, name), cfg) if hasattr(module, name) else None


def _window(attn: Any) -> int | None:
    """How many keys a query of a block sees, from whichever module or configuration tells."""
    config = getattr(attn, "config", None)
    if getattr(attn, "attention_type", None) == "local":
        window = getattr(config, "window_size", None)
    elif hasattr(attn, "sliding_window"):
        window = attn.sliding_window
    else:
        window = getattr(config, "sliding_window", None)
    return int(window) if window else None


def _read_block(block: Any, bridge: Any, rotary: Rotary | None) -> Block:
    attn, cfg = block.attn, bridge.cfg
    n_heads, d_model, d_head = attn.W_Q.shape

    def repeated(weight: Tensor | None, *shape: int) -> Tensor:
        if weight is None:
            return bridge.W_E.new_zeros(shape)
        repeats = n_heads // weight.shape[0]
        # Even once would be a copy.
        return weight if repeats == 1 else weight.repeat_interleave(repeats, 0)

    k_norm = _read_norm_of(attn, "k_norm", cfg)
    if k_norm is not None and len(k_norm.weight) > d_head:
        # Of all heads in a row; shared ones are repeated as above.
        weight = repeated(k_norm.weight.unflatten(0, (-1, d_head))).flatten()
        k_norm = replace(k_norm, weight=weight)
    original = getattr(attn, "original_component", None)
    return Block(
        ln1=_read_norm_of(block, "ln1", cfg),
        ln1_post=_read_norm_of(block, "ln1_post", cfg),
        W_Q=attn.W_Q,
        W_K=repeated(attn.W_K),
        W_V=repeated(attn.W_V),
        W_O=attn.W_O,
        b_Q=repeated(attn.b_Q, n_heads, d_head),
        b_K=repeated(attn.b_K, n_heads, d_head),
        b_V=repeated(attn.b_V, n_heads, d_head),
        b_O=bridge.W_E.new_zeros(d_model) if attn.b_O is None else attn.b_O,
        q_norm=_read_norm_of(attn, "q_norm", cfg),
        k_norm=k_norm,
        rotary=rotary,
        window=_window(original),
        mlp=_read_mlp(block, cfg),
    )


def _read_mlp(block: Any, cfg: Any) -> Mlp | None:
    if cfg.attn_only or not hasattr(block, "mlp"):
        return None
    mlp = block.mlp

    def or_zeros(bias: Tensor | None, size: int) -> Tensor:
        return mlp.W_in.new_zeros(size) if bias is None else bias

    gated = bool(cfg.gated_mlp)

    return Mlp(
        # Phi's heads and MLP share one norm.
        ln=_read_norm_of(block, "ln2" if hasattr(block, "ln2") else "ln1", cfg),
        ln_post=_read_norm_of(block, "ln2_post", cfg),
        W_gate=mlp.W_gate if gated else None,
        b_gate=mlp.b_gate if gated else None,
        W_in=mlp.W_in,
        b_in=or_zeros(mlp.b_in, mlp.W_in.shape[1]),
        W_out=mlp.W_out,
        b_out=or_zeros(mlp.b_out, mlp.W_out.shape[1]),
    )


def _check_logits(bridge: Any, weights: ModelWeights) -> None:
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
            f"model's by {error:.2g} on logits up to {scale:.2g}. The model has a component that "
            "its config does not mention, or computes in less than float32"
        )
