"""Which nodes can change while some inputs are tried, and at which positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from acdc_explorer.engine.live_circuit import LiveCircuit
from acdc_explorer.engine.position_sets import PositionSet
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
    flops_fixed: float = 0.0


@dataclass(frozen=True)
class HeadChange:
    """Where a head's queries, keys and values change, and so its output."""

    output: PositionSet
    q: PositionSet
    k: PositionSet
    v: PositionSet

    def of(self, qkv: QKV) -> PositionSet:
        """Where its queries, keys or values change."""
        return {"q": self.q, "k": self.k, "v": self.v}[qkv]


class ChangePlan:
    """What is to be computed where inputs of some nodes change.

    Attributes:
        tried: input -> the positions at which it changes.
        changes: node -> the positions at which its output changes, in topological order.
        heads: of those that are heads, what changes in them.
    """

    def __init__(self, circuit: LiveCircuit, tried: Mapping[Receiver, PositionSet]):
        """Follows the kept edges from these inputs' nodes to the logits.

        Args:
            circuit: as it stands.
            tried: as above; of nodes none of which reads another.
        """
        self._circuit, self.tried = circuit, tried
        self.changes: dict[Node, PositionSet] = {}
        self.heads: dict[Node, HeadChange] = {}
        for node in circuit.downstream([input_.node for input_ in tried]):
            changes = self._changes_of(node)
            if changes:
                self.changes[node] = changes

    def input_changes(self, input_: Receiver) -> PositionSet:
        """The positions at which an input differs between candidates; of the logits' always END."""
        sets = self._circuit.sets
        if input_ in self.tried:
            return self.tried[input_]
        if input_.node == LOGITS:
            return sets.end
        live = self._circuit.inputs.get(input_)
        if live is None:
            return sets.none
        return sets.union(
            [
                sets.intersection(kept_at, self.changes[sender])
                for sender, kept_at in live.kept.items()
                if sender in self.changes
            ]
        )

    def _changes_of(self, node: Node) -> PositionSet:
        graph, sets = self._circuit.graph, self._circuit.sets
        if node.kind != "head":
            return self.input_changes(Receiver(node))
        written_at = self._circuit.written_at(node)
        q, k, v = (self.input_changes(graph.head_input(node, qkv)) for qkv in QKVS)
        q = sets.intersection(written_at, q)
        output = sets.union([q, sets.from_first_of(written_at, sets.union([k, v]))])
        self.heads[node] = HeadChange(output, q, k, v)
        return output

    @cached_property
    def steps(self) -> list[list[Node]]:
        """What is computed together, in order: heads of a block that change alike, or one node."""

        def alike(node: Node) -> tuple[object, ...]:
            if node.kind == "head":
                return node.layer, self.heads[node]
            return (node,)

        nodes = [node for node in self.changes if node != LOGITS]
        # Within a block no head reads another, so they may change places.
        order = {key: number for number, key in enumerate(dict.fromkeys(map(alike, nodes)))}
        nodes.sort(key=lambda node: (node.layer, node.kind != "head", order[alike(node)]))
        return [list(group) for _, group in groupby(nodes, alike)]

    def work(self) -> Work:
        """What one batch of candidates takes."""
        weights = self._circuit.weights
        d_model, d_head = weights.d_model, weights.blocks[0].W_O.shape[1]
        # The sender's delta and the final norm; then for each node its weights times its positions.
        width = sum(at.width for at in self.tried.values())
        n_weights, per_prompt = 0, d_model * (2 * d_head * width + 10)
        for node, at in self.changes.items():
            if node.kind == "mlp":
                block = weights.blocks[node.layer].mlp
                assert block is not None
                sizes = [(block.n_weights, at.width)]
            elif node.kind == "head":
                where = self.heads[node]
                parts = (where.output, where.q, where.k, where.v)
                sizes = [(d_model * d_head, part.width) for part in parts if part]
            else:
                continue
            n_weights += sum(size for size, _ in sizes)
            per_prompt += sum(2 * size * positions for size, positions in sizes)
        flops = float(per_prompt * self._circuit.runs.n_prompts)
        return Work(1 + len(self.steps), n_weights, flops)
