"""Gradients of the metric with respect to what every receiver reads, by one backward pass.

The only place where the engine differentiates. The blocks are those of `models/forward.py`;
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
from acdc_explorer.engine.position_sets import PositionSet
from acdc_explorer.engine.runs import PromptRuns
from acdc_explorer.graph import LOGITS, QKV, QKVS, Node, Receiver
from acdc_explorer.models.backward_rules import scale_of_norm
from acdc_explorer.models.forward import Run, run_block
from acdc_explorer.models.linear import linear
from acdc_explorer.models.sublayers import normalize, project
from acdc_explorer.models.weights import Block, Norm

InputGradients = Float[Tensor, "receiver prompt pos d_model"]


class Linearized:
    """The full model to first order, around what it does for one embedding.

    Each block runs once more by itself, forwards and backwards, when its gradients are asked for,
    so that those of one block are in memory at a time, and that there is an end to each part.

    Attributes:
        engine: model and metric.
        run: the forward run.
        relp: whether RelP's rules stand for derivatives (`models/backward_rules.py`).
    """

    def __init__(self, engine: Engine, runs: PromptRuns, run: Run, relp: bool = False):
        """Takes what the full model does.

        Args:
            engine: model and metric.
            runs: of the prompts.
            run: of the model on their embeddings, or on what lies on the way to ablated ones.
            relp: as above.
        """
        self.engine, self.run, self.relp = engine, run, relp
        self._runs = runs

    def input_gradients(self) -> Iterator[tuple[list[Receiver], InputGradients]]:
        """Gradients of each prompt's metric with respect to every input, from the logits downwards.

        Yields:
            Inputs of one block and of one kind (the logits; an MLP; the queries, keys and values of
            all heads, or the heads where they have one input), with the gradients at each position.
        """
        gradient = self._gradient_of_final()
        yield [Receiver(LOGITS)], gradient[None]
        for layer in reversed(range(self.engine.graph.n_layers)):
            gradient, of_mlp, of_vectors = self._through_block(layer, gradient)
            if of_mlp is not None:
                yield [Receiver(Node("mlp", layer))], of_mlp[None]
            yield from self._head_gradients(layer, of_vectors)

    def _gradient_of_final(self) -> Float[Tensor, "prompt pos d_model"]:
        runs = self._runs
        with torch.enable_grad():
            final = self.run.resid_final.detach().requires_grad_()
            at_end = runs.sets.end.take(final)[:, 0]
            metric = self.engine.scoring.values(at_end, runs.rows, self.relp).sum()
            (gradient,) = torch.autograd.grad(metric, [final], allow_unused=True)
        return torch.zeros_like(final) if gradient is None else gradient

    def _through_block(
        self, layer: int, of_resid_post: Float[Tensor, "prompt pos d_model"]
    ) -> tuple[Tensor, Tensor | None, dict[QKV, Tensor]]:
        """From the gradient after a block to those before it, of what its MLP reads, of q, k, v."""
        weights = self.engine.weights
        with torch.enable_grad():
            resid_pre = self.run.resid_pre[layer].detach().requires_grad_()
            block = run_block(weights, weights.blocks[layer], resid_pre, self.relp)
            read = [resid_pre, *block.vectors.values()]
            read += [] if block.mlp_in is None else [block.mlp_in]
            before, *found = torch.autograd.grad(block.resid_post, read, of_resid_post)
        of_vectors = dict(zip(block.vectors, found, strict=False))
        return before, None if block.mlp_in is None else found[-1], of_vectors

    def on_stream(
        self, deltas: Float[Tensor, "sender prompt width d_model"], at: PositionSet
    ) -> Float[Tensor, "sender prompt width d_model"]:
        """What small changes of what senders write add to the stream.

        They differ for heads of blocks that norm what their heads write together.

        Args:
            deltas: of all senders in the order of the graph; a head's before that norm.
            at: the positions.
        """
        weights, n_heads = self.engine.weights, self.engine.graph.n_heads
        if not weights.norms_head_sums:
            return deltas
        deltas = deltas.clone()
        for layer, head_sum in enumerate(self.run.head_sums):
            norm = weights.blocks[layer].ln1_post
            if norm is None:
                continue
            first = self.engine.graph.sender_index[Node("head", layer, 0)]
            of_heads = deltas[first : first + n_heads]
            head_sum = at.take(head_sum)
            through = _derivative_of_normed(head_sum, norm, of_heads, self.relp)
            of_heads.copy_(through * norm.weight)
        return deltas

    def _head_gradients(
        self, layer: int, of_vectors: dict[QKV, Float[Tensor, "prompt head pos d_head"]]
    ) -> Iterator[tuple[list[Receiver], InputGradients]]:
        """From the gradients of a block's queries, keys, values to those of its heads' inputs."""
        engine, resid = self.engine, self.run.resid_pre[layer]
        block = engine.weights.blocks[layer]
        heads = [Node("head", layer, head) for head in range(engine.graph.n_heads)]
        together = None
        for qkv in QKVS:
            if block.norms_heads_together(qkv):
                normed = self._through_norm_of_all_heads(resid, block, qkv, of_vectors[qkv])
            else:
                weight, _ = block.projection(qkv)
                # [head, prompt, pos, d_model]
                normed = torch.einsum("nhpe,hde->hnpd", of_vectors[qkv], weight.to(resid.dtype))
            gradient = through_norm(resid, block.ln1, normed, self.relp)
            if engine.graph.split_qkv:
                yield [Receiver(head, qkv) for head in heads], gradient
            else:
                together = gradient if together is None else together + gradient
        if together is not None:
            yield [Receiver(head) for head in heads], together

    def _through_norm_of_all_heads(
        self,
        resid: Float[Tensor, "prompt pos d_model"],
        block: Block,
        qkv: QKV,
        of_vectors: Float[Tensor, "prompt head pos d_head"],
    ) -> Float[Tensor, "head prompt pos d_model"]:
        """Gradients of each head's normed input where the queries of all heads are normed in a row.

        Each head's queries are as if all heads read what it reads, so that its input reaches them
        by its own projection and, through the norm's scale, by those of all heads.
        """
        norm, (weight, _) = block.head_norm(qkv), block.projection(qkv)
        assert norm is not None
        projected = project(normalize(resid, block.ln1), block, qkv)
        n_heads = projected.shape[-2]
        # [head, prompt, pos, head, d_head]: of one head's queries only its own part counts.
        upstream = of_vectors.new_zeros(n_heads, *projected.shape)
        for head in range(n_heads):
            upstream[head, :, :, head] = of_vectors[:, head]
        through = through_norm(projected.flatten(-2), norm, upstream.flatten(-2), self.relp)
        return linear(through, weight.transpose(1, 2).flatten(0, 1))


def through_norm(
    x: Float[Tensor, "prompt pos d"],
    norm: Norm | None,
    upstream: Float[Tensor, "head prompt pos d"],
    relp: bool = False,
) -> Float[Tensor, "head prompt pos d"]:
    """Gradients before a norm from those after it, for several heads that read the same.

    Without a norm they are the same. `relp` as in `Linearized`.
    """
    if norm is None:
        return upstream
    return _derivative_of_normed(x, norm, upstream * norm.weight, relp)


def _derivative_of_normed(
    x: Float[Tensor, "prompt pos d"],
    norm: Norm,
    vectors: Float[Tensor, "several prompt pos d"],
    relp: bool,
) -> Float[Tensor, "several prompt pos d"]:
    """The derivative of a norm before its weight and bias, a symmetric matrix, times vectors.

    With y = (x - mean x) / s and s^2 = mean((x - mean x)^2) + eps (RMS norm: no mean), g becomes
    (g - [mean g] - y mean(g y)) / s; by RelP, to which s is a constant, (g - [mean g]) / s.
    """
    centred, scale = scale_of_norm(x, norm)
    through = vectors if norm.bias is None else vectors - vectors.mean(-1, keepdim=True)
    if not relp:
        y = centred * scale
        through = through - y * (vectors * y).mean(-1, keepdim=True)
    return through * scale
