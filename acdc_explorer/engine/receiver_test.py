"""The work on one receiver: which nodes a test computes, where, and from what (`patching.py`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from acdc_explorer.engine.forward import (
    attention_pattern,
    causal,
    mlp,
    normalize,
    placed,
)
from acdc_explorer.engine.linear import linear_each
from acdc_explorer.engine.patching import LiveCircuit, OutputChange, Stream
from acdc_explorer.engine.positions import PositionSet
from acdc_explorer.graph import LOGITS, QKV, QKVS, Node, Receiver


@dataclass(frozen=True)
class Work:
    """What evaluating candidates takes, to choose their number by.

    Attributes:
        n_steps: batches of operations, the logits' included.
        n_weights: numbers to read from memory, however many the candidates.
        flops_per_member: floating-point operations for each candidate, about.
        flops_fixed: likewise, however many the candidates.
    """

    n_steps: int
    n_weights: int
    flops_per_member: float
    flops_fixed: float = 0


class _Where(NamedTuple):
    """Where a head's queries, keys and values change in a test, and so its output."""

    output: PositionSet
    q: PositionSet
    k: PositionSet
    v: PositionSet


class ReceiverTest:
    """Tests the edges into one receiver, many at a time.

    Use, for ACDC: `try_removing(senders)` any number of times, after each `accept(senders)` with
    the first of them, which stay removed. What is known already to be removed goes by
    `remove(senders)`; at last `finish()`. For path patching: `try_alone(senders)`. An
    edge that stays: `keep(sender)`.
    """

    def __init__(self, circuit: LiveCircuit, receiver: Receiver):
        """Finds out what can change while this receiver is tested."""
        self.circuit, self.engine, self.receiver = circuit, circuit.engine, receiver
        self._whole = receiver.at(None)
        self._live = circuit.open(receiver)
        self.at = circuit.reads_at(receiver)
        self._left = set(range(self.engine.graph.n_senders_to(receiver)))
        # Node -> the positions at which its output changes, in topological order.
        self._changing: dict[Node, PositionSet] = {}
        self._heads: dict[Node, _Where] = {}
        node = receiver.node
        for other in [node, *circuit.downstream(node)] if node != LOGITS else [LOGITS]:
            changes = self._change_of(other)
            if changes:
                self._changing[other] = changes
        # What does not change, made when first needed; groups of heads by their first.
        self._steady: dict[Receiver, Stream] = {}
        self._steady_slots: dict[tuple[Node, QKV], Tensor] = {}
        self._steady_pattern: dict[Node, Tensor] = {}
        self._read: dict[Receiver, Stream] = {}
        # What the receiver reads by now: its kept senders are upstream and so still clean.
        self._now = circuit.input_now(self._whole, self.at)
        self._inputs: Stream | None = None
        self._outputs: dict[Node, OutputChange] = {}

    def _changed_at(self, whole: Receiver) -> PositionSet:
        """The positions at which an input differs between candidates; of the logits' always END."""
        if whole == self._whole:
            return self.at
        if whole.node == LOGITS:
            return self.engine.sets.end
        live, sets = self.circuit.inputs.get(whole), self.engine.sets
        return sets.union(
            [
                sets.intersection(kept_at, self._changing[sender])
                for sender, kept_at in (live.kept.items() if live else ())
                if sender in self._changing
            ]
        )

    def _change_of(self, node: Node) -> PositionSet:
        graph, sets = self.engine.graph, self.engine.sets
        if node.kind != "head":
            return self._changed_at(Receiver(node))
        written_at = self.circuit.written_at(node)
        q, k, v = (self._changed_at(graph.head_input(node, qkv)) for qkv in QKVS)
        q = sets.intersection(written_at, q)
        output = sets.union([q, sets.from_first_of(written_at, sets.union([k, v]))])
        self._heads[node] = _Where(output, q, k, v)
        return output

    @cached_property
    def _steps(self) -> list[list[Node]]:
        """What is computed together, in order: heads of a block that change alike, or one node."""

        def alike(node: Node) -> tuple[object, ...]:
            if node.kind == "head":
                return node.layer, self._heads[node]
            return (node,)

        nodes = [node for node in self._changing if node != LOGITS]
        # Within a block no head reads another, so they may change places.
        order = {key: number for number, key in enumerate(dict.fromkeys(map(alike, nodes)))}
        nodes.sort(key=lambda node: (node.layer, node.kind != "head", order[alike(node)]))
        return [list(group) for _, group in groupby(nodes, alike)]

    @cached_property
    def work(self) -> Work:
        """What one batch of candidates takes."""
        weights = self.engine.weights
        d_model, d_head = weights.W_E.shape[1], weights.blocks[0].W_O.shape[1]
        # The sender's delta and the final norm; then for each node its weights times its positions.
        n_weights, per_prompt = 0, d_model * (2 * d_head * self.at.width + 10)
        for node, at in self._changing.items():
            if node.kind == "mlp":
                block = weights.blocks[node.layer].mlp
                assert block is not None
                sizes = [(block.n_weights, at.width)]
            elif node.kind == "head":
                sizes = [(d_model * d_head, each.width) for each in self._heads[node] if each]
            else:
                continue
            n_weights += sum(size for size, _ in sizes)
            per_prompt += sum(2 * size * positions for size, positions in sizes)
        return Work(1 + len(self._steps), n_weights, per_prompt * self.engine.n_prompts)

    def try_removing(self, senders: Sequence[int]) -> Float[Tensor, "chain prompt"]:
        """The metric with the first, the first two, ... of these edges removed as well.

        Args:
            senders: sender indices, in the order of removal.
        """
        return self._metric_of(self._chain_inputs(senders))

    def try_alone(self, senders: Sequence[int]) -> Float[Tensor, "candidate prompt"]:
        """The metric with each of these edges, alone, carrying its ablated value.

        Args:
            senders: sender indices.
        """
        return self._metric_of(self.engine.deltas(senders, self.at) + self._now)

    def remove(self, senders: Sequence[int]) -> Float[Tensor, " prompt"]:
        """Makes the removal of some edges part of the circuit, and gives the metric after it."""
        values = self._metric_of(self._chain_inputs(senders)[-1:])
        self._accept(0, senders)
        return values[0]

    def accept(self, senders: Sequence[int]) -> None:
        """Makes the removal of the first edges of the last chain, these, part of the circuit."""
        self._accept(len(senders) - 1, senders)

    def keep(self, sender: int) -> None:
        """Makes an edge part of the circuit for good."""
        self._left.discard(sender)
        self.circuit.keep(self.engine.graph.senders[sender], self.receiver)

    def finish(self) -> None:
        """Ends an ACDC test: what is not kept by now is removed for good."""
        self.circuit.decide(self.receiver)

    def _accept(self, member: int, senders: Sequence[int]) -> None:
        assert self._inputs is not None
        self._left.difference_update(senders)
        self._now = self._inputs[member].clone()
        self.circuit.settle(
            {
                node: (output[member].clone(), self._changing[node])
                for node, output in self._outputs.items()
            }
        )

    def _chain_inputs(self, senders: Sequence[int]) -> Float[Tensor, "chain prompt width d_model"]:
        """What the receiver reads with the first, the first two, ... of these edges removed."""
        if self.circuit.sums_what_is_left:
            return self._chain_inputs_of_what_is_left(senders)
        inputs = self.engine.deltas(senders, self.at)
        inputs[0] += self._now
        # Row by row: torch's cumsum over a leading axis is several times slower.
        for before, row in pairwise(inputs):
            row += before
        return inputs

    def _chain_inputs_of_what_is_left(self, senders: Sequence[int]) -> Tensor:
        """The same as the sum of what is still there."""
        engine = self.engine
        there = self._left.difference(senders)
        for sender, at in self._live.kept.items():
            if engine.sets.intersection(at, self.at):
                there.add(engine.graph.sender_index[sender])
        removed = engine.deltas(senders, self.at)
        total = self.at.take(engine.ablated.input_of(self.receiver.node))
        for index in sorted(there):
            total = total - engine.delta(index, self.at)
        inputs = torch.empty_like(removed)
        inputs[-1] = total
        for number in reversed(range(1, len(senders))):
            torch.sub(inputs[number], removed[number], out=inputs[number - 1])
        return inputs

    def _metric_of(self, inputs: Stream) -> Float[Tensor, "candidate prompt"]:
        self._compute(inputs)
        final = inputs if self._whole == Receiver(LOGITS) else self._input(Receiver(LOGITS))
        return self.engine.metric_by_prompt(final[:, :, 0])

    def _compute(self, inputs: Stream) -> None:
        """The outputs of all nodes on the way to the logits, for every candidate."""
        self._inputs, self._outputs, self._read = inputs, {}, {self._whole: inputs}
        for nodes in self._steps:
            if nodes[0].kind == "mlp":
                self._outputs[nodes[0]] = self._mlp_output(nodes[0])
            else:
                self._outputs.update(zip(nodes, self._head_outputs(nodes), strict=True))

    def _input(self, whole: Receiver) -> Stream:
        """What an input reads where it changes, for every candidate."""
        if whole not in self._read:
            self._read = {whole: self._sum_of(whole)}
        return self._read[whole]

    def _sum_of(self, whole: Receiver) -> Stream:
        circuit, at = self.circuit, self._changed_at(whole)
        if whole not in self._steady:
            self._steady[whole] = circuit.input_now(whole, at, self._changing)
        total = self._steady[whole]
        for sender, kept_at in circuit.inputs[whole].kept.items():
            if sender in self._outputs:
                known_at = self._changing[sender]
                through = self.engine.sets.intersection(kept_at, known_at)
                if through:
                    change = self._outputs[sender]
                    total = total + circuit.carry(sender, change, known_at, through, at)
        return total

    def _mlp_output(self, node: Node) -> OutputChange:
        weights, at = self.engine.weights, self._changing[node]
        out = mlp(self._input(Receiver(node)), weights.blocks[node.layer], weights.activation)
        return out - at.take(self.circuit.baseline.mlp_out[node.layer])

    def _head_outputs(self, heads: list[Node]) -> Iterator[OutputChange]:
        """Of some heads of a block that change at the same positions."""
        at, all_z = self._heads[heads[0]].output, self.circuit.baseline.z[heads[0].layer]
        z = all_z[:, [head.head for head in heads]].transpose(0, 1)
        yield from self._patterns(heads) @ self._slots(heads, "v") - at.take(z)[:, None]

    def _patterns(self, heads: list[Node]) -> Float[Tensor, "head candidate prompt query key"]:
        """Attention; computed once where only values change in this test."""
        where = self._heads[heads[0]]
        if heads[0] in self._steady_pattern:
            return self._steady_pattern[heads[0]]
        q, k = (self._slots(heads, qkv) for qkv in QKVS[:2])
        weights, at = self.engine.weights, where.output
        window = weights.blocks[heads[0].layer].window
        allowed = causal(at.n_positions, q.device, window)[at.index]
        pattern = attention_pattern(q, k, allowed, weights.attn_scale)
        if not (where.q or where.k):
            self._steady_pattern[heads[0]] = pattern
        return pattern

    def _slots(
        self, heads: list[Node], qkv: QKV
    ) -> Float[Tensor, "head candidate prompt width d_head"]:
        """Queries where the heads' outputs change, or their keys or values at all positions.

        The axis of candidates is one long where they are all alike.
        """
        where = self._heads[heads[0]]
        changed_at: PositionSet = getattr(where, qkv)
        if not changed_at:
            return self._slots_now(heads, qkv)
        inputs = []
        for head in heads:
            whole = self.engine.graph.head_input(head, qkv)
            inputs.append(self._changed_at(whole).move(self._input(whole), changed_at))
        changed = self._project(torch.stack(inputs), heads, qkv, changed_at)
        if qkv == "q":
            if changed_at is where.output:
                return changed
            return changed_at.put_inside(changed, where.output, self._slots_now(heads, qkv))
        if changed_at.is_all:
            return changed
        full = self._slots_now(heads, qkv).expand(-1, changed.shape[1], -1, -1, -1)
        return changed_at.put(changed, full.clone())

    def _slots_now(self, heads: list[Node], qkv: QKV) -> Tensor:
        """The same before the test, right where nothing changes in it."""
        if (heads[0], qkv) not in self._steady_slots:
            slots = [self.circuit.slot_now(head, qkv) for head in heads]
            if qkv == "q":
                at = self._heads[heads[0]].output
                slots = [
                    self.circuit.written_at(head).move(slot, at)
                    for head, slot in zip(heads, slots, strict=True)
                ]
            self._steady_slots[heads[0], qkv] = torch.stack(slots)[:, None]
        return self._steady_slots[heads[0], qkv]

    def _project(self, x: Tensor, heads: list[Node], qkv: QKV, at: PositionSet) -> Tensor:
        weights = self.engine.weights
        block = weights.blocks[heads[0].layer]
        weight, bias = block.projection(qkv)
        numbers = [head.head for head in heads]
        normed = normalize(x, block.ln1)
        slots = linear_each(normed, weight, bias, numbers)
        return placed(slots, weights, block, qkv, None if at.is_all else at.index)
