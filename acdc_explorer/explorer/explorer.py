"""The explorer: a search running in the background, and a live graph to look into.

The worker thread of a `Runner` computes; callbacks only say what is wanted. Every write to the page
happens under one lock, since it can come from the worker or from a callback.
"""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from typing import Any

import ipywidgets as W
import traitlets as T

from acdc_explorer.circuit import Circuit
from acdc_explorer.engine.engine import Engine
from acdc_explorer.explorer import panel
from acdc_explorer.explorer.controls import Chooser, Controls, Finder, name_of
from acdc_explorer.explorer.figure import CircuitFigure
from acdc_explorer.explorer.snapshot import write_page
from acdc_explorer.explorer.style import CSS
from acdc_explorer.inspection import edge_inspection, node_inspection
from acdc_explorer.metrics import METRICS
from acdc_explorer.models import Model, list_models
from acdc_explorer.runner import STATUSES, Request, Runner, Snapshot
from acdc_explorer.search.steps import parse_threshold
from acdc_explorer.tasks import Task, list_tasks

_ENDED = ("done", "stopped", "error")


class Explorer(W.VBox):
    """Searches for a circuit and shows it while it grows; displays itself in a notebook.

    The traits are observable, and setting one from Python does what the page does.

    Attributes:
        threshold: as `find_circuit` takes it; setting it starts a search.
        selected_edge: id of the edge in the panel, or None.
        selected_node: id of the node in the panel, or None.
        circuit: the circuit so far, renewed while the search runs; None before it begins.
        status: "idle", "loading", "running", "paused", "done", "stopped" or "error".
    """

    threshold: Any = T.Any("7%")
    selected_edge: Any = T.Unicode(None, allow_none=True)
    selected_node: Any = T.Unicode(None, allow_none=True)
    circuit: Any = T.Instance(Circuit, allow_none=True)
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
        **options: Any,
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
            options: other arguments of `find_circuit`: rule, order, ablation, ...

        Raises:
            ValueError: if the threshold is no positive number.
        """
        self._ui = threading.RLock()
        self._syncing = False
        self._shown_version = -1
        self._drawn: tuple[Any, ...] = ()
        self._inspected: Any = None
        self._task: Task | None = None
        self._asked: str | None = None
        _check_threshold(threshold)
        self._request = Request(model, task, threshold, n_prompts, seed, dict(options), device)
        self._controls = Controls(list(list_models().model), list(list_tasks().task))
        self._finder, self._chooser = Finder(), Chooser()
        self._figure = CircuitFigure(self._edges_clicked, self._node_clicked)
        self._status_line, self._error = W.HTML(), W.HTML()
        self._panel = W.HTML(panel.empty_html())
        self._runner = Runner(self._show)
        super().__init__([W.HTML(CSS), *self._arranged()])
        self.add_class("acdc-explorer")
        self.set_trait("threshold", threshold)
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
            body = [self._status_line.value, self._error.value, self._panel.value]
            write_page(path, self._figure.widget, body, self.circuit)

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
        # What was found scrolls; the search for it stays above. Children of a full column would
        # shrink rather than have it scroll.
        for part in (self._panel, self._chooser.box):
            part.layout.flex = "0 0 auto"
        found = W.VBox(
            [self._panel, self._chooser.box], layout=W.Layout(overflow="auto", max_height="720px")
        )
        side = W.VBox([self._finder.box, found], layout=W.Layout(flex="0 0 350px"))
        body = W.HBox([self._figure.box, side], layout=W.Layout(flex_flow="row wrap", width="100%"))
        return [self._controls.box, self._status_line, self._error, body]

    def _connect(self) -> None:
        controls, finder = self._controls, self._finder
        self._sync_controls()
        for widget, name in (
            (controls.model, "model"),
            (controls.task, "task"),
            (controls.n_prompts, "n_prompts"),
            (controls.seed, "seed"),
        ):
            widget.observe(lambda change, name=name: self._control_set(name, change.new), "value")
        controls.threshold.observe(self._slider_set, "value")
        controls.run.on_click(lambda _: self.run())
        controls.pause.on_click(lambda _: self.pause())
        controls.stop.on_click(lambda _: self.stop())
        finder.search.observe(lambda change: self._find(change.new), "value")
        finder.previous.on_click(lambda _: self._step(-1))
        finder.next.on_click(lambda _: self._step(1))
        for index, button in enumerate(self._chooser.buttons):
            button.on_click(lambda _, index=index: self._choose(index))
        self.observe(self._threshold_set, "threshold")
        self.observe(self._selection_set, ["selected_edge", "selected_node"])

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

    @property
    def _unit(self) -> str:
        metric = METRICS.get(self.circuit.metric_name) if self.circuit else None
        return metric.unit if metric else ""

    def _control_set(self, name: str, value: Any) -> None:
        # Under the lock, so that a value set by the worker is not taken for the user's, or missed.
        with self._ui:
            if self._syncing:
                return
            self._request = replace(self._request, **{name: value})
            self._sync_controls()
        self._start()

    def _slider_set(self, change: Any) -> None:
        with self._ui:
            if not self._syncing:
                self.threshold = f"{change.new:.3g}%"

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
                self._drop_foreign_selection(circuit)
                self._figure.draw(circuit, snapshot.receiver, self._selected)
                self._sync_slider()
            self._controls.show(snapshot)
            self._status_line.value = panel.status_html(snapshot, self._figure.n_drawn, self._unit)
            self._error.value = panel.error_html(snapshot.error)
            ended = snapshot.status in _ENDED and self.status != snapshot.status
            if circuit is not None and ended:
                self._finder.search.options = tuple(self._by_effect())[:500]
            self.status = snapshot.status
            if new_circuit and snapshot.status in _ENDED and self._selected:
                self._ask(self._selected)

    @property
    def _selected(self) -> str | None:
        return self.selected_edge or self.selected_node

    def _drop_foreign_selection(self, circuit: Circuit) -> None:
        """Another model may lack the selected edge or node."""
        try:
            if self.selected_edge:
                circuit.graph.parse_edge(self.selected_edge)
            if self.selected_node:
                circuit.graph.parse_node(self.selected_node)
        except ValueError:
            self.selected_edge = self.selected_node = None

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

    def _by_effect(self) -> list[str]:
        """Ids of the kept edges, the largest |effect| first."""
        if self.circuit is None:
            return []
        kept = [step for step in self.circuit.decisions if step.kept]
        return [step.edge.id for step in sorted(kept, key=lambda step: -abs(step.effect))]

    def _step(self, by: int) -> None:
        ordered = self._by_effect()
        if not ordered:
            return
        if self.selected_edge in ordered:
            place = (ordered.index(self.selected_edge) + by) % len(ordered)
        else:
            place = 0 if by > 0 else -1
        self.selected_edge = ordered[place]

    def _choices(self, edge_ids: list[str]) -> list[tuple[str, str]]:
        """Edges as (id, text) for the chooser."""
        effects = {step.edge.id: step for step in self.circuit.decisions} if self.circuit else {}
        return [
            (edge_id, f"{effects[edge_id].effect:+.3f}  {effects[edge_id].edge.label}")
            for edge_id in edge_ids
            if edge_id in effects
        ]

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
            self._panel.value = panel.edge_html(found, circuit, task, self._unit)
            return
        self._panel.value = panel.node_html(found)
        flows = [*found.incoming.edge, *found.outgoing.edge]
        self._chooser.show("Edges of this node", self._choices(flows))


def _check_threshold(threshold: Any) -> None:
    # Any clean value does: whether text is a positive number does not hang on it.
    parse_threshold(threshold, 1.0, METRICS["logit_diff"])
