"""Evaluating any sets of removed edges, each by one patched forward run.

For each set of removed edges, the clean prompts run with every receiver's input replaced by

    clean input + sum over all senders (this run's output - clean output)
                + sum over removed senders (ablated output - this run's output)

which is DESIGN section 3. The first sum is one running stream shared by all receivers, so that a
receiver costs only as many additions as it has removed senders, and those are one matrix product.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.forward import attention_pattern, causal, mlp, normalize, placed
from acdc_explorer.engine.linear import linear, linear_each
from acdc_explorer.engine.positions import PositionSet
from acdc_explorer.graph import INPUT, LOGITS, QKV, QKVS, Edge, Node, Receiver

# Floats that one batch of patched runs may hold besides the engine's own caches.
_BATCH_FLOATS = 64_000_000


@dataclass(frozen=True)
class RemovedEdges:
    """One circuit to evaluate.

    Attributes:
        mask: bool [n_receivers, n_senders], the edges removed at every position.
        partial: an edge that is not in `mask` and the positions [prompt, pos] at which alone it is
            removed, or None.
    """

    mask: np.ndarray
    partial: tuple[Edge, Bool[Tensor, "prompt pos"]] | None = None

    def of_prompts(self, rows: slice) -> RemovedEdges:
        """The same for some of the prompts."""
        if self.partial is None:
            return self
        edge, positions = self.partial
        return RemovedEdges(self.mask, (edge, positions[rows]))


def evaluate_removed(
    engine: Engine, circuits: Sequence[RemovedEdges]
) -> Float[Tensor, "circuit prompt"]:
    """The metric of each circuit on each prompt.

    Args:
        engine: model, prompts and ablation.
        circuits: sets of removed edges; any number, and any number of prompts: both are taken in
            batches that fit in memory.
    """
    if not circuits:
        return engine.clean_by_prompt.new_empty((0, engine.n_prompts))
    shared, each = _floats_per_prompt(engine, circuits)
    n_prompts = engine.n_prompts
    fitting = max(1, _BATCH_FLOATS // (shared + each))
    if fitting < n_prompts:
        parts = [
            (slice(start, start + fitting), engine.part(slice(start, start + fitting)))
            for start in range(0, n_prompts, fitting)
        ]
        return torch.cat(
            [
                evaluate_removed(part, [circuit.of_prompts(rows) for circuit in circuits])
                for rows, part in parts
            ],
            dim=1,
        )
    size = max(1, (_BATCH_FLOATS // n_prompts - shared) // each)
    batches = [circuits[start : start + size] for start in range(0, len(circuits), size)]
    return torch.cat([_PatchedRuns(engine, batch).metric() for batch in batches])


def _floats_per_prompt(engine: Engine, circuits: Sequence[RemovedEdges]) -> tuple[int, int]:
    """What a batch of patched runs holds: once for all circuits, and for each of them."""
    graph = engine.graph
    live = live_senders(np.logical_and.reduce([circuit.mask for circuit in circuits]), engine)
    heads_at = [sender.layer for sender in np.array(graph.senders)[live] if sender.kind == "head"]
    most_heads = max(map(heads_at.count, heads_at), default=1)
    width = engine.task.n_positions * engine.weights.W_E.shape[1]
    return width * len(graph.senders), width * (int(live.sum()) + 4 * most_heads)


def live_senders(mask: np.ndarray, engine: Engine) -> np.ndarray:
    """Which senders have a path of kept edges to the logits, bool [n_senders].

    Args:
        mask: bool [n_receivers, n_senders], removed edges.
        engine: for its graph.
    """
    graph = engine.graph
    kept = graph.edge_mask & ~mask
    live = kept[[graph.receiver_index[receiver] for receiver in graph.receivers_of(LOGITS)]].any(0)
    for index in reversed(range(len(graph.senders))):
        if live[index]:
            for receiver in graph.receivers_of(graph.senders[index]):
                live |= kept[graph.receiver_index[receiver]]
    return live


class _PatchedRuns:
    """One batch of patched runs, block by block.

    Tensors have a leading circuit axis, of length one for as long as all circuits agree: what lies
    upstream of their first difference is computed once.
    """

    def __init__(self, engine: Engine, circuits: Sequence[RemovedEdges]):
        self.engine, self.graph, self.circuits = engine, engine.graph, circuits
        masks = np.stack([circuit.mask for circuit in circuits])
        self.live = live_senders(np.logical_and.reduce(masks), engine)
        # Receivers from which all circuits remove the same senders.
        self.agreeing = (masks == masks[:1]).all(axis=(0, 2))
        self.removed = torch.from_numpy(masks).to(engine.weights.device)
        ever_removed = np.logical_or.reduce(masks.reshape(-1, masks.shape[-1]))
        for circuit in circuits:
            if circuit.partial is not None:
                ever_removed[self.graph.sender_index[circuit.partial[0].sender]] = True
        # Only senders that some circuit takes away from something need what is missing kept.
        self.ever_removed = ever_removed
        clean = engine.clean.resid_pre[0]
        self.stream = clean.new_zeros((1, *clean.shape))
        n_removable = int(ever_removed.sum())
        self.shared = _Missing(clean.new_empty((1, n_removable, *clean.shape)))
        self.own: _Missing | None = None

    def metric(self) -> Float[Tensor, "circuit prompt"]:
        """Runs all blocks and scores the final stream at END."""
        self._write(INPUT, None)
        for layer in range(self.graph.n_layers):
            self._run_block(layer)
        final = self._read([Receiver(LOGITS)])[:, 0]
        at_end = self.engine.sets.end.take(final)[:, :, 0] + self.engine.final_at_end
        return self.engine.metric_by_prompt(at_end).expand(len(self.circuits), -1)

    def _is_live(self, node: Node) -> bool:
        return bool(self.live[self.graph.sender_index[node]])

    def _write(self, sender: Node, change: Tensor | None) -> None:
        """Adds a sender's change from the clean run to the stream; None means no change."""
        index = self.graph.sender_index[sender]
        if change is not None:
            self.stream = self.stream + change
        if not self.ever_removed[index]:
            return
        missing = self.engine.delta(index, self.engine.sets.all)
        if change is None or len(change) == 1:
            self.shared.add(index, missing if change is None else missing - change[0])
            return
        if self.own is None:
            left = int(self.ever_removed[index:].sum())
            self.own = _Missing(missing.new_empty((len(change), left, *missing.shape)))
        self.own.add(index, missing - change)

    def _read(
        self, receivers: Sequence[Receiver]
    ) -> Float[Tensor, "circuit receiver prompt pos d_model"]:
        """The changes from the clean run in what inputs of one kind of one block read.

        Where no circuit removes anything from them, they share one row.
        """
        partial = [
            (number, circuit.partial)
            for number, circuit in enumerate(self.circuits)
            if circuit.partial is not None and circuit.partial[0].receiver.at(None) in receivers
        ]
        change = self.stream[:, None]
        for at_label in zip(*map(self.graph.receivers_at, receivers), strict=True):
            change = self._without_removed(change, at_label, agree=not partial)
        if not partial:
            return change
        change = change.expand(len(self.circuits), len(receivers), *change.shape[2:]).clone()
        for number, (edge, positions) in partial:
            row = receivers.index(edge.receiver.at(None))
            missing_here = self._missing_from(self.graph.sender_index[edge.sender], number)
            change[number, row] += positions[..., None] * missing_here
        return change

    def _without_removed(
        self, change: Tensor, receivers: Sequence[Receiver], *, agree: bool
    ) -> Float[Tensor, "circuit receiver prompt pos d_model"]:
        """Adds to what some inputs read what their removed senders lack, at one position label."""
        rows = [self.graph.receiver_index[receiver] for receiver in receivers]
        agreeing = agree and bool(self.agreeing[rows].all())
        removed = self.removed[: 1 if agreeing else None, rows]
        n_before, label = self.graph.n_senders_to(receivers[0]), receivers[0].position
        at = None if label is None else self.engine.label_sets[label]
        for missing in (self.shared, self.own):
            if missing is not None:
                change = missing.added_to(change, removed, n_before, at)
        return change

    def _missing_from(self, sender: int, circuit: int) -> Float[Tensor, "prompt pos d_model"]:
        if sender in self.shared.senders:
            return self.shared.of(sender, 0)
        assert self.own is not None
        return self.own.of(sender, circuit)

    def _project(self, layer: int, heads: list[int], qkv: QKV) -> Tensor:
        """Queries, keys or values of some heads: [circuit, head, prompt, pos, d_head]."""
        block = self.engine.weights.blocks[layer]
        weight, bias = block.projection(qkv)
        receivers = [self.graph.head_input(Node("head", layer, head), qkv) for head in heads]
        x = normalize(self.engine.clean.resid_pre[layer] + self._read(receivers), block.ln1)
        x = x.expand(-1, len(heads), -1, -1, -1).transpose(0, 1)
        slots = linear_each(x, weight, bias, heads).transpose(0, 1)
        return placed(slots, self.engine.weights, block, qkv)

    def _run_block(self, layer: int) -> None:
        mlp_node = Node("mlp", layer) if self.graph.has_mlps else None
        heads = self._head_changes(layer)
        # In a parallel block the MLP reads the stream before the heads have written to it.
        if mlp_node and self.graph.parallel:
            mlp_change = self._mlp_change(mlp_node)
        for head in range(self.graph.n_heads):
            self._write(Node("head", layer, head), heads.get(head))
        if mlp_node:
            if not self.graph.parallel:
                mlp_change = self._mlp_change(mlp_node)
            self._write(mlp_node, mlp_change)

    def _head_changes(self, layer: int) -> dict[int, Tensor]:
        """By head, the changes of a block's live heads."""
        engine = self.engine
        heads = [h for h in range(self.graph.n_heads) if self._is_live(Node("head", layer, h))]
        W_O = engine.weights.blocks[layer].W_O
        changes: dict[int, Tensor] = {}
        if heads:
            q, k, v = (self._project(layer, heads, qkv) for qkv in QKVS)
            allowed = causal(q.shape[-2], q.device, engine.weights.blocks[layer].window)
            z = attention_pattern(q, k, allowed, engine.weights.attn_scale) @ v
            # Clean z is [prompt, head, ...]; here heads come before prompts.
            z -= engine.clean.z[layer][:, heads].transpose(0, 1)
            changes = {head: linear(z[:, row], W_O[head]) for row, head in enumerate(heads)}
        return changes

    def _mlp_change(self, node: Node) -> Tensor | None:
        if not self._is_live(node):
            return None
        engine = self.engine
        x = engine.clean.mlp_in[node.layer] + self._read([Receiver(node)])[:, 0]
        out = mlp(x, engine.weights.blocks[node.layer], engine.weights.activation)
        return out - engine.clean.mlp_out[node.layer]


