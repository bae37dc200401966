"""The largest threshold whose circuit is faithful enough.

Thresholds are tried downwards in steps until a circuit reaches the target; then the gap above it is
halved, on a log scale. Each search takes over what holds of the nearest one before it.

Rule "signed" is the one to do this with. Under "abs" an edge goes if its removal changes the metric
little, up or down; in a language model there are thousands of those, what they do together adds
up, and circuits of hundreds of edges stay unfaithful. Under "signed" edges whose removal raises the
metric go too, whatever their size, which makes up for the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.circuits.steps import Step
from acdc_explorer.circuits.threshold_path import ThresholdPath
from acdc_explorer.engine.engine import Engine
from acdc_explorer.searches.methods import SEARCH_METHODS, circuit_of, search_steps

# Thresholds, as shares of |clean - ablated metric|: the lowest that are tried, for exact methods
# and for attribution, which costs the same at each and whose scores are smaller.
_LOWEST_EXACT, _LOWEST_ATTRIBUTED = 0.003, 1e-6
# The factors from one threshold down to the next: until half of the target is reached, and then.
# A search takes some ten times as long at half the threshold, so that too low a one is dear.
_STEP, _STEP_NEAR = 2**0.5, 2**0.25
# The gap that is left between the largest threshold that reaches the target and the next above.
_CLOSE = 1.1
# By how much faithfulness may fall from one threshold to the next lower one unmentioned.
_MUCH = 0.05


def parse_faithfulness(faithfulness: float | str) -> float:
    """Turns a faithfulness as the user gives it into a share.

    Args:
        faithfulness: a number above 0 and up to 1, or text: such a number, or a per cent.

    Raises:
        ValueError: if it is something else.
    """
    text = str(faithfulness).strip()
    try:
        if isinstance(faithfulness, bool):
            raise ValueError
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise ValueError(
            "faithfulness must be a share above 0 and at most 1, as '80%' or 0.8; got "
            f"{faithfulness!r}"
        )
    return share


def faithful_steps(
    model_name: str,
    engine: Engine,
    settings: SearchSettings,
    target: float,
    known: Iterable[Circuit] = (),
) -> Iterator[SearchSettings | Step | Circuit]:
    """Searches at one threshold after the other for the largest that reaches a faithfulness.

    Args:
        model_name: of the model.
        engine: model and task.
        settings: of the searches; the threshold is set anew.
        target: the faithfulness to reach, as a share.
        known: circuits of such searches at other thresholds, whose decisions are taken over.

    Yields:
        The settings of each search, its steps, and its circuit. The result is `chosen` of the
        circuits.

    Raises:
        ValueError: if the metric is the same in the clean and the ablated run, so that no circuit
            has a faithfulness.
    """
    scale = abs(engine.full_metric - engine.corrupted_metric)
    if scale < 1e-6:
        raise ValueError(
            f"the {engine.metric.label} is the same in the clean and in the ablated run, so that "
            "no circuit has a faithfulness; give a threshold instead"
        )
    is_exact = SEARCH_METHODS[settings.method].is_exact
    lowest = (_LOWEST_EXACT if is_exact else _LOWEST_ATTRIBUTED) * scale
    known, found, too_high, threshold = tuple(known), list[Circuit](), math.inf, scale
    while threshold >= lowest:
        nearest = ThresholdPath((*known, *found)).nearest(threshold)
        at = replace(settings, threshold=threshold, threshold_text=f"{threshold:.4g}")
        yield at
        steps: list[Step] = []
        for step in search_steps(engine, at, nearest.steps if nearest else ()):
            steps.append(step)
            yield step
        circuit = circuit_of(model_name, engine, at, steps)
        found.append(circuit)
        yield circuit
        reached = most_sparse(found, target)
        if reached is None:
            is_near = circuit.faithfulness > target / 2
            too_high, threshold = threshold, threshold / (_STEP_NEAR if is_near else _STEP)
            continue
        if circuit is not reached:
            too_high = threshold
        if math.isinf(too_high) or too_high <= _CLOSE * reached.threshold:
            return
        threshold = math.sqrt(too_high * reached.threshold)


def most_sparse(circuits: Iterable[Circuit], target: float) -> Circuit | None:
    """Of the circuits that reach a faithfulness that of the largest threshold; None if none does.

    Args:
        circuits: at different thresholds.
        target: the faithfulness, as a share.
    """
    reaching = [circuit for circuit in circuits if circuit.faithfulness >= target]
    return max(reaching, key=lambda circuit: circuit.threshold, default=None)


def chosen(circuits: Sequence[Circuit], target: float) -> tuple[Circuit, list[str]]:
    """The sparsest circuit that is faithful enough or, if none is, the most faithful one.

    Args:
        circuits: all that were found, at different thresholds.
        target: the faithfulness, as a share.

    Returns:
        The circuit, and what is to be said of it: that it falls short, or that faithfulness falls
        with the threshold in places, so that larger thresholds may do as well.
    """
    notes, circuit = list[str](), most_sparse(circuits, target)
    if circuit is None:
        circuit = max(circuits, key=lambda each: each.faithfulness)
        lowest = min(each.threshold for each in circuits)
        notes.append(
            f"no circuit down to threshold {lowest:.3g} is {target:.0%} faithful; the most "
            f"faithful, {circuit.faithfulness:.1%}, is that of {circuit.threshold:.3g}"
        )
    in_order = sorted(circuits, key=lambda each: -each.threshold)
    falls = [(a.faithfulness - b.faithfulness, a, b) for a, b in pairwise(in_order)]
    fall, higher, lower = max(falls, key=lambda each: each[0], default=(0.0, circuit, circuit))
    if fall > _MUCH:
        notes.append(
            f"faithfulness falls with the threshold in places: {higher.faithfulness:.1%} at "
            f"{higher.threshold:.3g}, {lower.faithfulness:.1%} at {lower.threshold:.3g}; larger "
            "thresholds than the one found may be as faithful"
        )
    return circuit, notes
