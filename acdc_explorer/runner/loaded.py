"""From a request to what is searched; model and task are kept for the next one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from acdc_explorer.arguments import SearchOptions, prepared
from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.circuits.steps import Step
from acdc_explorer.engine.engine import Engine
from acdc_explorer.models import Model, load_model
from acdc_explorer.runner.state import Request
from acdc_explorer.searches.faithful import parse_faithfulness
from acdc_explorer.tasks import Task, load_task

# From this many edges on, searches are screened unless one says otherwise.
_LARGE, _SCREEN = 10_000, 0.5


class Loaded:
    """Loads what a request names, unless the request before named the same."""

    def __init__(self) -> None:
        self._model: tuple[tuple[Any, str], Model] | None = None
        self._task: tuple[tuple[Any, ...], Task] | None = None

    def has_model_of(self, request: Request) -> bool:
        """Whether the model asked for is the one that is loaded."""
        return self._model is not None and self._model[0] == (request.model, request.device)

    def model(self, request: Request) -> Model:
        """The model asked for."""
        if self._model is None or not self.has_model_of(request):
            # Let go of the old model first: two may not fit in memory.
            self.forget()
            loaded = load_model(request.model, request.device)
            self._model = ((request.model, request.device), loaded)
        return self._model[1]

    def task(self, request: Request, model: Model) -> Task:
        """The task asked for, on its model."""
        if isinstance(request.task, Task):
            return request.task
        key = (request.task, request.n_prompts, request.seed, model)
        if self._task is None or self._task[0] != key:
            self._task = (key, load_task(request.task, model, request.n_prompts, request.seed))
        return self._task[1]

    def forget(self) -> None:
        """Lets go of both."""
        self._model = self._task = None

    def prepare(
        self, request: Request
    ) -> tuple[Model, Engine, SearchSettings, Sequence[Step], float | None]:
        """Model and engine, settings, steps to replay, and the faithfulness to reach, if any."""
        model = self.model(request)
        task = self.task(request, model)
        options = cast("SearchOptions", request.options)
        target = request.faithfulness
        # A target's searches set their own; a per cent of the clean metric may be one of zero.
        threshold = request.threshold if target is None else 1.0
        engine, settings, known = prepared(model, task, threshold, options)
        if "screen" not in options:
            settings = _screened_if_large(engine, settings)
        faithfulness = None if target is None else parse_faithfulness(target)
        return model, engine, settings, known, faithfulness


def _screened_if_large(engine: Engine, settings: SearchSettings) -> SearchSettings:
    """The settings, with screening where a test for every edge would take too long to look at."""
    is_large = engine.graph.n_edges >= _LARGE
    if settings.method != "acdc" or not engine.scoring.has_gradient or not is_large:
        return settings
    return replace(settings, screen=_SCREEN)