class _Missing:
    """Ablated output - this run's output of senders, in ascending order of the senders."""

    def __init__(self, buffer: Float[Tensor, "circuit sender prompt pos d_model"]):
        self.buffer = buffer
        self.senders: list[int] = []

    def add(self, sender: int, missing: Tensor) -> None:
        """Takes in the next sender."""
        self.buffer[:, len(self.senders)] = missing
        self.senders.append(sender)

    def of(self, sender: int, circuit: int) -> Float[Tensor, "prompt pos d_model"]:
        """What is missing from one sender in one circuit."""
        return self.buffer[circuit, self.senders.index(sender)]

    def added_to(
        self,
        change: Tensor,
        removed: Bool[Tensor, "circuit receiver sender"],
        n_before: int,
        at: PositionSet | None = None,
    ) -> Float[Tensor, "circuit receiver prompt pos d_model"]:
        """Adds what removed senders lack, of those that come before some receivers.

        Args:
            change: so far [circuit or 1, receiver or 1, prompt, pos, d_model].
            removed: the senders removed.
            n_before: how many senders come before the receivers.
            at: the positions at which they are removed, if not at all.
        """
        senders = self.senders[: bisect_left(self.senders, n_before)]
        chosen = removed[:, :, senders]
        if not chosen.any():
            return change
        missing = self.buffer[:, : len(senders)]
        if at is not None:
            missing = at.take(missing)
        if len(missing) == len(chosen) == 1:
            total = linear(chosen[0].to(missing.dtype), missing[0].flatten(1))[None]
        else:
            total = chosen.to(missing.dtype) @ missing.flatten(2)
        total = total.unflatten(2, missing.shape[2:])
        if at is None:
            return total + change
        shape = torch.broadcast_shapes(total.shape[:2], change.shape[:2])
        change = change.expand(*shape, -1, -1, -1)
        return at.put(at.take(change) + total, change.clone())
