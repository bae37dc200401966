"""The explorer's controls: plain ipywidgets, each operable by keyboard in JupyterLab.

No Dropdown and no Select: in a notebook their arrow keys move to another cell.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from acdc_explorer.explorer.controls.status_html import progress_html
from acdc_explorer.explorer.widgets.buttons import icon_button
from acdc_explorer.explorer.widgets.clickable import ToggleStates
from acdc_explorer.explorer.widgets.threshold_slider import HIGHEST, LOWEST, ThresholdSlider
from acdc_explorer.models.naming import short_name
from acdc_explorer.options import METHOD_NAMES, METHODS
from acdc_explorer.runner.state import Request, Snapshot
from acdc_explorer.tasks.task import Task


class Controls:
    """What is searched, the threshold, and the buttons of the search.

    Attributes:
        box: all of them but `columns`, in two rows where there is room, with more on demand.
        columns: what the graph's columns are; to stand beside the graph.
    """

    def __init__(self, models: Sequence[str], tasks: Sequence[str]):
        """Makes the widgets; `connect` says what they do.

        Args:
            models: names to offer; any other name, folder or file can be typed.
            tasks: names to offer.
        """
        self._offered, self._all_tasks = tuple(models), tuple(tasks)
        # What was asked for by another name than is shown: folders, files and objects.
        self._given: dict[str, Any] = {}
        narrow = {"description_width": "initial"}
        self.model = widgets.Combobox(
            options=tuple(models), description="Model", ensure_option=False, style=narrow,
            continuous_update=False, layout=widgets.Layout(width="160px"),
            tooltip="A name on offer or on the Hugging Face hub, a folder, or a GGUF file; "
                    "Enter to load it",
        )  # fmt: skip
        self.task = widgets.Combobox(
            options=tuple(tasks), description="Task", ensure_option=False, style=narrow,
            continuous_update=False, layout=widgets.Layout(width="140px"),
            tooltip="What the circuit is searched for; Enter to choose",
        )  # fmt: skip
        self.n_prompts = widgets.BoundedIntText(
            min=1, max=1_000_000, description="Prompts", style=narrow,
            layout=widgets.Layout(width="112px"),
            continuous_update=False, tooltip="Number of clean prompts, each with a corrupted twin",
        )  # fmt: skip
        self.seed = widgets.BoundedIntText(
            min=0, max=2**31 - 1, description="Seed", style=narrow,
            layout=widgets.Layout(width="92px"), continuous_update=False,
            tooltip="Seed of the prompts",
        )  # fmt: skip
        self.method = widgets.ToggleButtons(
            options=[(METHOD_NAMES[method], method) for method in METHODS],
            tooltips=["Remove edge after edge from the full model",
                      "Grow the circuit from the logits backwards, patching one edge at a time",
                      "Approximate: edges by their attribution, from gradients",
                      "Approximate: likewise, gradients averaged on the way to the ablated run"],
            style={"button_width": "auto"}, layout=widgets.Layout(width="auto"),
        )  # fmt: skip
        self.positions = widgets.ToggleButton(
            description="positions", icon="map-marker", layout=widgets.Layout(width="100px"),
            tooltip="Search edges at each position label of the task by themselves",
        )  # fmt: skip
        self.own_prompts = widgets.ToggleButton(
            description="own prompts", icon="file-text-o", layout=widgets.Layout(width="130px"),
            tooltip="Paste or upload prompts of your own",
        )  # fmt: skip
        self.columns = widgets.ToggleButtons(
            options=[("by head", "heads"), ("by position", "positions")],
            tooltips=["Columns are heads", "Columns are position labels"],
            style={"button_width": "auto"}, layout=widgets.Layout(width="auto", display="none"),
        )  # fmt: skip
        self._slide: Callable[[float, bool], None] = lambda percent, rests: None
        self.threshold = ThresholdSlider(lambda percent, rests: self._slide(percent, rests))
        self.faithfulness = widgets.FloatSlider(
            value=0.0, min=0.0, max=100.0, step=1.0, description="Faithfulness %", style=narrow,
            readout_format=".0f", continuous_update=False, layout=widgets.Layout(width="230px"),
            tooltip="Looks for the largest threshold whose circuit keeps this share of the metric",
        )  # fmt: skip
        self.faithfulness.add_class("acdc-faithfulness")
        self.rule = widgets.ToggleButtons(
            options=[("change", "abs"), ("damage", "signed"), ("drift", "cumulative")],
            tooltips=["An edge goes if its removal changes the metric little, up or down",
                      "An edge goes unless its removal does damage: the sparsest faithful circuits",
                      "An edge goes while the circuit stays close to the full model"],
            style={"button_width": "auto"}, layout=widgets.Layout(width="auto"),
        )  # fmt: skip
        self.lower, self.higher = (
            icon_button(
                "", f"chevron-{side}", f"The circuit of the next {which} thresholds", "", "28px"
            )
            for side, which in (("left", "lower"), ("right", "higher"))
        )
        self.threshold_text = widgets.HTML(layout=widgets.Layout(min_width="100px"))
        self.run = icon_button("Run", "play", "Search from the start", "primary", "70px")
        self.pause = icon_button("", "pause", "Pause the search", "", "36px")
        self.stop = icon_button("", "stop", "Stop the search and keep what it found", "", "36px")
        self.options = widgets.ToggleButton(
            description="Options", icon="sliders", layout=widgets.Layout(width="92px"),
            tooltip="Method, rule, positions, number of prompts, prompts of your own",
        )  # fmt: skip
        self.progress = widgets.HTML(layout=widgets.Layout(flex="1 1 280px"))
        threshold = [self.threshold, self.lower, self.higher, self.threshold_text]
        buttons = [self.run, self.pause, self.stop, self.options]
        rule = _line([widgets.Label("Rule"), self.rule])
        prompts = [self.n_prompts, self.seed, self.own_prompts]
        self._options = _line([self.method, rule, self.positions, *prompts])
        self._options.layout.display = "none"
        self.options.observe(lambda change: self._show_options(change.new), "value")
        self.box = widgets.VBox(
            [
                _line([self.model, self.task, *threshold]),
                _line([*buttons, self.faithfulness, self.progress]),
                self._options,
                ToggleStates(),
            ]
        )  # fmt: skip
        self.box.add_class("acdc-controls")

    def _show_options(self, visible: bool) -> None:
        self._options.layout.display = "" if visible else "none"

    def show_threshold(self, threshold: float | str, full: float | None, unit: str) -> None:
        """Shows a threshold on the slider, and in words once the clean metric is known."""
        text = str(threshold).strip()
        if text.endswith("%"):
            percent = float(text[:-1])
        elif full:
            percent = 100 * float(text) / abs(full)
        else:
            return
        self.threshold.value = min(max(percent, LOWEST), HIGHEST)
        if full:
            logits = f"{percent / 100 * abs(full):.3g} {unit}"
            self.threshold_text.value = f"= {logits}"
            self.threshold.text = f"{percent:.3g}% = {logits}"

    def show_faithfulness(self, faithfulness: float) -> None:
        """Shows how faithful a circuit is; beyond the slider's ends, the end."""
        if math.isfinite(faithfulness):
            self.faithfulness.value = min(max(100 * faithfulness, 0.0), 100.0)

    def connect(
        self,
        *,
        set_request: Callable[[str, Any], None],
        set_option: Callable[[str, Any], None],
        set_columns: Callable[[str], None],
        show_own_prompts: Callable[[bool], None],
        slide: Callable[[float, bool], None],
        step: Callable[[int], None],
        slide_faithfulness: Callable[[float], None],
        run: Callable[[], None],
        pause: Callable[[], None],
        stop: Callable[[], None],
    ) -> None:
        """Says what is called when the user touches a control.

        Args:
            set_request: with a field of the request and its new value.
            set_option: with an option of `find_circuit` and its new value.
            set_columns: with "heads" or "positions".
            show_own_prompts: with whether to show them.
            slide: with the threshold in per cent, and whether the slider rests there.
            step: with -1 for the circuit of the next lower thresholds, 1 for the next higher.
            slide_faithfulness: with the faithfulness to reach, in per cent.
            run: the button; so are `pause` and `stop`.
            pause: likewise.
            stop: likewise.
        """

        def on_value(widget: Any, call: Callable[[Any], None]) -> None:
            widget.observe(lambda change: call(change.new), "value")

        on_value(self.model, lambda name: set_request("model", self._given.get(name, name)))
        for name in ("task", "n_prompts", "seed"):
            on_value(getattr(self, name), partial(set_request, name))
        for name in ("method", "rule", "positions"):
            on_value(getattr(self, name), partial(set_option, name))
        on_value(self.own_prompts, show_own_prompts)
        on_value(self.columns, set_columns)
        self._slide = slide
        on_value(self.faithfulness, slide_faithfulness)
        self.lower.on_click(lambda _: step(-1))
        self.higher.on_click(lambda _: step(1))
        for button, press in ((self.run, run), (self.pause, pause), (self.stop, stop)):
            button.on_click(lambda _, press=press: press())

    def show_request(self, request: Request) -> None:
        """Shows what is searched for; prompts of one's own have no number or seed to choose."""
        shown = _model_shown(request.model)
        if shown != request.model and shown not in self._offered:
            self._given[shown] = request.model
            self.model.options = (*self._offered, *self._given)
        self.model.value, self.task.value = shown, name_of(request.task)
        self.n_prompts.value, self.seed.value = request.n_prompts, request.seed
        self.n_prompts.disabled = self.seed.disabled = isinstance(request.task, Task)
        self.method.value = request.options.get("method", "acdc")
        if request.options.get("rule"):
            self.rule.value = request.options["rule"]
        self.positions.value = bool(request.options.get("positions"))
        usual = {"method": "acdc", "rule": "abs", "positions": False}
        if any(request.options.get(name, value) != value for name, value in usual.items()):
            self.options.value = True

    def offer_tasks(self, names: Sequence[str]) -> None:
        """Offers tasks that can be made for the model; without any, since it is not there, all."""
        offered = tuple(names) or self._all_tasks
        if self.task.options != offered:
            self.task.options = offered

    def show_columns(self, columns: str | None) -> None:
        """Shows what the graph's columns are; None: there is no choice, since no positions."""
        self.columns.layout.display = "none" if columns is None else ""
        if columns is not None:
            self.columns.value = columns

    def show(self, snapshot: Snapshot) -> None:
        """Brings buttons and progress in line with the search."""
        status = snapshot.status
        active = status in ("running", "loading")
        self.pause.disabled = not (active or status == "paused")
        self.stop.disabled = self.pause.disabled
        paused = status == "paused"
        self.pause.tooltip = "Go on with the search" if paused else "Pause the search"
        self.pause.icon = "play" if paused else "pause"
        self.progress.value = progress_html(snapshot)


def _line(children: Sequence[widgets.Widget]) -> widgets.HBox:
    """Widgets side by side, and below one another where there is no room."""
    layout = widgets.Layout(flex_flow="row wrap", align_items="center", grid_gap="0 6px")
    return widgets.HBox(children, layout=layout)


def _model_shown(given: Any) -> str:
    """What a model is called in its box; a path that leads nowhere stays whole, to be mended."""
    name = name_of(given)
    is_wrong = isinstance(given, (str, os.PathLike)) and not Path(name).expanduser().exists()
    return name if is_wrong else short_name(name)


def name_of(given: Any) -> str:
    """What a model or task is called in its box."""
    if isinstance(given, (str, os.PathLike)):
        return os.fspath(given)
    name = getattr(given, "name", None) or getattr(getattr(given, "cfg", None), "model_name", None)
    return str(name or type(given).__name__)
