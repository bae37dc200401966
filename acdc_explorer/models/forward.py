"""A transformer's forward run as plain functions, keeping what patching needs.

Shapes: `prompt` and `pos` index the batch; a leading `*batch` stands for several patched runs of
the same prompts at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from acdc_explorer.graph import QKV, QKVS, Node
from acdc_explorer.models.linear import linear, linear_each
from acdc_explorer.models.weights import Block, ModelWeights, Norm, Rotary


def normalize(x: Float[Tensor, "*batch d"], norm: Norm | None) -> Float[Tensor, "*batch d"]:
    """Normalises over the last axis: layer norm, or RMS norm where there is no bias.

    Without a norm, the very tensor that it was given.
    """
    if norm is None:
        return x
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
    cos, sin = rotary.cos[at], rotary.sin[at]
    turning, rest = x[..., : cos.shape[-1]], x[..., cos.shape[-1] :]
    low, high = turning.chunk(2, -1)
    turned = turning * cos + torch.cat([-high, low], -1) * sin
    return torch.cat([turned, rest], -1) if rest.shape[-1] else turned


def rotary_embedded(
    vectors: Float[Tensor, "*batch pos d_head"],
    weights: ModelWeights,
    block: Block,
    qkv: QKV,
    positions: Int[Tensor, "prompt width"] | None = None,
) -> Float[Tensor, "*batch pos d_head"]:
    """From projected queries, keys or values to what attention uses: normed, then rotated.

    Args:
        vectors: x @ W + b of one head or several.
        weights: for the rotary positions, if the model has such.
        block: whose head it is.
        qkv: values are used as they are.
        positions: as in `rotate`.
    """
    if qkv == "v":
        return vectors
    head_norm = block.q_norm if qkv == "q" else block.k_norm
    if head_norm is not None:
        vectors = normalize(vectors, head_norm)
    return vectors if weights.rotary is None else rotate(vectors, weights.rotary, positions)


def head_vectors(
    x: Float[Tensor, "*batch pos d_model"],
    weights: ModelWeights,
    head: Node,
    qkv: QKV,
    positions: Int[Tensor, "prompt width"] | None = None,
) -> Float[Tensor, "*batch pos d_head"]:
    """One head's queries, keys or values for its input on the residual stream.

    Args:
        x: the input.
        weights: of the model.
        head: the head.
        qkv: which of the three.
        positions: as in `rotate`.
    """
    block = weights.blocks[head.layer]
    weight, bias = block.projection(qkv)
    vectors = linear(normalize(x, block.ln1), weight[head.head], bias[head.head])
    return rotary_embedded(vectors, weights, block, qkv, positions)


def vectors_of_heads(
    x: Float[Tensor, "chosen *batch pos d_model"],
    weights: ModelWeights,
    layer: int,
    heads: Sequence[int],
    qkv: QKV,
    positions: Int[Tensor, "prompt width"] | None = None,
) -> Float[Tensor, "chosen *batch pos d_head"]:
    """Queries, keys or values of some heads of a block, each for an input of its own.

    Args:
        x: the inputs, in the order of the heads.
        weights: of the model.
        layer: of the block.
        heads: which of its heads.
        qkv: which of the three.
        positions: as in `rotate`.
    """
    block = weights.blocks[layer]
    vectors = linear_each(normalize(x, block.ln1), *block.projection(qkv), heads)
    return rotary_embedded(vectors, weights, block, qkv, positions)


def attention_pattern(
    q: Float[Tensor, "*#batch query d_head"],
    k: Float[Tensor, "*#batch key d_head"],
    allowed: Bool[Tensor, "*#batch query key"],
    scale: float,
) -> Float[Tensor, "*#batch query key"]:
    """Softmax of scores over the keys that a query may see; `allowed` broadcasts on the left."""
    scores = q @ k.transpose(-1, -2) / scale  # [*batch, query, key]
    return scores.masked_fill(~allowed, -math.inf).softmax(-1)


def attention(
    q: Float[Tensor, "*#batch query d_head"],
    k: Float[Tensor, "*#batch key d_head"],
    v: Float[Tensor, "*#batch key d_head"],
    allowed: Bool[Tensor, "*#batch query key"],
    scale: float,
) -> Float[Tensor, "*#batch query d_head"]:
    """A head's output before W_O: its values, averaged by its attention."""
    return attention_pattern(q, k, allowed, scale) @ v


