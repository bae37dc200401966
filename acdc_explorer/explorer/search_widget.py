"""A widget that has searches run in the background: what it is told to search for, and when."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import ipywidgets as widgets
import traitlets

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.settings import parse_threshold
from acdc_explorer.explorer.controls.controls import Controls
from acdc_explorer.explorer.notebook.lasting_picture import LastingPicture
from acdc_explorer.explorer.notebook.own_cells import OwnCells
from acdc_explorer.explorer.notebook.presence import Presence
from acdc_explorer.explorer.state import State
from acdc_explorer.metrics import METRICS
from acdc_explorer.runner.freed_memory import give_back_freed_memory
from acdc_explorer.runner.runner import Runner
from acdc_explorer.runner.state import STATUSES, Request, Snapshot
from acdc_explorer.searches.faithful import parse_faithfulness
from acdc_explorer.tasks import Task

# Beyond an interval's end, whose circuit is then that of the next one: the ends are float32 values.
BEYOND = 1e-4


class SearchWidget(widgets.VBox):
    """Starts and stops searches; what the page shows of them is for subclasses.

    Attributes:
        threshold: as `find_circuit` takes it; setting it starts a search.
        faithfulness: as `find_circuit` takes it; setting it looks for the largest threshold whose
            circuit is that faithful, with rule "signed" unless another was asked for, and then sets
            the threshold. None where a threshold was set.
        status: "idle", "loading", "running", "paused", "done", "stopped" or "error".
        circuit: the circuit so far, renewed while the search runs; None before it begins.
    """

    threshold = traitlets.Any("7%")
    faithfulness = traitlets.Any(None)
    status = traitlets.Enum(STATUSES, "idle")
    circuit = traitlets.Instance(Circuit, allow_none=True)

    _request: Request
    _state: State
    _controls: Controls
    _picture: LastingPicture
    # Guards every write to the page, and whether such a write is under way that nobody asked for.
    _ui: threading.RLock
    _syncing: bool
    # Held while worker and page come or go, which takes a while; before the other lock.
    _lifetime: threading.RLock
    # Whether worker and page are gone: until they are needed again, or for good.
    _folded = _closed = False

    def _make_runner(self) -> None:
        """Makes the worker; before `super().__init__`, so that the page's parts can ask it."""

        def show(snapshot: Snapshot) -> None:
            # The last one of a page that is gone may still have something to say.
            if self._runner is runner:
                self._show(snapshot)

        self._runner = runner = Runner(show)
        self._on_view = True
        self._own_cells = OwnCells(lambda _: self._decide_rest())
        self._presence = Presence(lambda: self._own_cells.running, self._seen, self._fold)

    def _seen(self, on_view: bool) -> None:
        self._on_view = on_view
        self._decide_rest()

    def _decide_rest(self) -> None:
        """The background is for who looks on, and must not slow the user's own cells."""
        self._runner.rest(self._own_cells.running or not self._on_view)

    def _make_page(self) -> Sequence[widgets.Widget]:
        """Makes all that is shown, which is returned, and the worker."""
        raise NotImplementedError

    def _close_page(self) -> None:
        """Closes all that is shown."""
        raise NotImplementedError

    def _show(self, snapshot: Snapshot) -> None:
        """Brings the page in line with the search; called from the worker and from callbacks."""
        raise NotImplementedError

    def _connect_traits(self) -> None:
        """Has what is set from Python from now on do what the page does."""
        self.observe(self._threshold_set, "threshold")
        self.observe(self._faithfulness_set, "faithfulness")

    @traitlets.validate("threshold")
    def _valid_threshold(self, proposal: Any) -> Any:
        check_threshold(proposal["value"])
        return proposal["value"]

    @traitlets.validate("faithfulness")
    def _valid_faithfulness(self, proposal: Any) -> Any:
        if proposal["value"] is not None:
            parse_faithfulness(proposal["value"])
        return proposal["value"]

    def _threshold_set(self, change: Any) -> None:
        with self._ui:
            if self._syncing:
                return
            self._request = replace(self._request, threshold=change.new, faithfulness=None)
            self.faithfulness = None
            self._sync_slider()
        self._start()

    def _faithfulness_set(self, change: Any) -> None:
        if change.new is None:
            return
        with self._ui:
            self._ask_for_faithfulness(change.new)
            self._sync_controls()
        self._start()

    def _sync_controls(self) -> None:
        """Makes the controls show the request."""
        self._syncing = True
        try:
            self._controls.show_request(self._request)
            self._sync_slider()
        finally:
            self._syncing = False

    def _sync_slider(self) -> None:
        """Makes the slider and its text show the threshold."""
        full = self.circuit.full_metric if self.circuit else None
        was_syncing, self._syncing = self._syncing, True
        try:
            unit = self.circuit.metric_unit if self.circuit else ""
            self._controls.show_threshold(self.threshold, full, unit)
            if self._request.faithfulness is not None:
                self._controls.show_faithfulness(parse_faithfulness(self._request.faithfulness))
            elif self.circuit and self.circuit.complete:
                self._controls.show_faithfulness(self.circuit.faithfulness)
            if self.circuit:
                self._controls.rule.value = self.circuit.settings.rule
        finally:
            self._syncing = was_syncing

    def _control_set(self, name: str, value: Any) -> None:
        # Under the lock, so that a value set by the worker is not taken for the user's, or missed.
        with self._ui:
            if self._syncing:
                return
            # A task that was chosen for another model may not fit.
            other_task = name == "model" or (name != "task" and self._request.other_task)
            self._request = replace(
                self._request, **{name: value, "other_task": other_task}, options=self._options()
            )
            self._state.forget_edits()
            self._sync_controls()
        self._start()

    def _sync_tasks(self, snapshot: Snapshot) -> None:
        """Offers what can be made for the model, and takes over what was taken of it."""
        self._controls.offer_tasks(snapshot.tasks)
        task, request = snapshot.task, self._request
        if task and snapshot.request is request and request.other_task:
            name = request.task if isinstance(request.task, Task) else task.name
            self._request = replace(request, task=name, other_task=False)
            self._sync_controls()

    def _slider_set(self, percent: float, rests: bool) -> None:
        """Follows the slider: at once where the circuit is known, else where it comes to rest."""
        with self._ui:
            threshold = f"{percent:.3g}%"
            goes_there = rests or self._is_known(threshold)
            if not goes_there and self.circuit is not None:
                unit = self.circuit.metric_unit
                self._controls.show_threshold(threshold, self.circuit.full_metric, unit)
        # Not under the lock: it may make a new page, for which another one is taken first.
        if goes_there:
            self.threshold = threshold

    def _is_known(self, threshold: str) -> bool:
        """Whether the circuit of a threshold can be shown without a search."""
        circuit, snapshot = self.circuit, self._runner.snapshot()
        if circuit is None or not circuit.full_metric or snapshot.status != "done":
            return False
        share = float(threshold.rstrip("%")) / 100
        return snapshot.path.at(share * abs(circuit.full_metric)) is not None

    def _step_circuit(self, by: int) -> None:
        """Goes to the circuit of the next interval of thresholds, below this one or above."""
        with self._ui:
            if self.circuit is None or not self.circuit.complete:
                return
            low, high = self.circuit.valid_interval
            threshold = low * (1 - BEYOND) if by < 0 else high * (1 + BEYOND)
        if 0 < threshold < math.inf:
            self.threshold = threshold

    def _faithfulness_slid(self, percent: float) -> None:
        with self._ui:
            if self._syncing:
                return
        self.faithfulness = f"{percent:g}%"

    def _ask_for_faithfulness(self, faithfulness: float | str) -> None:
        self._request = replace(self._request, faithfulness=faithfulness, options=self._options())

    def _options(self, **changed: Any) -> dict[str, Any]:
        """The options that are asked for, with some changed; None: as by default.

        A circuit to replay is for the first request alone: of another one it may be none.
        """
        options = {**self._request.options, "replay": None, **changed}
        return {name: value for name, value in options.items() if value is not None}

    def _target_found(self, circuit: Circuit) -> None:
        """Takes over threshold and rule of the circuit that is as faithful as was asked for."""
        was_syncing, self._syncing = self._syncing, True
        try:
            self.threshold = circuit.threshold
        finally:
            self._syncing = was_syncing
        options = self._options(rule=circuit.settings.rule)
        self._request = replace(self._request, threshold=circuit.threshold, options=options)

    def run(self) -> None:
        """Starts the search from the beginning, in place of one that runs."""
        self._start(afresh=True)

    def _start(self, *, afresh: bool = False) -> None:
        self._unfold()
        self._runner.start(self._request, afresh=afresh, changes=self._state.edits.current)
        self._show(self._runner.snapshot())

    def pause(self) -> None:
        """Halts the search; `resume` goes on with it."""
        self._runner.pause()

    def resume(self) -> None:
        """Goes on with a paused search."""
        self._runner.resume()

    def _pause_clicked(self) -> None:
        """The one button for both."""
        if self.status == "paused":
            self.resume()
        else:
            self.pause()

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
        # A notebook that is run as a whole may end here.
        self._picture.finish()
        return str(self.status)

    def close(self) -> None:
        """Ends the worker thread and frees the page's memory, for good."""
        # ipywidgets calls this for a widget whose arguments were refused, too.
        if hasattr(self, "_presence"):
            self._take_down()
        self._folded, self._closed = False, True

    def _take_down(self) -> None:
        self._own_cells.close()
        self._presence.close()
        # Not under the lock, which the worker may wait for.
        self._runner.close()
        self._picture.finish()
        self._close_page()
        self.layout.close()
        super().close()
        give_back_freed_memory()

    def _fold(self) -> None:
        """Lets go of worker, model and page until they are needed again."""
        with self._lifetime:
            if self._folded or self._closed:
                return
            self._folded = True
            self._take_down()
            # Closing hides it: it could not be displayed again.
            self.__dict__.pop("_repr_mimebundle_", None)
            if self.status in ("loading", "running", "paused"):
                self.status = "stopped"

    def _unfold(self) -> None:
        """Makes a new page, as the old one was, and goes on from the circuit that it had."""
        with self._lifetime, self._ui:
            if not self._folded:
                return
            self._folded = False
            self.children = self._make_page()
            self.layout = widgets.Layout()
            self.open()
            request = self._request
            if self.circuit is not None:
                options = self._options(replay=self.circuit, rule=self.circuit.settings.rule)
                options["screen"] = self.circuit.settings.screen
                threshold = self.circuit.settings.threshold_text
                request = replace(request, threshold=threshold, faithfulness=None, options=options)
            self._runner.start(request, changes=self._state.edits.current)
            self._show(self._runner.snapshot())

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        self._unfold()
        return super()._repr_mimebundle_(**kwargs)


def check_threshold(threshold: Any) -> None:
    """Raises a ValueError if this is no threshold."""
    # 1.0 is a dummy; it does not affect validity.
    parse_threshold(threshold, 1.0, METRICS["logit_diff"])
