"""The explorer's buttons."""

from __future__ import annotations

import ipywidgets as widgets


def icon_button(
    text: str, icon: str, tooltip: str, style: str = "", width: str = "96px"
) -> widgets.Button:
    """A button that says what it does by an icon, and a text unless that is empty.

    Args:
        text: on the button, beside the icon.
        icon: its Font Awesome name.
        tooltip: says in words what it does.
        style: as ipywidgets' `button_style`.
        width: of the button, as in CSS.
    """
    return widgets.Button(
        description=text, icon=icon, tooltip=tooltip, button_style=style,
        layout=widgets.Layout(width=width),
    )  # fmt: skip
