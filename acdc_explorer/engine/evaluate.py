"""Evaluating any sets of removed edges, each by one patched forward run.

For each set of removed edges, the clean prompts run with every receiver's input replaced by either
of two sums, which are the same:

    clean input + sum over all senders (this run's output - clean output)
                + sum over removed senders (ablated output - this run's output)
    ablated input - sum over kept senders (ablated output - this run's output)

The first sum of each is one running stream shared by all receivers. The last is one matrix product
for all the inputs of a block: over the removed senders, or the kept ones if there are fewer. Under
zero ablation it is always the kept ones: next to nothing may be left in a stream, and a norm would
make the rounding large that the first form leaves there. Where what the heads of a block write
together is normed, those are summed in the same two ways by themselves, for every input above.

Only tokens from the first that can differ between the runs up to END are computed, and of the last
block only END; keys and values before them are clean.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.patched_inputs import PatchedInputs
from acdc_explorer.engine.removed_edges import (
    RemovedEdges,
    computed_senders,
    differ_at_logits_alone,
)
from acdc_explorer.engine.runs import PromptRuns
from acdc_explorer.engine.scoring import Scoring
from acdc_explorer.graph import LOGITS, QKV, QKVS, Node, Receiver
from acdc_explorer.models.sublayers import (
    attention,
    attention_pattern,
    mlp,
    vectors_of_heads,
    write_head,
    write_heads,
)
from acdc_explorer.progress import working_on

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
    return torch.cat(list(evaluate_by_parts(engine, circuits)), dim=1)


def evaluate_by_parts(
    engine: Engine, circuits: Sequence[RemovedEdges], at_most: int | None = None
) -> Iterator[Float[Tensor, "circuit prompt"]]:
    """The same, the values of some prompts after those of others.

    Args:
        engine: as for `evaluate_removed`.
        circuits: likewise, but one at least.
        at_most: so many prompts at a time; None: as many as fit in memory.
    """
    for scores in _scores_by_parts(engine, circuits, [engine.scoring], at_most):
        yield scores[0]


def evaluate_scorings(
    engine: Engine, circuits: Sequence[RemovedEdges], scorings: Sequence[Scoring]
) -> Float[Tensor, "scoring circuit prompt"]:
    """Several metrics of each circuit on each prompt, from one run of it.

    Args:
        engine: as for `evaluate_removed`.
        circuits: likewise, but one at least.
        scorings: of the engine's prompts, one at least.
    """
    return torch.cat(list(_scores_by_parts(engine, circuits, scorings)), dim=2)


def evaluate_prompt(
    engine: Engine, circuits: Sequence[RemovedEdges], row: int
) -> Float[Tensor, " circuit"]:
    """The metric of each circuit on one prompt alone.

    Args:
        engine: as for `evaluate_removed`.
        circuits: likewise, but one at least.
        row: number of the prompt.
    """
    (scores,) = _scores_by_parts(engine, circuits, [engine.scoring], row=row)
    return scores[0, :, 0]


def logits_of_prompt(
    engine: Engine, circuits: Sequence[RemovedEdges], row: int
) -> Float[Tensor, "circuit vocab"]:
    """The logits at END of a few circuits on one prompt.

    Args:
        engine: as for `evaluate_removed`.
        circuits: likewise, but one at least, and as many as fit in memory together.
        row: number of the prompt.
    """
    final = _PatchedRuns(engine, engine.runs_of(row), circuits).final_at_end()[:, 0]
    return engine.scoring.logits(final).expand(len(circuits), -1)


def pattern_on_prompt(
    engine: Engine, circuit: RemovedEdges, head: Node, row: int
) -> Float[Tensor, "query key"]:
    """A head's attention in a circuit on one prompt, from each token up to END.

    Args:
        engine: as for `evaluate_removed`.
        circuit: in which kept edges lead from the head to the logits: others' inputs are not kept.
        head: of the model.
        row: number of the prompt.
    """
    runs = engine.runs_of(row)
    pattern = _PatchedRuns(engine, runs, [circuit]).pattern(head)
    # Before the first changed token all is clean.
    length, n_before = pattern.shape[1], pattern.shape[1] - pattern.shape[0]
    clean = runs.clean.pattern(engine.weights, head)[0, :n_before, :length]
    return torch.cat([clean, pattern])


def _scores_by_parts(
    engine: Engine,
    circuits: Sequence[RemovedEdges],
    scorings: Sequence[Scoring],
    at_most: int | None = None,
    row: int | None = None,
) -> Iterator[Float[Tensor, "scoring circuit some_prompts"]]:
    """Of all prompts, so many at a time; or of one alone."""
    shared, each = _floats_per_prompt(engine, circuits)
    fitting = max(1, _BATCH_FLOATS // (shared + each))
    in_batches = engine.batches(min(fitting, at_most or fitting))
    for runs in in_batches if row is None else [engine.runs_of(row)]:
        size = max(1, (_BATCH_FLOATS // runs.n_prompts - shared) // each)
        of_prompts = [circuit.of_prompts(runs.rows) for circuit in circuits]
        batches = [of_prompts[start : start + size] for start in range(0, len(circuits), size)]
        scores = []
        for batch in batches:
            final = _PatchedRuns(engine, runs, batch).final_at_end()
            values = [scoring.values(final, runs.rows) for scoring in scorings]
            scores.append(torch.stack(values).expand(-1, len(batch), -1))
        yield torch.cat(scores, dim=1)


def _floats_per_prompt(engine: Engine, circuits: Sequence[RemovedEdges]) -> tuple[int, int]:
    """What a batch of patched runs holds: once for all circuits, and for each of them."""
    computed = computed_senders(engine.graph, circuits)
    width = engine.most_changed_positions * engine.weights.d_model
    head_sums = engine.graph.n_layers if engine.weights.norms_head_sums else 0
    if differ_at_logits_alone(engine.graph, circuits):
        # Each has but sums of its own at END.
        return width * len(computed), 2 * engine.weights.d_model * (1 + head_sums)
    inputs_of_a_block = 4 * engine.graph.n_heads
    each = int(computed.sum()) + inputs_of_a_block + head_sums
    return width * len(computed), width * each


class _PatchedRuns:
    """One batch of patched runs, block by block.

    One class, since each block reads and writes the same running sums.

    Tensors have a leading circuit axis, of length one for as long as all circuits agree: what lies
    upstream of their first difference is computed once.
    """

    def __init__(self, engine: Engine, runs: PromptRuns, circuits: Sequence[RemovedEdges]):
        self.runs, self.circuits = runs, circuits
        self.graph, self.weights = engine.graph, engine.weights
        self.computed = computed_senders(engine.graph, circuits)
        self.inputs = PatchedInputs(engine, runs, circuits, self.computed)
        # Tokens before the first changed one, of the prompt that has most.
        self.n_before = int(runs.sets.changed.index[:, 0].max())
        self._allowed: dict[int | None, Tensor] = {}

    def final_at_end(self) -> Float[Tensor, "circuit prompt d_model"]:
        """Runs all blocks; the final stream at END, of one circuit if they all agree."""
        self._run_blocks(self.graph.n_layers)
        return self.inputs.read([Receiver(LOGITS)], self.inputs.base(LOGITS))[:, 0, :, 0]

    def pattern(self, head: Node) -> Float[Tensor, "width key"]:
        """Runs the blocks below a head; its attention from the computed tokens of one prompt."""
        self._run_blocks(head.layer)
        base, rows = self.inputs.base(head), slice(None)
        vectors = self._vectors(head.layer, [head.head], base, rows, rows)
        allowed = self._allowed_keys(self.weights.blocks[head.layer].window)
        return attention_pattern(vectors["q"], vectors["k"], allowed, self.weights)[0, 0, 0]

    def _run_blocks(self, n_blocks: int) -> None:
        self.inputs.keep_difference(0, self.runs.delta(0, self.inputs.at)[None])
        with working_on("evaluating circuits: blocks", n_blocks) as done:
            for layer in range(n_blocks):
                self._run_block(layer)
                done(layer + 1)

    def _is_computed(self, node: Node) -> bool:
        return bool(self.computed[self.graph.sender_index[node]])

    def _run_block(self, layer: int) -> None:
        node = Node("mlp", layer) if self.graph.has_mlps else None
        heads = [h for h in range(self.graph.n_heads) if self._is_computed(Node("head", layer, h))]
        # After the last block's keys and values only END is read: the last of the tokens computed.
        is_last = layer == self.graph.n_layers - 1
        queries = slice(-1, None) if is_last else slice(None)
        z = self._z_of(layer, heads, queries) if heads else None
        if is_last:
            self.inputs.narrow_to_end()
        # In a parallel block the MLP reads the stream before the heads have written to it.
        if node and self.graph.parallel:
            out = self._mlp_output(node)
        self._write_heads(layer, heads, z)
        if node:
            if not self.graph.parallel:
                out = self._mlp_output(node)
            self._write_mlp(node, out)

    def _z_of(
        self, layer: int, heads: list[int], queries: slice
    ) -> Float[Tensor, "circuit head prompt width d_head"]:
        """The outputs of a block's heads, before W_O.

        Args:
            layer: of the block.
            heads: those that are computed.
            queries: at which of the computed tokens.
        """
        base = self.inputs.base(Node("head", layer, heads[0]))
        floats = 3 * len(heads) * base[:, 0].numel()
        size = max(_BLOCK_FLOATS // floats, math.ceil(_BLOCK_TOKENS / self.inputs.at.width))
        blocks = [slice(start, start + size) for start in range(0, base.shape[1], size)]
        return torch.cat([self._z(layer, heads, base, queries, rows) for rows in blocks], dim=2)

    def _z(
        self, layer: int, heads: list[int], base: Tensor, queries: slice, rows: slice
    ) -> Float[Tensor, "circuit head prompt width d_head"]:
        """The same for some of the prompts."""
        vectors = self._vectors(layer, heads, base, queries, rows)
        allowed = self._allowed_keys(self.weights.blocks[layer].window)[rows, queries]
        return attention(vectors["q"], vectors["k"], vectors["v"], allowed, self.weights)

    def _vectors(
        self, layer: int, heads: list[int], base: Tensor, queries: slice, rows: slice
    ) -> dict[QKV, Float[Tensor, "circuit head prompt width d_head"]]:
        """Queries, keys and values of a block's heads; these two at the tokens before them too."""
        weights, graph = self.weights, self.graph
        index = self.inputs.at.index[rows]
        inputs = {
            qkv: [graph.head_input(Node("head", layer, head), qkv) for head in heads]
            for qkv in QKVS
        }
        # Without split inputs the three are one.
        receivers = list(dict.fromkeys(each for of_qkv in inputs.values() for each in of_qkv))
        # [circuit, receiver, prompt, width, d_model]
        streams = self.inputs.read(receivers, base, rows)
        streams = streams.expand(-1, len(receivers), -1, -1, -1).transpose(0, 1)
        vectors: dict[QKV, Tensor] = {}
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
        return vectors

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
        runs, change = self.runs, None
        if z is not None and not self.inputs.sums_kept:
            clean_z = self.inputs.at.take(runs.clean.z[layer].transpose(0, 1))[heads]
            change = write_heads((z - clean_z).movedim(1, 2), self.weights.blocks[layer], heads)
        self.inputs.add_heads(layer, change)
        for head in range(self.graph.n_heads):
            node = Node("head", layer, head)
            index = self.graph.sender_index[node]
            if self.inputs.needed[index]:
                if head in heads:
                    assert z is not None
                    ablated_z = self.inputs.at.take(runs.ablated.output_of(node))
                    difference = ablated_z - z[:, heads.index(head)]
                else:
                    difference = runs.output_delta(node, self.inputs.at)[None]
                self.inputs.keep_difference(index, write_head(difference, self.weights, node))

    def _mlp_output(self, node: Node) -> Tensor | None:
        if not self._is_computed(node):
            return None
        x = self.inputs.read([Receiver(node)], self.inputs.base(node))[:, 0]
        return mlp(x, self.weights.blocks[node.layer], self.weights.activation)

    def _write_mlp(self, node: Node, out: Tensor | None) -> None:
        runs, index = self.runs, self.graph.sender_index[node]
        if out is not None:
            self.inputs.add(out - self.inputs.at.take(runs.clean.mlp_out[node.layer]))
        if self.inputs.needed[index]:
            if out is not None:
                difference = self.inputs.at.take(runs.ablated.mlp_out[node.layer]) - out
            else:
                difference = runs.delta(index, self.inputs.at)[None]
            self.inputs.keep_difference(index, difference)
