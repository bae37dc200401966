"""Verifying a circuit in parts that do not wait for one another, on any workers, in any order.

That every screened edge goes is a guess, and as long as it is right, the state in which each was
decided is known beforehand. So all can be tested at once. The first that should have stayed, in
the order of the search, ends what is verified; what comes after it was tested in vain.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from acdc_explorer.arithmetic import plain_arithmetic
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.circuits.steps import DecisionArrays, EdgeStep, Step
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.references import EngineReference
from acdc_explorer.graph import Node
from acdc_explorer.searches.audit import tests_of
from acdc_explorer.searches.decisions import DecisionRule

# What computing a node takes beside one of the last block, about.
_WORK_BELOW_LAST_BLOCK = 10


@dataclass(frozen=True)
class VerificationPart:
    """Some neighbouring screened edges of a circuit, to be tested.

    Attributes:
        engine: on which the circuit was found.
        settings: of its search.
        decisions: of the search, from the first one to the last that is to be tested.
        first: number of the first decision of this part.
    """

    engine: EngineReference
    settings: SearchSettings
    decisions: DecisionArrays
    first: int

    @property
    def to_test(self) -> np.ndarray:
        """Numbers of the decisions to test."""
        return self.first + np.flatnonzero(self.decisions.screened[self.first :])


@dataclass(frozen=True)
class TestedPart:
    """What a worker found.

    Attributes:
        fingerprint: of weights and prompts there.
        tests: of the part's screened edges, up to the first that stays.
    """

    fingerprint: str
    tests: DecisionArrays


def parts_of(reference: EngineReference, circuit: Circuit, n: int) -> list[VerificationPart]:
    """Parts the screened edges of a circuit so that each part is about as much work.

    Args:
        reference: to the engine on which it was found.
        circuit: by method "acdc".
        n: how many parts at most.
    """
    arrays = circuit.decision_arrays
    work = np.cumsum(_work_of_tests(circuit))
    ends = np.searchsorted(work, work[-1] * np.arange(1, n + 1) / n) + 1
    ends = np.unique(ends.clip(max=len(work)))
    parts = [
        VerificationPart(reference, circuit.settings, arrays.up_to(stop), start)
        for start, stop in zip([0, *ends[:-1]], ends, strict=True)
    ]
    return [part for part in parts if len(part.to_test)]


def _work_of_tests(circuit: Circuit) -> list[int]:
    """For each decision about what its test takes, if it was screened; else nothing.

    A test computes the nodes above its receiver that are in the circuit; those of the last block
    at END alone.
    """
    last = circuit.graph.n_layers - 1
    in_circuit, work = set[Node](), list[int]()
    for receiver, steps in groupby(circuit.decisions, lambda step: step.edge.receiver):
        above = [node.layer for node in in_circuit if node.layer > receiver.node.layer]
        each = 1 + sum(1 if layer == last else _WORK_BELOW_LAST_BLOCK for layer in above)
        for step in steps:
            work.append(each if step.screened else 0)
            if step.kept:
                in_circuit.add(step.edge.sender)
    return work


def tested(part: VerificationPart) -> TestedPart:
    """Tests a part's edges, each in the state in which it was decided; what a worker runs."""
    with plain_arithmetic():
        engine = part.engine.engine()
        decisions = part.decisions.steps(engine.graph)
        edges = {decisions[number].edge for number in part.to_test}
        tests: list[EdgeStep] = []
        for test in tests_of(engine, part.settings, decisions, edges):
            tests.append(test)
            if test.kept:
                # What follows would be in another state.
                break
        return TestedPart(part.engine.fingerprint_here(), DecisionArrays.of(engine.graph, tests))


def check_part(engine: Engine, part: VerificationPart, result: object) -> None:
    """Raises a ValueError for what cannot be the tests of a part.

    Args:
        engine: of this process.
        part: as it was sent.
        result: as it came back.
    """
    if not isinstance(result, TestedPart) or not isinstance(result.tests, DecisionArrays):
        raise ValueError(f"a worker returned a {type(result).__name__}, not tests of edges")
    part.engine.check(result.fingerprint)
    tests, numbers = result.tests, part.to_test
    n = len(tests.kept)
    wanted = [cells[numbers[:n]] for cells in part.decisions.cells]
    complete = n == len(numbers) or (0 < n < len(numbers) and tests.kept[-1])
    if not complete or not all(map(np.array_equal, tests.cells, wanted)):
        raise ValueError(
            f"a worker returned tests of {n} edges, which are not the {len(numbers)} that it was "
            "to test"
        )
    if tests.kept[:-1].any():
        raise ValueError("a worker went on after an edge that stays")
    rule = DecisionRule(engine, part.settings)
    for step in tests.steps(engine.graph):
        check_decision(rule, step)


def check_decision(rule: DecisionRule, step: EdgeStep, *, by_rule: bool = True) -> None:
    """Raises a ValueError for a decision of a worker's that cannot be right.

    Args:
        rule: of the search.
        step: the decision.
        by_rule: whether it goes by these values; else they need only be numbers.
    """
    if not (math.isfinite(step.before) and math.isfinite(step.after)):
        raise ValueError(f"a worker returned values that are no numbers, of {step.edge.id}")
    if not by_rule or step.borderline:
        return
    if step.kept != rule.keeps(step.edge, step.before, step.after):
        raise ValueError(
            f"a worker {'keeps' if step.kept else 'removes'} {step.edge.id} against its own "
            f"values {step.before!r} before and {step.after!r} after"
        )


def with_tests(circuit: Circuit, tests: Mapping[int, EdgeStep]) -> list[Step]:
    """A circuit's steps with tests in place of what was screened, up to the first that stays.

    Args:
        circuit: as it was.
        tests: by the number of the decision, the first screened ones without a gap.
    """
    steps, number = list[Step](), 0
    for step in circuit.steps:
        if isinstance(step, EdgeStep):
            test = tests.get(number, step)
            steps.append(test)
            if test.kept and step.screened:
                break
            number += 1
        else:
            steps.append(step)
    return steps
