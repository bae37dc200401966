"""What follows from changed inputs: the nodes downstream of them, many candidates at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from acdc_explorer.engine.change_plan import ChangePlan
from acdc_explorer.engine.live_circuit import LiveCircuit, OutputChange
from acdc_explorer.engine.position_sets import PositionSet
from acdc_explorer.engine.stream_sum import Stream, StreamSum
from acdc_explorer.graph import LOGITS, QKV, Node, Receiver
from acdc_explorer.models.linear import chosen
from acdc_explorer.models.sublayers import attention_pattern, mlp, vectors_of_heads


class Downstream:
    """Computes, for candidates of what some inputs read, all that changes with them.

    What cannot change is computed once (`_Unchanged`); what can, for every batch of candidates.

    Attributes:
        outputs: how the nodes differ from the circuit's baseline in each candidate of the last
            batch.
    """

    def __init__(self, circuit: LiveCircuit, plan: ChangePlan):
        """Takes a plan that was made for the circuit as it stands."""
        self._circuit, self._plan = circuit, plan
        self._unchanged = _Unchanged(circuit, plan)
        self._tried: Mapping[Receiver, Stream] = {}
        # What another input reads in each candidate; the last one that was asked for.
        self._read: dict[Receiver, Stream] = {}
        self.outputs: dict[Node, OutputChange] = {}

    def metric_of(self, tried: Mapping[Receiver, Stream]) -> Float[Tensor, "candidate prompt"]:
        """The metric for each candidate.

        Args:
            tried: input -> what it reads in each, at the positions at which the plan says that it
                changes.
        """
        self._tried, self._read, self.outputs = tried, {}, {}
        for nodes in self._plan.steps:
            if nodes[0].kind == "mlp":
                self.outputs[nodes[0]] = self._mlp_output(nodes[0])
            else:
                self.outputs.update(zip(nodes, self._head_outputs(nodes), strict=True))
        final = self._input(Receiver(LOGITS))[:, :, 0]
        return self._circuit.engine.scoring.values(final, self._circuit.runs.rows)

    def commit(self, member: int) -> None:
        """Makes the nodes' outputs in one candidate of the last batch the circuit's present."""
        self._circuit.commit(
            {
                node: (output[member].clone(), self._plan.changes[node])
                for node, output in self.outputs.items()
            }
        )

    def _input(self, input_: Receiver) -> Stream:
        """What an input reads where it changes, for every candidate."""
        if input_ in self._tried:
            return self._tried[input_]
        if input_ not in self._read:
            # Only the last one is asked for again: by the heads that share it.
            self._read = {input_: self._sum_of(input_)}
        return self._read[input_]

    def _sum_of(self, input_: Receiver) -> Stream:
        at, total = self._plan.input_changes(input_), self._unchanged.input(input_).copy()
        for senders, through in self._unchanged.incoming(input_):
            changes = [self.outputs[sender] for sender in senders]
            total.add(
                senders[0],
                self._circuit.contribution(
                    senders, changes, self._plan.changes[senders[0]], through, at
                ),
            )
        return total.whole()

    def _mlp_output(self, node: Node) -> OutputChange:
        circuit, weights = self._circuit, self._circuit.weights
        out = mlp(self._input(Receiver(node)), weights.blocks[node.layer], weights.activation)
        return out - self._plan.changes[node].take(circuit.baseline.mlp_out[node.layer])

    def _head_outputs(self, heads: list[Node]) -> Iterator[OutputChange]:
        """Of some heads of a block that change at the same positions."""
        at = self._plan.heads[heads[0]].output
        all_z = self._circuit.baseline.z[heads[0].layer].transpose(0, 1)
        z = at.take(chosen(all_z, [head.head for head in heads]))
        yield from self._pattern(heads) @ self._vectors(heads, "v") - z[:, None]

    def _pattern(self, heads: list[Node]) -> Float[Tensor, "head candidate prompt query key"]:
        """Attention; computed once where only values change in this test."""
        where, unchanged = self._plan.heads[heads[0]], self._unchanged
        if heads[0] in unchanged.patterns:
            return unchanged.patterns[heads[0]]
        q, k = self._vectors(heads, "q"), self._vectors(heads, "k")
        weights = self._circuit.weights
        allowed = where.output.allowed_keys(weights.blocks[heads[0].layer].window)
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


class _Unchanged:
    """What is the same in every trial of a receiver's edges, made when first needed.

    Attributes:
        patterns: first of a group of heads -> their attention, where only values change.
    """

    def __init__(self, circuit: LiveCircuit, plan: ChangePlan):
        self._circuit, self._plan = circuit, plan
        self._inputs: dict[Receiver, StreamSum] = {}
        self._incoming: dict[Receiver, list[tuple[list[Node], PositionSet]]] = {}
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

    def incoming(self, input_: Receiver) -> list[tuple[list[Node], PositionSet]]:
        """Changing senders whose edges into an input are kept, and where changes come through.

        Heads that change, and come through, at the same positions are together.
        """
        if input_ not in self._incoming:
            circuit, changes = self._circuit, self._plan.changes
            groups: dict[tuple[object, ...], tuple[list[Node], PositionSet]] = {}
            for sender, kept_at in circuit.inputs[input_].kept.items():
                through = circuit.sets.intersection(kept_at, changes.get(sender, circuit.sets.none))
                if through:
                    key = circuit.adds_up_with(sender), changes[sender], through
                    groups.setdefault(key, ([], through))[0].append(sender)
            self._incoming[input_] = list(groups.values())
        return self._incoming[input_]

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
