"""The ways to find a circuit: a table, so that a new one is one file and one row."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.circuits.steps import EdgeStep, Step
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.evaluate import evaluate_removed
from acdc_explorer.engine.removed_edges import RemovedEdges
from acdc_explorer.engine.scoring import mean_metric
from acdc_explorer.options import Method
from acdc_explorer.searches.acdc import acdc_steps
from acdc_explorer.searches.attribution import attribution_steps
from acdc_explorer.searches.path_patching import path_patching_steps


class StepsOfSearch(Protocol):
    """What makes the steps of a search."""

    def __call__(
        self, engine: Engine, settings: SearchSettings, *, replay: Iterable[Step]
    ) -> Iterator[Step]:
        """Yields them, those of a search that is replayed first."""


@dataclass(frozen=True)
class SearchMethod:
    """One way to find a circuit.

    Attributes:
        steps: makes its steps; `replay` are those of a search that differs in the threshold at
            most, or that was cut short.
        is_exact: whether every decision is one of patched runs, not of an approximation.
        removes_as_it_goes: whether edges leave the circuit one by one, so that the metric of the
            circuit is the last step's. Else the circuit is evaluated at the end.
    """

    steps: StepsOfSearch
    is_exact: bool
    removes_as_it_goes: bool


SEARCH_METHODS: dict[Method, SearchMethod] = {
    "acdc": SearchMethod(acdc_steps, is_exact=True, removes_as_it_goes=True),
    "path_patching": SearchMethod(path_patching_steps, is_exact=True, removes_as_it_goes=False),
    "eap": SearchMethod(attribution_steps, is_exact=False, removes_as_it_goes=False),
    "eap_ig": SearchMethod(attribution_steps, is_exact=False, removes_as_it_goes=False),
    "ceap": SearchMethod(attribution_steps, is_exact=False, removes_as_it_goes=False),
    "relp": SearchMethod(attribution_steps, is_exact=False, removes_as_it_goes=False),
}


def search_steps(
    engine: Engine, settings: SearchSettings, replay: Iterable[Step] = ()
) -> Iterator[Step]:
    """Runs the search that the settings name.

    Args:
        engine: model, task, ablation and granularity.
        settings: of the search.
        replay: the steps so far of a search that differs from this one in the threshold at most.
    """
    return SEARCH_METHODS[settings.method].steps(engine, settings, replay=replay)


def circuit_of(
    model_name: str,
    engine: Engine,
    settings: SearchSettings,
    steps: Iterable[Step],
    *,
    complete: bool = True,
) -> Circuit:
    """Puts the steps of a search together with what was searched.

    Args:
        model_name: of the model.
        engine: that the search ran on.
        settings: of the search.
        steps: all steps from the first one on.
        complete: whether the search came to its end.
    """
    circuit = Circuit(
        model_name=model_name,
        task_name=engine.task.name,
        task_options=dict(engine.task.options),
        graph=engine.graph,
        settings=settings,
        metric_name=engine.metric.name,
        full_metric=engine.full_metric,
        corrupted_metric=engine.corrupted_metric,
        metric_value=math.nan,
        steps=tuple(steps),
        complete=complete,
        metric_unit=engine.metric.unit,
        higher_is_better=engine.metric.higher_is_better,
    )
    if SEARCH_METHODS[settings.method].removes_as_it_goes:
        return replace(circuit, metric_value=_metric_after(circuit.decisions, engine.full_metric))
    if not complete:
        return circuit
    value = evaluate_removed(engine, [RemovedEdges(circuit.removed_mask)])[0]
    return replace(circuit, metric_value=mean_metric(value))


def _metric_after(decisions: Sequence[EdgeStep], full_metric: float) -> float:
    """The metric of the circuit that is left after some decisions."""
    if not decisions:
        return full_metric
    last = decisions[-1]
    return last.before if last.kept else last.after
