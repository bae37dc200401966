"""What is selected, and what the side panel says about it."""

from __future__ import annotations

import threading
from typing import Any

import ipywidgets as W
import traitlets as T

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.engine.engine import Engine
from acdc_explorer.explorer import panel_html as panel
from acdc_explorer.explorer.clickable import ClickableHTML
from acdc_explorer.explorer.controls import Chooser, Finder
from acdc_explorer.explorer.figure import CircuitFigure
from acdc_explorer.graph import Edge
from acdc_explorer.inspection import edge_inspection, node_inspection, shares_at
from acdc_explorer.models import Model
from acdc_explorer.runner.runner import Runner
from acdc_explorer.tasks import Task


class Selecting(W.VBox):
    """The part of the explorer that deals with one selected edge or node.

    Attributes:
        selected_edge: id of the edge in the panel, or None.
        selected_node: id of the node in the panel, or None.
        shown_position: a position label: the graph of a circuit without positions draws each edge
            by what it adds there alone; None: at all positions.
        circuit: the circuit so far.
    """

    selected_edge: Any = T.Unicode(None, allow_none=True)
    selected_node: Any = T.Unicode(None, allow_none=True)
    shown_position: Any = T.Unicode(None, allow_none=True)
    circuit: Any = T.Instance(Circuit, allow_none=True)

    _ui: threading.RLock
    _runner: Runner
    _figure: CircuitFigure

    def _make_side(self) -> list[W.Widget]:
        """Makes the widgets that find and describe an edge, and what they hold."""
        self._finder, self._chooser = Finder(), Chooser()
        self._panel = ClickableHTML(panel.empty_html(), "position", self._position_clicked)
        self._asked: str | None = None
        # Edge id -> what it adds at the shown position, once that has been measured.
        self._shares: dict[str, float] | None = None
        # What was found scrolls; the search for it stays above. Children of a full column would
        # shrink rather than have it scroll.
        for part in (self._panel, self._chooser.box):
            part.layout.flex = "0 0 auto"
        found = W.VBox(
            [self._panel, self._chooser.box], layout=W.Layout(overflow="auto", max_height="720px")
        )
        return [self._finder.box, found]

    def _connect_side(self) -> None:
        finder = self._finder
        finder.search.observe(lambda change: self._find(change.new), "value")
        finder.previous.on_click(lambda _: self._step(-1))
        finder.next.on_click(lambda _: self._step(1))
        for index, button in enumerate(self._chooser.buttons):
            button.on_click(lambda _, index=index: self._choose(index))
        self.observe(self._selection_set, ["selected_edge", "selected_node"])
        self.observe(lambda _: self._position_set(), "shown_position")

    def _redraw(self) -> None:
        raise NotImplementedError

    @property
    def _selected(self) -> str | None:
        return self.selected_edge or self.selected_node

    @property
    def _unit(self) -> str:
        return self.circuit.metric_unit if self.circuit else ""

    def _edges_clicked(self, edge_ids: list[str]) -> None:
        with self._ui:
            self.selected_edge = edge_ids[0]
            if len(edge_ids) > 1:
                self._chooser.show("Other edges near this point", self._choices(edge_ids[1:]))

    def _node_clicked(self, node_id: str) -> None:
        self.selected_node = node_id

    def _choose(self, index: int) -> None:
        self.selected_edge = self._chooser.edge_ids[index]

    def _find(self, text: str) -> None:
        text = text.strip()
        if not text:
            return
        if "->" in text:
            self.selected_edge = text
        else:
            self.selected_node = text

    def _step(self, by: int) -> None:
        ordered = self._by_effect()
        if not ordered:
            return
        if self.selected_edge in ordered:
            place = (ordered.index(self.selected_edge) + by) % len(ordered)
        else:
            place = 0 if by > 0 else -1
        self.selected_edge = ordered[place]

    def _by_effect(self) -> list[str]:
        """Ids of the kept edges, the largest |effect| first."""
        if self.circuit is None:
            return []
        kept = [step for step in self.circuit.decisions if step.kept]
        return [step.edge.id for step in sorted(kept, key=lambda step: -abs(step.effect))]

    def _choices(self, edge_ids: list[str]) -> list[tuple[str, str]]:
        """Edges as (id, text) for the chooser."""
        effects = {step.edge.id: step for step in self.circuit.decisions} if self.circuit else {}
        return [
            (edge_id, f"{effects[edge_id].effect:+.3f}  {effects[edge_id].edge.label}")
            for edge_id in edge_ids
            if edge_id in effects
        ]

    def _drop_foreign_selection(self, circuit: Circuit) -> None:
        """Another model may lack the selected edge or node."""
        try:
            if self.selected_edge:
                circuit.graph.parse_edge(self.selected_edge)
            if self.selected_node:
                circuit.graph.parse_node(self.selected_node)
        except ValueError:
            self.selected_edge = self.selected_node = None

    def _selection_set(self, change: Any) -> None:
        if change.new is None:
            if self._selected is None:
                self._show_nothing_selected()
            return
        # One thing is selected at a time.
        if change.name == "selected_edge":
            self.selected_node = None
        else:
            self.selected_edge = None
        with self._ui:
            self._chooser.show("", [])
            circuit = self.circuit
            if circuit is None:
                self._panel.value = panel.message_html("The model is not loaded yet.")
                return
            try:
                if change.name == "selected_edge":
                    edge = circuit.graph.parse_edge(change.new)
                    self._panel.value = panel.pending_html(edge, circuit)
                else:
                    circuit.graph.parse_node(change.new)
            except ValueError as error:
                self._panel.value = panel.message_html(str(error))
                self._figure.select(circuit.graph, None)
                return
            self._figure.select(circuit.graph, change.new)
        self._ask(change.new)

    def _show_nothing_selected(self) -> None:
        with self._ui:
            self._asked = None
            self._panel.value = panel.empty_html()
            self._chooser.show("", [])
            if self.circuit is not None:
                self._figure.select(self.circuit.graph, None)

    def _ask(self, selected: str) -> None:
        """Has the selected edge or node measured; the answer fills the panel."""
        self._asked = selected

        def question(model: Model, engine: Engine, circuit: Circuit) -> Any:
            if self._asked != selected:
                return None
            if "->" in selected:
                found: Any = edge_inspection(engine, circuit, circuit.graph.parse_edge(selected))
            else:
                found = node_inspection(engine, circuit, circuit.graph.parse_node(selected))
            return found, circuit, engine.task

        def answer(result: Any, error: Exception | None) -> None:
            with self._ui:
                if self._asked != selected:
                    return
                if error is not None:
                    self._panel.value = panel.message_html(str(error) or type(error).__name__)
                elif result is not None:
                    self._show_inspection(*result)

        self._runner.ask(question, answer)

    def _show_inspection(self, found: Any, circuit: Circuit, task: Task) -> None:
        if "->" in (self._asked or ""):
            self._panel.value = panel.edge_html(
                found, circuit, task, self._unit, self.shown_position
            )
            return
        self._panel.value = panel.node_html(found)
        flows = [*found.incoming.edge, *found.outgoing.edge]
        self._chooser.show("Edges of this node", self._choices(flows))

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
        """Has every edge's share at the shown position measured, and draws the graph by it."""
        label = self.shown_position
        with self._ui:
            circuit = self.circuit
            if circuit is None or circuit.graph.labels or label is None:
                self._shares = None
                self._redraw()
                return

        def question(model: Model, engine: Engine, circuit: Circuit) -> Any:
            return shares_at(engine, circuit, label) if self.shown_position == label else None

        def answer(result: Any, error: Exception | None) -> None:
            with self._ui:
                if self.shown_position != label:
                    return
                if error is not None:
                    self._panel.value = panel.message_html(str(error) or type(error).__name__)
                self._shares = result
                self._redraw()
                if self.selected_edge:
                    self._ask(self.selected_edge)

        self._runner.ask(question, answer)
