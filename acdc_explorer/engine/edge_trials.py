"""The trials of the edges into one receiver: which nodes each computes, where, and from what.

`live_circuit.py` says why so little has to be computed. Here a plan is made once for a receiver:
the nodes that can change while its edges are tried, and the positions at which they do
(`ChangePlan`). What cannot change is computed once (`_Unchanged`); what can, for every batch of
candidates (`_Batch`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from acdc_explorer.engine.change_plan import ChangePlan, Work
from acdc_explorer.engine.live_circuit import LiveCircuit, OutputChange
from acdc_explorer.engine.position_sets import PositionSet
from acdc_explorer.engine.stream_sum import (
    Stream,
    StreamSum,
    is_normed_with_others,
    layers_normed,
)
from acdc_explorer.graph import LOGITS, QKV, Node, Receiver
from acdc_explorer.models.sublayers import (
    attention_pattern,
    causal,
    mlp,
    normalize,
    vectors_of_heads,
)


class EdgeTrials:
    """Tries to remove edges into one receiver, many at a time.

    Use, for ACDC: `try_removing(senders)` any number of times, after each `accept(senders)` with
    the first of them, which stay removed. What is known already to be removed goes by
    `remove(senders)`; at last `finish()`. For path patching: `try_alone(senders)`. An
    edge that stays: `keep(sender)`.

    Attributes:
        at: the positions at which the receiver's input changes.
        work: what one batch of candidates takes.
    """

    def __init__(self, circuit: LiveCircuit, receiver: Receiver):
        """Finds out what can change while this receiver is tested."""
        self._circuit, self._receiver = circuit, receiver
        self._live = circuit.open(receiver)
        self.at = circuit.reads_at(receiver)
        self._plan = ChangePlan(circuit, receiver)
        self.work: Work = self._plan.work()
        self._present = set(range(circuit.graph.n_senders_to(receiver)))
        self._unchanged = _Unchanged(circuit, self._plan)
        # What the receiver reads by now: its kept senders are upstream and so still clean.
        self._now = circuit.input_now(receiver.at(None), self.at)
        # Of it, what the heads of a block write together, where that is normed and not clean.
        self._head_sums: dict[int, Stream] = {}
        self._batch: _Batch | None = None

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
        inputs = self._circuit.runs.deltas(senders, self.at)
        for number, sender in enumerate(senders):
            self._norm_in_place([sender], inputs[number : number + 1], {})
        return self._metric_of(inputs + self._now)

    def remove(self, senders: Sequence[int]) -> Float[Tensor, " prompt"]:
        """Makes the removal of some edges part of the circuit, and gives the metric after it."""
        values = self._metric_of(self._chain_inputs(senders)[-1:])
        self._commit(0, senders)
        return values[0]

    def accept(self, senders: Sequence[int]) -> None:
        """Makes the removal of the first edges of the last chain, these, part of the circuit."""
        self._commit(len(senders) - 1, senders)

    def keep(self, sender: int) -> None:
        """Makes an edge part of the circuit for good."""
        self._present.discard(sender)
        self._circuit.keep(self._circuit.graph.senders[sender], self._receiver)

    def finish(self) -> None:
        """Ends an ACDC test: what is not kept by now is removed for good."""
        self._circuit.decide(self._receiver)

    def _commit(self, member: int, senders: Sequence[int]) -> None:
        """Makes one member of the last batch, with these edges removed, the present."""
        assert self._batch is not None
        self._present.difference_update(senders)
        self._now = self._batch.inputs[member].clone()
        for index in senders:
            sender = self._circuit.graph.senders[index]
            if is_normed_with_others(sender, self._circuit.weights):
                before = self._head_sum(sender.layer, self._head_sums)
                delta = self._circuit.runs.delta(index, self.at)
                self._head_sums[sender.layer] = before + delta
        self._circuit.commit(
            {
                node: (output[member].clone(), self._plan.changes[node])
                for node, output in self._batch.outputs.items()
            }
        )

    def _chain_inputs(self, senders: Sequence[int]) -> Float[Tensor, "chain prompt width d_model"]:
        """What the receiver reads with the first, the first two, ... of these edges removed."""
        if self._circuit.sums_what_is_left:
            return self._chain_inputs_of_what_is_left(senders)
        inputs = self._circuit.runs.deltas(senders, self.at)
        self._norm_in_place(senders, inputs, dict(self._head_sums))
        inputs[0] += self._now
        # Row by row: torch's cumsum over a leading axis is several times slower.
        for before, row in pairwise(inputs):
            row += before
        return inputs

    def _chain_inputs_of_what_is_left(self, senders: Sequence[int]) -> Tensor:
        """The same as the sum of what is still there."""
        circuit, runs = self._circuit, self._circuit.runs
        there = self._present.difference(senders)
        for sender, at in self._live.kept.items():
            if circuit.sets.intersection(at, self.at):
                there.add(circuit.graph.sender_index[sender])
        total = StreamSum(circuit.weights, self.at.take(runs.ablated.input_of(self._receiver.node)))
        nodes = [circuit.graph.senders[index] for index in there.union(senders)]
        for layer in layers_normed(nodes, circuit.weights):
            total.open(layer, self.at.take(runs.ablated.head_sums[layer]))
        for index in sorted(there):
            total.add(circuit.graph.senders[index], -runs.delta(index, self.at))
        # From the last to the first, the removed senders come back.
        added = runs.deltas(senders, self.at).neg_()
        inputs = torch.empty_like(added)
        inputs[-1] = total.whole()
        self._norm_in_place(senders[::-1], list(added)[::-1], total.head_sums)
        for number in reversed(range(1, len(senders))):
            torch.add(inputs[number], added[number], out=inputs[number - 1])
        return inputs

    def _norm_in_place(
        self,
        senders: Sequence[int],
        amounts: Iterable[Stream],
        head_sums: dict[int, Stream],
    ) -> None:
        """From what each of some senders in turn adds to its sum to what this adds to the stream.

        They differ for heads of blocks that norm what their heads write together.

        Args:
            senders: sender indices.
            amounts: replaced by what reaches the stream.
            head_sums: layer -> what its heads write together before, where that is not clean;
                replaced by what they write after.
        """
        circuit = self._circuit
        if not circuit.weights.norms_head_sums:
            return
        for index, amount in zip(senders, amounts, strict=True):
            sender = circuit.graph.senders[index]
            if not is_normed_with_others(sender, circuit.weights):
                continue
            before = self._head_sum(sender.layer, head_sums)
            head_sums[sender.layer] = after = before + amount
            norm = circuit.weights.blocks[sender.layer].ln1_post
            torch.sub(normalize(after, norm), normalize(before, norm), out=amount)

    def _head_sum(self, layer: int, head_sums: dict[int, Stream]) -> Stream:
        """What the heads of a block write together: as given, else clean."""
        if layer in head_sums:
            return head_sums[layer]
        return self.at.take(self._circuit.runs.clean.head_sums[layer])

    def _metric_of(self, inputs: Stream) -> Float[Tensor, "candidate prompt"]:
        circuit = self._circuit
        self._batch = batch = _Batch(inputs, {self._receiver.at(None): inputs})
        for nodes in self._plan.steps:
            if nodes[0].kind == "mlp":
                batch.outputs[nodes[0]] = self._mlp_output(nodes[0])
            else:
                batch.outputs.update(zip(nodes, self._head_outputs(nodes), strict=True))
        final = self._input(Receiver(LOGITS))[:, :, 0]
        return circuit.engine.scoring.values(final, circuit.runs.rows)

    def _input(self, input_: Receiver) -> Stream:
        """What an input reads where it changes, for every candidate."""
        batch = self._batch
        assert batch is not None
        if input_ not in batch.read:
            # Only the last one is asked for again: by the heads that share it.
            batch.read = {input_: self._sum_of(input_, batch)}
        return batch.read[input_]

    def _sum_of(self, input_: Receiver, batch: _Batch) -> Stream:
        circuit, plan = self._circuit, self._plan
        at, total = plan.input_changes(input_), self._unchanged.input(input_).copy()
        for sender, kept_at in circuit.inputs[input_].kept.items():
            if sender in batch.outputs:
                known_at = plan.changes[sender]
                through = circuit.sets.intersection(kept_at, known_at)
                if through:
                    change = batch.outputs[sender]
                    total.add(sender, circuit.contribution(sender, change, known_at, through, at))
        return total.whole()

    def _mlp_output(self, node: Node) -> OutputChange:
        circuit, weights = self._circuit, self._circuit.weights
        out = mlp(self._input(Receiver(node)), weights.blocks[node.layer], weights.activation)
        return out - self._plan.changes[node].take(circuit.baseline.mlp_out[node.layer])

    def _head_outputs(self, heads: list[Node]) -> Iterator[OutputChange]:
        """Of some heads of a block that change at the same positions."""
        at = self._plan.heads[heads[0]].output
        all_z = self._circuit.baseline.z[heads[0].layer]
        z = all_z[:, [head.head for head in heads]].transpose(0, 1)
        yield from self._pattern(heads) @ self._vectors(heads, "v") - at.take(z)[:, None]

    def _pattern(self, heads: list[Node]) -> Float[Tensor, "head candidate prompt query key"]:
        """Attention; computed once where only values change in this test."""
        where, unchanged = self._plan.heads[heads[0]], self._unchanged
        if heads[0] in unchanged.patterns:
            return unchanged.patterns[heads[0]]
        q, k = self._vectors(heads, "q"), self._vectors(heads, "k")
        weights, at = self._circuit.weights, where.output
        window = weights.blocks[heads[0].layer].window
        allowed = causal(at.n_positions, q.device, window)[at.index]
        pattern = attention_pattern(q, k, allowed, weights)
        if not (where.q or where.k):
            unchanged.patterns[heads[0]] = pattern
        return pattern

    def _vectors(
        self, heads: list[Node], qkv: QKV
    ) -> Float[Tensor, "head candidate prompt width d_head"]:
        """Queries where the heads' outputs change, or their keys or values at all positions.

        The axis of candidates is one long where they are all alike.
        """
        where, unchanged = self._plan.heads[heads[0]], self._unchanged
        changed_at = where.of(qkv)
        if not changed_at:
            return unchanged.vectors(heads, qkv)
        inputs = []
        for head in heads:
            input_ = self._circuit.graph.head_input(head, qkv)
            read_at = self._plan.input_changes(input_)
            inputs.append(read_at.move(self._input(input_), changed_at))
        positions = None if changed_at.is_all else changed_at.index
        changed = vectors_of_heads(
            torch.stack(inputs),
            self._circuit.weights,
            heads[0].layer,
            [head.head for head in heads],
            qkv,
            positions,
        )
        if qkv == "q":
            if changed_at == where.output:
                return changed
            return changed_at.put_inside(changed, where.output, unchanged.vectors(heads, qkv))
        if changed_at.is_all:
            return changed
        full = unchanged.vectors(heads, qkv).expand(-1, changed.shape[1], -1, -1, -1)
        return changed_at.put(changed, full.clone())


@dataclass
class _Batch:
    """Candidates that are evaluated together.

    Attributes:
        inputs: what the receiver reads in each.
        read: what another input reads in each; the last one that was asked for.
        outputs: how the nodes computed so far differ from the circuit's baseline.
    """

    inputs: Stream
    read: dict[Receiver, Stream]
    outputs: dict[Node, OutputChange] = field(default_factory=dict)


class _Unchanged:
    """What is the same in every trial of a receiver's edges, made when first needed.

    Attributes:
        patterns: first of a group of heads -> their attention, where only values change.
    """

    def __init__(self, circuit: LiveCircuit, plan: ChangePlan):
        self._circuit, self._plan = circuit, plan
        self._inputs: dict[Receiver, StreamSum] = {}
        self._vectors: dict[tuple[Node, QKV], Tensor] = {}
        self.patterns: dict[Node, Tensor] = {}

    def input(self, input_: Receiver) -> StreamSum:
        """What an input reads where it changes, the changing senders' changes left out."""
        if input_ not in self._inputs:
            at: PositionSet = self._plan.input_changes(input_)
            total = self._circuit.sum_now(input_, at, self._plan.changes)
            changing = {node.layer for node in self._plan.changes if node.kind == "head"}
            self._inputs[input_] = total.open_only(changing)
        return self._inputs[input_]

    def vectors(self, heads: list[Node], qkv: QKV) -> Float[Tensor, "head one prompt width d_head"]:
        """Queries, keys or values before the trials, right where nothing changes in them."""
        key = heads[0], qkv
        if key not in self._vectors:
            vectors = [self._circuit.vectors_now(head, qkv) for head in heads]
            if qkv == "q":
                at = self._plan.heads[heads[0]].output
                vectors = [
                    self._circuit.written_at(head).move(each, at)
                    for head, each in zip(heads, vectors, strict=True)
                ]
            self._vectors[key] = torch.stack(vectors)[:, None]
        return self._vectors[key]
