"""The state of one search and of its threshold path."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.circuits.steps import EdgeStep, ReceiverStep, Step, n_decided
from acdc_explorer.circuits.threshold_path import ThresholdPath
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.evaluate import evaluate_removed
from acdc_explorer.engine.memory import GIB
from acdc_explorer.engine.removed_edges import RemovedEdges
from acdc_explorer.engine.scoring import mean_metric
from acdc_explorer.graph import Edge, Receiver
from acdc_explorer.models import Model
from acdc_explorer.options import ATTRIBUTIONS
from acdc_explorer.searches.attribution import attribution_steps, edge_scores
from acdc_explorer.searches.decisions import BORDERLINE
from acdc_explorer.searches.methods import SEARCH_METHODS, circuit_of, search_steps
from acdc_explorer.searches.threshold_path import grid, path_steps
from acdc_explorer.tasks import Task

# The thresholds of the path, in shares of the clean metric; it may go on beyond a chosen one.
_PATH_RANGE = 0.01, 0.3
# What the background spends on the path of one search before it rests.
PATH_SECONDS = 60.0
_CURVE_POINTS = 14


@dataclass(frozen=True)
class CurvePoint:
    """A circuit of an approximate method: how many edges it keeps and how faithful it is."""

    edges: int
    faithfulness: float


class SearchSession:
    """A search under way: its steps so far, and the one it is about to take."""

    def __init__(
        self, model: Model, engine: Engine, settings: SearchSettings, known: Sequence[Step] = ()
    ):
        """Begins a search.

        Args:
            model: searched.
            engine: of the model and the task.
            settings: of the search.
            known: steps of an earlier search to take over.
        """
        self.model, self.engine, self.settings = model, engine, settings
        self.note = _note(model, engine)
        # Here, in the worker, since snapshots are taken on other threads and must not compute.
        _ = engine.corrupted_metric
        self.tokens = _tokens_at_labels(model, engine.task)
        self.iterator: Iterator[Step] = search_steps(engine, settings, known)
        self.steps: list[Step] = []
        self.preview: tuple[tuple[Edge, float], ...] = ()
        self._circuit: tuple[tuple[int, bool, SearchSettings], Circuit] | None = None
        self.complete = False
        self.receiver: Receiver | None = None
        self.n_done = 0
        self.seconds = 0.0

    def show_before(self) -> None:
        """Attributes every edge, so that there is something to see before the first exact value."""
        is_exact = SEARCH_METHODS[self.settings.method].is_exact
        if not is_exact or not self.engine.scoring.has_gradient:
            return
        # Attribution knows no order of tests, and no damage that adds up.
        settings = replace(self.settings, method="eap", order="default", rule="abs", screen=0.0)
        self.preview = tuple(
            (step.edge, step.effect)
            for step in attribution_steps(self.engine, settings)
            if isinstance(step, EdgeStep) and step.kept
        )

    def advance(self) -> bool:
        """Takes one step; False if there is none left."""
        started = time.monotonic()
        step = next(self.iterator, None)
        self.seconds += time.monotonic() - started
        if step is None:
            self.complete = True
            # Likewise: of some methods the circuit is evaluated once it is complete.
            self.circuit()
            return False
        self.steps.append(step)
        self.n_done += n_decided(step, self.engine.graph)
        if isinstance(step, ReceiverStep):
            self.receiver = step.receiver
        return True

    def take_over(self, circuit: Circuit) -> None:
        """Becomes a search that has ended in this circuit."""
        self.steps = list(circuit.steps)
        self.complete, self.n_done = True, self.engine.graph.n_edges

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
            circuit = circuit_of(
                self.model.name, self.engine, self.settings, self.steps, complete=self.complete
            )
            self._circuit = (key, circuit)
        return self._circuit[1]


class PathSession:
    """The circuits of all thresholds found so far for one kind of search.

    Attributes:
        path: what is known.
        curves: attribution method -> points of its circuits, the fewest edges first.
        finished: whether all is known, or the time for it is spent.
    """

    def __init__(self, search: SearchSession):
        """Begins with nothing known."""
        self._search = search
        self.path = ThresholdPath()
        self.curves: dict[str, tuple[CurvePoint, ...]] = {}
        self.finished = False
        self.seconds = 0.0
        self._work = self._steps()

    @property
    def margin(self) -> float:
        """How far from an interval's ends its circuit is certain: the ends are float32 values."""
        return BORDERLINE * max(1.0, abs(self._search.engine.full_metric))

    def add(self, circuit: Circuit) -> None:
        """Takes in a circuit found by a search; the background goes on from there."""
        self.path = self.path.with_circuit(circuit)

    def advance(self) -> bool:
        """Works on for a moment; True where there is something new. Sets `finished` at the end."""
        started = time.monotonic()
        new = next(self._work, None) if self.seconds <= PATH_SECONDS else None
        self.seconds += time.monotonic() - started
        self.finished = new is None
        return bool(new)

    def _steps(self) -> Iterator[bool]:
        engine, settings = self._search.engine, self._search.settings
        if engine.scoring.has_gradient:
            for method in ATTRIBUTIONS:
                yield from self._curve(method)
        full = abs(engine.full_metric)
        if full == 0 or not SEARCH_METHODS[settings.method].is_exact:
            return
        low, high = (share * full for share in _PATH_RANGE)
        steps = path_steps(self._search.model.name, engine, settings, low, high, self.path)
        for step in steps:
            if isinstance(step, Circuit):
                self.path = self.path.with_circuit(step)
            yield isinstance(step, Circuit)

    def _curve(self, method: str) -> Iterator[bool]:
        """Evaluates circuits of the largest attributions, at thresholds on a grid."""
        engine = self._search.engine
        span = engine.full_metric - engine.corrupted_metric
        scores = np.abs(edge_scores(engine, method))
        largest = float(scores.max())
        if not span or not largest:
            return
        points: list[CurvePoint] = []
        for threshold in grid(largest / 1000, largest, _CURVE_POINTS):
            # By all |scores|, whatever is kept downstream: an edge that leads nowhere does nothing.
            kept = engine.graph.edge_mask & (scores >= threshold)
            value = evaluate_removed(engine, [RemovedEdges(engine.graph.edge_mask & ~kept)])[0]
            share = (mean_metric(value) - engine.corrupted_metric) / span
            points.append(CurvePoint(int(kept.sum()), share))
            yield False
        self.curves[method] = tuple(points)
        yield True


def _note(model: Model, engine: Engine) -> str:
    """What is to be known of the model's weights, and of a search that takes much memory."""
    need = engine.memory_need
    notes = [model.note] if model.note else []
    if need.total >= GIB:
        notes.append(f"a search takes about {need}")
    return "; ".join(notes)


def _tokens_at_labels(model: Model, task: Task) -> dict[str, str]:
    """What stands at each position label of the first prompt."""
    if model.tokenizer is None:
        return {}
    rows = {label: mask[0] for label, mask in task.position_masks.items()}
    return {
        label: str(model.tokenizer.decode(task.clean_tokens[0][row])).strip()
        for label, row in rows.items()
        if row.any()
    }
