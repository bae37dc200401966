"""From a request to what is searched; model and task are kept for the next one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from acdc_explorer.arguments import Prepared, SearchOptions, prepared
from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.engine.engine import Engine
from acdc_explorer.models import Model, load_model
from acdc_explorer.runner.state import Request
from acdc_explorer.searches.attribution import LARGE_GRAPH
from acdc_explorer.tasks.builtin.registry import load_task, tasks_for
from acdc_explorer.tasks.task import Task

# How searches of large graphs are screened unless one says otherwise.
_SCREEN = 0.5


class Loaded:
    """Loads what a request names, unless the request before named the same.

    Attributes:
        tasks: names of those that can be made for the model that is loaded.
    """

    def __init__(self) -> None:
        self._model: tuple[tuple[Any, str], Model] | None = None
        self._task: tuple[tuple[Any, ...], Task] | None = None
        self.tasks: tuple[str, ...] = ()

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
            self.tasks = tasks_for(loaded)
        return self._model[1]

    def fitted(self, request: Request) -> tuple[Request, str]:
        """The request with a task that its model can do, if it leaves that open; and what to say.

        That is the model's own task, if it has one, or the first that can be made for it.
        """
        model = self.model(request)
        task = request.task
        if not (request.other_task and isinstance(task, str) and self.tasks) or task in self.tasks:
            return request, ""
        other = model.name if model.name in self.tasks else self.tasks[0]
        note = f"task {task!r} cannot be made for {model.name}; this is {other!r}"
        return replace(request, task=other), note

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
        self.tasks = ()

    def prepare(self, request: Request) -> tuple[Model, Prepared]:
        """The model, and what the search that is asked for needs."""
        model = self.model(request)
        task, options = self.task(request, model), cast("SearchOptions", request.options)
        threshold = request.threshold if request.faithfulness is None else None
        search = prepared(model, task, threshold, options, request.faithfulness)
        if "screen" not in options:
            settings = _screened_if_large(search.engine, search.settings)
            search = replace(search, settings=settings)
        return model, search


def _screened_if_large(engine: Engine, settings: SearchSettings) -> SearchSettings:
    """The settings, with screening where a test for every edge would take too long to look at."""
    is_large = engine.graph.n_edges >= LARGE_GRAPH
    if settings.method != "acdc" or not engine.scoring.has_gradient or not is_large:
        return settings
    return replace(settings, screen=_SCREEN)
