"""The explorer: a search running in the background, and a live graph to look into.

The worker thread of a `Runner` computes; callbacks only say what is wanted. Every write to the page
happens under one lock, since it can come from the worker or from a callback.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import replace
from html import escape
from typing import Any, Unpack

import ipywidgets as W
import traitlets as T

from acdc_explorer.arguments import SearchOptions, check_options
from acdc_explorer.circuits.settings import parse_threshold
from acdc_explorer.explorer import panel_html as panel
from acdc_explorer.explorer.clickable import ClickableHTML
from acdc_explorer.explorer.controls import Controls, name_of
from acdc_explorer.explorer.figure import CircuitFigure
from acdc_explorer.explorer.layout import PositionLayout
from acdc_explorer.explorer.own_prompts import OwnPrompts
from acdc_explorer.explorer.side_panel import Selecting
from acdc_explorer.explorer.snapshot import write_page
from acdc_explorer.explorer.style import CSS
from acdc_explorer.explorer.threshold_plot import path_html
from acdc_explorer.graph import REST
from acdc_explorer.metrics import METRICS
from acdc_explorer.models import list_models
from acdc_explorer.runner.runner import Runner
from acdc_explorer.runner.state import STATUSES, Request, Snapshot
from acdc_explorer.tasks import Task, list_tasks

_ENDED = ("done", "stopped", "error")


class Explorer(Selecting):
    """Searches for a circuit and shows it while it grows; displays itself in a notebook.

    The traits are observable, and setting one from Python does what the page does.

    Attributes:
        threshold: as `find_circuit` takes it; setting it starts a search.
        selected_edge: id of the edge in the panel, or None.
        selected_node: id of the node in the panel, or None.
        columns: "heads" or "positions": what the graph's columns are. By position needs a circuit
            that was searched with `positions=True`.
        shown_position: a position label: the graph of a circuit without positions draws each edge
            by what it adds there alone; None: at all positions.
        circuit: the circuit so far, renewed while the search runs; None before it begins.
        status: "idle", "loading", "running", "paused", "done", "stopped" or "error".
    """

    threshold: Any = T.Any("7%")
    columns: Any = T.Enum(("heads", "positions"), "heads")
    status: Any = T.Enum(STATUSES, "idle")

    def __init__(
        self,
        model: Any = "mini",
        task: Task | str = "ioi",
        threshold: float | str = "7%",
        *,
        n_prompts: int = 64,
        seed: int = 0,
        device: str = "auto",
        **options: Unpack[SearchOptions],
    ):
        """Builds the widget and starts the search.

        Args:
            model: anything that `load_model` takes. It is loaded in the background; if that fails,
                the widget says so.
            task: a `Task`, or the name of one.
            threshold: as `find_circuit` takes it.
            n_prompts: for a task given by name.
            seed: likewise.
            device: for a model given by name.
            options: other arguments of `find_circuit` but `top_n`.

        Raises:
            ValueError: if the threshold is no positive number, or there is no such option.
        """
        self._ui = threading.RLock()
        self._syncing = False
        self._shown_version = -1
        self._drawn: tuple[Any, ...] = ()
        _check_threshold(threshold)
        check_options(options, refused={"top_n": "give a threshold, which can be dragged"})
        self._request = Request(model, task, threshold, n_prompts, seed, dict(options), device)
        self._controls = Controls(list(list_models().model), list(list_tasks().task))
        self._figure = CircuitFigure(self._edges_clicked, self._node_clicked)
        self._status_line, self._error = W.HTML(), W.HTML()
        self._path_plot = ClickableHTML("", "threshold", self._threshold_clicked)
        self._side = W.VBox(
            [self._path_plot, *self._make_side()], layout=W.Layout(flex="0 0 350px")
        )
        self._own_prompts = OwnPrompts(lambda: self._runner, self._ui, self._use_task)
        self._runner = Runner(self._show)
        super().__init__([W.HTML(CSS), *self._arranged()])
        self.add_class("acdc-explorer")
        self.set_trait("threshold", threshold)
        self.columns = "positions" if options.get("positions") else "heads"
        self._connect()
        self.run()

    def run(self) -> None:
        """Starts the search from the beginning, in place of one that runs."""
        self._start(afresh=True)

    def _start(self, *, afresh: bool = False) -> None:
        self._runner.start(self._request, afresh=afresh)
        self._show(self._runner.snapshot())

    def pause(self) -> None:
        """Halts the search; again, or `run`, goes on or starts anew."""
        if self._runner.snapshot().status == "paused":
            self._runner.resume()
        else:
            self._runner.pause()

    def stop(self) -> None:
        """Ends the search; the circuit found so far stays."""
        self._runner.stop()

    def wait(self, timeout: float | None = None) -> str:
        """Waits until the search has ended and returns the status.

        Raises:
            TimeoutError: if it has not after `timeout` seconds.
        """
        self._runner.wait(timeout)
        self._show(self._runner.snapshot())
        return str(self.status)

    def snapshot_html(self, path: str | os.PathLike[str]) -> None:
        """Writes what is on the page as a file that opens in any browser, without a kernel."""
        with self._ui:
            parts = (self._status_line, self._error, self._path_plot, self._panel)
            html = [part.value for part in parts]
            write_page(path, self._figure.widget, html, self.circuit)

    def close(self) -> None:
        """Ends the worker thread and frees the page's memory."""
        # ipywidgets calls this for an explorer whose arguments were refused, too.
        if hasattr(self, "_runner"):
            self._runner.close()
            self._figure.widget.close()
        super().close()

    def __repr__(self) -> str:
        standing = self.circuit.summary() if self.circuit else "no circuit yet"
        return f"Explorer({self.status}; {standing})"

    def _arranged(self) -> list[W.Widget]:
        body = W.HBox(
            [self._figure.box, self._side], layout=W.Layout(flex_flow="row wrap", width="100%")
        )
        return [
            self._controls.box,
            self._own_prompts.box,
            self._status_line,
            self._error,
            body,
        ]

    def _connect(self) -> None:
        controls = self._controls
        self._sync_controls()
        for widget, name in (
            (controls.model, "model"),
            (controls.task, "task"),
            (controls.n_prompts, "n_prompts"),
            (controls.seed, "seed"),
        ):
            widget.observe(lambda change, name=name: self._control_set(name, change.new), "value")
        for widget, name in ((controls.method, "method"), (controls.positions, "positions")):
            widget.observe(lambda change, name=name: self._option_set(name, change.new), "value")
        controls.own_prompts.observe(lambda change: self._own_prompts.show(change.new), "value")
        controls.columns.observe(lambda change: setattr(self, "columns", change.new), "value")
        controls.threshold.observe(self._slider_set, "value")
        controls.run.on_click(lambda _: self.run())
        controls.pause.on_click(lambda _: self.pause())
        controls.stop.on_click(lambda _: self.stop())
        self.observe(self._threshold_set, "threshold")
        self.observe(lambda _: self._redraw(), "columns")
        self._connect_side()

    @T.validate("threshold")
    def _valid_threshold(self, proposal: Any) -> Any:
        _check_threshold(proposal["value"])
        return proposal["value"]

    def _sync_controls(self) -> None:
        """Makes the controls show the request."""
        request, controls = self._request, self._controls
        self._syncing = True
        try:
            controls.model.value = name_of(request.model)
            controls.task.value = name_of(request.task)
            controls.n_prompts.value, controls.seed.value = request.n_prompts, request.seed
            own_task = isinstance(request.task, Task)
            controls.n_prompts.disabled = controls.seed.disabled = own_task
            controls.method.value = request.options.get("method", "acdc")
            controls.positions.value = bool(request.options.get("positions"))
            self._sync_slider()
        finally:
            self._syncing = False

    def _sync_slider(self) -> None:
        """Makes the slider and its text show the threshold."""
        full = self.circuit.full_metric if self.circuit else None
        was_syncing, self._syncing = self._syncing, True
        try:
            self._controls.show_threshold(self.threshold, full, self._unit)
        finally:
            self._syncing = was_syncing

    def _control_set(self, name: str, value: Any) -> None:
        # Under the lock, so that a value set by the worker is not taken for the user's, or missed.
        with self._ui:
            if self._syncing:
                return
            self._request = replace(self._request, **{name: value})
            self._sync_controls()
        self._start()

    def _option_set(self, name: str, value: Any) -> None:
        with self._ui:
            if self._syncing:
                return
            self._request = replace(self._request, options={**self._request.options, name: value})
            if name == "positions":
                self.selected_edge = self.shown_position = None
                self.columns = "positions" if value else "heads"
        self._start()

    def _use_task(self, task: Task) -> None:
        """Searches prompts that were pasted or uploaded."""
        with self._ui:
            self._request = replace(self._request, task=task)
            self.selected_edge = self.shown_position = None
            self._sync_controls()
        self._start()

    def _slider_set(self, change: Any) -> None:
        with self._ui:
            if not self._syncing:
                self.threshold = f"{change.new:.3g}%"

    def _threshold_clicked(self, threshold: str) -> None:
        """A known interval of the plot."""
        self.threshold = float(threshold)

    def _threshold_set(self, change: Any) -> None:
        self._request = replace(self._request, threshold=change.new)
        with self._ui:
            self._sync_slider()
        self._start()

    def _show(self, snapshot: Snapshot) -> None:
        """Brings the page in line with the search; called from the worker and from callbacks."""
        with self._ui:
            if snapshot.version < self._shown_version:
                return
            self._shown_version = snapshot.version
            circuit = snapshot.circuit
            drawn = (snapshot.status, snapshot.n_done, circuit and circuit.settings)
            new_circuit = circuit is not None and drawn != self._drawn
            if circuit is not None and new_circuit:
                self._drawn = drawn
                self.circuit = circuit
                self._shares = None
                self._drop_foreign_selection(circuit)
                self._draw(snapshot)
                self._sync_slider()
            self._controls.show(snapshot)
            self._write_status(snapshot)
            self._error.value = panel.error_html(snapshot.error)
            self._path_plot.value = path_html(snapshot, self._unit)
            ended = snapshot.status in _ENDED and self.status != snapshot.status
            if circuit is not None and ended:
                self._finder.search.options = tuple(self._by_effect())[:500]
            self.status = snapshot.status
            if new_circuit and snapshot.status in _ENDED:
                if self._selected:
                    self._ask(self._selected)
                self._position_set()

    def _draw(self, snapshot: Snapshot) -> None:
        """Draws the circuit of a snapshot in the chosen layout."""
        circuit, task = snapshot.circuit, snapshot.task
        if circuit is None or task is None:
            return
        layout = None
        self._controls.show_columns(self.columns if circuit.graph.labels else None)
        if circuit.graph.labels and self.columns == "positions":
            kept = [step.edge for step in circuit.decisions if step.kept]
            names = {label: _column_name(label, snapshot.tokens) for label in task.label_order}
            layout = PositionLayout(circuit.graph, kept, names, task.sees)
        self._figure.draw(
            circuit, snapshot.receiver, self._selected, layout, self._shares, snapshot.preview
        )

    def _redraw(self) -> None:
        with self._ui:
            snapshot = self._runner.snapshot()
            self._draw(snapshot)
            self._write_status(snapshot)

    def _write_status(self, snapshot: Snapshot) -> None:
        self._status_line.value = panel.status_html(
            snapshot, self._figure.n_drawn, self._unit, self.shown_position
        )


def _check_threshold(threshold: Any) -> None:
    # Any clean value does: whether text is a positive number does not hang on it.
    parse_threshold(threshold, 1.0, METRICS["logit_diff"])


def _column_name(label: str, tokens: Mapping[str, str]) -> str:
    """A position label and, below it, what stands there in the first prompt."""
    token = tokens.get(label, "")
    if label == REST or not token:
        return f"<b>{escape(label)}</b>"
    short = token if len(token) <= 14 else f"{token[:13]}…"
    return f"<b>{escape(label)}</b><br>{escape(short)}"
