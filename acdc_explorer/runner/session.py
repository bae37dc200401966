"""The state of one search and of its threshold path."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from acdc_explorer.arguments import Prepared
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.circuits.steps import EdgeStep, ReceiverStep, Step, n_decided
from acdc_explorer.circuits.threshold_path import ThresholdPath
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.evaluate import evaluate_by_parts
from acdc_explorer.engine.memory import GIB, device_kind
from acdc_explorer.engine.removed_edges import RemovedEdges
from acdc_explorer.engine.scoring import mean_metric
from acdc_explorer.graph import Edge, Receiver
from acdc_explorer.models import Model
from acdc_explorer.options import ATTRIBUTIONS
from acdc_explorer.runner.work import Work
from acdc_explorer.searches.attribution import (
    Attribution,
    preview_attribution,
    steps_by_scores,
)
from acdc_explorer.searches.decisions import BORDERLINE
from acdc_explorer.searches.faithful import chosen, faithful_steps
from acdc_explorer.searches.methods import SEARCH_METHODS, circuit_of, search_steps
from acdc_explorer.searches.threshold_path import grid, path_steps
from acdc_explorer.tasks import Task
from acdc_explorer.tasks.preview import words_at

# The thresholds of the path, in shares of the clean metric; it may go on beyond a chosen one.
_PATH_RANGE = 0.01, 0.3
# What the background spends on the path of one kind of search before it rests; and on comparing it
# with attribution, whose time must not be the path's.
PATH_SECONDS, CURVES_SECONDS = 60.0, 120.0
_CURVE_POINTS = 14
# By which methods the circuits are that the path is compared with.
_COMPARED = "eap", "eap_ig"
# About as much as is computed in half a second, in floating-point operations: a question waits for
# what is under way. Of prompts that are evaluated one is the least.
_PART_FLOPS = {"cpu": 2.5e10, "cuda": 5e12}


@dataclass(frozen=True)
class CurvePoint:
    """A circuit of an approximate method: how many edges it keeps and how faithful it is."""

    edges: int
    faithfulness: float


class SearchSession:
    """A search under way: its steps so far, and the one it is about to take."""

    def __init__(self, model: Model, wanted: Prepared, found: Sequence[Circuit] = ()):
        """Begins a search.

        Args:
            model: searched.
            wanted: what is looked for, and where.
            found: circuits of such searches at other thresholds, for one with a target.
        """
        self.model, self.engine, self.settings = model, wanted.engine, wanted.settings
        self.target, engine = wanted.target, wanted.engine
        self.note = _note(model, engine)
        # Here, in the worker, since snapshots are taken on other threads and must not compute.
        _ = engine.corrupted_metric
        self.tokens = _tokens_at_labels(model, engine.task)
        self._iterator: Iterator[SearchSettings | Step | Circuit] = (
            faithful_steps(model.name, engine, wanted.settings, self.target, found)
            if self.target is not None
            else search_steps(engine, wanted.settings, wanted.known)
        )
        # What is done ahead of the search.
        self._attribution: Attribution | None = None
        self._parts_ahead: Iterator[None] = iter(())
        # Circuits of other thresholds that were found on the way to the target.
        self.found: list[Circuit] = []
        self.steps: list[Step] = []
        self.preview: tuple[tuple[Edge, float], ...] = ()
        self._circuit: tuple[tuple[int, bool, SearchSettings], Circuit] | None = None
        self.complete = False
        self.receiver: Receiver | None = None
        self.n_done = 0
        self.seconds = 0.0

    def add_note(self, note: str) -> None:
        """Adds to what is to be known of this search, unless there is nothing to add."""
        self.note = "; ".join(each for each in (self.note, note) if each)

    def attribute_first(self) -> None:
        """Has every edge attributed ahead of the search.

        An exact one has something to show by then; another one goes by that.
        """
        method = self.settings.method
        if self.engine.scoring.has_gradient:
            self._attribution = (
                Attribution(self.engine, method)
                if method in ATTRIBUTIONS
                else preview_attribution(self.engine)
            )
            self._parts_ahead = self._attribution.advance()

    @property
    def activity(self) -> str:
        """What is done ahead of the search just now, in words, or nothing."""
        return str(self._attribution.progress) if self._attribution else ""

    def advance(self) -> bool:
        """Takes one step, or does a part of what is ahead of the first; False if none is left."""
        if self._attribution is not None:
            self._attribute_further()
            return True
        started = time.monotonic()
        step = next(self._iterator, None)
        self.seconds += time.monotonic() - started
        if step is None:
            if self.target is not None:
                circuit, notes = chosen(self.found, self.target)
                self.add_note("; ".join(notes))
                self.settings, self.steps = circuit.settings, list(circuit.steps)
            # Likewise: of some methods the circuit is evaluated once it is complete. It counts as
            # complete from then on, since meanwhile snapshots ask for it as it stands.
            self._circuit = self._made(complete=True)
            self.complete = True
            return False
        if isinstance(step, SearchSettings):
            self.settings, self.steps, self.n_done = step, [], 0
        elif isinstance(step, Circuit):
            self.found.append(step)
        else:
            self.steps.append(step)
            self.n_done += n_decided(step, self.engine.graph)
            if isinstance(step, ReceiverStep):
                self.receiver = step.receiver
        return True

    def _attribute_further(self) -> None:
        for _ in self._parts_ahead:
            return
        assert self._attribution is not None
        attribution, self._attribution = self._attribution, None
        if not SEARCH_METHODS[self.settings.method].is_exact:
            return
        # Attribution knows no order of tests, and no damage that adds up.
        settings = replace(
            self.settings, method=attribution.method, order="default", rule="abs", screen=0.0
        )
        self.preview = tuple(
            (step.edge, step.effect)
            for step in steps_by_scores(self.engine, settings, attribution.scores)
            if isinstance(step, EdgeStep) and step.kept
        )

    def ended_in(self, circuit: Circuit) -> SearchSession:
        """The same search, ended in this circuit."""
        search = SearchSession(self.model, Prepared(self.engine, self.settings, (), None))
        search.steps = list(circuit.steps)
        search.complete, search.n_done = True, self.engine.graph.n_edges
        search.seconds = self.seconds
        # Here too, and not when a snapshot is taken.
        search.circuit()
        return search

    def is_of(self, engine: Engine, settings: SearchSettings) -> bool:
        """Whether only the threshold tells a search with these settings from this one."""
        same = replace(
            self.settings, threshold=settings.threshold, threshold_text=settings.threshold_text
        )
        return engine is self.engine and same == settings

    def circuit(self) -> Circuit:
        """The circuit so far."""
        key = (len(self.steps), self.complete, self.settings)
        if self._circuit is None or self._circuit[0] != key:
            self._circuit = self._made(complete=self.complete)
        return self._circuit[1]

    def _made(self, *, complete: bool) -> tuple[tuple[int, bool, SearchSettings], Circuit]:
        """The circuit of the steps so far, with what it was made of."""
        circuit = circuit_of(
            self.model.name, self.engine, self.settings, self.steps, complete=complete
        )
        return (len(circuit.steps), complete, self.settings), circuit


class PathSession:
    """The circuits of all thresholds found so far for one kind of search.

    Attributes:
        path: what is known.
        curves: attribution method -> points of its circuits, the fewest edges first.
        finding_path: the work of finding more circuits.
        finding_curves: that of finding more points.
    """

    def __init__(self, search: SearchSession):
        """Begins with nothing known."""
        self._search = search
        self.path = ThresholdPath()
        self.curves: dict[str, tuple[CurvePoint, ...]] = {}
        self._attribution: Attribution | None = None
        self.finding_path = Work(self._circuits(), PATH_SECONDS)
        self.finding_curves = Work(self._curves(), CURVES_SECONDS)

    @property
    def activity(self) -> str:
        """What takes long just now, in words, or nothing."""
        return str(self._attribution.progress) if self._attribution else ""

    @property
    def margin(self) -> float:
        """How far from an interval's ends its circuit is certain: the ends are float32 values."""
        return BORDERLINE * max(1.0, abs(self._search.engine.full_metric))

    def close(self) -> None:
        """Ends the work, and lets go of the model."""
        self.finding_path.close()
        self.finding_curves.close()

    def add(self, circuit: Circuit) -> None:
        """Takes in a circuit found by a search; the background goes on from there."""
        self.path = self.path.with_circuit(circuit)

    def put_right(self, circuit: Circuit) -> None:
        """Takes in a circuit in place of the one known for its threshold, if any."""
        others = [each for each in self.path.circuits if each.threshold != circuit.threshold]
        self.path = ThresholdPath(tuple(others)).with_circuit(circuit)

    def going_on(self, before: SearchSession, wanted: Prepared) -> SearchSession:
        """A search at another threshold: at once, if its circuit is known; else from what is.

        Args:
            before: the last search of this kind.
            wanted: what is looked for now.
        """
        if before.complete:
            self.add(before.circuit())
        if wanted.target is not None:
            return SearchSession(before.model, wanted, self.path.circuits)
        known = self.path.at(wanted.settings.threshold, self.margin)
        if known is not None:
            return SearchSession(before.model, wanted).ended_in(known)
        nearest = self.path.nearest(wanted.settings.threshold)
        steps = nearest.steps if nearest and before.complete else before.steps
        return SearchSession(before.model, replace(wanted, known=steps))

    def _circuits(self) -> Generator[bool]:
        """Finds circuits of other thresholds."""
        engine, settings = self._search.engine, self._search.settings
        full = abs(engine.full_metric)
        if full == 0 or not SEARCH_METHODS[settings.method].is_exact:
            return
        low, high = (share * full for share in _PATH_RANGE)
        steps = path_steps(self._search.model.name, engine, settings, low, high, self.path)
        for step in steps:
            if isinstance(step, Circuit):
                self.path = self.path.with_circuit(step)
            yield isinstance(step, Circuit)

    def _curves(self) -> Generator[bool]:
        """Evaluates circuits of the largest attributions, at thresholds on a grid."""
        engine = self._search.engine
        if not engine.scoring.has_gradient or engine.full_metric == engine.corrupted_metric:
            return
        for method in _COMPARED:
            self._attribution = Attribution(engine, method)
            for _ in self._attribution.advance():
                yield False
            scores, self._attribution = np.abs(self._attribution.scores), None
            if not (largest := float(scores.max())):
                continue
            points: list[CurvePoint] = []
            for threshold in grid(largest / 1000, largest, _CURVE_POINTS):
                # By all |scores|, whatever is kept downstream: an edge that leads nowhere does
                # nothing.
                kept = engine.graph.edge_mask & (scores >= threshold)
                values = []
                for part in self._evaluate(engine.graph.edge_mask & ~kept):
                    values.append(part)
                    yield False
                points.append(CurvePoint(int(kept.sum()), self._faithfulness(values)))
            self.curves[method] = tuple(points)
            yield True

    def _evaluate(self, removed: Bool[np.ndarray, "receiver sender"]) -> Iterator[Tensor]:
        """The metric without some edges, of a few prompts after the other."""
        engine = self._search.engine
        kind = device_kind(engine.weights.device)
        at_most = max(1, int(_PART_FLOPS[kind] * engine.n_prompts / engine.flops_of_runs()))
        for values in evaluate_by_parts(engine, [RemovedEdges(removed)], at_most):
            yield values[0]

    def _faithfulness(self, by_prompt: Sequence[Tensor]) -> float:
        """The faithfulness of a circuit, by its metric of all prompts, some after the other."""
        engine = self._search.engine
        value = mean_metric(torch.cat(list(by_prompt)))
        return (value - engine.corrupted_metric) / (engine.full_metric - engine.corrupted_metric)


def _note(model: Model, engine: Engine) -> str:
    """What is to be known of the model's weights, and of a search that takes much memory."""
    need = engine.memory_need
    notes = [model.note] if model.note else []
    if need.total >= GIB:
        notes.append(f"a search takes about {need}")
    return "; ".join(notes)


def _tokens_at_labels(model: Model, task: Task) -> dict[str, str]:
    """What stands at each position label of the first prompt."""
    rows = {label: mask[0] for label, mask in task.position_masks.items()}
    if task.texts and task.token_texts:
        return {
            label: words_at(task, 0, row.nonzero()[:, 0].tolist()) for label, row in rows.items()
        }
    if model.tokenizer is None:
        return {}
    return {
        label: str(model.tokenizer.decode(task.clean_tokens[0][row])).strip()
        for label, row in rows.items()
        if row.any()
    }
