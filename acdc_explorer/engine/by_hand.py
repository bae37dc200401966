"""A circuit with changes by hand, measured."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from acdc_explorer.circuits.by_hand import HandChange
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.evaluate import evaluate_removed
from acdc_explorer.engine.removed_edges import RemovedEdges
from acdc_explorer.engine.scoring import mean_metric


def with_changes(engine: Engine, circuit: Circuit, changes: Iterable[HandChange]) -> Circuit:
    """A circuit with these changes by hand in place of those that it has, measured.

    Args:
        engine: that the circuit was found on.
        circuit: with changes or without.
        changes: all that there are to be; what is so already in the circuit as it was searched is
            none.

    Returns:
        The circuit; one that came from another tool's file now has the metrics of this engine.
    """
    searched = circuit.searched()
    if searched.imported:
        searched = _measured(engine, searched)
    removed, cell = searched.removed_mask, circuit.graph.cell
    changes = tuple(each for each in changes if each.kept == removed[cell(each.edge)])
    if not changes:
        return searched
    value = None if math.isnan(searched.metric_value) else searched.metric_value
    changed = replace(searched, by_hand=changes, metric_as_searched=value)
    values = evaluate_removed(engine, [RemovedEdges(changed.removed_mask)])
    return replace(changed, metric_value=mean_metric(values[0]))


def _measured(engine: Engine, circuit: Circuit) -> Circuit:
    """A circuit without metrics, with those that it has on an engine."""
    values = evaluate_removed(engine, [RemovedEdges(circuit.removed_mask)])
    metric = engine.metric
    return replace(
        circuit,
        task_name=engine.task.name,
        task_options=dict(engine.task.options),
        metric_name=metric.name,
        full_metric=engine.full_metric,
        corrupted_metric=engine.corrupted_metric,
        metric_value=mean_metric(values[0]),
        metric_unit=metric.unit,
        higher_is_better=metric.higher_is_better,
    )
