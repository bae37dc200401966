"""How right a circuit is: faithfulness, completeness, minimality, and what chance would give."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from acdc_explorer.arguments import check_found_here, engine_of, resolve
from acdc_explorer.arithmetic import plain_arithmetic
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.engine.cache import engine_for, new_engine
from acdc_explorer.engine.engine import Engine
from acdc_explorer.errors import check_whole_number, unknown_name
from acdc_explorer.graph import Edge
from acdc_explorer.measures.evaluator import Evaluator
from acdc_explorer.measures.held_out import prompts_to_measure_on
from acdc_explorer.measures.hypotheses import equivalence, independence, no_answer
from acdc_explorer.measures.measurement import Measurement
from acdc_explorer.measures.null import against_other_edges, against_random, each_alone
from acdc_explorer.measures.observations import observations
from acdc_explorer.measures.scores import RUNS, faithfulness_of, row_of, scores_of
from acdc_explorer.metrics import METRICS
from acdc_explorer.models.model import Model, ModelLike
from acdc_explorer.options import ABLATIONS, Ablation
from acdc_explorer.progress import working_on
from acdc_explorer.tasks.task import Task
from acdc_explorer.workers.executor import Executor, check_executor

# With fewer draws hardly anything can be rarer than 5%.
_LEAST_DRAWS = 20


def measure(
    model: ModelLike,
    task: Task | str,
    circuit: Circuit | Iterable[str | Edge],
    *,
    held_out: Task | bool | None = None,
    ablations: Sequence[Ablation] | Ablation = ABLATIONS,
    n_random: int = 100,
    max_edges: int = 200,
    n_bootstrap: int = 1000,
    seed: int = 0,
    executor: Executor | None = None,
) -> Measurement:
    """Measures how right a circuit is, and what random circuits of its size would do.

    Args:
        model: anything that `load_model` takes.
        task: that the circuit was found on: a `Task`, or the name of one.
        circuit: a finished one, one from another tool's file, or the ids of its edges (both under
            corrupted ablation).
        held_out: prompts to measure on. By default as many of another seed, without those that
            `task` has; where there are none (`Task.split` makes some of prompts of your own),
            `task` itself, and the result says so. False: `task` itself.
        ablations: under which to measure it, one or several; the circuit's always is among them.
        n_random: how many random circuits of each kind to draw, and as often an edge for the test
            of minimality; from 20 on.
        max_edges: of a circuit with more edges, so many are drawn for the test of minimality.
        n_bootstrap: how often to draw the prompts anew for the intervals.
        seed: of all draws.
        executor: evaluates random circuits, and those without single edges, on several processes
            at once, with the same values; as for `ax.verify`.

    Raises:
        ValueError: naming the argument that is wrong and what is allowed.
    """
    for name, value, least in (
        ("n_random", n_random, _LEAST_DRAWS),
        ("max_edges", max_edges, 1),
        ("n_bootstrap", n_bootstrap, 1),
        ("seed", seed, 0),
    ):
        check_whole_number(name, value, least)
    ablations = [ablations] if isinstance(ablations, str) else [*ablations]
    for name in ablations:
        if name not in ABLATIONS:
            raise unknown_name("ablation", name, ABLATIONS)
    if executor is not None:
        check_executor(executor)
    with plain_arithmetic():
        loaded, task = resolve(model, task)
        found_with = _engine_found_with(circuit, loaded, task)
        graph = found_with.graph
        kept = circuit.kept_mask if isinstance(circuit, Circuit) else graph.mask_of(circuit)
        on = prompts_to_measure_on(loaded, task, held_out)

        def engine_under(ablation: Ablation) -> Engine:
            if on.task is task and ablation == found_with.ablation:
                return found_with
            return new_engine(
                loaded,
                on.task,
                ablation,
                positions=bool(graph.labels),
                split_qkv=graph.split_qkv,
            )

        engine = engine_under(found_with.ablation)
        if engine.graph != graph:
            raise ValueError(
                f"the circuit is by position ({', '.join(graph.labels)}), and held_out has the "
                f"labels {', '.join(engine.graph.labels)}"
            )
        rng = np.random.default_rng(seed)
        draws = rng.integers(on.task.n_prompts, size=(n_bootstrap, on.task.n_prompts))
        scores, rows = scores_of(engine, kept), {}
        others = [name for name in dict.fromkeys(ablations) if name != engine.ablation]
        with working_on("measuring under other ablations", len(others)) as done:
            rows[engine.ablation] = row_of(scores, draws)
            for name in others:
                rows[name] = row_of(scores_of(engine_under(name), kept), draws)
                done(len(rows) - 1)
        table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("ablation")
        evaluate = Evaluator(loaded, engine, executor)
        random, sufficiency = against_random(evaluate, kept, scores, n_random, rng)
        necessity = against_other_edges(evaluate, kept, scores, n_random, rng)
        edges, minimality = each_alone(evaluate, kept, scores, n_random, max_edges, rng)
        sign = engine.metric.sign
        if engine.metric is METRICS["kl_divergence"]:
            equal = no_answer("equivalence", "By its own distance no circuit can be better.")
        else:
            equal = equivalence(sign * scores.circuit, sign * scores.full)
        noticed = observations(engine, kept, table, faithfulness_of(found_with, kept))
        if on.why:
            noticed = (f"There are no held-out prompts: {on.why}.", *noticed)
        return Measurement(
            model_name=loaded.name,
            task_name=task.name,
            metric_name=engine.metric.name,
            n_kept=int(kept.sum()),
            ablation=engine.ablation,
            measured_on=on.told,
            held_out=on.held_out,
            ablations=table,
            by_prompt=pd.DataFrame({name: getattr(scores, name) for name in RUNS}),
            random=random,
            edges=edges,
            tests=(
                equal,
                independence(scores.without, scores.full, rng),
                minimality,
                sufficiency,
                necessity,
            ),
            observations=noticed,
        )


def _engine_found_with(circuit: Circuit | Iterable[str | Edge], model: Model, task: Task) -> Engine:
    if not isinstance(circuit, Circuit):
        return engine_for(model, task)
    engine = engine_of(circuit, model, task)
    check_found_here(engine, circuit, "the circuit")
    if not circuit.complete:
        raise ValueError("the circuit's search has not ended; find it with `replay=` first")
    return engine
