"""A widget in which edges and nodes of a circuit are selected, and switched off and on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import traitlets

from acdc_explorer.circuits.by_hand import HandChange
from acdc_explorer.explorer.drawing.graph_view import GraphView
from acdc_explorer.explorer.hand.what_if import WhatIf
from acdc_explorer.explorer.panel.side_panel import SidePanel
from acdc_explorer.explorer.search_widget import SearchWidget
from acdc_explorer.explorer.selection import Selection
from acdc_explorer.runner.state import Snapshot

# Between the clicks of a double click, in seconds.
_DOUBLE_CLICK = 0.6


class CircuitWidget(SearchWidget):
    """Lets one act on the circuit that a search has found.

    Attributes:
        selected_edge: id of the edge in the panel, or None; set by any of its names.
        selected_node: id of the node in the panel, or None; likewise.
    """

    selected_edge = traitlets.Unicode(None, allow_none=True)
    selected_node = traitlets.Unicode(None, allow_none=True)

    _graph_view: GraphView
    _side_panel: SidePanel
    _what_if: WhatIf
    shown_position: str | None
    # What was clicked last in the graph, and when.
    _last_click: tuple[str, float] = ("", 0.0)

    def edit(self, *, remove: Sequence[str] = (), restore: Sequence[str] = ()) -> None:
        """Switches edges of the circuit off and on by hand; `circuit` then has these changes.

        They stay while the threshold moves, and go with another model, task or option.

        Args:
            remove: edges and nodes, as for `acdc_explorer.edit`.
            restore: likewise.

        Raises:
            ValueError: as `acdc_explorer.edit`; or if there is no circuit yet.
        """
        self._state.edit(remove=remove, restore=restore)

    def undo(self) -> None:
        """Takes back the last change by hand."""
        self._state.undo()

    def redo(self) -> None:
        """Makes the change again that was taken back last."""
        self._state.redo()

    def reset(self) -> None:
        """Takes back all changes by hand; `undo` brings them back."""
        self._state.reset()

    def _make_changes(self, changes: Sequence[HandChange]) -> None:
        self._unfold()
        self._runner.edit(changes)

    def _connect_traits(self) -> None:
        super()._connect_traits()
        self.observe(self._selection_set, ["selected_edge", "selected_node"])

    def _tell_state(self, snapshot: Snapshot) -> None:
        self._state.show(snapshot, Selection.of(self.selected_edge, self.selected_node))

    @traitlets.validate("selected_edge", "selected_node")
    def _id_selected(self, proposal: Any) -> Any:
        name = proposal["value"]
        return None if name is None else self._side_panel.id_of(name)

    def _select(self, selection: Selection | None) -> None:
        """Selects what was chosen on the page, or nothing."""
        if selection is None:
            self.selected_edge = self.selected_node = None
        elif selection.kind == "edge":
            self.selected_edge = selection.id
        else:
            self.selected_node = selection.id

    def _edges_clicked(self, edge_ids: list[str]) -> None:
        edge_id, (last, then) = edge_ids[0], self._last_click
        if edge_id == last and time.monotonic() - then < _DOUBLE_CLICK:
            self._last_click = "", 0.0
            self._select(Selection("edge", edge_id))
            self._what_if.act(self._what_if.toggle_selected)
            return
        with self._ui:
            self.selected_edge = edge_id
            if len(edge_ids) > 1:
                self._side_panel.offer("Also near the point clicked, not shown above", edge_ids[1:])
        # When it has been dealt with: a second click waits until then.
        self._last_click = edge_id, time.monotonic()

    def _selection_set(self, change: Any) -> None:
        if change.new is None:
            if self.selected_edge is None and self.selected_node is None:
                self._show_selection(None)
            return
        # One thing is selected at a time.
        if change.name == "selected_edge":
            self.selected_node = None
            self._show_selection(Selection("edge", change.new))
        else:
            self.selected_edge = None
            self._show_selection(Selection("node", change.new))

    def _show_selection(self, selection: Selection | None) -> None:
        there = self._side_panel.show(selection, self.shown_position)
        with self._ui:
            self._tell_state(self._state.snapshot)
            if self.circuit is not None:
                self._graph_view.select(selection if there else None)
