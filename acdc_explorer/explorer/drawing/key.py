"""The key of the graph: what colours, dashes and widths mean; each part of it hides its edges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from html import escape

from acdc_explorer.explorer.drawing import shown as parts
from acdc_explorer.explorer.drawing.shown import DrawnEdge, Shown
from acdc_explorer.explorer.style import (
    DASHES,
    KIND_COLOURS,
    KIND_NAMES,
    PREVIEW_COLOUR,
    UNCONNECTED_COLOUR,
    WIDTHS,
)
from acdc_explorer.explorer.widgets.clickable import ClickableHTML
from acdc_explorer.explorer.words import counted


class Key:
    """Buttons that tell the parts of the picture, and hide and show them.

    Attributes:
        widget: the buttons.
    """

    def __init__(self, toggled: Callable[[str], None]):
        """Makes an empty key.

        Args:
            toggled: called with the name of a part that was clicked.
        """
        self.widget = ClickableHTML("", "part", toggled, "acdc-key")

    def show(
        self,
        kept: Sequence[DrawnEdge],
        shown: Shown,
        *,
        labels: Sequence[str],
        has_preview: bool,
        can_merge: bool,
        can_fold: bool,
    ) -> None:
        """Says what is drawn.

        Args:
            kept: all kept edges, drawn or not.
            shown: what the user wants to see.
            labels: position labels at which edges are searched by themselves.
            has_preview: whether edges are drawn that are only expected.
            can_merge: whether heads have several inputs.
            can_fold: whether there are layers or heads to be folded.
        """
        counts = Counter(part for each in kept for part in each.parts())

        def button(part: str, sample: str, text: str, title: str) -> str:
            pressed = str(shown.shows(part)).lower()
            said = f"{title}: {counted(counts[part], 'edge')}"
            return _button(part, pressed, f"{sample} {escape(text)}", said)

        groups = [
            [button(kind, _line(KIND_COLOURS[kind]), KIND_NAMES[kind], "Edges of this kind")
             for kind in parts.KINDS],
            [button(parts.HELPS, _line(), "helps", "Their removal does damage"),
             button(parts.HURTS, _line(dash=DASHES["hurts"]), "hurts", "Their removal helps")],
            [button(part, _line(width=WIDTHS[size]), name, "Effect, of the clean metric")
             for size, (part, name) in enumerate(zip(parts.SIZES, parts.SIZE_NAMES, strict=True))],
        ]  # fmt: skip
        if n_unconnected := counts[parts.UNCONNECTED]:
            sample = _line(UNCONNECTED_COLOUR, 1.5, DASHES["unconnected"])
            title = "Kept when tested, but not on any path from input to logits now"
            name = f"{n_unconnected:,} lead{'s' if n_unconnected == 1 else ''} from nothing"
            groups.append([button(parts.UNCONNECTED, sample, name, title)])
        if has_preview:
            sample = _line(PREVIEW_COLOUR, 1.5, DASHES["preview"])
            pressed = str(shown.shows(parts.PREVIEW)).lower()
            title = "Attribution expects them to stay; not tested yet"
            groups.append([_button(parts.PREVIEW, pressed, f"{sample} expected", title)])
        if labels:
            groups.append([button(f"@{label}", "", f"@{label}", "Edges at this position")
                           for label in labels])  # fmt: skip
        choices = []
        if can_merge:
            merged = str(shown.merged).lower()
            title = "One line for the edges from one node into another's q, k and v"
            choices.append(_button("merged", merged, "merge q, k, v", title))
        if can_fold:
            folded = str(shown.folded and not shown.opened).lower()
            title = "Fold layers and heads in which nothing is kept"
            choices.append(_button("folded", folded, "fold empty", title))
        groups.append(choices)
        html = "".join(f"<span>{''.join(group)}</span>" for group in groups if group)
        if html != self.widget.value:
            self.widget.value = html


def _button(part: str, pressed: str, text: str, title: str) -> str:
    return (
        f'<button type="button" data-part="{escape(part)}" aria-pressed="{pressed}" '
        f'title="{escape(title)}">{text}</button>'
    )


def _line(colour: str = "currentColor", width: float = 2.4, dash: str = "") -> str:
    """A piece of a line as it is drawn."""
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        '<svg width="22" height="8" aria-hidden="true"><line x1="1" x2="21" y1="4" y2="4" '
        f'stroke="{colour}" stroke-width="{width}"{dashes}/></svg>'
    )
