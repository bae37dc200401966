"""Models whose weights are written by hand or compiled, so that their circuits are known exactly.

Each is a small transformer of TransformerLens's own kind whose residual stream has a named
dimension for each thing it holds. Its norms do nothing, to the last bit: an RMS norm divides by
sqrt(mean(x^2) + eps), and an eps of 2^80 makes that 2^40, which the norm's weight takes back. So
logit differences are whole numbers, and those of `rasp-proportion` shares: exact for the four
letters of its task, to 1e-7 for three or five. The task of the same name goes with each
(`tasks/builtin/known.py`).

Three are written here. The others are programs in RASP (Weiss et al. 2021, arXiv 2106.06981) that
Tracr (Lindner et al. 2023, arXiv 2301.05062) compiled: `training/rasp_programs.py` says which,
`training/compile_rasp.py` how, and `training/compiled_circuits.py` how their circuits follow from
the weights. On `rasp-reverse` and `rasp-proportion` ACDC was tested (Conmy et al. 2023, arXiv
2304.14997). Ours are causal and are read at END, theirs look both ways and are read everywhere; so
`rasp-reverse` says at END which letter came first, whatever the length, and gives no reversed
sequence. A search with `positions=True` also says which letters are read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from acdc_explorer.models.word_tokenizer import word_tokenizer
from acdc_explorer.options import Ablation

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


# Where the compiled weights and their cards are, and of which programs.
COMPILED = Path(__file__).parent / "rasp"
_PROGRAMS = (
    "reverse",
    "proportion",
    "previous",
    "induction",
    "pointer",
    "first",
    "histogram",
    "duplicate",
    "count",
    "parity",
    "largest",
    "majority",
    "balance",
    "dyck",
    "bigram",
)

# The words of their prompts (`tasks/builtin/known.py`).
COLOURS = ("red", "blue", "green", "white", "black", "grey")
THINGS = ("lamp", "radio", "engine", "heater")
# Every other word of `switch_pairs`.
SWITCH_WORDS = ("the", "is", "on", "off", "so", "go", "left", "right")
LETTERS = tuple("ABCDEFGHIJKLMNOP")

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
        true_edges: the circuit, by what removed edges carry. Without all other edges the metric is
            that of the full model; without one of these, or of two that stand in for one another
            without both, it is not.
        words: its vocabulary.
        shape: of the model: n_layers, n_heads, d_model, d_head, n_ctx, and d_mlp if it has MLPs.
        fill: writes the weights that are not zero.
    """

    true_edges: Mapping[Ablation, tuple[str, ...]]
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


def _fill_compiled(program: str, weights: Weights) -> None:
    from safetensors.torch import load_file

    weights |= load_file(COMPILED / f"{program}.safetensors")


def _compiled(program: str) -> HandMade:
    card = json.loads((COMPILED / f"{program}.json").read_text(encoding="utf-8"))
    true_edges = {name: tuple(edges) for name, edges in card["true_edges"].items()}
    return HandMade(
        true_edges, tuple(card["words"]), card["shape"], partial(_fill_compiled, program)
    )


def _true_edges(*told: str, alike: tuple[str, ...]) -> Mapping[Ablation, tuple[str, ...]]:
    """The circuit under each ablation.

    Args:
        told: edges that carry what clean and corrupted prompts differ in. The corrupted
            activations destroy it, and so does their mean, but for what a few of the corrupted
            prompts have by chance.
        alike: edges that carry something needed which is the same in all prompts, as position, or
            that there is a letter at all. Corrupted activations and their mean have it too; zero
            destroys it.
    """
    return {"corrupted": told, "zero": (*told, *alike), "mean": told}


HANDMADE: dict[str, HandMade] = {
    # Five heads that each add 1 to the logit difference: at threshold 2 none is found alone. "go"
    # looks for a switch, on or off; with queries or keys zero, it looks everywhere.
    "five-heads": HandMade(
        true_edges=_true_edges(
            *(f"input->a0.h{head}<v>" for head in range(5)),
            *(f"a0.h{head}->logits" for head in range(5)),
            alike=tuple(f"input->a0.h{head}<{qk}>" for head in range(5) for qk in "qk"),
        ),
        words=_ALL_SWITCH_WORDS,
        shape={"n_layers": 1, "n_heads": 5, "d_model": 5, "d_head": 1, "n_ctx": 16},
        fill=_fill_five_heads,
    ),
    # Two heads, either of which suffices: the order of the tests decides which stays. The edges of
    # one stand in for those of the other.
    "or-gate": HandMade(
        true_edges=_true_edges(
            "input->a0.h0<v>",
            "input->a0.h1<v>",
            "a0.h0->m0",
            "a0.h1->m0",
            "m0->logits",
            alike=tuple(f"input->a0.h{head}<{qk}>" for head in range(2) for qk in "qk"),
        ),
        words=_ALL_SWITCH_WORDS,
        shape={"n_layers": 1, "n_heads": 2, "d_model": 5, "d_head": 1, "n_ctx": 16, "d_mlp": 2},
        fill=_fill_or_gate,
    ),
    # A previous-token head and an induction head, each beside an idle one. The first finds its
    # place by position alone.
    "induction-pair": HandMade(
        true_edges=_true_edges(
            "input->a0.h0<v>",
            "a0.h0->a1.h0<k>",
            "input->a1.h0<q>",
            "input->a1.h0<v>",
            "a1.h0->logits",
            alike=("input->a0.h0<q>", "input->a0.h0<k>"),
        ),
        words=LETTERS,
        shape={"n_layers": 2, "n_heads": 2, "d_model": 64, "d_head": 16, "n_ctx": 16},
        fill=_fill_induction,
    ),
    **{f"rasp-{program}": _compiled(program) for program in _PROGRAMS},
}


def build_handmade(name: str, device: str | torch.device) -> TransformerBridge:
    """Builds a hand-built or compiled model.

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
    bridge.load_state_dict(convert_tl_checkpoint(handmade_weights(name), bridge.cfg))
    return bridge.eval()


def handmade_weights(name: str) -> Weights:
    """Every parameter of a hand-built or compiled model.

    Args:
        name: a key of `HANDMADE`.
    """
    recipe = HANDMADE[name]
    weights = _zeros(recipe.shape, _N_SPECIAL + len(recipe.words))
    recipe.fill(weights)
    return weights


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
