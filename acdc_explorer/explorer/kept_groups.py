"""Groups of nodes as the explorer keeps them: which there are, and which are drawn as one node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from acdc_explorer.circuits.groups import Group, Groups
from acdc_explorer.graph import Graph

# Their name in `State.kept`.
KEPT_AS = "groups"


@dataclass(frozen=True)
class KeptGroups:
    """Groups, open or closed.

    Attributes:
        groups: all of them.
        closed: names of those that are drawn as one node.
    """

    groups: Groups = field(default_factory=Groups)
    closed: frozenset[str] = frozenset()

    @staticmethod
    def of(kept: Mapping[str, Any], graph: Graph | None = None) -> KeptGroups:
        """What the explorer keeps; nothing where it keeps none, or what cannot be read.

        Args:
            kept: as `State.kept`.
            graph: groups with a node that it lacks are left out; None: none are.
        """
        saved = kept.get(KEPT_AS)
        if not isinstance(saved, Mapping):
            return KeptGroups()
        try:
            groups = Groups.from_dict(saved.get("groups"))
        except ValueError:
            # A session's file may have been written by anybody.
            return KeptGroups()
        if graph is not None:
            there = set(graph.nodes)
            groups = Groups(tuple(each for each in groups if there.issuperset(each.members)))
        names = {group.name for group in groups}
        closed = saved.get("closed")
        closed = [name for name in closed if name in names] if isinstance(closed, list) else []
        return KeptGroups(groups, frozenset(closed))

    @property
    def drawn_closed(self) -> list[Group]:
        """Those that are drawn as one node."""
        return [group for group in self.groups if group.name in self.closed]

    def as_kept(self) -> dict[str, Any]:
        """The same as values that JSON knows."""
        return {"groups": self.groups.to_dict(), "closed": sorted(self.closed)}

    def toggled(self, name: str) -> KeptGroups:
        """With one opened if it was closed, or closed if it was open."""
        return replace(self, closed=self.closed ^ {name})

    def with_groups(self, groups: Groups, *, new_closed: bool = True) -> KeptGroups:
        """Other groups; those of the same name stay open or closed.

        Args:
            groups: that come in their place.
            new_closed: whether those of a new name are closed.
        """
        before = {group.name for group in self.groups}
        names = {group.name for group in groups}
        new = names - before if new_closed else set()
        return KeptGroups(groups, frozenset((self.closed & names) | new))
