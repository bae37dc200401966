"""What the inputs of a batch of patched runs read, while the runs go on block by block.

`evaluate.py` says which sums these are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from acdc_explorer.engine.differences import Differences
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.removed_edges import RemovedEdges
from acdc_explorer.engine.runs import PromptRuns
from acdc_explorer.engine.stream_sum import is_normed_with_others
from acdc_explorer.graph import LOGITS, Node, Receiver
from acdc_explorer.models.sublayers import normalize


class PatchedInputs:
    """The sums that inputs read.

    Tensors have a leading circuit axis, of length one for as long as all circuits agree: what lies
    upstream of their first difference is computed once.

    Attributes:
        at: the computed tokens.
        needed: the senders that something counts, bool [n_senders].
        sums_kept: whether kept senders are summed, not removed ones; then the clean run, and what
            differs from it, is not used.
    """

    def __init__(
        self,
        engine: Engine,
        runs: PromptRuns,
        circuits: Sequence[RemovedEdges],
        computed: Bool[np.ndarray, " sender"],
    ):
        """Nothing has been written yet.

        Args:
            engine: model and ablation.
            runs: of the prompts.
            circuits: one for each patched run.
            computed: the senders that are computed in some of them.
        """
        self._runs, self._circuits = runs, circuits
        self._graph, self._weights = engine.graph, engine.weights
        masks = np.stack([circuit.mask for circuit in circuits]) & self._graph.edge_mask
        # Receivers from which all circuits remove the same senders.
        self._agreeing = (masks == masks[:1]).all(axis=(0, 2))
        kept = self._graph.edge_mask & ~masks
        reading = self._reading(computed)
        self.sums_kept = engine.ablation == "zero" or bool(
            kept[:, reading].sum() < masks[:, reading].sum()
        )
        counted = kept if self.sums_kept else masks
        for number, circuit in enumerate(circuits):
            if circuit.partial is not None:
                # Counted by itself, at the positions where it is to be.
                counted[number][self._graph.cell(circuit.partial[0])] = False
        needed = counted[:, reading].any((0, 1))
        for circuit in circuits:
            if circuit.partial is not None:
                needed[self._graph.sender_index[circuit.partial[0].sender]] = True
        # Only senders that something counts have to be kept.
        self.needed = needed
        clean = runs.clean.resid_pre[0]
        factors = torch.from_numpy(counted).to(clean)
        self._factors = -factors if self.sums_kept else factors
        self._normed_with_others = np.array(
            [is_normed_with_others(sender, self._weights) for sender in self._graph.senders]
        )
        # Of what adds up on the stream itself.
        self._stream_factors = self._factors
        if self._weights.norms_head_sums:
            self._stream_factors = self._factors.clone()
            self._stream_factors[..., torch.from_numpy(self._normed_with_others)] = 0
        self.at = runs.sets.changed
        shape = (clean.shape[0], self.at.width, clean.shape[2])
        # Of the stream, from the clean run's, where removed senders are summed.
        self._change = clean.new_zeros((1, *shape))
        self._shared = Differences(clean.new_empty((1, int(needed.sum()), *shape)))
        self._own: Differences | None = None
        # Per block so far, where it is normed: what its heads write together into an input from
        # which no edge is removed; or every edge, if kept senders are summed.
        self._head_sums: list[Tensor] = []

    def _reading(self, computed: Bool[np.ndarray, " sender"]) -> Bool[np.ndarray, " receiver"]:
        """The receivers of the nodes that are computed."""
        graph = self._graph
        nodes = [
            LOGITS,
            *(node for node, is_in in zip(graph.senders, computed, strict=True) if is_in),
        ]
        reading = np.zeros(len(graph.receivers), dtype=bool)
        for node in nodes:
            reading[graph.rows_of(node)] = True
        return reading

    def keep_difference(
        self, index: int, difference: Float[Tensor, "circuit prompt width d_model"]
    ) -> None:
        """Takes in the next sender's ablated output - this run's, if it is needed later on."""
        if not self.needed[index]:
            return
        if len(difference) == 1:
            self._shared.add(index, difference)
            return
        if self._own is None:
            left = int(self.needed[index:].sum())
            shape = (len(difference), left, *difference.shape[1:])
            self._own = Differences(difference.new_empty(shape))
        self._own.add(index, difference)

    def add(self, change: Float[Tensor, "circuit prompt width d_model"]) -> None:
        """Takes in how what a sender writes to the stream differs from the clean run."""
        if not self.sums_kept:
            self._change = self._change + change

    def add_heads(
        self, layer: int, change: Float[Tensor, "circuit prompt width d_model"] | None
    ) -> None:
        """Takes in how what the heads of the next block write together differs from it.

        Args:
            layer: of the block.
            change: before a norm that it may pass; None if there is none.
        """
        if not self._weights.norms_head_sums:
            if change is not None:
                self.add(change)
            return
        run = self._runs.ablated if self.sums_kept else self._runs.clean
        head_sum = self.at.take(run.head_sums[layer])[None]
        if change is not None and not self.sums_kept:
            norm, clean = self._weights.blocks[layer].ln1_post, head_sum
            head_sum = clean + change
            self.add(normalize(head_sum, norm) - normalize(clean, norm))
        self._head_sums.append(head_sum)

    def base(self, node: Node) -> Float[Tensor, "circuit prompt width d_model"]:
        """What a node would read if none of its edges, or if all of them, were removed."""
        if self.sums_kept:
            return self.at.take(self._runs.ablated.input_of(node))[None]
        return self.at.take(self._runs.clean.input_of(node)) + self._change

    def read(
        self, receivers: Sequence[Receiver], base: Tensor, rows: slice = slice(None)
    ) -> Float[Tensor, "_circuit _receiver prompt width d_model"]:
        """What inputs of one kind of one block read.

        Where nothing is added to the base for any of them, they share one row.

        Args:
            receivers: without a position.
            base: of their nodes.
            rows: which prompts.
        """
        n_before = self._graph.n_senders_to(receivers[0])
        total = self._with_differences(base[:, None, rows], receivers, range(n_before), rows)
        for layer, head_sum in enumerate(self._head_sums):
            first = self._graph.sender_index[Node("head", layer, 0)]
            heads = range(first, first + self._graph.n_heads)
            before = head_sum[:, None, rows]
            after = self._with_differences(before, receivers, heads, rows)
            if after is not before:
                norm = self._weights.blocks[layer].ln1_post
                total = total + (normalize(after, norm) - normalize(before, norm))
        return total

    def _with_differences(
        self, total: Tensor, receivers: Sequence[Receiver], among: range, rows: slice
    ) -> Float[Tensor, "_circuit _receiver prompt width d_model"]:
        """Adds to a sum that some inputs read what counted senders lack.

        Args:
            total: the stream, or what the heads of one block write together.
            receivers: as in `read`.
            among: the senders that add up to it, heads whose sum is normed not counted on the
                stream.
            rows: as in `read`.
        """
        on_stream = among.start == 0
        partial = []
        for number, circuit in enumerate(self._circuits):
            if circuit.partial is None:
                continue
            edge, removed_at = circuit.partial
            index, input_ = self._graph.sender_index[edge.sender], edge.receiver.at(None)
            adds_up = index in among and self._normed_with_others[index] != on_stream
            if adds_up and input_ in receivers:
                partial.append((number, index, receivers.index(input_), removed_at))
        for at_label in zip(*map(self._graph.receivers_at, receivers), strict=True):
            total = self._with_whole_differences(total, at_label, among, rows, agree=not partial)
        if not partial:
            return total
        total = total.expand(len(self._circuits), len(receivers), -1, -1, -1).clone()
        for number, index, receiver, removed_at in partial:
            counted_at, sign = (~removed_at, -1) if self.sums_kept else (removed_at, 1)
            here = sign * self.at.take(counted_at[..., None].to(total.dtype))[rows]
            total[number, receiver] += here * self._difference_of(index, number)[rows]
        return total

    def _with_whole_differences(
        self,
        total: Tensor,
        receivers: Sequence[Receiver],
        among: range,
        rows: slice,
        *,
        agree: bool,
    ) -> Float[Tensor, "_circuit _receiver prompt width d_model"]:
        """The same at one position label, for edges that are removed at all its positions."""
        numbers = [self._graph.receiver_index[receiver] for receiver in receivers]
        agreeing = agree and bool(self._agreeing[numbers].all())
        factors = self._stream_factors if among.start == 0 else self._factors
        factors = factors[: 1 if agreeing else None, numbers]
        label = receivers[0].position
        tokens = None if label is None else self._tokens_of(label, rows)
        for differences in (self._shared, self._own):
            if differences is not None:
                total = differences.added_to(total, factors, among, rows, tokens)
        return total

    def _tokens_of(self, label: str, rows: slice) -> Int[Tensor, " token"]:
        """Where a label stands among the computed tokens of some prompts, counted through."""
        mask = torch.from_numpy(self._runs.label_set(label).mask).to(self._factors.device)
        return self.at.take(mask[..., None])[rows].flatten().nonzero()[:, 0]

    def _difference_of(self, sender: int, circuit: int) -> Float[Tensor, "prompt width d_model"]:
        if sender in self._shared.senders:
            return self._shared.of(sender, 0)
        assert self._own is not None
        return self._own.of(sender, circuit)

    def narrow_to_end(self) -> None:
        """From here on only END is read, the last of the tokens computed."""
        self.at = self._runs.sets.end
        self._change = self._change[..., -1:, :]
        self._head_sums = [each[..., -1:, :] for each in self._head_sums]
        for differences in (self._shared, self._own):
            if differences is not None:
                differences.buffer = differences.buffer[..., -1:, :].contiguous()
