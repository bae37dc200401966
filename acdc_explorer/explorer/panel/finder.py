"""Choosing an edge or a node other than in the graph: by name, by rank, or from a list."""

from __future__ import annotations

from collections.abc import Sequence

import ipywidgets as widgets

from acdc_explorer.explorer.widgets.buttons import icon_button

_CHOICES = 16


class Finder:
    """Finding an edge without the mouse: by its name, or one after the other by size of effect.

    Attributes:
        search: where one types a name.
        shown: what the box says of itself; whatever else stands in it somebody has typed.
        previous: a button; so is `next`.
        next: likewise.
        box: all the widgets.
    """

    def __init__(self) -> None:
        self.shown = ""
        self.search = widgets.Combobox(
            placeholder="L1H2 → L3H0 q, or a node", ensure_option=False,
            continuous_update=False, layout=widgets.Layout(width="230px"),
            tooltip="Type an edge or a node, by its id or as it is called on the page (3.7, m3); "
                    "Enter to select it. Empty: nothing is selected",
        )  # fmt: skip
        self.search.add_class("acdc-finder")
        self.previous = icon_button(
            "", "chevron-left", "The edge with the next larger effect", "", "36px"
        )
        self.next = icon_button(
            "", "chevron-right", "The edge with the next smaller effect", "", "36px"
        )
        self.box = widgets.HBox([self.search, self.previous, self.next])

    def show(self, text: str) -> None:
        """Has the box say what is selected."""
        self.shown = text
        self.search.value = text


class Chooser:
    """A list of edges as buttons; a fixed number of them, since widgets are never freed."""

    def __init__(self) -> None:
        self.title = widgets.HTML()
        self.buttons = [
            widgets.Button(layout=widgets.Layout(width="98%", height="26px", display="none"))
            for _ in range(_CHOICES)
        ]
        self.box = widgets.VBox([self.title, *self.buttons])
        self.box.add_class("acdc-chooser")
        self.edge_ids: list[str] = []

    def show(self, title: str, choices: Sequence[tuple[str, str]]) -> None:
        """Offers edges, given as (edge id, text of the button); with none, hides itself."""
        shown = choices[:_CHOICES]
        self.edge_ids = [edge_id for edge_id, _ in shown]
        more = len(choices) - len(shown)
        self.title.value = f"<b>{title}</b>" + (f" ({more} more)" if more else "") if shown else ""
        for index, button in enumerate(self.buttons):
            visible = index < len(shown)
            button.description = shown[index][1] if visible else ""
            button.layout.display = "" if visible else "none"
