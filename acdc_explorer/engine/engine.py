"""The engine: one model, one task, their clean and corrupted runs, and the metric.

Everything is exact activation patching in one direction: the CLEAN prompts run, and what a removed
edge carries is replaced by its ablated value (from the CORRUPTED run, or zero, or a mean).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from itertools import combinations
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from acdc_explorer.engine.forward import (
    Run,
    attention_pattern,
    causal,
    head_slot,
    normalize,
    run,
)
from acdc_explorer.engine.linear import linear
from acdc_explorer.engine.positions import PositionSet, PositionSets
from acdc_explorer.engine.weights import ModelWeights
from acdc_explorer.errors import unknown_name
from acdc_explorer.graph import QKV, REST, Graph, Node
from acdc_explorer.metrics import NO_TOKEN, Metric, mean_weights
from acdc_explorer.tasks.task import Task

Ablation = Literal["corrupted", "zero", "mean"]
ABLATIONS: tuple[Ablation, ...] = ("corrupted", "zero", "mean")


class Engine:
    """Evaluates circuits of one model on one task.

    Memory, in floats: prompts x positions x layers x (6 d_model + 2 heads d_head) for two runs, or
    half of that where the ablation is not `corrupted`; in a search, up to 6 d_head more for each
    head with a path to the logits and d_model for each such MLP, per prompt and position; and what
    an evaluation needs while it runs.

    Attributes:
        weights: of the model, in the precision that the engine computes in.
        task: the prompts and the metric.
        ablation: what removed edges carry.
        graph: nodes and edges of the model.
        clean: the clean run.
        ablated: what senders would write and receivers read if all edges were removed.
        clean_by_prompt: its metric [prompt].
        sets: position sets of these prompts.
    """

    def __init__(
        self,
        weights: ModelWeights,
        task: Task,
        ablation: Ablation = "corrupted",
        *,
        positions: bool = False,
        split_qkv: bool = True,
    ):
        """Runs the clean and the corrupted prompts once.

        Args:
            weights: of the model, in the precision to compute in.
            task: prompts and metric.
            ablation: what removed edges carry.
            positions: whether each position label of the task has edges of its own.
            split_qkv: whether a head's q, k and v inputs are receivers of their own.

        Raises:
            ValueError: if the task does not fit the model (vocabulary, length), the ablation is
                unknown, or labels that should have edges of their own share tokens.
        """
        if ablation not in ABLATIONS:
            raise unknown_name("ablation", ablation, ABLATIONS)
        _check_fits(weights, task)
        self.weights, self.task, self.ablation = weights, task, ablation
        self.graph: Graph = self._graph(positions, split_qkv)
        self.metric: Metric = task.metric  # type: ignore[assignment]
        device = weights.device
        self._answers = task.answer_tokens.to(device)
        self._wrong = task.wrong_tokens.to(device)
        self._rows = slice(None)
        self._end = end = task.end.to(device)
        clean_tokens = task.clean_tokens.to(device)
        corrupted_tokens = task.corrupted_tokens.to(device)
        self.clean: Run = run(weights, clean_tokens)
        corrupted = run(weights, corrupted_tokens)
        different = clean_tokens != corrupted_tokens
        if ablation == "corrupted":
            # Causal attention: both runs are the same before the first token that differs.
            length = different.shape[1]
            first = torch.where(different.any(1), different.int().argmax(1), length)
            first = first.minimum(end)
        else:
            first = torch.zeros_like(end)
        self._first = first
        self.sets = PositionSets(end, first, task.n_positions)
        self._deltas_at_end: Tensor | None = None
        self._slots: dict[tuple[Node, QKV], Tensor] = {}
        self.ablated: Run = _ablated(corrupted, weights, ablation)
        self.final_at_end = self.sets.end.take(self.clean.resid_final)[:, 0]
        self.clean_by_prompt = self.metric_by_prompt(self.final_at_end)
        if self.clean_by_prompt.shape != end.shape or not self.clean_by_prompt.isfinite().all():
            raise ValueError(
                f"metric {self.metric.name!r} must give one finite number per prompt "
                f"({len(end)}); on the clean prompts it gave shape "
                f"{list(self.clean_by_prompt.shape)}: {self.clean_by_prompt}"
            )

    @cached_property
    def full_metric(self) -> float:
        """The metric of the clean run, that is, with no edge removed."""
        return mean_metric(self.clean_by_prompt)

    @cached_property
    def corrupted_by_prompt(self) -> Float[Tensor, " prompt"]:
        """The metric with every edge removed: under `corrupted` ablation, the corrupted run's."""
        return self.metric_by_prompt(self.sets.end.take(self.ablated.resid_final)[:, 0])

    @cached_property
    def corrupted_metric(self) -> float:
        """The metric with every edge removed."""
        return mean_metric(self.corrupted_by_prompt)

    @property
    def n_prompts(self) -> int:
        """The number of prompts."""
        return len(self._end)

    def delta(self, sender_index: int, at: PositionSet) -> Float[Tensor, "prompt width d_model"]:
        """What removing a sender's edge adds to a receiver: ablated output minus clean output.

        Holds where the receiver is the first one upwards of all removed edges, since then the
        sender still has its clean output; in general see `patched.py`.
        """
        sender = self.graph.senders[sender_index]
        ablated, clean = (
            at.take(self.output_in(run, sender)) for run in (self.ablated, self.clean)
        )
        if sender.kind != "head":
            return ablated - clean
        return linear(ablated - clean, self.weights.blocks[sender.layer].W_O[sender.head])

    def output_in(self, run: Run, sender: Node) -> Float[Tensor, "prompt pos feature"]:
        """What a sender writes in the clean or the ablated run; a head's, before W_O."""
        if sender.kind == "input":
            return run.resid_pre[0]
        return (
            run.mlp_out[sender.layer]
            if sender.kind == "mlp"
            else run.z[sender.layer][:, sender.head]
        )

    def deltas(
        self, sender_indices: Sequence[int], at: PositionSet
    ) -> Float[Tensor, "sender prompt width d_model"]:
        """`delta` of several senders, in a tensor of its own."""
        if at is not self.sets.end:
            return torch.stack([self.delta(sender, at) for sender in sender_indices])
        # Every search asks for these again and again: most receivers matter at END alone.
        if self._deltas_at_end is None:
            senders = range(len(self.graph.senders))
            self._deltas_at_end = torch.stack([self.delta(sender, at) for sender in senders])
        return self._deltas_at_end[list(sender_indices)]

    @cached_property
    def label_sets(self) -> dict[str, PositionSet]:
        """Position label -> its positions."""
        masks = self.task.position_masks
        return {label: self.sets.of(masks[label][self._rows].numpy()) for label in masks}

    def input_in(self, run: Run, node: Node) -> Float[Tensor, "prompt pos d_model"]:
        """What a node's receivers read in the clean run, or if all senders were ablated."""
        if node.kind == "logits":
            return run.resid_final
        return (run.mlp_in if node.kind == "mlp" else run.resid_pre)[node.layer]

    def clean_slot(self, head: Node, qkv: QKV) -> Float[Tensor, "prompt pos d_head"]:
        """A head's queries, keys or values in the clean run; kept, since every test needs some."""
        key = head, qkv
        if key not in self._slots:
            self._slots[key] = head_slot(self.input_in(self.clean, head), self.weights, head, qkv)
        return self._slots[key]

    def clean_pattern(self, head: Node) -> Float[Tensor, "prompt query key"]:
        """A head's attention in the clean run."""
        q, k = (self.clean_slot(head, qkv) for qkv in ("q", "k"))
        allowed = causal(q.shape[1], q.device, self.weights.blocks[head.layer].window)
        return attention_pattern(q, k, allowed, self.weights.attn_scale)

    def metric_by_prompt(
        self, final: Float[Tensor, "*batch prompt d_model"]
    ) -> Float[Tensor, "*batch prompt"]:
        """The metric for values of the final stream at END."""
        if self.metric.linear:
            normed = normalize(final, self.weights.ln_final)
            direction, offset = self._direction
            return torch.einsum("...nd,nd->...n", normed, direction) + offset
        return self.metric.per_prompt(
            self._logits(final), self._answers, self._wrong, self.clean_logits
        )

    def _logits(self, final: Tensor) -> Tensor:
        normed = normalize(final, self.weights.ln_final)
        return linear(normed, self._unembedding, self.weights.b_U)

    @cached_property
    def _unembedding(self) -> Float[Tensor, "d_model vocab"]:
        return self.weights.W_U.to(self.weights.dtype)

    @cached_property
    def clean_logits(self) -> Float[Tensor, "prompt vocab"]:
        """The clean run's logits at END."""
        return self._logits(self.final_at_end)

    @cached_property
    def _direction(self) -> tuple[Tensor, Tensor]:
        """The direction [prompt, d_model] and offset [prompt] of a metric linear in the logits."""
        W_U, b_U = self.weights.W_U, self.weights.b_U
        # Token -1, where a prompt has fewer answers than others, counts nothing.
        shares = [(tokens, mean_weights(tokens).to(b_U)) for tokens in (self._answers, self._wrong)]
        direction, wrong_direction = (
            torch.einsum("na,nad->nd", share, W_U.T[tokens].to(share)) for tokens, share in shares
        )
        offset, wrong_offset = ((share * b_U[tokens]).sum(1) for tokens, share in shares)
        return direction - wrong_direction, offset - wrong_offset

    def with_graph(self, *, positions: bool, split_qkv: bool) -> Engine:
        """The same engine with other edges; it shares this one's tensors.

        Args:
            positions: as in the constructor.
            split_qkv: likewise.

        Raises:
            ValueError: if labels share tokens.
        """
        graph = self._graph(positions, split_qkv)
        if graph is self.graph:
            return self
        other = copy.copy(self)
        other.graph = graph
        other.__dict__.pop("doubled", None)
        return other

    def _graph(self, positions: bool, split_qkv: bool) -> Graph:
        if positions:
            _check_labels_apart(self.task)
        labels = tuple(self.task.position_masks) if positions else ()
        return self.weights.graph_with(split_qkv, labels)

    def part(self, rows: slice) -> Engine:
        """The same engine on some of the prompts; its tensors are views of this one's."""
        part = copy.copy(self)
        for name in (
            "full_metric",
            "corrupted_metric",
            "corrupted_by_prompt",
            "_direction",
            "clean_logits",
            "label_sets",
            "doubled",
        ):
            part.__dict__.pop(name, None)
        part.clean, part.ablated = (
            run.map(lambda tensor: tensor[rows]) for run in (self.clean, self.ablated)
        )
        part._slots, part._deltas_at_end = {}, None
        part._rows = rows
        part._answers, part._wrong = self._answers[rows], self._wrong[rows]
        part._end, part._first = self._end[rows], self._first[rows]
        part.sets = PositionSets(part._end, part._first, self.task.n_positions)
        part.final_at_end = self.final_at_end[rows]
        part.clean_by_prompt = self.clean_by_prompt[rows]
        return part

    @cached_property
    def doubled(self) -> Engine:
        """The same engine in float64, which decides edges too close to the threshold."""
        return Engine(
            self.weights.double(),
            self.task,
            self.ablation,
            positions=bool(self.graph.labels),
            split_qkv=self.graph.split_qkv,
        )


