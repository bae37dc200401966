"""The computation graph of a transformer: nodes, receivers, edges, their ids and their order.

A node writes to the residual stream; a receiver reads from it. Ids are those of EAP-IG (Hanna et
al. 2024) and the MIB benchmark: nodes `input`, `a{layer}.h{head}`, `m{layer}`, `logits`; edges
`a8.h6->a9.h9<q>`, `m0->logits`. Whatever reads ids takes other names as well (`names.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import compress
from typing import Literal

import numpy as np

from acdc_explorer import names
from acdc_explorer.unknown_ids import unknown_edge, unknown_node

QKV = Literal["q", "k", "v"]
QKVS: tuple[QKV, ...] = ("q", "k", "v")
NodeKind = Literal["input", "head", "mlp", "logits"]

# The position whose logits are scored, and all positions that have no label.
END, REST = "END", "rest"

_NODE_ID = re.compile(r"input|logits|m(?P<mlp>\d+)|a(?P<attn>\d+)\.h(?P<head>\d+)")


@dataclass(frozen=True, slots=True)
class Node:
    """A component of the model: the embedding, an attention head, an MLP, or the logits."""

    kind: NodeKind
    layer: int
    head: int = -1

    @property
    def id(self) -> str:
        """`input`, `a{layer}.h{head}`, `m{layer}` or `logits`."""
        if self.kind == "head":
            return f"a{self.layer}.h{self.head}"
        return f"m{self.layer}" if self.kind == "mlp" else self.kind

    @property
    def label(self) -> str:
        """The name people read: `L9H9`, `MLP 9`, `input`, `logits`."""
        if self.kind == "head":
            return f"L{self.layer}H{self.head}"
        return f"MLP {self.layer}" if self.kind == "mlp" else self.kind

    @staticmethod
    def parse(node_id: str) -> Node:
        """Reads a node's id, or another of its names: `L9H6`, `9.6`, `MLP 3`.

        Raises:
            ValueError: if it has no such form.
        """
        match = _NODE_ID.fullmatch(names.node_id(node_id))
        if match is None:
            raise ValueError(
                f"{node_id!r} is no node id; nodes are written input, a9.h6, m3 or logits"
            )
        if match["mlp"] is not None:
            return Node("mlp", int(match["mlp"]))
        if match["attn"] is not None:
            return Node("head", int(match["attn"]), int(match["head"]))
        return INPUT if match[0] == "input" else LOGITS


INPUT = Node("input", -1)
LOGITS = Node("logits", -1)


@dataclass(frozen=True, slots=True)
class Receiver:
    """One place where a node reads the residual stream; a head has three: q, k and v.

    Attributes:
        node: that reads.
        qkv: which of a head's inputs; None for other nodes, and for heads with one input.
        position: the label of the positions at which it reads, or None for all of them. Queries,
            MLPs and the logits write where they read; a key or value read at one position is used
            by all queries from there on.
    """

    node: Node
    qkv: QKV | None = None
    position: str | None = None

    @property
    def id(self) -> str:
        """The node's id, with `<q>`, `<k>` or `<v>` for a head and `@label` for a position."""
        qkv = f"<{self.qkv}>" if self.qkv else ""
        at = "" if self.position is None else f"@{self.position}"
        return f"{self.node.id}{qkv}{at}"

    def at(self, position: str | None) -> Receiver:
        """The same input at one position label, or, for None, at all positions."""
        return Receiver(self.node, self.qkv, position)


@dataclass(frozen=True, slots=True)
class Edge:
    """What one sender contributes to one receiver."""

    sender: Node
    receiver: Receiver

    @property
    def id(self) -> str:
        """`sender->receiver`, as in `a8.h6->a9.h9<q>`."""
        return f"{self.sender.id}->{self.receiver.id}"

    @property
    def label(self) -> str:
        """The name people read: `L8H6 → L9H9 q`."""
        receiver = self.receiver
        suffix = f" {receiver.qkv}" if receiver.qkv else ""
        at = "" if receiver.position is None else f" @ {receiver.position}"
        return f"{self.sender.label} → {receiver.node.label}{suffix}{at}"

    @property
    def kind(self) -> str:
        """`q`, `k` or `v` for an edge into a head, else `other`."""
        return self.receiver.qkv or "other"


