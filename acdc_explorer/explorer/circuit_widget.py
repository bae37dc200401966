"""A widget in which edges and nodes of a circuit are selected, and switched off and on."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets
import traitlets

from acdc_explorer.circuits.by_hand import HandChange
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.comparison import Comparable, compare
from acdc_explorer.circuits.pinned import PinnedCircuit
from acdc_explorer.circuits.published import PublishedCircuit
from acdc_explorer.explorer.compare.lines import line_of_comparison
from acdc_explorer.explorer.drawing.graph_view import GraphView
from acdc_explorer.explorer.drawing.shown import Shown
from acdc_explorer.explorer.hand.what_if import WhatIf
from acdc_explorer.explorer.panel.side_panel import SidePanel
from acdc_explorer.explorer.search_widget import SearchWidget
from acdc_explorer.explorer.selection import Selection
from acdc_explorer.explorer.session import Session, View
from acdc_explorer.explorer.state import Change
from acdc_explorer.files import write_text
from acdc_explorer.graph import Edge
from acdc_explorer.runner.state import Snapshot

# Stands for the circuit that was shown before.
LAST = "last"
# Between the clicks of a double click, in seconds.
_DOUBLE_CLICK = 0.6


class CircuitWidget(SearchWidget):
    """Lets one act on the circuit that a search has found.

    Attributes:
        selected_edge: id of the edge in the panel, or None; set by any of its names.
        selected_node: id of the node in the panel, or None; likewise.
        columns: "heads" or "positions": what the graph's columns are. By position needs a circuit
            that was searched with `positions=True`.
        shown_position: a position label: the graph of a circuit without positions draws each edge
            by what it adds there alone; None: at all positions.
    """

    selected_edge = traitlets.Unicode(None, allow_none=True)
    selected_node = traitlets.Unicode(None, allow_none=True)
    columns = traitlets.Enum(("heads", "positions"), "heads")
    shown_position = traitlets.Unicode(None, allow_none=True)

    _graph_view: GraphView
    _side_panel: SidePanel
    _what_if: WhatIf
    _tabs: widgets.Tab
    # A session whose circuit is still to come, in which something is to be selected.
    _to_select: Session | None = None
    # What was clicked last in the graph, and when.
    _last_click: tuple[str, float] = ("", 0.0)

    def edit(self, *, remove: Sequence[str] = (), restore: Sequence[str] = ()) -> None:
        """Switches edges of the circuit off and on by hand; `circuit` then has these changes.

        They are made in the background (`wait` waits for it). They stay while the threshold moves,
        and go with another model, task or option.

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

    def compare(self, other: Comparable | None) -> None:
        """Lays another circuit over the one that is shown: edges of both, and of one alone.

        It stays while the threshold moves. The tab "Compare" tells the two in numbers.

        Args:
            other: a circuit, a pinned or a published one, the path of a circuit's file of any
                format (see `Circuit.from_file`), or the ids of edges; "last": the circuit that was
                shown before, whichever that is, so that what has changed is marked; None: no other
                circuit any more.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: as `acdc_explorer.compare`; or if there is no circuit yet.
        """
        if self.circuit is None:
            raise ValueError("there is no circuit yet")
        follows = isinstance(other, str) and other == LAST
        if follows or other is None:
            self._state.compare(None, follows=follows)
            return
        given = other
        if isinstance(other, (str, os.PathLike)):
            other = Circuit.from_file(other, self.circuit.graph)
        elif not isinstance(other, (Circuit, PinnedCircuit, PublishedCircuit)):
            other = [each if isinstance(each, str) else each.id for each in other]
        compare(self.circuit, other)
        self._state.compare(other)
        told = given if isinstance(given, (str, os.PathLike)) else other
        self._state.did(line_of_comparison(told, self.circuit))

    def _mark_changes(self, marks: bool) -> None:
        self._state.compare(None, follows=marks)

    def _redraw_after(self, change: Change) -> None:
        if change in ("comparison", "drawing"):
            self._redraw()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes all that the explorer shows as a file, from which `Explorer.load` goes on.

        That is the circuit with all its decisions and changes by hand, groups and pinned circuits,
        what is selected and how the graph is drawn, and the script.

        Args:
            path: of the file.

        Raises:
            ValueError: if there is no circuit yet, or nothing can be written there.
        """
        write_text(path, self._session().to_json())

    def _make_changes(self, changes: Sequence[HandChange]) -> None:
        self._unfold()
        self._runner.edit(changes)

    def _connect_traits(self) -> None:
        super()._connect_traits()
        self.observe(lambda _: self._redraw(), "columns")
        self.observe(self._selection_set, ["selected_edge", "selected_node"])
        self.observe(lambda _: self._position_set(), "shown_position")

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

    def _position_clicked(self, label: str) -> None:
        """A bar of the panel: on a circuit with positions, the edge there; else its share."""
        with self._ui:
            if self.circuit is None or self.selected_edge is None:
                return
            if self.circuit.graph.labels:
                edge = self.circuit.graph.parse_edge(self.selected_edge)
                self.selected_edge = Edge(edge.sender, edge.receiver.at(label)).id
            else:
                self.shown_position = None if label == self.shown_position else label

    def _position_set(self) -> None:
        """Draws the graph by what edges add at the shown position, or after changes by hand."""

        def measured(error: Exception | None) -> None:
            if error is not None:
                self._side_panel.say_error(error)
            self._redraw()

        self._graph_view.measure_effects(self.shown_position, self.circuit, measured)
        self._side_panel.measure(self.shown_position)

    def _session(self) -> Session:
        """All that is shown."""
        with self._ui:
            if self.circuit is None:
                raise ValueError("there is no circuit yet")
            shown = self._graph_view.shown
            view = View(
                self.selected_edge,
                self.selected_node,
                self.columns,
                self.shown_position,
                tuple(sorted(shown.hidden)),
                shown.merged,
                shown.folded,
                self._open_tab(),
            )
            lines = tuple(self._state.script.lines)
            return Session(self.circuit, view, self._state.kept, lines)

    def _open_tab(self) -> str | None:
        """The title of the tab that is seen."""
        number = self._tabs.selected_index
        return None if number is None else str(self._tabs.titles[number])

    def _show_view(self, shown: Shown, tab: str | None) -> None:
        """Draws what is to be seen of the circuit, and opens a tab."""
        self._graph_view.shown = shown
        if tab in self._tabs.titles:
            self._tabs.selected_index = self._tabs.titles.index(tab)

    def _take_over(self, session: Session) -> None:
        """Shows what was saved; what is selected, once the circuit is there."""
        with self._ui:
            view, graph = session.view, session.circuit.graph
            self._state.go_on_from(session)
            if session.circuit.imported:
                self._state.compare(session.circuit)
            self.selected_edge = self.selected_node = self.shown_position = None
            self._to_select = session
            self.columns = view.columns if graph.labels else "heads"
            hidden = frozenset(view.hidden)
            self._show_view(Shown(hidden, merged=view.merged, folded=view.folded), view.tab)

    def _open_imported(self, session: Session) -> None:
        """Shows another tool's circuit, once the search has ended.

        Args:
            session: with that circuit.
        """
        with self._ui:
            self.compare(session.circuit)
            self._to_select = session
            self._select_saved()

    def _change_into(self, other: Circuit) -> None:
        """Changes the circuit that is shown by hand, so that it has the edges of another one."""
        circuit = self.circuit
        assert circuit is not None
        graph, present = circuit.graph, circuit.graph.edge_mask & ~circuit.removed_mask
        remove = graph.ids_of(present & ~other.kept_mask)
        restore = graph.ids_of(other.kept_mask & ~present)
        if remove or restore:
            self._state.edit(remove=remove, restore=restore)

    def _select_saved(self) -> None:
        """Selects what was selected when a session was saved, if its circuit has come.

        Another tool's circuit did not come from a search: the one that did is changed into it.
        """
        session, circuit = self._to_select, self.circuit
        if session is None or circuit is None or circuit.graph != session.circuit.graph:
            return
        if session.circuit.imported:
            if circuit.complete:
                self._to_select = None
                self._change_into(session.circuit)
            return
        self._to_select, view = None, session.view
        self._select(Selection.of(view.selected_edge, view.selected_node))
        self.shown_position = view.shown_position

    def _redraw(self) -> None:
        """Draws what is on the page anew."""
        raise NotImplementedError
