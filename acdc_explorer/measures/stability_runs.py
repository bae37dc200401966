"""The repeated searches of a study of stability: one by one, or as jobs for workers."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

from acdc_explorer.arithmetic import plain_arithmetic
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.circuits.steps import Step
from acdc_explorer.engine.references import EngineReference
from acdc_explorer.measures.repeated_search import RepeatedSearch
from acdc_explorer.measures.variations import Variation, variations_of
from acdc_explorer.options import VariationKind


@dataclass(frozen=True)
class StabilityRun:
    """One of the searches.

    Attributes:
        kind: what was otherwise than in the search that was asked for.
        name: of this variation, as "order 3", "draw 3" (of the prompts), "seed 7", "threshold
            0.31", or the template.
        n_prompts: how many prompts it was on.
        threshold: in the metric's units.
        kept: ids of the edges it kept.
        faithfulness: of its circuit, on its own prompts, as a share.
    """

    kind: VariationKind
    name: str
    n_prompts: int
    threshold: float
    kept: tuple[str, ...]
    faithfulness: float


@dataclass(frozen=True)
class RunsJob:
    """Some of the searches of a study.

    Attributes:
        engine: of the search as it was asked for.
        threshold: as the user gave it.
        settings: of that search.
        kinds: the study's; so are the next two.
        n: likewise.
        seed: likewise.
        numbers: which of its variations.
        names: what these are called.
    """

    engine: EngineReference
    threshold: float | str
    settings: SearchSettings
    kinds: Sequence[VariationKind]
    n: int
    seed: int
    numbers: Sequence[int]
    names: Sequence[str]


@dataclass(frozen=True)
class FoundRuns:
    """What a worker found.

    Attributes:
        fingerprint: of weights and prompts there.
        runs: in the order of the job's numbers.
    """

    fingerprint: str
    runs: tuple[StabilityRun, ...]


def run_steps(
    search: RepeatedSearch, variation: Variation, replay: Sequence[Step] = ()
) -> Generator[Step, None, tuple[StabilityRun, Circuit]]:
    """Yields the steps of one search; returns what it found.

    Args:
        search: as it was asked for.
        variation: what is otherwise.
        replay: of a variation of the threshold: steps of one at another threshold.
    """
    # In a function of its own, so that other prompts' engine goes when the search has ended.
    engine, settings = search.engine, search.settings
    if variation.task is not None:
        engine, settings = search.on(variation.task())
    if variation.order_seed is not None:
        settings = replace(settings, order="random", order_seed=variation.order_seed)
    if variation.kind == "thresholds":
        threshold = settings.threshold * variation.factor
        settings = replace(settings, threshold=threshold, threshold_text=f"{threshold:.6g}")
    circuit = yield from search.steps(engine, settings, replay)
    run = StabilityRun(
        variation.kind,
        variation.name,
        engine.n_prompts,
        circuit.threshold,
        tuple(circuit.kept),
        circuit.faithfulness,
    )
    return run, circuit


def runs_of(job: RunsJob) -> FoundRuns:
    """Makes the searches of a job, each from the start; what a worker runs."""
    with plain_arithmetic():
        engine = job.engine.engine()
        model = job.engine.loaded_model()
        search = RepeatedSearch(model, engine.task, job.threshold, engine, job.settings)
        variations, _ = variations_of(search, job.kinds, job.n, job.seed)
        runs = [_run_at_once(search, variations[number]) for number in job.numbers]
        return FoundRuns(job.engine.fingerprint_here(), tuple(runs))


def _run_at_once(search: RepeatedSearch, variation: Variation) -> StabilityRun:
    steps = run_steps(search, variation)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value[0]


def check_runs(search: RepeatedSearch, job: RunsJob, result: object) -> None:
    """Raises a ValueError for what cannot be the runs of a job."""
    if not isinstance(result, FoundRuns):
        raise ValueError(f"a worker returned a {type(result).__name__}, not searches")
    job.engine.check(result.fingerprint)
    names = [run.name for run in result.runs]
    if names != list(job.names):
        raise ValueError(f"a worker returned searches {names} instead of {list(job.names)}")
    for run in result.runs:
        if not 0 < run.threshold < math.inf or math.isinf(run.faithfulness):
            raise ValueError(
                f"a worker returned the search {run.name!r} with a threshold of {run.threshold!r} "
                f"and a faithfulness of {run.faithfulness!r}, which cannot be"
            )
        if len({*run.kept}) < len(run.kept):
            raise ValueError(f"a worker returned the search {run.name!r} with edges twice")
        # Of other prompts the labels may be others; edges by them are not of this graph.
        search.engine.graph.mask_of(run.kept)
