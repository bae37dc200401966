"""Groups of nodes as the explorer keeps them: which there are, and which are drawn as one node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from acdc_explorer.circuits.groups import Group, Groups
from acdc_explorer.graph import Graph
from acdc_explorer.measures.grouping import name_of

# Their name in `State.kept`.
KEPT_AS = "groups"


@dataclass(frozen=True)
class KeptGroups:
    """Groups, open or closed.

    Attributes:
        groups: all of them.
        closed: names of those that are drawn as one node.
        alike: names of those that were made by similarity, and come and go with it.
        similarity: by which these were made; None: none are.
    """

    groups: Groups = field(default_factory=Groups)
    closed: frozenset[str] = frozenset()
    alike: frozenset[str] = frozenset()
    similarity: float | None = None

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

        def some(key: str) -> frozenset[str]:
            found = saved.get(key)
            return frozenset(names.intersection(map(str, found)) if isinstance(found, list) else ())

        similarity = saved.get("similarity")
        if not isinstance(similarity, (int, float)) or not 0 <= similarity <= 1:
            similarity = None
        return KeptGroups(groups, some("closed"), some("alike"), similarity)

    @property
    def drawn_closed(self) -> list[Group]:
        """Those that are drawn as one node."""
        return [group for group in self.groups if group.name in self.closed]

    def as_kept(self) -> dict[str, Any]:
        """The same as values that JSON knows."""
        return {
            "groups": self.groups.to_dict(),
            "closed": sorted(self.closed),
            "alike": sorted(self.alike),
            "similarity": self.similarity,
        }

    def toggled(self, name: str) -> KeptGroups:
        """With one opened if it was closed, or closed if it was open."""
        return replace(self, closed=self.closed ^ {name})

    def with_alike(self, found: Groups, similarity: float) -> KeptGroups:
        """With groups by similarity in the place of those that were; others stay as they are.

        Args:
            found: the groups by similarity. Nodes that are in another group stay there.
            similarity: by which they were found.
        """
        others = [group for group in self.groups if group.name not in self.alike]
        taken = {node for group in others for node in group.nodes}
        names = {group.name for group in others}
        new = []
        for group in found:
            nodes = tuple(node for node in group.nodes if node not in taken)
            name = name_of(nodes) if nodes != group.nodes else group.name
            if len(nodes) > 1 and name not in names:
                new.append(replace(group, nodes=nodes, name=name))
        made = frozenset(group.name for group in new)
        closed = (self.closed & names) | made
        return KeptGroups(Groups((*others, *new)), closed, made, similarity)

    def with_group(self, group: Group) -> KeptGroups:
        """With one more, closed, whose members leave the groups in which they are."""
        alike = Groups(tuple(each for each in self.groups if each.name in self.alike))
        others = Groups(tuple(each for each in self.groups if each.name not in self.alike))
        kept = replace(self, groups=others.with_group(group), alike=frozenset())
        closed = self.closed & {each.name for each in kept.groups}
        kept = replace(kept, closed=closed | {group.name})
        if self.similarity is None:
            return kept
        # Those that lose a member are called after the first that is left.
        return kept.with_alike(alike, self.similarity)

    def changed(self, name: str, new_name: str, inputs: Sequence[str]) -> KeptGroups:
        """With another name and other inputs of one, which then stays whatever the similarity.

        Args:
            name: of the group.
            new_name: likewise, from now on.
            inputs: what its output is claimed to depend on.

        Raises:
            ValueError: as `Groups.changed`.
        """
        groups = self.groups.changed(name, new_name=new_name, inputs=inputs)
        closed = self.closed - {name}
        if name in self.closed:
            closed |= {new_name.strip()}
        return replace(self, groups=groups, closed=closed, alike=self.alike - {name})

    def without(self, name: str) -> KeptGroups:
        """Without one, whose members then stand for themselves."""
        return replace(
            self,
            groups=self.groups.without(name),
            closed=self.closed - {name},
            alike=self.alike - {name},
        )
