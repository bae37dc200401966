"""Nodes of a circuit taken together: groups with names, as plain data."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import pandas as pd

from acdc_explorer.checked_json import Value, parse_json, read_json
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.errors import unknown_name
from acdc_explorer.files import write_text
from acdc_explorer.graph import Graph, Node

FORMAT, VERSION = "acdc_explorer groups", 1


@dataclass(frozen=True)
class Group:
    """Nodes that are taken to do the same.

    Attributes:
        name: of the group; any text but a node's own name.
        nodes: the members' ids; given as anything that names a node (`a9.h6`, `L9H6`, `9.6`).
        inputs: what the group's output is claimed to depend on: position labels of the task, whose
            tokens matter, or names of features that `scrub` is given. Empty: on none of them.

    Raises:
        ValueError: if the name is empty or a node's; there are no members, or one twice, or one
            that is neither a head nor an MLP; or an input is no text.
    """

    name: str
    nodes: tuple[str, ...]
    inputs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise ValueError(f"a group's name must be text, and not empty; got {self.name!r}")
        object.__setattr__(self, "name", self.name.strip())
        if _is_node(self.name):
            raise ValueError(f"a group's name must not be that of a node; got {self.name!r}")
        for what in ("nodes", "inputs"):
            given = getattr(self, what)
            if isinstance(given, str) or not isinstance(given, Iterable):
                raise ValueError(f"{what} of group {self.name!r} must be a list; got {given!r}")
            object.__setattr__(self, what, tuple(given))
        if not self.nodes:
            raise ValueError(f"group {self.name!r} must have a node at least")
        ids = tuple(Node.parse(str(node)).id for node in self.nodes)
        for node in ids:
            if node in ("input", "logits"):
                raise ValueError(
                    f"nodes of group {self.name!r} must be heads and MLPs; got {node!r}"
                )
            if ids.count(node) > 1:
                raise ValueError(f"group {self.name!r} has {node} twice")
        for each in self.inputs:
            if not isinstance(each, str):
                raise ValueError(f"inputs of group {self.name!r} must be names; got {each!r}")
        object.__setattr__(self, "nodes", ids)
        object.__setattr__(self, "inputs", tuple(dict.fromkeys(self.inputs)))

    @cached_property
    def members(self) -> tuple[Node, ...]:
        """The nodes themselves."""
        return tuple(map(Node.parse, self.nodes))

    def __str__(self) -> str:
        depends = f", from {' and '.join(self.inputs)}" if self.inputs else ""
        return f"{self.name}: {', '.join(node.label for node in self.members)}{depends}"


@dataclass(frozen=True)
class Groups:
    """Groups that share no node.

    Attributes:
        groups: in any order.

    Raises:
        ValueError: if two groups have one name, or one node.
    """

    groups: tuple[Group, ...] = ()
    _of: Mapping[Node, Group] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "groups", tuple(self.groups))
        of: dict[Node, Group] = {}
        names = set[str]()
        for group in self.groups:
            if not isinstance(group, Group):
                raise ValueError(f"groups must be of Group; got a {type(group).__name__}")
            if group.name in names:
                raise ValueError(f"two groups are called {group.name!r}")
            names.add(group.name)
            for node in group.members:
                if node in of:
                    raise ValueError(
                        f"{node.id} is in two groups, {of[node].name!r} and {group.name!r}"
                    )
                of[node] = group
        object.__setattr__(self, "_of", of)

    @staticmethod
    def by_role(
        roles: Mapping[str, str], inputs: Mapping[str, Sequence[str]] | None = None
    ) -> Groups:
        """Nodes of one role make a group.

        Args:
            roles: node -> its role, which becomes the group's name; nodes whose role is empty or
                None are in no group.
            inputs: role -> the group's `inputs`.

        Raises:
            ValueError: as for `Group`; or if inputs are given of a role that no node has.
        """
        members: dict[str, list[str]] = {}
        for node, role in roles.items():
            if role:
                members.setdefault(role, []).append(node)
        inputs = inputs or {}
        for role in inputs:
            if role not in members:
                raise unknown_name("role", role, members)
        return Groups(
            tuple(
                Group(role, tuple(of), tuple(inputs.get(role, ()))) for role, of in members.items()
            )
        )

    def __len__(self) -> int:
        return len(self.groups)

    def __iter__(self) -> Any:
        return iter(self.groups)

    def __getitem__(self, name: str) -> Group:
        """The group of a name; raises a ValueError if there is none."""
        for group in self.groups:
            if group.name == name:
                return group
        raise unknown_name("group", name, [group.name for group in self.groups])

    def of(self, node: Node) -> Group | None:
        """The group that a node is in, or None."""
        return self._of.get(node)

    def with_group(self, group: Group) -> Groups:
        """These and one more, whose members leave the groups in which they are."""
        new = set(group.members)
        others = []
        for each in self.groups:
            left = tuple(node for node in each.nodes if Node.parse(node) not in new)
            if left:
                others.append(replace(each, nodes=left))
        return Groups((*others, group))

    def without(self, name: str) -> Groups:
        """These without one.

        Raises:
            ValueError: if there is none of the name.
        """
        dissolved = self[name]
        return Groups(tuple(group for group in self.groups if group is not dissolved))

    def changed(
        self, name: str, *, new_name: str | None = None, inputs: Sequence[str] | None = None
    ) -> Groups:
        """These, one with another name or other inputs.

        Args:
            name: of the group.
            new_name: None: it stays.
            inputs: None: they stay.

        Raises:
            ValueError: if there is none of the name, or another group has the new one.
        """
        old = self[name]
        new = Group(
            old.name if new_name is None else new_name,
            old.nodes,
            old.inputs if inputs is None else tuple(inputs),
        )
        return Groups(tuple(new if group is old else group for group in self.groups))

    def check(self, graph: Graph) -> None:
        """Raises a ValueError if a node is not one of a model, naming the nearest that is.

        Args:
            graph: of the model.
        """
        for node in self._of:
            graph.parse_node(node.id)

    def edges(self, circuit: Circuit) -> pd.DataFrame:
        """The kept edges of a circuit, those between the same two groups added up.

        A node in no group stands for itself.

        Args:
            circuit: with the nodes of the groups.

        Returns:
            A row for each pair, the largest |effect| first: sender and receiver (a group's name or
            a node's id; the same group for edges between its members), effect (the sum of what the
            search found of each edge, in the metric's units; effects need not add up to that of all
            together), n_edges, and kinds (a text of "q", "k", "v" and "other" that occur, in this
            order, separated by commas).

        Raises:
            ValueError: if a group has a node that the circuit's model lacks.
        """
        self.check(circuit.graph)
        rows = [
            (self._name(edge.sender), self._name(edge.receiver.node), effect, edge.kind)
            for edge, effect in circuit.kept_effects.items()
        ]
        table = pd.DataFrame(rows, columns=["sender", "receiver", "effect", "kind"])
        summed = table.groupby(["sender", "receiver"], sort=False, as_index=False).agg(
            effect=("effect", "sum"), n_edges=("effect", "size"), kinds=("kind", _kinds_in)
        )
        return summed.sort_values(
            "effect", key=lambda effect: -effect.abs(), kind="stable", ignore_index=True
        )

    def _name(self, node: Node) -> str:
        group = self._of.get(node)
        return node.id if group is None else group.name

    def to_dict(self) -> dict[str, Any]:
        """The groups as plain values; `Groups.from_dict` reads them."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "groups": [
                {"name": group.name, "nodes": list(group.nodes), "inputs": list(group.inputs)}
                for group in self.groups
            ],
        }

    @staticmethod
    def from_dict(data: Any) -> Groups:
        """The groups that `to_dict` made these values of.

        Raises:
            ValueError: naming the first value that is wrong, by its place.
        """
        value = Value(data)
        if value["format"].data != FORMAT or value["version"].data != VERSION:
            raise value.error(f'groups, with "format": "{FORMAT}" and "version": {VERSION}')
        return Groups(
            tuple(
                Group(
                    each["name"].text(),
                    tuple(node.text() for node in each["nodes"].items()),
                    tuple(name.text() for name in each.get("inputs", []).items()),
                )
                for each in value["groups"].items()
            )
        )

    def to_json(self) -> str:
        """The groups as JSON text, as `save` writes it."""
        return json.dumps(self.to_dict(), indent=1) + "\n"

    @staticmethod
    def from_json(text: str, name: str = "the text") -> Groups:
        """Reads groups from the text of their file.

        Args:
            text: as `to_json` makes it.
            name: of where it comes from, for the errors.

        Raises:
            ValueError: if it is none, or is damaged.
        """
        try:
            return Groups.from_dict(parse_json(text))
        except ValueError as error:
            raise ValueError(f"{name!r} is no file of groups: {error}") from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the groups as JSON (`Groups.load` reads it).

        Raises:
            ValueError: if the path is a folder's, or nothing can be written there.
        """
        write_text(path, self.to_json())

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Groups:
        """Reads groups from a file.

        Raises:
            FileNotFoundError: if there is none.
            ValueError: if it is no file of groups, or is damaged.
        """
        try:
            return Groups.from_dict(read_json(path))
        except ValueError as error:
            raise ValueError(f"{str(path)!r} is no file of groups: {error}") from None

    def __str__(self) -> str:
        return "\n".join(map(str, self.groups)) or "no groups"


def _is_node(name: str) -> bool:
    try:
        Node.parse(name)
    except ValueError:
        return False
    return True


def _kinds_in(kinds: pd.Series) -> str:
    found = set(kinds)
    return ", ".join(kind for kind in ("q", "k", "v", "other") if kind in found)
