"""What all parts of the page read, and how they ask and act: none of them knows another."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Literal

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.explorer.selection import Ask, Selection
from acdc_explorer.runner.state import Snapshot
from acdc_explorer.tasks.task import Task

Change = Literal["circuit", "selection"]
CHANGES: tuple[Change, ...] = ("circuit", "selection")


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
        script: lines of Python that do what was done by hand, in order.
    """

    def __init__(
        self,
        lock: threading.RLock,
        ask: Ask,
        run_errand: Ask,
        select: Callable[[Selection | None], None],
    ):
        """Begins with nothing; `State` says what the arguments are."""
        self.lock, self.ask, self.run_errand, self.select = lock, ask, run_errand, select
        self.snapshot = Snapshot("idle")
        self.selection: Selection | None = None
        self.kept: dict[str, Any] = {}
        self.script: list[str] = []
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
        """Has somebody told whenever the circuit or the selection has changed, under the lock."""
        self._watchers.append(told)

    def forget_watchers(self) -> None:
        """Tells nobody any more; for a page that is gone."""
        self._watchers.clear()

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
        if selection != self.selection:
            changes.append("selection")
        self.snapshot, self.selection = snapshot, selection
        for change in changes:
            self._tell(change)

    def did(self, line: str) -> None:
        """Notes what was done by hand, as a line of Python.

        Args:
            line: with the names `ax`, `model`, `task` and `circuit`.
        """
        if self.script[-1:] != [line]:
            self.script.append(line)

    def _tell(self, change: Change) -> None:
        for told in self._watchers:
            told(change)
