"""Models whose weights are written by hand, so that their circuits are known exactly.

Each is a small transformer of TransformerLens's own kind whose residual stream has a named
dimension for each thing it holds. Its norms do nothing, to the last bit: an RMS norm divides by
sqrt(mean(x^2) + eps), and an eps of 2^80 makes that 2^40, which the norm's weight takes back. So
logit differences are whole numbers. The task of the same name goes with each (`tasks/known.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from acdc_explorer.models.word_tokenizer import word_tokenizer
from acdc_explorer.tasks.known import COLOURS, LETTERS, SWITCH_WORDS, THINGS

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

_EPS, _NORM_WEIGHT = 2.0**80, 2.0**40
_ALL_SWITCH_WORDS = (*SWITCH_WORDS, *COLOURS, *THINGS)
# Tokens before the words: beginning of text and unknown.
_N_SPECIAL = 2
# An attention score: e^-64 is nothing beside 1, even in float64, so that what is not looked for is
# not attended to at all.
_SURE = 64.0

# By name of parameter, in the layout of TransformerLens: head first, `x @ W`.
Weights = dict[str, Tensor]


@dataclass(frozen=True)
class HandMade:
    """A hand-built model.

    Attributes:
        true_edges: the edges that carry what the corrupted prompts destroy. All others carry the
            same in both runs, or are read by nobody.
        words: its vocabulary.
        shape: of the model: n_layers, n_heads, d_model, d_head, n_ctx, and d_mlp if it has MLPs.
        fill: writes the weights that are not zero.
    """

    true_edges: tuple[str, ...]
    words: tuple[str, ...]
    shape: dict[str, int]
    fill: Callable[[Weights], None]


# The residual stream of the two switch models: a switch's state is read here; it is on; the answer
# is due; the answer is left; somebody says left.
_STATE, _ON, _GO, _LEFT, _SAYS = range(5)


def _fill_switch(weights: Weights, writes_to: int) -> None:
    """Heads of layer 0 that look at the switch from "go" and write 1 if it is on."""
    on, off, go, left, right = (
        _N_SPECIAL + _ALL_SWITCH_WORDS.index(word) for word in ("on", "off", "go", "left", "right")
    )
    weights["embed.W_E"][[on, off], _STATE] = 1
    weights["embed.W_E"][on, _ON] = 1
    weights["embed.W_E"][go, _GO] = 1
    weights["blocks.0.attn.W_Q"][:, _GO, 0] = _SURE
    weights["blocks.0.attn.W_K"][:, _STATE, 0] = 1
    weights["blocks.0.attn.W_V"][:, _ON, 0] = 1
    weights["blocks.0.attn.W_O"][:, 0, writes_to] = 1
    # A logit difference of 1 for each 1.
    weights["unembed.W_U"][_LEFT, left] = 0.5
    weights["unembed.W_U"][_LEFT, right] = -0.5


def _fill_five_heads(weights: Weights) -> None:
    _fill_switch(weights, writes_to=_LEFT)


def _fill_or_gate(weights: Weights) -> None:
    _fill_switch(weights, writes_to=_SAYS)
    # relu(n) - relu(n - 1): nothing if no head says so, 1 if one or both do.
    weights["blocks.0.mlp.W_in"][_SAYS] = 1
    weights["blocks.0.mlp.b_in"][1] = -1
    weights["blocks.0.mlp.W_out"][0, _LEFT] = 1
    weights["blocks.0.mlp.W_out"][1, _LEFT] = -1


def _fill_induction(weights: Weights) -> None:
    """Head 0 of layer 0 copies the letter before; head 0 of layer 1 looks for it and copies on.

    The stream: the letter here, the letter before, the letter to come, and the position.
    """
    n_letters = len(LETTERS)
    here, before, next_, position = (slice(i * n_letters, (i + 1) * n_letters) for i in range(4))
    identity = torch.eye(n_letters)
    weights["embed.W_E"][_N_SPECIAL:, here] = identity
    weights["pos_embed.W_pos"][:, position] = identity
    scale = math.sqrt(n_letters) * _SURE
    weights["blocks.0.attn.W_Q"][0, position] = identity.roll(-1, 1) * scale
    weights["blocks.0.attn.W_K"][0, position] = identity
    weights["blocks.0.attn.W_V"][0, here] = identity
    weights["blocks.0.attn.W_O"][0, :, before] = identity
    weights["blocks.1.attn.W_Q"][0, here] = identity * scale
    weights["blocks.1.attn.W_K"][0, before] = identity
    weights["blocks.1.attn.W_V"][0, here] = identity
    weights["blocks.1.attn.W_O"][0, :, next_] = identity
    weights["unembed.W_U"][next_, _N_SPECIAL:] = identity


HANDMADE: dict[str, HandMade] = {
    # Five heads that each add 1 to the logit difference: at threshold 2 none is found alone.
    "five-heads": HandMade(
        true_edges=(
            *(f"input->a0.h{head}<v>" for head in range(5)),
            *(f"a0.h{head}->logits" for head in range(5)),
        ),
        words=_ALL_SWITCH_WORDS,
        shape={"n_layers": 1, "n_heads": 5, "d_model": 5, "d_head": 1, "n_ctx": 16},
        fill=_fill_five_heads,
    ),
    # Two heads, either of which suffices: the order of the tests decides which stays.
    "or-gate": HandMade(
        true_edges=(
            "input->a0.h0<v>",
            "input->a0.h1<v>",
            "a0.h0->m0",
            "a0.h1->m0",
            "m0->logits",
        ),
        words=_ALL_SWITCH_WORDS,
        shape={"n_layers": 1, "n_heads": 2, "d_model": 5, "d_head": 1, "n_ctx": 16, "d_mlp": 2},
        fill=_fill_or_gate,
    ),
    # A previous-token head and an induction head, each beside an idle one.
    "induction-pair": HandMade(
        true_edges=(
            "input->a0.h0<v>",
            "a0.h0->a1.h0<k>",
            "input->a1.h0<q>",
            "input->a1.h0<v>",
            "a1.h0->logits",
        ),
        words=LETTERS,
        shape={"n_layers": 2, "n_heads": 2, "d_model": 64, "d_head": 16, "n_ctx": 16},
        fill=_fill_induction,
    ),
}


def build_handmade(name: str, device: str | torch.device) -> TransformerBridge:
    """Builds a hand-built model.

    Args:
        name: a key of `HANDMADE`.
        device: where it goes.
    """
    from transformer_lens import TransformerBridgeConfig
    from transformer_lens.model_bridge.sources.native import boot
    from transformer_lens.utilities.tl_checkpoint_conversion import convert_tl_checkpoint

    recipe = HANDMADE[name]
    options: dict[str, Any] = {**recipe.shape, "attn_only": "d_mlp" not in recipe.shape}
    config = TransformerBridgeConfig(
        **options,
        d_vocab=_N_SPECIAL + len(recipe.words),
        act_fn="relu",
        normalization_type="RMS",
        eps=_EPS,
        device=str(device),
        seed=0,
    )
    tokenizer = word_tokenizer(recipe.words, name)
    bridge = boot(config, tokenizer=tokenizer, device=device, model_name=name)
    weights = _zeros(recipe.shape, config.d_vocab)
    recipe.fill(weights)
    bridge.load_state_dict(convert_tl_checkpoint(weights, bridge.cfg))
    return bridge.eval()


def _zeros(shape: dict[str, int], n_vocab: int) -> Weights:
    """Every parameter, zero but for the norms' weights."""
    n_heads, d_model, d_head = shape["n_heads"], shape["d_model"], shape["d_head"]
    d_mlp = shape.get("d_mlp")
    norm = torch.full((d_model,), _NORM_WEIGHT)
    weights = {
        "embed.W_E": torch.zeros(n_vocab, d_model),
        "pos_embed.W_pos": torch.zeros(shape["n_ctx"], d_model),
        "ln_final.w": norm,
        "unembed.W_U": torch.zeros(d_model, n_vocab),
        "unembed.b_U": torch.zeros(n_vocab),
    }
    for layer in range(shape["n_layers"]):
        block = f"blocks.{layer}"
        weights[f"{block}.ln1.w"] = norm
        for qkv in "QKV":
            weights[f"{block}.attn.W_{qkv}"] = torch.zeros(n_heads, d_model, d_head)
            weights[f"{block}.attn.b_{qkv}"] = torch.zeros(n_heads, d_head)
        weights[f"{block}.attn.W_O"] = torch.zeros(n_heads, d_head, d_model)
        weights[f"{block}.attn.b_O"] = torch.zeros(d_model)
        if d_mlp is not None:
            weights[f"{block}.ln2.w"] = norm
            weights[f"{block}.mlp.W_in"] = torch.zeros(d_model, d_mlp)
            weights[f"{block}.mlp.b_in"] = torch.zeros(d_mlp)
            weights[f"{block}.mlp.W_out"] = torch.zeros(d_mlp, d_model)
            weights[f"{block}.mlp.b_out"] = torch.zeros(d_model)
    return weights
