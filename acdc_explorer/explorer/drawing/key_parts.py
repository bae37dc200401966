"""The parts of the picture that the key tells of: how each is drawn, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from acdc_explorer.explorer.drawing import shown as parts
from acdc_explorer.explorer.drawing.shown import DrawnEdge
from acdc_explorer.explorer.style import (
    BY_HAND_COLOUR,
    DASHES,
    KIND_COLOURS,
    KIND_NAMES,
    ONLY_HERE_COLOUR,
    ONLY_HERE_OPACITY,
    ONLY_HERE_WIDTH,
    ONLY_THERE_COLOUR,
    PREVIEW_COLOUR,
    SELDOM_OPACITY,
    STEADY_SHARE,
    UNCONNECTED_COLOUR,
    WIDTHS,
)

# Of lines that stand for a dash alone.
_WIDTH = 2.4


@dataclass(frozen=True)
class KeyPart:
    """One part of the picture, which can be hidden.

    Attributes:
        part: its name, as in `Shown`.
        name: what the key calls it.
        title: what that means, in more words.
        colour: of its lines; None: as the text, since the part is of several colours.
        width: of its lines.
        dash: of its lines, as in SVG; empty: they are solid.
        opacity: of its lines.
    """

    part: str
    name: str
    title: str
    colour: str | None = None
    width: float = _WIDTH
    dash: str = ""
    opacity: float = 1.0


# By what tells them apart: kind, sign, size.
KINDS, SIGNS, SIZES = (
    tuple(
        KeyPart(kind, KIND_NAMES[kind], "Edges of this kind", KIND_COLOURS[kind])
        for kind in parts.KINDS
    ),
    (
        KeyPart(parts.HELPS, "helps", "Their removal does damage"),
        KeyPart(parts.HURTS, "hurts", "Their removal helps", dash=DASHES["hurts"]),
    ),
    tuple(
        KeyPart(part, name, "Effect, of the clean metric", width=width)
        for part, name, width in zip(parts.SIZES, parts.SIZE_NAMES, WIDTHS, strict=True)
    ),
)
UNCONNECTED = KeyPart(
    parts.UNCONNECTED,
    "lead from nothing",
    "Kept when tested, but not on any path from input to logits now",
    UNCONNECTED_COLOUR,
    1.5,
    DASHES["unconnected"],
)
SELDOM = KeyPart(
    parts.SELDOM,
    f"in under {STEADY_SHARE:.0%} of runs",
    "Many of the repeated searches do without them",
    opacity=SELDOM_OPACITY,
)
BY_HAND = KeyPart(
    parts.BY_HAND,
    "by hand",
    "Removed (×) or restored (+) by hand",
    BY_HAND_COLOUR,
    1.5,
    DASHES["by-hand"],
)
COMPARED = (
    KeyPart(parts.IN_BOTH, "in both", "Edges of both circuits that are compared"),
    KeyPart(
        parts.ONLY_HERE,
        "only here",
        "Edges that the other circuit has not",
        ONLY_HERE_COLOUR,
        ONLY_HERE_WIDTH - 2,
        opacity=ONLY_HERE_OPACITY,
    ),
    KeyPart(
        parts.ONLY_THERE,
        "only there",
        "Edges of the other circuit that this one has not",
        ONLY_THERE_COLOUR,
        1.8,
        DASHES["only-there"],
    ),
)
PREVIEW = KeyPart(
    parts.PREVIEW,
    "expected",
    "Attribution expects them to stay; not tested yet",
    PREVIEW_COLOUR,
    1.5,
    DASHES["preview"],
)


def parts_of(drawn: Iterable[DrawnEdge]) -> list[list[KeyPart]]:
    """The parts to which these edges belong, grouped by what tells them apart."""
    there = {part for each in drawn for part in each.parts()}
    groups = (KINDS, SIGNS, SIZES, (SELDOM,), (UNCONNECTED,), (BY_HAND,), COMPARED)
    found = ([part for part in group if part.part in there] for group in groups)
    return [group for group in found if group]


def sample(part: KeyPart) -> str:
    """A piece of its line, as SVG for a page."""
    dashes = f' stroke-dasharray="{part.dash}"' if part.dash else ""
    return (
        '<svg width="22" height="8" aria-hidden="true"><line x1="1" x2="21" y1="4" y2="4" '
        f'stroke="{part.colour or "currentColor"}" stroke-width="{part.width}" '
        f'opacity="{part.opacity}"{dashes}/></svg>'
    )