@dataclass(frozen=True)
class Graph:
    """All nodes and edges of a decoder-only transformer.

    Senders and receivers are numbered, so that a set of edges is a boolean matrix
    [n_receivers, n_senders]: senders from the input upwards (within a block heads, then the MLP),
    receivers likewise (q, k, v of all heads, then the MLP; the logits last; each at every position
    label in turn, if there are labels).

    Attributes:
        n_layers: number of blocks.
        n_heads: query heads in each block.
        has_mlps: whether blocks have an MLP; attention-only models have none.
        parallel: whether an MLP reads what the heads of its block read (GPT-NeoX, Phi), so that
            these do not feed it.
        split_qkv: whether a head's q, k and v inputs are receivers of their own, or the head is
            one receiver.
        labels: of positions, each of which has edges of its own; none: an edge stands for all
            positions. The logits are read at `END` alone.
    """

    n_layers: int
    n_heads: int
    has_mlps: bool = True
    parallel: bool = False
    split_qkv: bool = True
    labels: tuple[str, ...] = ()

    @property
    def shape(self) -> str:
        """The model's shape in words: "12 layers x 12 heads", and what is unusual about it."""
        unusual = {
            ", no MLPs": not self.has_mlps,
            ", MLPs beside the heads": self.parallel,
            ", heads with one input": not self.split_qkv,
            f" by position ({', '.join(self.labels)})": bool(self.labels),
        }
        also = "".join(words for words, is_so in unusual.items() if is_so)
        return f"{self.n_layers} layers x {self.n_heads} heads{also}"

    @cached_property
    def senders(self) -> tuple[Node, ...]:
        """Every node that writes to the residual stream, the earliest first."""
        nodes = [INPUT]
        for layer in range(self.n_layers):
            nodes += [Node("head", layer, head) for head in range(self.n_heads)]
            nodes += [Node("mlp", layer)] * self.has_mlps
        return tuple(nodes)

    @cached_property
    def receivers(self) -> tuple[Receiver, ...]:
        """Every place that reads the residual stream, the earliest first."""
        inputs: list[Receiver] = []
        for layer in range(self.n_layers):
            for qkv in self.head_inputs:
                inputs += [Receiver(Node("head", layer, head), qkv) for head in range(self.n_heads)]
            inputs += [Receiver(Node("mlp", layer))] * self.has_mlps
        inputs.append(Receiver(LOGITS))
        return tuple(receiver for each in inputs for receiver in self.receivers_at(each))

    @property
    def head_inputs(self) -> tuple[QKV | None, ...]:
        """Which inputs a head has: q, k and v, or one."""
        return QKVS if self.split_qkv else (None,)

    def receivers_at(self, input_: Receiver) -> list[Receiver]:
        """One input at each position label; the input itself if there are no labels."""
        if not self.labels:
            return [input_]
        return [input_.at(label) for label in (self.labels if input_.node != LOGITS else (END,))]

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """Every node, the earliest first, the logits last."""
        return (*self.senders, LOGITS)

    @cached_property
    def sender_index(self) -> dict[Node, int]:
        """Sender -> its column in an edge matrix."""
        return {sender: index for index, sender in enumerate(self.senders)}

    @cached_property
    def receiver_index(self) -> dict[Receiver, int]:
        """Receiver -> its row in an edge matrix."""
        return {receiver: index for index, receiver in enumerate(self.receivers)}

    @cached_property
    def _senders_by_id(self) -> dict[str, Node]:
        return {sender.id: sender for sender in self.senders}

    @cached_property
    def _receivers_by_id(self) -> dict[str, Receiver]:
        return {receiver.id: receiver for receiver in self.receivers}

    def n_senders_to(self, receiver: Receiver) -> int:
        """How many senders come before a receiver; they are the first so many of `senders`."""
        if receiver.node.kind == "logits":
            return len(self.senders)
        before_block = 1 + receiver.node.layer * (self.n_heads + self.has_mlps)
        reads_heads = receiver.node.kind == "mlp" and not self.parallel
        return before_block + (self.n_heads if reads_heads else 0)

    def inputs_of(self, node: Node) -> tuple[Receiver, ...]:
        """A node's inputs, at all positions: q, k and v of a head; none of `input`."""
        if node.kind == "head":
            return tuple(Receiver(node, qkv) for qkv in self.head_inputs)
        return () if node.kind == "input" else (Receiver(node),)

    def head_input(self, head: Node, qkv: QKV) -> Receiver:
        """The input, at all positions, from which a head makes its queries, keys or values."""
        return Receiver(head, qkv if self.split_qkv else None)

    def rows_of(self, node: Node) -> list[int]:
        """The rows of an edge matrix that a node reads through, at each label if there are any."""
        receivers = (r for input_ in self.inputs_of(node) for r in self.receivers_at(input_))
        return [self.receiver_index[receiver] for receiver in receivers]

    @cached_property
    def edge_mask(self) -> np.ndarray:
        """Boolean [n_receivers, n_senders]: which pairs are edges."""
        limits = np.array([self.n_senders_to(receiver) for receiver in self.receivers])
        return np.arange(len(self.senders))[None, :] < limits[:, None]

    @cached_property
    def n_edges(self) -> int:
        """The number of edges: 32,491 for GPT-2 small."""
        return int(self.edge_mask.sum())

    def edge_at(self, receiver_index: int, sender_index: int) -> Edge:
        """The edge in one cell of an edge matrix."""
        return Edge(self.senders[sender_index], self.receivers[receiver_index])

    def cell(self, edge: Edge) -> tuple[int, int]:
        """The (row, column) of an edge in an edge matrix."""
        return self.receiver_index[edge.receiver], self.sender_index[edge.sender]

    def parse(self, name: str) -> Edge | Node:
        """Reads an edge or a node; as `parse_edge` if there is an arrow, else as `parse_node`."""
        return self.parse_edge(name) if names.is_edge(name) else self.parse_node(name)

    def parse_edge(self, edge_id: str) -> Edge:
        """Reads an edge's id or its names, as `L8H6 → L9H9 q`, and checks that it is in this graph.

        Raises:
            ValueError: naming the id and the nearest edge that exists.
        """
        name = str(edge_id)
        sender_id, receiver_id = names.ends_of(name, self.labels)
        sender, receiver = (
            self._senders_by_id.get(sender_id),
            self._receivers_by_id.get(receiver_id),
        )
        if sender is None or receiver is None:
            raise unknown_edge(self, name, sender_id, receiver_id)
        edge = Edge(sender, receiver)
        if not self.edge_mask[self.cell(edge)]:
            raise ValueError(
                f"{edge_id!r} is no edge of this model: {sender.label} does not come before "
                f"{receiver.node.label}"
            )
        return edge

    def edges(self) -> Iterator[Edge]:
        """Every edge, in the order of the true cells of `edge_mask`."""
        for receiver in self.receivers:
            for sender in self.senders[: self.n_senders_to(receiver)]:
                yield Edge(sender, receiver)

    @cached_property
    def edge_ids(self) -> list[str]:
        """The id of every edge, in the order of the true cells of `edge_mask`."""
        sender_ids, ids = [sender.id for sender in self.senders], list[str]()
        for receiver in self.receivers:
            into_receiver = f"->{receiver.id}"
            ids += [sender + into_receiver for sender in sender_ids[: self.n_senders_to(receiver)]]
        return ids

    def ids_of(self, mask: np.ndarray) -> list[str]:
        """The ids of a set of edges, a boolean matrix, in the order of its true cells."""
        return list(compress(self.edge_ids, mask[self.edge_mask]))

    def parse_node(self, node_id: str) -> Node:
        """Reads a node's id or another of its names and checks that the node is in this graph.

        Raises:
            ValueError: naming the id and the nearest node that exists.
        """
        meant = names.node_id(node_id)
        node = LOGITS if meant == LOGITS.id else self._senders_by_id.get(meant)
        if node is None:
            raise unknown_node(self, node_id, meant)
        return node

    def mask_of(self, edges: object) -> np.ndarray:
        """Turns edge ids or edges into a boolean matrix [n_receivers, n_senders].

        Raises:
            ValueError: if an edge is not in the graph, or a single string was given.
        """
        if isinstance(edges, str):
            raise ValueError(f"edges must be a list of edge ids, not the single string {edges!r}")
        mask = np.zeros(self.edge_mask.shape, dtype=bool)
        for edge in edges:  # type: ignore[attr-defined]
            mask[self.cell(edge if isinstance(edge, Edge) else self.parse_edge(edge))] = True
        return mask


@lru_cache(maxsize=32)
def graph_of(
    n_layers: int,
    n_heads: int,
    has_mlps: bool = True,
    parallel: bool = False,
    split_qkv: bool = True,
    labels: tuple[str, ...] = (),
) -> Graph:
    """The graph of a model shape; one object per shape, since its tables take time to build."""
    return Graph(n_layers, n_heads, has_mlps, parallel, split_qkv, labels)
