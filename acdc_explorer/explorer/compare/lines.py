"""The lines of Python that compare circuits."""

from __future__ import annotations

import os

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.comparison import Comparable
from acdc_explorer.circuits.pinned import PinnedCircuit
from acdc_explorer.circuits.published import PublishedCircuit
from acdc_explorer.explorer.script import search_line


def line_of_comparison(other: Comparable, circuit: Circuit) -> str:
    """Compares the circuit with another one.

    Args:
        other: that it is compared with.
        circuit: that is shown.
    """
    return f"comparison = ax.compare(circuit, {_expression(other, circuit)})"


def pin_name(number: int) -> str:
    """What a pinned circuit is called in the script."""
    return f"pin_{number}"


def _expression(other: Comparable, circuit: Circuit) -> str:
    if isinstance(other, (str, os.PathLike)):
        return repr(os.fspath(other))
    if isinstance(other, PublishedCircuit):
        return f"ax.published_circuit({other.task!r})"
    if isinstance(other, PinnedCircuit):
        return repr(list(other.effects))
    if not isinstance(other, Circuit):
        return repr([each if isinstance(each, str) else each.id for each in other])
    of_both = [(each.model_name, each.task_name, each.task_options) for each in (circuit, other)]
    is_search = other.complete and not other.by_hand and not other.imported
    if of_both[0] == of_both[1] and is_search:
        return search_line(other).removeprefix("circuit = ")
    return repr(other.kept)
