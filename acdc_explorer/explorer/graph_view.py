"""The graph on the page: which layout, drawn by which numbers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from html import escape
from typing import Any

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.engine.engine import Engine
from acdc_explorer.explorer.figure import CircuitFigure
from acdc_explorer.explorer.layout import PositionLayout
from acdc_explorer.explorer.side_panel import Ask, Selection
from acdc_explorer.graph import REST
from acdc_explorer.inspection import shares_at
from acdc_explorer.models.model import Model
from acdc_explorer.runner.state import Snapshot


class GraphView:
    """Draws snapshots of a search.

    Attributes:
        figure: the Plotly figure.
        shares: edge id -> what it adds at one position label, by which edges are drawn once that
            has been measured; None: by their effects.
    """

    def __init__(
        self,
        ask: Ask,
        lock: threading.RLock,
        edges_clicked: Callable[[list[str]], None],
        node_clicked: Callable[[str], None],
    ):
        """Makes the figure.

        Args:
            ask: has something measured by the worker.
            lock: held around every write to the page.
            edges_clicked: called with the ids of the edges near a click, the nearest first.
            node_clicked: called with the id of a node.
        """
        self._ask, self._lock = ask, lock
        self.figure = CircuitFigure(edges_clicked, node_clicked)
        self.shares: dict[str, float] | None = None
        self._label: str | None = None

    def draw(self, snapshot: Snapshot, selected: str | None, columns: str) -> None:
        """Draws the circuit of a snapshot, if it has one.

        Args:
            snapshot: of the search.
            selected: id of an edge or node that stands out.
            columns: "heads" or "positions"; the latter needs a circuit with positions.
        """
        circuit, task = snapshot.circuit, snapshot.task
        if circuit is None or task is None:
            return
        layout = None
        if circuit.graph.labels and columns == "positions":
            kept = [step.edge for step in circuit.decisions if step.kept]
            names = {label: _column_name(label, snapshot.tokens) for label in task.label_order}
            layout = PositionLayout(circuit.graph, kept, names, task.sees)
        self.figure.draw(
            circuit, snapshot.receiver, selected, layout, self.shares, snapshot.preview
        )

    def select(self, circuit: Circuit, selection: Selection | None) -> None:
        """Has one edge or node stand out, or none."""
        self.figure.select(circuit.graph, None if selection is None else selection.id)

    def measure_shares(
        self,
        label: str | None,
        circuit: Circuit | None,
        measured: Callable[[Exception | None], None],
    ) -> None:
        """Has what every kept edge adds at a position label measured.

        Args:
            label: of the task; None: edges are to be drawn by their effects.
            circuit: as far as the search has come; one with positions has no such shares.
            measured: called, under the lock, when `shares` is up to date or with what went wrong.
        """
        self._label = label
        if circuit is None or circuit.graph.labels or label is None:
            with self._lock:
                self.shares = None
                measured(None)
            return

        def question(model: Model, engine: Engine, circuit: Circuit) -> Any:
            return shares_at(engine, circuit, label) if self._label == label else None

        def answer(result: Any, error: Exception | None) -> None:
            with self._lock:
                if self._label == label:
                    self.shares = result
                    measured(error)

        self._ask(question, answer)


def _column_name(label: str, tokens: Mapping[str, str]) -> str:
    """A position label and, below it, what stands there in the first prompt."""
    token = tokens.get(label, "")
    if label == REST or not token:
        return f"<b>{escape(label)}</b>"
    short = token if len(token) <= 14 else f"{token[:13]}…"
    return f"<b>{escape(label)}</b><br>{escape(short)}"
