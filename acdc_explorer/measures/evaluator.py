"""Evaluating many circuits, in this process or on workers, with the same values."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float

from acdc_explorer.arithmetic import plain_arithmetic
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.references import EngineReference
from acdc_explorer.measures.scores import evaluated
from acdc_explorer.models.model import Model
from acdc_explorer.progress import working_on
from acdc_explorer.workers.executor import Executor, n_workers_of
from acdc_explorer.workers.gathering import gather_all

# Several for each worker, so that none waits long for the last; but not for next to nothing.
_JOBS_PER_WORKER = 3
_FEWEST_CIRCUITS = 4


@dataclass(frozen=True)
class EvaluationJob:
    """Circuits to evaluate.

    Attributes:
        engine: model and prompts.
        kept: the edges of each circuit.
    """

    engine: EngineReference
    kept: Bool[np.ndarray, "circuit receiver sender"]


@dataclass(frozen=True)
class EvaluatedCircuits:
    """What a worker found.

    Attributes:
        fingerprint: of weights and prompts there.
        values: the metric of each circuit on each prompt.
    """

    fingerprint: str
    values: Float[np.ndarray, "circuit prompt"]


def evaluate_job(job: EvaluationJob) -> EvaluatedCircuits:
    """Evaluates the circuits of a job, each by itself; what a worker runs."""
    with plain_arithmetic():
        values = evaluated(job.engine.engine(), list(job.kept), "evaluating circuits")
        return EvaluatedCircuits(job.engine.fingerprint_here(), values)


@dataclass(frozen=True)
class Evaluator:
    """Evaluates circuits of one engine.

    Attributes:
        model: of the engine.
        engine: model and prompts.
        executor: of the workers; None: in this process.
    """

    model: Model
    engine: Engine
    executor: Executor | None = None

    def __call__(
        self, circuits: Sequence[Bool[np.ndarray, "receiver sender"]], what: str
    ) -> Float[np.ndarray, "circuit prompt"]:
        """The metric of each circuit on each prompt; see `scores.evaluated`.

        Args:
            circuits: the edges that are kept.
            what: is being done, in words.
        """
        if self.executor is None or len(circuits) <= _FEWEST_CIRCUITS:
            return evaluated(self.engine, circuits, what)
        n_jobs = _JOBS_PER_WORKER * n_workers_of(self.executor)
        size = max(_FEWEST_CIRCUITS, -(-len(circuits) // n_jobs))
        jobs = [
            EvaluationJob(self._reference, np.stack(circuits[start : start + size]))
            for start in range(0, len(circuits), size)
        ]
        values = np.empty((len(circuits), self.engine.n_prompts))
        results = gather_all(self.executor, evaluate_job, jobs, self._check, what)
        with working_on(what, len(circuits)) as done, closing(results):
            n_done = 0
            for number, result in results:
                values[number * size : number * size + len(result.values)] = result.values
                n_done += len(result.values)
                done(n_done)
        return values

    @cached_property
    def _reference(self) -> EngineReference:
        return EngineReference.of(self.model, self.engine)

    def _check(self, job: EvaluationJob, result: object) -> None:
        """Raises a ValueError for what cannot be the values of a job's circuits."""
        if not isinstance(result, EvaluatedCircuits):
            raise ValueError(f"a worker returned a {type(result).__name__}, not circuits' values")
        job.engine.check(result.fingerprint)
        wanted, got = (len(job.kept), self.engine.n_prompts), np.shape(result.values)
        if got != wanted:
            raise ValueError(f"a worker returned values of shape {got} instead of {wanted}")
        if not np.isfinite(result.values).all():
            raise ValueError("a worker returned values that are no numbers")
