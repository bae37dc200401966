"""A transformer's forward run, keeping what patching needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from acdc_explorer.graph import QKV, QKVS, Node
from acdc_explorer.models.linear import linear
from acdc_explorer.models.sublayers import (
    attention,
    attention_pattern,
    capped,
    causal,
    head_vectors,
    mlp,
    normalize,
    normed_together,
    project,
    rotary_embedded,
    write_heads,
)
from acdc_explorer.models.weights import Block, ModelWeights
from acdc_explorer.progress import working_on


@dataclass(frozen=True)
class Run:
    """One forward run: every receiver's input and every sender's output.

    Attributes:
        resid_pre: per block, the input of its heads [prompt, pos, d_model]; `resid_pre[0]` is the
            output of the sender `input`.
        mlp_in: per block, the input of its MLP, if it has one.
        resid_final: the input of the final norm.
        z: per block, what its heads write before W_O [prompt, head, pos, d_head].
        mlp_out: per block, what its MLP writes, bias and norm included.
        head_sums: per block, what its heads write together, b_O included, where that is normed
            before it reaches the stream; else empty.
    """

    resid_pre: list[Float[Tensor, "prompt pos d_model"]]
    mlp_in: list[Float[Tensor, "prompt pos d_model"]]
    resid_final: Float[Tensor, "prompt pos d_model"]
    z: list[Float[Tensor, "prompt head pos d_head"]]
    mlp_out: list[Float[Tensor, "prompt pos d_model"]]
    head_sums: list[Float[Tensor, "prompt pos d_model"]]

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
            head_sums=each("head_sums"),
        )

    def pattern(self, weights: ModelWeights, head: Node) -> Float[Tensor, "prompt query key"]:
        """A head's attention."""
        stream = self.input_of(head)
        q, k = (head_vectors(stream, weights, head, qkv) for qkv in ("q", "k"))
        allowed = causal(q.shape[1], q.device, weights.blocks[head.layer].window)
        return attention_pattern(q, k, allowed, weights)

    def logits(self, weights: ModelWeights) -> Float[Tensor, "prompt pos vocab"]:
        """The logits at every position."""
        normed = normalize(self.resid_final, weights.ln_final)
        return capped(linear(normed, weights.W_U, weights.b_U), weights.logit_cap)


def run_of_outputs(
    weights: ModelWeights,
    embedded: Float[Tensor, "prompt pos d_model"],
    z: Sequence[Float[Tensor, "prompt head pos d_head"]],
    mlp_out: Sequence[Float[Tensor, "prompt pos d_model"]],
) -> Run:
    """The run in which senders write these outputs, whatever they read.

    Args:
        weights: of the model.
        embedded: output of the sender `input`.
        z: per block, what its heads write before W_O.
        mlp_out: per block, what its MLP writes, if it has one.
    """
    resid_pre, mlp_in, head_sums, resid = [], [], [], embedded
    for layer, block in enumerate(weights.blocks):
        resid_pre.append(resid)
        head_sum = write_heads(z[layer], block, bias=block.b_O)
        if weights.norms_head_sums:
            head_sums.append(head_sum)
        after_heads = resid + normalize(head_sum, block.ln1_post)
        if block.mlp is None:
            resid = after_heads
        else:
            mlp_in.append(resid if weights.parallel else after_heads)
            resid = after_heads + mlp_out[layer]
    return Run(resid_pre, mlp_in, resid, list(z), list(mlp_out), head_sums)


def without_senders(clean: Run, weights: ModelWeights) -> Run:
    """A run in which all senders write nothing; what is left of its streams are b_O's."""

    def nothing(tensor: Tensor) -> Tensor:
        # One prompt and one position stand for all.
        return torch.zeros_like(tensor[:1, ..., :1, :])

    outputs = clean.map(nothing)
    run = run_of_outputs(weights, outputs.resid_pre[0], outputs.z, outputs.mlp_out)
    return run.map(lambda tensor, like: tensor.expand_as(like), clean)