def write_head(
    out: Float[Tensor, "*batch feature"], weights: ModelWeights, sender: Node
) -> Float[Tensor, "*batch d_model"]:
    """What a sender's output, or a change of it, is on the stream: a head's goes through W_O."""
    if sender.kind != "head":
        return out
    return linear(out, weights.blocks[sender.layer].W_O[sender.head])


def write_heads(
    z: Float[Tensor, "*batch chosen pos d_head"],
    block: Block,
    heads: Sequence[int] | None = None,
    bias: Float[Tensor, " d_model"] | None = None,
) -> Float[Tensor, "*batch pos d_model"]:
    """What some heads of a block write to the stream together.

    Args:
        z: their outputs before W_O.
        block: whose heads they are.
        heads: which; None: all.
        bias: added once.
    """
    W_O = block.W_O if heads is None else block.W_O[list(heads)]
    together = z.transpose(-3, -2).flatten(-2)  # [*batch, pos, chosen * d_head]
    return linear(together, W_O.flatten(0, 1), bias)


def mlp(
    x: Float[Tensor, "*batch d_model"], block: Block, activation: str
) -> Float[Tensor, "*batch d_model"]:
    """An MLP's output for its input on the residual stream, bias included."""
    weights = block.mlp
    assert weights is not None
    normed = normalize(x, weights.ln)
    if weights.W_gate is None:
        hidden = linear(normed, weights.W_in, weights.b_in, activation)
    else:
        hidden = linear(normed, weights.W_in, weights.b_in)
        hidden = hidden * linear(normed, weights.W_gate, weights.b_gate, activation)
    return linear(hidden, weights.W_out, weights.b_out)


@dataclass(frozen=True)
class Run:
    """One forward run: every receiver's input and every sender's output.

    Attributes:
        resid_pre: per block, the input of its heads [prompt, pos, d_model]; `resid_pre[0]` is the
            output of the sender `input`.
        mlp_in: per block, the input of its MLP, if it has one.
        resid_final: the input of the final norm.
        z: per block, what its heads write before W_O [prompt, head, pos, d_head].
        mlp_out: per block, what its MLP writes, bias included.
    """

    resid_pre: list[Float[Tensor, "prompt pos d_model"]]
    mlp_in: list[Float[Tensor, "prompt pos d_model"]]
    resid_final: Float[Tensor, "prompt pos d_model"]
    z: list[Float[Tensor, "prompt head pos d_head"]]
    mlp_out: list[Float[Tensor, "prompt pos d_model"]]

    def input_of(self, node: Node) -> Float[Tensor, "prompt pos d_model"]:
        """What a node's receivers read."""
        if node.kind == "logits":
            return self.resid_final
        return (self.mlp_in if node.kind == "mlp" else self.resid_pre)[node.layer]

    def output_of(self, sender: Node) -> Float[Tensor, "prompt pos feature"]:
        """What a sender writes; a head, before W_O."""
        if sender.kind == "input":
            return self.resid_pre[0]
        if sender.kind == "mlp":
            return self.mlp_out[sender.layer]
        return self.z[sender.layer][:, sender.head]

    def map(self, function: Callable[..., Tensor], *others: Run) -> Run:
        """The run with every tensor replaced by what a function makes of it, and of others'."""

        def each(name: str) -> list[Tensor]:
            lists = (getattr(run, name) for run in (self, *others))
            return [function(*tensors) for tensors in zip(*lists, strict=True)]

        return Run(
            resid_pre=each("resid_pre"),
            mlp_in=each("mlp_in"),
            resid_final=function(self.resid_final, *(run.resid_final for run in others)),
            z=each("z"),
            mlp_out=each("mlp_out"),
        )

    def logits(self, weights: ModelWeights) -> Float[Tensor, "prompt pos vocab"]:
        """The logits at every position."""
        return linear(normalize(self.resid_final, weights.ln_final), weights.W_U, weights.b_U)


