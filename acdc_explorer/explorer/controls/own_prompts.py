"""A place in the explorer for prompts of one's own: paste or upload CSV, look at them, search."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets as widgets

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.engine.engine import Engine
from acdc_explorer.models import Model
from acdc_explorer.runner.runner import Runner
from acdc_explorer.task_check import check_task, preview_task
from acdc_explorer.tasks import Task

_ROWS_SHOWN = 8
_EXAMPLE = "clean,corrupted,answer,wrong_answer\n"


class OwnPrompts:
    """Turns CSV text into a task, and tells what is wrong with it or what the model makes of it.

    Attributes:
        box: the widgets.
    """

    def __init__(self, runner: Callable[[], Runner], lock: Any, use: Callable[[Task], None]):
        """Makes the widgets, hidden.

        Args:
            runner: gives the runner, whose worker does the work with the model that is loaded.
            lock: held around every write to the page.
            use: called with the task that is to be searched.
        """
        self._runner, self._lock, self._use = runner, lock, use
        self._task: Task | None = None
        self.text = widgets.Textarea(
            placeholder=f"{_EXAMPLE}… one prompt per line; further columns label positions",
            layout=widgets.Layout(width="99%", height="110px"),
        )
        self.upload = widgets.FileUpload(
            accept=".csv,.tsv,.txt", multiple=False, description="Upload CSV",
            layout=widgets.Layout(width="130px"),
        )  # fmt: skip
        self.check = widgets.Button(
            description="Check", icon="list", layout=widgets.Layout(width="96px"),
            tooltip="Read the prompts and run the model on them",
        )  # fmt: skip
        self.search = widgets.Button(
            description="Search", icon="play", button_style="primary", disabled=True,
            layout=widgets.Layout(width="96px"), tooltip="Search the circuit of these prompts",
        )  # fmt: skip
        self.found = widgets.HTML()
        self.box = widgets.VBox(
            [self.text, widgets.HBox([self.upload, self.check, self.search]), self.found],
            layout=widgets.Layout(display="none", width="100%"),
        )
        self.box.add_class("acdc-own-prompts")
        self.upload.observe(self._uploaded, "value")
        self.check.on_click(lambda _: self._check())
        self.search.on_click(lambda _: self._search())

    def show(self, visible: bool) -> None:
        """Shows or hides the widgets."""
        self.box.layout.display = "" if visible else "none"

    def _uploaded(self, change: Any) -> None:
        if not change.new:
            return
        content = bytes(change.new[0]["content"])
        try:
            self.text.value = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            self._say_error("the file is not text in UTF-8")
            return
        self._check()

    def _check(self) -> None:
        """Has the worker read the prompts and run the model on them."""
        text = self.text.value
        self._task, self.search.disabled = None, True
        self.found.value = "<p>Reading the prompts …</p>"

        def question(model: Model, engine: Engine, circuit: Circuit) -> Any:
            task = Task.from_csv_text(text, model)
            return task, check_task(model, task), preview_task(model, task).head(_ROWS_SHOWN)

        def answer(result: Any, error: Exception | None) -> None:
            with self._lock:
                if error is not None:
                    self._say_error(str(error) or type(error).__name__)
                    return
                task, check, preview = result
                more = task.n_prompts - len(preview)
                table = preview.to_html(escape=True, index=False, border=0)
                self.found.value = (
                    f"{check._repr_html_()}<div class='acdc-preview'>{table}</div>"
                    + (f"<p>and {more} more</p>" if more > 0 else "")
                )
                self._task, self.search.disabled = task, False

        self._runner().ask(question, answer)

    def _say_error(self, message: str) -> None:
        self.found.value = f'<div class="acdc-error" role="alert">{escape(message)}</div>'

    def _search(self) -> None:
        if self._task is not None:
            self._use(self._task)
