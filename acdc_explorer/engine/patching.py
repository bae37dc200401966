"""Incremental patching: what makes an exact search fast (DESIGN section 4).

ACDC goes through the receivers from the logits backwards, so while one receiver is under test

1. everything upstream of it is still clean: removing an edge into it changes its input by a
   constant, ablated output - clean output;
2. downstream only the nodes that the circuit keeps and that it reaches can change, each only at the
   positions that reach the metric (`positions.py`);
3. candidates are evaluated as a chain in one batch: remove e1; e1 and e2; e1, e2 and e3; ...  The
   search accepts the chain up to the first edge that it keeps, which is the sequential algorithm.

`LiveCircuit` is the state between receivers: the edges kept so far and, for every node with a path
to the logits, how its output differs from the clean run. `ReceiverTest` is the work on one
receiver. All tensors are changes from the clean run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.forward import attention_pattern, causal, head_slot, mlp
from acdc_explorer.engine.positions import PositionSet
from acdc_explorer.graph import LOGITS, QKV, Node, Receiver

# A head's change is kept before W_O, [*chain, prompt, width, d_head]; an MLP's is [..., d_model].
Output = Float[Tensor, "*chain prompt width feature"]
InputChange = Float[Tensor, "*chain prompt width d_model"]


@dataclass
class _Reader:
    """A receiver that has been tested: which senders it keeps, what the others' removal adds."""

    reads_at: PositionSet
    kept: list[int] = field(default_factory=list)
    removed_sum: InputChange | None = None


class LiveCircuit:
    """The circuit as far as a backwards search has come."""

    def __init__(self, engine: Engine):
        """Starts with the full model, nothing tested."""
        self.engine = engine
        self.readers: dict[Receiver, _Reader] = {}
        self.kept_receivers: dict[Node, list[Receiver]] = {}
        self.outputs: dict[Node, Output] = {}
        self._written_at: dict[Node, PositionSet] = {LOGITS: engine.sets.end}

    def is_live(self, node: Node) -> bool:
        """Whether a path of kept edges leads from the node to the logits."""
        return node == LOGITS or node in self.kept_receivers

    def written_at(self, node: Node) -> PositionSet:
        """The positions at which a live node's output can reach the metric.

        To be asked once all its receivers have been tested, as they are when its own turn comes.
        """
        if node not in self._written_at:
            readers = [self.readers[receiver].reads_at for receiver in self.kept_receivers[node]]
            self._written_at[node] = self.engine.sets.union(readers)
        return self._written_at[node]

    def reads_at(self, receiver: Receiver) -> PositionSet:
        """The positions at which a live receiver's input can reach the metric."""
        queries = self.written_at(receiver.node)
        if receiver.qkv in ("k", "v"):
            return self.engine.sets.readable_from(queries)
        return queries

    def downstream(self, node: Node) -> list[Node]:
        """The live nodes that a node reaches through kept edges, in topological order."""
        reached: set[Node] = set()
        stack = [node]
        while stack:
            for receiver in self.kept_receivers.get(stack.pop(), ()):
                if receiver.node not in reached:
                    reached.add(receiver.node)
                    stack.append(receiver.node)
        index = self.engine.graph.sender_index
        return sorted(reached, key=lambda other: index.get(other, len(index)))

    def test(self, receiver: Receiver) -> ReceiverTest:
        """Begins the work on one live receiver."""
        self.readers[receiver] = _Reader(self.reads_at(receiver))
        return ReceiverTest(self, receiver)

    def keep(self, sender_index: int, receiver: Receiver) -> None:
        """Records that an edge stays."""
        self.readers[receiver].kept.append(sender_index)
        sender = self.engine.graph.senders[sender_index]
        if sender.kind != "input":
            self.kept_receivers.setdefault(sender, []).append(receiver)

    def change_from(self, sender: Node, output: Output, at: PositionSet) -> InputChange:
        """What a node's changed output adds to a receiver that reads at some positions."""
        output = self.written_at(sender).narrow(output, at)
        if sender.kind == "head":
            return output @ self.engine.weights.blocks[sender.layer].W_O[sender.head]
        return output


@dataclass(frozen=True)
class Work:
    """What evaluating a chain takes, to choose its length by.

    Attributes:
        n_nodes: computed, the logits included.
        n_weights: numbers to read from memory, however long the chain.
        flops_per_member: floating-point operations for each member, about.
    """

    n_nodes: int
    n_weights: int
    flops_per_member: float


