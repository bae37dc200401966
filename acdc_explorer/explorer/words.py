"""Numbers and counts as the page writes them."""

from __future__ import annotations

import math
from html import escape

from acdc_explorer.circuits.circuit import Circuit

# Effects below these would be written as 0.000, or are rounding: of the metric's own values, and of
# their ratio to its clean value.
_SMALLEST, _SMALLEST_SHARE = 5e-4, 1e-4


def counted(number: int, noun: str) -> str:
    """A number of things: "1 edge", "0 edges", "1,519 edges"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def with_unit(number: str, unit: str) -> str:
    """A number with the unit of the metric, which may be empty; escaped."""
    return f"{number} {escape(unit)}" if unit else number


def smallest_effect(circuit: Circuit) -> float:
    """Effects below it, in the metric's units, are none: they are rounding, or nearly so.

    What decides about edges is never that small.
    """
    share = _SMALLEST_SHARE * abs(circuit.full_metric)
    return min(max(_SMALLEST, share), circuit.threshold)


def effect_in_words(effect: float, circuit: Circuit) -> str:
    """An effect with its sign and unit, "no effect", or a dash if there is none.

    Args:
        effect: in the units of the circuit's metric.
        circuit: that it was measured in.
    """
    if abs(effect) < smallest_effect(circuit):
        return "no effect"
    number = signed(effect, smallest_effect(circuit))
    return number if math.isnan(effect) else with_unit(number, circuit.metric_unit)


def error_html(error: Exception) -> str:
    """What went wrong, in words."""
    return (
        f'<div class="acdc-error" role="alert">{escape(str(error) or type(error).__name__)}</div>'
    )


def plain(value: float) -> str:
    """A value with three decimals; a dash if there is none."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def signed(effect: float, smallest: float) -> str:
    """An effect with its sign and three decimals, or where these are zeros two digits.

    Args:
        effect: in the metric's units; NaN gives a dash.
        smallest: as `smallest_effect`; what is below is 0.000 and has no sign.
    """
    if math.isnan(effect):
        return "–"
    if abs(effect) < smallest:
        return "0.000"
    return f"{effect:+.3f}" if abs(effect) >= _SMALLEST else f"{effect:+.2g}"
