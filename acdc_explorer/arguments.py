"""From what a user passes to a model, a task, an engine and settings; what is wrong is named."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.imported import check_searched
from acdc_explorer.circuits.settings import SearchSettings, parse_threshold
from acdc_explorer.circuits.steps import Step
from acdc_explorer.engine.cache import engine_for
from acdc_explorer.engine.engine import Engine
from acdc_explorer.errors import unknown_name
from acdc_explorer.models.loading import load_model
from acdc_explorer.models.model import Model, ModelLike
from acdc_explorer.options import ATTRIBUTIONS, Ablation, Method, Order, Rule
from acdc_explorer.searches.attribution import edge_scores
from acdc_explorer.searches.faithful import parse_faithfulness
from acdc_explorer.tasks.builtin.registry import load_task
from acdc_explorer.tasks.task import Task

# What a search goes by unless told.
THRESHOLD = "7%"


class KindOfSearch(TypedDict, total=False):
    """What tells one search from another, whatever the threshold; see `find_circuit`."""

    method: Method
    rule: Rule | None
    order: Order
    order_seed: int
    ablation: Ablation
    positions: bool
    split_qkv: bool
    screen: float


class SearchOptions(KindOfSearch, total=False):
    """The options of `find_circuit`, which `search` and `Explorer` take too."""

    replay: Circuit | None
    top_n: int | None


def resolve(model: ModelLike, task: Task | str) -> tuple[Model, Task]:
    """Loads what was given by name."""
    loaded = load_model(model)
    if isinstance(task, str):
        return loaded, load_task(task, loaded)
    if not isinstance(task, Task):
        raise ValueError(
            f"task must be a Task, or the name of one (see list_tasks()); got {type(task).__name__}"
        )
    return loaded, task


@dataclass(frozen=True)
class Prepared:
    """What a search needs.

    Attributes:
        engine: of model and task.
        settings: of the search; for one that looks for a faithfulness, the threshold is none.
        known: steps to replay.
        target: the faithfulness to reach at whatever threshold, as a share; or None.
    """

    engine: Engine
    settings: SearchSettings
    known: Sequence[Step]
    target: float | None


def check_options(options: Mapping[str, Any], refused: Mapping[str, str] | None = None) -> None:
    """Raises a ValueError for an option that is unknown, does not apply, or has no such value.

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
    for name in ("positions", "split_qkv"):
        if not isinstance(options.get(name, False), (bool, np.bool_)):
            raise ValueError(f"{name} must be True or False; got {options[name]!r}")
    if not isinstance(options.get("replay"), Circuit | None):
        raise ValueError(f"replay must be a Circuit; got a {type(options['replay']).__name__}")
    # The threshold is another argument.
    _settings(1.0, "1", options, options.get("rule") or "abs")


def parse_target(
    faithfulness: float | str | None, threshold: float | str | None, options: Mapping[str, Any]
) -> float | None:
    """The faithfulness that is to be reached, as a share; None: a threshold is given.

    Args:
        faithfulness: as `find_circuit` takes it.
        threshold: likewise.
        options: likewise.

    Raises:
        ValueError: if it is none, or something is given that goes with a threshold alone.
    """
    if faithfulness is None:
        return None
    target = parse_faithfulness(faithfulness)
    with_threshold = {"threshold": threshold, **{n: options.get(n) for n in ("replay", "top_n")}}
    for name, value in with_threshold.items():
        if value is not None:
            raise ValueError(f"give either {name}= or faithfulness=, which looks for a threshold")
    return target