@dataclass(frozen=True)
class BlockRun:
    """One block of a forward run.

    Attributes:
        resid_pre: what its heads read [prompt, pos, d_model].
        vectors: queries, keys and values of all heads, projected (and normed, if that is done for
            all heads together), but not yet normed one by one or rotated
            [prompt, head, pos, d_head].
        z: what its heads write before W_O [prompt, head, pos, d_head].
        mlp_in: what its MLP reads, if it has one.
        head_sum: what its heads write together, b_O included, before a norm that it may pass.
        mlp_out: what its MLP writes, bias and norm included.
        resid_post: the stream after the block.
    """

    resid_pre: Float[Tensor, "prompt pos d_model"]
    vectors: dict[QKV, Float[Tensor, "prompt head pos d_head"]]
    z: Float[Tensor, "prompt head pos d_head"]
    head_sum: Float[Tensor, "prompt pos d_model"]
    mlp_in: Float[Tensor, "prompt pos d_model"] | None
    mlp_out: Float[Tensor, "prompt pos d_model"] | None
    resid_post: Float[Tensor, "prompt pos d_model"]


def embed(
    weights: ModelWeights, tokens: Int[Tensor, "prompt pos"]
) -> Float[Tensor, "prompt pos d_model"]:
    """What block 0 reads: token embeddings and, where they are learned, positions."""
    resid = weights.W_E[tokens].to(weights.dtype) * weights.embed_scale
    return resid if weights.W_pos is None else resid + weights.W_pos[: tokens.shape[1]]


def run_blocks(
    weights: ModelWeights, resid: Float[Tensor, "prompt pos d_model"]
) -> Iterator[BlockRun]:
    """Runs block by block on whole prompts, from what block 0 reads."""
    for block in weights.blocks:
        block_run = run_block(weights, block, resid)
        yield block_run
        resid = block_run.resid_post


def run_block(
    weights: ModelWeights,
    block: Block,
    resid: Float[Tensor, "prompt pos d_model"],
    relp: bool = False,
) -> BlockRun:
    """Runs one block on whole prompts, from what it reads; can be differentiated.

    Args:
        weights: of the model.
        block: which of its blocks.
        resid: what it reads.
        relp: whether a backward run goes by RelP's rules (`backward_rules.py`).
    """
    normed = normalize(resid, block.ln1, relp)
    vectors = {
        qkv: normed_together(project(normed, block, qkv), block, qkv, relp).transpose(1, 2)
        for qkv in QKVS
    }
    q, k, v = (rotary_embedded(vectors[qkv], block, qkv, relp=relp) for qkv in QKVS)
    z = attention(q, k, v, causal(resid.shape[1], resid.device, block.window), weights)
    head_sum = write_heads(z, block, bias=block.b_O)
    after_heads = resid + normalize(head_sum, block.ln1_post, relp)
    if block.mlp is None:
        return BlockRun(resid, vectors, z, head_sum, None, None, after_heads)
    # A view, whose gradient is that of what the MLP reads alone.
    mlp_in = resid if weights.parallel else after_heads
    mlp_in = mlp_in.view_as(mlp_in)
    mlp_out = mlp(mlp_in, block, weights.activation, relp)
    return BlockRun(resid, vectors, z, head_sum, mlp_in, mlp_out, after_heads + mlp_out)


def run(weights: ModelWeights, tokens: Int[Tensor, "prompt pos"]) -> Run:
    """Runs the model on whole prompts.

    Args:
        weights: in the precision to compute in.
        tokens: on the weights' device.
    """
    with working_on("running the prompts: blocks", len(weights.blocks)) as done:

        def told() -> Iterator[BlockRun]:
            for number, block_run in enumerate(run_blocks(weights, embed(weights, tokens)), 1):
                yield block_run
                done(number)

        return run_of_blocks(weights, told())


def run_of_blocks(weights: ModelWeights, blocks: Iterable[BlockRun]) -> Run:
    """A run, from those of all blocks, of which only what it needs is kept."""
    resid_pre, mlp_in, z, mlp_out, head_sums = [], [], [], [], []
    for block in blocks:
        resid_pre.append(block.resid_pre)
        z.append(block.z)
        if weights.norms_head_sums:
            head_sums.append(block.head_sum)
        if block.mlp_in is not None and block.mlp_out is not None:
            mlp_in.append(block.mlp_in)
            mlp_out.append(block.mlp_out)
        resid_final = block.resid_post
    return Run(resid_pre, mlp_in, resid_final, z, mlp_out, head_sums)
