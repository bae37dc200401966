"""The key of the graph: what colours, dashes and widths mean; each part of it hides its edges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from html import escape

from acdc_explorer.explorer.drawing.key_parts import (
    BY_HAND,
    COMPARED,
    KINDS,
    PREVIEW,
    SELDOM,
    SIGNS,
    SIZES,
    UNCONNECTED,
    KeyPart,
    sample,
)
from acdc_explorer.explorer.drawing.shown import DrawnEdge, Shown
from acdc_explorer.explorer.widgets.clickable import ClickableHTML
from acdc_explorer.explorer.words import counted

# The button that compares with the circuit before.
CHANGES = "changes"


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
        marks_changes: bool,
    ) -> None:
        """Says what is drawn.

        Args:
            kept: all kept edges, drawn or not.
            shown: what the user wants to see.
            labels: position labels at which edges are searched by themselves.
            has_preview: whether edges are drawn that are only expected.
            can_merge: whether heads have several inputs.
            can_fold: whether there are layers or heads to be folded.
            marks_changes: whether the circuit is compared with the one that was shown before.
        """
        counts = Counter(part for each in kept for part in each.parts())

        def button(part: str, html: str, title: str) -> str:
            return _button(part, html, title, is_pressed=shown.shows(part))

        def of_edges(part: KeyPart, name: str) -> str:
            title = f"{part.title}: {counted(counts[part.part], 'edge')}"
            return button(part.part, f"{sample(part)} {escape(name)}", title)

        groups = [[of_edges(part, part.name) for part in group] for group in (KINDS, SIGNS, SIZES)]
        if n_unconnected := counts[UNCONNECTED.part]:
            name = f"{n_unconnected:,} lead{'s' if n_unconnected == 1 else ''} from nothing"
            groups.append([of_edges(UNCONNECTED, name)])
        for part in (SELDOM, BY_HAND):
            if counts[part.part]:
                groups.append([of_edges(part, part.name)])
        if any(counts[part.part] for part in COMPARED):
            groups.append([of_edges(p, f"{p.name} ({counts[p.part]:,})") for p in COMPARED])
        if has_preview:
            html = f"{sample(PREVIEW)} {PREVIEW.name}"
            groups.append([button(PREVIEW.part, html, PREVIEW.title)])
        at_labels = [(label, counts[f"@{label}"]) for label in labels]
        groups.append(
            [button(f"@{label}", escape(f"@{label}"),
                    f"Edges at this position: {counted(count, 'edge')}")
             for label, count in at_labels]
        )  # fmt: skip
        choices = []
        if can_merge:
            title = "One line for the edges from one node into another's q, k and v"
            choices.append(_button("merged", "merge q, k, v", title, is_pressed=shown.merged))
        if can_fold:
            is_folded = shown.folded and not shown.opened
            title = "Fold layers and heads in which nothing is kept"
            choices.append(_button("folded", "fold empty", title, is_pressed=is_folded))
        title = "Mark what has changed since the circuit that was shown before"
        choices.append(_button(CHANGES, "what changed", title, is_pressed=marks_changes))
        groups.append(choices)
        html = "".join(f"<span>{''.join(group)}</span>" for group in groups if group)
        if html != self.widget.value:
            self.widget.value = html


def _button(part: str, html: str, title: str, *, is_pressed: bool) -> str:
    return (
        f'<button type="button" data-part="{escape(part)}" '
        f'aria-pressed="{str(is_pressed).lower()}" title="{escape(title)}">{html}</button>'
    )
