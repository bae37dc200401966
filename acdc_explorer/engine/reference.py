"""The slow, independent implementation: one full forward run of the TransformerBridge per test.

It shares no arithmetic with the engine: TransformerLens runs the model, and hooks on its own
`hook_{q,k,v}_input`, `hook_mlp_in` and last `hook_resid_post` edit what each receiver reads. The
tests hold the engine to it, and the benchmarks measure against it. The direction is the engine's:
clean prompts run, removed edges carry corrupted activations (TransformerLens's own `patching`
helpers go the other way round).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from acdc_explorer.engine.engine import Ablation
from acdc_explorer.graph import LOGITS, Edge, Graph, Node, Receiver, graph_of
from acdc_explorer.metrics import Metric
from acdc_explorer.search.steps import EdgeStep, SearchSettings
from acdc_explorer.tasks.task import Task


class Reference:
    """Evaluates circuits by hooks on a TransformerBridge.

    Sets the bridge's flags `use_split_qkv_input`, `use_attn_result` and `use_hook_mlp_in`; give it
    a bridge of its own, in float64 for values to compare with.
    """

    def __init__(self, bridge: Any, task: Task, ablation: Ablation = "corrupted"):
        """Runs the clean and the corrupted prompts once, keeping every sender's output."""
        self.bridge, self.task, self.ablation = bridge, task, ablation
        self.metric: Metric = task.metric  # type: ignore[assignment]
        bridge.set_use_split_qkv_input(True)
        bridge.set_use_attn_result(True)
        bridge.set_use_hook_mlp_in(True)
        bridge.eval()
        self.graph: Graph = graph_of(bridge.cfg.n_layers, bridge.cfg.n_heads)
        self._ablated = self._sender_outputs(task.corrupted_tokens)
        if ablation == "zero":
            self._ablated = {key: torch.zeros_like(out) for key, out in self._ablated.items()}
        if ablation == "mean":
            self._ablated = {
                key: out.mean(0, keepdim=True).expand_as(out) for key, out in self._ablated.items()
            }
        with torch.no_grad():
            self._clean_logits = self._at_end(bridge(task.clean_tokens, prepend_bos=False))

    def evaluate(self, removed: np.ndarray) -> Tensor:
        """The metric per prompt [prompt] with some edges removed, bool [n_receivers, n_senders]."""
        outputs: dict[Node, Tensor] = {}
        hooks: list[tuple[str, Callable[..., Any]]] = [
            (name, partial(self._record, outputs)) for name in self._sender_hooks()
        ]
        for layer in range(self.graph.n_layers):
            heads = [Node("head", layer, head) for head in range(self.graph.n_heads)]
            for qkv in ("q", "k", "v"):
                rows = [Receiver(head, qkv) for head in heads]
                edit = partial(self._edit_heads, outputs, removed, rows)
                hooks.append((f"blocks.{layer}.hook_{qkv}_input", edit))
            edit_mlp = partial(self._edit, outputs, removed, Receiver(Node("mlp", layer)))
            hooks.append((f"blocks.{layer}.hook_mlp_in", edit_mlp))
        last = f"blocks.{self.graph.n_layers - 1}.hook_resid_post"
        hooks.append((last, partial(self._edit, outputs, removed, Receiver(LOGITS))))
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

    def acdc(self, settings: SearchSettings) -> Iterator[EdgeStep]:
        """The sequential algorithm, a full forward run for every test."""
        removed = self.graph.mask_of([])
        kept_from: set[Node] = {LOGITS}
        before = self.evaluate(removed).mean().item()
        for receiver in self.graph.search_receivers(settings.order):
            row = self.graph.receiver_index[receiver]
            if receiver.node not in kept_from:
                removed[row] = self.graph.edge_mask[row]
                continue
            for sender in self.graph.search_senders(receiver, settings.order, settings.order_seed):
                removed[row, sender] = True
                after = self.evaluate(removed).mean().item()
                change = before - after
                if settings.rule == "abs":
                    change = abs(change)
                elif not self.metric.higher_is_better:
                    change = -change
                kept = change >= settings.threshold
                yield EdgeStep(Edge(self.graph.senders[sender], receiver), before, after, kept)
                if kept:
                    removed[row, sender] = False
                    kept_from.add(self.graph.senders[sender])
                else:
                    before = after

    def _sender_hooks(self) -> list[str]:
        names = ["blocks.0.hook_resid_pre"]
        for layer in range(self.graph.n_layers):
            names += [f"blocks.{layer}.attn.hook_result", f"blocks.{layer}.hook_mlp_out"]
        return names

    def _record(self, outputs: dict[Node, Tensor], value: Tensor, hook: Any) -> None:
        name = hook.name
        layer = int(name.split(".")[1])
        if name.endswith(("hook_result", "attn.o.hook_result")):
            for head in range(self.graph.n_heads):
                outputs[Node("head", layer, head)] = value[:, :, head]
        elif "mlp" in name:
            outputs[Node("mlp", layer)] = value
        else:
            outputs[Node("input", -1)] = value

    def _sender_outputs(self, tokens: Tensor) -> dict[Node, Tensor]:
        outputs: dict[Node, Tensor] = {}
        hooks = [(name, partial(self._record, outputs)) for name in self._sender_hooks()]
        with torch.no_grad():
            self.bridge.run_with_hooks(tokens, fwd_hooks=hooks, prepend_bos=False)
        if set(outputs) != set(self.graph.senders):
            raise RuntimeError("some hooks of the bridge did not fire; the reference cannot run")
        return {sender: value.clone() for sender, value in outputs.items()}

    def _edit_heads(
        self,
        outputs: dict[Node, Tensor],
        removed: np.ndarray,
        receivers: Sequence[Receiver],
        value: Tensor,
        hook: Any,
    ) -> Tensor:
        edited = value.clone()
        for receiver in receivers:
            head = receiver.node.head
            edited[:, :, head] = self._edit(outputs, removed, receiver, value[:, :, head], hook)
        return edited

    def _edit(
        self,
        outputs: dict[Node, Tensor],
        removed: np.ndarray,
        receiver: Receiver,
        value: Tensor,
        hook: Any,
    ) -> Tensor:
        row = removed[self.graph.receiver_index[receiver]]
        for index in np.flatnonzero(row):
            sender = self.graph.senders[index]
            value = value + self._ablated[sender] - outputs[sender]
        return value

    def _at_end(self, logits: Tensor) -> Tensor:
        return logits[torch.arange(len(logits)), self.task.end]
