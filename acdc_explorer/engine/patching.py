"""Incremental patching: what makes an exact search fast (DESIGN section 4).

Both searches go through the receivers from the logits backwards, so while one receiver is under
test

1. everything upstream of it is still clean: removing an edge into it changes its input by a
   constant, ablated output - clean output;
2. downstream only nodes that the receiver reaches through kept edges can change, each only at the
   positions to which the change spreads and from which it reaches the metric (`positions.py`);
3. many candidates are evaluated in one batch. ACDC's are a chain: remove e1; e1 and e2; e1, e2 and
   e3; ...  It accepts the chain up to the first edge that it keeps, which is the sequential
   algorithm. Path patching's are each on its own.

`LiveCircuit` is the state between receivers: what every tested input reads by now and, for every
node with a path to the logits, how its output differs from the clean run. `ReceiverTest`
(`receiver_test.py`) is the work on one receiver.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.forward import Run, head_slot
from acdc_explorer.engine.linear import linear
from acdc_explorer.engine.positions import PositionSet
from acdc_explorer.graph import INPUT, LOGITS, QKV, QKVS, Node, Receiver

# A head's change is kept before W_O, [*batch, prompt, width, d_head]; an MLP's is [..., d_model].
OutputChange = Float[Tensor, "*batch prompt width feature"]
Stream = Float[Tensor, "*batch prompt width d_model"]
# Floats of what inputs read that a search keeps; the others are summed up again for every test.
_BASE_FLOATS = 16_000_000


@dataclass
class LiveInput:
    """An input whose edges have been tested or are being tested.

    Attributes:
        reads_at: the positions from which it can reach the metric.
        decided: those at which all its edges but the kept ones are removed.
        kept: sender -> the positions at which its edge is kept.
        base: what it reads once it is decided, changes along kept edges apart; made when first
            needed, and kept if there is room.
    """

    reads_at: PositionSet
    decided: PositionSet
    kept: dict[Node, PositionSet] = field(default_factory=dict)
    base: Stream | None = None


class LiveCircuit:
    """The circuit as far as a backwards search has come.

    Attributes:
        engine: model and task.
        sums_what_is_left: whether decided inputs are summed up from the kept senders' outputs,
            instead of from the clean run's input and what has changed since. Zero ablation can
            leave next to nothing in a stream, and a norm makes that large again, and with it the
            rounding that a difference of two large sums would leave.
        inputs: input -> what is known of it; those opened so far.
        kept_inputs: node -> the inputs into which an edge of it is kept.
        outputs: node -> how its output differs from `baseline`, where it can reach the metric;
            nodes that are not here have their clean output.
    """

    def __init__(self, engine: Engine, *, sums_what_is_left: bool = False):
        """Starts with the full model, nothing tested."""
        self.engine, self.sums_what_is_left = engine, sums_what_is_left
        self.inputs: dict[Receiver, LiveInput] = {}
        self.kept_inputs: dict[Node, list[Receiver]] = {}
        self.outputs: dict[Node, OutputChange] = {}
        self._written_at: dict[Node, PositionSet] = {LOGITS: engine.sets.end}
        self._slots: dict[tuple[Node, QKV], Tensor] = {}
        self._base_floats = 0

    @property
    def baseline(self) -> Run:
        """The run from which outputs are told apart: what is left is a difference from nothing."""
        return self.engine.ablated if self.sums_what_is_left else self.engine.clean

    def is_live(self, receiver: Receiver) -> bool:
        """Whether a path of kept edges leads from what a receiver reads to the metric."""
        node = receiver.node
        return (node == LOGITS or node in self.kept_inputs) and bool(self.reads_at(receiver))

    def written_at(self, node: Node) -> PositionSet:
        """The positions at which a live node's output can reach the metric.

        To be asked once all its receivers have been tested, as they are when its own turn comes.
        """
        if node not in self._written_at:
            readers = [self.inputs[whole].kept[node] for whole in self.kept_inputs[node]]
            self._written_at[node] = self.engine.sets.union(readers)
        return self._written_at[node]

    def reads_at(self, receiver: Receiver) -> PositionSet:
        """The positions at which what a live node's receiver reads can reach the metric."""
        sets = self.engine.sets
        at = queries = self.written_at(receiver.node)
        if receiver.node.kind == "head" and receiver.qkv != "q":
            at = sets.readable_from(queries)
            if receiver.qkv is None:
                at = sets.union([queries, at])
        if receiver.position is None:
            return at
        return sets.intersection(at, self.engine.label_sets[receiver.position])

    def open(self, receiver: Receiver) -> LiveInput:
        """The input that a receiver belongs to; its edges may be tested from now on."""
        whole = receiver.at(None)
        if whole not in self.inputs:
            self.inputs[whole] = LiveInput(self.reads_at(whole), self.engine.sets.none)
        return self.inputs[whole]

    def keep(self, sender: Node, receiver: Receiver) -> None:
        """Records that an edge stays."""
        live, sets = self.inputs[receiver.at(None)], self.engine.sets
        before = live.kept.get(sender, sets.none)
        live.kept[sender] = sets.union([before, self.reads_at(receiver)])
        if sender != INPUT and not before:
            self.kept_inputs.setdefault(sender, []).append(receiver.at(None))

    def downstream(self, node: Node) -> list[Node]:
        """The live nodes that a node reaches through kept edges, in topological order."""
        reached: set[Node] = set()
        stack = [node]
        while stack:
            for whole in self.kept_inputs.get(stack.pop(), ()):
                if whole.node not in reached:
                    reached.add(whole.node)
                    stack.append(whole.node)
        index = self.engine.graph.sender_index
        return sorted(reached, key=lambda other: index.get(other, len(index)))

    def carry(
        self,
        sender: Node,
        change: OutputChange,
        known_at: PositionSet,
        through: PositionSet,
        to: PositionSet,
    ) -> Stream:
        """What a node's changed output adds to an input.

        Args:
            sender: the node.
            change: of its output from `baseline`, at `known_at`.
            known_at: where the change is given.
            through: the positions at which it reaches the input; within `known_at` and `to`.
            to: the positions of the result, zero outside `through`.
        """
        change = known_at.move(change, through)
        if sender.kind == "head":
            change = linear(change, self.engine.weights.blocks[sender.layer].W_O[sender.head])
        return through.move(change, to)

    def input_now(
        self, whole: Receiver, at: PositionSet, changing: Mapping[Node, PositionSet] | None = None
    ) -> Stream:
        """What an input reads at some positions in the circuit as it stands.

        Args:
            whole: the input.
            at: positions within those that it reads at.
            changing: sender -> positions at which its change is left out.
        """
        engine, live = self.engine, self.inputs.get(whole)
        if self.sums_what_is_left and live is not None and live.decided:
            return self._sum_of_what_is_left(whole, live, at, changing or {})
        total = self._base(whole, at)
        for sender, kept_at in live.kept.items() if live else ():
            if sender not in self.outputs:
                continue
            through = engine.sets.intersection(kept_at, at)
            if changing and sender in changing:
                through = engine.sets.difference(through, changing[sender])
            if through:
                known_at = self.written_at(sender)
                total = total + self.carry(sender, self.outputs[sender], known_at, through, at)
        return total

    def _sum_of_what_is_left(
        self,
        whole: Receiver,
        live: LiveInput,
        at: PositionSet,
        changing: Mapping[Node, PositionSet],
    ) -> Stream:
        """`input_now` where all edges but the kept ones are gone: what the kept senders write.

        At positions that are not decided, no sender has changed: the input is the clean run's.
        """
        engine, sets = self.engine, self.engine.sets
        total = at.take(engine.ablated.input_of(whole.node))
        if sets.difference(at, live.decided):
            clean = at.take(engine.clean.input_of(whole.node))
            total = torch.where(at.holding(live.decided), total, clean)
        for sender, kept_at in live.kept.items():
            through = sets.intersection(sets.intersection(kept_at, at), live.decided)
            if sender in changing:
                through = sets.difference(through, changing[sender])
            if not through:
                continue
            if sender in self.outputs:
                known_at = self.written_at(sender)
                total = total + self.carry(sender, self.outputs[sender], known_at, through, at)
            else:
                delta = engine.delta(engine.graph.sender_index[sender], through)
                total = total - through.move(delta, at)
        return total

    def _base(self, whole: Receiver, at: PositionSet) -> Stream:
        """What an input reads while its kept senders are clean: ablated, and what they restore."""
        engine, live = self.engine, self.inputs.get(whole)
        if live is None or not live.decided:
            return at.take(engine.clean.input_of(whole.node))
        if live.base is not None:
            return live.reads_at.move(live.base, at)
        if live.decided is live.reads_at and at is not live.reads_at and self._has_room(live):
            return live.reads_at.move(self._base(whole, live.reads_at), at)
        base = at.take(engine.ablated.input_of(whole.node))
        if engine.sets.difference(at, live.decided):
            clean = at.take(engine.clean.input_of(whole.node))
            base = torch.where(at.holding(live.decided), base, clean)
        for sender, kept_at in live.kept.items():
            decided = engine.sets.intersection(kept_at, live.decided)
            through = engine.sets.intersection(decided, at)
            if through:
                delta = engine.delta(engine.graph.sender_index[sender], through)
                base = base - through.move(delta, at)
        if at is live.reads_at is live.decided and self._has_room(live):
            live.base = base
            self._base_floats += base.numel()
        return base

    def _has_room(self, live: LiveInput) -> bool:
        """Whether what an input reads can be kept; where it is END alone, always."""
        floats = self.engine.n_prompts * live.reads_at.width * self.engine.weights.W_E.shape[1]
        return live.reads_at is self.engine.sets.end or self._base_floats + floats <= _BASE_FLOATS

    def decide(self, receiver: Receiver) -> None:
        """Records that all edges of a receiver that are not kept are removed for good."""
        live = self.inputs[receiver.at(None)]
        live.decided = self.engine.sets.union([live.decided, self.reads_at(receiver)])
        self._forget_slots(receiver.node)

    def slot_now(self, head: Node, qkv: QKV) -> Float[Tensor, "prompt width d_head"]:
        """A head's queries where its output matters, or its keys or values at all positions."""
        key = head, qkv
        if key not in self._slots:
            self._slots[key] = self._slot_now(head, qkv)
        return self._slots[key]

    def _slot_now(self, head: Node, qkv: QKV) -> Tensor:
        clean = self.engine.clean_slot(head, qkv)
        whole = self.engine.graph.head_input(head, qkv)
        live, written_at = self.inputs.get(whole), self.written_at(head)
        at = written_at if qkv == "q" or live is None else live.reads_at
        touched = live is not None and (
            bool(live.decided) or any(sender in self.outputs for sender in live.kept)
        )
        if not touched or not at:
            return written_at.take(clean) if qkv == "q" else clean
        positions = None if at.is_all else at.index
        slot = head_slot(self.input_now(whole, at), self.engine.weights, head, qkv, positions)
        return slot if qkv == "q" else at.put(slot, clean.clone())

    def settle(self, outputs: Mapping[Node, tuple[OutputChange, PositionSet]]) -> None:
        """Makes changed outputs, given with the positions where they were computed, the present."""
        for node, (change, at) in outputs.items():
            written_at = self.written_at(node)
            if at is not written_at:
                before = self.outputs.get(node)
                if before is None and self.sums_what_is_left:
                    before = -self.engine.output_delta(node, written_at)
                if before is None:
                    change = at.move(change, written_at)
                else:
                    change = at.put_inside(change, written_at, before)
            self.outputs[node] = change
            self._forget_slots(node)

    def _forget_slots(self, node: Node) -> None:
        for qkv in QKVS:
            self._slots.pop((node, qkv), None)
