"""Finding and evaluating circuits in one call."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypedDict, Unpack

import numpy as np
import pandas as pd

from acdc_explorer.circuit import Circuit
from acdc_explorer.engine.arithmetic import plain_arithmetic, stepwise
from acdc_explorer.engine.engine import Ablation, Engine, mean_metric
from acdc_explorer.engine.patched import evaluate_removed
from acdc_explorer.engine.removed import RemovedEdges
from acdc_explorer.errors import unknown_name
from acdc_explorer.graph import Edge, Order
from acdc_explorer.metrics import Rule
from acdc_explorer.models import Model, load_model
from acdc_explorer.searches.attribution import ATTRIBUTIONS, IG_STEPS, edge_scores
from acdc_explorer.searches.methods import search_steps
from acdc_explorer.searches.path import ThresholdPath, path_steps
from acdc_explorer.searches.steps import EdgeStep, SearchSettings, Step, parse_threshold
from acdc_explorer.tasks import Task, load_task


class SearchOptions(TypedDict, total=False):
    """The options of `find_circuit`, which `search`, `threshold_path` and `Explorer` take too."""

    method: str
    rule: Rule | None
    order: Order
    order_seed: int
    ablation: Ablation
    positions: bool
    split_qkv: bool
    replay: Circuit | None
    top_n: int | None


def resolve(model: Any, task: Task | str) -> tuple[Model, Task]:
    """Loads what was given by name."""
    model = load_model(model)
    if isinstance(task, str):
        return model, load_task(task, model)
    if not isinstance(task, Task):
        raise ValueError(
            f"task must be a Task, or the name of one (see list_tasks()); got {type(task).__name__}"
        )
    return model, task


def check_options(options: Mapping[str, Any], refused: Mapping[str, str] | None = None) -> None:
    """Raises a ValueError for an option that is unknown or does not apply.

    Args:
        options: by name.
        refused: of `SearchOptions`, those that do not apply here, and what to do instead.
    """
    refused = refused or {}
    allowed = [name for name in SearchOptions.__annotations__ if name not in refused]
    for name, value in options.items():
        if name in refused and value is not None:
            raise ValueError(f"{name} does not apply here: {refused[name]}")
        if name not in SearchOptions.__annotations__:
            raise unknown_name("option", name, allowed)


def prepared(
    model: Model, task: Task, threshold: float | str, options: SearchOptions
) -> tuple[Engine, SearchSettings, Sequence[Step]]:
    """Turns the options of `find_circuit` into an engine, settings, and the steps to replay.

    Raises:
        ValueError: naming the argument that is wrong and what is allowed.
    """
    check_options(options)
    engine = model.engine(
        task,
        options.get("ablation", "corrupted"),
        positions=options.get("positions", False),
        split_qkv=options.get("split_qkv", True),
    )
    method, top_n, replay = options.get("method", "acdc"), options.get("top_n"), None
    if top_n is not None:
        threshold = _threshold_of_top(engine, method, top_n)
    settings = SearchSettings(
        threshold=parse_threshold(threshold, engine.full_metric, engine.metric),
        threshold_text=str(threshold).strip(),
        method=method,
        rule=options.get("rule") or engine.metric.default_rule,
        order=options.get("order", "default"),
        order_seed=options.get("order_seed", 0),
        ablation=engine.ablation,
    )
    replay = options.get("replay")
    return engine, settings, _steps_to_replay(replay, engine, settings) if replay else ()


def find_circuit(
    model: Any,
    task: Task | str,
    threshold: float | str = "7%",
    *,
    method: str = "acdc",
    rule: Rule | None = None,
    order: Order = "default",
    order_seed: int = 0,
    ablation: Ablation = "corrupted",
    positions: bool = False,
    split_qkv: bool = True,
    replay: Circuit | None = None,
    top_n: int | None = None,
) -> Circuit:
    """Searches for the circuit that does a task.

    Runs the CLEAN prompts and patches CORRUPTED activations into removed edges.

    Args:
        model: anything that `load_model` takes.
        task: a `Task`, or the name of one.
        threshold: a number in the metric's units, or a per cent of |clean metric|, as "7%".
        method: "acdc" (Conmy et al. 2023, algorithm 1); "path_patching", the growth of the blog
            post before it (`searches/path_patching.py`); or, approximate and without a search, all
            edges whose attribution reaches the threshold: "eap" or "eap_ig" (see `attribute`).
        rule: an edge goes if |change of the metric| ("abs") or the damage ("signed") is below the
            threshold; by default the metric's own: abs for logit difference, signed for KL. Under
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
        replay: a circuit found before on the same model and task with the same settings, but for
            the threshold, or one whose search was cut short. Its decisions are taken over for as
            long as they hold, and the result is that of a search from the start.

        top_n: for the attribution methods, keep this many of the largest scores instead of those
            above a threshold; fewer stay if some of them lead nowhere.

    Raises:
        ValueError: naming the argument that is wrong and what is allowed.
    """
    with plain_arithmetic():
        model, task = resolve(model, task)
        engine, settings, known = prepared(
            model,
            task,
            threshold,
            {
                "method": method,
                "rule": rule,
                "order": order,
                "order_seed": order_seed,
                "ablation": ablation,
                "positions": positions,
                "split_qkv": split_qkv,
                "replay": replay,
                "top_n": top_n,
            },
        )
        steps = search_steps(engine, settings, known)
        return Circuit.of_search(model.name, engine, settings, steps)


def _threshold_of_top(engine: Engine, method: str, top_n: int) -> float:
    if method not in ATTRIBUTIONS:
        raise ValueError(
            f"top_n is for methods {', '.join(ATTRIBUTIONS)}; got method {method!r}, which needs a "
            "threshold"
        )
    n_edges = engine.graph.n_edges
    if type(top_n) is not int or not 1 <= top_n <= n_edges:
        raise ValueError(
            f"top_n must be a whole number between 1 and {n_edges}, the number of edges; got "
            f"{top_n!r}"
        )
    sizes = np.sort(np.abs(edge_scores(engine, method)[engine.graph.edge_mask]))
    # A threshold of zero is none.
    return max(float(sizes[-top_n]), 1e-12)


def check_found_here(engine: Engine, circuit: Circuit, role: str) -> None:
    """Raises a ValueError if a circuit is of another model or of other prompts.

    Args:
        engine: on which it is about to be used.
        circuit: from anywhere.
        role: what it is called in the message.
    """
    # Both runs' metrics: of KL divergence the clean one is 0 whatever the prompts.
    then = (circuit.metric_name, circuit.full_metric, circuit.corrupted_metric)
    now = (engine.metric.name, engine.full_metric, engine.corrupted_metric)
    same_values = all(
        math.isclose(*pair, rel_tol=1e-4, abs_tol=1e-6)
        for pair in zip(then[1:], now[1:], strict=True)
    )
    shapes = [f"{g.n_layers} layers x {g.n_heads} heads" for g in (circuit.graph, engine.graph)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"{role} is of a model with {shapes[0]}; this one has {shapes[1]}")
    same_direction = circuit.higher_is_better == engine.metric.higher_is_better
    if circuit.graph != engine.graph or then[0] != now[0] or not same_values or not same_direction:
        told = "{0} {1:.6g} clean, {2:.6g} corrupted".format
        raise ValueError(
            f"{role} is of another model or other prompts: {told(*then)}; here it is {told(*now)}"
        )


def _steps_to_replay(circuit: Circuit, engine: Engine, settings: SearchSettings) -> Sequence[Step]:
    """The steps of a circuit, checked to come from the search that is about to be made."""
    check_found_here(engine, circuit, "the circuit to replay")
    for what in ("method", "rule", "order", "order_seed", "ablation"):
        found_with, asked = getattr(circuit.settings, what), getattr(settings, what)
        if found_with != asked:
            raise ValueError(
                f"the circuit to replay was found with {what} {found_with!r}; this search has "
                f"{asked!r}"
            )
    return circuit.steps


def attribute(
    model: Any,
    task: Task | str,
    method: str = "eap",
    *,
    steps: int = IG_STEPS,
    ablation: Ablation = "corrupted",
    positions: bool = False,
    split_qkv: bool = True,
) -> pd.DataFrame:
    """The approximate effect of every edge alone in the full model, by edge attribution patching.

    To first order what `inspect_edge(...).effect_alone` measures, for all edges by two forward runs
    and one backward run.

    Args:
        model: anything that `load_model` takes.
        task: a `Task`, or the name of one.
        method: "eap" (Syed et al. 2023), or "eap_ig", with gradients averaged on the way from the
            clean to the ablated embedding (Hanna et al. 2024).
        steps: how many points on that way.
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
        model, task = resolve(model, task)
        engine = model.engine(task, ablation, positions=positions, split_qkv=split_qkv)
        scores, graph = edge_scores(engine, method, steps), engine.graph
    cells = np.argwhere(graph.edge_mask)
    receivers = [graph.receivers[row] for row in cells[:, 0]]
    table = pd.DataFrame(
        {
            "edge": graph.edge_ids,
            "sender": [graph.senders[column].id for column in cells[:, 1]],
            "receiver": [receiver.node.id for receiver in receivers],
            "qkv": [receiver.qkv for receiver in receivers],
            "position": [receiver.position for receiver in receivers],
            "score": scores[graph.edge_mask],
        }
    )
    return table.sort_values("score", key=abs, ascending=False, ignore_index=True)


