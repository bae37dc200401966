"""The model and the task of the last request, kept for the next one."""

from __future__ import annotations

from typing import Any

from acdc_explorer.models import Model, load_model
from acdc_explorer.runner.state import Request
from acdc_explorer.tasks import Task, load_task


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
