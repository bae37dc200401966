"""Testing every screened edge of a circuit, each in the state in which it was decided.

This is the search without screening, which replays the circuit's own tests and tests the edges
between them. All holds as it is until the first screened edge that should have stayed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.steps import EdgeStep, Step, n_decided
from acdc_explorer.engine.engine import Engine
from acdc_explorer.searches.acdc import acdc_steps
from acdc_explorer.searches.methods import circuit_of


class Verification:
    """A verification under way.

    Attributes:
        n_tests: how many edges it has tested that the circuit had not.
        n_decided: up to which edge it has come, of all edges of the graph.
        wrong: ids of the screened edges found so far that stay.
    """

    def __init__(self, model_name: str, engine: Engine, circuit: Circuit):
        """Begins.

        Args:
            model_name: of the model.
            engine: on which the circuit was found.
            circuit: by method "acdc".
        """
        self._model_name, self._engine, self._circuit = model_name, engine, circuit
        self._settings = replace(circuit.settings, screen=0.0)
        self._steps: list[Step] = []
        self._tested = {step.edge for step in circuit.decisions if not step.screened}
        self._screened = {step.edge for step in circuit.decisions if step.screened}
        self._ended = False
        self.n_tests = self.n_decided = 0
        self.wrong: list[str] = []

    def advance(self) -> Iterator[None]:
        """Goes through the circuit's edges; can be left at any of them."""
        for step in acdc_steps(self._engine, self._settings, replay=self._circuit.steps):
            self._steps.append(step)
            self.n_decided += n_decided(step, self._engine.graph)
            if isinstance(step, EdgeStep):
                self.n_tests += step.edge not in self._tested
                if step.kept and step.edge in self._screened:
                    self.wrong.append(step.edge.id)
            yield
        self._ended = True

    def circuit(self) -> Circuit:
        """The circuit as far as it is verified.

        At the end that of the search without screening. Before, what follows is still screened or,
        once an edge was put right, undecided.
        """
        steps, settings = list(self._steps), self._settings
        if self._ended:
            return circuit_of(self._model_name, self._engine, settings, steps)
        if not self._agrees():
            return circuit_of(self._model_name, self._engine, settings, steps, complete=False)
        steps += self._circuit.steps[len(steps) :]
        if any(isinstance(step, EdgeStep) and step.screened for step in steps):
            settings = self._circuit.settings
        complete = self._circuit.complete
        return circuit_of(self._model_name, self._engine, settings, steps, complete=complete)

    def _agrees(self) -> bool:
        """Whether the decisions so far are those of the circuit."""
        found, before = (
            [(step.edge, step.kept) for step in each if isinstance(step, EdgeStep)]
            for each in (self._steps, self._circuit.steps[: len(self._steps)])
        )
        return found == before
