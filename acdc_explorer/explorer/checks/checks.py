"""Buttons that have the circuit measured, searched again, or another one looked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import ipywidgets as widgets
import numpy as np

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.engine.engine import Engine
from acdc_explorer.explorer.checks.checks_html import (
    another_circuit_html,
    measurement_html,
    stability_html,
    uncertain_notes,
    uncertainty_html,
    waiting_html,
)
from acdc_explorer.explorer.widgets.buttons import icon_button
from acdc_explorer.explorer.words import error_html
from acdc_explorer.measures.another_circuit import AnotherCircuit, another_circuit
from acdc_explorer.measures.measure import measure
from acdc_explorer.measures.measurement import Measurement
from acdc_explorer.measures.stability import Stability, stability
from acdc_explorer.measures.uncertainty import Uncertainty, uncertainty
from acdc_explorer.models.model import Model
from acdc_explorer.runner.errands import GivenUpError
from acdc_explorer.runner.runner import Runner

# Of each kind of run: orders, draws of the prompts and task seeds.
_STABILITY_RUNS = 7


@dataclass(frozen=True)
class Check:
    """Something that can be asked about a circuit.

    Attributes:
        button: what stands on the button.
        icon: its Font Awesome name.
        tooltip: what it does, in words.
        run: called in the worker.
        html: what is shown of the result.
        is_of_edges: whether the result is of the circuit's edges alone, whatever the threshold.
    """

    button: str
    icon: str
    tooltip: str
    run: Callable[[Model, Engine, Circuit], Any]
    html: Callable[[Any], str]
    is_of_edges: bool = False

    def is_of(self, checked: Circuit, circuit: Circuit) -> bool:
        """Whether what was found of one circuit is so of another.

        Args:
            checked: the one.
            circuit: the other.
        """
        names, numbers = [], []
        for each in (checked, circuit):
            settings = replace(each.settings, threshold=1.0, threshold_text="")
            task = each.task_name, each.task_options, each.metric_name
            names.append((each.kept, each.model_name, each.graph, task, settings))
            threshold = 0.0 if self.is_of_edges else each.threshold
            numbers.append((each.full_metric, each.corrupted_metric, threshold))
        return names[0] == names[1] and np.allclose(numbers[0], numbers[1], rtol=1e-6, atol=1e-9)


def _measured(model: Model, engine: Engine, circuit: Circuit) -> Measurement:
    return measure(model, engine.task, circuit)


def _searched_again(model: Model, engine: Engine, circuit: Circuit) -> Stability:
    settings = circuit.settings
    return stability(
        model,
        engine.task,
        settings.threshold_text,
        kinds=("orders", "prompts", "seeds"),
        n=_STABILITY_RUNS,
        method=settings.method,
        rule=settings.rule,
        order=settings.order,
        order_seed=settings.order_seed,
        ablation=settings.ablation,
        positions=bool(circuit.graph.labels),
        split_qkv=circuit.graph.split_qkv,
        screen=settings.screen,
    )


def _tested_again(model: Model, engine: Engine, circuit: Circuit) -> Uncertainty:
    return uncertainty(model, engine.task, circuit)


def _sought_elsewhere(model: Model, engine: Engine, circuit: Circuit) -> AnotherCircuit:
    return another_circuit(model, engine.task, circuit)


CHECKS: Mapping[str, Check] = {
    "measurement": Check(
        "Measure",
        "balance-scale",
        "How faithful, complete and minimal it is on held-out prompts, and what random circuits of "
        "its size do",
        _measured,
        measurement_html,
        is_of_edges=True,
    ),
    "stability": Check(
        "Stability",
        "repeat",
        "Searches again in other orders, on other draws of the prompts and with other seeds; the "
        "graph then shows how often each edge was kept",
        _searched_again,
        stability_html,
    ),
    "uncertainty": Check(
        "Certainty",
        "question-circle-o",
        "Which decisions hang on the prompts: tests within two standard errors of the threshold, "
        "and how many prompts would settle them",
        _tested_again,
        uncertainty_html,
    ),
    "another": Check(
        "Another one",
        "random",
        "Looks for a circuit that is as faithful and shares as few edges with this one as possible",
        _sought_elsewhere,
        another_circuit_html,
    ),
}


class Checks:
    """One result of each kind at most, of the circuit that is shown.

    Attributes:
        box: all the widgets.
        steadiness: edge id -> the share of repeated searches that keep it; None: there were none.
        notes: edge id -> that its decision is uncertain, in words.
    """

    def __init__(
        self,
        runner: Runner,
        lock: threading.RLock,
        results: dict[str, tuple[Circuit, Any]],
        changed: Callable[[], None],
    ):
        """Makes the widgets.

        Args:
            runner: has it computed.
            lock: held around every write to the page.
            results: of each check the circuit and what was found; kept up to date, and outlives
                the page.
            changed: called when `steadiness` or `notes` have changed.
        """
        self._runner, self._lock, self._changed = runner, lock, changed
        self._results = results
        self.steadiness: dict[str, float] | None = None
        self.notes: dict[str, str] = {}
        self._error: Exception | None = None
        self._circuit: Circuit | None = None
        self._waits_for = ""
        self.buttons = {
            name: icon_button(check.button, check.icon, check.tooltip, width="auto")
            for name, check in CHECKS.items()
        }
        for name, button in self.buttons.items():
            button.on_click(lambda _, name=name: self.ask(name))
        self.cancel = icon_button("Cancel", "times", "Give it up", width="90px")
        self.cancel.on_click(lambda _: runner.give_up_errands())
        self.progress, self.html = widgets.HTML(), widgets.HTML()
        row = widgets.HBox(
            [
                *self.buttons.values(),
                self.cancel,
                self.progress,
            ],
            layout=widgets.Layout(flex_flow="row wrap", align_items="center"),
        )
        self.box = widgets.VBox([row, self.html], layout=widgets.Layout(width="100%"))
        self.box.add_class("acdc-checks")
        self._show()

    def circuit_changed(self, circuit: Circuit | None, status: str) -> None:
        """Takes in the circuit; results of another one go.

        Args:
            circuit: so far, or None.
            status: of the search.
        """
        done = circuit if status == "done" else None
        if done is self._circuit:
            return
        self._circuit, self._error = done, None
        # While another one is searched for they stay: it may be the same.
        if done is not None:
            others = [
                name
                for name, (checked, _) in self._results.items()
                if not CHECKS[name].is_of(checked, done)
            ]
            for name in others:
                del self._results[name]
        self._take_in_results()
        self._show()

    def ask(self, name: str) -> None:
        """Has the circuit checked.

        Args:
            name: of the check.
        """
        with self._lock:
            if self._circuit is None or self._waits_for:
                return
            self._waits_for, self._error = name, None
            self._show()
        run = CHECKS[name].run
        self._runner.run_errand(
            lambda model, engine, circuit: (circuit, run(model, engine, circuit)),
            partial(self._answered, name),
        )

    def tell(self, activity: str) -> None:
        """Shows how far it is, if it is at work.

        Args:
            activity: in words.
        """
        self.progress.value = waiting_html(activity) if self._waits_for else ""

    def _answered(
        self, name: str, result: tuple[Circuit, Any] | None, error: Exception | None
    ) -> None:
        with self._lock:
            self._waits_for = ""
            shown = self._circuit
            # A verified circuit may have come in its place meanwhile.
            if result is not None and (shown is None or CHECKS[name].is_of(result[0], shown)):
                self._results[name] = result
                self._take_in_results()
            elif not isinstance(error, GivenUpError):
                self._error = error
            self._show()

    def _take_in_results(self) -> None:
        before = self.steadiness, self.notes
        # While another circuit is searched for, what was found is of none that is drawn.
        found = {n: result for n, (_, result) in self._results.items() if self._circuit is not None}
        self.steadiness, self.notes = None, {}
        if "stability" in found:
            edges = found["stability"].edges
            self.steadiness = dict(zip(edges["edge"], edges["all"], strict=True))
        if "uncertainty" in found:
            self.notes = uncertain_notes(found["uncertainty"])
        if before != (self.steadiness, self.notes):
            self._changed()

    def _show(self) -> None:
        self.html.value = self.text()
        for button in self.buttons.values():
            button.disabled = self._circuit is None or bool(self._waits_for)
        self.cancel.layout.display = "" if self._waits_for else "none"
        self.tell("")

    def text(self) -> str:
        """What is shown, as HTML."""
        if self._circuit is None:
            return ""
        parts = [CHECKS[name].html(result) for name, (_, result) in self._results.items()]
        if self._error is not None:
            parts.append(error_html(self._error))
        return "".join(parts)
