"""How far a circuit of a screened search can be trusted, and making it exact."""

from __future__ import annotations

import math
import time
from dataclasses import replace

from acdc_explorer.arguments import check_found_here, engine_of, resolve
from acdc_explorer.arithmetic import plain_arithmetic
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.imported import check_searched
from acdc_explorer.engine.by_hand import with_changes
from acdc_explorer.engine.engine import Engine
from acdc_explorer.errors import check_whole_number
from acdc_explorer.models.model import Model, ModelLike
from acdc_explorer.progress import working_on
from acdc_explorer.searches.audit import Audit, audit_circuit
from acdc_explorer.searches.verifying import Verification
from acdc_explorer.searches.verifying_apart import VerificationApart
from acdc_explorer.tasks.task import Task
from acdc_explorer.workers.executor import Executor, check_executor


def audit(
    model: ModelLike, task: Task | str, circuit: Circuit, *, n: int = 300, seed: int = 0
) -> Audit:
    """Tests some of a circuit's screened edges, each in the state in which it was decided.

    Args:
        model: that the circuit was found on, as `find_circuit` takes it.
        task: likewise.
        circuit: found with `screen`.
        n: how many edges to draw at random, without repetition; all if there are fewer.
        seed: of the draw.

    Returns:
        The tests, the edges that should have stayed, and a bound for all screened edges.

    Raises:
        ValueError: if the circuit is of another model or other prompts, or `n` is no number of
            edges.
    """
    for name, value, least in (("n", n, 1), ("seed", seed, 0)):
        check_whole_number(name, value, least)
    with plain_arithmetic():
        return audit_circuit(_engine_of(model, task, circuit)[1], circuit, n, seed)


def verify(
    model: ModelLike,
    task: Task | str,
    circuit: Circuit,
    *,
    seconds: float = math.inf,
    executor: Executor | None = None,
) -> Circuit:
    """Tests every screened edge of a circuit, and puts right what is wrong.

    Each is tested in the state in which it was decided. At the first that should have stayed, the
    search goes on from there, now with a test for every edge. At the end the circuit is that of
    the search without screening, edge by edge.

    Args:
        model: that the circuit was found on, as `find_circuit` takes it.
        task: likewise.
        circuit: found with `screen`, or what an earlier call returned.
        seconds: after which to stop; some edges are verified however short that is.
        executor: tests edges on several processes at once, with the same decisions: what
            `ax.local_executor()` returns, a `dask.distributed.Client`, a `submitit.AutoExecutor`,
            or whatever else has `submit(function, *arguments)`.

    Returns:
        The verified circuit, whose `n_screened` is 0. After `seconds`, the circuit as far as it is
        verified: the edges after that are still screened or, once one was put right, undecided
        (`complete` is False). Pass it in again to go on. Changes by hand stay.

    Raises:
        ValueError: if the circuit is of another model or other prompts, or `executor` is none.

    Warns:
        RuntimeWarning: if a worker was lost, or returned what cannot be right: its part was then
            done in this process.
    """
    if executor is not None:
        check_executor(executor)
    with plain_arithmetic():
        loaded, engine = _engine_of(model, task, circuit)
        changes, circuit = circuit.by_hand, circuit.searched()
        if circuit.complete and not circuit.n_screened:
            verified = replace(circuit, settings=replace(circuit.settings, screen=0.0))
            return with_changes(engine, verified, changes)
        until = time.monotonic() + seconds
        with working_on("verifying: edges decided", engine.graph.n_edges) as done:
            if executor is not None:
                apart = VerificationApart(loaded, engine, circuit, executor, until)
                for _ in apart.advance():
                    done(apart.n_decided)
                    if time.monotonic() > until:
                        if apart.n_tests:
                            return with_changes(engine, apart.circuit(), changes)
                        # No worker has come to the first edges; some are tested here.
                        break
                circuit = apart.circuit()
                if circuit.complete and not circuit.n_screened:
                    return with_changes(engine, circuit, changes)
            verification = Verification(loaded.name, engine, circuit)
            for _ in verification.advance():
                done(verification.n_decided)
                if verification.n_tests and time.monotonic() > until:
                    break
        return with_changes(engine, verification.circuit(), changes)


def _engine_of(model: ModelLike, task: Task | str, circuit: Circuit) -> tuple[Model, Engine]:
    """The model and the engine that a circuit was found on."""
    check_searched(circuit, "verification")
    loaded, task = resolve(model, task)
    if circuit.settings.method != "acdc":
        raise ValueError(
            "only method 'acdc' screens edges; the circuit was found by "
            f"{circuit.settings.method!r}"
        )
    engine = engine_of(circuit, loaded, task)
    check_found_here(engine, circuit, "the circuit")
    return loaded, engine
