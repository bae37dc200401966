"""What models have that the engine does not compute, as far as it shows before they run."""

from __future__ import annotations

from typing import Any

from acdc_explorer.models.linear import ACTIVATIONS


def unsupported_parts(bridge: Any) -> list[str]:
    """The parts of a model that the engine does not compute, in words; none if it can.

    Args:
        bridge: a TransformerBridge of any kind.
    """
    other = _other_structure(bridge)
    if other:
        return other
    cfg = bridge.cfg
    positions = cfg.positional_embedding_type
    attn, mlp = bridge.blocks[0].attn, getattr(bridge.blocks[0], "mlp", None)
    checks = {
        f"{cfg.normalization_type} normalisation": cfg.normalization_type
        not in (None, "LN", "LNPre", "RMS", "RMSPre"),
        f"{positions} positions": positions not in ("standard", "rotary"),
        # GPT-J keeps its own; its neighbours' pairing is another one than everybody else's.
        "interleaved rotary positions": positions == "rotary" and not hasattr(bridge, "rotary_emb"),
        "an attention scale that differs by layer": bool(cfg.scale_attn_by_inverse_layer_idx),
        "unscaled attention scores, which TransformerLens scales all the same (load the model by "
        "its name, its folder or as a Hugging Face object)": (
            getattr(attn.original_component, "scale_attn_weights", True) is False
        ),
        "norms of queries or keys of another shape than one head's or all heads' in a row": any(
            not _is_norm_of_heads(getattr(attn, name), cfg.d_head)
            for name in ("q_norm", "k_norm")
            if hasattr(attn, name)
        ),
        "experts": bool(getattr(cfg, "num_experts", None)),
        f"the activation {cfg.act_fn!r}": mlp is not None and cfg.act_fn not in ACTIVATIONS,
    }
    return [part for part, present in checks.items() if present]


def _other_structure(bridge: Any) -> list[str]:
    """What is arranged otherwise; on such models the other checks may find nothing to look at."""
    cfg = bridge.cfg
    if hasattr(bridge, "encoder_blocks"):
        return ["an encoder besides its decoder"]
    if not hasattr(bridge, "blocks"):
        return ["no row of blocks"]
    if not all(hasattr(block, "attn") for block in bridge.blocks):
        return ["blocks without attention"]
    width = getattr(cfg, "word_embed_proj_dim", cfg.d_model)
    hf_config = getattr(getattr(bridge, "original_model", None), "config", None)
    post_norm = getattr(cfg, "do_layer_norm_before", True) is False
    checks = {
        f"embeddings of {width} dimensions on a stream of {cfg.d_model} (word_embed_proj_dim)": (
            width != cfg.d_model
        ),
        "norms after each sublayer instead of before it": post_norm
        or str(cfg.architecture).startswith(("Bert", "Roberta")),
        "attention to later tokens too (bidirectional)": _is_bidirectional(bridge),
        "images or sound besides text (multi-modal; load its language model by itself)": any(
            getattr(hf_config, name, None) is not None for name in ("vision_config", "audio_config")
        ),
        "keys and values read from a latent vector (multi-head latent attention)": (
            getattr(hf_config, "kv_lora_rank", None) is not None
        ),
    }
    return [part for part, present in checks.items() if present]


def _is_norm_of_heads(norm: Any, d_head: int) -> bool:
    weight = norm.original_component.weight
    return bool(weight.ndim == 1 and len(weight) % d_head == 0)


def _is_bidirectional(bridge: Any) -> bool:
    """By the configuration: TransformerLens may leave later tokens out all the same."""
    module = getattr(bridge.blocks[0].attn, "original_component", None)
    config = getattr(getattr(bridge, "original_model", None), "config", None)
    return (
        getattr(bridge.cfg, "attention_dir", "causal") == "bidirectional"
        or getattr(module, "is_causal", True) is False
        or getattr(config, "is_causal", True) is False
        or bool(getattr(config, "use_bidirectional_attention", False))
    )
