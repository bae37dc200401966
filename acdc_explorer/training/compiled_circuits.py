"""The circuits of compiled models, from their weights: `python -m ...training.compiled_circuits`.

A dimension of the residual stream holds one thing, so that what a node writes and what a receiver
reads can be told from the weights alone. Backwards from the logits, for each dimension and position
of what a node writes, it is known whether anything that leads to the answer reads it. An edge
belongs to the circuit if the receiver alone, with what this sender writes ablated and all else it
reads as it is, writes something else where that is needed: the sender writes what the receiver
reads, what is read makes a difference to what is written, and that is used. Nothing is removed from
the model, and no search is made: one node at a time is computed, by its weights. Where either of
two inputs suffices, neither is seen; the programs have no such thing.

That these edges are all that is needed, that each is, and that no part of them does the same is
what the tests hold them to, by the model as a whole. Writes the circuits of all compiled models
into their cards (`models/rasp`).
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from acdc_explorer.graph import INPUT, LOGITS, Graph, Node, Receiver
from acdc_explorer.models.loading import load_model
from acdc_explorer.models.toys import COMPILED, HANDMADE, Weights, handmade_weights
from acdc_explorer.options import ABLATIONS, Ablation
from acdc_explorer.tasks.builtin.registry import load_task
from acdc_explorer.tasks.task import Task

logger = logging.getLogger(__name__)

# Prompts from which it is told what is needed.
_N_PROMPTS = 64
# What is written hardly ever differs by less, and rounding far less; attention to what is not
# looked for is below the second.
_DIFFERENT, _ATTENDED = 1e-3, 1e-6

Stream = Float[Tensor, "prompt position dimension"]
Needed = Bool[Tensor, "prompt position dimension"]
# What each node writes, or in which places it is needed.
Written = dict[Node, Stream]


class CompiledModel:
    """A compiled model, node by node, by plain arithmetic on its weights.

    One class, since all is told from the same weights.

    Attributes:
        graph: of the model.
    """

    def __init__(self, weights: Weights, graph: Graph):
        """Takes a model's weights, which are computed with in float64; its norms do nothing."""
        self._weights = {name: tensor.double() for name, tensor in weights.items()}
        self.graph = graph

    def _of(self, node: Node, name: str) -> Tensor:
        if node.kind == "mlp":
            return self._weights[f"blocks.{node.layer}.mlp.{name}"]
        return self._weights[f"blocks.{node.layer}.attn.{name}"][node.head]

    def run(self, tokens: Int[Tensor, "prompt position"]) -> Written:
        """What every node writes."""
        written: Written = {INPUT: self._embedded(tokens)}
        for node in self.graph.senders[1:]:
            stream = self.read(node, written)
            written[node] = self.write(node, dict.fromkeys("qkv", stream))
        return written

    def _embedded(self, tokens: Tensor) -> Stream:
        positions = self._weights["pos_embed.W_pos"][: tokens.shape[1]]
        return self._weights["embed.W_E"][tokens] + positions

    def read(self, node: Node, written: Written) -> Stream:
        """What a node reads: all that the senders before it write."""
        n_senders = self.graph.n_senders_to(self.graph.inputs_of(node)[0])
        return torch.stack([written[sender] for sender in self.graph.senders[:n_senders]]).sum(0)

    def write(self, node: Node, reads: Mapping[str, Stream]) -> Stream:
        """What a node writes.

        Args:
            node: a head or an MLP.
            reads: a head's inputs by letter; an MLP reads what is under "q".
        """
        if node.kind == "mlp":
            hidden = (reads["q"] @ self._of(node, "W_in") + self._of(node, "b_in")).relu()
            return hidden @ self._of(node, "W_out") + self._of(node, "b_out")
        values = reads["v"] @ self._of(node, "W_V") + self._of(node, "b_V")
        return self._pattern(node, reads) @ values @ self._of(node, "W_O")

    def _pattern(
        self, node: Node, reads: Mapping[str, Stream]
    ) -> Float[Tensor, "prompt query key"]:
        queries, keys = (
            reads[letter.lower()] @ self._of(node, f"W_{letter}") + self._of(node, f"b_{letter}")
            for letter in "QK"
        )
        scores = queries @ keys.transpose(1, 2) / math.sqrt(keys.shape[-1])
        causal = torch.ones(scores.shape[1:], dtype=torch.bool).tril()
        return scores.masked_fill(~causal, -math.inf).softmax(-1)

    def needed_by_logits(self, task: Task) -> Needed:
        """At END the dimensions whose logits the answer and the wrong answer do not share."""
        unembedding = self._weights["unembed.W_U"].T
        answers = unembedding[task.answer_tokens[:, 0]], unembedding[task.wrong_tokens[:, 0]]
        needed = torch.zeros(*task.clean_tokens.shape, unembedding.shape[1], dtype=torch.bool)
        needed[range(task.n_prompts), task.end] = answers[0] != answers[1]
        return needed

    def needed_by(self, receiver: Receiver, needed: Needed, stream: Stream) -> Needed:
        """Where what a receiver reads may make a difference to what is needed of its node.

        Args:
            receiver: an MLP, or an input of a head.
            needed: of what the node writes.
            stream: that the node reads.
        """

        def through(weight: Tensor, columns: Tensor) -> Tensor:
            """Which rows of a weight lead to some of its columns, at every position."""
            return columns.double() @ (weight != 0).double().T > 0

        node, letter = receiver.node, receiver.qkv
        if letter is None:
            return through(self._of(node, "W_in"), through(self._of(node, "W_out"), needed))
        if letter == "v":
            pattern = self._pattern(node, dict.fromkeys("qk", stream)) > _ATTENDED
            of_head = through(self._of(node, "W_O"), needed)
            attended = pattern.double().transpose(1, 2) @ of_head.double() > 0
            return through(self._of(node, "W_V"), attended)
        # Of each query that is needed itself, or all keys that it can see: all of those before it.
        at = needed.any(-1, keepdim=True)
        if letter == "k":
            at = at.flip(1).cummax(1).values.flip(1)
        return at & (self._of(node, f"W_{letter.upper()}") != 0).any(-1)

    def circuit(self, task: Task, ablation: Ablation) -> list[str]:
        """The ids of the edges that carry something needed, in the order of the graph.

        Args:
            task: prompts of one length.
            ablation: what removed edges carry.
        """
        clean = self.run(task.clean_tokens)
        ablated = self._ablated(task, clean, ablation)
        needed = {node: torch.zeros_like(out, dtype=torch.bool) for node, out in clean.items()}
        found: set[str] = set()
        # Whatever reads from a node comes after it.
        for receiver in reversed(self.graph.receivers):
            node = receiver.node
            n_senders = self.graph.n_senders_to(receiver)
            if node == LOGITS:
                reads = self.needed_by_logits(task)
            elif needed[node].any():
                reads = self.needed_by(receiver, needed[node], self.read(node, clean))
            else:
                continue
            for sender in self.graph.senders[:n_senders]:
                change = ablated[sender] - clean[sender]
                if node == LOGITS:
                    matters = (change.abs() > _DIFFERENT) & reads
                else:
                    matters = self._changes(receiver, change, clean) & needed[node]
                if matters.any():
                    found.add(f"{sender.id}->{receiver.id}")
                    needed[sender] |= reads
        return [edge for edge in self.graph.edge_ids if edge in found]

    def _changes(self, receiver: Receiver, change: Stream, clean: Written) -> Needed:
        """Where a node writes something else if one of its inputs reads something else."""
        stream = self.read(receiver.node, clean)
        letter = receiver.qkv or "q"
        reads = dict.fromkeys("qkv", stream) | {letter: stream + change}
        return (self.write(receiver.node, reads) - clean[receiver.node]).abs() > _DIFFERENT

    def _ablated(self, task: Task, clean: Written, ablation: Ablation) -> Written:
        if ablation == "zero":
            return {node: torch.zeros_like(out) for node, out in clean.items()}
        corrupted = self.run(task.corrupted_tokens)
        if ablation == "corrupted":
            return corrupted
        return {node: out.mean(0, keepdim=True).expand_as(out) for node, out in corrupted.items()}


def compiled_circuit(name: str, ablation: Ablation) -> list[str]:
    """The circuit of a compiled model, from its weights and the prompts of its task.

    Args:
        name: of model and task, as "rasp-reverse".
        ablation: what removed edges carry.
    """
    model = load_model(name)
    task = load_task(name, model, _N_PROMPTS)
    return CompiledModel(handmade_weights(name), model.graph).circuit(task, ablation)


def main() -> None:
    """Writes the circuits of all compiled models into their cards."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for name in HANDMADE:
        file = COMPILED / f"{name.removeprefix('rasp-')}.json"
        if not file.exists():
            continue
        card = json.loads(file.read_text(encoding="utf-8"))
        card["true_edges"] = {ablation: compiled_circuit(name, ablation) for ablation in ABLATIONS}
        file.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
        sizes = {ablation: len(edges) for ablation, edges in card["true_edges"].items()}
        logger.info("%s: %s", name, sizes)


if __name__ == "__main__":
    main()