def threshold_path(
    model: Any,
    task: Task | str,
    low: float | str = "1%",
    high: float | str = "20%",
    *,
    seconds: float = 60.0,
    known: ThresholdPath | None = None,
    **options: Unpack[SearchOptions],
) -> ThresholdPath:
    """Finds the circuit of every threshold between two, as exact intervals.

    Args:
        model: anything that `load_model` takes.
        task: a `Task`, or the name of one.
        low: the lowest threshold, as `find_circuit` takes it.
        high: the highest.
        seconds: after which to stop, with gaps left between intervals; the circuit that is being
            found then is the last.
        known: a path to go on from, found with the same arguments but for these.
        options: other arguments of `find_circuit` but `replay` and `top_n`.

    Raises:
        ValueError: naming the argument that is wrong and what is allowed.
    """
    check_options(
        options,
        refused={
            "replay": "a path goes on from another path, given as known=",
            "top_n": "a path goes from threshold to threshold",
        },
    )
    with plain_arithmetic():
        model, task = resolve(model, task)
        engine, settings, _ = prepared(model, task, low, options)
        top = parse_threshold(high, engine.full_metric, engine.metric)
        if top <= settings.threshold:
            raise ValueError(f"high must be above low; got low {low!r} and high {high!r}")
        path, started = known or ThresholdPath(), time.monotonic()
        for circuit in path.circuits:
            _steps_to_replay(circuit, engine, settings)
        for step in path_steps(model.name, engine, settings, settings.threshold, top, path):
            if isinstance(step, Circuit):
                path = path.with_circuit(step)
                if time.monotonic() - started > seconds:
                    break
        return path


