"""The engine that a job is about: what crosses to a worker, and the engine there, made once."""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from acdc_explorer.engine.cache import engine_for
from acdc_explorer.engine.engine import Engine
from acdc_explorer.metrics import METRICS
from acdc_explorer.models.model import Model
from acdc_explorer.options import Ablation
from acdc_explorer.tasks.task import Task
from acdc_explorer.workers.references import (
    ModelReference,
    fingerprint_of,
    model_of,
    reference_of,
)

_TASKS_KEPT = 4


@dataclass(frozen=True)
class EngineReference:
    """What crosses to a worker in place of an engine.

    Attributes:
        model: the model.
        task: prompts and metric.
        task_key: the same for the same task alone.
        ablation: what removed edges carry.
        positions: whether each position label has edges of its own.
        split_qkv: whether a head's q, k and v inputs have.
        fingerprint: of weights and prompts, as where the reference was made.
    """

    model: ModelReference
    task: Task
    task_key: str
    ablation: Ablation
    positions: bool
    split_qkv: bool
    fingerprint: str

    @staticmethod
    def of(model: Model, engine: Engine) -> EngineReference:
        """Refers to an engine of a model."""
        reference = reference_of(model)
        task, key = engine.task, _key_of(engine.task)
        _remember(key, task)
        return EngineReference(
            reference,
            task,
            key,
            engine.ablation,
            bool(engine.graph.labels),
            engine.graph.split_qkv,
            _fingerprint(str(reference.fingerprint), task),
        )

    def loaded_model(self) -> Model:
        """The model in this process."""
        return model_of(self.model)

    def engine(self) -> Engine:
        """The engine in this process.

        Raises:
            ValueError: if the model cannot be loaded here, or is another one.
        """
        return engine_for(
            self.loaded_model(),
            self.task_here(),
            self.ablation,
            positions=self.positions,
            split_qkv=self.split_qkv,
        )

    def task_here(self) -> Task:
        """The one object that is this task in this process."""
        return _remember(self.task_key, self.task)

    def fingerprint_here(self) -> str:
        """Of weights and prompts in this process."""
        if self.model not in _of_weights:
            _of_weights[self.model] = fingerprint_of(self.loaded_model())
        return _fingerprint(_of_weights[self.model], self.task_here())

    def check(self, told: object) -> None:
        """Raises a ValueError if a worker tells the fingerprint of something else."""
        if told != self.fingerprint:
            raise ValueError(
                f"a worker's result is of another model or other prompts than "
                f"{self.model.name!r} and task {self.task.name!r} here: its fingerprint is "
                f"{told!r}, not {self.fingerprint!r}"
            )


# Each engine is found again by its model and the task itself, which every job brings anew.
_tasks: OrderedDict[str, Task] = OrderedDict()
_own_keys: WeakKeyDictionary[Task, str] = WeakKeyDictionary()
_of_weights: dict[ModelReference, str] = {}


def _remember(key: str, task: Task) -> Task:
    task = _tasks.setdefault(key, task)
    _tasks.move_to_end(key)
    while len(_tasks) > _TASKS_KEPT:
        _tasks.popitem(last=False)
    return task


def _key_of(task: Task) -> str:
    """A key for a task: of a metric of the user's own nothing but the object tells which it is."""
    if METRICS.get(task.metric.name) is task.metric:  # type: ignore[union-attr]
        # What further prompts are drawn by, as those of other seeds, counts too.
        made = repr((task.name, task.options, task.texts, task.pairs))
        return _fingerprint(made, task)
    return _own_keys.setdefault(task, secrets.token_hex(16))


def _fingerprint(of_what: str, task: Task) -> str:
    """SHA-256 of a text, as a model's fingerprint, and all that a search reads of a task."""
    sha = hashlib.sha256(of_what.encode())
    sha.update(task.metric.name.encode())  # type: ignore[union-attr]
    tensors = {
        "clean": task.clean_tokens,
        "corrupted": task.corrupted_tokens,
        "answers": task.answer_tokens,
        "wrong": task.wrong_tokens,
        **task.positions,
    }
    for name, tensor in tensors.items():
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.contiguous().numpy().tobytes())
    return sha.hexdigest()
