"""Buttons that switch the selected edge or node off and on, and what all such changes do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.engine.engine import Engine
from acdc_explorer.explorer.hand.what_if_html import Tokens, changes_html, waiting_html
from acdc_explorer.explorer.state import Change, State
from acdc_explorer.explorer.widgets.buttons import icon_button
from acdc_explorer.explorer.words import error_html
from acdc_explorer.graph import Edge, Node
from acdc_explorer.measures.by_prompt import top_tokens
from acdc_explorer.models.model import Model

# Of the prompt whose next token is told.
_PROMPT = 0
_REMOVE, _RESTORE = ("Remove", "scissors"), ("Restore", "plus")


class WhatIf:
    """Acts on the selection; always on view, unlike a tab.

    Attributes:
        box: all the widgets.
        toggle: switches what is selected off or on.
        undo: takes back the last change; `redo` makes it again.
        redo: likewise.
        reset: takes back all changes.
        html: what the changes do.
        keys: what can be done by keyboard, by key.
    """

    def __init__(self, state: State):
        """Makes the widgets.

        Args:
            state: that all parts share.
        """
        self._state = state
        self.toggle = icon_button(
            *_REMOVE, "Switch the selected edge or node off or on (double-click an edge; key x)",
            width="100px",
        )  # fmt: skip
        self.undo = icon_button("", "undo", "Take back the last change by hand (key u)", "", "36px")
        self.redo = icon_button("", "repeat", "Make it again (key r)", "", "36px")
        self.reset = icon_button("Reset", "eraser", "Take back all changes by hand", "", "80px")
        self.html = widgets.HTML()
        for button, act in (
            (self.toggle, self.toggle_selected),
            (self.undo, state.undo),
            (self.redo, state.redo),
            (self.reset, state.reset),
        ):
            button.on_click(lambda _, act=act: self.act(act))
        self.keys: dict[str, Callable[[], None]] = {
            "x": lambda: self.act(self.toggle_selected),
            "u": lambda: self.act(state.undo),
            "r": lambda: self.act(state.redo),
        }
        row = widgets.HBox([self.toggle, self.undo, self.redo, self.reset])
        self.box = widgets.VBox([row, self.html])
        self.box.add_class("acdc-what-if")
        state.watch(self._show)
        self._show()

    def act(self, act: Callable[[], None]) -> None:
        """Does something, and says so if it cannot be done.

        Args:
            act: may raise a ValueError.
        """
        try:
            act()
        except ValueError as error:
            with self._state.lock:
                self.html.value = error_html(error)
            return
        with self._state.lock:
            self._show()

    def toggle_selected(self) -> None:
        """Switches what is selected off if it is in the circuit, else on."""
        if self._state.selection is None:
            raise ValueError("select an edge or a node first: it can then be removed and restored")
        self._state.toggle(self._state.selection)

    def _show(self, change: Change = "circuit") -> None:
        state, circuit = self._state, self._state.circuit
        found: Edge | Node | None = None
        if circuit is not None and state.selection is not None:
            try:
                found = state.selection.find(circuit.graph)
            except ValueError:
                # Of another model's circuit, which has just gone.
                found = None
        is_there = circuit is not None and found is not None and state.is_in_circuit(found)
        name, icon = _REMOVE if is_there or found is None else _RESTORE
        self.toggle.description, self.toggle.icon = name, icon
        self.toggle.disabled = found is None
        self.undo.disabled, self.redo.disabled = not state.edits.can_undo, not state.edits.can_redo
        self.reset.disabled = not state.edits.current
        if change == "circuit":
            if state.edits.current and state.snapshot.status in ("loading", "running", "paused"):
                self.html.value = waiting_html(len(state.edits.current))
                return
            self.html.value = changes_html(circuit) if circuit is not None else ""
            if circuit is not None and circuit.by_hand:
                self._ask_for_tokens(circuit)

    def _ask_for_tokens(self, changed: Circuit) -> None:
        """Has it measured what the circuit says next, and adds that."""

        def question(model: Model, engine: Engine, circuit: Circuit) -> Any:
            if circuit is not changed:
                return None
            both = (
                top_tokens(model, engine.task, each, _PROMPT)
                for each in (circuit.searched(), circuit)
            )
            return tuple(tokens[tokens.run == "circuit"] for tokens in both)

        def answer(tokens: Tokens | None, error: Exception | None) -> None:
            with self._state.lock:
                if tokens is not None and self._state.circuit is changed:
                    self.html.value = changes_html(changed, tokens)
                elif error is not None:
                    self.html.value += error_html(error)

        self._state.ask(question, answer)
