"""The tab with a table of the edges, linked both ways with what is selected."""

from __future__ import annotations

import time

import ipywidgets as widgets

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.tables import KEPT, REMOVED, UNTESTED
from acdc_explorer.explorer.part import Part
from acdc_explorer.explorer.selection import Selection
from acdc_explorer.explorer.state import State
from acdc_explorer.explorer.table.edge_rows import ALL, edge_columns, edge_rows
from acdc_explorer.explorer.table.table_html import NO_CIRCUIT, summary_html
from acdc_explorer.explorer.widgets.data_table import Action, DataTable
from acdc_explorer.explorer.words import error_html

# While a search runs, rows are sent no more often.
_INTERVAL = 2.0
_ACTIONS = (
    Action(
        "remove",
        "Remove",
        "Switches the checked edges off, or the selected one: the graph and all numbers are then "
        "of the circuit without them",
        "state",
        (KEPT, UNTESTED),
    ),
    Action(
        "restore",
        "Restore",
        "Switches the checked edges on again, or the selected one",
        "state",
        (REMOVED,),
    ),
)


class EdgeTable(Part):
    """Every edge of the model in a row, by state.

    Attributes:
        states: which edges are shown: kept, removed, untested, or all.
        table: their rows.
        summary: how many there are, in words.
    """

    title = "Edges"

    def __init__(self, state: State):
        """Makes an empty table.

        Args:
            state: that all parts share.
        """
        super().__init__(state)
        self.states = widgets.ToggleButtons(
            options=[KEPT, REMOVED, UNTESTED, ALL],
            value=KEPT,
            tooltips=[
                "The edges of the circuit",
                "The edges that are not in it",
                "The edges that the search has not come to",
                "All of them",
            ],
            style={"button_width": "auto"},
        )
        self.states.observe(lambda _: self._state_chosen(), "value")
        self.summary = widgets.HTML(NO_CIRCUIT)
        self.summary.add_class("acdc-above-table")
        self.table = DataTable(
            "edges",
            lambda edge: self.state.select(Selection("edge", edge)),
            missing="the selected edge is not among these",
            actions=_ACTIONS,
            on_action=self._act,
            on_text=self._text_typed,
        )
        self.box.children = (self.summary, self.states, self.table)
        # What is shown, and when it was.
        self._shown: tuple[Circuit, tuple[str, str]] | None = None
        self._shown_at = 0.0
        self._text = ""
        self._empty()

    def circuit_changed(self) -> None:
        """Shows the edges of the circuit so far."""
        if self.state.circuit is None:
            self._empty()
            return
        is_early = time.monotonic() - self._shown_at < _INTERVAL
        if self._shown and is_early and self.state.snapshot.status == "running":
            return
        self._show()

    def selection_changed(self) -> None:
        """Marks the row of the selected edge, and scrolls to it."""
        selection = self.state.selection
        is_edge = selection is not None and selection.kind == "edge"
        self.table.current = selection.id if selection is not None and is_edge else None

    def _empty(self) -> None:
        self._shown = None
        self.summary.value = NO_CIRCUIT
        self.states.layout.display = self.table.layout.display = "none"

    def _state_chosen(self) -> None:
        with self.state.lock:
            self._show()

    def _text_typed(self, text: str) -> None:
        """Where there are too many rows for the page, those that match come from here."""
        with self.state.lock:
            self._text = text
            self._show()

    def _show(self) -> None:
        circuit = self.state.circuit
        if circuit is None:
            return
        of, how = self._shown or (None, None)
        asked = self.states.value, self._text
        if of is circuit and how == asked:
            return
        self._shown, self._shown_at = (circuit, asked), time.monotonic()
        rows = edge_rows(circuit, self.states.value, self._text)
        self.summary.value = summary_html(circuit, rows, self.states.value)
        self.states.layout.display = self.table.layout.display = ""
        self.table.show(
            rows.edges.edge.tolist(),
            edge_columns(circuit, rows.edges),
            key_name="edge",
            search=rows.search,
            nouns=("edge", "edges"),
            hint="filter, as a2.h1, 2.1 or MLP 0",
            empty=_NONE[self.states.value],
            incomplete=rows.n_of_state > len(rows.edges),
        )

    def _act(self, name: str, edges: list[str]) -> None:
        try:
            self.state.edit(**{name: edges})
        except ValueError as error:
            # Somebody may have switched one of them meanwhile.
            with self.state.lock:
                self.say_error(error)

    def say_error(self, error: Exception) -> None:
        """Says above the table why something could not be done."""
        self.summary.value = error_html(error)


_NONE = {
    KEPT: "The circuit has no edges: none changes the metric by the threshold or more.",
    REMOVED: "No edge has been removed.",
    UNTESTED: "The search has been through all edges.",
    ALL: "The model has no edges.",
}
