"""The searches of a threshold path on several workers at once.

The path is that of one process: the same thresholds in the same order. But while one is searched
for, workers search for those that will be asked for next.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from acdc_explorer.arithmetic import plain_arithmetic
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.circuits.steps import EdgeStep, Step, n_decided
from acdc_explorer.circuits.threshold_path import ThresholdPath
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.references import EngineReference
from acdc_explorer.models.model import Model
from acdc_explorer.searches.decisions import DecisionRule
from acdc_explorer.searches.methods import SEARCH_METHODS, circuit_of, search_steps
from acdc_explorer.searches.verification_parts import check_decision
from acdc_explorer.workers.executor import Executor, n_workers_of
from acdc_explorer.workers.gathering import gather_all

# Searches at once for each worker; more would be made in vain if the path is left early.
_JOBS_PER_WORKER = 2


@dataclass(frozen=True)
class SearchJob:
    """One search.

    Attributes:
        engine: to search on.
        settings: of the search.
        replay: steps of one at another threshold; may be none.
    """

    engine: EngineReference
    settings: SearchSettings
    replay: Sequence[Step]


@dataclass(frozen=True)
class FoundSteps:
    """What a worker found.

    Attributes:
        fingerprint: of weights and prompts there.
        steps: of the search.
    """

    fingerprint: str
    steps: tuple[Step, ...]


def steps_of(job: SearchJob) -> FoundSteps:
    """Makes a search; what a worker runs."""
    with plain_arithmetic():
        steps = tuple(search_steps(job.engine.engine(), job.settings, job.replay))
        return FoundSteps(job.engine.fingerprint_here(), steps)


def check_steps(engine: Engine, job: SearchJob, result: object) -> None:
    """Raises a ValueError for what cannot be the steps of a search.

    Args:
        engine: of this process.
        job: as it was sent.
        result: as it came back.
    """
    if not isinstance(result, FoundSteps):
        raise ValueError(f"a worker returned a {type(result).__name__}, not a search")
    job.engine.check(result.fingerprint)
    if not any(isinstance(step, EdgeStep) for step in result.steps):
        raise ValueError("a worker returned a search without a decision")
    graph, decisions = engine.graph, [s for s in result.steps if isinstance(s, EdgeStep)]
    n = sum(n_decided(step, graph) for step in result.steps)
    if n != graph.n_edges or len({step.edge for step in decisions}) < len(decisions):
        raise ValueError(
            f"a worker returned a search that decides {n:,} edges, or some twice, instead of each "
            f"of {graph.n_edges:,} once"
        )
    is_exact = SEARCH_METHODS[job.settings.method].is_exact
    rule = DecisionRule(engine, job.settings)
    for step in decisions:
        check_decision(rule, step, by_rule=is_exact and not step.screened)


class SearchesOnWorkers:
    """Finds circuits for `path_steps`, several at once."""

    def __init__(self, model: Model, engine: Engine, executor: Executor):
        """Begins.

        Args:
            model: to search on.
            engine: likewise.
            executor: of the workers.
        """
        self._name, self._engine, self._executor = model.name, engine, executor
        self._reference = EngineReference.of(model, engine)
        self._found: dict[float, Circuit] = {}

    def __call__(
        self, path: ThresholdPath, next_ones: Sequence[SearchSettings], /
    ) -> Generator[None, None, Circuit]:
        """The circuit of the first of some thresholds; see `FindCircuit`."""
        threshold = next_ones[0].threshold
        if threshold not in self._found:
            yield from self._search(path, next_ones)
        return self._found.pop(threshold)

    def _search(
        self, path: ThresholdPath, next_ones: Sequence[SearchSettings]
    ) -> Generator[None, None, None]:
        most = _JOBS_PER_WORKER * n_workers_of(self._executor)
        jobs: list[SearchJob] = []
        for settings in next_ones:
            if settings.threshold not in self._found and len(jobs) < most:
                nearest = path.nearest(settings.threshold)
                jobs.append(SearchJob(self._reference, settings, nearest.steps if nearest else ()))
        check = partial(check_steps, self._engine)
        results = gather_all(self._executor, steps_of, jobs, check, "searches of a path")
        with closing(results):
            for number, result in results:
                settings = jobs[number].settings
                self._found[settings.threshold] = circuit_of(
                    self._name, self._engine, settings, result.steps
                )
                yield
