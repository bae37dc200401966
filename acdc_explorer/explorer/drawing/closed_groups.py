"""Groups of nodes drawn as one: where they stand, and their edges taken together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.groups import Group
from acdc_explorer.explorer.drawing.shown import DrawnEdge, size_of
from acdc_explorer.explorer.words import smallest_effect
from acdc_explorer.graph import Node


@dataclass(frozen=True)
class ClosedGroups:
    """Groups each of which is drawn as one node, at the place of one of its members.

    Attributes:
        at: the member at whose place a group stands -> the group.
    """

    at: Mapping[Node, Group] = field(default_factory=dict)

    def __post_init__(self) -> None:
        places = {node: place for place, group in self.at.items() for node in group.members}
        object.__setattr__(self, "_places", places)

    @staticmethod
    def of(groups: Iterable[Group], circuit: Circuit) -> ClosedGroups:
        """Each at the place of the member with the largest effects in a circuit.

        Args:
            groups: that share no node.
            circuit: with all their nodes.
        """
        sizes = dict.fromkeys(circuit.graph.nodes, 0.0)
        for edge, effect in circuit.kept_effects.items():
            for node in (edge.sender, edge.receiver.node):
                sizes[node] += abs(effect)
        return ClosedGroups({max(each.members, key=sizes.__getitem__): each for each in groups})

    def place(self, node: Node) -> Node:
        """The node at whose place a node is drawn: itself, if it is in none of the groups."""
        places: dict[Node, Node] = self._places  # type: ignore[attr-defined]
        return places.get(node, node)

    def name(self, node: Node) -> str:
        """Of the group that a node is in, or its own."""
        group = self.at.get(self.place(node))
        return node.label if group is None else group.name


NO_GROUPS = ClosedGroups()


def grouped(
    edges: Sequence[DrawnEdge], closed: ClosedGroups, circuit: Circuit, *, merged: bool
) -> list[DrawnEdge]:
    """Edges from or to groups, those between the same ends as one, drawn by the sum of effects.

    Edges within a group are left out.

    Args:
        edges: to draw, the largest first.
        closed: the groups.
        circuit: the edges are of.
        merged: whether the edges to q, k and v are one line.
    """
    if not closed.at:
        return list(edges)
    of_ends: dict[object, list[DrawnEdge]] = {}
    for each in edges:
        edge = each.edge
        sender, receiver = closed.place(edge.sender), closed.place(edge.receiver.node)
        if sender == receiver:
            continue
        kind = None if merged else edge.kind
        alike = sender, receiver, edge.receiver.position, kind, each.is_out, each.where
        of_ends.setdefault(alike, []).append(each)
    drawn = []
    for together in of_ends.values():
        edge = together[0].edge
        nodes = edge.sender, edge.receiver.node
        is_of_group = any(closed.place(node) in closed.at for node in nodes)
        drawn.append(_together(together, closed, circuit) if is_of_group else together[0])
    return drawn


def _together(edges: Sequence[DrawnEdge], closed: ClosedGroups, circuit: Circuit) -> DrawnEdge:
    """One line for edges between the same ends."""
    first = edges[0]
    others = [pair for each in edges for pair in ((each.edge, each.effect), *each.others)][1:]
    effect = first.effect + sum(each for _, each in others)
    steady = [each.steadiness for each in edges if each.steadiness is not None]
    receiver = first.edge.receiver
    at = "" if receiver.position is None else f" @ {receiver.position}"
    is_one_kind = all(edge.kind == first.edge.kind for edge, _ in others)
    qkv = f" {receiver.qkv}" if receiver.qkv and is_one_kind else ""
    return replace(
        first,
        effect=effect,
        size=size_of(effect, circuit),
        hurts=effect <= -smallest_effect(circuit),
        connected=any(each.connected for each in edges),
        others=tuple(others),
        steadiness=max(steady, default=None),
        note=first.note if not others else "",
        title=f"{closed.name(first.edge.sender)} → {closed.name(receiver.node)}{qkv}{at}",
    )
