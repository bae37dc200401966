"""The tab with the prompts: which of them the circuit fails on, and what its edges do on one."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets
import pandas as pd

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.engine.engine import Engine
from acdc_explorer.explorer.edge_names import edge_labels, search_texts
from acdc_explorer.explorer.part import Part
from acdc_explorer.explorer.prompts.prompt_tables import (
    effect_columns,
    prompt_columns,
    template_groups,
)
from acdc_explorer.explorer.prompts.prompts_html import (
    EFFECTS,
    MEASURING,
    NOT_YET,
    TOKENS_SHOWN,
    detail_html,
    saved_html,
    summary_html,
)
from acdc_explorer.explorer.selection import Selection
from acdc_explorer.explorer.state import DrawnBy, State
from acdc_explorer.explorer.widgets.data_table import DataTable
from acdc_explorer.explorer.words import error_html
from acdc_explorer.measures.by_prompt import ByPrompt, by_prompt, prompt_effects, top_tokens
from acdc_explorer.models.model import Model
from acdc_explorer.runner.errands import GivenUpError

# A run of one prompt for each of more edges takes long in a large model.
_QUICK_EDGES = 300
_ENDED = ("done", "stopped")


class Prompts(Part):
    """Every prompt in a row, and one of them in depth.

    Attributes:
        prompts: the table of prompts.
        detail: what is told of the chosen one.
        effects: the table of what edges do on it.
        draws: whether the graph is drawn by these.
    """

    title = "Prompts"

    def __init__(self, state: State):
        """Makes empty tables.

        Args:
            state: that all parts share.
        """
        super().__init__(state)
        self.summary, self.detail = widgets.HTML(NOT_YET), widgets.HTML()
        self.summary.add_class("acdc-above-table")
        self.prompts = DataTable("prompts", self._choose, missing="the chosen prompt is not shown")
        self.effects = DataTable(
            "effects on this prompt", lambda edge: self.state.select(Selection("edge", edge))
        )
        self.draws = widgets.ToggleButton(
            False,
            description="Draw the graph by these",
            tooltip="Draws each edge of the graph by what it adds on this prompt",
            layout=widgets.Layout(width="auto", align_self="flex-start"),
        )
        self.draws.observe(lambda change: self._draw(change.new), "value")
        side = widgets.VBox([widgets.HTML(EFFECTS), self.draws, self.effects])
        for part, flex in ((self.detail, "3 1 530px"), (side, "2 1 380px")):
            part.layout.flex, part.layout.min_width, part.layout.max_width = flex, "0", "100%"
        self.below = widgets.HBox(
            [self.detail, side], layout=widgets.Layout(flex_flow="row wrap", width="100%")
        )
        self.below.add_class("acdc-below-table")
        self.box.children = (self.summary, self.prompts, self.below)
        # By which the graph can be drawn.
        self._drawn_by: DrawnBy | None = None
        # What was found, of which circuit; and whether that is still to come.
        self._of: Circuit | None = None
        self._found: ByPrompt | None = None
        self._waits = False
        # Of which circuit the script says that its prompts were looked at.
        self._noted: Circuit | None = None
        self._show_nothing(NOT_YET)

    @property
    def chosen(self) -> int | None:
        """The number of the prompt that is looked into, or None."""
        # A session's file may hold anything.
        kept = self.state.kept.get("prompt")
        return kept if isinstance(kept, int) and kept >= 0 else None

    def circuit_changed(self) -> None:
        """Has the circuit measured on each prompt, once it is found."""
        circuit = self.state.circuit if self.state.snapshot.status in _ENDED else None
        if circuit is None:
            self._of = None
            self._show_nothing(NOT_YET)
        elif circuit is not self._of:
            self._of, self._waits = circuit, True
            if self._found is None:
                self._show_nothing(MEASURING)

            def question(model: Model, engine: Engine, circuit: Circuit) -> Any:
                return by_prompt(model, engine.task, circuit)

            self.measure(question, self._show_prompts, takes_long=True)

    def selection_changed(self) -> None:
        """Marks the selected edge among those with effects."""
        selection = self.state.selection
        is_edge = selection is not None and selection.kind == "edge"
        self.effects.current = selection.id if selection is not None and is_edge else None

    def saved_html(self) -> str:
        """The prompts that stand first."""
        return saved_html(self._found) if self._found is not None else ""

    def say_error(self, error: Exception) -> None:
        """Says above the table what went wrong."""
        self._of, self._waits = None, False
        # A new search has what is measured given up; it is measured again when that has ended.
        if not isinstance(error, GivenUpError):
            self._show_nothing(error_html(error))

    def _show_nothing(self, html: str) -> None:
        self._found = None
        self.summary.value = html
        self.prompts.layout.display = self.below.layout.display = "none"

    def _show_prompts(self, found: ByPrompt) -> None:
        self._found, self._waits = found, False
        rows = found.worst_first()
        self.summary.value = summary_html(found)
        self.prompts.show(
            [str(row) for row in rows.index],
            prompt_columns(found, rows),
            key_name="prompt",
            search=[f"{row} {text}" for row, text in rows.text.items()],
            nouns=("prompt", "prompts"),
            hint="filter by words or the number",
            empty="The task has no prompts.",
            groups=template_groups(found),
        )
        self.prompts.layout.display = ""
        if self.chosen is not None and self.chosen < len(rows):
            self._look_into(self.chosen)
        else:
            self.below.layout.display = "none"

    def _choose(self, key: str) -> None:
        with self.state.lock:
            prompt = int(key)
            self.state.kept["prompt"] = prompt
            if self._noted is not self.state.circuit:
                self.state.did("ax.by_prompt(model, task, circuit).worst_first()")
            self._noted = self.state.circuit
            self.state.did(f"ax.top_tokens(model, task, circuit, {prompt})")
            self.state.did(f"ax.prompt_effects(model, task, circuit, {prompt})")
            # Else it is looked into as soon as the prompts have been measured anew.
            if not self._waits:
                self._look_into(prompt)

    def _look_into(self, prompt: int) -> None:
        """Has one prompt measured."""
        circuit, task, found = self.state.circuit, self.state.task, self._found
        if circuit is None or task is None or found is None:
            return
        self.prompts.current = str(prompt)
        self.detail.value = detail_html(task, found, circuit, prompt, None)
        self.below.layout.display = ""

        def question(model: Model, engine: Engine, circuit: Circuit) -> Any:
            of = model, engine.task, circuit
            tokens = top_tokens(*of, prompt, n=TOKENS_SHOWN)
            return circuit, prompt, tokens, prompt_effects(*of, prompt)

        self.measure(question, self._show_prompt, takes_long=len(circuit.kept) > _QUICK_EDGES)

    def _show_prompt(self, measured: tuple[Circuit, int, pd.DataFrame, pd.DataFrame]) -> None:
        circuit, prompt, tokens, effects = measured
        task, found = self.state.task, self._found
        if task is None or found is None:
            return
        self.detail.value = detail_html(task, found, circuit, prompt, tokens)
        edges = circuit.edges.set_index("edge", drop=False).loc[effects.edge]
        self.effects.show(
            effects.edge.tolist(),
            effect_columns(circuit, effects, edge_labels(edges)),
            key_name="edge",
            search=search_texts(edges),
            nouns=("edge", "edges"),
            hint="filter, as a2.h1, 2.1 or MLP 0",
            empty="The circuit has no edges.",
        )
        self.selection_changed()
        each = dict(zip(effects.edge, effects.effect, strict=True))
        self._drawn_by = DrawnBy(f"what edges add on prompt {prompt} alone", circuit, each)
        if self.draws.value:
            self._draw(True)

    def drawing_changed(self) -> None:
        """Shows whether the graph is drawn by this prompt's effects."""
        self.draws.value = self.state.drawn_by is not None and self.state.drawn_by is self._drawn_by

    def _draw(self, is_wanted: bool) -> None:
        """Has the graph drawn by the effects on the prompt, or as it was."""
        with self.state.lock:
            drawn = self.state.drawn_by
            if is_wanted and drawn is not self._drawn_by:
                self.state.draw_by(self._drawn_by)
            elif not is_wanted and drawn is not None and drawn is self._drawn_by:
                self.state.draw_by(None)
