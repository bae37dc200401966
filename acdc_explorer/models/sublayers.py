"""What the parts of a block compute: norms, queries, keys and values, attention, MLPs.

Shapes: `prompt` and `pos` index the batch; a leading `*batch` stands for several patched runs of
the same prompts at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from acdc_explorer.graph import QKV, Node
from acdc_explorer.models.backward_rules import (
    activated_by_constant,
    normalized_by_constant,
    with_half_the_gradient,
)
from acdc_explorer.models.linear import ACTIVATIONS, chosen, linear, linear_each
from acdc_explorer.models.weights import Block, ModelWeights, Norm, Rotary


def normalize(
    x: Float[Tensor, "*batch d"], norm: Norm | None, relp: bool = False
) -> Float[Tensor, "*batch d"]:
    """Normalises over the last axis: layer norm, or RMS norm where there is no bias.

    Without a norm, the very tensor that it was given. With `relp`, here and below, a backward run
    goes by RelP's rules (`backward_rules.py`).
    """
    if norm is None:
        return x
    if relp:
        return normalized_by_constant(x, norm)
    if norm.bias is None:
        return F.rms_norm(x, x.shape[-1:], norm.weight, norm.eps)
    return F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps)


def rotate(
    x: Float[Tensor, "*batch pos d_head"],
    rotary: Rotary,
    positions: Int[Tensor, "prompt width"] | None = None,
) -> Float[Tensor, "*batch pos d_head"]:
    """Turns queries or keys by their positions (Su et al. 2021), halves of a head paired.

    Args:
        x: of the first positions in order, or [*batch, prompt, width, d_head] of others.
        rotary: cosines and sines; dimensions past theirs are left as they are.
        positions: of the rows of `x`, if not the first ones in order.
    """
    at = slice(x.shape[-2]) if positions is None else positions
    cos, sin = rotary.cos_and_sin[:, at]
    turning, rest = x[..., : cos.shape[-1]], x[..., cos.shape[-1] :]
    low, high = turning.chunk(2, -1)
    # The sines of the first half are negative.
    turned = torch.addcmul(turning * cos, torch.cat([high, low], -1), sin)
    return torch.cat([turned, rest], -1) if rest.shape[-1] else turned


def project(
    normed: Float[Tensor, "*batch pos d_model"], block: Block, qkv: QKV
) -> Float[Tensor, "*batch pos head d_head"]:
    """Queries, keys or values of all heads for one normed input, not yet normed or rotated."""
    weight, bias = block.projection(qkv)
    together = linear(normed, weight.transpose(0, 1).flatten(1), bias.flatten())
    return together.unflatten(-1, bias.shape)


def normed_together(
    vectors: Float[Tensor, "*batch pos head d_head"], block: Block, qkv: QKV, relp: bool = False
) -> Float[Tensor, "*batch pos head d_head"]:
    """Queries or keys of all heads after the norm that they pass in a row, if there is one."""
    if not block.norms_heads_together(qkv):
        return vectors
    normed = normalize(vectors.flatten(-2), block.head_norm(qkv), relp)
    return normed.unflatten(-1, vectors.shape[-2:])


def rotary_embedded(
    vectors: Float[Tensor, "*batch pos d_head"],
    block: Block,
    qkv: QKV,
    positions: Int[Tensor, "prompt width"] | None = None,
    relp: bool = False,
) -> Float[Tensor, "*batch pos d_head"]:
    """From projected queries, keys or values to what attention uses: normed, then rotated.

    Args:
        vectors: x @ W + b of one head or several, after `normed_together`.
        block: whose head it is.
        qkv: values are used as they are.
        positions: as in `rotate`.
        relp: as in `normalize`.
    """
    if qkv == "v":
        return vectors
    if not block.norms_heads_together(qkv):
        vectors = normalize(vectors, block.head_norm(qkv), relp)
    return vectors if block.rotary is None else rotate(vectors, block.rotary, positions)


def head_vectors(
    x: Float[Tensor, "*batch pos d_model"],
    weights: ModelWeights,
    head: Node,
    qkv: QKV,
    positions: Int[Tensor, "prompt width"] | None = None,
) -> Float[Tensor, "*batch pos d_head"]:
    """One head's queries, keys or values for its input on the residual stream.

    Where the queries of all heads pass one norm in a row, that of this head is as if all of them
    read what it reads, so that no head depends on what another one reads. Keys likewise.

    Args:
        x: the input.
        weights: of the model.
        head: the head.
        qkv: which of the three.
        positions: as in `rotate`.
    """
    block = weights.blocks[head.layer]
    normed = normalize(x, block.ln1)
    if block.norms_heads_together(qkv):
        vectors = normed_together(project(normed, block, qkv), block, qkv)[..., head.head, :]
    else:
        weight, bias = block.projection(qkv)
        vectors = linear(normed, weight[head.head], bias[head.head])
    return rotary_embedded(vectors, block, qkv, positions)


def vectors_of_heads(
    x: Float[Tensor, "chosen *batch pos d_model"],
    weights: ModelWeights,
    layer: int,
    heads: Sequence[int],
    qkv: QKV,
    positions: Int[Tensor, "prompt width"] | None = None,
) -> Float[Tensor, "chosen *batch pos d_head"]:
    """`head_vectors` of some heads of a block, each for an input of its own.

    Args:
        x: the inputs, in the order of the heads.
        weights: of the model.
        layer: of the block.
        heads: which of its heads.
        qkv: which of the three.
        positions: as in `rotate`.
    """
    block = weights.blocks[layer]
    normed = normalize(x, block.ln1)
    if block.norms_heads_together(qkv):
        of_all = normed_together(project(normed, block, qkv), block, qkv)
        vectors = torch.stack([of_all[row, ..., head, :] for row, head in enumerate(heads)])
    else:
        vectors = linear_each(normed, *block.projection(qkv), heads)
    return rotary_embedded(vectors, block, qkv, positions)


def causal(
    length: int, device: torch.device, window: int | None = None
) -> Bool[Tensor, "query key"]:
    """Which keys each query may see: its own and earlier ones, the last `window` of them."""
    allowed = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    return allowed if window is None else allowed.triu(1 - window)


def capped(x: Tensor, cap: float | None) -> Tensor:
    """Kept between -cap and cap by a hyperbolic tangent; as it is if there is no cap."""
    return x if cap is None else cap * torch.tanh(x / cap)


def attention_pattern(
    q: Float[Tensor, "*#batch query d_head"],
    k: Float[Tensor, "*#batch key d_head"],
    allowed: Bool[Tensor, "*#batch query key"],
    weights: ModelWeights,
) -> Float[Tensor, "*#batch query key"]:
    """Softmax of scores over the keys that a query may see; `allowed` broadcasts on the left."""
    scores = q @ k.transpose(-1, -2) / weights.attn_scale  # [*batch, query, key]
    return capped(scores, weights.attn_cap).masked_fill(~allowed, -math.inf).softmax(-1)


def attention(
    q: Float[Tensor, "*#batch query d_head"],
    k: Float[Tensor, "*#batch key d_head"],
    v: Float[Tensor, "*#batch key d_head"],
    allowed: Bool[Tensor, "*#batch query key"],
    weights: ModelWeights,
) -> Float[Tensor, "*#batch query d_head"]:
    """A head's output before W_O: its values, averaged by its attention."""
    return attention_pattern(q, k, allowed, weights) @ v


