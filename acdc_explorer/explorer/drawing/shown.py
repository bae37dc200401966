"""What of a circuit is drawn, and how: by kind, by size in shares of the clean metric, by sign."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Literal

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.comparison import BOTH, FIRST, SECOND
from acdc_explorer.circuits.steps import ReceiverStep
from acdc_explorer.explorer.style import KIND_NAMES, STEADY_SHARE
from acdc_explorer.explorer.words import smallest_effect
from acdc_explorer.graph import Edge, Graph, Node, Receiver

# Sizes of effects end below these shares of the clean metric, at every threshold the same.
_SIZE_LIMITS = (0.02, 0.1)
SIZE_NAMES = ("under 2%", "2 to 10%", "over 10%")
N_SIZES = len(SIZE_NAMES)

# The parts of a picture that can be hidden, besides position labels, whose parts are "@label".
KINDS = tuple(KIND_NAMES)
HELPS, HURTS, UNCONNECTED, PREVIEW = "helps", "hurts", "unconnected", "preview"
SELDOM, BY_HAND = "seldom", "by-hand"
# Of two circuits that are compared: of both, of the one that is drawn, and of the other alone.
IN_BOTH, ONLY_HERE, ONLY_THERE = "in-both", "only-here", "only-there"
_WHERE = {BOTH: IN_BOTH, FIRST: ONLY_HERE, SECOND: ONLY_THERE}
SIZES = tuple(f"size-{size}" for size in range(N_SIZES))


@dataclass(frozen=True)
class Shown:
    """What the user wants to see.

    Attributes:
        hidden: names of parts that are not drawn.
        merged: whether the edges from one node to another's q, k and v are drawn as one line.
        folded: whether layers and heads that the circuit does without take little room, where a
            model has many.
        opened: layers that are not folded nevertheless.
    """

    hidden: frozenset[str] = frozenset()
    merged: bool = False
    folded: bool = True
    opened: frozenset[int] = frozenset()

    def toggled(self, part: str) -> Shown:
        """With a part hidden if it was seen, or seen if it was hidden; or one of the choices."""
        if part == "merged":
            return replace(self, merged=not self.merged)
        if part == "folded":
            return replace(self, folded=not self.folded or bool(self.opened), opened=frozenset())
        return replace(self, hidden=self.hidden ^ {part})

    def shows(self, part: str) -> bool:
        """Whether a part is drawn."""
        return part not in self.hidden


@dataclass(frozen=True)
class DrawnEdge:
    """An edge as it is drawn: kept, removed by hand, or of a circuit that is compared.

    Attributes:
        edge: itself; of merged ones that with the largest effect.
        effect: by which it is drawn.
        size: of the effect, from 0 up to `N_SIZES` - 1.
        hurts: whether the metric rises without it, by more than rounding.
        connected: whether it lies on a path from the input to the logits, as far as known.
        others: with which it is merged, the largest effect first.
        steadiness: the share of repeated searches that keep it; None: there were none.
        note: what else is said of it, in words; may be empty.
        by_hand: "removed" or "restored" by hand; None: it is as the search left it.
        where: "both", "first" or "second", as in a `Comparison` with another circuit of which this
            is the first; None: there is no other.
        title: of a line from or to a closed group, what it is called; else empty.
    """

    edge: Edge
    effect: float
    size: int
    hurts: bool
    connected: bool = True
    others: tuple[tuple[Edge, float], ...] = ()
    steadiness: float | None = None
    note: str = ""
    by_hand: Literal["removed", "restored"] | None = None
    where: str | None = None
    title: str = ""

    @property
    def is_out(self) -> bool:
        """Whether it is not in the circuit: not any more, or only in the other one."""
        return self.by_hand == "removed" or self.where == SECOND

    @property
    def is_seldom(self) -> bool:
        """Whether many repeated searches do without it."""
        return self.steadiness is not None and self.steadiness < STEADY_SHARE

    @property
    def all_edges(self) -> tuple[Edge, ...]:
        """All that the line stands for, the largest effect first."""
        return (self.edge, *(edge for edge, _ in self.others))

    def parts(self) -> tuple[str, ...]:
        """The parts of the picture to which it belongs: it is drawn if all are shown."""
        label = self.edge.receiver.position
        others = () if label is None else (f"@{label}",)
        if self.where is not None:
            others = (_WHERE[self.where], *others)
        if self.by_hand is not None:
            others = (BY_HAND, *others)
        if self.is_out:
            return (self.edge.kind, *others)
        if self.is_seldom:
            others = (SELDOM, *others)
        if not self.connected:
            return (self.edge.kind, UNCONNECTED, *others)
        return (self.edge.kind, HURTS if self.hurts else HELPS, SIZES[self.size], *others)


def kept_edges(
    circuit: Circuit,
    effects: Mapping[str, float] | None = None,
    steadiness: Mapping[str, float] | None = None,
    notes: Mapping[str, str] | None = None,
) -> list[DrawnEdge]:
    """The kept edges of a circuit, the largest first; after the connected ones the others.

    Before them come those that were removed by hand.

    Args:
        circuit: finished or not. Only of a finished one it is known which edges are connected.
        effects: edge id -> the effect to draw it by, if not the one it was decided by.
        steadiness: edge id -> the share of repeated searches that keep it, if there were any.
        notes: edge id -> what else is to be said of it.
    """
    notes = notes or {}
    cell = circuit.graph.cell
    connected = circuit.connected_mask if circuit.complete else circuit.graph.edge_mask
    smallest = smallest_effect(circuit)
    changed = {change.edge: change.kept for change in circuit.by_hand}
    kept = []
    for edge, decided in circuit.kept_effects.items():
        effect = decided if effects is None else effects.get(edge.id, 0.0)
        size = size_of(effect, circuit)
        is_connected = bool(connected[cell(edge)])
        steady = None if steadiness is None else steadiness.get(edge.id, 0.0)
        note = notes.get(edge.id, "")
        hurts = effect <= -smallest
        restored: Literal["restored"] | None = "restored" if edge in changed else None
        kept.append(DrawnEdge(edge, effect, size, hurts, is_connected, (), steady, note, restored))
    kept.sort(key=lambda each: (not each.connected, -abs(each.effect)))
    # Whatever else there is no room to draw.
    return [*_removed_by_hand(circuit), *kept]


def size_of(effect: float, circuit: Circuit) -> int:
    """The size by which an effect is drawn, as in `DrawnEdge`."""
    scale = abs(circuit.full_metric)
    # Where the clean metric is 0, nothing can be a share of it.
    return bisect.bisect(_SIZE_LIMITS, abs(effect) / scale) if scale else N_SIZES - 1


def _removed_by_hand(circuit: Circuit) -> list[DrawnEdge]:
    """With the effects that the search found."""
    edges = [change.edge for change in circuit.by_hand if not change.kept]
    if not edges:
        return []
    decided = {step.edge: step.effect for step in circuit.decisions}
    return [
        DrawnEdge(edge, decided.get(edge, 0.0), 0, hurts=False, connected=False, by_hand="removed")
        for edge in edges
    ]


def to_draw(kept: Sequence[DrawnEdge], shown: Shown) -> list[DrawnEdge]:
    """Those that are to be seen, in the same order, merged if that is wanted."""
    seen = [each for each in kept if all(map(shown.shows, each.parts()))]
    return _merged(seen) if shown.merged else seen


def _merged(edges: Iterable[DrawnEdge]) -> list[DrawnEdge]:
    """One for each pair of nodes (and position), drawn as its largest."""
    of_pair: dict[object, list[DrawnEdge]] = {}
    for each in edges:
        pair = (
            each.edge.sender, each.edge.receiver.node, each.edge.receiver.position, each.is_out,
            each.where,
        )  # fmt: skip
        of_pair.setdefault(pair, []).append(each)
    return [
        replace(first, others=tuple((each.edge, each.effect) for each in others))
        for first, *others in of_pair.values()
    ]


def lit_edges(kept: Sequence[DrawnEdge], graph: Graph, selected: Edge | Node) -> set[Edge]:
    """What stands out when something is selected.

    Of a node all its edges, of an edge itself; and from there the strongest way on: from node to
    node along the edge with the largest effect, back to the input and on to the logits.

    Args:
        kept: all kept edges, the largest of the connected ones first.
        graph: of the model.
        selected: an edge, kept or not, or a node.
    """
    # The first of each is the largest.
    into, out_of = dict[Node, Edge](), dict[Node, Edge]()
    for each in kept:
        if each.connected:
            into.setdefault(each.edge.receiver.node, each.edge)
            out_of.setdefault(each.edge.sender, each.edge)
    if isinstance(selected, Edge):
        lit, below, above = {selected}, selected.sender, selected.receiver.node
    else:
        edges = (each.edge for each in kept)
        lit = {e for e in edges if selected in (e.sender, e.receiver.node)}
        below = above = selected
    # Senders come before receivers, so both ways end.
    while below in into:
        lit.add(into[below])
        below = into[below].sender
    while above in out_of:
        lit.add(out_of[above])
        above = out_of[above].receiver.node
    return lit


def untested_nodes(circuit: Circuit) -> set[Node]:
    """Nodes of which the search has not yet decided whether they are in the circuit."""
    if circuit.complete:
        return set()
    begun = {step.receiver.node for step in circuit.steps if isinstance(step, ReceiverStep)}
    return set(circuit.graph.nodes) - begun


def untested_edges(circuit: Circuit, receiver: Receiver | None) -> list[Edge]:
    """The edges into the receiver under test that are still to be tested."""
    if receiver is None:
        return []
    graph = circuit.graph
    # They are the last ones.
    latest = takewhile(lambda step: step.edge.receiver == receiver, reversed(circuit.decisions))
    tested = {step.edge.sender for step in latest}
    senders = graph.senders[: graph.n_senders_to(receiver)]
    return [Edge(sender, receiver) for sender in senders if sender not in tested]
