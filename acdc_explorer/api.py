"""Finding and evaluating circuits in one call."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterable, Iterator
from typing import Unpack

import pandas as pd

from acdc_explorer.arguments import (
    THRESHOLD,
    KindOfSearch,
    SearchOptions,
    check_options,
    parse_target,
    prepared,
    resolve,
    steps_to_replay,
)
from acdc_explorer.arithmetic import plain_arithmetic, stepwise
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.settings import SearchSettings, parse_threshold
from acdc_explorer.circuits.steps import EdgeStep, Step, n_decided
from acdc_explorer.circuits.tables import edge_columns
from acdc_explorer.circuits.threshold_path import ThresholdPath
from acdc_explorer.engine.cache import engine_for
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.evaluate import evaluate_removed
from acdc_explorer.engine.removed_edges import RemovedEdges
from acdc_explorer.engine.scoring import mean_metric
from acdc_explorer.graph import Edge
from acdc_explorer.models.model import ModelLike
from acdc_explorer.options import Ablation, Method, Order, Rule
from acdc_explorer.progress import working_on
from acdc_explorer.searches.attribution import IG_STEPS, edge_scores
from acdc_explorer.searches.faithful import chosen, faithful_steps
from acdc_explorer.searches.methods import circuit_of, search_steps
from acdc_explorer.searches.paths_on_workers import SearchesOnWorkers
from acdc_explorer.searches.threshold_path import path_steps
from acdc_explorer.tasks.task import Task
from acdc_explorer.workers.executor import Executor, check_executor


def find_circuit(
    model: ModelLike,
    task: Task | str,
    threshold: float | str | None = None,
    *,
    faithfulness: float | str | None = None,
    method: Method = "acdc",
    rule: Rule | None = None,
    order: Order = "default",
    order_seed: int = 0,
    ablation: Ablation = "corrupted",
    positions: bool = False,
    split_qkv: bool = True,
    screen: float = 0.0,
    replay: Circuit | None = None,
    top_n: int | None = None,
) -> Circuit:
    """Searches for the circuit that does a task.

    Runs the CLEAN prompts and patches CORRUPTED activations into removed edges.

    Args:
        model: anything that `load_model` takes.
        task: a `Task`, or the name of one.
        threshold: a number in the metric's units, or a per cent of |clean metric|, as "7%", which
            it is by default.
        faithfulness: instead of a threshold, how faithful the circuit has to be, as "80%" or 0.8:
            the largest threshold whose circuit is that faithful is looked for
            (`searches/faithful.py`), to within 10%. If none is, down to 0.3% of |clean - ablated
            metric|, a warning says so and the most faithful circuit is returned.
        method: "acdc" (Conmy et al. 2023, algorithm 1); "path_patching", the growth of the blog
            post before it (`searches/path_patching.py`); or, approximate and without a search, all
            edges whose attribution reaches the threshold: "eap", "eap_ig", "ceap" or "relp" (see
            `attribute`).
        rule: an edge goes if |change of the metric| ("abs") or the damage ("signed") is below the
            threshold; by default the metric's own: abs for logit difference, signed for KL; with
            `faithfulness` and an exact method signed, which gets there with far fewer edges. Under
            "cumulative" |change from the full model| counts, so that many small removals cannot add
            up unseen.
        order: of the tests, on which the result depends: "default" (latest and highest head
            first), "ascending_heads", "random", "attribution" (least important first).
        order_seed: for order "random".
        ablation: what removed edges carry: their "corrupted" activation, "zero", or the "mean"
            over corrupted prompts at each position.
        positions: whether each position label of the task, and the rest, has edges of its own:
            `a8.h6->a9.h9<k>@S2` is what the head's key input reads at S2.
        split_qkv: whether a head's q, k and v inputs have edges of their own.
        screen: for dense circuits of large models, where testing every edge takes hours: edges
            whose predicted change is below this share of the threshold go without a test of their
            own; 0.5 is a good one. What such edges do is measured many at a time, so that few
            decisions differ from those of the full search, but some may: see `audit` and `verify`.
        replay: a circuit found before on the same model and task with the same settings, but for
            the threshold, or one whose search was cut short. Its decisions are taken over for as
            long as they hold, and the result is that of a search from the start.
        top_n: for the attribution methods, keep this many of the largest scores instead of those
            above a threshold; fewer stay if some of them lead nowhere.

    Raises:
        ValueError: naming the argument that is wrong and what is allowed.
    """
    options = SearchOptions(
        method=method,
        rule=rule,
        order=order,
        order_seed=order_seed,
        ablation=ablation,
        positions=positions,
        split_qkv=split_qkv,
        screen=screen,
        replay=replay,
        top_n=top_n,
    )
    # Before the model is loaded.
    check_options(options)
    parse_target(faithfulness, threshold, options)
    with plain_arithmetic():
        loaded, task = resolve(model, task)
        search = prepared(loaded, task, threshold, options, faithfulness)
        engine, settings = search.engine, search.settings
        if search.target is not None:
            return _faithful_circuit(loaded.name, engine, settings, search.target)
        steps: list[Step] = []
        with working_on("searching: edges decided", engine.graph.n_edges) as done:
            n_done = 0
            for step in search_steps(engine, settings, search.known):
                steps.append(step)
                n_done += n_decided(step, engine.graph)
                done(n_done)
        return circuit_of(loaded.name, engine, settings, steps)


def _faithful_circuit(
    model_name: str, engine: Engine, settings: SearchSettings, target: float
) -> Circuit:
    """The circuit of the largest threshold that reaches a faithfulness; warns if none does."""
    circuits, n_done = list[Circuit](), 0
    what = f"looking for {target:.0%} faithfulness: edges decided at the threshold at hand"
    with working_on(what, engine.graph.n_edges) as done:
        for step in faithful_steps(model_name, engine, settings, target):
            if isinstance(step, SearchSettings):
                n_done = 0
            elif isinstance(step, Circuit):
                circuits.append(step)
            else:
                n_done += n_decided(step, engine.graph)
                done(n_done)
    circuit, notes = chosen(circuits, target)
    for note in notes:
        warnings.warn(note, stacklevel=3)
    return circuit


def attribute(
    model: ModelLike,
    task: Task | str,
    method: str = "eap",
    *,
    steps: int = IG_STEPS,
    ablation: Ablation = "corrupted",
    positions: bool = False,
    split_qkv: bool = True,
) -> pd.DataFrame:
    """The approximate effect of every edge alone in the full model, by edge attribution patching.

    About what `inspect_edge(...).effect_alone` measures, for all edges by two forward runs and one
    backward run, or as many as there are points.

    Args:
        model: anything that `load_model` takes.
        task: a `Task`, or the name of one.
        method: "eap" (Syed et al. 2023), or "eap_ig", with gradients averaged on the way from the
            clean to the ablated embedding (Hanna et al. 2024), or "ceap", conductance on that way
            (Wu et al. 2026), or "relp", one gradient as in "eap", by other rules than derivatives
            (Jafari et al. 2025); see `searches/attribution.py`.
        steps: how many points on that way, for "eap_ig" and "ceap".
        ablation: as in `find_circuit`.
        positions: likewise.
        split_qkv: likewise.

    Returns:
        One row per edge: edge, sender, receiver, qkv, position, score (positive: the edge helps, in
        the metric's units), the largest |score| first.

    Raises:
        ValueError: naming the argument that is wrong and what is allowed.
    """
    with plain_arithmetic():
        loaded, task = resolve(model, task)
        engine = engine_for(loaded, task, ablation, positions=positions, split_qkv=split_qkv)
        scores, graph = edge_scores(engine, method, steps), engine.graph
    table = pd.DataFrame({**edge_columns(graph), "score": scores[graph.edge_mask]})
    return table.sort_values("score", key=abs, ascending=False, ignore_index=True)


def threshold_path(
    model: ModelLike,
    task: Task | str,
    low: float | str = "1%",
    high: float | str = "20%",
    *,
    seconds: float = 60.0,
    replay: ThresholdPath | None = None,
    executor: Executor | None = None,
    **options: Unpack[KindOfSearch],
) -> ThresholdPath:
    """Finds the circuit of every threshold between two, as exact intervals.

    Args:
        model: anything that `load_model` takes.
        task: a `Task`, or the name of one.
        low: the lowest threshold, as `find_circuit` takes it.
        high: the highest.
        seconds: after which to stop, with gaps left between intervals; the circuit that is being
            found then is the last.
        replay: a path to go on from, found with the same arguments but for these.
        executor: searches at several thresholds at once, on as many processes, with the same path;
            as for `ax.verify`.
        options: other arguments of `find_circuit` but `top_n`.

    Raises:
        ValueError: naming the argument that is wrong and what is allowed.
    """
    check_options(options, refused={"top_n": "a path goes from threshold to threshold"})
    if not isinstance(replay, ThresholdPath | None):
        raise ValueError(f"replay must be a ThresholdPath here; got a {type(replay).__name__}")
    if executor is not None:
        check_executor(executor)
    with plain_arithmetic():
        loaded, task = resolve(model, task)
        search = prepared(loaded, task, low, SearchOptions(**options))
        engine, settings = search.engine, search.settings
        top = parse_threshold(high, engine.full_metric, engine.metric)
        if top <= settings.threshold:
            raise ValueError(f"high must be above low; got low {low!r} and high {high!r}")
        path, started = replay or ThresholdPath(), time.monotonic()
        for circuit in path.circuits:
            steps_to_replay(circuit, engine, settings)
        find = None if executor is None else SearchesOnWorkers(loaded, engine, executor)
        low_end = settings.threshold
        # A path may be given all the time that it takes.
        n_seconds = math.ceil(seconds) if math.isfinite(seconds) else 0
        with working_on("finding circuits: seconds spent", n_seconds) as done:
            for step in path_steps(loaded.name, engine, settings, low_end, top, path, find):
                spent = time.monotonic() - started
                done(int(min(spent, seconds)))
                if isinstance(step, Circuit):
                    path = path.with_circuit(step)
                    if spent > seconds:
                        break
        return path


def search(
    model: ModelLike,
    task: Task | str,
    threshold: float | str = THRESHOLD,
    **options: Unpack[SearchOptions],
) -> Iterator[EdgeStep]:
    """Like `find_circuit`, one tested edge at a time.

    Arguments are checked at once; the model is run as the steps are asked for. Edges that are
    removed untested, because nothing downstream of them was kept, are passed over.

    Args:
        model: as for `find_circuit`; so are the others.
        task: likewise.
        threshold: likewise.
        options: the other arguments of `find_circuit`.

    Raises:
        ValueError: naming the argument that is wrong and what is allowed.
    """
    with plain_arithmetic():
        loaded, task = resolve(model, task)
        found = prepared(loaded, task, threshold, options)
    steps = stepwise(search_steps(found.engine, found.settings, found.known))
    return (step for step in steps if isinstance(step, EdgeStep))


def evaluate(
    model: ModelLike,
    task: Task | str,
    removed: Iterable[str | Edge] | None = None,
    *,
    kept: Iterable[str | Edge] | None = None,
    ablation: Ablation = "corrupted",
    positions: bool = False,
    split_qkv: bool = True,
) -> float:
    """The metric, mean over prompts, with some edges removed, or with all but some.

    Runs the CLEAN prompts and patches CORRUPTED activations into the removed edges. With none
    removed this is the clean run; with all removed, the corrupted run.

    Args:
        model: anything that `load_model` takes.
        task: a `Task`, or the name of one.
        removed: edge ids, as "a2.h1->a3.h0<q>", or with `positions` "a2.h1->a3.h0<q>@END".
        kept: the edges that stay, instead of those that are removed.
        ablation: what removed edges carry.
        positions: as in `find_circuit`.
        split_qkv: likewise.

    Raises:
        ValueError: if an edge is not in the model's graph, or not exactly one of `removed` and
            `kept` is given.
    """
    if (removed is None) == (kept is None):
        raise ValueError("give either removed=, the edges to remove, or kept=, those that stay")
    with plain_arithmetic():
        loaded, task = resolve(model, task)
        engine = engine_for(loaded, task, ablation, positions=positions, split_qkv=split_qkv)
        graph = engine.graph
        mask = graph.mask_of(removed) if kept is None else graph.edge_mask & ~graph.mask_of(kept)
        return mean_metric(evaluate_removed(engine, [RemovedEdges(mask)])[0])
