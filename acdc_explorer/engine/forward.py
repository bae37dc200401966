"""A transformer's forward run as plain functions, keeping what patching needs.

Shapes: `prompt` and `pos` index the batch; a leading `*batch` stands for several patched runs of
the same prompts at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from acdc_explorer.engine.weights import ACTIVATIONS, Block, ModelWeights, Norm


def layer_norm(x: Float[Tensor, "*batch d_model"], norm: Norm) -> Float[Tensor, "*batch d_model"]:
    """Normalises over the last axis."""
    return F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps)


def attention_pattern(
    q: Float[Tensor, "*batch query d_head"],
    k: Float[Tensor, "*batch key d_head"],
    allowed: Bool[Tensor, "*prompt query key"],
    scale: float,
) -> Float[Tensor, "*batch query key"]:
    """Softmax of scores over the keys that a query may see; `allowed` broadcasts on the left."""
    scores = q @ k.transpose(-1, -2) / scale
    return scores.masked_fill(~allowed, -math.inf).softmax(-1)


def mlp(
    x: Float[Tensor, "*batch d_model"], block: Block, activation: str
) -> Float[Tensor, "*batch d_model"]:
    """An MLP's output for its input on the residual stream, bias included."""
    hidden = layer_norm(x, block.ln2) @ block.W_in
    return ACTIVATIONS[activation](hidden.add_(block.b_in)) @ block.W_out + block.b_out


@dataclass(frozen=True)
class Run:
    """One forward run: every receiver's input and every sender's output.

    Attributes:
        resid_pre: per block, the input of its heads [prompt, pos, d_model]; `resid_pre[0]` is the
            output of the sender `input`.
        resid_mid: per block, the input of its MLP.
        resid_final: the input of the final norm.
        z: per block, what its heads write before W_O [prompt, head, pos, d_head].
        mlp_out: per block, what its MLP writes, bias included.
    """

    resid_pre: list[Float[Tensor, "prompt pos d_model"]]
    resid_mid: list[Float[Tensor, "prompt pos d_model"]]
    resid_final: Float[Tensor, "prompt pos d_model"]
    z: list[Float[Tensor, "prompt head pos d_head"]]
    mlp_out: list[Float[Tensor, "prompt pos d_model"]]

    def logits(self, weights: ModelWeights) -> Float[Tensor, "prompt pos vocab"]:
        """The logits at every position."""
        return layer_norm(self.resid_final, weights.ln_final) @ weights.W_U + weights.b_U


def project(
    x: Float[Tensor, "*batch d_model"],
    weight: Float[Tensor, "head d_model d_head"],
    bias: Float[Tensor, "head d_head"],
) -> Float[Tensor, "prompt head pos d_head"]:
    """Queries, keys or values of all heads of a block from one normed stream [prompt, pos, d]."""
    return torch.einsum("npd,hde->nhpe", x, weight) + bias[:, None]


def causal(length: int, device: torch.device) -> Bool[Tensor, "query key"]:
    """Which keys each query may see."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()


def run(weights: ModelWeights, tokens: Int[Tensor, "prompt pos"]) -> Run:
    """Runs the model on whole prompts.

    Args:
        weights: in the precision to compute in.
        tokens: on the weights' device.
    """
    resid = weights.W_E[tokens] + weights.W_pos[: tokens.shape[1]]
    allowed = causal(tokens.shape[1], tokens.device)
    resid_pre, resid_mid, all_z, all_mlp = [], [], [], []
    for block in weights.blocks:
        resid_pre.append(resid)
        normed = layer_norm(resid, block.ln1)
        pattern = attention_pattern(
            project(normed, block.W_Q, block.b_Q),
            project(normed, block.W_K, block.b_K),
            allowed,
            weights.attn_scale,
        )
        z = pattern @ project(normed, block.W_V, block.b_V)
        resid = resid + torch.einsum("nhpe,hed->npd", z, block.W_O) + block.b_O
        resid_mid.append(resid)
        mlp_out = mlp(resid, block, weights.activation)
        resid = resid + mlp_out
        all_z.append(z)
        all_mlp.append(mlp_out)
    return Run(resid_pre, resid_mid, resid, all_z, all_mlp)
