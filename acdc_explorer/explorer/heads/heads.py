"""The tab with the heads: what each of the circuit's is, and one of them on a prompt."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets
import pandas as pd

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.label_attention import attention_by_label
from acdc_explorer.explorer.heads import heads_html
from acdc_explorer.explorer.heads.head_table import head_columns
from acdc_explorer.explorer.part import Part
from acdc_explorer.explorer.selection import Selection
from acdc_explorer.explorer.state import State
from acdc_explorer.explorer.widgets.buttons import icon_button
from acdc_explorer.explorer.widgets.clickable import ClickableHTML
from acdc_explorer.explorer.widgets.data_table import DataTable
from acdc_explorer.explorer.words import error_html
from acdc_explorer.graph import Node
from acdc_explorer.heads.classes import known_classes
from acdc_explorer.heads.describe import HeadDescriptions, descriptions
from acdc_explorer.heads.facts import facts_of
from acdc_explorer.heads.inspect import HeadOnPrompt, head_on_prompt
from acdc_explorer.models.model import Model
from acdc_explorer.runner.errands import GivenUpError

_AT_REST = ("done", "stopped", "paused")


class Heads(Part):
    """Every head of the circuit in a row, and one of them in depth.

    Attributes:
        table: the heads of the circuit.
        ends: which head of a selected edge is shown.
        prompt: the number of the prompt that is shown.
        detail: what is told of the head on it.
    """

    title = "Heads"

    def __init__(self, state: State):
        """Makes an empty table.

        Args:
            state: that all parts share.
        """
        super().__init__(state)
        self.summary = widgets.HTML(heads_html.NOT_YET)
        self.summary.add_class("acdc-above-table")
        self.table = DataTable("heads", self._choose, missing="the head shown has no kept edges")
        self.ends = widgets.ToggleButtons(options=[], style={"button_width": "auto"})
        self.ends.observe(lambda _: self._end_chosen(), "value")
        self.prompt = widgets.BoundedIntText(
            0, min=0, max=0, description="Prompt", layout=widgets.Layout(width="160px"),
            tooltip="The number of the prompt on which attention is shown",
        )  # fmt: skip
        self.prompt.observe(lambda change: self._prompt_set(change.new), "value")
        before = icon_button("", "chevron-left", "The prompt before", "", "36px")
        after = icon_button("", "chevron-right", "The next prompt", "", "36px")
        before.on_click(lambda _: self._step(-1))
        after.on_click(lambda _: self._step(1))
        self.line = widgets.HTML(layout=widgets.Layout(flex="1 1 300px", min_width="0"))
        self.chooser = widgets.HBox(
            [self.ends, self.prompt, before, after, self.line],
            layout=widgets.Layout(flex_flow="row wrap", align_items="center"),
        )
        self.detail = ClickableHTML(
            heads_html.CHOOSE, "edge", lambda edge: self.state.select(Selection("edge", edge))
        )
        self.box.children = (self.summary, self.table, self.chooser, self.detail)
        self._setting = False
        # The circuit that the table tells of; what was measured; what all nodes write.
        self._of: Circuit | None = None
        self._found: HeadDescriptions | None = None
        self._writes: pd.DataFrame | None = None
        # What is shown below, and what was asked for.
        self._shown: tuple[HeadOnPrompt, Circuit, pd.DataFrame] | None = None
        self._asked: tuple[Node, int, Circuit] | None = None
        self._show_nothing(heads_html.NOT_YET)

    def open(self, is_open: bool) -> None:
        """Says whether it is seen; meanwhile another prompt may have been chosen elsewhere."""
        super().open(is_open)
        if is_open:
            with self.state.lock:
                self._show_selection()

    def circuit_changed(self) -> None:
        """Has the heads of the circuit measured, once it is found."""
        circuit = self.state.circuit
        if circuit is None:
            self._of = self._found = None
            self._show_nothing(heads_html.NOT_YET)
        elif self.state.snapshot.status in _AT_REST and circuit is not self._of:
            self._of = circuit
            if self._found is None:
                self.summary.value = heads_html.MEASURING

            def question(model: Model, engine: Engine, circuit: Circuit) -> Any:
                found = descriptions(engine, model, circuit, backups=False)
                return found, facts_of(engine, model).attribution.nodes

            self.measure(question, self._show_table, about="table")
        self._show_selection()

    def selection_changed(self) -> None:
        """Shows the selected head, or one at an end of the selected edge."""
        self._show_selection()

    def saved_html(self) -> str:
        """The heads, and the one that is shown."""
        if self._found is None:
            return ""
        head = "" if self._shown is None else self._head_html(live=False)
        return heads_html.saved_html(self._found, head)

    def say_error(self, error: Exception) -> None:
        """Says above the table what went wrong."""
        if isinstance(error, GivenUpError):
            # A new search has what takes long given up; it is measured again when that has ended.
            self._of = None
        else:
            self._asked = None
            self.summary.value = error_html(error)

    def _show_nothing(self, html: str) -> None:
        self.summary.value = html
        self.table.layout.display = self.chooser.layout.display = "none"
        self.detail.value, self._shown, self._asked = "", None, None

    def _show_table(self, measured: tuple[HeadDescriptions, pd.DataFrame]) -> None:
        found, self._writes = measured
        task = self.state.task
        known = known_classes(task) if task is not None else None
        looks_for_backups = known is not None and known.look_for_backups
        self._fill(found, without_backups=looks_for_backups)
        if looks_for_backups:
            # That takes long in a large model, and the rest need not wait for it.
            self.measure(
                lambda model, engine, circuit: descriptions(engine, model, circuit),
                self._fill,
                takes_long=True,
                about="backups",
            )

    def _fill(self, found: HeadDescriptions, *, without_backups: bool = False) -> None:
        self._found = found
        self.summary.value = heads_html.summary_html(found, without_backups=without_backups)
        names = [str(name) for name in found.table.index]
        self.table.show(
            names,
            head_columns(found.table),
            key_name="head",
            search=[
                f"{name} {Node.parse(name).label} {row['suggestion'] or ''} {row['facts']}"
                for name, row in zip(names, found.table.to_dict("records"), strict=True)
            ],
            nouns=("head", "heads"),
            hint="filter, as a2.h1 or mover",
            empty="No head has a kept edge.",
        )
        self.table.layout.display = ""
        self._show_selection()
        self._draw()

    def _choose(self, name: str) -> None:
        with self.state.lock:
            self.state.did("ax.describe_heads(model, task, circuit)")
        self.state.select(Selection("node", name))

    def _show_selection(self) -> None:
        """Has the selected head measured on the chosen prompt, unless that is there already."""
        circuit, task, selection = self.state.circuit, self.state.task, self.state.selection
        if circuit is None or task is None:
            return
        try:
            chosen = None if selection is None else selection.find(circuit.graph)
        except ValueError:
            # Of another model's circuit, which has just gone.
            chosen = None
        heads = [] if chosen is None else heads_html.ends_of(chosen)
        self._offer_ends(heads)
        self.chooser.layout.display = "" if heads else "none"
        if not heads:
            self.table.current, self._shown, self._asked = None, None, None
            self.detail.value = heads_html.CHOOSE
            if isinstance(chosen, Node):
                self.detail.value = heads_html.no_head_html(chosen, self._writes_of(chosen))
            return
        head = self.ends.value if self.ends.value in heads else heads[0]
        self.table.current = head.id
        prompt = self._chosen_prompt(task.n_prompts)
        self._set_prompt(task.n_prompts, prompt)
        self.line.value = heads_html.prompt_line(task, prompt)
        self._have_measured(head, prompt, circuit)

    def _have_measured(self, head: Node, prompt: int, circuit: Circuit) -> None:
        asked = self._asked
        # While a search runs, the circuit changes all the time.
        is_same = asked is not None and asked[2] is circuit
        still_holds = is_same or self.state.snapshot.status not in _AT_REST
        if asked is not None and asked[:2] == (head, prompt) and still_holds:
            return
        if asked is None or asked[0] != head:
            self.detail.value = f"<p>Measuring {head.label} …</p>"
        self._asked = head, prompt, circuit
        # Not if the circuit alone has changed.
        if self._of is not None and (asked is None or asked[:2] != (head, prompt)):
            self.state.did(f"ax.inspect_head(model, task, {head.id!r}, {prompt}, circuit)")

        def question(model: Model, engine: Engine, circuit: Circuit) -> Any:
            found = head_on_prompt(engine, model, head, prompt, circuit)
            return found, circuit, attention_by_label(engine, head)

        self.measure(question, self._show_head, about="head")

    def _show_head(self, measured: tuple[HeadOnPrompt, Circuit, pd.DataFrame]) -> None:
        self._shown = measured
        self._draw()

    def _draw(self) -> None:
        if self._shown is not None:
            self.detail.value = self._head_html()

    def _head_html(self, *, live: bool = True) -> str:
        assert self._shown is not None
        found, circuit, by_label = self._shown
        task = self.state.task
        if task is None:
            return ""
        described = None if self._found is None else self._found.row_of(found.head)
        return heads_html.head_html(found, task, circuit, by_label, described, live=live)

    def _writes_of(self, node: Node) -> dict[str, float] | None:
        writes: dict[Any, dict[Any, float]] = (
            {} if self._writes is None else self._writes.to_dict("index")
        )
        return writes.get(node.id)

    def _offer_ends(self, heads: list[Node]) -> None:
        """Which of the two heads of an edge is shown can be chosen."""
        options = [
            (f"{role} {head.label}", head)
            for role, head in zip(("sender", "receiver"), heads, strict=False)
        ]
        self._setting = True
        if tuple(options) != tuple(self.ends.options):
            self.ends.options = options
            # Its attention is what an edge into a head acts on.
            self.ends.value = heads[-1] if heads else None
        self._setting = False
        self.ends.layout.display = "" if len(heads) > 1 else "none"

    def _end_chosen(self) -> None:
        with self.state.lock:
            if not self._setting:
                self._show_selection()

    def _chosen_prompt(self, n_prompts: int) -> int:
        """The prompt that is looked into, here and in the tab of prompts."""
        kept = self.state.kept.get("prompt")
        return kept if isinstance(kept, int) and 0 <= kept < n_prompts else 0

    def _set_prompt(self, n_prompts: int, prompt: int) -> None:
        self._setting = True
        self.prompt.max = n_prompts - 1
        self.prompt.value = prompt
        self._setting = False

    def _step(self, by: int) -> None:
        self.prompt.value = min(max(self.prompt.value + by, 0), self.prompt.max)

    def _prompt_set(self, prompt: int) -> None:
        with self.state.lock:
            if not self._setting:
                self.state.kept["prompt"] = int(prompt)
                self._show_selection()
