"""Evaluating any sets of removed edges, each by one patched forward run.

For each set of removed edges, the clean prompts run with every receiver's input replaced by either
of two sums, which are the same:

    clean input + sum over all senders (this run's output - clean output)
                + sum over removed senders (ablated output - this run's output)
    ablated input - sum over kept senders (ablated output - this run's output)

The first sum of each is one running stream shared by all receivers. The last is one matrix product
for all the inputs of a block: over the removed senders, or the kept ones if there are fewer. Under
zero ablation it is always the kept ones: next to nothing may be left in a stream, and a norm would
make the rounding large that the first form leaves there.

Only tokens from the first that can differ between the runs up to END are computed, and of the last
block only END; keys and values before them are clean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from acdc_explorer.engine.differences import Differences
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.removed_edges import RemovedEdges, computed_senders
from acdc_explorer.engine.runs import PromptRuns
from acdc_explorer.graph import LOGITS, QKV, QKVS, Node, Receiver
from acdc_explorer.models.forward import attention, mlp, vectors_of_heads, write_head, write_heads

# Floats that one batch of patched runs may hold besides the engine's own caches.
_BATCH_FLOATS = 64_000_000
# Floats of heads' inputs made at once, to stay in the CPU's cache; at least so many tokens, to
# amortise loading the weights.
_BLOCK_FLOATS, _BLOCK_TOKENS = 1_000_000, 64


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
    values = []
    for runs in engine.batches(max(1, _BATCH_FLOATS // (shared + each))):
        size = max(1, (_BATCH_FLOATS // runs.n_prompts - shared) // each)
        of_prompts = [circuit.of_prompts(runs.rows) for circuit in circuits]
        batches = [of_prompts[start : start + size] for start in range(0, len(circuits), size)]
        values.append(torch.cat([_PatchedRuns(engine, runs, batch).metric() for batch in batches]))
    return torch.cat(values, dim=1)


def _floats_per_prompt(engine: Engine, circuits: Sequence[RemovedEdges]) -> tuple[int, int]:
    """What a batch of patched runs holds: once for all circuits, and for each of them."""
    computed = computed_senders(engine.graph, circuits)
    width = engine.most_changed_positions * engine.weights.d_model
    inputs_of_a_block = 4 * engine.graph.n_heads
    return width * len(computed), width * (int(computed.sum()) + inputs_of_a_block)


class _PatchedRuns:
    """One batch of patched runs, block by block.

    One class, since each block reads and writes the same running sums.

    Tensors have a leading circuit axis, of length one for as long as all circuits agree: what lies
    upstream of their first difference is computed once.
    """

    def __init__(self, engine: Engine, runs: PromptRuns, circuits: Sequence[RemovedEdges]):
        self.engine, self.runs, self.circuits = engine, runs, circuits
        self.graph, self.weights = engine.graph, engine.weights
        masks = np.stack([circuit.mask for circuit in circuits]) & self.graph.edge_mask
        self.computed = computed_senders(engine.graph, circuits)
        # Receivers from which all circuits remove the same senders.
        self.agreeing = (masks == masks[:1]).all(axis=(0, 2))
        kept = self.graph.edge_mask & ~masks
        reading = self._reading()
        self.sums_kept = engine.ablation == "zero" or bool(
            kept[:, reading].sum() < masks[:, reading].sum()
        )
        counted = kept if self.sums_kept else masks
        for number, circuit in enumerate(circuits):
            if circuit.partial is not None:
                # Counted by itself, at the positions where it is to be.
                counted[number][self.graph.cell(circuit.partial[0])] = False
        needed = counted[:, reading].any((0, 1))
        for circuit in circuits:
            if circuit.partial is not None:
                needed[self.graph.sender_index[circuit.partial[0].sender]] = True
        # Only senders that something counts have to be kept.
        self.needed = needed
        clean = runs.clean.resid_pre[0]
        factors = torch.from_numpy(counted).to(clean)
        self.factors = -factors if self.sums_kept else factors
        self.at = runs.sets.changed
        # Tokens before the first changed one, of the prompt that has most.
        self.n_before = int(self.at.index[:, 0].max())
        shape = (clean.shape[0], self.at.width, clean.shape[2])
        # Of the stream, from the clean run's, while kept edges are not summed.
        self.change = clean.new_zeros((1, *shape))
        self.shared = Differences(clean.new_empty((1, int(needed.sum()), *shape)))
        self.own: Differences | None = None
        self._allowed: dict[int | None, Tensor] = {}

    def _reading(self) -> Bool[np.ndarray, " receiver"]:
        """The receivers of the nodes that are computed."""
        graph = self.graph
        nodes = [
            LOGITS,
            *(node for node, is_in in zip(graph.senders, self.computed, strict=True) if is_in),
        ]
        reading = np.zeros(len(graph.receivers), dtype=bool)
        for node in nodes:
            reading[graph.rows_of(node)] = True
        return reading

    def metric(self) -> Float[Tensor, "circuit prompt"]:
        """Runs all blocks and scores the final stream at END."""
        self._keep_difference(0, self.runs.delta(0, self.at)[None])
        for layer in range(self.graph.n_layers):
            self._run_block(layer)
        final = self._read([Receiver(LOGITS)], self._base(LOGITS))[:, 0, :, 0]
        values = self.engine.scoring.values(final, self.runs.rows)
        return values.expand(len(self.circuits), -1)

    def _is_computed(self, node: Node) -> bool:
        return bool(self.computed[self.graph.sender_index[node]])

    def _keep_difference(
        self, index: int, difference: Float[Tensor, "circuit prompt width d_model"]
    ) -> None:
        """Takes in the next sender's ablated output - this run's, if it is needed later on."""
        if not self.needed[index]:
            return
        if len(difference) == 1:
            self.shared.add(index, difference)
            return
        if self.own is None:
            left = int(self.needed[index:].sum())
            shape = (len(difference), left, *difference.shape[1:])
            self.own = Differences(difference.new_empty(shape))
        self.own.add(index, difference)

    def _base(self, node: Node) -> Float[Tensor, "circuit prompt width d_model"]:
        """What a node would read if none of its edges, or if all of them, were removed."""
        if self.sums_kept:
            return self.at.take(self.runs.ablated.input_of(node))[None]
        return self.at.take(self.runs.clean.input_of(node)) + self.change

    def _read(
        self, receivers: Sequence[Receiver], base: Tensor, rows: slice = slice(None)
    ) -> Float[Tensor, "_circuit _receiver prompt width d_model"]:
        """What inputs of one kind of one block read.

        Where nothing is added to the base for any of them, they share one row.

        Args:
            receivers: without a position.
            base: of their nodes.
            rows: which prompts.
        """
        partial = [
            (number, circuit.partial)
            for number, circuit in enumerate(self.circuits)
            if circuit.partial is not None and circuit.partial[0].receiver.at(None) in receivers
        ]
        total = base[:, None, rows]
        for at_label in zip(*map(self.graph.receivers_at, receivers), strict=True):
            total = self._with_differences(total, at_label, rows, agree=not partial)
        if not partial:
            return total
        total = total.expand(len(self.circuits), len(receivers), -1, -1, -1).clone()
        for number, (edge, removed_at) in partial:
            counted_at, sign = (~removed_at, -1) if self.sums_kept else (removed_at, 1)
            here = sign * self.at.take(counted_at[..., None].to(total.dtype))[rows]
            difference = self._difference_of(self.graph.sender_index[edge.sender], number)[rows]
            total[number, receivers.index(edge.receiver.at(None))] += here * difference
        return total

    def _with_differences(
        self, total: Tensor, receivers: Sequence[Receiver], rows: slice, *, agree: bool
    ) -> Float[Tensor, "_circuit _receiver prompt width d_model"]:
        """Adds to what some inputs read what counted senders lack, at one position label."""
        numbers = [self.graph.receiver_index[receiver] for receiver in receivers]
        agreeing = agree and bool(self.agreeing[numbers].all())
        factors = self.factors[: 1 if agreeing else None, numbers]
        n_before, label = self.graph.n_senders_to(receivers[0]), receivers[0].position
        tokens = None if label is None else self._tokens_of(label, rows)
        for differences in (self.shared, self.own):
            if differences is not None:
                total = differences.added_to(total, factors, n_before, rows, tokens)
        return total

    def _tokens_of(self, label: str, rows: slice) -> Int[Tensor, " token"]:
        """Where a label stands among the computed tokens of some prompts, counted through."""
        mask = torch.from_numpy(self.runs.label_set(label).mask).to(self.factors.device)
        return self.at.take(mask[..., None])[rows].flatten().nonzero()[:, 0]

    def _difference_of(self, sender: int, circuit: int) -> Float[Tensor, "prompt width d_model"]:
        if sender in self.shared.senders:
            return self.shared.of(sender, 0)
        assert self.own is not None
        return self.own.of(sender, circuit)

    def _run_block(self, layer: int) -> None:
        node = Node("mlp", layer) if self.graph.has_mlps else None
        heads = [h for h in range(self.graph.n_heads) if self._is_computed(Node("head", layer, h))]
        # After the last block's keys and values only END is read: the last of the tokens computed.
        is_last = layer == self.graph.n_layers - 1
        queries = slice(-1, None) if is_last else slice(None)
        z = self._z_of(layer, heads, queries) if heads else None
        if is_last:
            self._narrow_to_end()
        # In a parallel block the MLP reads the stream before the heads have written to it.
        if node and self.graph.parallel:
            out = self._mlp_output(node)
        self._write_heads(layer, heads, z)
        if node:
            if not self.graph.parallel:
                out = self._mlp_output(node)
            self._write_mlp(node, out)

    def _narrow_to_end(self) -> None:
        self.at = self.runs.sets.end
        self.change = self.change[..., -1:, :]
        for differences in (self.shared, self.own):
            if differences is not None:
                differences.buffer = differences.buffer[..., -1:, :].contiguous()

    def _z_of(
        self, layer: int, heads: list[int], queries: slice
    ) -> Float[Tensor, "circuit head prompt width d_head"]:
        """The outputs of a block's heads, before W_O.

        Args:
            layer: of the block.
            heads: those that are computed.
            queries: at which of the computed tokens.
        """
        base = self._base(Node("head", layer, heads[0]))
        floats = 3 * len(heads) * base[:, 0].numel()
        size = max(_BLOCK_FLOATS // floats, math.ceil(_BLOCK_TOKENS / self.at.width))
        blocks = [slice(start, start + size) for start in range(0, base.shape[1], size)]
        return torch.cat([self._z(layer, heads, base, queries, rows) for rows in blocks], dim=2)

    def _z(
        self, layer: int, heads: list[int], base: Tensor, queries: slice, rows: slice
    ) -> Float[Tensor, "circuit head prompt width d_head"]:
        """The same for some of the prompts."""
        weights, graph = self.weights, self.graph
        block, index = weights.blocks[layer], self.at.index[rows]
        inputs = {
            qkv: [graph.head_input(Node("head", layer, head), qkv) for head in heads]
            for qkv in QKVS
        }
        # Without split inputs the three are one.
        receivers = list(dict.fromkeys(each for of_qkv in inputs.values() for each in of_qkv))
        # [circuit, receiver, prompt, width, d_model]
        streams = self._read(receivers, base, rows)
        streams = streams.expand(-1, len(receivers), -1, -1, -1).transpose(0, 1)
        vectors = {}
        for qkv, of_qkv in inputs.items():
            start, tokens = receivers.index(of_qkv[0]), queries if qkv == "q" else slice(None)
            # [head, circuit, prompt, width, d_model]
            x = streams[start : start + len(heads), ..., tokens, :]
            of_heads = vectors_of_heads(x, weights, layer, heads, qkv, index[:, tokens])
            of_heads = of_heads.transpose(0, 1)
            if qkv != "q" and self.n_before:
                before = self._clean_before(layer, heads, qkv, rows)
                before = before.expand(len(of_heads), -1, -1, -1, -1)
                of_heads = torch.cat([before, of_heads], -2)
            vectors[qkv] = of_heads
        allowed = self._allowed_keys(block.window)[rows, queries]
        return attention(vectors["q"], vectors["k"], vectors["v"], allowed, weights.attn_scale)

    def _clean_before(
        self, layer: int, heads: list[int], qkv: QKV, rows: slice
    ) -> Float[Tensor, "head prompt before d_head"]:
        """Keys or values at the tokens that come before the changed ones in some prompt."""
        resid = self.runs.clean.resid_pre[layer][rows, : self.n_before]
        x = resid.expand(len(heads), -1, -1, -1)
        return vectors_of_heads(x, self.weights, layer, heads, qkv)

    def _allowed_keys(self, window: int | None) -> Bool[Tensor, "prompt width key"]:
        """Which keys each computed token may see: of those before, then of the computed ones."""
        if window not in self._allowed:
            at = self.runs.sets.changed
            before = torch.arange(self.n_before, device=at.index.device).expand(len(at.index), -1)
            position = torch.cat([before, at.index], 1)[:, None]
            query = at.index[..., None]
            # A token stands in one of the two lists; copies that fill up a row do not count.
            once = torch.cat([before < at.index[:, :1], at.distinct[..., 0]], 1)[:, None]
            allowed = once & (position <= query)
            self._allowed[window] = (
                allowed if window is None else allowed & (position > query - window)
            )
        return self._allowed[window]

    def _write_heads(self, layer: int, heads: list[int], z: Tensor | None) -> None:
        """Takes in what a block's heads write; None if none of them is computed."""
        runs, block = self.runs, self.weights.blocks[layer]
        if z is not None and not self.sums_kept:
            clean_z = self.at.take(runs.clean.z[layer].transpose(0, 1))[heads]
            self.change = self.change + write_heads((z - clean_z).movedim(1, 2), block, heads)
        for head in range(self.graph.n_heads):
            node = Node("head", layer, head)
            index = self.graph.sender_index[node]
            if self.needed[index]:
                if head in heads:
                    assert z is not None
                    ablated_z = self.at.take(runs.ablated.output_of(node))
                    difference = ablated_z - z[:, heads.index(head)]
                else:
                    difference = runs.output_delta(node, self.at)[None]
                self._keep_difference(index, write_head(difference, self.weights, node))

    def _mlp_output(self, node: Node) -> Tensor | None:
        if not self._is_computed(node):
            return None
        x = self._read([Receiver(node)], self._base(node))[:, 0]
        return mlp(x, self.weights.blocks[node.layer], self.weights.activation)

    def _write_mlp(self, node: Node, out: Tensor | None) -> None:
        runs, index = self.runs, self.graph.sender_index[node]
        if out is not None and not self.sums_kept:
            self.change = self.change + (out - self.at.take(runs.clean.mlp_out[node.layer]))
        if self.needed[index]:
            if out is not None:
                difference = self.at.take(runs.ablated.mlp_out[node.layer]) - out
            else:
                difference = runs.delta(index, self.at)[None]
            self._keep_difference(index, difference)
