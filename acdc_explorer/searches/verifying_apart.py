"""Verifying a circuit on several workers at once; see `verification_parts.py`."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.steps import EdgeStep, Step
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.references import EngineReference
from acdc_explorer.models.model import Model
from acdc_explorer.searches.acdc import acdc_steps
from acdc_explorer.searches.methods import circuit_of
from acdc_explorer.searches.verification_parts import check_part, parts_of, tested, with_tests
from acdc_explorer.workers.executor import Executor, n_workers_of
from acdc_explorer.workers.gathering import PATIENCE_SECONDS, gather_all

# Parts are about as much work each; several for each worker, so that none waits long for the last.
_PARTS_PER_WORKER = 3
# What a screened search takes, as a share of the tests that it saves: about, in large models.
_COST_OF_GUESS = 0.2
# Seconds for workers to answer, however soon whoever asks means to leave.
_LEAST_PATIENCE = 1.0


class VerificationApart:
    """A verification under way on several workers.

    In rounds: all screened edges are tested at once. At the first that should have stayed, the
    search goes on from there, screened, which is a guess at the rest; that is tested in the next
    round. What is verified is that of a verification in one process (`Verification`). Where so much
    is wrong that such rounds would take longer, it ends early, for that one to go on.

    Attributes:
        n_tests: how many screened edges are verified.
        n_decided: up to which edge it has come, of all edges of the graph; about.
    """

    def __init__(
        self,
        model: Model,
        engine: Engine,
        circuit: Circuit,
        executor: Executor,
        until: float = math.inf,
    ):
        """Begins.

        Args:
            model: on which the circuit was found.
            engine: likewise.
            circuit: by method "acdc".
            executor: of the workers.
            until: when, by `time.monotonic`, whoever asks means to leave: workers that have not
                been heard of by then are waited for no longer.
        """
        self._until = until
        self._name, self._engine, self._executor = model.name, engine, executor
        self._reference = EngineReference.of(model, engine)
        self._screened = circuit.settings
        self._circuit = circuit
        # Of the round under way, by the number of the decision.
        self._tests: dict[int, EdgeStep] = {}
        self.n_tests = self.n_decided = 0

    def advance(self) -> Iterator[None]:
        """Verifies; can be left at any time, and the workers then begin nothing new."""
        n_workers = n_workers_of(self._executor)
        while n_screened := self._circuit.n_screened:
            yield from self._round(n_workers)
            share, wrong = len(self._tests) / n_screened, self._put_right
            self._circuit, self._tests = self.circuit(), {}
            # If so much is right between two that are wrong, this many are to come.
            n_to_come = (1 - share) / share
            if not wrong or (n_to_come / 2 + 1) * (_COST_OF_GUESS + 1 / n_workers) > 1:
                return
            steps: list[Step] = []
            for step in acdc_steps(self._engine, self._screened, replay=self._circuit.steps):
                steps.append(step)
                yield
            self._circuit = circuit_of(self._name, self._engine, self._screened, steps)

    def _round(self, n_workers: int) -> Iterator[None]:
        """Tests what is screened, up to the first edge that should have stayed."""
        parts = parts_of(self._reference, self._circuit, _PARTS_PER_WORKER * n_workers)
        check = partial(check_part, self._engine)
        n_screened, n_before = self._circuit.n_screened, self.n_decided
        found, n_known = {}, 0
        left = max(_LEAST_PATIENCE, self._until - time.monotonic())
        results = gather_all(
            self._executor,
            tested,
            parts,
            check,
            "parts of a verification",
            patience=min(PATIENCE_SECONDS, left),
        )
        with closing(results):
            for number, result in results:
                found[number] = result
                while n_known in found and not self._put_right:
                    tests = found[n_known].tests.steps(self._engine.graph)
                    self._tests.update(zip(parts[n_known].to_test.tolist(), tests, strict=False))
                    self.n_tests += len(tests)
                    n_known += 1
                to_come = self._engine.graph.n_edges - n_before
                self.n_decided = n_before + to_come * len(self._tests) // n_screened
                yield
                if self._put_right:
                    return

    @property
    def _put_right(self) -> bool:
        """Whether the last of this round's tests in a row found that its edge stays."""
        return bool(self._tests) and next(reversed(self._tests.values())).kept

    def circuit(self) -> Circuit:
        """The circuit as far as it is verified; see `Verification.circuit`."""
        circuit, steps = self._circuit, with_tests(self._circuit, self._tests)
        complete = circuit.complete and not self._put_right
        is_screened = any(isinstance(step, EdgeStep) and step.screened for step in steps)
        settings = circuit.settings if is_screened else replace(circuit.settings, screen=0.0)
        return circuit_of(self._name, self._engine, settings, steps, complete=complete)
