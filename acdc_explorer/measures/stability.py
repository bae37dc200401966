"""Whether a circuit depends on accidents: the order of the tests, the prompts, the threshold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, Unpack

import numpy as np
import pandas as pd
from jaxtyping import Bool

from acdc_explorer.arguments import THRESHOLD, KindOfSearch, resolve
from acdc_explorer.arithmetic import plain_arithmetic
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.steps import Step
from acdc_explorer.engine.references import EngineReference
from acdc_explorer.errors import check_whole_number
from acdc_explorer.measures.overlap import mean_jaccard, pairwise_jaccard
from acdc_explorer.measures.repeated_search import RepeatedSearch
from acdc_explorer.measures.stability_runs import (
    RunsJob,
    StabilityRun,
    check_runs,
    run_steps,
    runs_of,
)
from acdc_explorer.measures.variations import variations_of
from acdc_explorer.models.model import ModelLike
from acdc_explorer.options import VARIATIONS, VariationKind
from acdc_explorer.progress import working_on
from acdc_explorer.tasks.task import Task
from acdc_explorer.workers.executor import Executor, check_executor, n_workers_of
from acdc_explorer.workers.gathering import gather_all

_ALL = "all"
# Several for each worker, so that none waits long for the last.
_JOBS_PER_WORKER = 4
_IN_WORDS: dict[VariationKind, str] = {
    "orders": "orders of the tests",
    "prompts": "draws of the prompts",
    "seeds": "seeds of the task",
    "thresholds": "thresholds from half to twice",
    "templates": "templates",
}
# Edges that so many of the runs keep are the consensus.
_CONSENSUS = 0.5


@dataclass(frozen=True)
class Stability:
    """What repeated searches say about a circuit.

    Attributes:
        circuit: of the search as it was asked for, which is none of the runs.
        runs: the others.
        edges: a row for each edge that `circuit` or any run keeps, the one kept most often first:
            edge; kept (whether it is in `circuit`); a column for each kind of run, with the share
            of its runs that keep the edge; and all, the share of all runs, whatever their kind.
        kinds: a row for each kind of run, and one for all together: kind; runs (how many); jaccard
            (shared edges over edges in either, the mean over all pairs of these runs), low and high
            (its 95% interval, by a bootstrap over the runs; missing for fewer than three);
            with_circuit (the mean Jaccard index of a run and `circuit`); smallest, median and
            largest (sizes of their circuits, in edges).
        consensus: ids of the edges that at least half of all runs keep, in the order of `edges`.
        consensus_faithfulness: of the circuit of just these edges, on the task's prompts.
        notes: why there are no runs of some kinds, in sentences.
    """

    circuit: Circuit
    runs: tuple[StabilityRun, ...]
    edges: pd.DataFrame
    kinds: pd.DataFrame
    consensus: tuple[str, ...]
    consensus_faithfulness: float
    notes: tuple[str, ...]

    def __str__(self) -> str:
        """In a few sentences."""
        told = []
        for row in self.kinds[self.kinds["kind"] != _ALL].to_dict("records"):
            interval = f" ({row['low']:.2f} to {row['high']:.2f})" if row["runs"] > 2 else ""
            told.append(
                f"{row['jaccard']:.2f}{interval} for {row['runs']} {_IN_WORDS[row['kind']]}"
            )
        n_shared = len(set(self.consensus) & set(self.circuit.kept))
        sentences = [
            f"Mean Jaccard index of two runs' circuits, with its 95% interval: {', '.join(told)}.",
            f"At least half of all {len(self.runs)} runs keep {len(self.consensus)} edges, "
            f"{n_shared} of which are among the {len(self.circuit.kept)} of the circuit as asked "
            f"for; their faithfulness is {self.consensus_faithfulness:.1%}, the circuit's "
            f"{self.circuit.faithfulness:.1%}.",
        ]
        return " ".join([*sentences, *(f"{note[0].upper()}{note[1:]}." for note in self.notes)])


def stability(
    model: ModelLike,
    task: Task | str,
    threshold: float | str = THRESHOLD,
    *,
    kinds: Sequence[VariationKind] = VARIATIONS,
    n: int = 20,
    seed: int = 0,
    executor: Executor | None = None,
    **options: Unpack[KindOfSearch],
) -> Stability:
    """Searches again and again, each time with something otherwise that ought not to matter.

    The kinds of runs:

    - "orders": each receiver's edges are tested in a random order (for method "acdc").
    - "prompts": as many prompts, drawn from the task's with replacement (Efron 1979).
    - "seeds": as many other prompts of the same built-in task.
    - "thresholds": from half to twice the threshold, evenly on a log scale. This one does matter:
      it says how the others compare with a factor of two.
    - "templates": the prompts of each template alone, where the task has several
      (`measures/templates.py`). These are fewer prompts, which by itself makes circuits differ.

    Each run is what `find_circuit` finds on its prompts; a threshold in per cent is one of their
    own clean metric. Kinds that do not apply are left out, and `notes` say why.

    Args:
        model: anything that `load_model` takes.
        task: a `Task`, or the name of one.
        threshold: as `find_circuit` takes it.
        kinds: which kinds of runs to make.
        n: how many of each kind, at least two; of templates there are as many as the task has.
        seed: of orders, draws and task seeds; another one gives others.
        executor: makes the searches on several processes at once, with the same circuits; as for
            `ax.verify`.
        options: other arguments of `find_circuit` but `replay` and `top_n`.

    Returns:
        How often each edge was kept, how alike the circuits are, and the consensus of all runs.

    Raises:
        ValueError: naming the argument that is wrong and what is allowed; or if no kind applies.
    """
    if executor is not None:
        check_executor(executor)
    with plain_arithmetic():
        loaded, task = resolve(model, task)
        search = RepeatedSearch.of(loaded, task, threshold, options)
        study = StabilityStudy(search, kinds, n, seed, executor)
        with working_on("searching again: circuits found", study.n_runs) as done:
            # After every step, so that whoever listens can do something else, or give it up.
            for _ in study.steps():
                done(len(study.runs))
        return study.result()


class StabilityStudy:
    """Repeated searches under way.

    Attributes:
        n_runs: how many there will be.
        runs: those that have ended.
        notes: why there are none of some kinds.
    """

    def __init__(
        self,
        search: RepeatedSearch,
        kinds: Sequence[VariationKind],
        n: int,
        seed: int,
        executor: Executor | None = None,
    ):
        """Plans the runs.

        Args:
            search: as it was asked for.
            kinds: as for `stability`; so are the others.
            n: likewise.
            seed: likewise.
            executor: likewise.

        Raises:
            ValueError: likewise.
        """
        for name, value, least in (("n", n, 2), ("seed", seed, 0)):
            check_whole_number(name, value, least)
        self._search, self._kinds, self._n, self._seed = search, kinds, n, seed
        self._executor = executor
        self._variations, self.notes = variations_of(search, kinds, n, seed)
        if not self._variations:
            raise ValueError(f"nothing to vary: {'; '.join(self.notes)}")
        self.n_runs = len(self._variations)
        self.runs: list[StabilityRun] = []
        self._circuit: Circuit | None = None

    def steps(self) -> Iterator[Step | StabilityRun]:
        """Makes the searches.

        Yields:
            Every step that is made here, so that whoever drives this can do something else in
            between, and every run as it ends.
        """
        search = self._search
        self._circuit = yield from search.steps(search.engine, search.settings)
        if self._executor is not None:
            yield from self._on_workers(self._executor)
            return
        # Of the threshold that is nearest to the next one.
        nearest = self._circuit
        for variation in self._variations:
            replay = nearest.steps if variation.kind == "thresholds" else ()
            run, circuit = yield from run_steps(search, variation, replay)
            if variation.kind == "thresholds":
                nearest = circuit
            self.runs.append(run)
            yield run

    def _on_workers(self, executor: Executor) -> Iterator[StabilityRun]:
        """Has the searches made elsewhere; yields each as it ends."""
        search, numbers = self._search, range(self.n_runs)
        reference = EngineReference.of(search.model, search.engine)
        n_jobs = min(self.n_runs, _JOBS_PER_WORKER * n_workers_of(executor))
        jobs = [
            RunsJob(
                reference,
                search.threshold,
                search.settings,
                self._kinds,
                self._n,
                self._seed,
                # Of every kind some.
                numbers[first::n_jobs],
                [variation.name for variation in self._variations[first::n_jobs]],
            )
            for first in range(n_jobs)
        ]
        found: dict[int, StabilityRun] = {}
        check = partial(check_runs, search)
        with closing(gather_all(executor, runs_of, jobs, check, "repeated searches")) as results:
            for number, result in results:
                found.update(zip(jobs[number].numbers, result.runs, strict=True))
                # In the order in which one process makes them.
                self.runs = [found[each] for each in sorted(found)]
                yield from result.runs

    def result(self) -> Stability:
        """What the runs so far say.

        Raises:
            ValueError: if none has ended.
        """
        if self._circuit is None or not self.runs:
            raise ValueError("no run has ended so far")
        graph, runs = self._circuit.graph, self.runs
        kept = np.stack([graph.mask_of(run.kept)[graph.edge_mask] for run in runs])
        of_circuit = self._circuit.kept_mask[graph.edge_mask]
        kinds = np.array([run.kind for run in runs])
        named = {**{kind: kinds == kind for kind in dict.fromkeys(kinds)}, _ALL: kinds != ""}
        edges = pd.DataFrame({"edge": graph.edge_ids, "kept": of_circuit})
        rows = []
        for kind, chosen in named.items():
            edges[kind] = kept[chosen].mean(0)
            rows.append(_row_of(kind, kept[chosen], of_circuit, self._seed))
        edges = edges[kept.any(0) | of_circuit].sort_values(
            [_ALL, "kept"], ascending=False, kind="stable", ignore_index=True
        )
        consensus = edges.loc[edges[_ALL] >= _CONSENSUS, "edge"].tolist()
        return Stability(
            circuit=self._circuit,
            runs=tuple(runs),
            edges=edges,
            kinds=pd.DataFrame(rows),
            consensus=tuple(consensus),
            consensus_faithfulness=self._search.faithfulness_of(consensus),
            notes=tuple(self.notes),
        )


def _row_of(
    kind: str,
    kept: Bool[np.ndarray, "run edge"],
    of_circuit: Bool[np.ndarray, " edge"],
    seed: int,
) -> dict[str, Any]:
    """What is told of the runs of one kind."""
    mean, low, high = mean_jaccard(kept, np.random.default_rng(seed))
    sizes = kept.sum(1)
    return {
        "kind": kind,
        "runs": len(kept),
        "jaccard": mean,
        "low": low,
        "high": high,
        "with_circuit": pairwise_jaccard(np.vstack([of_circuit, kept]))[0, 1:].mean(),
        "smallest": int(sizes.min()),
        "median": float(np.median(sizes)),
        "largest": int(sizes.max()),
    }
