"""What if: a circuit with some edges switched off or on by hand, measured."""

from __future__ import annotations

from collections.abc import Iterable

from acdc_explorer.arguments import check_found_here, engine_of, resolve
from acdc_explorer.arithmetic import plain_arithmetic
from acdc_explorer.circuits.by_hand import changed_by_hand
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.engine.by_hand import with_changes
from acdc_explorer.graph import Edge, Node
from acdc_explorer.models.model import ModelLike
from acdc_explorer.tasks.task import Task


def edit(
    model: ModelLike,
    task: Task | str,
    circuit: Circuit,
    *,
    remove: Iterable[str | Edge | Node] = (),
    restore: Iterable[str | Edge | Node] = (),
) -> Circuit:
    """Switches edges of a circuit off or on by hand, and measures what is left.

    So a circuit that came from another tool's file gets its metrics, with changes or without.

    Args:
        model: that the circuit was found on, as `find_circuit` takes it.
        task: likewise.
        circuit: found by a search, or from a file; it may have changes by hand already.
        remove: edges of the circuit, by their ids or names; or nodes: all of the circuit's edges in
            and out of them.
        restore: edges that are not in the circuit; or nodes: all edges in and out of them that the
            search kept and that were removed by hand.

    Returns:
        The circuit with these changes, in `by_hand`; `metric_value` and `faithfulness` are its own.
        `searched()` gives back what the search found.

    Raises:
        ValueError: naming what is not in the model; a removal of what is not in the circuit, a
            restoration of what is there already; an edge that is to be both removed and restored;
            or if the circuit is of another model or other prompts.
    """
    with plain_arithmetic():
        loaded, task = resolve(model, task)
        engine = engine_of(circuit, loaded, task)
        check_found_here(engine, circuit, "the circuit")
        return with_changes(engine, circuit, changed_by_hand(circuit, remove, restore))
