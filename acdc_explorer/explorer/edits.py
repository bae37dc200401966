"""Changes by hand, one after the other: made, undone, and made again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from acdc_explorer.circuits.by_hand import HandChange, changed_by_hand
from acdc_explorer.circuits.circuit import Circuit

Changes = tuple[HandChange, ...]


class Edits:
    """All changes by hand that there are, with those before and those undone.

    Attributes:
        current: all that there are, also those that are none in the circuit of this threshold.
    """

    def __init__(self) -> None:
        self.current: Changes = ()
        self._past: list[Changes] = []
        self._future: list[Changes] = []

    @property
    def can_undo(self) -> bool:
        """Whether there is something to undo."""
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        """Whether there is something to do again."""
        return bool(self._future)

    def change(self, circuit: Circuit, remove: Iterable[str], restore: Iterable[str]) -> None:
        """Makes some more.

        Args:
            circuit: that is shown, which may not have the latest ones yet.
            remove: edges and nodes, as for `acdc_explorer.edit`.
            restore: likewise.

        Raises:
            ValueError: as `acdc_explorer.edit`.
        """
        made = changed_by_hand(self.latest(circuit), remove, restore)
        edges, active = {change.edge for change in made}, self.active(circuit)
        dormant = (each for each in self.current if each.edge not in edges and each not in active)
        self._go_to((*dormant, *made))

    def active(self, circuit: Circuit) -> Changes:
        """Those of the changes that are some in a circuit: what is so in it already is none.

        Args:
            circuit: that is shown; none of another graph's changes are any.
        """
        graph, removed = circuit.graph, circuit.searched().removed_mask
        return tuple(
            each
            for each in self.current
            if each.edge.receiver in graph.receiver_index
            and each.edge.sender in graph.sender_index
            and each.kept == removed[graph.cell(each.edge)]
        )

    def reset(self) -> None:
        """Takes back all, which can be undone."""
        if self.current:
            self._go_to(())

    def undo(self) -> None:
        """Goes one step back, if there is one."""
        if self._past:
            self._future.append(self.current)
            self.current = self._past.pop()

    def redo(self) -> None:
        """Does again what was undone last, if anything was."""
        if self._future:
            self._past.append(self.current)
            self.current = self._future.pop()

    def begin_with(self, changes: Sequence[HandChange]) -> None:
        """Begins anew, with changes of a file or with none."""
        self.current = tuple(changes)
        self._past, self._future = [], []

    def _go_to(self, changes: Changes) -> None:
        self._past.append(self.current)
        self._future.clear()
        self.current = changes

    def latest(self, circuit: Circuit) -> Circuit:
        """A circuit with all changes, not measured.

        Args:
            circuit: that is shown, which may not have the latest ones yet.
        """
        searched = circuit.searched()
        value = searched.metric_value
        return replace(searched, by_hand=self.active(circuit), metric_as_searched=value)


def ids_of(changes: Sequence[HandChange]) -> tuple[list[str], list[str]]:
    """Ids of the edges that were removed, and of those that were restored."""
    removed = [change.edge.id for change in changes if not change.kept]
    return removed, [change.edge.id for change in changes if change.kept]


def line_of(remove: Sequence[str], restore: Sequence[str], circuit: str = "circuit") -> str:
    """The line of Python that makes changes.

    Args:
        remove: edges and nodes.
        restore: likewise.
        circuit: what stands for the circuit that is changed.
    """
    named = {"remove": remove, "restore": restore}
    given = "".join(f", {name}={list(ids)!r}" for name, ids in named.items() if ids)
    return f"circuit = ax.edit(model, task, {circuit}{given})"
