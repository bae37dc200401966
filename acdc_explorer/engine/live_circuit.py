"""Incremental patching: what makes an exact search fast.

Both searches go through the receivers from the logits backwards, so while one receiver is under
test

1. everything upstream of it is still clean: removing an edge into it changes its input by a
   constant, ablated output - clean output;
2. downstream only nodes that the receiver reaches through kept edges can change, each only at the
   positions to which the change spreads and from which it reaches the metric (`position_sets.py`);
3. many candidates are evaluated in one batch. ACDC's are a chain: remove e1; e1 and e2; e1, e2 and
   e3; ...  It accepts the chain up to the first edge that it keeps, which is the sequential
   algorithm. Path patching's are each on its own.

`LiveCircuit` is the state between receivers: what every tested input reads by now and, for every
node with a path to the logits, how its output differs from the clean run. `EdgeTrials`
(`edge_trials.py`) is the work on one receiver.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.position_sets import PositionSet
from acdc_explorer.engine.runs import PromptRuns
from acdc_explorer.engine.stream_sum import Stream, StreamSum, layers_normed
from acdc_explorer.graph import INPUT, LOGITS, QKV, QKVS, Node, Receiver
from acdc_explorer.models.forward import Run
from acdc_explorer.models.sublayers import head_vectors, write_together

# A head's change is kept before W_O, [*batch, prompt, width, d_head]; an MLP's is [..., d_model].
OutputChange = Float[Tensor, "*batch prompt _width feature"]
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
    base: StreamSum | None = None


class LiveCircuit:
    """The circuit as far as a backwards search has come, on the prompts of one slice.

    One class, since every method reads or writes the same few tables.

    Attributes:
        engine: model and task.
        runs: of the slice's prompts.
        sums_what_is_left: whether decided inputs are summed up from the kept senders' outputs,
            instead of from the clean run's input and what has changed since. Zero ablation can
            leave next to nothing in a stream, and a norm makes that large again, and with it the
            rounding that a difference of two large sums would leave.
        inputs: input -> what is known of it; those opened so far.
        kept_inputs: node -> the inputs into which an edge of it is kept.
        outputs: node -> how its output differs from `baseline`, where it can reach the metric;
            nodes that are not here have their clean output.
    """

    def __init__(self, engine: Engine, runs: PromptRuns, *, sums_what_is_left: bool = False):
        """Starts with the full model, nothing tested."""
        self.engine, self.runs, self.sets = engine, runs, runs.sets
        self.graph, self.weights = engine.graph, engine.weights
        self.sums_what_is_left = sums_what_is_left
        self.inputs: dict[Receiver, LiveInput] = {}
        self.kept_inputs: dict[Node, list[Receiver]] = {}
        self.outputs: dict[Node, OutputChange] = {}
        self._written_at: dict[Node, PositionSet] = {LOGITS: self.sets.end}
        self._vectors: dict[tuple[Node, QKV], Tensor] = {}
        self._base_floats = 0
        self._triangle: Tensor | None = None

    @property
    def baseline(self) -> Run:
        """The run from which outputs are told apart: what is left is a difference from nothing."""
        return self.runs.ablated if self.sums_what_is_left else self.runs.clean

    def triangle(self, n: int) -> Float[Tensor, "n n"]:
        """Ones up to the diagonal: a product with them adds up the first, the first two, ..."""
        if self._triangle is None or n > len(self._triangle):
            self._triangle = self.runs.clean.resid_final.new_ones(n, n).tril()
        return self._triangle[:n, :n]

    def is_live(self, receiver: Receiver) -> bool:
        """Whether a path of kept edges leads from what a receiver reads to the metric."""
        node = receiver.node
        return (node == LOGITS or node in self.kept_inputs) and bool(self.reads_at(receiver))

    def written_at(self, node: Node) -> PositionSet:
        """The positions at which a live node's output can reach the metric.

        To be asked once all its receivers have been tested, as they are when its own turn comes.
        """
        if node not in self._written_at:
            readers = [self.inputs[input_].kept[node] for input_ in self.kept_inputs[node]]
            self._written_at[node] = self.sets.union(readers)
        return self._written_at[node]

    def reads_at(self, receiver: Receiver) -> PositionSet:
        """The positions at which what a live node's receiver reads can reach the metric."""
        at = queries = self.written_at(receiver.node)
        if receiver.node.kind == "head" and receiver.qkv != "q":
            at = self.sets.readable_from(queries)
            if receiver.qkv is None:
                at = self.sets.union([queries, at])
        if receiver.position is None:
            return at
        return self.sets.intersection(at, self.runs.label_set(receiver.position))

    def open(self, receiver: Receiver) -> LiveInput:
        """The input that a receiver belongs to; its edges may be tested from now on."""
        input_ = receiver.at(None)
        if input_ not in self.inputs:
            self.inputs[input_] = LiveInput(self.reads_at(input_), self.sets.none)
        return self.inputs[input_]

    def keep(self, sender: Node, receiver: Receiver) -> None:
        """Records that an edge stays."""
        live = self.inputs[receiver.at(None)]
        before = live.kept.get(sender, self.sets.none)
        live.kept[sender] = self.sets.union([before, self.reads_at(receiver)])
        if sender != INPUT and not before:
            self.kept_inputs.setdefault(sender, []).append(receiver.at(None))

    def downstream(self, nodes: Sequence[Node]) -> list[Node]:
        """Some live nodes and those that they reach through kept edges, in topological order."""
        reached, stack = set(nodes), list(nodes)
        while stack:
            for input_ in self.kept_inputs.get(stack.pop(), ()):
                if input_.node not in reached:
                    reached.add(input_.node)
                    stack.append(input_.node)
        index = self.graph.sender_index
        return sorted(reached, key=lambda other: index.get(other, len(index)))

    def adds_up_with(self, sender: Node) -> object:
        """Equal for senders whose contributions to an input can be computed as one sum."""
        if sender.kind != "head":
            return sender
        return sender.layer if self.weights.norms_head_sums else "heads"

    def contribution(
        self,
        senders: Sequence[Node],
        changes: Sequence[OutputChange],
        known_at: PositionSet,
        through: PositionSet,
        to: PositionSet,
    ) -> Stream:
        """What the changed outputs of some nodes that add up add to an input.

        Args:
            senders: heads, or one other node.
            changes: of their outputs from `baseline`, at `known_at`.
            known_at: where the changes are given.
            through: the positions at which they reach the input; within `known_at` and `to`.
            to: the positions of the result, zero outside `through`.
        """
        together = changes[0] if len(changes) == 1 else torch.cat([*changes], -1)
        written = write_together(known_at.move(together, through), self.weights, senders)
        return through.move(written, to)

    def input_now(self, input_: Receiver, at: PositionSet) -> Stream:
        """What an input reads at some positions in the circuit as it stands.

        Args:
            input_: the input, a receiver at all positions.
            at: positions within those that it reads at.
        """
        return self.sum_now(input_, at).whole()

    def sum_now(
        self, input_: Receiver, at: PositionSet, without: Mapping[Node, PositionSet] | None = None
    ) -> StreamSum:
        """The same as a sum to which changes of kept senders can be added.

        Args:
            input_: as above, and so is the next.
            at: likewise.
            without: sender -> positions at which its change is left out.
        """
        live, without = self.inputs.get(input_), without or {}
        if live is None:
            return StreamSum(self.weights, at.take(self.runs.clean.input_of(input_.node)))
        if self.sums_what_is_left and live.decided:
            return self._sum_of_what_is_left(input_, live, at, without)
        total = self._with_clean_senders(input_, live, at)
        for sender, kept_at in live.kept.items():
            if sender not in self.outputs:
                continue
            through = self.sets.intersection(kept_at, at)
            if sender in without:
                through = self.sets.difference(through, without[sender])
            if through:
                known_at = self.written_at(sender)
                change = self.outputs[sender]
                total.add(sender, self.contribution([sender], [change], known_at, through, at))
        return total

    def _sum_of_what_is_left(
        self,
        input_: Receiver,
        live: LiveInput,
        at: PositionSet,
        without: Mapping[Node, PositionSet],
    ) -> StreamSum:
        """`sum_now` where all edges but the kept ones are gone: what the kept senders write.

        At positions that are not decided, no sender has changed: the input is the clean run's.
        """
        total = self._all_removed(input_, live, at)
        for sender, kept_at in live.kept.items():
            through = self.sets.intersection(self.sets.intersection(kept_at, at), live.decided)
            if sender in without:
                through = self.sets.difference(through, without[sender])
            if not through:
                continue
            if sender in self.outputs:
                known_at = self.written_at(sender)
                change = self.outputs[sender]
                total.add(sender, self.contribution([sender], [change], known_at, through, at))
            else:
                delta = self.runs.delta(self.graph.sender_index[sender], through)
                total.add(sender, -through.move(delta, at))
        return total

    def _all_removed(self, input_: Receiver, live: LiveInput, at: PositionSet) -> StreamSum:
        """The ablated run's input where it is decided, the clean run's elsewhere.

        Open for what the kept senders add.
        """

        def where_decided(ablated: Tensor, clean: Tensor) -> Tensor:
            if not live.decided:
                return at.take(clean)
            if not self.sets.difference(at, live.decided):
                return at.take(ablated)
            return torch.where(at.holding(live.decided), at.take(ablated), at.take(clean))

        clean, ablated, node = self.runs.clean, self.runs.ablated, input_.node
        on_stream = where_decided(ablated.input_of(node), clean.input_of(node))
        total = StreamSum(self.weights, on_stream)
        for layer in layers_normed(live.kept, self.weights):
            total.open(layer, where_decided(ablated.head_sums[layer], clean.head_sums[layer]))
        return total

    def _with_clean_senders(self, input_: Receiver, live: LiveInput, at: PositionSet) -> StreamSum:
        """What an input reads while its kept senders are clean; the caller's own, to add to."""
        if not live.decided:
            return self._all_removed(input_, live, at)
        if live.base is None and live.decided == live.reads_at and self._has_room(live):
            live.base = self._restored(input_, live, live.reads_at)
            self._base_floats += live.base.n_floats
        if live.base is not None:
            return live.base.map(lambda tensor: live.reads_at.move(tensor, at))
        return self._restored(input_, live, at)

    def _restored(self, input_: Receiver, live: LiveInput, at: PositionSet) -> StreamSum:
        """The ablated input, and what clean kept senders restore of it."""
        total = self._all_removed(input_, live, at)
        for sender, kept_at in live.kept.items():
            through = self.sets.intersection(self.sets.intersection(kept_at, live.decided), at)
            if through:
                delta = self.runs.delta(self.graph.sender_index[sender], through)
                total.add(sender, -through.move(delta, at))
        return total

    def _has_room(self, live: LiveInput) -> bool:
        """Whether what an input reads can be kept; where it is END alone, always."""
        n_sums = 1 + len(layers_normed(live.kept, self.weights))
        floats = n_sums * self.runs.n_prompts * live.reads_at.width * self.weights.d_model
        return live.reads_at == self.sets.end or self._base_floats + floats <= _BASE_FLOATS

    def decide(self, receiver: Receiver) -> None:
        """Records that all edges of a receiver that are not kept are removed for good."""
        live = self.inputs[receiver.at(None)]
        live.decided = self.sets.union([live.decided, self.reads_at(receiver)])
        self._forget_vectors(receiver.node)

    def vectors_now(self, head: Node, qkv: QKV) -> Float[Tensor, "prompt width d_head"]:
        """A head's queries where its output matters, or its keys or values at all positions."""
        key = head, qkv
        if key not in self._vectors:
            self._vectors[key] = self._make_vectors(head, qkv)
        return self._vectors[key]

    def _make_vectors(self, head: Node, qkv: QKV) -> Tensor:
        clean = self.runs.clean_vectors(head, qkv)
        input_, written_at = self.graph.head_input(head, qkv), self.written_at(head)
        live = self.inputs.get(input_)
        at = written_at if qkv == "q" or live is None else live.reads_at
        touched = live is not None and (
            bool(live.decided) or any(sender in self.outputs for sender in live.kept)
        )
        if not touched or not at:
            return written_at.take(clean) if qkv == "q" else clean
        positions = None if at.is_all else at.index
        vectors = head_vectors(self.input_now(input_, at), self.weights, head, qkv, positions)
        return vectors if qkv == "q" else at.put(vectors, clean.clone())

    def commit(self, outputs: Mapping[Node, tuple[OutputChange, PositionSet]]) -> None:
        """Makes changed outputs, given with the positions where they were computed, the present."""
        for node, (change, at) in outputs.items():
            written_at = self.written_at(node)
            if at != written_at:
                before = self.outputs.get(node)
                if before is None and self.sums_what_is_left:
                    before = -self.runs.output_delta(node, written_at)
                if before is None:
                    change = at.move(change, written_at)
                else:
                    change = at.put_inside(change, written_at, before)
            self.outputs[node] = change
            self._forget_vectors(node)

    def _forget_vectors(self, node: Node) -> None:
        for qkv in QKVS:
            self._vectors.pop((node, qkv), None)
