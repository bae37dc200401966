"""The graph on the page: which layout, drawn by which numbers."""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import Any

import ipywidgets as widgets

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.comparison import Comparison
from acdc_explorer.circuits.groups import Group
from acdc_explorer.engine.engine import Engine
from acdc_explorer.explorer.drawing.closed_groups import NO_GROUPS, ClosedGroups, grouped
from acdc_explorer.explorer.drawing.figure import CircuitFigure
from acdc_explorer.explorer.drawing.key import CHANGES, Key
from acdc_explorer.explorer.drawing.layout import Layout
from acdc_explorer.explorer.drawing.layout_of import layout_of
from acdc_explorer.explorer.drawing.overlay import with_other
from acdc_explorer.explorer.drawing.picture import graph_svg
from acdc_explorer.explorer.drawing.shown import (
    PREVIEW,
    DrawnEdge,
    Shown,
    kept_edges,
    lit_edges,
    to_draw,
)
from acdc_explorer.explorer.selection import Ask, Selection
from acdc_explorer.explorer.state import DrawnBy
from acdc_explorer.explorer.widgets.arrow_keys import ArrowKeys
from acdc_explorer.explorer.words import counted
from acdc_explorer.graph import LOGITS, Edge, Node
from acdc_explorer.inspection import effects_in, shares_at
from acdc_explorer.models.model import Model
from acdc_explorer.runner.state import Snapshot

# Of effects in a circuit with changes by hand: between two lots the worker hears what is asked for.
_AT_ONCE = 12


