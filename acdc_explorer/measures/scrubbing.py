"""Whether a group's output depends on nothing but what it is claimed to: causal scrubbing.

The test is that of Chan et al. (2022), "Causal scrubbing: a method for rigorously testing
interpretability hypotheses": what a part of the circuit writes on one prompt is exchanged for what
it writes on another one that agrees on all that, so the claim, matters to it. If the claim is
right, nothing is lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool

from acdc_explorer.arguments import check_found_here, engine_of, resolve
from acdc_explorer.arithmetic import plain_arithmetic
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.groups import Group, Groups
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.evaluate import evaluate_removed
from acdc_explorer.engine.given_outputs import evaluate_given, outputs_in
from acdc_explorer.engine.removed_edges import RemovedEdges
from acdc_explorer.errors import check_whole_number, unknown_name
from acdc_explorer.graph import REST, Node
from acdc_explorer.measures.scores import share
from acdc_explorer.measures.scrubbed import ALL, Scrubbing
from acdc_explorer.measures.swaps import Sources, agreeing, drawn_sources, given_from
from acdc_explorer.models.model import ModelLike
from acdc_explorer.progress import working_on
from acdc_explorer.tasks.task import Task

# Of each group so many times other prompts are drawn, and a random group.
DRAWS = 10
_OURS, _RANDOM = "group", "random"


def scrub(
    model: ModelLike,
    task: Task | str,
    circuit: Circuit,
    groups: Groups | Group | Sequence[Group],
    *,
    draws: int = DRAWS,
    features: Mapping[str, Sequence[Any]] | None = None,
    seed: int = 0,
) -> Scrubbing:
    """Tests what groups are claimed to depend on, by exchanging their outputs between prompts.

    For every prompt another one is drawn, its source, from those that agree with it on the group's
    inputs: they have the same tokens at these position labels, and the same values of these
    features. On the prompt, all members of the group then write what they write on the source, each
    in the run of the circuit; the rest of the circuit runs on as ever. Another group has a source
    of its own. If what a group writes depends on its inputs alone, the metric stays.

    Between prompts whose position labels stand at the same places, outputs are exchanged at every
    position up to END. Between others they are exchanged at labelled positions alone: the first
    token of a label takes that of the same label in the source, the second the second, and so on;
    elsewhere, and where the source has no such token, members write what they compute themselves.

    A prompt with which no other agrees is left out of a group's numbers; with all groups together,
    one that has no source for any of them.

    Beside each group stands a random one: as many nodes of the circuit, drawn anew each time from
    those that are not in the group; for a head a head, of the same layer where one is left; for an
    MLP an MLP where one is left. With all groups together, as many random ones are drawn from all
    the circuit's nodes. They are exchanged with the same sources.

    Args:
        model: anything that `load_model` takes; the one that the circuit was found in.
        task: the one that the circuit was found for: a `Task`, or the name of one.
        circuit: finished or not; untested edges count as present.
        groups: of heads and MLPs, with their `inputs`; one or more.
        draws: how many times to draw sources and random groups.
        features: of the prompts, by names that groups may have among their inputs: for each a value
            per prompt, as ["ABBA", "BABA", ...].
        seed: of the draws.

    Raises:
        ValueError: if a group has a node that the model lacks, or an input that is neither a
            position label of the task nor a feature; a feature has no value for each prompt; draws
            or seed are not whole numbers from 1 (0) on; or the circuit is of another model or of
            other prompts.
    """
    check_whole_number("draws", draws, 1)
    check_whole_number("seed", seed, 0)
    if not isinstance(circuit, Circuit):
        raise ValueError(f"circuit must be a Circuit; got a {type(circuit).__name__}")
    with plain_arithmetic():
        loaded, task = resolve(model, task)
        engine = engine_of(circuit, loaded, task)
        check_found_here(engine, circuit, "the circuit")
        return scrubbed_in(engine, circuit, _as_groups(groups), draws, features, seed)


def scrubbed_in(
    engine: Engine,
    circuit: Circuit,
    groups: Groups,
    draws: int = DRAWS,
    features: Mapping[str, Sequence[Any]] | None = None,
    seed: int = 0,
) -> Scrubbing:
    """The same on an engine; see `scrub`."""
    groups.check(circuit.graph)
    columns = _columns(engine.task, groups, features or {})
    agree = [agreeing([columns[name] for name in group.inputs], engine.n_prompts)
             for group in groups]  # fmt: skip
    has_source = [each.any(1) for each in agree]
    # Each group alone, and all together where there are several.
    trials = [(group.name, [number]) for number, group in enumerate(groups)]
    if len(groups) > 1:
        trials.append((ALL, list(range(len(groups)))))
    scored = {
        name: np.all([has_source[number] for number in numbers], axis=0) for name, numbers in trials
    }
    removed = RemovedEdges(circuit.removed_mask)
    pool = _nodes_of(circuit)
    in_question = dict.fromkeys([*pool, *(node for group in groups for node in group.members)])
    outputs = outputs_in(engine, removed, in_question)
    plain = evaluate_removed(engine, [removed])[0].double().cpu().numpy()
    rows = []
    n_runs = 2 * draws * len(trials)
    with working_on("exchanging outputs between prompts", n_runs) as done:
        for draw in range(draws):
            rng = np.random.default_rng([seed, draw])
            sources = [drawn_sources(each, engine.task, rng) for each in agree]
            for name, numbers in trials:
                of_trial = [sources[number] for number in numbers]
                own = [groups.groups[number].members for number in numbers]
                drawn = _random_groups(own, pool, rng)
                for kind, members in ((_OURS, own), (_RANDOM, drawn)):
                    values = np.full(engine.n_prompts, np.nan)
                    if members is not None and scored[name].any():
                        values = _swapped(engine, removed, members, of_trial, outputs)
                    rows.append((name, kind, draw, _mean(values, scored[name])))
                    done(len(rows))
    by_draw = pd.DataFrame(rows, columns=["group", "kind", "draw", "metric"])
    return _result(engine, circuit, groups, draws, plain, scored, by_draw)


def _as_groups(groups: Groups | Group | Sequence[Group]) -> Groups:
    if isinstance(groups, Group):
        groups = Groups((groups,))
    elif not isinstance(groups, Groups):
        groups = Groups(tuple(groups))
    if not len(groups):
        raise ValueError("groups must hold a group at least; got none")
    if any(group.name == ALL for group in groups):
        raise ValueError(f"no group must be called {ALL!r}: that is what stands for all of them")
    return groups


def _columns(
    task: Task, groups: Groups, features: Mapping[str, Sequence[Any]]
) -> dict[str, list[Any]]:
    """Name of an input -> its value on each prompt."""
    labels = [label for label in task.position_masks if label != REST]
    for name, values in features.items():
        if name in labels:
            raise ValueError(f"feature {name!r} has the name of a position label")
        if isinstance(values, str) or len(values) != task.n_prompts:
            n = "a text" if isinstance(values, str) else f"{len(values)}"
            raise ValueError(
                f"feature {name!r} must have a value for each of {task.n_prompts} prompts; got {n}"
            )
    columns: dict[str, list[Any]] = {name: list(values) for name, values in features.items()}
    for group in groups:
        for name in group.inputs:
            if name in columns:
                continue
            if name not in labels:
                raise unknown_name(f"input of group {group.name!r}", name, [*labels, *features])
            mask = task.position_masks[name]
            columns[name] = [
                tuple(tokens[at].tolist())
                for tokens, at in zip(task.clean_tokens, mask, strict=True)
            ]
    return columns


def _nodes_of(circuit: Circuit) -> list[Node]:
    """The heads and MLPs with a kept edge out."""
    senders = {edge.sender for edge in circuit.kept_effects}
    return [node for node in circuit.graph.senders if node in senders and node.kind != "input"]


def _random_groups(
    groups: Sequence[Sequence[Node]], pool: Sequence[Node], rng: np.random.Generator
) -> list[list[Node]] | None:
    """As many other nodes for each of some groups; None: there are not so many.

    Args:
        groups: the members of each. Those of one group alone are not drawn again.
        pool: to draw from.
        rng: draws.
    """
    left = [node for node in pool if len(groups) > 1 or node not in groups[0]]
    drawn = []
    for group in groups:
        members = []
        for node in group:
            alike = [each for each in left if each.kind == node.kind]
            beside = [each for each in alike if each.layer == node.layer]
            choice = beside or alike or left
            if not choice:
                return None
            chosen = choice[int(rng.integers(len(choice)))]
            members.append(chosen)
            left.remove(chosen)
        drawn.append(members)
    return drawn


def _swapped(
    engine: Engine,
    removed: RemovedEdges,
    groups: Sequence[Sequence[Node]],
    sources: Sequence[Sources],
    outputs: Mapping[Node, Any],
) -> np.ndarray:
    """The metric per prompt where the members of each group write what they do on its sources."""
    given = {
        node: given_from(outputs[node], of_group)
        for members, of_group in zip(groups, sources, strict=True)
        for node in members
    }
    return evaluate_given(engine, removed, given).double().cpu().numpy()


def _mean(values: np.ndarray, scored: Bool[np.ndarray, " prompt"]) -> float:
    return float(values[scored].mean()) if scored.any() else float("nan")


def _result(
    engine: Engine,
    circuit: Circuit,
    groups: Groups,
    draws: int,
    plain: np.ndarray,
    of_prompts: Mapping[str, np.ndarray],
    by_draw: pd.DataFrame,
) -> Scrubbing:
    full, corrupted = (
        each.double().cpu().numpy() for each in (engine.clean_by_prompt, engine.corrupted_by_prompt)
    )
    means = pd.DataFrame(
        {
            name: [_mean(each, scored) for each in (plain, full, corrupted)]
            for name, scored in of_prompts.items()
        },
        index=["circuit", "full", "ablated"],
    ).T
    of = means.loc[by_draw.group].reset_index(drop=True)
    metric, ablated = by_draw.metric.to_numpy(), of.ablated.to_numpy()
    by_draw["faithfulness"] = share(metric, of.full.to_numpy(), ablated)
    by_draw["stays"] = share(metric, of.circuit.to_numpy(), ablated)
    rows = []
    for name, scored in of_prompts.items():
        chosen = [groups[name]] if name != ALL else list(groups)
        ours, random = (
            by_draw[(by_draw.group == name) & (by_draw.kind == kind)] for kind in (_OURS, _RANDOM)
        )
        rows.append(
            {
                "group": name,
                "n_nodes": sum(len(group.nodes) for group in chosen),
                "inputs": ", ".join(dict.fromkeys(i for group in chosen for i in group.inputs)),
                "n_prompts": int(scored.sum()),
                "circuit": means.circuit[name],
                "metric": ours.metric.mean(),
                "faithfulness": ours.faithfulness.mean(),
                "stays": ours.stays.mean(),
                "stays_low": ours.stays.min(),
                "stays_high": ours.stays.max(),
                "random": random.stays.mean(),
                "random_low": random.stays.min(),
                "random_high": random.stays.max(),
            }
        )
    return Scrubbing(
        circuit.model_name,
        engine.task.name,
        engine.metric.name,
        groups,
        draws,
        engine.n_prompts,
        pd.DataFrame(rows).set_index("group"),
        by_draw,
    )
