"""Gradients of the metric with respect to what every receiver reads, by one backward pass.

The only place where the engine differentiates. The forward run is that of `models/forward.py`;
between a block's q, k and v and the stream that they read from lie a norm and a projection, which
are linear in the gradient, so the gradients of all heads' inputs need no copy of the stream for
each.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.runs import PromptRuns
from acdc_explorer.graph import LOGITS, QKV, QKVS, Node, Receiver
from acdc_explorer.models.forward import BlockRun, run_blocks
from acdc_explorer.models.weights import Norm

Gradients = Float[Tensor, "receiver prompt pos d_model"]


def input_gradients(
    engine: Engine, runs: PromptRuns, embedding: Float[Tensor, "prompt pos d_model"]
) -> Iterator[tuple[list[Receiver], Gradients]]:
    """Gradients of each prompt's metric with respect to every input, from the logits downwards.

    Args:
        engine: model and metric.
        runs: of the prompts.
        embedding: what block 0 reads: of the clean prompts, or on the way to ablated ones.

    Yields:
        Inputs of one block and of one kind (the logits; an MLP; the queries, keys and values of all
        heads, or the heads where they have one input), with the gradients at each position.
    """
    n_layers = engine.graph.n_layers
    with torch.enable_grad():
        blocks = list(run_blocks(engine.weights, embedding.detach().requires_grad_()))
        final = blocks[-1].resid_post
        metric = engine.scoring.values(runs.sets.end.take(final)[:, 0], runs.rows).sum()
        read: dict[tuple[int, str], Tensor] = {(n_layers, "logits"): final}
        for layer, block in enumerate(blocks):
            read |= {(layer, qkv): vectors for qkv, vectors in block.vectors.items()}
            if block.mlp_in is not None:
                read[layer, "mlp"] = block.mlp_in
        found = torch.autograd.grad(metric, list(read.values()), allow_unused=True)
    gradients = {
        key: torch.zeros_like(tensor) if gradient is None else gradient
        for (key, tensor), gradient in zip(read.items(), found, strict=True)
    }
    yield [Receiver(LOGITS)], gradients[n_layers, "logits"][None]
    for layer, block in reversed(list(enumerate(blocks))):
        if block.mlp_in is not None:
            yield [Receiver(Node("mlp", layer))], gradients[layer, "mlp"][None]
        of_vectors = {qkv: gradients[layer, qkv] for qkv in QKVS}
        yield from _head_gradients(engine, layer, block, of_vectors)


def _head_gradients(
    engine: Engine,
    layer: int,
    block_run: BlockRun,
    of_vectors: dict[QKV, Float[Tensor, "prompt head pos d_head"]],
) -> Iterator[tuple[list[Receiver], Gradients]]:
    """From the gradients of a block's queries, keys and values to those of what its heads read."""
    block, resid = engine.weights.blocks[layer], block_run.resid_pre.detach()
    heads = [Node("head", layer, head) for head in range(engine.graph.n_heads)]
    together = None
    for qkv in QKVS:
        weight, _ = block.projection(qkv)
        # [head, prompt, pos, d_model]
        normed = torch.einsum("nhpe,hde->hnpd", of_vectors[qkv], weight)
        gradient = _through_norm(resid, block.ln1, normed)
        if engine.graph.split_qkv:
            yield [Receiver(head, qkv) for head in heads], gradient
        else:
            together = gradient if together is None else together + gradient
    if together is not None:
        yield [Receiver(head) for head in heads], together


def _through_norm(
    x: Float[Tensor, "prompt pos d_model"],
    norm: Norm | None,
    upstream: Float[Tensor, "head prompt pos d_model"],
) -> Float[Tensor, "head prompt pos d_model"]:
    """Gradients before a norm from those after it, for several heads that read the same stream.

    With y = (x - mean x) / s and s^2 = mean((x - mean x)^2) + eps (RMS norm: no mean), the gradient
    g after the weight's factor becomes (g - [mean g] - y mean(g y)) / s.
    Without a norm they are the same.
    """
    if norm is None:
        return upstream
    centred = x if norm.bias is None else x - x.mean(-1, keepdim=True)
    scale = (centred.square().mean(-1, keepdim=True) + norm.eps).rsqrt()
    y, g = centred * scale, upstream * norm.weight
    along = (g * y).mean(-1, keepdim=True)
    if norm.bias is not None:
        g = g - g.mean(-1, keepdim=True)
    return (g - y * along) * scale
