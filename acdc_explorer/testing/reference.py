"""The slow, independent implementation: one full forward run of the TransformerBridge per test.

It shares no arithmetic with the engine: TransformerLens runs the model, and hooks give each head's
`hook_q`, `hook_k` and `hook_v`, each MLP and the last `hook_resid_post` what they would be if the
receiver read the edited stream, through the model's own norms. (`hook_q_input` and its like would
do the same, but GPT-Neo, OPT and attention-only models have none.) The tests hold the engine to it,
and the benchmarks measure against it. The direction is the engine's: clean prompts run, removed
edges carry corrupted activations (TransformerLens's own `patching` helpers go the other way round).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.circuits.steps import EdgeStep
from acdc_explorer.graph import INPUT, LOGITS, QKV, QKVS, Edge, Graph, Node, Receiver, graph_of
from acdc_explorer.metrics import Metric
from acdc_explorer.options import Ablation
from acdc_explorer.searches.order import search_receivers, search_senders
from acdc_explorer.tasks.task import Task

Hook = tuple[str, Callable[..., Any]]


class Reference:
    """Evaluates circuits by hooks on a TransformerBridge.

    One class, since hooks share what they record.

    Give it a bridge in float64 for values to compare with. Under grouped-query attention it needs a
    model whose key and value heads have been repeated, one for each query head: TransformerLens
    has only the shared ones to hook.
    """

    def __init__(
        self,
        bridge: Any,
        task: Task,
        ablation: Ablation = "corrupted",
        *,
        positions: bool = False,
        split_qkv: bool = True,
    ):
        """Runs the clean and the corrupted prompts once, keeping every sender's output.

        Raises:
            ValueError: if query heads share keys and values.
        """
        cfg = bridge.cfg
        if cfg.n_key_value_heads not in (None, cfg.n_heads):
            raise ValueError(
                f"the reference needs as many key-value heads as query heads ({cfg.n_heads}); "
                f"this model has {cfg.n_key_value_heads}: repeat their weights"
            )
        self.bridge, self.task, self.ablation = bridge, task, ablation
        self.metric: Metric = task.metric  # type: ignore[assignment]
        bridge.eval()
        self.graph: Graph = graph_of(
            cfg.n_layers,
            cfg.n_heads,
            not cfg.attn_only,
            bool(cfg.parallel_attn_mlp),
            split_qkv,
            tuple(task.position_masks) if positions else (),
        )
        self._clean = self._sender_outputs(task.clean_tokens)
        self._ablated = self._sender_outputs(task.corrupted_tokens)
        if ablation == "zero":
            self._ablated = {key: torch.zeros_like(out) for key, out in self._ablated.items()}
        if ablation == "mean":
            # Over the prompts that have the position: what stands after END is padding.
            in_prompt = torch.arange(task.n_positions) <= task.end[:, None]
            self._ablated = {
                key: torch.stack(
                    [
                        out[has_it, position].sum(0) / max(1, int(has_it.sum()))
                        for position, has_it in enumerate(in_prompt.T)
                    ]
                ).expand_as(out)
                for key, out in self._ablated.items()
            }
        with torch.no_grad():
            self._clean_logits = self._at_end(bridge(task.clean_tokens, prepend_bos=False))

    def evaluate(self, removed: np.ndarray, frozen: np.ndarray | None = None) -> Tensor:
        """The metric per prompt [prompt] with some edges removed.

        Args:
            removed: bool [n_receivers, n_senders], edges that carry the ablated output.
            frozen: likewise, edges that carry the clean output whatever their sender does.
        """
        removed = removed.astype(int) + (0 if frozen is None else 2 * frozen)
        outputs: dict[Node, Tensor] = {}
        streams: dict[str, Tensor] = {}
        hooks = self._sender_hooks(outputs)
        for layer, block in enumerate(self.bridge.blocks):
            prefix = f"blocks.{layer}"
            norms = ["ln1", "ln2"] if hasattr(block, "ln2") else ["ln1"]
            for norm in norms:
                hooks.append((f"{prefix}.{norm}.hook_in", partial(_record_stream, streams)))
            for qkv in QKVS:
                edit = partial(self._edit_heads, outputs, streams, removed, layer, qkv)
                hooks.append((f"{prefix}.attn.hook_{qkv}", edit))
            if self.graph.has_mlps:
                norm = f"{prefix}.{norms[-1]}"
                edit = partial(self._edit_mlp, outputs, streams, removed, layer, norm)
                hooks.append((f"{prefix}.mlp.hook_in", edit))
        last = f"blocks.{self.graph.n_layers - 1}.hook_resid_post"
        hooks.append((last, partial(self._edit_logits, outputs, removed)))
        with torch.no_grad():
            logits = self.bridge.run_with_hooks(
                self.task.clean_tokens, fwd_hooks=hooks, prepend_bos=False
            )
        return self.metric.per_prompt(
            self._at_end(logits),
            self.task.answer_tokens,
            self.task.wrong_tokens,
            self._clean_logits,
        )

    def acdc(
        self, settings: SearchSettings, scores: np.ndarray | None = None
    ) -> Iterator[EdgeStep]:
        """The sequential algorithm, a full forward run for every test."""
        removed = self.graph.mask_of([])
        kept_from: set[Node] = {LOGITS}
        full = before = self.evaluate(removed).mean().item()
        for receiver in search_receivers(self.graph, settings.order):
            row = self.graph.receiver_index[receiver]
            if receiver.node not in kept_from:
                removed[row] = self.graph.edge_mask[row]
                continue
            for sender in search_senders(
                self.graph, receiver, settings.order, settings.order_seed, scores
            ):
                removed[row, sender] = True
                after = self.evaluate(removed).mean().item()
                change = settings.change(before, after, full, self.metric.higher_is_better)
                kept = change >= settings.threshold
                yield EdgeStep(Edge(self.graph.senders[sender], receiver), before, after, kept)
                if kept:
                    removed[row, sender] = False
                    kept_from.add(self.graph.senders[sender])
                else:
                    before = after

    def path_patching(self, settings: SearchSettings) -> Iterator[EdgeStep]:
        """The blog post's search, a full forward run for every test."""
        graph = self.graph
        found = graph.mask_of([])
        reached: set[Node] = {LOGITS}
        clean = self.evaluate(found).mean().item()
        for receiver in search_receivers(graph, settings.order):
            row = graph.receiver_index[receiver]
            if receiver.node not in reached:
                continue
            joining = []
            for sender in search_senders(graph, receiver, settings.order, settings.order_seed):
                patched = graph.mask_of([])
                patched[row, sender] = True
                frozen = graph.edge_mask & ~found & ~patched
                after = self.evaluate(patched, frozen).mean().item()
                change = settings.change(clean, after, clean, self.metric.higher_is_better)
                kept = change >= settings.threshold
                yield EdgeStep(Edge(graph.senders[sender], receiver), clean, after, kept)
                if kept:
                    joining.append(sender)
            found[row, joining] = True
            reached.update(graph.senders[sender] for sender in joining)

    def _sender_hooks(self, outputs: dict[Node, Tensor]) -> list[Hook]:
        hooks: list[Hook] = [("blocks.0.hook_resid_pre", partial(_record, outputs, INPUT))]
        for layer in range(self.graph.n_layers):
            hooks.append(
                (f"blocks.{layer}.attn.hook_z", partial(self._record_heads, outputs, layer))
            )
            if self.graph.has_mlps:
                record = partial(_record, outputs, Node("mlp", layer))
                hooks.append((f"blocks.{layer}.hook_mlp_out", record))
        return hooks

    def _record_heads(
        self, outputs: dict[Node, Tensor], layer: int, value: Tensor, hook: Any
    ) -> None:
        z = value.unflatten(-1, (self.graph.n_heads, -1)) if value.ndim == 3 else value
        for head in range(self.graph.n_heads):
            W_O = self.bridge.blocks[layer].attn.W_O[head]
            outputs[Node("head", layer, head)] = z[:, :, head] @ W_O

    def _sender_outputs(self, tokens: Tensor) -> dict[Node, Tensor]:
        outputs: dict[Node, Tensor] = {}
        hooks = self._sender_hooks(outputs)
        with torch.no_grad():
            self.bridge.run_with_hooks(tokens, fwd_hooks=hooks, prepend_bos=False)
        if set(outputs) != set(self.graph.senders):
            raise RuntimeError("some hooks of the bridge did not fire; the reference cannot run")
        return {sender: value.clone() for sender, value in outputs.items()}

    def _edit_heads(
        self,
        outputs: dict[Node, Tensor],
        streams: dict[str, Tensor],
        removed: np.ndarray,
        layer: int,
        qkv: QKV,
        value: Tensor,
        hook: Any,
    ) -> Tensor:
        block = self.bridge.blocks[layer]
        weight = getattr(block.attn, f"W_{qkv.upper()}")
        bias = getattr(block.attn, f"b_{qkv.upper()}")
        edited = value.clone()
        for head in range(self.graph.n_heads):
            input_ = self.graph.head_input(Node("head", layer, head), qkv)
            missing = self._missing(outputs, removed, input_)
            if missing is None:
                continue
            x = block.ln1.original_component(streams[f"blocks.{layer}.ln1"] + missing)
            vectors = x @ weight[head] + (0 if bias is None else bias[head])
            edited.view(*vectors.shape[:2], self.graph.n_heads, -1)[:, :, head] = vectors
        return edited

    def _edit_mlp(
        self,
        outputs: dict[Node, Tensor],
        streams: dict[str, Tensor],
        removed: np.ndarray,
        layer: int,
        norm: str,
        value: Tensor,
        hook: Any,
    ) -> Tensor:
        missing = self._missing(outputs, removed, Receiver(Node("mlp", layer)))
        if missing is None:
            return value
        module = getattr(self.bridge.blocks[layer], norm.rsplit(".", 1)[1])
        edited: Tensor = module.original_component(streams[norm] + missing)
        return edited.reshape(value.shape)

    def _edit_logits(
        self, outputs: dict[Node, Tensor], removed: np.ndarray, value: Tensor, hook: Any
    ) -> Tensor:
        missing = self._missing(outputs, removed, Receiver(LOGITS))
        return value if missing is None else value + missing

    def _missing(
        self, outputs: dict[Node, Tensor], removed: np.ndarray, input_: Receiver
    ) -> Tensor | None:
        """Ablated (for frozen edges clean) minus present output, summed over an input's senders."""
        total = None
        for receiver in self.graph.receivers_at(input_):
            row = removed[self.graph.receiver_index[receiver]]
            for index in np.flatnonzero(row):
                node = self.graph.senders[index]
                instead = self._ablated if row[index] == 1 else self._clean
                missing = instead[node] - outputs[node]
                if receiver.position is not None:
                    missing = missing * self.task.position_masks[receiver.position][..., None]
                total = missing if total is None else total + missing
        return total

    def _at_end(self, logits: Tensor) -> Tensor:
        return logits[torch.arange(len(logits)), self.task.end]


def _record(outputs: dict[Node, Tensor], node: Node, value: Tensor, hook: Any) -> None:
    outputs[node] = value


def _record_stream(streams: dict[str, Tensor], value: Tensor, hook: Any) -> None:
    streams[hook.name.removesuffix(".hook_in")] = value