class GraphView:
    """Draws snapshots of a search, with a key that tells what is drawn and chooses of it.

    Attributes:
        box: the key and the figure, to be put on the page.
        figure: the Plotly figure.
        key: what colours, dashes and widths mean.
        shown: what the user wants to see.
        effects: edge id -> the effect by which it is drawn, once that has been measured: at one
            position label alone, or in the circuit after changes by hand; None: the one by which it
            was decided.
        drawn_by: other effects by which it is drawn as long as it is of their circuit, or None.
        steadiness: edge id -> the share of repeated searches that keep it; None: there were none.
        notes: edge id -> what else is to be said of it.
        comparison: of the circuit with another one, which is laid over it; None: there is none.
        marks_changes: whether that is the circuit that was shown before.
        groups: of nodes that are drawn as one.
    """

    def __init__(
        self,
        ask: Ask,
        lock: threading.RLock,
        edges_clicked: Callable[[list[str]], None],
        select: Callable[[Selection | None], None],
        keys: Mapping[str, Callable[[], None]],
        mark_changes: Callable[[bool], None],
        open_group: Callable[[str], None] = lambda name: None,
    ):
        """Makes the figure.

        Args:
            ask: has something measured by the worker.
            lock: held around every write to the page.
            edges_clicked: called with the ids of the edges near a click, the nearest first.
            select: called with a node that was clicked; or None, where there was nothing to click.
            keys: what else can be done by keyboard in the graph, by key.
            mark_changes: called with whether to compare with the circuit that was shown before.
            open_group: called with the name of a closed group whose node was clicked.
        """
        self._ask, self._lock = ask, lock
        self.figure = CircuitFigure(
            edges_clicked,
            self._node_clicked,
            self._open_fold,
            lambda: select(None),
        )
        label = (
            "The graph: the arrow keys select its nodes, one after the other; x removes or "
            "restores what is selected, u takes the change back, r makes it again"
        )
        self.figure.box.children += (ArrowKeys(label, self._go, keys),)
        self._select = select
        self._mark_changes, self._open_group = mark_changes, open_group
        self.groups: Sequence[Group] = ()
        self.comparison: Comparison | None = None
        self.marks_changes = False
        self.key = Key(self._toggle)
        self._caption = widgets.HTML(layout=widgets.Layout(display="none"))
        self.box = widgets.VBox([self.key.widget, self._caption, self.figure.box])
        self.shown = Shown()
        self.effects: dict[str, float] | None = None
        self.drawn_by: DrawnBy | None = None
        self.steadiness: dict[str, float] | None = None
        self.notes: dict[str, str] = {}
        self._label: str | None = None
        self._snapshot: Snapshot | None = None
        # With what they were made of.
        self._kept: tuple[tuple[object, ...], list[DrawnEdge]] = ((None,) * 5, [])
        self._selected: str | None = None
        self._columns = "heads"

    def draw(self, snapshot: Snapshot, selected: str | None, columns: str) -> None:
        """Draws the circuit of a snapshot, if it has one.

        Args:
            snapshot: of the search.
            selected: id of an edge or node that stands out.
            columns: "heads" or "positions"; the latter needs a circuit with positions.
        """
        self._snapshot, self._selected, self._columns = snapshot, selected, columns
        self._redraw()

    def select(self, selection: Selection | None) -> None:
        """Has one edge or node stand out, or none."""
        self._selected = None if selection is None else selection.id
        self._redraw()

    def svg(self) -> str | None:
        """What is drawn, as SVG; None: nothing has been drawn."""
        circuit = self._snapshot.circuit if self._snapshot else None
        if circuit is None or self.figure.layout is None:
            return None
        title = (
            f"{circuit.model_name} · {circuit.task_name} · threshold "
            f"{circuit.settings.threshold_text} · {counted(len(circuit.kept), 'edge')}"
            f" · faithfulness {circuit.faithfulness:.1%}"
        )
        if self.comparison is not None:
            title += f" · compared with {self.comparison.second}"
        return graph_svg(self.figure.widget, self.figure.layout, title, self.drawn_edges())

    def drawn_edges(self) -> list[DrawnEdge]:
        """The kept edges that are to be seen, the largest first."""
        circuit = self._snapshot.circuit if self._snapshot else None
        if circuit is None:
            return []
        seen = to_draw(self._kept_edges(circuit), self.shown)
        return grouped(seen, self._closed(circuit), circuit, merged=self.shown.merged)

    def _closed(self, circuit: Circuit) -> ClosedGroups:
        return ClosedGroups.of(self.groups, circuit) if self.groups else NO_GROUPS

    def _node_clicked(self, node_id: str) -> None:
        """A group opens; another node is selected."""
        layout = self.figure.layout
        group = None if layout is None else layout.closed.at.get(Node.parse(node_id))
        if group is None:
            self._select(Selection("node", node_id))
        else:
            self._open_group(group.name)

    def edges_of(self, circuit: Circuit) -> list[DrawnEdge]:
        """The edges of a circuit that are to be seen, unmerged, the largest first.

        Args:
            circuit: the one that is drawn, or another one of its model.
        """
        is_drawn = self._snapshot is not None and circuit is self._snapshot.circuit
        kept = self._kept_edges(circuit) if is_drawn else kept_edges(circuit)
        return to_draw(kept, replace(self.shown, merged=False))

    def layout_for(self, edges: Sequence[DrawnEdge]) -> Layout:
        """Where things would lie if these edges were drawn, by the choices of the user.

        All groups are open.
        """
        assert self._snapshot is not None
        return self._layout(self._snapshot, edges, None, NO_GROUPS)

    def _toggle(self, part: str) -> None:
        if part == CHANGES:
            self._mark_changes(not self.marks_changes)
            return
        with self._lock:
            self.shown = self.shown.toggled(part)
            self._redraw()

    def _go(self, way: str) -> None:
        """Selects the node of the circuit that lies next that way; the logits, if none is."""
        with self._lock:
            snapshot, layout = self._snapshot, self.figure.layout
            if snapshot is None or snapshot.circuit is None or layout is None:
                return
            edges = [edge for each in self.drawn_edges() for edge in each.all_edges]
            place = layout.closed.place
            inside = {place(node) for edge in edges for node in (edge.sender, edge.receiver.node)}
            graph = snapshot.circuit.graph
            selected = graph.parse(self._selected) if self._selected else None
            if isinstance(selected, Edge):
                selected = selected.receiver.node
            node = LOGITS if selected is None else layout.neighbour(selected, way, inside)
            if node is not None:
                self._select(Selection("node", node.id))

    def _open_fold(self, layers: range) -> None:
        with self._lock:
            self.shown = replace(self.shown, opened=self.shown.opened | {*layers})
            self._redraw()

    def _redraw(self) -> None:
        snapshot = self._snapshot
        if snapshot is None or snapshot.circuit is None or snapshot.task is None:
            return
        circuit, graph = snapshot.circuit, snapshot.circuit.graph
        kept = self._kept_edges(circuit)
        other = self._other_effects(circuit)
        self._caption.layout.display = "none" if other is None else ""
        self._caption.value = "" if other is None else f"<b>Drawn by {escape(other.what)}</b>"
        selected = None
        if self._selected is not None:
            selected = graph.parse(self._selected)
        layout = self._layout(snapshot, kept, selected, self._closed(circuit))
        preview = [edge for edge, effect in sorted(snapshot.preview, key=lambda e: -abs(e[1]))]
        self.key.show(
            kept,
            self.shown,
            labels=[label for label in snapshot.task.label_order if label in graph.labels],
            has_preview=bool(preview),
            can_merge=graph.split_qkv,
            can_fold=layout.can_fold,
            marks_changes=self.marks_changes,
        )
        is_removed = isinstance(selected, Edge) and bool(circuit.removed_mask[graph.cell(selected)])
        # Together, so that the page draws once.
        with self.figure.widget.batch_update():
            self.figure.draw(
                circuit,
                self.drawn_edges(),
                layout,
                receiver=snapshot.receiver,
                lit=None if selected is None else lit_edges(kept, graph, selected),
                preview=preview if self.shown.shows(PREVIEW) else [],
            )
            self.figure.select(selected, is_removed=is_removed)

    def _kept_edges(self, circuit: Circuit) -> list[DrawnEdge]:
        """Made once, however often they are drawn: there may be a hundred thousand."""
        other = self._other_effects(circuit)
        effects = self.effects if other is None else other.effects
        made_of = circuit, effects, self.steadiness, self.notes, self.comparison
        if not all(map(operator.is_, made_of, self._kept[0])):
            kept = kept_edges(circuit, effects, self.steadiness, self.notes)
            self._kept = made_of, with_other(kept, self.comparison, circuit)
        return self._kept[1]

    def _other_effects(self, circuit: Circuit) -> DrawnBy | None:
        """By which a circuit is drawn, instead of its own."""
        is_of_it = self.drawn_by is not None and self.drawn_by.circuit is circuit
        return self.drawn_by if is_of_it else None

    def _layout(
        self,
        snapshot: Snapshot,
        kept: Sequence[DrawnEdge],
        selected: Edge | Node | None,
        closed: ClosedGroups,
    ) -> Layout:
        edges = [each.edge for each in kept]
        return layout_of(snapshot, edges, selected, self.shown, self._columns, closed)

    def measure_effects(
        self,
        label: str | None,
        circuit: Circuit | None,
        measured: Callable[[Exception | None], None],
    ) -> None:
        """Has the effects measured by which edges are to be drawn.

        Args:
            label: of the task: what every kept edge adds there; None: at all positions.
            circuit: as far as the search has come; one with positions has no such shares. At all
                positions, the effects are measured after changes by hand alone.
            measured: called, under the lock, whenever `effects` has changed, or with what went
                wrong.
        """
        self._label = label
        has_label = circuit is not None and label is not None and not circuit.graph.labels
        if circuit is None or not (has_label or circuit.by_hand):
            with self._lock:
                if self.effects is not None:
                    self.effects = None
                    measured(None)
            return
        if label is None or not has_label:
            self._measure_in(circuit, measured)
            return

        def question(model: Model, engine: Engine, circuit: Circuit) -> Any:
            return shares_at(engine, circuit, label) if self._label == label else None

        def answer(result: Any, error: Exception | None) -> None:
            with self._lock:
                if self._label == label:
                    self.effects = result
                    measured(error)

        self._ask(question, answer)

    def _measure_in(self, changed: Circuit, measured: Callable[[Exception | None], None]) -> None:
        """Has the effects measured in a circuit with changes by hand, the largest ones first.

        Args:
            changed: the circuit.
            measured: as for `measure_effects`.
        """
        found: dict[str, float] = {edge.id: e for edge, e in changed.kept_effects.items()}
        left = sorted(changed.kept_effects, key=lambda edge: -abs(found[edge.id]))
        self.effects = None

        def question(model: Model, engine: Engine, circuit: Circuit) -> Any:
            # Another change comes first, and makes this one's effects of no use.
            return effects_in(engine, circuit, left[:_AT_ONCE]) if circuit is changed else None

        def answer(result: Any, error: Exception | None) -> None:
            with self._lock:
                if error is None and result is None:
                    return
                found.update(result or {})
                self.effects = dict(found)
                measured(error)
                del left[:_AT_ONCE]
            if left and error is None:
                self._ask(question, answer)

        if left:
            self._ask(question, answer)