def _ablated(corrupted: Run, weights: ModelWeights, ablation: Ablation) -> Run:
    """The outputs of the corrupted run, ablated, and the streams that they add up to."""
    if ablation == "corrupted":
        return corrupted
    if ablation == "mean":
        return corrupted.map(lambda tensor: tensor.mean(0, keepdim=True).expand_as(tensor))
    nothing = corrupted.map(lambda tensor: tensor.new_zeros(()).expand_as(tensor))
    # What is left of a stream without senders are the heads' biases.
    biases = torch.stack([block.b_O for block in weights.blocks]).cumsum(0)
    after = [bias.expand_as(corrupted.resid_final) for bias in biases]
    before = [nothing.resid_final, *after[:-1]]
    mlp_in = before if weights.parallel else after
    return replace(
        nothing,
        resid_pre=before,
        mlp_in=mlp_in[: len(corrupted.mlp_in)],
        resid_final=after[-1],
    )


def mean_metric(by_prompt: Float[Tensor, " prompt"]) -> float:
    """The number that a search looks at: the mean over prompts, summed in float64."""
    return by_prompt.double().mean().item()


def _check_labels_apart(task: Task) -> None:
    masks = {label: mask for label, mask in task.position_masks.items() if label != REST}
    for (one, at), (other, other_at) in combinations(masks.items(), 2):
        shared = (at & other_at).any(1)
        if shared.any():
            raise ValueError(
                f"task {task.name!r}: labels {one!r} and {other!r} share a token in prompt "
                f"{int(shared.nonzero()[0])}; with positions=True every token needs one label"
            )


def _check_fits(weights: ModelWeights, task: Task) -> None:
    if task.n_positions > weights.n_ctx:
        raise ValueError(
            f"task {task.name!r} has prompts of {task.n_positions} tokens, but the model reads "
            f"{weights.n_ctx} at most"
        )
    for name in ("clean_tokens", "corrupted_tokens", "answer_tokens", "wrong_tokens"):
        tokens = getattr(task, name)
        tokens = tokens[tokens != NO_TOKEN] if "answer" in name or "wrong" in name else tokens
        low, high = int(tokens.min()), int(tokens.max())
        if low < 0 or high >= weights.n_vocab:
            raise ValueError(
                f"task {task.name!r}: {name} holds ids from {low} to {high}, but the model has "
                f"{weights.n_vocab} tokens (ids 0 to {weights.n_vocab - 1})"
            )
