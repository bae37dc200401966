"""The engine: one model, one task, their clean and corrupted runs, and the metric.

Everything is exact activation patching in one direction: the CLEAN prompts run, and what a removed
edge carries is replaced by its ablated value (from the CORRUPTED run, or zero, or a mean).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from acdc_explorer.engine.checks import check_fits, check_labels_apart
from acdc_explorer.engine.forward import (
    Run,
    attention_pattern,
    causal,
    head_slot,
    normalize,
    run,
    without_senders,
)
from acdc_explorer.engine.linear import linear
from acdc_explorer.engine.positions import PositionSet, PositionSets
from acdc_explorer.engine.weights import ModelWeights
from acdc_explorer.errors import unknown_name
from acdc_explorer.graph import QKV, Graph, Node
from acdc_explorer.metrics import METRICS, Metric, check_metric, mean_weights, values_of
from acdc_explorer.tasks.task import Task

Ablation = Literal["corrupted", "zero", "mean"]
ABLATIONS: tuple[Ablation, ...] = ("corrupted", "zero", "mean")


class Engine:
    """Evaluates circuits of one model on one task.

    Memory, in floats: prompts x positions x layers x (6 d_model + 2 heads d_head) for two runs, or
    half of that where the ablation is not `corrupted`; in a search, up to 6 d_head more for each
    head with a path to the logits and d_model for each such MLP, per prompt and position; and what
    an evaluation needs while it runs. Where the runs of all prompts are too large, they are made
    again for one slice of the prompts after the other whenever needed (`slice_size`).

    Attributes:
        weights: of the model, in the precision that the engine computes in.
        task: the prompts and the metric.
        ablation: what removed edges carry.
        graph: nodes and edges of the model.
        clean: the clean run.
        ablated: what senders would write and receivers read if all edges were removed.
        clean_by_prompt: its metric [prompt].
        sets: position sets of these prompts.
        slice_size: how many prompts' runs are in memory at once.
    """

    def __init__(
        self,
        weights: ModelWeights,
        task: Task,
        ablation: Ablation = "corrupted",
        *,
        positions: bool = False,
        split_qkv: bool = True,
        slice_size: int | None = None,
    ):
        """Runs the clean and the corrupted prompts once.

        Args:
            weights: of the model, in the precision to compute in.
            task: prompts and metric.
            ablation: what removed edges carry.
            positions: whether each position label of the task has edges of its own.
            split_qkv: whether a head's q, k and v inputs are receivers of their own.
            slice_size: how many prompts' runs to hold at once; all of them by default. Values do
                not depend on it, but with less than all every batch of tests takes two runs more.

        Raises:
            ValueError: if the task does not fit the model (vocabulary, length), the ablation is
                unknown, or labels that should have edges of their own share tokens.
        """
        if ablation not in ABLATIONS:
            raise unknown_name("ablation", ablation, ABLATIONS)
        check_fits(weights, task)
        self.weights, self.task, self.ablation = weights, task, ablation
        self.graph: Graph = self._graph(positions, split_qkv)
        self.metric: Metric = task.metric  # type: ignore[assignment]
        device = weights.device
        self._answers = task.answer_tokens.to(device)
        self._wrong = task.wrong_tokens.to(device)
        self._rows = range(task.n_prompts)
        self._end = end = task.end.to(device)
        clean_tokens = task.clean_tokens.to(device)
        corrupted_tokens = task.corrupted_tokens.to(device)
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
        self.slice_size = min(slice_size or len(end), len(end))
        self._mean: Run | None = None
        self.forget()
        if ablation == "mean":
            self._mean = self._mean_run()
        finals = self.by_part(lambda part: part.sets.end.take(part.clean.resid_final)[:, 0])
        self.final_at_end: Float[Tensor, "prompt d_model"] = finals
        # Of a slice, the engine of all prompts.
        self._whole = self
        self.clean_by_prompt = self._checked_clean_values()

    def forget(self) -> None:
        """Lets go of the two runs and of what was made from them; they are made again if needed."""
        self._runs: tuple[Run, Run] | None = None
        self._deltas_at_end: Tensor | None = None
        self._slots: dict[tuple[Node, QKV], Tensor] = {}

    @property
    def clean(self) -> Run:
        """The clean run."""
        return self._both_runs()[0]

    @property
    def ablated(self) -> Run:
        """What senders would write and receivers read if all edges were removed."""
        return self._both_runs()[1]

    def _both_runs(self) -> tuple[Run, Run]:
        assert self.slice_size == self.n_prompts, "too large at once; see `parts`"
        if self._runs is None:
            clean = self._run(self.task.clean_tokens)
            self._runs = clean, self._ablated_run(clean)
        return self._runs

    def _run(self, tokens: Int[Tensor, "prompt pos"]) -> Run:
        rows = slice(self._rows.start, self._rows.stop)
        return run(self.weights, tokens[rows].to(self.weights.device))

    def _ablated_run(self, clean: Run) -> Run:
        if self.ablation == "zero":
            return without_senders(clean, self.weights)
        if self._mean is not None:
            return self._mean.map(lambda mean, tensor: mean.expand_as(tensor), clean)
        return self._run(self.task.corrupted_tokens)

    def _mean_run(self) -> Run:
        """The mean of the corrupted runs, one prompt long.

        At each position it is that of the prompts that reach it: what stands after END is padding.
        """
        positions = torch.arange(self.task.n_positions, device=self._end.device)
        in_prompt = (positions <= self._end[:, None])[..., None]
        n_prompts = in_prompt.sum(0).clamp_min(1)
        total: Run | None = None
        for part in self.parts():
            counted = in_prompt[part._rows.start : part._rows.stop]

            def sum_over_prompts(tensor: Tensor, counted: Tensor = counted) -> Tensor:
                # Heads' outputs have an axis of heads between prompts and positions.
                mask = counted if tensor.ndim == 3 else counted[:, None]
                return torch.where(mask, tensor, 0).sum(0, keepdim=True)

            run = part._run(self.task.corrupted_tokens).map(sum_over_prompts)
            total = run if total is None else total.map(torch.add, run)
        assert total is not None
        return total.map(lambda tensor: tensor / n_prompts)

    def parts(self, at_most: int | None = None) -> Iterator[Engine]:
        """The engine, or engines for slices of its prompts, of so many that their runs fit.

        Args:
            at_most: how many prompts to a part, if less.
        """
        size = min(self.slice_size, at_most or self.slice_size)
        if size == self.n_prompts:
            yield self
            return
        for start in range(0, self.n_prompts, size):
            yield self.part(slice(start, start + size))

    def by_part(self, function: Callable[[Engine], Tensor]) -> Tensor:
        """What a function makes of each part, whose first axis is prompts, put together."""
        return torch.cat([function(part) for part in self.parts()])

    @cached_property
    def full_metric(self) -> float:
        """The metric of the clean run, that is, with no edge removed."""
        return mean_metric(self.clean_by_prompt)

    @cached_property
    def corrupted_by_prompt(self) -> Float[Tensor, " prompt"]:
        """The metric with every edge removed: under `corrupted` ablation, the corrupted run's."""
        finals = self.by_part(lambda part: part.sets.end.take(part.ablated.resid_final)[:, 0])
        return self.metric_by_prompt(finals)

    @cached_property
    def corrupted_metric(self) -> float:
        """The metric with every edge removed."""
        return mean_metric(self.corrupted_by_prompt)

    @property
    def n_prompts(self) -> int:
        """The number of prompts."""
        return len(self._end)

    @property
    def flops_of_runs(self) -> float:
        """About what making the clean and the ablated run takes, in floating-point operations."""
        weights = self.weights
        n_weights = sum(
            4 * block.W_Q.numel() + (block.mlp.n_weights if block.mlp else 0)
            for block in weights.blocks
        )
        n_runs = 2 if self.ablation == "corrupted" else 1
        return n_runs * 2.0 * n_weights * self.n_prompts * self.task.n_positions

    def delta(self, sender_index: int, at: PositionSet) -> Float[Tensor, "prompt width d_model"]:
        """What removing a sender's edge adds to a receiver: ablated output minus clean output.

        Holds where the receiver is the first one upwards of all removed edges, since then the
        sender still has its clean output; in general see `patched.py`.
        """
        sender = self.graph.senders[sender_index]
        delta = self.output_delta(sender, at)
        if sender.kind != "head":
            return delta
        return linear(delta, self.weights.blocks[sender.layer].W_O[sender.head])

    def output_delta(self, sender: Node, at: PositionSet) -> Float[Tensor, "prompt width feature"]:
        """The same before a head's W_O."""
        return at.take(self.ablated.output_of(sender)) - at.take(self.clean.output_of(sender))

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
        return {label: self.sets.of(masks[label].numpy()[list(self._rows)]) for label in masks}

    def clean_slot(self, head: Node, qkv: QKV) -> Float[Tensor, "prompt pos d_head"]:
        """A head's queries, keys or values in the clean run; kept, since every test needs some."""
        key = head, qkv
        if key not in self._slots:
            self._slots[key] = head_slot(self.clean.input_of(head), self.weights, head, qkv)
        return self._slots[key]

    def clean_pattern(self, head: Node) -> Float[Tensor, "prompt query key"]:
        """A head's attention in the clean run."""
        return self.by_part(lambda part: part._clean_pattern(head))

    def _clean_pattern(self, head: Node) -> Tensor:
        q, k = (self.clean_slot(head, qkv) for qkv in ("q", "k"))
        allowed = causal(q.shape[1], q.device, self.weights.blocks[head.layer].window)
        return attention_pattern(q, k, allowed, self.weights.attn_scale)

    def metric_by_prompt(
        self, final: Float[Tensor, "*batch prompt d_model"]
    ) -> Float[Tensor, "*batch prompt"]:
        """The metric for values of the final stream at END.

        Raises:
            ValueError: if a metric that is a function returns anything but finite values.
        """
        if self.metric.linear:
            normed = normalize(final, self.weights.ln_final)
            direction, offset = self._direction
            return torch.einsum("...nd,nd->...n", normed, direction) + offset
        if self.metric.takes_batches:
            return self.metric.per_prompt(
                self._logits(final), self._answers, self._wrong, self.clean_logits
            )
        circuits = final.reshape(-1, *final.shape[-2:])
        return torch.stack([self._values_of_one(each) for each in circuits]).view(final.shape[:-1])

    def _values_of_one(self, final: Float[Tensor, "prompt d_model"]) -> Float[Tensor, " prompt"]:
        """The values of a metric that sees one circuit and all prompts at a time."""
        whole, start, stop = self._whole, self._rows.start, self._rows.stop
        # The prompts of other slices are clean meanwhile: values do not depend on one another.
        clean = whole.clean_logits
        logits = torch.cat([clean[:start], self._logits(final), clean[stop:]])
        values = values_of(self.metric, logits, whole._answers, whole._wrong, clean)
        return values[start:stop]

    def _checked_clean_values(self) -> Float[Tensor, " prompt"]:
        """The metric of the clean run, once it is sure to be one."""
        if self.metric is METRICS.get(self.metric.name):
            values = self.metric_by_prompt(self.final_at_end)
            if not values.isfinite().all():
                raise ValueError(
                    f"metric {self.metric.name!r} is not finite on the clean prompts: {values}"
                )
            return values
        values = values_of(
            self.metric, self.clean_logits.clone(), self._answers, self._wrong, self.clean_logits
        )
        check_metric(self.metric, self.clean_logits, self._answers, self._wrong)
        if self.metric.linear:
            by_direction = self.metric_by_prompt(self.final_at_end)
            if not torch.allclose(by_direction, values, rtol=1e-4, atol=1e-4):
                raise ValueError(
                    f"metric {self.metric.name!r} is said to be linear, but is not the mean answer "
                    f"logit minus the mean wrong logit: {values} on the clean prompts, where that "
                    f"is {by_direction}"
                )
        return values

    @cached_property
    def metric_has_gradient(self) -> bool:
        """Whether the metric can be differentiated, as attribution must."""
        with torch.enable_grad():
            final = self.final_at_end.detach().requires_grad_()
            try:
                return self.metric_by_prompt(final).requires_grad
            except RuntimeError:
                # "Can't call numpy() on Tensor that requires grad", and the like.
                return False

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
            check_labels_apart(self.task)
        labels = tuple(self.task.position_masks) if positions else ()
        return self.weights.graph_with(split_qkv, labels)

    def part(self, rows: slice) -> Engine:
        """The same engine on some of the prompts, at most `slice_size` of them."""
        part = copy.copy(self)
        for name in (
            "full_metric",
            "corrupted_metric",
            "corrupted_by_prompt",
            "_direction",
            "clean_logits",
            "label_sets",
            "doubled",
            "metric_has_gradient",
        ):
            part.__dict__.pop(name, None)
        part.forget()
        if self._runs is not None:
            clean, ablated = (run.map(lambda tensor: tensor[rows]) for run in self._runs)
            part._runs = clean, ablated
        part._rows = self._rows[rows]
        for name in ("final_at_end", "clean_by_prompt"):
            if name in self.__dict__:
                setattr(part, name, getattr(self, name)[rows])
        part._answers, part._wrong = self._answers[rows], self._wrong[rows]
        part._end, part._first = self._end[rows], self._first[rows]
        part.sets = PositionSets(part._end, part._first, self.task.n_positions)
        part.slice_size = part.n_prompts
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
            # Twice as large.
            slice_size=self.slice_size
            if self.slice_size == self.n_prompts
            else max(1, self.slice_size // 2),
        )


def mean_metric(by_prompt: Float[Tensor, " prompt"]) -> float:
    """The number that a search looks at: the mean over prompts, summed in float64."""
    return by_prompt.double().mean().item()
