"""What all parts of the page read, and how they ask and act: none of them knows another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from acdc_explorer.circuits.by_hand import HandChange
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.comparison import Comparable, Comparison
from acdc_explorer.explorer.compared import Compared
from acdc_explorer.explorer.edits import Edits, ids_of, line_of
from acdc_explorer.explorer.kept_groups import KEPT_AS, KeptGroups
from acdc_explorer.explorer.script import Script
from acdc_explorer.explorer.selection import Ask, Selection
from acdc_explorer.explorer.session import Session
from acdc_explorer.graph import Edge, Node
from acdc_explorer.runner.state import Snapshot
from acdc_explorer.tasks.task import Task

Change = Literal["circuit", "path", "selection", "comparison", "drawing", "script"]
CHANGES: tuple[Change, ...] = get_args(Change)
_SEARCHED = "circuit.searched()"


@dataclass(frozen=True)
class DrawnBy:
    """Effects by which the graph is drawn instead of the circuit's own.

    Attributes:
        what: they are, in words, to end "Drawn by".
        circuit: that they are of: another one is drawn by its own.
        effects: edge id -> effect, of its kept edges.
    """

    what: str
    circuit: Circuit
    effects: Mapping[str, float]


class State:
    """One for each explorer; outlives its page.

    Attributes:
        lock: held around every write to the page.
        ask: has something short computed by the worker, between two steps of a search.
        run_errand: has something long computed by the worker, once the search has ended.
        select: selects an edge or a node, or nothing.
        snapshot: where the search stands.
        selection: what is selected, or None.
        kept: what parts keep from page to page and in a saved session, by the name of the part:
            values that JSON knows.
        script: what was searched for and done by hand, as lines of Python.
        edits: changes by hand.
        compared: what the circuit is compared with.
        drawn_by: by which other effects than its own the circuit is drawn; None: by none.
    """

    def __init__(
        self,
        lock: threading.RLock,
        ask: Ask,
        run_errand: Ask,
        select: Callable[[Selection | None], None],
        make_changes: Callable[[Sequence[HandChange]], None],
    ):
        """Begins with nothing.

        Args:
            lock: as above; so are `ask`, `run_errand` and `select`.
            ask: likewise.
            run_errand: likewise.
            select: likewise.
            make_changes: has the worker make these changes by hand, and no others.
        """
        self.lock, self.ask, self.run_errand, self.select = lock, ask, run_errand, select
        self._make_changes, self.edits = make_changes, Edits()
        # The changes by hand that the script tells of.
        self._noted: tuple[HandChange, ...] = ()
        self.snapshot, self.compared = Snapshot("idle"), Compared()
        self.selection: Selection | None = None
        self.kept: dict[str, Any] = {}
        self.script = Script()
        self.drawn_by: DrawnBy | None = None
        self._watchers: list[Callable[[Change], None]] = []

    @property
    def circuit(self) -> Circuit | None:
        """That is shown, or None."""
        return self.snapshot.circuit

    @property
    def task(self) -> Task | None:
        """Of the circuit."""
        return self.snapshot.task

    def watch(self, told: Callable[[Change], None]) -> None:
        """Has somebody told whenever something has changed, under the lock."""
        self._watchers.append(told)

    def forget_watchers(self) -> None:
        """Tells nobody any more, and forgets what was drawn for them; for a page that is gone."""
        self._watchers.clear()
        self.drawn_by = None

    def show(self, snapshot: Snapshot, selection: Selection | None) -> None:
        """Takes in where the search stands and what is selected.

        Args:
            snapshot: of the search.
            selection: or None.
        """
        changes: list[Change] = []
        other = snapshot.circuit is not self.circuit or snapshot.task is not self.task
        if other or snapshot.status != self.snapshot.status:
            changes.append("circuit")
        if snapshot.path is not self.snapshot.path:
            changes.append("path")
        if selection != self.selection:
            changes.append("selection")
        self.snapshot, self.selection = snapshot, selection
        self._note_search()
        for change in changes:
            self._tell(change)

    def draw_by(self, drawn_by: DrawnBy | None) -> None:
        """Has the graph drawn by other effects, as long as it is of the circuit that they are of.

        Args:
            drawn_by: the effects; None: by its own again.
        """
        with self.lock:
            self.drawn_by = drawn_by
            self._tell("drawing")

    def keep(self, name: str, value: Any) -> None:
        """Keeps something by which the graph is drawn, and has it drawn anew.

        Args:
            name: as in `kept`.
            value: that JSON knows.
        """
        with self.lock:
            self.kept[name] = value
            self._tell("drawing")

    def toggle_group(self, name: str) -> None:
        """Opens a group that is drawn as one node, or closes one that is open."""
        self.keep(KEPT_AS, KeptGroups.of(self.kept).toggled(name).as_kept())

    def _note_search(self) -> None:
        """Notes a search that has ended, and the changes by hand in its circuit."""
        circuit, request = self.circuit, self.snapshot.request
        if self.snapshot.status != "done" or circuit is None or request is None:
            return
        if self.script.found(circuit, request):
            self._noted = ()
        if circuit.by_hand != self._noted and circuit.by_hand == self.edits.active(circuit):
            self._note_changes("circuit" if not self._noted else _SEARCHED)

    def _note_changes(self, of: str = _SEARCHED) -> None:
        """Notes all changes by hand that are some in the circuit.

        Args:
            of: what stands for the circuit that is changed.
        """
        assert self.circuit is not None
        self._noted = self.edits.active(self.circuit)
        self.did(line_of(*ids_of(self._noted), of) if self._noted else f"circuit = {_SEARCHED}")

    @property
    def _notes_changes(self) -> bool:
        """Whether changes by hand are noted when they are made: else once the search has ended."""
        return self.snapshot.status == "done"

    def edit(self, *, remove: Sequence[str] = (), restore: Sequence[str] = ()) -> None:
        """Switches edges of the circuit off and on by hand.

        Args:
            remove: edges and nodes, as for `acdc_explorer.edit`.
            restore: likewise.

        Raises:
            ValueError: as `acdc_explorer.edit`; or if there is no circuit yet.
        """
        with self.lock:
            if self.circuit is None:
                raise ValueError("there is no circuit yet")
            self.edits.change(self.circuit, remove, restore)
            if self._notes_changes:
                self._noted = self.edits.active(self.circuit)
                self.did(line_of(remove, restore))
        self._make_changes(self.edits.current)

    @property
    def comparison(self) -> Comparison | None:
        """Of the circuit that is shown with another one, if one was chosen that fits."""
        return self.compared.comparison(self.circuit)

    def compare(self, other: Comparable | None, *, follows: bool = False) -> None:
        """Compares the circuit with another one from now on.

        Args:
            other: as for `acdc_explorer.compare`; None: with none.
            follows: whether with the circuit that was shown before, whichever that is.
        """
        with self.lock:
            self.compared.choose(other, follows=follows)
            self._tell("comparison")

    def toggle(self, selection: Selection) -> None:
        """Switches an edge or a node off if it is in the circuit, else on.

        Args:
            selection: the edge or node.

        Raises:
            ValueError: if there is nothing to switch.
        """
        circuit = self.circuit
        if circuit is None:
            raise ValueError("there is no circuit yet")
        if self.is_in_circuit(selection.find(circuit.graph)):
            self.edit(remove=[selection.id])
        else:
            self.edit(restore=[selection.id])

    def is_in_circuit(self, found: Edge | Node) -> bool:
        """Whether the circuit has an edge, or an edge in or out of a node, after all changes."""
        if self.circuit is None:
            return False
        circuit = self.edits.latest(self.circuit) if self.edits.current else self.circuit
        if isinstance(found, Edge):
            return not circuit.removed_mask[circuit.graph.cell(found)]
        return any(found in (each.sender, each.receiver.node) for each in circuit.kept_effects)

    def undo(self) -> None:
        """Takes back the last change by hand."""
        self._go(self.edits.undo)

    def redo(self) -> None:
        """Makes the change again that was taken back last."""
        self._go(self.edits.redo)

    def reset(self) -> None:
        """Takes back all changes by hand."""
        self._go(self.edits.reset)

    def forget_edits(self) -> None:
        """Begins anew without changes by hand, for a search of something else."""
        self.edits.begin_with(())

    def go_on_from(self, session: Session) -> None:
        """Takes over what was saved; the explorer has the circuit searched.

        Args:
            session: that was saved.
        """
        self.edits.begin_with(session.circuit.by_hand)
        self.kept.clear()
        self.kept.update(session.kept)
        self.script = Script(session.script)
        self._noted = session.circuit.by_hand

    def _go(self, step: Callable[[], None]) -> None:
        with self.lock:
            before = self.edits.current
            step()
            changes = self.edits.current
            if changes == before:
                return
            if self._notes_changes and self.circuit is not None:
                self._note_changes()
        self._make_changes(changes)

    def did(self, line: str) -> None:
        """Notes what was done by hand, as a line of Python.

        Args:
            line: with the names `ax`, `model`, `task` and `circuit`.
        """
        self.script.did(line)
        with self.lock:
            self._tell("script")

    def _tell(self, change: Change) -> None:
        for told in self._watchers:
            told(change)
