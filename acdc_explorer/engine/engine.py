"""The engine: one model, one task, their clean and ablated runs, and the metric.

Everything is exact activation patching in one direction: the CLEAN prompts run, and what a removed
edge carries is replaced by its ablated value (from the CORRUPTED run, or zero, or a mean).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from acdc_explorer.engine.checks import check_fits, check_labels_apart
from acdc_explorer.engine.memory import MemoryNeed, memory_need
from acdc_explorer.engine.runs import PromptRuns, mean_of_corrupted
from acdc_explorer.engine.scoring import Scoring, mean_metric
from acdc_explorer.errors import unknown_name
from acdc_explorer.graph import Graph
from acdc_explorer.metrics import Metric
from acdc_explorer.models.weights import ModelWeights
from acdc_explorer.options import ABLATIONS, Ablation
from acdc_explorer.progress import working_on
from acdc_explorer.tasks.task import Task


class Engine:
    """What one model and one task need to be searched and evaluated, put together.

    Where the runs of all prompts are too large for memory (`memory.py`), they are made again for
    one slice of the prompts after the other whenever needed (`slice_size`).

    Attributes:
        weights: of the model, in the precision that the engine computes in.
        task: the prompts and the metric.
        ablation: what removed edges carry.
        graph: nodes and edges of the model.
        slice_size: how many prompts' runs are in memory at once.
        slices: the runs of the prompts, slice by slice; as a rule there is one slice.
        scoring: from the final stream to the metric.
        attributions: scores of all edges, once they are known, by method, points on the way and
            prompts (`searches/attribution.py`).
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
        sharing: Engine | None = None,
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
            sharing: an engine of the same weights, task and ablation, whose runs serve this one
                too: they do not depend on how edges are divided.

        Raises:
            ValueError: if the task does not fit the model (vocabulary, length), the ablation is
                unknown, or labels that should have edges of their own share tokens.
        """
        if ablation not in ABLATIONS:
            raise unknown_name("ablation", ablation, ABLATIONS)
        check_fits(weights, task)
        if positions:
            check_labels_apart(task)
        self.weights, self.task, self.ablation = weights, task, ablation
        labels = tuple(task.position_masks) if positions else ()
        self.graph: Graph = weights.graph_with(split_qkv, labels)
        self.attributions: dict[tuple[str, int, int], Float[np.ndarray, "receiver sender"]] = {}
        if sharing is not None:
            self.slice_size: int = sharing.slice_size
            self.slices: tuple[PromptRuns, ...] = sharing.slices
            self.scoring: Scoring = sharing.scoring
            return
        self.slice_size = min(slice_size or task.n_prompts, task.n_prompts)
        self.slices = self._slices()
        self.scoring = Scoring(
            weights, task, self._final_at_end(lambda runs: runs.clean.resid_final)
        )

    def _slices(self) -> tuple[PromptRuns, ...]:
        prompts, size = range(self.task.n_prompts), self.slice_size
        rows = [prompts[start : start + size] for start in range(0, len(prompts), size)]
        slices = [PromptRuns(self.weights, self.task, each, self.ablation) for each in rows]
        if self.ablation == "mean":
            mean = mean_of_corrupted(slices)
            slices = [PromptRuns(self.weights, self.task, each, "mean", mean) for each in rows]
        return tuple(slices)

    def _final_at_end(
        self, final: Callable[[PromptRuns], Tensor]
    ) -> Float[Tensor, "prompt d_model"]:
        return self.by_slice(lambda runs: runs.sets.end.take(final(runs))[:, 0])

    @property
    def is_sliced(self) -> bool:
        """Whether there are several slices, whose runs are made again whenever needed."""
        return len(self.slices) > 1

    def by_slice(self, function: Callable[[PromptRuns], Tensor]) -> Tensor:
        """What a function makes of each slice, whose first axis is prompts, put together."""
        values = []
        for runs in self.slices:
            values.append(function(runs))
            self.leave(runs)
        return torch.cat(values)

    def leave(self, runs: PromptRuns) -> None:
        """Says that others than these prompts are next: where not all fit, their runs go."""
        if self.is_sliced:
            runs.forget()

    def batches(self, at_most: int) -> Iterator[PromptRuns]:
        """All prompts' runs, so many prompts at a time at most."""
        for runs in self.slices:
            try:
                if runs.n_prompts <= at_most:
                    yield runs
                else:
                    for start in range(0, runs.n_prompts, at_most):
                        yield runs.of_rows(start, start + at_most)
            finally:
                self.leave(runs)

    def runs_of(self, row: int) -> PromptRuns:
        """The runs of one prompt, by its number."""
        runs = self.slices[row // self.slice_size]
        place = row - runs.rows.start
        return runs.of_rows(place, place + 1)

    @property
    def n_prompts(self) -> int:
        """The number of prompts."""
        return self.task.n_prompts

    @property
    def metric(self) -> Metric:
        """The task's metric."""
        return self.scoring.metric

    @property
    def clean_by_prompt(self) -> Float[Tensor, " prompt"]:
        """The metric of the clean run, that is, with no edge removed."""
        return self.scoring.clean_values

    @cached_property
    def full_metric(self) -> float:
        """Its mean over prompts."""
        return mean_metric(self.clean_by_prompt)

    @cached_property
    def corrupted_by_prompt(self) -> Float[Tensor, " prompt"]:
        """The metric with every edge removed: under `corrupted` ablation, the corrupted run's."""
        return self.scoring.values(self._final_at_end(lambda runs: runs.ablated.resid_final))

    @cached_property
    def corrupted_metric(self) -> float:
        """Its mean over prompts."""
        return mean_metric(self.corrupted_by_prompt)

    @property
    def most_changed_positions(self) -> int:
        """The largest number of positions of any prompt at which the two runs can differ."""
        return max(runs.sets.changed.width for runs in self.slices)

    def flops_of_runs(self) -> float:
        """About what making all clean and ablated runs takes, in floating-point operations."""
        weights = self.weights
        n_weights = sum(
            4 * block.W_Q.numel() + (block.mlp.n_weights if block.mlp else 0)
            for block in weights.blocks
        )
        n_runs = 2 if self.ablation == "corrupted" else 1
        return n_runs * 2.0 * n_weights * self.n_prompts * self.task.n_positions

    @property
    def memory_need(self) -> MemoryNeed:
        """What a search takes beside the model's weights."""
        return memory_need(self.weights, self.task, self.ablation, self.slice_size)

    def with_graph(self, *, positions: bool, split_qkv: bool) -> Engine:
        """An engine with other edges that shares this one's runs.

        Args:
            positions: as in the constructor.
            split_qkv: likewise.

        Raises:
            ValueError: if labels share tokens.
        """
        return Engine(
            self.weights,
            self.task,
            self.ablation,
            positions=positions,
            split_qkv=split_qkv,
            sharing=self,
        )

    @cached_property
    def in_float64(self) -> Engine:
        """The same engine in float64, which decides edges too close to the threshold."""
        with working_on("running the prompts in float64"):
            return Engine(
                self.weights.double(),
                self.task,
                self.ablation,
                positions=bool(self.graph.labels),
                split_qkv=self.graph.split_qkv,
                # Twice as large.
                slice_size=max(1, self.slice_size // 2) if self.is_sliced else None,
            )