def write_head(
    out: Float[Tensor, "*batch feature"], weights: ModelWeights, sender: Node
) -> Float[Tensor, "*batch d_model"]:
    """What a sender's output, or a change of it, adds to a sum: a head's goes through W_O.

    To the sum on the stream; a head's to that of its block's heads, where that sum is normed.
    """
    if sender.kind != "head":
        return out
    return linear(out, weights.blocks[sender.layer].W_O[sender.head])


def write_together(
    out: Float[Tensor, "*batch feature"], weights: ModelWeights, senders: Sequence[Node]
) -> Float[Tensor, "*batch d_model"]:
    """The sum of `write_head` over some heads, whose outputs stand in a row; or of one sender."""
    if len(senders) == 1:
        return write_head(out, weights, senders[0])
    return linear(out, torch.cat([weights.blocks[each.layer].W_O[each.head] for each in senders]))


def write_heads(
    z: Float[Tensor, "*batch chosen pos d_head"],
    block: Block,
    heads: Sequence[int] | None = None,
    bias: Float[Tensor, " d_model"] | None = None,
) -> Float[Tensor, "*batch pos d_model"]:
    """What some heads of a block write together, before a norm that it may pass.

    Args:
        z: their outputs before W_O.
        block: whose heads they are.
        heads: which; None: all.
        bias: added once.
    """
    W_O = block.W_O if heads is None else chosen(block.W_O, heads)
    together = z.transpose(-3, -2).flatten(-2)  # [*batch, pos, chosen * d_head]
    return linear(together, W_O.flatten(0, 1), bias)


def mlp(
    x: Float[Tensor, "*batch d_model"], block: Block, activation: str, relp: bool = False
) -> Float[Tensor, "*batch d_model"]:
    """What an MLP writes to the stream for its input on it, bias and norm included."""
    weights = block.mlp
    assert weights is not None
    normed = normalize(x, weights.ln, relp)
    if weights.W_gate is None:
        hidden = _activated(normed, weights.W_in, weights.b_in, activation, relp)
    else:
        hidden = linear(normed, weights.W_in, weights.b_in)
        hidden = hidden * _activated(normed, weights.W_gate, weights.b_gate, activation, relp)
        if relp:
            hidden = with_half_the_gradient(hidden)
    return normalize(linear(hidden, weights.W_out, weights.b_out), weights.ln_post, relp)


def _activated(
    normed: Float[Tensor, "*batch d_model"],
    weight: Float[Tensor, "d_model d_mlp"],
    bias: Float[Tensor, " d_mlp"] | None,
    activation: str,
    relp: bool,
) -> Float[Tensor, "*batch d_mlp"]:
    if relp:
        return activated_by_constant(linear(normed, weight, bias), ACTIVATIONS[activation])
    return linear(normed, weight, bias, activation)
