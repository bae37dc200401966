"""Gradients of the metric with respect to what every receiver reads, by one backward pass.

The only place where the engine differentiates. The forward run is the engine's own; between a
block's q, k and v and the stream that they read from lie a norm and a projection, which are linear
in the gradient, so the gradients of all heads' inputs need no copy of the stream for each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.forward import attention_pattern, causal, mlp, normalize, placed
from acdc_explorer.engine.weights import Norm
from acdc_explorer.graph import LOGITS, QKVS, Node, Receiver


@dataclass
class _Tape:
    """What a differentiable run leaves: where gradients are taken, and the streams read there."""

    final: Tensor
    slots: list[tuple[Tensor, Tensor, Tensor]]
    resid_pre: list[Tensor]
    mlp_in: list[Tensor]


def input_gradients(
    engine: Engine, embedding: Float[Tensor, "prompt pos d_model"]
) -> Iterator[tuple[list[Receiver], Float[Tensor, "receiver prompt pos d_model"]]]:
    """Gradients of each prompt's metric with respect to every input, from the logits downwards.

    Args:
        engine: model, prompts and metric.
        embedding: what block 0 reads: of the clean prompts, or on the way to ablated ones.

    Yields:
        Inputs of one block and of one kind (the logits; an MLP; the queries, keys and values of all
        heads, or the heads where they have one input), with the gradients at each position.
    """
    weights, graph = engine.weights, engine.graph
    with torch.enable_grad():
        tape = _record(engine, embedding.detach().requires_grad_())
        at_end = engine.sets.end.take(tape.final)[:, 0]
        metric = engine.metric_by_prompt(at_end).sum()
        wanted = [tape.final, *(slot for slots in tape.slots for slot in slots), *tape.mlp_in]
        gradients = list(torch.autograd.grad(metric, wanted, allow_unused=True))
    gradients = [
        torch.zeros_like(tensor) if gradient is None else gradient
        for tensor, gradient in zip(wanted, gradients, strict=True)
    ]
    n_blocks = len(weights.blocks)
    yield [Receiver(LOGITS)], gradients[0][None]
    slots, mlps = gradients[1 : 1 + 3 * n_blocks], gradients[1 + 3 * n_blocks :]
    for layer in reversed(range(n_blocks)):
        block = weights.blocks[layer]
        if mlps:
            yield [Receiver(Node("mlp", layer))], mlps[layer][None]
        resid = tape.resid_pre[layer].detach()
        together = None
        for number, qkv in enumerate(QKVS):
            weight, _ = block.projection(qkv)
            upstream = torch.einsum("nhpe,hde->hnpd", slots[3 * layer + number], weight)
            gradient = _through_norm(resid, block.ln1, upstream)
            heads = [Node("head", layer, head) for head in range(graph.n_heads)]
            if graph.split_qkv:
                yield [Receiver(head, qkv) for head in heads], gradient
            else:
                together = gradient if together is None else together + gradient
        if together is not None:
            yield [Receiver(head) for head in heads], together


def _record(engine: Engine, resid: Tensor) -> _Tape:
    """`forward.run`, differentiable, with a tensor of its own for what each receiver reads."""
    weights = engine.weights
    tape = _Tape(resid, [], [], [])
    for block in weights.blocks:
        tape.resid_pre.append(resid)
        normed = normalize(resid, block.ln1)
        slots = []
        for qkv in QKVS:
            weight, bias = block.projection(qkv)
            slots.append(torch.einsum("npd,hde->nhpe", normed, weight) + bias[:, None])
        q, k, v = (placed(slot, weights, block, qkv) for slot, qkv in zip(slots, QKVS, strict=True))
        tape.slots.append((slots[0], slots[1], slots[2]))
        allowed = causal(resid.shape[1], resid.device, block.window)
        z = attention_pattern(q, k, allowed, weights.attn_scale) @ v
        after_heads = resid + torch.einsum("nhpe,hed->npd", z, block.W_O) + block.b_O
        if block.mlp is None:
            resid = after_heads
            continue
        read = (resid if weights.parallel else after_heads).clone()
        tape.mlp_in.append(read)
        resid = after_heads + mlp(read, block, weights.activation)
    tape.final = resid
    return tape


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
