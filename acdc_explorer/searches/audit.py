"""How many screened edges should have stayed: some are tested, the rest is inferred."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.circuits.steps import EdgeStep
from acdc_explorer.engine.engine import Engine
from acdc_explorer.graph import Edge
from acdc_explorer.progress import working_on
from acdc_explorer.searches.binomial import upper_bound
from acdc_explorer.searches.decisions import DecisionRule, exact_values
from acdc_explorer.searches.replaying import measured_steps

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Audit:
    """What tests of some screened edges say about all of them.

    Attributes:
        n_screened: how many edges of the circuit were screened.
        tests: of those drawn, with the values before and after that were measured.
        wrong: ids of those that a test keeps.
    """

    n_screened: int
    tests: tuple[EdgeStep, ...]
    wrong: tuple[str, ...]

    @property
    def most_wrong(self) -> float:
        """The share of all screened edges that are wrong is below this, with 95% confidence.

        The one-sided exact binomial bound (Clopper and Pearson 1934); where all were tested, the
        share itself.
        """
        return most_wrong(len(self.wrong), len(self.tests), self.n_screened)

    def __str__(self) -> str:
        """In a line."""
        if not self.n_screened:
            return "no edge was screened"
        return (
            f"audit: {len(self.wrong)} of {len(self.tests)} wrong; of all {self.n_screened:,} "
            f"screened edges at most {self.most_wrong:.2%}, at {CONFIDENCE:.0%} confidence"
        )


def most_wrong(n_wrong: int, n_tested: int, n: int) -> float:
    """An upper bound of the share of wrong ones among `n`, of which some were drawn and tested.

    Args:
        n_wrong: how many of those were wrong.
        n_tested: how many were drawn.
        n: how many there are.
    """
    if n_tested >= n:
        return n_wrong / n if n else 0.0
    return upper_bound(n_wrong, n_tested, CONFIDENCE)


def audit_circuit(engine: Engine, circuit: Circuit, n: int, seed: int) -> Audit:
    """Tests some screened edges of a circuit, each in the state in which it was decided.

    Args:
        engine: model and task.
        circuit: found on them.
        n: how many edges to draw; all of them if there are fewer.
        seed: of the draw.
    """
    tests: list[EdgeStep] = []
    with working_on("auditing: screened edges tested", min(n, circuit.n_screened)) as done:
        for step in audit_tests(engine, circuit, n, seed):
            tests.append(step)
            done(len(tests))
    return audit_of(circuit, tests)


def audit_of(circuit: Circuit, tests: Sequence[EdgeStep]) -> Audit:
    """What tests of a random sample of a circuit's screened edges say."""
    wrong = tuple(step.edge.id for step in tests if step.kept)
    return Audit(circuit.n_screened, tuple(tests), wrong)


def audit_tests(engine: Engine, circuit: Circuit, n: int, seed: int) -> Iterator[EdgeStep]:
    """Tests a random sample of a circuit's screened edges, in the order of the search.

    Only all of them together are a random sample.

    Args:
        engine: as for `audit_circuit`; so are the others.
        circuit: likewise.
        n: likewise.
        seed: likewise.
    """
    screened = [step.edge for step in circuit.decisions if step.screened]
    drawn = np.random.default_rng(seed).permutation(len(screened))[:n]
    edges = {screened[number] for number in drawn}
    return tests_of(engine, circuit.settings, circuit.decisions, edges)


def tests_of(
    engine: Engine, settings: SearchSettings, decisions: Sequence[EdgeStep], edges: set[Edge]
) -> Iterator[EdgeStep]:
    """Tests some edges of a circuit, each in the state in which it was decided.

    Args:
        engine: on which the circuit was found.
        settings: of its search.
        decisions: of the search, from the first on, as far as any of these edges.
        edges: to test.

    Yields:
        The tests, in the order of the search.
    """
    rule = DecisionRule(engine, settings)
    for measured in measured_steps(engine, decisions, edges):
        edge = measured.step.edge
        before, after = measured.before.mean().item(), measured.after.mean().item()
        exact = partial(exact_values, engine, measured.removed, edge)
        yield rule.decide(edge, before, after, exact)
