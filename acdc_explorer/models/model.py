"""A loaded model."""

from __future__ import annotations

from collections import OrderedDict
from functools import cached_property
from typing import TYPE_CHECKING

from acdc_explorer.engine.engine import Ablation, Engine
from acdc_explorer.engine.weights import ModelWeights, extract_weights
from acdc_explorer.graph import Graph
from acdc_explorer.models.memory import prompts_that_fit
from acdc_explorer.tasks.task import Task

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedTokenizerBase

_ENGINES_KEPT = 2


class Model:
    """A TransformerBridge with its name, its weights, and the engines made for it.

    Attributes:
        bridge: the TransformerLens model; only the reference implementation runs it.
        name: as it was asked for.
        weights: what the engine computes with, checked against the bridge's logits.
        memory_gib: what the activations of a task's prompts may take, in GiB; None: half of what is
            free when they are made. Where they do not fit, they are made again slice by slice for
            every batch of tests, with the same results.
    """

    def __init__(self, bridge: TransformerBridge, name: str, memory_gib: float | None = None):
        """Takes the weights out of the bridge.

        Raises:
            UnsupportedModelError: if the engine cannot reproduce the model.
            ValueError: if the memory is not a positive number.
        """
        if memory_gib is not None and not memory_gib > 0:
            raise ValueError(f"memory_gib must be a positive number of GiB; got {memory_gib!r}")
        self.bridge, self.name, self.memory_gib = bridge, name, memory_gib
        self.weights: ModelWeights = extract_weights(bridge)
        # By task and ablation; within, by (positions, split_qkv): those share their tensors.
        self._engines: OrderedDict[tuple[int, str], dict[tuple[bool, bool], Engine]] = OrderedDict()

    @property
    def graph(self) -> Graph:
        """Nodes and edges."""
        return self.weights.graph

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase | None:
        """The model's tokenizer, or None if it came without one."""
        return self.bridge.tokenizer

    @cached_property
    def prepend_bos(self) -> bool:
        """Whether prompts start with the beginning-of-text token, as TransformerLens does it."""
        return bool(getattr(self.bridge.cfg, "default_prepend_bos", True))

    def engine(
        self,
        task: Task,
        ablation: Ablation = "corrupted",
        *,
        positions: bool = False,
        split_qkv: bool = True,
    ) -> Engine:
        """The engine for a task; the last few are kept, since each holds both runs' activations.

        Args:
            task: prompts and metric.
            ablation: what removed edges carry.
            positions: whether each position label has edges of its own.
            split_qkv: whether a head's q, k and v inputs have.
        """
        key = (id(task), ablation)
        variants = self._engines.pop(key, None)
        if variants is None:
            fitting = prompts_that_fit(self.weights, task, ablation, self.memory_gib)
            variants = {(False, True): Engine(self.weights, task, ablation, slice_size=fitting)}
        self._engines[key] = variants
        while len(self._engines) > _ENGINES_KEPT:
            self._engines.popitem(last=False)
        wanted = positions, split_qkv
        if wanted not in variants:
            base = variants[False, True]
            variants[wanted] = base.with_graph(positions=positions, split_qkv=split_qkv)
        return variants[wanted]

    def __repr__(self) -> str:
        graph = self.graph
        return (
            f"Model({self.name!r}, {graph.n_layers} layers x {graph.n_heads} heads, "
            f"{graph.n_edges:,} edges, on {self.weights.device})"
        )
