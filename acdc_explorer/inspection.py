"""One edge or one node in depth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from acdc_explorer.arguments import check_found_here, engine_of, resolve
from acdc_explorer.arithmetic import plain_arithmetic
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.tables import KEPT, REMOVED, UNTESTED
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.evaluate import evaluate_removed, evaluate_without_each
from acdc_explorer.engine.label_attention import attention_by_label
from acdc_explorer.engine.removed_edges import RemovedEdges
from acdc_explorer.engine.scoring import mean_metric
from acdc_explorer.errors import unknown_name
from acdc_explorer.graph import Edge, Node
from acdc_explorer.models.model import ModelLike
from acdc_explorer.tasks import Task


@dataclass(frozen=True)
class EdgeEffect:
    """What is measured first of an edge; `EdgeInspection` tells what the attributes are."""

    edge: Edge
    state: str
    effect: float
    effect_when_decided: float
    by_prompt: pd.Series
    attention: Mapping[str, pd.DataFrame]


@dataclass(frozen=True)
class EdgeInspection(EdgeEffect):
    """What one edge does. All effects are metric with the edge minus metric without it.

    Attributes:
        edge: the edge.
        state: "kept", "removed" or "untested" in the circuit.
        effect: in the finished circuit: circuit with the edge minus circuit without it, the rest of
            the circuit as it is.
        effect_when_decided: when the search tested the edge; NaN if it did not, or screened it.
        by_prompt: `effect` per prompt (index: prompt number).
        attention: for the heads at both ends, keys "sender" and "receiver": mean attention over
            prompts in the clean run from each label (rows) to each label and "other" (columns).
        effect_alone: in the full model, with no other edge removed.
        by_position: effect of the edge at one position label alone (index: labels and "rest", all
            other positions), the rest of the circuit as it is.
        whole_effect: of the edge at all positions together. The labels' effects add up to it only
            if they do not interact. On a circuit without positions it is `effect`.
    """

    effect_alone: float
    by_position: pd.Series
    whole_effect: float

    @property
    def interaction(self) -> float:
        """How much the whole edge does beyond the sum of its positions."""
        return self.whole_effect - float(self.by_position.sum())


@dataclass(frozen=True)
class NodeInspection:
    """What flows into and out of one node of a circuit.

    Attributes:
        node: the node.
        incoming: kept edges into it, the largest |effect| first: columns edge, sender, qkv, effect.
        outgoing: kept edges out of it, likewise: columns edge, receiver, qkv, effect.
        attention: for a head, mean attention as in `EdgeInspection`; None for other nodes.
    """

    node: Node
    incoming: pd.DataFrame
    outgoing: pd.DataFrame
    attention: pd.DataFrame | None


def inspect_edge(
    model: ModelLike, task: Task | str, circuit: Circuit, edge: str | Edge
) -> EdgeInspection:
    """Measures what one edge does in a circuit, alone, by position and by prompt.

    Args:
        model: anything that `load_model` takes; the one that the circuit was found in.
        task: the one that the circuit was found for.
        circuit: finished or not; untested edges count as present.
        edge: an edge id, as "a2.h1->a3.h0<q>".

    Raises:
        ValueError: if the edge is not in the model's graph, or the circuit is of another model or
            of other prompts.
    """
    with plain_arithmetic():
        loaded, task = resolve(model, task)
        engine = engine_of(circuit, loaded, task)
        return edge_inspection(
            engine, circuit, engine.graph.parse_edge(edge) if isinstance(edge, str) else edge
        )


def inspect_node(
    model: ModelLike, task: Task | str, circuit: Circuit, node: str | Node
) -> NodeInspection:
    """Ranks the kept edges into and out of a node, and gives a head's attention.

    Args:
        model: anything that `load_model` takes.
        task: the one that the circuit was found for.
        circuit: finished or not.
        node: a node id, as "a2.h1".

    Raises:
        ValueError: if the node is not in the model's graph, or the circuit is of another model or
            of other prompts.
    """
    with plain_arithmetic():
        loaded, task = resolve(model, task)
        engine = engine_of(circuit, loaded, task)
        return node_inspection(
            engine, circuit, engine.graph.parse_node(node) if isinstance(node, str) else node
        )


def edge_inspection(engine: Engine, circuit: Circuit, edge: Edge) -> EdgeInspection:
    """`inspect_edge` on an engine that is there already."""
    return with_the_rest(engine, circuit, edge_effect(engine, circuit, edge))


def edge_effect(engine: Engine, circuit: Circuit, edge: Edge) -> EdgeEffect:
    """What an edge does in a circuit: two patched runs.

    Args:
        engine: that the circuit was found on.
        circuit: finished or not.
        edge: of the engine's graph.

    Raises:
        ValueError: if the circuit is of another model or of other prompts.
    """
    check_found_here(engine, circuit, "the circuit")
    with_edge, without = evaluate_removed(engine, _switched(circuit, [edge])).double()
    by_prompt = with_edge - without
    decided = [step.effect for step in circuit.decisions if step.edge == edge and not step.screened]
    return EdgeEffect(
        edge=edge,
        state=state_of(circuit, edge),
        effect=by_prompt.mean().item(),
        effect_when_decided=decided[0] if decided else math.nan,
        by_prompt=pd.Series(by_prompt.tolist(), name="effect").rename_axis("prompt"),
        attention={
            end: attention_by_label(engine, node)
            for end, node in (("sender", edge.sender), ("receiver", edge.receiver.node))
            if node.kind == "head"
        },
    )


def with_the_rest(engine: Engine, circuit: Circuit, found: EdgeEffect) -> EdgeInspection:
    """Adds what the edge does alone, and at each position: one or two patched runs for each label.

    Args:
        engine: that the effect was measured on.
        circuit: that it was measured in.
        found: the effect.
    """
    if engine.graph.labels:
        by_position, whole = _effects_of_positions(engine, circuit, found.edge)
    else:
        by_position, whole = _effects_at(engine, circuit, found.edge), found.effect
    alone = RemovedEdges(engine.graph.mask_of([found.edge]))
    return EdgeInspection(
        **vars(found),
        effect_alone=engine.full_metric - mean_metric(evaluate_removed(engine, [alone])[0]),
        by_position=pd.Series(by_position, name="effect").rename_axis("position"),
        whole_effect=whole,
    )


def _switched(circuit: Circuit, edges: Sequence[Edge]) -> list[RemovedEdges]:
    """A circuit with all of some edges, and with none of them."""
    cells = tuple(zip(*map(circuit.graph.cell, edges), strict=True))
    masks = [circuit.removed_mask.copy() for _ in range(2)]
    masks[0][cells], masks[1][cells] = False, True
    return [RemovedEdges(mask) for mask in masks]


def _effects_at(engine: Engine, circuit: Circuit, edge: Edge) -> dict[str, float]:
    """Of an edge at each position label alone, where edges have no positions of their own."""
    with_edge, _ = _switched(circuit, [edge])
    places = engine.task.position_masks
    removed = [with_edge] + [
        RemovedEdges(with_edge.mask, (edge, mask.to(engine.weights.device)))
        for mask in places.values()
    ]
    whole, *without = evaluate_removed(engine, removed).double().mean(1).tolist()
    return {label: whole - value for label, value in zip(places, without, strict=True)}


def _effects_of_positions(
    engine: Engine, circuit: Circuit, edge: Edge
) -> tuple[dict[str, float], float]:
    """Of the edges at each position label, each alone, and of all of them together."""
    edges = [Edge(edge.sender, at) for at in engine.graph.receivers_at(edge.receiver.at(None))]
    together = [*([each] for each in edges), edges]
    removed = [each for switched in together for each in _switched(circuit, switched)]
    evaluated = evaluate_removed(engine, removed).double().mean(1)
    *effects, whole = (evaluated[::2] - evaluated[1::2]).tolist()
    labels = [str(each.receiver.position) for each in edges]
    return dict(zip(labels, effects, strict=True)), whole


def shares_at(engine: Engine, circuit: Circuit, label: str) -> dict[str, float]:
    """What each kept edge of a circuit without positions adds at one position label alone.

    Args:
        engine: that the circuit was found on.
        circuit: finished or not.
        label: of the task, or "rest".

    Returns:
        Edge id -> the circuit's metric minus that with the edge removed at these positions.

    Raises:
        ValueError: if the task has no such label, or the circuit is of another model or of other
            prompts.
    """
    check_found_here(engine, circuit, "the circuit")
    masks = engine.task.position_masks
    if label not in masks:
        raise unknown_name("position label", label, masks)
    mask, removed = masks[label].to(engine.weights.device), circuit.removed_mask
    kept = list(circuit.kept_effects)
    circuits = [RemovedEdges(removed), *(RemovedEdges(removed, (edge, mask)) for edge in kept)]
    whole, *without = evaluate_removed(engine, circuits).double().mean(1).tolist()
    return {edge.id: whole - value for edge, value in zip(kept, without, strict=True)}


def edge_effects(model: ModelLike, task: Task | str, circuit: Circuit) -> pd.Series:
    """What each kept edge does in a circuit as it stands, the others in place.

    The effects in `Circuit.edges` are those that the search found when it tested the edges, with
    more of the model around them; these are measured in the end, and after changes by hand.

    Args:
        model: anything that `load_model` takes; the one that the circuit was found in.
        task: the one that the circuit was found for.
        circuit: finished or not.

    Returns:
        The circuit's metric minus that without the edge, in the metric's units (index: edge), the
        largest |effect| first. One patched run for each edge.

    Raises:
        ValueError: if the circuit is of another model or of other prompts.
    """
    with plain_arithmetic():
        loaded, task = resolve(model, task)
        engine = engine_of(circuit, loaded, task)
        effects = effects_in(engine, circuit, list(circuit.kept_effects))
    series = pd.Series(effects, name="effect", dtype=float).rename_axis("edge")
    return series.iloc[series.abs().argsort(kind="stable")[::-1]]


def effects_in(engine: Engine, circuit: Circuit, edges: Sequence[Edge]) -> dict[str, float]:
    """The effects of some kept edges, by id, each in the circuit as it stands.

    Args:
        engine: that the circuit was found on.
        circuit: finished or not.
        edges: of the circuit.

    Raises:
        ValueError: if the circuit is of another model or of other prompts.
    """
    check_found_here(engine, circuit, "the circuit")
    removed, cells = circuit.removed_mask, [circuit.graph.cell(edge) for edge in edges]
    whole = mean_metric(evaluate_removed(engine, [RemovedEdges(removed)])[0])
    without = evaluate_without_each(engine, removed, cells).mean(1).tolist()
    return {edge.id: whole - value for edge, value in zip(edges, without, strict=True)}


def node_inspection(engine: Engine, circuit: Circuit, node: Node) -> NodeInspection:
    """`inspect_node` on an engine that is there already."""
    check_found_here(engine, circuit, "the circuit")
    kept = circuit.edges[circuit.edges.state == KEPT]
    kept = kept.iloc[kept["effect"].abs().argsort()[::-1]]
    incoming, outgoing = kept[kept.receiver == node.id], kept[kept.sender == node.id]
    return NodeInspection(
        node=node,
        incoming=incoming[["edge", "sender", "qkv", "effect"]].reset_index(drop=True),
        outgoing=outgoing[["edge", "receiver", "qkv", "effect"]].reset_index(drop=True),
        attention=attention_by_label(engine, node) if node.kind == "head" else None,
    )


def state_of(circuit: Circuit, edge: Edge) -> str:
    """What a search made of an edge: "kept", "removed", or "untested" as yet."""
    cell = circuit.graph.cell(edge)
    if circuit.removed_mask[cell]:
        return REMOVED
    return KEPT if circuit.kept_mask[cell] else UNTESTED
