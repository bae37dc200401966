"""A widget that has searches run in the background: what it is told to search for, and when."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import ipywidgets as widgets
import traitlets

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.settings import parse_threshold
from acdc_explorer.explorer.own_cells import OwnCells
from acdc_explorer.metrics import METRICS
from acdc_explorer.runner.runner import Runner
from acdc_explorer.runner.state import STATUSES, Request, Snapshot
from acdc_explorer.searches.faithful import parse_faithfulness


class SearchWidget(widgets.VBox):
    """Starts and stops searches; what the page shows of them is for subclasses.

    Attributes:
        threshold: as `find_circuit` takes it; setting it starts a search.
        faithfulness: as `find_circuit` takes it; setting it looks for the largest threshold whose
            circuit is that faithful, with rule "signed" unless another was asked for, and then sets
            the threshold. None where a threshold was set.
        status: "idle", "loading", "running", "paused", "done", "stopped" or "error".
    """

    threshold = traitlets.Any("7%")
    faithfulness = traitlets.Any(None)
    status = traitlets.Enum(STATUSES, "idle")

    _request: Request
    # Guards every write to the page, and whether such a write is under way that nobody asked for.
    _ui: threading.RLock
    _syncing: bool

    def _make_runner(self) -> None:
        """Makes the worker; before `super().__init__`, so that the page's parts can ask it."""
        self._runner = Runner(self._show)
        self._own_cells = OwnCells(self._runner.rest)

    def _show(self, snapshot: Snapshot) -> None:
        """Brings the page in line with the search; called from the worker and from callbacks."""
        raise NotImplementedError

    def _sync_controls(self) -> None:
        """Makes the controls show the request."""
        raise NotImplementedError

    def _sync_slider(self) -> None:
        """Makes the sliders show threshold and faithfulness."""
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

    def _ask_for_faithfulness(self, faithfulness: float | str) -> None:
        parse_faithfulness(faithfulness)
        options = {"rule": "signed", **self._request.options}
        self._request = replace(self._request, faithfulness=faithfulness, options=options)

    def _threshold_found(self, circuit: Circuit) -> None:
        """Takes over the threshold of the circuit that is as faithful as was asked for."""
        was_syncing, self._syncing = self._syncing, True
        try:
            self.threshold = circuit.threshold
        finally:
            self._syncing = was_syncing
        self._request = replace(self._request, threshold=circuit.threshold)

    def run(self) -> None:
        """Starts the search from the beginning, in place of one that runs."""
        self._start(afresh=True)

    def _start(self, *, afresh: bool = False) -> None:
        self._runner.start(self._request, afresh=afresh)
        self._show(self._runner.snapshot())

    def pause(self) -> None:
        """Halts the search; `resume` goes on with it."""
        self._runner.pause()

    def resume(self) -> None:
        """Goes on with a paused search."""
        self._runner.resume()

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

    def close(self) -> None:
        """Ends the worker thread and frees the page's memory."""
        # ipywidgets calls this for a widget whose arguments were refused, too.
        if hasattr(self, "_runner"):
            self._own_cells.close()
            self._runner.close()
        super().close()


def check_threshold(threshold: Any) -> None:
    """Raises a ValueError if this is no threshold."""
    # 1.0 is a dummy; it does not affect validity.
    parse_threshold(threshold, 1.0, METRICS["logit_diff"])