def without_senders(clean: Run, weights: ModelWeights) -> Run:
    """A run in which all senders write nothing."""
    nothing = clean.map(lambda tensor: tensor.new_zeros(()).expand_as(tensor))
    # What is left of a stream without senders are the heads' biases.
    biases = torch.stack([block.b_O for block in weights.blocks]).cumsum(0)
    after = [bias.expand_as(clean.resid_final) for bias in biases]
    before = [nothing.resid_final, *after[:-1]]
    mlp_in = before if weights.parallel else after
    return replace(
        nothing,
        resid_pre=before,
        mlp_in=mlp_in[: len(clean.mlp_in)],
        resid_final=after[-1],
    )


def causal(
    length: int, device: torch.device, window: int | None = None
) -> Bool[Tensor, "query key"]:
    """Which keys each query may see: its own and earlier ones, the last `window` of them."""
    allowed = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    return allowed if window is None else allowed.triu(1 - window)


@dataclass(frozen=True)
class BlockRun:
    """One block of a forward run.

    Attributes:
        resid_pre: what its heads read [prompt, pos, d_model].
        vectors: queries, keys and values of all heads, projected but not yet normed or rotated
            [prompt, head, pos, d_head].
        z: what its heads write before W_O [prompt, head, pos, d_head].
        mlp_in: what its MLP reads, if it has one.
        mlp_out: what its MLP writes, bias included.
        resid_post: the stream after the block.
    """

    resid_pre: Float[Tensor, "prompt pos d_model"]
    vectors: dict[QKV, Float[Tensor, "prompt head pos d_head"]]
    z: Float[Tensor, "prompt head pos d_head"]
    mlp_in: Float[Tensor, "prompt pos d_model"] | None
    mlp_out: Float[Tensor, "prompt pos d_model"] | None
    resid_post: Float[Tensor, "prompt pos d_model"]


def embed(
    weights: ModelWeights, tokens: Int[Tensor, "prompt pos"]
) -> Float[Tensor, "prompt pos d_model"]:
    """What block 0 reads: token embeddings and, where they are learned, positions."""
    resid = weights.W_E[tokens].to(weights.dtype)
    return resid if weights.W_pos is None else resid + weights.W_pos[: tokens.shape[1]]


def run_blocks(
    weights: ModelWeights, resid: Float[Tensor, "prompt pos d_model"]
) -> Iterator[BlockRun]:
    """Runs block by block on whole prompts, from what block 0 reads; can be differentiated."""
    length = resid.shape[1]
    for block in weights.blocks:
        normed = normalize(resid, block.ln1)
        vectors = {qkv: _project_all_heads(normed, block, qkv) for qkv in QKVS}
        q, k, v = (rotary_embedded(vectors[qkv], weights, block, qkv) for qkv in QKVS)
        allowed = causal(length, resid.device, block.window)
        z = attention(q, k, v, allowed, weights.attn_scale)
        after_heads = resid + write_heads(z, block, bias=block.b_O)
        if block.mlp is None:
            yield BlockRun(resid, vectors, z, None, None, after_heads)
            resid = after_heads
            continue
        # A view, whose gradient is that of what the MLP reads alone.
        mlp_in = resid if weights.parallel else after_heads
        mlp_in = mlp_in.view_as(mlp_in)
        mlp_out = mlp(mlp_in, block, weights.activation)
        resid_post = after_heads + mlp_out
        yield BlockRun(resid, vectors, z, mlp_in, mlp_out, resid_post)
        resid = resid_post


def _project_all_heads(
    normed: Float[Tensor, "prompt pos d_model"], block: Block, qkv: QKV
) -> Float[Tensor, "prompt head pos d_head"]:
    weight, bias = block.projection(qkv)
    together = linear(normed, weight.transpose(0, 1).flatten(1), bias.flatten())
    return together.unflatten(-1, bias.shape).transpose(1, 2)


def run(weights: ModelWeights, tokens: Int[Tensor, "prompt pos"]) -> Run:
    """Runs the model on whole prompts.

    Args:
        weights: in the precision to compute in.
        tokens: on the weights' device.
    """
    resid_pre, mlp_in, z, mlp_out = [], [], [], []
    resid = embed(weights, tokens)
    for block_run in run_blocks(weights, resid):
        resid_pre.append(block_run.resid_pre)
        z.append(block_run.z)
        if block_run.mlp_in is not None and block_run.mlp_out is not None:
            mlp_in.append(block_run.mlp_in)
            mlp_out.append(block_run.mlp_out)
        resid = block_run.resid_post
    return Run(resid_pre, mlp_in, resid, z, mlp_out)
