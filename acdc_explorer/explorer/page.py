"""The page: what the explorer is made of, where it stands, and its copy as a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import ipywidgets as widgets

from acdc_explorer.explorer.checks.checks import Checks
from acdc_explorer.explorer.controls.controls import Controls
from acdc_explorer.explorer.controls.own_prompts import OwnPrompts
from acdc_explorer.explorer.controls.status_html import error_html, status_html
from acdc_explorer.explorer.drawing.graph_view import GraphView
from acdc_explorer.explorer.hand.what_if import WhatIf
from acdc_explorer.explorer.panel.side_panel import SidePanel
from acdc_explorer.explorer.panel.threshold_plot import path_html
from acdc_explorer.explorer.part import Part
from acdc_explorer.explorer.saved_page.page import write_page
from acdc_explorer.explorer.style import CSS
from acdc_explorer.explorer.widgets.clickable import ClickableHTML
from acdc_explorer.runner.state import Snapshot

# A widget has these widgets of its own.
_LOOKS = ("layout", "style")


class Page:
    """Puts the parts together.

    Attributes:
        parts: the widgets, from the top.
        status: where the circuit stands, in one line.
        tabs: below the graph.
        error: what went wrong, in words, or nothing.
    """

    def __init__(
        self,
        controls: Controls,
        own_prompts: OwnPrompts,
        graph_view: GraphView,
        side_panel: SidePanel,
        what_if: WhatIf,
        checks: Checks,
        parts: Sequence[Part],
        threshold_clicked: Callable[[str], None],
        files: widgets.Widget,
        presence: widgets.Widget,
    ):
        """Arranges the parts.

        Args:
            controls: at the top.
            own_prompts: below them.
            graph_view: on the left.
            side_panel: on the right.
            what_if: above it.
            checks: below both, in the second tab; the first has the circuits of other thresholds.
            parts: in the other tabs.
            threshold_clicked: called with the threshold of a clicked interval.
            files: buttons to save and load, below the graph.
            presence: hears whether the page is on view.
        """
        self._controls, self._graph_view, self._side_panel = controls, graph_view, side_panel
        self._checks, self._parts = checks, parts
        self._shown = Snapshot("idle")
        self.status, self.error = widgets.HTML(), widgets.HTML()
        self._threshold_plot = ClickableHTML("", "threshold", threshold_clicked)
        side = widgets.VBox([what_if.box, side_panel.box], layout=widgets.Layout(flex="1 0 350px"))
        side.add_class("acdc-side")
        below = widgets.HBox(
            [files, controls.columns], layout=widgets.Layout(justify_content="space-between")
        )
        graph = widgets.VBox(
            [graph_view.box, below], layout=widgets.Layout(flex="3 1 420px", min_width="420px")
        )
        body = widgets.HBox(
            [graph, side],
            layout=widgets.Layout(flex_flow="row wrap", width="100%"),
        )
        body.add_class("acdc-body")
        self.tabs = widgets.Tab(
            [self._threshold_plot, checks.box, *(part.box for part in parts)],
            titles=["Thresholds", "Is it right?", *(part.title for part in parts)],
            selected_index=0,
        )
        self.tabs.add_class("acdc-tabs")
        self.tabs.observe(lambda change: self._open(change.new), "selected_index")
        self.parts = [
            widgets.HTML(CSS),
            controls.box,
            own_prompts.box,
            self.status,
            self.error,
            body,
            self.tabs,
            presence,
        ]

    def _open(self, index: int | None) -> None:
        """Has the parts know which of them is seen."""
        for number, part in enumerate(self._parts, start=2):
            part.open(number == index)

    def show(self, snapshot: Snapshot, shown_position: str | None) -> None:
        """Brings all but the graph and the panel in line with a search.

        Args:
            snapshot: of the search.
            shown_position: the position label by which the graph is drawn, or None.
        """
        if snapshot.status == "error" or snapshot.circuit is not None:
            # What another request led to must not stand beside an error.
            void = snapshot.circuit is None
            self._graph_view.figure.box.layout.visibility = "hidden" if void else "visible"
        self._controls.show(snapshot)
        self.write_status(snapshot, shown_position)
        self.error.value = error_html(snapshot.error)
        self._threshold_plot.value = path_html(snapshot)
        self._checks.circuit_changed(snapshot.circuit, snapshot.status)
        self._checks.tell(snapshot.activity)

    def say_error(self, error: Exception) -> None:
        """Says what went wrong, until there is something else to say."""
        self.error.value = error_html(error)

    def write_status(self, snapshot: Snapshot, shown_position: str | None) -> None:
        """Says where the circuit stands and how much of it is drawn."""
        self._shown = snapshot
        n_drawn = self._graph_view.figure.n_drawn
        self.status.value = status_html(snapshot, n_drawn, shown_position)

    def close(self) -> None:
        """Closes all the widgets."""
        for part in self.parts:
            close_with_parts(part)

    def save(self, path: str | os.PathLike[str], shown_position: str | None) -> None:
        """Writes what is on the page as a file that opens without a kernel.

        Args:
            path: of the file.
            shown_position: the position label by which the graph is drawn, or None.
        """
        figure, snapshot = self._graph_view.figure, self._shown
        above = [
            status_html(snapshot, figure.n_drawn, shown_position, live=False),
            error_html(snapshot.error),
        ]
        below = [
            path_html(snapshot, live=False),
            self._checks.text(),
            *(part.saved_html() for part in self._parts),
        ]
        panel, selection = self._side_panel.html(live=False), self._side_panel.selection
        write_page(path, self._graph_view, snapshot, selection, panel, above, below)


def close_with_parts(widget: widgets.Widget) -> None:
    """Closes a widget and those that it is made of, which ipywidgets would keep for ever."""
    parts = [*getattr(widget, "children", ()), *(getattr(widget, n, None) for n in _LOOKS)]
    widget.close()
    for part in parts:
        if isinstance(part, widgets.Widget):
            close_with_parts(part)
