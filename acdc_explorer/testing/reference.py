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
            # OLMo 2 has no norms of what is read, Phi one for heads and MLP.
            norms = [name for name in ("ln1", "ln2") if hasattr(block, name)]
            for norm in norms:
                hooks.append((f"{prefix}.{norm}.hook_in", partial(_record_stream, streams)))
            if not norms:
                hooks.append((f"{prefix}.hook_in", partial(_record_stream, streams)))
            for qkv in QKVS:
                edit = partial(self._edit_heads, outputs, streams, removed, layer, qkv)
                hooks.append((f"{prefix}.attn.{self._vectors_hook(layer, qkv)}", edit))
            if self.graph.has_mlps:
                of_mlp = norms[-1] if norms else None
                edit = partial(self._edit_mlp, outputs, streams, removed, layer, of_mlp)
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
        stream = streams[f"blocks.{layer}.ln1" if hasattr(block, "ln1") else f"blocks.{layer}"]
        edited = value.clone()
        for head in range(self.graph.n_heads):
            input_ = self.graph.head_input(Node("head", layer, head), qkv)
            missing = self._missing(outputs, removed, input_)
            if missing is None:
                continue
            x = _normed(block, "ln1", stream + missing)
            vectors = self._project(layer, qkv, head, x)
            edited.view(*vectors.shape[:2], self.graph.n_heads, -1)[:, :, head] = vectors
        return edited

    def _norm_of_all_heads(self, layer: int, qkv: QKV) -> Any:
        """The norm that the queries or keys of all heads pass in a row, or None (OLMo 2 and 3)."""
        norm = getattr(self.bridge.blocks[layer].attn, f"{qkv}_norm", None)
        if norm is None:
            return None
        module = norm.original_component
        return module if len(module.weight) != self.bridge.cfg.d_head else None

    def _vectors_hook(self, layer: int, qkv: QKV) -> str:
        """Where one head's queries, keys or values depend on nothing but what it reads."""
        return (
            f"hook_{qkv}" if self._norm_of_all_heads(layer, qkv) is None else f"{qkv}_norm.hook_out"
        )

    def _project(self, layer: int, qkv: QKV, head: int, x: Tensor) -> Tensor:
        """A head's queries, keys or values for its normed input, as they are at that hook."""
        attn = self.bridge.blocks[layer].attn
        weight, bias = getattr(attn, f"W_{qkv.upper()}"), getattr(attn, f"b_{qkv.upper()}")
        norm_of_all = self._norm_of_all_heads(layer, qkv)
        if norm_of_all is None:
            return x @ weight[head] + (0 if bias is None else bias[head])
        # As if all heads read what this one reads.
        of_all = torch.einsum("npd,hde->nphe", x, weight) + (0 if bias is None else bias)
        return norm_of_all(of_all.flatten(2)).view_as(of_all)[:, :, head]

    def _edit_mlp(
        self,
        outputs: dict[Node, Tensor],
        streams: dict[str, Tensor],
        removed: np.ndarray,
        layer: int,
        norm: str | None,
        value: Tensor,
        hook: Any,
    ) -> Tensor:
        missing = self._missing(outputs, removed, Receiver(Node("mlp", layer)))
        if missing is None:
            return value
        if norm is None:
            return value + missing
        stream = streams[f"blocks.{layer}.{norm}"]
        return _normed(self.bridge.blocks[layer], norm, stream + missing).reshape(value.shape)

    def _edit_logits(
        self, outputs: dict[Node, Tensor], removed: np.ndarray, value: Tensor, hook: Any
    ) -> Tensor:
        missing = self._missing(outputs, removed, Receiver(LOGITS))
        return value if missing is None else value + missing

    def _missing(
        self, outputs: dict[Node, Tensor], removed: np.ndarray, input_: Receiver
    ) -> Tensor | None:
        """What an input reads less what it would if no edge were removed or frozen.

        Ablated (for frozen edges clean) minus present output, summed over an input's senders; for
        the heads of a block whose sum is normed, through that norm.
        """
        on_stream: list[Tensor] = []
        of_heads: dict[int, list[Tensor]] = {}
        for receiver in self.graph.receivers_at(input_):
            row = removed[self.graph.receiver_index[receiver]]
            for index in np.flatnonzero(row):
                node = self.graph.senders[index]
                instead = self._ablated if row[index] == 1 else self._clean
                missing = instead[node] - outputs[node]
                if receiver.position is not None:
                    missing = missing * self.task.position_masks[receiver.position][..., None]
                if node.kind == "head" and hasattr(self.bridge.blocks[node.layer], "ln1_post"):
                    of_heads.setdefault(node.layer, []).append(missing)
                else:
                    on_stream.append(missing)
        for layer, missing_heads in of_heads.items():
            block = self.bridge.blocks[layer]
            heads = [Node("head", layer, head) for head in range(self.graph.n_heads)]
            present = torch.stack([outputs[head] for head in heads]).sum(0)
            if block.attn.b_O is not None:
                present = present + block.attn.b_O
            after = _normed(block, "ln1_post", present + torch.stack(missing_heads).sum(0))
            on_stream.append(after - _normed(block, "ln1_post", present))
        return torch.stack(on_stream).sum(0) if on_stream else None

    def _at_end(self, logits: Tensor) -> Tensor:
        return logits[torch.arange(len(logits)), self.task.end]


def _record(outputs: dict[Node, Tensor], node: Node, value: Tensor, hook: Any) -> None:
    outputs[node] = value


def _normed(block: Any, name: str, x: Tensor) -> Tensor:
    """A stream after one of a block's own norms, which it may not have."""
    return getattr(block, name).original_component(x) if hasattr(block, name) else x


def _record_stream(streams: dict[str, Tensor], value: Tensor, hook: Any) -> None:
    streams[hook.name.removesuffix(".hook_in")] = value