def search(
    model: Any,
    task: Task | str,
    threshold: float | str = "7%",
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
        model, task = resolve(model, task)
        engine, settings, known = prepared(model, task, threshold, options)
    steps = stepwise(search_steps(engine, settings, known))
    return (step for step in steps if isinstance(step, EdgeStep))


def evaluate(
    model: Any,
    task: Task | str,
    removed: Iterable[str | Edge],
    *,
    ablation: Ablation = "corrupted",
    positions: bool = False,
    split_qkv: bool = True,
) -> float:
    """The metric, mean over prompts, with some edges removed.

    Runs the CLEAN prompts and patches CORRUPTED activations into the removed edges. With none
    removed this is the clean run; with all removed, the corrupted run.

    Args:
        model: anything that `load_model` takes.
        task: a `Task`, or the name of one.
        removed: edge ids, as "a2.h1->a3.h0<q>", or with `positions` "a2.h1->a3.h0<q>@END".
        ablation: what removed edges carry.
        positions: as in `find_circuit`.
        split_qkv: likewise.

    Raises:
        ValueError: if an edge is not in the model's graph.
    """
    with plain_arithmetic():
        model, task = resolve(model, task)
        engine = model.engine(task, ablation, positions=positions, split_qkv=split_qkv)
        mask = engine.graph.mask_of(removed)
        return mean_metric(evaluate_removed(engine, [RemovedEdges(mask)])[0])
