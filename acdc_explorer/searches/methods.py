"""The search methods by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from acdc_explorer.engine.engine import Engine
from acdc_explorer.searches.acdc import acdc_steps
from acdc_explorer.searches.attribution import ATTRIBUTIONS, attribution_steps
from acdc_explorer.searches.path_patching import path_patching_steps
from acdc_explorer.searches.steps import SearchSettings, Step


def search_steps(
    engine: Engine, settings: SearchSettings, known: Iterable[Step] = ()
) -> Iterator[Step]:
    """Runs the search that the settings name.

    Args:
        engine: model, task, ablation and granularity.
        settings: of the search.
        known: the steps so far of a search that differs from this one in the threshold at most.
    """
    if settings.method in ATTRIBUTIONS:
        return attribution_steps(engine, settings)
    steps = {"acdc": acdc_steps, "path_patching": path_patching_steps}[settings.method]
    return steps(engine, settings, known=known)
