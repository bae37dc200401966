"""How many screened edges should have stayed: some are tested, the rest is inferred."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import numpy as np
import torch

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.steps import EdgeStep
from acdc_explorer.engine.edge_trials import Link
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.prompt_slices import SlicedCircuit, SlicedTrials
from acdc_explorer.graph import Edge
from acdc_explorer.progress import working_on
from acdc_explorer.searches.chains import ChainLength
from acdc_explorer.searches.decisions import DecisionRule, exact_values

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
    if n_wrong == n_tested:
        return 1.0
    low, high = n_wrong / n_tested, 1.0
    # The chance to find so few falls as the share rises.
    for _ in range(60):
        middle = (low + high) / 2
        if _chance_of_at_most(n_wrong, n_tested, middle) > 1 - CONFIDENCE:
            low = middle
        else:
            high = middle
    return high


def _chance_of_at_most(k: int, n: int, share: float) -> float:
    if not 0 < share < 1:
        return float(share == 0)
    logs = [
        math.lgamma(n + 1)
        - math.lgamma(i + 1)
        - math.lgamma(n - i + 1)
        + i * math.log(share)
        + (n - i) * math.log1p(-share)
        for i in range(k + 1)
    ]
    return math.fsum(map(math.exp, logs))


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
    yield from _tests(engine, circuit, {screened[number] for number in drawn})


def _tests(engine: Engine, circuit: Circuit, to_test: set[Edge]) -> Iterator[EdgeStep]:
    """Goes through a circuit's decisions and tests some of the edges on the way."""
    live = SlicedCircuit(engine, sums_what_is_left=engine.ablation == "zero")
    lengths, rule = ChainLength(engine), DecisionRule(engine, circuit.settings)
    removed, n_left = engine.graph.mask_of([]), len(to_test)
    for receiver, group in groupby(circuit.decisions, lambda step: step.edge.receiver):
        if not n_left:
            return
        trials = SlicedTrials(live, receiver)
        steps = list(group)
        while steps:
            n_links = lengths.next(trials, 2 * len(steps), alone=True)
            chain, n_done, tested = _chain(engine, steps, to_test, max(2, n_links))
            before = torch.cat(live.values).double().mean().item()
            measured = trials.try_removing(chain).double().mean(-1).tolist() if chain else []
            values = [before, *measured]
            for step in steps[:n_done]:
                if step.kept:
                    trials.keep(engine.graph.sender_index[step.edge.sender])
                if step.edge in tested:
                    number = tested[step.edge]
                    exact = partial(exact_values, engine, removed, step.edge)
                    yield rule.decide(step.edge, values[number], values[number + 1], exact)
                    n_left -= 1
                removed[engine.graph.cell(step.edge)] = not step.kept
            trials.accept(len(chain))
            steps = steps[n_done:]
        trials.finish()


def _chain(
    engine: Engine, steps: Sequence[EdgeStep], to_test: set[Edge], most: int
) -> tuple[list[Link], int, dict[Edge, int]]:
    """The removals of the first of some steps, cut where a value is wanted.

    Returns:
        The chain; how many steps it covers; and for each edge to test the number of the link that
        removes it, whose value is the one after; the one before it is that of the link before.
    """
    chain, pending, tested = list[Link](), list[int](), dict[Edge, int]()
    n_covered = 0
    for step in steps:
        sender = engine.graph.sender_index[step.edge.sender]
        if step.edge in to_test:
            if len(chain) + 2 > most:
                break
            if pending:
                chain.append(Link(pending))
                pending = []
            tested[step.edge] = len(chain)
            chain.append(Link([sender]))
        elif not step.kept:
            pending.append(sender)
        n_covered += 1
    if pending:
        chain.append(Link(pending))
    return chain, n_covered, tested
