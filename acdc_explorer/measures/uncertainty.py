"""Which decisions of a circuit's search hang on the prompts that happened to be there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from acdc_explorer.arguments import check_found_here, engine_of, resolve
from acdc_explorer.arithmetic import plain_arithmetic
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.imported import check_searched
from acdc_explorer.engine.engine import Engine
from acdc_explorer.models.model import ModelLike
from acdc_explorer.progress import working_on
from acdc_explorer.searches.replaying import MeasuredStep, measured_steps
from acdc_explorer.tasks.task import Task

# So many prompts nobody has.
_BEYOND_ALL = 1e15


@dataclass(frozen=True)
class EdgeChange:
    """What removing an edge changed, with its error.

    Attributes:
        edge: its id.
        change: the number that was compared with the threshold, in the metric's units: by the
            circuit's rule that of the mean over prompts.
        standard_error: of that mean, over the prompts.
        kept: whether the edge stayed.
    """

    edge: str
    change: float
    standard_error: float
    kept: bool


@dataclass(frozen=True)
class Uncertainty:
    """How surely a circuit's tests ended as they did, as far as the prompts go.

    Attributes:
        circuit: whose tests these are.
        n_prompts: over how many prompts each change is a mean.
        n_errors: a decision is uncertain if its change is within so many standard errors of the
            threshold.
        edges: a row for each tested edge, in the order of the tests: edge; change; standard_error;
            decision ("kept" or "removed"); uncertain; and prompts_to_settle, with how many prompts
            the same change would be just so many errors away from the threshold, if they scatter
            as these do. Missing where the change is the threshold, or all but that.
    """

    circuit: Circuit
    n_prompts: int
    n_errors: float
    edges: pd.DataFrame

    def __str__(self) -> str:
        """In a sentence or two."""
        uncertain = self.edges[self.edges["uncertain"]]
        n_kept = int((uncertain["decision"] == "kept").sum())
        said = (
            f"{len(uncertain)} of {len(self.edges)} tested edges are uncertain at "
            f"n={self.n_prompts}: their change is within {self.n_errors:g} standard errors of the "
            f"threshold; {n_kept} of them were kept, of {len(self.circuit.kept)} in all."
        )
        if self.circuit.n_screened:
            said += f" {self.circuit.n_screened:,} screened edges were not tested."
        if len(uncertain):
            settled = uncertain["prompts_to_settle"].dropna().median()
            said += f" Half of the uncertain ones would be settled by {settled:,.0f} prompts."
        return said


def uncertainty(
    model: ModelLike, task: Task | str, circuit: Circuit, *, n_errors: float = 2.0
) -> Uncertainty:
    """Measures how far each test of a circuit's search was from ending the other way.

    A test compares the mean of a change over the prompts with the threshold. Each is made again in
    the state in which it was made, and the standard error of that mean is that of differences
    prompt by prompt (their standard deviation over √n), so that what makes a prompt easy or hard in
    itself does not count.

    What this leaves out: the threshold is taken for a number, also where it is a per cent of these
    prompts' clean metric; each test is judged by itself, given the decisions before it; and the
    prompts for independent draws, which rules out nothing about other kinds of prompts.

    Args:
        model: that the circuit was found on, as `find_circuit` takes it.
        task: likewise; with at least two prompts.
        circuit: found by method "acdc". Its screened edges are passed over.
        n_errors: how many standard errors from the threshold are certain enough.

    Returns:
        A table of the tested edges.

    Raises:
        ValueError: if the circuit is of another model, other prompts or another method; there is
            one prompt alone; or `n_errors` is not positive.
    """
    if not (isinstance(n_errors, (int, float)) and 0 < n_errors < math.inf):
        raise ValueError(f"n_errors must be a positive number; got {n_errors!r}")
    with plain_arithmetic():
        check_searched(circuit, "the uncertainty of tests")
        loaded, task = resolve(model, task)
        if circuit.settings.method != "acdc":
            raise ValueError(
                "only method 'acdc' tests edge after edge; the circuit was found by "
                f"{circuit.settings.method!r}"
            )
        if task.n_prompts < 2:
            raise ValueError("a standard error needs at least two prompts; got 1")
        engine = engine_of(circuit, loaded, task)
        check_found_here(engine, circuit, "the circuit")
        changes: list[EdgeChange] = []
        with working_on("measuring again: edges tested", circuit.n_tested) as done:
            for change in edge_changes(engine, circuit):
                changes.append(change)
                done(len(changes))
    return uncertainty_of(circuit, changes, task.n_prompts, n_errors)


def edge_changes(engine: Engine, circuit: Circuit) -> Iterator[EdgeChange]:
    """Makes a circuit's tests again, one after the other, in the order of the search.

    Args:
        engine: on which it was found, of at least two prompts.
        circuit: by method "acdc".
    """
    tested = {step.edge for step in circuit.decisions if not step.screened}
    for measured in measured_steps(engine, circuit.decisions, tested):
        yield _change(engine, circuit, measured)


def _change(engine: Engine, circuit: Circuit, measured: MeasuredStep) -> EdgeChange:
    settings, before = circuit.settings, measured.before
    if settings.rule == "cumulative":
        before = engine.clean_by_prompt.double()
    fall = before - measured.after
    # The means are compared, so that by rule "abs" it is the size of the mean that counts.
    means = measured.before.mean().item(), measured.after.mean().item()
    change = settings.change(*means, engine.full_metric, circuit.higher_is_better)
    standard_error = fall.std().item() / math.sqrt(len(fall))
    return EdgeChange(measured.step.edge.id, change, standard_error, measured.step.kept)


def uncertainty_of(
    circuit: Circuit, changes: Sequence[EdgeChange], n_prompts: int, n_errors: float
) -> Uncertainty:
    """What the changes of a circuit's tested edges say; arguments as in `Uncertainty`."""
    edges = pd.DataFrame(
        {
            "edge": [each.edge for each in changes],
            "change": [each.change for each in changes],
            "standard_error": [each.standard_error for each in changes],
            "decision": ["kept" if each.kept else "removed" for each in changes],
        }
    )
    distance = (edges["change"] - circuit.threshold).abs()
    errors = n_errors * edges["standard_error"]
    edges["uncertain"] = distance <= errors
    n_to_settle = n_prompts * (errors / distance.where(distance > 0)) ** 2
    n_to_settle = n_to_settle.where(n_to_settle < _BEYOND_ALL).map(math.ceil, na_action="ignore")
    # At least one, also where all prompts agree.
    edges["prompts_to_settle"] = n_to_settle.clip(lower=1).astype("Int64")
    return Uncertainty(circuit, n_prompts, n_errors, edges)