def prepared(
    model: Model,
    task: Task,
    threshold: float | str | None,
    options: SearchOptions,
    faithfulness: float | str | None = None,
) -> Prepared:
    """Turns the arguments of `find_circuit` into an engine, settings, and the steps to replay.

    Args:
        model: searched.
        task: likewise.
        threshold: None: the usual one, or whichever is as faithful as is asked for.
        options: by name.
        faithfulness: to look for instead of a threshold, or None.

    Raises:
        ValueError: naming the argument that is wrong and what is allowed.
    """
    check_options(options)
    target = parse_target(faithfulness, threshold, options)
    engine = engine_for(
        model,
        task,
        options.get("ablation", "corrupted"),
        positions=options.get("positions", False),
        split_qkv=options.get("split_qkv", True),
    )
    method, top_n = options.get("method", "acdc"), options.get("top_n")
    if top_n is not None:
        threshold = _threshold_of_top(engine, method, top_n)
    elif threshold is None:
        # A target's searches set their own; a per cent of the clean metric may be one of zero.
        threshold = THRESHOLD if target is None else 1.0
    rule = options.get("rule") or engine.metric.default_rule
    if target is not None and method not in ATTRIBUTIONS:
        # See `searches/faithful.py`.
        rule = options.get("rule") or "signed"
    value = parse_threshold(threshold, engine.full_metric, engine.metric)
    settings = _settings(value, str(threshold).strip(), options, rule)
    if settings.screen and not engine.scoring.has_gradient:
        raise ValueError(
            f"screen goes by the metric's gradient, and {engine.metric.name!r} has none; search "
            "without screen"
        )
    replay = options.get("replay")
    known = steps_to_replay(replay, engine, settings) if replay else ()
    return Prepared(engine, settings, known, target)


def _settings(
    threshold: float, threshold_text: str, options: Mapping[str, Any], rule: Rule
) -> SearchSettings:
    named = ("method", "order", "order_seed", "ablation", "screen")
    given = {name: options[name] for name in named if name in options}
    return SearchSettings(threshold, threshold_text, rule=rule, **given)


def _threshold_of_top(engine: Engine, method: str, top_n: int) -> float:
    if method not in ATTRIBUTIONS:
        raise ValueError(
            f"top_n is for methods {', '.join(ATTRIBUTIONS)}; got method {method!r}, which needs a "
            "threshold"
        )
    n_edges = engine.graph.n_edges
    is_whole = isinstance(top_n, (int, np.integer)) and not isinstance(top_n, bool)
    if not is_whole or not 1 <= top_n <= n_edges:
        raise ValueError(
            f"top_n must be a whole number between 1 and {n_edges}, the number of edges; got "
            f"{top_n!r}"
        )
    sizes = np.sort(np.abs(edge_scores(engine, method)[engine.graph.edge_mask]))
    # A threshold of zero is none.
    return max(float(sizes[-top_n]), 1e-12)


def engine_of(circuit: Circuit, model: Model, task: Task) -> Engine:
    """The engine on which a circuit was found."""
    return engine_for(
        model,
        task,
        circuit.settings.ablation,
        positions=bool(circuit.graph.labels),
        split_qkv=circuit.graph.split_qkv,
    )


def check_found_here(engine: Engine, circuit: Circuit, role: str) -> None:
    """Raises a ValueError if a circuit is of another model or of other prompts.

    Of a circuit that came from another tool's file only the model's shape is known.

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
    if circuit.imported:
        if circuit.graph != engine.graph:
            raise ValueError(
                f"{role} is of a model of {circuit.graph.shape}; this one has {engine.graph.shape}"
            )
        return
    same_direction = circuit.higher_is_better == engine.metric.higher_is_better
    if circuit.graph != engine.graph or then[0] != now[0] or not same_values or not same_direction:
        told = "{0} {1:.6g} clean, {2:.6g} corrupted".format
        raise ValueError(
            f"{role} is of another model or other prompts: {told(*then)}; here it is {told(*now)}"
        )


def steps_to_replay(circuit: Circuit, engine: Engine, settings: SearchSettings) -> Sequence[Step]:
    """The steps of a circuit, checked to come from the search that is about to be made."""
    check_searched(circuit, "a replay")
    check_found_here(engine, circuit, "the circuit to replay")
    for what in ("method", "rule", "order", "order_seed", "ablation"):
        found_with, asked = getattr(circuit.settings, what), getattr(settings, what)
        if found_with != asked:
            raise ValueError(
                f"the circuit to replay was found with {what} {found_with!r}; this search has "
                f"{asked!r}"
            )
    return circuit.steps
