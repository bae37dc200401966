"""What the tabs below the graph have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import ipywidgets as widgets

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.engine.engine import Engine
from acdc_explorer.explorer.state import CHANGES, Change, State
from acdc_explorer.models.model import Model


class Part:
    """A tab: it reads the state and shows something of it while it is open.

    Attributes:
        title: of the tab.
        state: that all parts share.
        box: all its widgets.
        is_open: whether its tab is the one that is seen.
    """

    title: ClassVar[str]

    def __init__(self, state: State):
        """Makes an empty box.

        Args:
            state: that all parts share.
        """
        self.state, self.is_open = state, False
        self.box = widgets.VBox(layout=widgets.Layout(width="100%"))
        self.box.add_class("acdc-part")
        # What has changed since it was last shown.
        self._missed: set[Change] = set(CHANGES)
        # What was asked last, by what it is about.
        self._latest: dict[str, object] = {}
        state.watch(self._changed)

    def open(self, is_open: bool) -> None:
        """Says whether it is seen."""
        with self.state.lock:
            self.is_open = is_open
            for change in CHANGES:
                if is_open and change in self._missed:
                    self._changed(change)

    def circuit_changed(self) -> None:
        """Shows another circuit, or how far it has come; under the lock, while it is open."""
        raise NotImplementedError

    def path_changed(self) -> None:
        """Shows that circuits of more thresholds are known; under the lock, while it is open."""

    def selection_changed(self) -> None:
        """Shows another selection; under the lock, while it is open."""

    def comparison_changed(self) -> None:
        """Shows that the circuit is compared with another one; under the lock, while open."""

    def script_changed(self) -> None:
        """Shows that something was done by hand; under the lock, while it is open."""

    def drawing_changed(self) -> None:
        """Takes in by which effects the graph is drawn; under the lock, while it is open."""

    def saved_html(self) -> str:
        """What a page without a kernel shows of it; may be empty."""
        return ""

    def say_error(self, error: Exception) -> None:
        """Shows what went wrong, in words."""
        raise NotImplementedError

    def _changed(self, change: Change) -> None:
        if not self.is_open:
            self._missed.add(change)
            return
        self._missed.discard(change)
        told = {
            "circuit": self.circuit_changed,
            "path": self.path_changed,
            "selection": self.selection_changed,
            "comparison": self.comparison_changed,
            "script": self.script_changed,
            "drawing": self.drawing_changed,
        }
        # One that fails must end neither the others nor the search, which tells them.
        try:
            told[change]()
        except Exception as error:
            self.say_error(error)

    def measure(
        self,
        question: Callable[[Model, Engine, Circuit], Any],
        show: Callable[[Any], None],
        *,
        takes_long: bool = False,
        about: str = "",
    ) -> None:
        """Has something computed; the answer is shown unless another one was asked for meanwhile.

        Args:
            question: called in the worker, with model, engine and the circuit that is shown.
            show: called with the answer, under the lock.
            takes_long: whether to wait for the end of the search, and not to hold up clicks; a new
                search has it given up.
            about: what it is about: only questions about the same take each other's place.
        """
        self._latest[about] = latest = object()

        def wanted(model: Model, engine: Engine, circuit: Circuit) -> Any:
            return question(model, engine, circuit) if self._latest.get(about) is latest else None

        def answer(result: Any, error: Exception | None) -> None:
            with self.state.lock:
                if self._latest.get(about) is not latest:
                    return
                del self._latest[about]
                if error is not None:
                    self.say_error(error)
                else:
                    show(result)

        (self.state.run_errand if takes_long else self.state.ask)(wanted, answer)

    @property
    def is_measuring(self) -> bool:
        """Whether an answer is still to come."""
        return bool(self._latest)