class ReceiverTest:
    """Tests the edges into one receiver, in chains.

    Use: `try_removing(senders)` any number of times, after each `accept(n)` for the n first of them
    that stay removed. What is known already to be removed goes by `remove(senders)`, untested.
    """

    def __init__(self, circuit: LiveCircuit, receiver: Receiver):
        """Prepares what stays the same while this receiver is tested."""
        self.circuit, self.engine, self.receiver = circuit, circuit.engine, receiver
        self._reader = circuit.readers[receiver]
        node = receiver.node
        self._path = [node, *circuit.downstream(node)] if node != LOGITS else [LOGITS]
        self._changing = set(self._path)
        self._rest: dict[Receiver, InputChange | None] = {}
        self._fixed: dict[Receiver, Tensor] = {}
        self._fixed_pattern: dict[Node, Tensor] = {}
        for other in self._path:
            self._prepare(other)
        self._chain_sums: Tensor | None = None
        self._chain_outputs: dict[Node, Output] = {}

    @property
    def width(self) -> int:
        """At how many positions of a prompt the receiver's input matters."""
        return self._reader.reads_at.width

    @cached_property
    def work(self) -> Work:
        """What one chain takes."""
        weights = self.engine.weights
        d_model, d_head = weights.W_E.shape[1], weights.blocks[0].W_O.shape[1]
        # The sender's delta and the final norm; then for each node its weights times its positions.
        n_weights, per_prompt = 0, d_model * (2 * d_head * self.width + 10)
        for node in self._path[:-1]:
            block, width = weights.blocks[node.layer], self.circuit.written_at(node).width
            if node.kind == "mlp":
                assert block.mlp is not None
                matrices = 2 if block.mlp.W_gate is None else 3
                sizes = [(matrices * block.mlp.W_in.numel(), width)]
            else:
                changing = [r for r in self.engine.graph.receivers_of(node) if self._changes(r)]
                widths = [width, *(self.circuit.reads_at(receiver).width for receiver in changing)]
                sizes = [(d_model * d_head, positions) for positions in widths]
            n_weights += sum(size for size, _ in sizes)
            per_prompt += sum(2 * size * positions for size, positions in sizes)
        return Work(len(self._path), n_weights, per_prompt * self.engine.n_prompts)

    def try_removing(self, senders: Sequence[int]) -> Float[Tensor, "chain prompt"]:
        """The metric with the first, the first two, ... of these edges removed as well.

        Args:
            senders: sender indices, in the order of removal.
        """
        at = self._reader.reads_at
        deltas = torch.stack([self.engine.delta(sender, at) for sender in senders])
        if self._reader.removed_sum is not None:
            deltas[0] += self._reader.removed_sum
        # Row by row: torch's cumsum over a leading axis is several times slower.
        for before, row in pairwise(deltas):
            row += before
        self._chain_sums = deltas
        self._compute_outputs()
        final = self._input_change(Receiver(LOGITS))
        assert final is not None
        return self.engine.metric_by_prompt(final[:, :, 0] + self.engine.final_at_end)

    def remove(self, senders: Sequence[int]) -> None:
        """Makes the removal of some edges part of the circuit without looking at the metric."""
        if not senders:
            return
        at, before = self._reader.reads_at, self._reader.removed_sum
        total = sum((self.engine.delta(sender, at) for sender in senders[1:]),
                    start=self.engine.delta(senders[0], at))  # fmt: skip
        self._chain_sums = (total if before is None else total + before)[None]
        self._compute_outputs()
        self.accept(1)

    def accept(self, count: int) -> None:
        """Makes the removal of the first `count` edges of the last chain part of the circuit."""
        if count == 0:
            return
        assert self._chain_sums is not None
        self._reader.removed_sum = self._chain_sums[count - 1].clone()
        for node, output in self._chain_outputs.items():
            self.circuit.outputs[node] = output[count - 1].clone()

    def _compute_outputs(self) -> None:
        """The outputs of all nodes on the way to the logits, for every member of the chain."""
        self._chain_outputs = {}
        for node in self._path[:-1]:
            self._chain_outputs[node] = (
                self._mlp_output(node) if node.kind == "mlp" else self._head_output(node)
            )

    def _prepare(self, node: Node) -> None:
        receivers = self.engine.graph.receivers_of(node)
        for receiver in receivers:
            self._rest[receiver] = self._unchanging_input(receiver)
        if node.kind != "head":
            return
        steady = [receiver for receiver in receivers if not self._changes(receiver)]
        for receiver in steady:
            self._fixed[receiver] = self._slot(receiver, self._rest[receiver])
        q, k, _ = receivers
        if q in self._fixed and k in self._fixed:
            self._fixed_pattern[node] = self._pattern(node, self._fixed.pop(q), self._fixed.pop(k))

    def _changes(self, receiver: Receiver) -> bool:
        """Whether a receiver's input differs between the members of a chain."""
        return receiver == self.receiver or any(
            self.engine.graph.senders[sender] in self._changing for sender in self._kept(receiver)
        )

    def _kept(self, receiver: Receiver) -> list[int]:
        reader = self.circuit.readers.get(receiver)
        return reader.kept if reader else []

    def _unchanging_input(self, receiver: Receiver) -> InputChange | None:
        """The part of a receiver's input change that is the same all through this test."""
        reader = self.circuit.readers.get(receiver)
        if reader is None or receiver == self.receiver:
            return None
        total = reader.removed_sum
        for index in reader.kept:
            sender = self.engine.graph.senders[index]
            if sender not in self._changing and sender in self.circuit.outputs:
                change = self.circuit.change_from(
                    sender, self.circuit.outputs[sender], reader.reads_at
                )
                total = change if total is None else total + change
        return total

    def _input_change(self, receiver: Receiver) -> InputChange | None:
        """A receiver's input change for every member of the chain."""
        if receiver == self.receiver:
            return self._chain_sums
        total = self._rest[receiver]
        for index in self._kept(receiver):
            sender = self.engine.graph.senders[index]
            if sender in self._chain_outputs:
                change = self.circuit.change_from(
                    sender, self._chain_outputs[sender], self.circuit.readers[receiver].reads_at
                )
                total = change if total is None else total + change
        return total

    def _mlp_output(self, node: Node) -> Output:
        at = self.circuit.written_at(node)
        change = self._input_change(Receiver(node))
        assert change is not None
        x = at.take(self.engine.clean_input(node)) + change
        weights = self.engine.weights
        out = mlp(x, weights.blocks[node.layer], weights.activation)
        return out - at.take(self.engine.clean.mlp_out[node.layer])

    def _head_output(self, node: Node) -> Output:
        q, k, v = self.engine.graph.receivers_of(node)
        pattern = self._fixed_pattern.get(node)
        if pattern is None:
            pattern = self._pattern(node, self._chain_slot(q), self._chain_slot(k))
        at = self.circuit.written_at(node)
        return pattern @ self._chain_slot(v) - at.take(
            self.engine.clean.z[node.layer][:, node.head]
        )

    def _chain_slot(self, receiver: Receiver) -> Tensor:
        """A head's queries, keys or values for every member of the chain."""
        if receiver in self._fixed:
            return self._fixed[receiver]
        return self._slot(receiver, self._input_change(receiver))

    def _pattern(self, node: Node, q: Tensor, k: Tensor) -> Tensor:
        at = self.circuit.written_at(node)
        window = self.engine.weights.blocks[node.layer].window
        allowed = causal(at.n_positions, q.device, window)[at.index]
        return attention_pattern(q, k, allowed, self.engine.weights.attn_scale)

    def _slot(self, receiver: Receiver, change: InputChange | None) -> Tensor:
        """A head's queries where its output matters, or its keys or values at all positions."""
        engine, node = self.engine, receiver.node
        assert receiver.qkv is not None
        clean = engine.clean_input(node)
        everywhere = engine.clean_slot(node, receiver.qkv)
        if receiver.qkv == "q":
            at = self.circuit.written_at(node)
            if change is None:
                return at.take(everywhere)
            return self._project(at.take(clean) + change, node, "q", at)
        if change is None:
            return everywhere
        at = self.circuit.readers[receiver].reads_at
        changed = self._project(at.take(clean) + change, node, receiver.qkv, at)
        full = everywhere.expand(*changed.shape[:-2], *everywhere.shape[-2:]).clone()
        return at.put(changed, full)

    def _project(self, x: Tensor, node: Node, qkv: QKV, at: PositionSet) -> Tensor:
        return head_slot(x, self.engine.weights, node, qkv, None if at.is_all else at.index)
