"""The side panel: finds one edge or node, has it measured, and shows what was found."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import ipywidgets as widgets

from acdc_explorer import names
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.engine.engine import Engine
from acdc_explorer.explorer.panel import panel_html
from acdc_explorer.explorer.panel.finder import Chooser, Finder
from acdc_explorer.explorer.selection import Ask, Selection
from acdc_explorer.explorer.widgets.clickable import ClickableHTML, EscapeKey
from acdc_explorer.explorer.words import signed, smallest_effect
from acdc_explorer.graph import Edge
from acdc_explorer.inspection import (
    EdgeEffect,
    EdgeInspection,
    NodeInspection,
    edge_effect,
    node_inspection,
    with_the_rest,
)
from acdc_explorer.models.model import Model
from acdc_explorer.tasks.task import Task


class SidePanel:
    """Shows one selection at a time.

    Attributes:
        box: all the widgets.
        finder: where one types an id or goes on to the next edge.
        panel: what is said of the selection.
        chooser: other edges to go to.
        selection: what is shown, or None.
    """

    def __init__(
        self,
        ask: Ask,
        lock: threading.RLock,
        select: Callable[[Selection | None], None],
        position_clicked: Callable[[str], None],
    ):
        """Makes the widgets, with nothing selected.

        Args:
            ask: has something measured by the worker.
            lock: held around every write to the page.
            select: called with what the user chooses here, or None.
            position_clicked: called with the label of a bar that was clicked.
        """
        self._ask, self._lock, self._select = ask, lock, select
        self.finder, self.chooser = Finder(), Chooser()
        self.panel = ClickableHTML("", "position", position_clicked, announced=True)
        self._write(partial(panel_html.empty_html, None))
        self.selection: Selection | None = None
        self._circuit: Circuit | None = None
        self._task: Task | None = None
        self._shown_position: str | None = None
        # The question asked last: answers to others come too late.
        self._latest: object = None
        # What was found scrolls; the search for it stays above. Children of a full column would
        # shrink rather than have it scroll.
        for part in (self.panel, self.chooser.box):
            part.layout.flex = "0 0 auto"
        found = widgets.VBox([self.panel, self.chooser.box])
        found.add_class("acdc-found")
        self.box = widgets.VBox([self.finder.box, found, EscapeKey(lambda: select(None))])
        self.box.add_class("acdc-panel")
        self.finder.search.observe(lambda change: self._find(change.new), "value")
        self.finder.previous.on_click(lambda _: self._step(-1))
        self.finder.next.on_click(lambda _: self._step(1))
        for index, button in enumerate(self.chooser.buttons):
            button.on_click(lambda _, index=index: self._choose(index))

    def circuit_changed(self, circuit: Circuit | None, task: Task | None) -> None:
        """Takes in the circuit so far, and its task; None: there is none any more."""
        if task is not self._task and self.selection is None:
            self._write(partial(panel_html.empty_html, task))
        self._circuit, self._task = circuit, task

    def is_foreign_to(self, circuit: Circuit) -> bool:
        """Whether a circuit lacks the selected edge or node, as another model's may."""
        try:
            if self.selection is not None:
                self.selection.find(circuit.graph)
        except ValueError:
            return True
        return False

    def id_of(self, name: str) -> str:
        """The id of the edge or node of this name, as far as it can be made out."""
        if self._circuit is None:
            is_edge = names.is_edge(name)
            return "->".join(names.ends_of(name, ())) if is_edge else names.node_id(name)
        try:
            return self._circuit.graph.parse(name).id
        except ValueError:
            return name

    def offer_kept_edges(self) -> None:
        """Lets the finder complete the ids of kept edges."""
        self.finder.search.options = tuple(self._by_effect())[:500]

    def show(self, selection: Selection | None, shown_position: str | None) -> bool:
        """Shows a selection and has it measured.

        Args:
            selection: or None.
            shown_position: the position label by which the graph is drawn, or None.

        Returns:
            Whether the circuit has it; if not, the panel says so.
        """
        with self._lock:
            self.selection = selection
            self.finder.show("" if selection is None else selection.id)
            self.chooser.show("", [])
            if selection is None:
                self._write(partial(panel_html.empty_html, self._task))
                return False
            if self._circuit is None:
                self._say("The model is not loaded yet.")
                return False
            try:
                found = selection.find(self._circuit.graph)
            except ValueError as error:
                self._say(str(error))
                return False
            if isinstance(found, Edge):
                pending = panel_html.pending_html(found, self._circuit)
                self._write(lambda live: pending)
        self.measure(shown_position)
        return True

    def say_error(self, error: Exception) -> None:
        """Shows what went wrong, in words."""
        self._say(str(error) or type(error).__name__)

    def html(self, *, live: bool) -> str:
        """What the panel shows; where it is not live, without anything to click."""
        return self._html(live=live)

    def _write(self, html: Callable[..., str]) -> None:
        """Fills the panel with what is written for `live`, True or False."""
        self._html = html
        # The edge of which all has been measured, and its state, if that is what is shown.
        self._shown_whole: tuple[Edge, str] | None = None
        self.panel.value = html(live=True)

    def _say(self, message: str) -> None:
        text = panel_html.message_html(message)
        self._write(lambda live: text)

    def offer(self, title: str, edge_ids: list[str]) -> None:
        """Offers edges to choose from, with their effects."""
        kept = self._circuit.kept_effects if self._circuit else {}
        by_id = {edge.id: (edge, effect) for edge, effect in kept.items()}
        smallest = smallest_effect(self._circuit) if self._circuit else 0.0
        choices = [
            (edge_id, f"{signed(by_id[edge_id][1], smallest)}  {by_id[edge_id][0].label}")
            for edge_id in edge_ids
            if edge_id in by_id
        ]
        self.chooser.show(title, choices)

    def measure(self, shown_position: str | None) -> None:
        """Has the selection measured in the circuit as it stands; the answers fill the panel.

        Args:
            shown_position: the position label by which the graph is drawn, or None.
        """
        selection, self._shown_position = self.selection, shown_position
        if selection is None:
            return

        def question(model: Model, engine: Engine, circuit: Circuit) -> Any:
            found = selection.find(circuit.graph)
            if isinstance(found, Edge):
                return edge_effect(engine, circuit, found), circuit, engine
            return node_inspection(engine, circuit, found), circuit, engine

        def show(found: EdgeEffect | NodeInspection, circuit: Circuit, engine: Engine) -> None:
            if isinstance(found, NodeInspection):
                self._show_node(found)
                return
            # Of an edge that is shown whole the old numbers stay until all the new ones are there,
            # unless it has been switched off or on.
            if (found.edge, found.state) != self._shown_whole:
                self._show_edge(found, circuit, engine.task)
            self._measure_the_rest(found, circuit, engine)

        self._ask_of(selection, question, show)

    def _measure_the_rest(self, found: EdgeEffect, circuit: Circuit, engine: Engine) -> None:
        """Has the rest measured, in the very circuit in which the effect was."""

        def question(model: Model, engine_now: Engine, circuit_now: Circuit) -> Any:
            if engine_now is not engine:
                return None
            return with_the_rest(engine, circuit, found), circuit, engine.task

        assert self.selection is not None
        self._ask_of(self.selection, question, self._show_edge)

    def _ask_of(
        self,
        selection: Selection,
        question: Callable[[Model, Engine, Circuit], Any],
        show: Callable[..., None],
    ) -> None:
        """Asks, and shows the answer unless something else has been asked for meanwhile."""
        self._latest = latest = object()

        def wanted(model: Model, engine: Engine, circuit: Circuit) -> Any:
            return question(model, engine, circuit) if self._latest is latest else None

        def answer(result: Any, error: Exception | None) -> None:
            with self._lock:
                if self._latest is not latest or self.selection != selection:
                    return
                if error is not None:
                    self.say_error(error)
                elif result is not None:
                    show(*result)

        self._ask(wanted, answer)

    def _show_edge(self, found: EdgeEffect, circuit: Circuit, task: Task) -> None:
        shown = self._shown_position
        self._write(partial(panel_html.edge_html, found, circuit, task, shown))
        if isinstance(found, EdgeInspection):
            self._shown_whole = found.edge, found.state

    def _show_node(self, found: NodeInspection) -> None:
        self.offer("Edges of this node", [*found.incoming.edge, *found.outgoing.edge])
        self._write(partial(panel_html.node_html, found))

    def _choose(self, index: int) -> None:
        self._select(Selection("edge", self.chooser.edge_ids[index]))

    def _find(self, name: str) -> None:
        """Selects what somebody types; nothing, if the box is emptied."""
        if name == self.finder.shown:
            return
        if not name.strip():
            self._select(None)
            return
        self._select(Selection("edge" if names.is_edge(name) else "node", self.id_of(name.strip())))
        # Of what was selected already, nothing else would tell.
        with self._lock:
            self.finder.show(self.selection.id if self.selection else "")

    def _step(self, by: int) -> None:
        """Goes to the edge with the next smaller or larger effect."""
        ordered = self._by_effect()
        if not ordered:
            return
        if self.selection is not None and self.selection.id in ordered:
            place = (ordered.index(self.selection.id) + by) % len(ordered)
        else:
            place = 0 if by > 0 else -1
        self._select(Selection("edge", ordered[place]))

    def _by_effect(self) -> list[str]:
        """Ids of the kept edges, the largest |effect| first."""
        if self._circuit is None:
            return []
        kept = self._circuit.kept_effects
        return [edge.id for edge in sorted(kept, key=lambda edge: -abs(kept[edge]))]
