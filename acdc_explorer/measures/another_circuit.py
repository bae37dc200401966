"""Whether a task has another circuit, as faithful as the one that was found."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pandas as pd

from acdc_explorer.arguments import check_found_here, engine_of, resolve
from acdc_explorer.arithmetic import plain_arithmetic
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.imported import check_searched
from acdc_explorer.circuits.steps import Step
from acdc_explorer.engine.engine import Engine
from acdc_explorer.models.model import ModelLike
from acdc_explorer.progress import working_on
from acdc_explorer.searches.acdc import acdc_steps
from acdc_explorer.searches.avoided import AvoidedEdges
from acdc_explorer.searches.methods import circuit_of
from acdc_explorer.tasks.task import Task

# The thresholds of the searches, as shares of the given circuit's: with a lower one, many edges
# that do little each can stand in for one that does much. And by how much the given circuit's edges
# must do more than its own threshold to stay.
_THRESHOLDS, _PENALTIES = (1.0, 0.5, 0.25), (1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True)
class Attempt:
    """A search that avoids the edges of a circuit.

    Attributes:
        threshold: of all other edges, in the metric's units.
        penalty: how many of the given circuit's thresholds an edge of it must change to stay.
        kept: ids of the edges that the search keeps.
        n_shared: how many of these are the given circuit's.
        faithfulness: of them all, as a share.
        as_faithful: whether that is as near to 1 as the given circuit's is, within the tolerance.
    """

    threshold: float
    penalty: float
    kept: tuple[str, ...]
    n_shared: int
    faithfulness: float
    as_faithful: bool


@dataclass(frozen=True)
class AnotherCircuit:
    """The most unlike circuit that is as faithful as a given one.

    Attributes:
        circuit: the given one.
        found: whether there is another: as faithful, with few enough edges in common.
        kept: ids of the edges of the most unlike circuit that is as faithful, whether it counts as
            another or not; where none is, of the most faithful one that was tried.
        shared: ids of those that the given circuit keeps too.
        jaccard: shared edges over edges in either.
        faithfulness: of the circuit of `kept`, as a share.
        as_faithful: whether that is as near to 1 as the given circuit's is, within the tolerance.
        attempts: a row for each search: threshold and penalty (see `Attempt`), edges (how many it
            keeps), shared (how many of them the given circuit keeps too), jaccard, faithfulness,
            as_faithful.
    """

    circuit: Circuit
    found: bool
    kept: tuple[str, ...]
    shared: tuple[str, ...]
    jaccard: float
    faithfulness: float
    as_faithful: bool
    attempts: pd.DataFrame

    def __str__(self) -> str:
        """In a sentence."""
        n_kept = len(self.kept)
        what = (
            f"{n_kept} edge{'s' * (n_kept != 1)}, {len(self.shared)} of them among the "
            f"{len(self.circuit.kept)} of the given one; faithfulness {self.faithfulness:.1%}, the "
            f"given one's {self.circuit.faithfulness:.1%}"
        )
        if self.found:
            return f"There is another circuit ({what}): do not say 'the' circuit."
        tried = f"No other circuit was found in {len(self.attempts)} searches"
        if self.as_faithful:
            return f"{tried}. The most unlike one that is as faithful: {what}."
        return f"{tried}: none is as faithful. The nearest: {what}."


def another_circuit(
    model: ModelLike,
    task: Task | str,
    circuit: Circuit,
    *,
    tolerance: float = 0.05,
    most_shared: float = 0.5,
) -> AnotherCircuit:
    """Looks for a circuit that has few edges of a given one and is as faithful.

    ACDC with the given circuit's settings, but at each receiver the edges of that circuit are
    tested first, while all that could take their place is there; and they stay only if they change
    the metric by 1, 2, 4 or 8 of its thresholds. Other edges stay at its threshold; where that does
    not lead to another circuit, at a half of it, then at a quarter, which takes longer. Of the
    circuits found that way those count that are as faithful, and of them the one that shares the
    fewest edges with the given one; of several, the smallest.

    That none is found does not prove that there is none. And where the given circuit is not very
    faithful, it takes little to be as faithful.

    Args:
        model: that the circuit was found on, as `find_circuit` takes it.
        task: likewise.
        circuit: the given one.
        tolerance: a circuit is as faithful if its faithfulness is no further from 1 than the given
            one's and this, as a share.
        most_shared: it is another one if the two share at most this share of the edges of the
            smaller of them.

    Raises:
        ValueError: if the circuit is of another model or other prompts, keeps no edge, or is hardly
            more faithful than that; or naming the argument that is wrong and what is allowed.
    """
    for name, value in (("tolerance", tolerance), ("most_shared", most_shared)):
        if not (isinstance(value, (int, float)) and 0 <= value < 1):
            raise ValueError(f"{name} must be a share from 0 to below 1; got {value!r}")
    check_searched(circuit, "the search for another circuit")
    with plain_arithmetic():
        loaded, task = resolve(model, task)
        engine = engine_of(circuit, loaded, task)
        check_found_here(engine, circuit, "the circuit")
        if not circuit.kept:
            raise ValueError("the circuit keeps no edge, so that there is nothing to do otherwise")
        # The negation holds for NaN, too.
        if not abs(1 - circuit.faithfulness) + tolerance < 1:
            raise ValueError(
                f"the circuit's faithfulness is {circuit.faithfulness:.1%}; with a tolerance of "
                f"{tolerance:.0%}, no edge at all is as faithful"
            )
        attempts: list[Attempt] = []
        n_most = len(_THRESHOLDS) * len(_PENALTIES)
        with working_on("looking for another circuit: circuits found", n_most) as done:
            for step in attempt_steps(engine, circuit, tolerance, most_shared):
                if isinstance(step, Attempt):
                    attempts.append(step)
                # After every step, so that whoever listens can do something else, or give it up.
                done(len(attempts))
    return most_unlike(circuit, attempts, most_shared)


def attempt_steps(
    engine: Engine, circuit: Circuit, tolerance: float, most_shared: float
) -> Iterator[Step | Attempt]:
    """Searches for circuits without the edges of a given one.

    Args:
        engine: on which it was found.
        circuit: the given one.
        tolerance: as for `another_circuit`.
        most_shared: likewise.

    Yields:
        Every step, so that whoever drives this can do something else in between, and every attempt
        as it ends: at each threshold with rising penalties, as long as circuits are as faithful;
        at the next one only if no other circuit is found so far, and the first one here was as
        faithful.
    """
    given = set(circuit.kept)
    worst = abs(1 - circuit.faithfulness) + tolerance
    for share in _THRESHOLDS:
        threshold = circuit.threshold * share
        settings = replace(
            circuit.settings, method="acdc", threshold=threshold, threshold_text=f"{threshold:.6g}"
        )
        of_threshold: list[Attempt] = []
        for penalty in _PENALTIES:
            avoided = AvoidedEdges(engine.graph, circuit.kept_mask, penalty / share)
            steps: list[Step] = []
            for step in acdc_steps(engine, settings, avoided=avoided):
                steps.append(step)
                yield step
            other = circuit_of(circuit.model_name, engine, settings, steps)
            kept = tuple(other.kept)
            as_faithful = abs(1 - other.faithfulness) <= worst
            n_shared = len(given.intersection(kept))
            attempt = Attempt(threshold, penalty, kept, n_shared, other.faithfulness, as_faithful)
            yield attempt
            of_threshold.append(attempt)
            if not as_faithful:
                break
        found = any(_is_another(each, circuit, most_shared) for each in of_threshold)
        if found or not of_threshold[0].as_faithful:
            return


def _is_another(attempt: Attempt, circuit: Circuit, most_shared: float) -> bool:
    """Whether an attempt is as faithful and shares few enough edges with the given circuit."""
    # Of the smaller of the two: neither a part of the given circuit nor more than it is another.
    smaller = min(len(attempt.kept), len(circuit.kept))
    return attempt.as_faithful and attempt.n_shared <= most_shared * smaller


def most_unlike(circuit: Circuit, attempts: list[Attempt], most_shared: float) -> AnotherCircuit:
    """Chooses among some attempts, at least one; arguments as for `another_circuit`."""
    given = set(circuit.kept)

    def rank(attempt: Attempt) -> tuple[int, float, int]:
        size = len(attempt.kept)
        if attempt.as_faithful:
            return int(not _is_another(attempt, circuit, most_shared)), attempt.n_shared, size
        distance = abs(1 - attempt.faithfulness)
        return 2, math.inf if math.isnan(distance) else distance, size

    best = min(attempts, key=rank)
    table = pd.DataFrame(
        {
            "threshold": [each.threshold for each in attempts],
            "penalty": [each.penalty for each in attempts],
            "edges": [len(each.kept) for each in attempts],
            "shared": [each.n_shared for each in attempts],
            "jaccard": [_jaccard(each, given) for each in attempts],
            "faithfulness": [each.faithfulness for each in attempts],
            "as_faithful": [each.as_faithful for each in attempts],
        }
    )
    return AnotherCircuit(
        circuit=circuit,
        found=_is_another(best, circuit, most_shared),
        kept=best.kept,
        shared=tuple(edge for edge in best.kept if edge in given),
        jaccard=_jaccard(best, given),
        faithfulness=best.faithfulness,
        as_faithful=best.as_faithful,
        attempts=table,
    )


def _jaccard(attempt: Attempt, given: set[str]) -> float:
    return attempt.n_shared / len(given.union(attempt.kept))
