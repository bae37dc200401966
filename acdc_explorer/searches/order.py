"""The order in which receivers are visited and their edges tested, on which ACDC's result depends.

Receivers: the logits; then per block from the last: its MLP, then all v inputs, all k inputs, all q
inputs, heads descending. Senders of a receiver: latest first, within a block the MLP, then heads
descending; the input last.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from acdc_explorer.graph import LOGITS, REST, Graph, Node, Receiver
from acdc_explorer.options import Order


def search_receivers(graph: Graph, order: Order = "default") -> list[Receiver]:
    """A graph's receivers in the order in which a search visits them.

    Heads ascending under `ascending_heads`. With position labels, each input at the last label
    first, and at the positions without a label last.
    """
    heads = range(graph.n_heads)
    if order != "ascending_heads":
        heads = heads[::-1]
    inputs = [Receiver(LOGITS)]
    for layer in reversed(range(graph.n_layers)):
        inputs += [Receiver(Node("mlp", layer))] * graph.has_mlps
        for qkv in reversed(graph.head_inputs):
            inputs += [Receiver(Node("head", layer, head), qkv) for head in heads]
    receivers = []
    for input_ in inputs:
        at_labels = graph.receivers_at(input_)[::-1]
        receivers += sorted(at_labels, key=lambda receiver: receiver.position == REST)
    return receivers


def search_senders(
    graph: Graph,
    receiver: Receiver,
    order: Order = "default",
    seed: int = 0,
    scores: Float[np.ndarray, "receiver sender"] | None = None,
) -> list[int]:
    """Indices of a receiver's senders in the order in which their edges are tested.

    Heads ascending under `ascending_heads`. `random` shuffles them, the same way for the same seed.
    `attribution` takes the edges with the smallest |score| first.

    Args:
        graph: of the model.
        receiver: whose senders.
        order: as above.
        seed: for `random`.
        scores: of all edges, for `attribution`.

    Raises:
        ValueError: if `attribution` has no scores.
    """
    indices = np.arange(graph.n_senders_to(receiver))
    if order == "random":
        # Seeded by receiver too, so that one receiver's order does not hang on the others'.
        rng = np.random.default_rng([seed, graph.receiver_index[receiver]])
        return rng.permutation(indices).tolist()
    if order == "attribution":
        if scores is None:
            raise ValueError("order 'attribution' needs scores")
        row = np.abs(scores[graph.receiver_index[receiver], : len(indices)])
        return indices[::-1][np.argsort(row[::-1], kind="stable")].tolist()
    if order == "ascending_heads":

        def latest_block_first(index: int) -> tuple[int, bool, int]:
            sender = graph.senders[index]
            return -sender.layer, sender.kind != "mlp", sender.head

        return sorted(indices.tolist(), key=latest_block_first)
    return indices[::-1].tolist()
