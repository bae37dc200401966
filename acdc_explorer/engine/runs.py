"""The clean and the ablated run of some of a task's prompts, and what is made from both."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from threading import Lock

import torch
from jaxtyping import Float, Int
from torch import Tensor

from acdc_explorer.engine.memory import DELTA_FLOATS, device_kind
from acdc_explorer.engine.position_sets import PositionSet, PositionSets
from acdc_explorer.graph import INPUT, QKV, Node
from acdc_explorer.models.forward import Run, run, run_of_outputs, without_senders
from acdc_explorer.models.linear import chosen, linear_each
from acdc_explorer.models.sublayers import head_vectors, write_head, write_heads
from acdc_explorer.models.weights import ModelWeights
from acdc_explorer.options import Ablation
from acdc_explorer.tasks.task import Task


class PromptRuns:
    """Both runs of some neighbouring prompts, made when they are first needed.

    Attributes:
        weights: of the model, in the precision to compute in.
        task: the prompts.
        rows: which of them.
        ablation: what removed edges carry.
        n_prompts: how many prompts these are.
        sets: their position sets.
    """

    def __init__(
        self,
        weights: ModelWeights,
        task: Task,
        rows: range,
        ablation: Ablation,
        mean: Run | None = None,
        runs: tuple[Run, Run] | None = None,
        *,
        from_the_start: bool = False,
    ):
        """Finds out where the two runs can differ.

        Args:
            weights: as above; so are the next three.
            task: likewise.
            rows: likewise.
            ablation: likewise.
            mean: for ablation "mean", the mean of the corrupted runs of all prompts, [1, ...].
            runs: the clean and the ablated run of these prompts, if they are known.
            from_the_start: whether patched runs may differ from the clean one at any token,
                whatever the two runs do.
        """
        self.weights, self.task, self.rows, self.ablation = weights, task, rows, ablation
        self.n_prompts = len(rows)
        self._mean, self._runs = mean, runs
        end = self._rows_of(task.end)
        first = torch.zeros_like(end) if from_the_start else self._first_changed(end)
        self.sets = PositionSets(end, first, task.n_positions)
        self._label_sets: dict[str, PositionSet] = {}
        # Threads that search with the same engine share these runs.
        self._lock = Lock()
        self.forget_derived()

    def _rows_of(self, of_all_prompts: Tensor) -> Tensor:
        """These prompts' part of one of the task's tensors, on the model's device."""
        return of_all_prompts[self.rows.start : self.rows.stop].to(self.weights.device)

    def _first_changed(self, end: Int[Tensor, " prompt"]) -> Int[Tensor, " prompt"]:
        """The first position of each prompt at which the two runs can differ."""
        if self.ablation != "corrupted":
            return torch.zeros_like(end)
        clean, corrupted = map(self._rows_of, (self.task.clean_tokens, self.task.corrupted_tokens))
        different = clean != corrupted
        # Causal attention: both runs are the same before the first token that differs.
        first = torch.where(different.any(1), different.int().argmax(1), different.shape[1])
        return first.minimum(end)

    def of_rows(self, start: int, stop: int) -> PromptRuns:
        """The runs of some of these prompts, counted from the first of them; tensors are shared."""
        runs = self._runs
        if runs is not None:
            clean, ablated = (each.map(lambda tensor: tensor[start:stop]) for each in runs)
            runs = clean, ablated
        rows = self.rows[start:stop]
        return PromptRuns(self.weights, self.task, rows, self.ablation, self._mean, runs)

    def from_the_start(self) -> PromptRuns:
        """The same runs, for patched ones that may differ from the first token on."""
        runs = self._both()
        return PromptRuns(
            self.weights, self.task, self.rows, self.ablation, self._mean, runs, from_the_start=True
        )

    def between(self, before: Run, after: Run) -> PromptRuns:
        """The same prompts with other runs in the place of the clean and the ablated one."""
        runs = before, after
        return PromptRuns(self.weights, self.task, self.rows, self.ablation, runs=runs)

    def forget(self) -> None:
        """Lets go of the two runs and of what was made from them; they are made again if needed."""
        self._runs = None
        self.forget_derived()

    def forget_derived(self) -> None:
        """Lets go of what was made from the two runs."""
        # Block and positions -> differences; what was used last is last here.
        self._block_deltas: dict[tuple[int, PositionSet], Tensor] = {}
        self._heads_deltas: dict[int, Tensor] = {}
        self._clean_vectors: dict[tuple[Node, QKV], Tensor] = {}

    @property
    def clean(self) -> Run:
        """The clean run."""
        return self._both()[0]

    @property
    def ablated(self) -> Run:
        """What senders would write and receivers read if all edges were removed."""
        return self._both()[1]

    def _both(self) -> tuple[Run, Run]:
        # Another thread may let go of them meanwhile.
        runs = self._runs
        if runs is None:
            clean = run(self.weights, self._rows_of(self.task.clean_tokens))
            runs = self._runs = clean, self._ablated_run(clean)
        return runs

    def _ablated_run(self, clean: Run) -> Run:
        if self.ablation == "zero":
            return without_senders(clean, self.weights)
        if self.ablation == "mean":
            assert self._mean is not None
            return self._mean.map(lambda mean, tensor: mean.expand_as(tensor), clean)
        return self.corrupted_run()

    @property
    def corrupted(self) -> Run:
        """The run of the corrupted prompts; made anew where removed edges carry something else."""
        return self.ablated if self.ablation == "corrupted" else self.corrupted_run()

    def corrupted_run(self) -> Run:
        """The run of the corrupted prompts, made anew."""
        return run(self.weights, self._rows_of(self.task.corrupted_tokens))

    def label_set(self, label: str) -> PositionSet:
        """The positions of a label of the task, or of "rest"."""
        if label not in self._label_sets:
            mask = self.task.position_masks[label][self.rows.start : self.rows.stop]
            self._label_sets[label] = self.sets.of(mask.numpy())
        return self._label_sets[label]

    def delta(self, sender_index: int, at: PositionSet) -> Float[Tensor, "prompt width d_model"]:
        """What removing a sender's edge adds to a receiver: ablated output minus clean output.

        Holds where the receiver is the first one upwards of all removed edges, since then the
        sender still has its clean output; in general see `evaluate.py`.
        """
        sender = self.weights.graph.senders[sender_index]
        return write_head(self.output_delta(sender, at), self.weights, sender)

    def output_delta(self, sender: Node, at: PositionSet) -> Float[Tensor, "prompt width feature"]:
        """The same before a head's W_O."""
        return at.take(self.ablated.output_of(sender)) - at.take(self.clean.output_of(sender))

    def deltas(
        self, sender_indices: Sequence[int], at: PositionSet
    ) -> Float[Tensor, "sender prompt width d_model"]:
        """`delta` of several senders, in a tensor of its own."""
        senders, pieces = self.weights.graph.senders, []
        for layer, group in groupby(sender_indices, lambda index: senders[index].layer):
            indices, of_block = list(group), self.deltas_of_block(layer, at)
            latest = self._latest_sender(layer)
            pieces.append(chosen(of_block, [latest - index for index in indices]))
        return torch.cat(pieces)

    def deltas_of_block(
        self, layer: int, at: PositionSet
    ) -> Float[Tensor, "sender prompt width d_model"]:
        """`delta` of all senders of a block, the latest first, as they are tested.

        Kept as long as there is room: receivers that matter at the same positions ask for the same.

        Args:
            layer: of the block, or that of the input.
            at: the positions.
        """
        key, kept = (layer, at), self._block_deltas
        with self._lock:
            found = kept.pop(key, None)
        if found is None:
            found = self._make_deltas(layer, at)
        with self._lock:
            # At the end: what was asked for last is let go of last.
            kept[key] = found
            n_floats = sum(deltas.numel() for deltas in kept.values())
            while n_floats > DELTA_FLOATS[device_kind(self.weights.device)] and len(kept) > 1:
                n_floats -= kept.pop(next(iter(kept))).numel()
        return found

    def all_deltas(self, at: PositionSet) -> Float[Tensor, "sender prompt width d_model"]:
        """`delta` of every sender, in the order of the graph; nothing is kept of it."""
        total: Tensor | None = None
        for layer in range(INPUT.layer, self.weights.graph.n_layers):
            of_block, latest = self._make_deltas(layer, at), self._latest_sender(layer)
            if total is None:
                n_senders = len(self.weights.graph.senders)
                total = of_block.new_empty(n_senders, *of_block.shape[1:])
            total[latest + 1 - len(of_block) : latest + 1] = of_block.flip(0)
        assert total is not None
        return total

    def _latest_sender(self, layer: int) -> int:
        """The index of a block's last sender."""
        graph = self.weights.graph
        if layer == INPUT.layer:
            return 0
        return graph.sender_index[Node("head", layer, graph.n_heads - 1)] + graph.has_mlps

    def _make_deltas(self, layer: int, at: PositionSet) -> Tensor:
        graph = self.weights.graph
        if layer == INPUT.layer:
            return self.delta(0, at)[None]
        heads = range(graph.n_heads - 1, -1, -1)
        z = at.take(self.z_delta(layer).transpose(0, 1).flip(0))
        deltas = linear_each(z, self.weights.blocks[layer].W_O, None, heads)
        if graph.has_mlps:
            deltas = torch.cat([self.delta(self._latest_sender(layer), at)[None], deltas])
        return deltas

    def heads_delta(
        self, layer: int, heads: Sequence[int], at: PositionSet
    ) -> Float[Tensor, "prompt width d_model"]:
        """The sum of `delta` over some heads of a block."""
        block = self.weights.blocks[layer]
        if len(heads) < len(block.W_O):
            z = at.take(chosen(self.z_delta(layer).transpose(0, 1), heads)).transpose(0, 1)
            return write_heads(z, block, heads)
        if layer not in self._heads_deltas:
            self._heads_deltas[layer] = write_heads(self.z_delta(layer), block)
        return at.take(self._heads_deltas[layer])

    def z_delta(self, layer: int) -> Float[Tensor, "prompt head pos d_head"]:
        """How the ablated outputs of a block's heads before W_O differ from the clean ones."""
        return self.ablated.z[layer] - self.clean.z[layer]

    def clean_vectors(self, head: Node, qkv: QKV) -> Float[Tensor, "prompt pos d_head"]:
        """A head's queries, keys or values in the clean run; kept, since every test needs some."""
        key = head, qkv
        if key not in self._clean_vectors:
            stream = self.clean.input_of(head)
            self._clean_vectors[key] = head_vectors(stream, self.weights, head, qkv)
        return self._clean_vectors[key]


def mean_of_corrupted(slices: Sequence[PromptRuns]) -> Run:
    """The mean of the corrupted runs, one prompt long; at each position, of those that reach it.

    What stands after END is padding.
    """
    task, device = slices[0].task, slices[0].weights.device
    positions = torch.arange(task.n_positions, device=device)
    in_prompt = (positions <= task.end.to(device)[:, None])[..., None]
    n_reaching = in_prompt.sum(0).clamp_min(1)
    total: Run | None = None
    for runs in slices:
        counted = in_prompt[runs.rows.start : runs.rows.stop]

        def sum_over_prompts(tensor: Tensor, counted: Tensor = counted) -> Tensor:
            # Heads' outputs have an axis of heads between prompts and positions.
            mask = counted if tensor.ndim == 3 else counted[:, None]
            return torch.where(mask, tensor, 0).sum(0, keepdim=True)

        sums = runs.corrupted_run().map(sum_over_prompts)
        total = sums if total is None else total.map(torch.add, sums)
    assert total is not None
    mean = total.map(lambda tensor: tensor / n_reaching)
    # Where what heads write together is normed, the mean of streams is not what means make.
    return run_of_outputs(slices[0].weights, mean.resid_pre[0], mean.z, mean.mlp_out)
