"""Circuits that were found by hand, to compare with: heads by class and edges between classes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from acdc_explorer.errors import unknown_name

Ids = tuple[str, ...]


@dataclass(frozen=True)
class ClassEdge:
    """All edges from the heads (or MLPs) of one class to those of another.

    Attributes:
        sender: name of a class, or "input".
        receiver: name of a class, or "logits".
        inputs: which inputs of the receiving heads: letters of "qkv"; empty where the receiver is
            an MLP or the logits.
    """

    sender: str
    receiver: str
    inputs: str = ""


@dataclass(frozen=True)
class PublishedCircuit:
    """A circuit from the literature.

    Attributes:
        task: name of the task.
        model: in which it was found.
        source: where it is published.
        classes: name of a class -> its node ids (`a9.h9`, `m0`).
        edges: between classes.
        notes: what the lists leave open.
    """

    task: str
    model: str
    source: str
    classes: Mapping[str, Ids]
    edges: tuple[ClassEdge, ...]
    notes: str = ""

    @property
    def heads(self) -> Ids:
        """The node ids of all heads, class by class."""
        return tuple(
            node for nodes in self.classes.values() for node in nodes if node.startswith("a")
        )

    @property
    def edge_ids(self) -> Ids:
        """The ids of the edges between single nodes, where the sender comes before the receiver."""
        return tuple(
            f"{sender}->{receiver}" + (f"<{letter}>" if letter else "")
            for edge in self.edges
            for sender in self.classes.get(edge.sender, (edge.sender,))
            for receiver in self.classes.get(edge.receiver, (edge.receiver,))
            if _depth(sender) < _depth(receiver)
            for letter in edge.inputs or ("",)
        )

    def class_of(self, node: str) -> str | None:
        """The class that a node id belongs to, or None if it is not in the circuit."""
        return next((name for name, nodes in self.classes.items() if node in nodes), None)


def _depth(node: str) -> float:
    """Twice the layer, and one more for an MLP, which reads the heads of its own layer."""
    if node in ("input", "logits"):
        return -1.0 if node == "input" else math.inf
    return 2 * int(node[1:].split(".")[0]) + (node[0] == "m")


def _heads(*labels: str) -> Ids:
    """Node ids of heads written as in the papers: "9.6" is head 6 of layer 9."""
    return tuple(f"a{layer}.h{head}" for layer, head in (label.split(".") for label in labels))


def _edges(*rows: tuple[str, str, str]) -> tuple[ClassEdge, ...]:
    return tuple(ClassEdge(*row) for row in rows)


_MOVERS = ("name mover", "backup name mover", "negative name mover")

_IOI = PublishedCircuit(
    task="ioi",
    model="gpt2",
    source="Wang et al. 2022, arXiv 2211.00593; edges as in Conmy et al. 2023, arXiv 2304.14997",
    classes={
        "previous token": _heads("2.2", "4.11"),
        "duplicate token": _heads("0.1", "0.10", "3.0"),
        "induction": _heads("5.5", "5.8", "5.9", "6.9"),
        "S-inhibition": _heads("7.3", "7.9", "8.6", "8.10"),
        "name mover": _heads("9.6", "9.9", "10.0"),
        "backup name mover": _heads("9.0", "9.7", "10.1", "10.2", "10.6", "10.10", "11.2", "11.9"),
        "negative name mover": _heads("10.7", "11.10"),
    },
    edges=_edges(
        ("input", "previous token", "qkv"),
        ("input", "duplicate token", "qkv"),
        ("input", "S-inhibition", "q"),
        ("previous token", "induction", "kv"),
        ("induction", "S-inhibition", "kv"),
        ("duplicate token", "S-inhibition", "kv"),
        *(("input", movers, "kv") for movers in _MOVERS),
        *(("S-inhibition", movers, "q") for movers in _MOVERS),
        *((movers, "logits", "") for movers in _MOVERS),
    ),
    notes="MLPs are not studied: Conmy et al. count all edges between MLPs and heads as part of "
    "it. They leave out the weaker heads 2.9, 3.3, 3.6, 3.7, 4.3, 4.7, 5.6 and 7.1, as here.",
)

_GREATER_THAN = PublishedCircuit(
    task="greater_than",
    model="gpt2",
    source="Hanna et al. 2023, arXiv 2305.00586; edges as in Conmy et al. 2023, appendix G",
    classes={
        "early heads 0.3, 0.5": _heads("0.3", "0.5"),
        "early head 0.1": _heads("0.1"),
        "early MLPs": ("m0", "m1", "m2", "m3"),
        "year heads": _heads("5.5", "6.1", "6.9", "7.10", "8.11", "9.1"),
        "late MLPs": ("m8", "m9", "m10", "m11"),
    },
    edges=_edges(
        ("input", "early heads 0.3, 0.5", "qkv"),
        ("input", "early head 0.1", "qkv"),
        ("input", "early MLPs", ""),
        ("early head 0.1", "early MLPs", ""),
        ("early head 0.1", "year heads", "qkv"),
        ("early heads 0.3, 0.5", "year heads", "qkv"),
        ("early MLPs", "early MLPs", ""),
        ("early MLPs", "year heads", "qkv"),
        ("year heads", "late MLPs", ""),
        ("late MLPs", "late MLPs", ""),
        ("year heads", "logits", ""),
        ("late MLPs", "logits", ""),
    ),
    notes="Conmy et al. also connect all MLPs below layer 9 with each other and with the queries "
    "of the year heads.",
)

_DOCSTRING = PublishedCircuit(
    task="docstring",
    model="attn-only-4l",
    source="Heimersheim and Janiak 2023, A circuit for Python docstrings in a 4-layer "
    "attention-only transformer; edges as in Conmy et al. 2023, appendix H",
    classes={
        "0.5": _heads("0.5"),
        "previous token": _heads("1.4"),
        "1.2": _heads("1.2"),
        "induction": _heads("2.0"),
        "argument mover": _heads("3.0", "3.6"),
    },
    edges=_edges(
        ("input", "0.5", "v"),
        ("input", "previous token", "v"),
        ("0.5", "previous token", "v"),
        ("input", "1.2", "qk"),
        ("0.5", "1.2", "qk"),
        ("input", "induction", "qk"),
        ("0.5", "induction", "qk"),
        ("previous token", "induction", "v"),
        ("previous token", "argument mover", "q"),
        ("induction", "argument mover", "k"),
        ("1.2", "argument mover", "k"),
        ("input", "argument mover", "v"),
        ("0.5", "argument mover", "v"),
        ("argument mover", "logits", ""),
    ),
)

_PUBLISHED = {circuit.task: circuit for circuit in (_IOI, _GREATER_THAN, _DOCSTRING)}


def published_circuit(task: str) -> PublishedCircuit:
    """The circuit that was found by hand for a task.

    Args:
        task: "ioi" (its variants have the same circuit), "greater_than" or "docstring".

    Raises:
        ValueError: if no circuit is at hand for it.
    """
    name = "ioi" if task in ("ioi_s2_other", "ioi_s2_flip") else task
    if name not in _PUBLISHED:
        raise unknown_name("published circuit", task, _PUBLISHED)
    return _PUBLISHED[name]
