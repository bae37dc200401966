"""Numbers and counts as the page writes them."""

from __future__ import annotations

import math
from html import escape

# Effects below these would be written as 0.000, or are rounding: of the metric's own values, and of
# their ratio to its clean value.
_VISIBLE, _VISIBLE_SHARE = 5e-4, 1e-4


def counted(number: int, noun: str) -> str:
    """A number of things: "1 edge", "0 edges", "1,519 edges"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def with_unit(number: str, unit: str) -> str:
    """A number with the unit of the metric, which may be empty; escaped."""
    return f"{number} {escape(unit)}" if unit else number


def is_visible(effect: float, full_metric: float) -> bool:
    """Whether an effect is more than rounding; one that was not measured is not.

    Args:
        effect: in the metric's units.
        full_metric: of the clean run.
    """
    return abs(effect) >= max(_VISIBLE, _VISIBLE_SHARE * abs(full_metric))


def plain(value: float) -> str:
    """A value with three decimals; a dash if there is none."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def signed(effect: float) -> str:
    """An effect with its sign and three decimals; zero has no sign."""
    text = "–" if math.isnan(effect) else f"{effect:+.3f}"
    return text[1:] if text in ("+0.000", "-0.000") else text
