"""A loaded model."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from acdc_explorer.graph import Graph
from acdc_explorer.models.bridge import extract_weights
from acdc_explorer.models.weights import ModelWeights

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


# Whatever `load_model` takes.
ModelLike: TypeAlias = "str | os.PathLike[str] | PreTrainedModel | TransformerBridge | Model"


@dataclass(frozen=True)
class LoadedFrom:
    """The arguments by which a model is loaded by name, so that another process can do so too.

    Attributes:
        name: or the absolute path of a folder or file.
        device: "cpu", or "auto" where a GPU was named, which is another one elsewhere.
        revision: as `load_model` takes it; so are the others.
        allow_pickle: likewise.
        memory_gib: likewise.
    """

    name: str
    device: str = "auto"
    revision: str | None = None
    allow_pickle: bool = False
    memory_gib: float | None = None


class Model:
    """A TransformerBridge with its name and its weights.

    Attributes:
        bridge: the TransformerLens model; only the reference implementation runs it.
        name: as it was asked for; of a folder or file its own name, without the path.
        weights: what the engine computes with, checked against the bridge's logits.
        memory_gib: what the activations of a task's prompts may take, in GiB; None: so much that a
            search takes three quarters of what is free. Where they do not fit, they are made again
            slice by slice for every batch of tests, with the same results.
        note: what is to be known of its weights, as that they were dequantised; or nothing.
        loaded_from: how to load it again; None if it was not loaded by name.
    """

    def __init__(
        self,
        bridge: TransformerBridge,
        name: str,
        memory_gib: float | None = None,
        *,
        note: str = "",
        loaded_from: LoadedFrom | None = None,
    ):
        """Takes the weights out of the bridge.

        Raises:
            UnsupportedModelError: if the engine cannot reproduce the model.
            ValueError: if the memory is not a positive number.
        """
        if memory_gib is not None and not memory_gib > 0:
            raise ValueError(f"memory_gib must be a positive number of GiB; got {memory_gib!r}")
        self.bridge, self.name, self.memory_gib, self.note = bridge, name, memory_gib, note
        self.loaded_from = loaded_from
        self.weights: ModelWeights = extract_weights(bridge)

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

    def __repr__(self) -> str:
        graph = self.graph
        return (
            f"Model({self.name!r}, {graph.n_layers} layers x {graph.n_heads} heads, "
            f"{graph.n_edges:,} edges, on {self.weights.device}"
            f"{f'; {self.note}' if self.note else ''})"
        )
