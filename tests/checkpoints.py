"""Old TransformerLens checkpoints."""

from __future__ import annotations

import json

import torch
from conftest import attention_only


def old_state_dict(bridge):
    state = {
        "embed.W_E": bridge.W_E, "pos_embed.W_pos": bridge.W_pos, "unembed.W_U": bridge.W_U,
        "blocks.0.attn.mask": torch.ones(1), "blocks.0.attn.IGNORE": torch.ones(1),
    }  # fmt: skip
    for layer, block in enumerate(bridge.blocks):
        for name in ("W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V", "b_O"):
            state[f"blocks.{layer}.attn.{name}"] = getattr(block.attn, name)
    return {name: tensor.detach().clone().contiguous() for name, tensor in state.items()}


def old_checkpoint(folder, normalization):
    """An attention-only model as old TransformerLens saved it, and its logits today."""
    bridge = attention_only()
    state = old_state_dict(bridge)
    with torch.no_grad():
        bridge.unembed.original_component.bias.zero_()
        for name in ("ln_final", "blocks.0.ln1", "blocks.1.ln1"):
            norm = bridge.get_submodule(name).original_component
            if normalization == "LN":
                state |= {f"{name}.w": norm.weight.clone(), f"{name}.b": norm.bias.clone()}
            else:
                norm.weight.fill_(1)
                norm.bias.zero_()
        logits = bridge(torch.arange(8)[None], prepend_bos=False)
    folder.mkdir()
    config = {
        "d_model": 24, "d_head": 8, "n_heads": 3, "n_layers": 2, "n_ctx": 16, "d_vocab": 40,
        "d_mlp": 96, "attn_only": True, "act_fn": "gelu", "normalization_type": normalization,
        "architecture": "neel", "dtype": "torch.float32", "an_unknown_field": 1,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    return state, logits
