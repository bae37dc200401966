"""One edge or one node in depth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
import torch

from acdc_explorer.arguments import check_found_here, engine_of, resolve
from acdc_explorer.arithmetic import plain_arithmetic
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.tables import KEPT, REMOVED, UNTESTED
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.evaluate import evaluate_removed
from acdc_explorer.engine.removed_edges import RemovedEdges
from acdc_explorer.engine.scoring import mean_metric
from acdc_explorer.errors import unknown_name
from acdc_explorer.graph import REST, Edge, Node
from acdc_explorer.models.model import ModelLike
from acdc_explorer.tasks import Task

OTHER = "other"


@dataclass(frozen=True)
class EdgeInspection:
    """What one edge does. All effects are metric with the edge minus metric without it.

    Attributes:
        edge: the edge.
        state: "kept", "removed" or "untested" in the circuit.
        effect: in the finished circuit: circuit with the edge minus circuit without it, the rest of
            the circuit as it is.
        effect_when_decided: when the search tested the edge; NaN if it did not, or screened it.
        effect_alone: in the full model, with no other edge removed.
        by_position: effect of the edge at one position label alone (index: labels and "rest", all
            other positions), the rest of the circuit as it is.
        whole_effect: of the edge at all positions together. The labels' effects add up to it only
            if they do not interact. On a circuit without positions it is `effect`.
        by_prompt: `effect` per prompt (index: prompt number).
        attention: for the heads at both ends, keys "sender" and "receiver": mean attention over
            prompts in the clean run from each label (rows) to each label and "other" (columns).
    """

    edge: Edge
    state: str
    effect: float
    effect_when_decided: float
    effect_alone: float
    by_position: pd.Series
    whole_effect: float
    by_prompt: pd.Series
    attention: Mapping[str, pd.DataFrame]

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
    check_found_here(engine, circuit, "the circuit")
    effects, by_position, whole = (
        _effects_with_positions(engine, circuit, edge)
        if engine.graph.labels
        else _effects(engine, circuit, edge)
    )
    alone = engine.graph.mask_of([edge])
    alone_value = mean_metric(evaluate_removed(engine, [RemovedEdges(alone)])[0])
    decided = [step.effect for step in circuit.decisions if step.edge == edge and not step.screened]
    return EdgeInspection(
        edge=edge,
        state=state_of(circuit, edge),
        effect=effects.mean().item(),
        effect_when_decided=decided[0] if decided else math.nan,
        effect_alone=engine.full_metric - alone_value,
        by_position=pd.Series(by_position, name="effect").rename_axis("position"),
        whole_effect=whole,
        by_prompt=pd.Series(effects.tolist(), name="effect").rename_axis("prompt"),
        attention={
            end: attention_by_label(engine, node)
            for end, node in (("sender", edge.sender), ("receiver", edge.receiver.node))
            if node.kind == "head"
        },
    )


def _effects(
    engine: Engine, circuit: Circuit, edge: Edge
) -> tuple[torch.Tensor, dict[str, float], float]:
    """Effect by prompt, by position label, and at all positions, which is the effect itself."""
    with_edge, without_edge = circuit.removed_mask.copy(), circuit.removed_mask.copy()
    cell, places = engine.graph.cell(edge), engine.task.position_masks
    with_edge[cell], without_edge[cell] = False, True
    at_places = [
        RemovedEdges(with_edge, (edge, mask.to(engine.weights.device))) for mask in places.values()
    ]
    removed = [RemovedEdges(with_edge), RemovedEdges(without_edge), *at_places]
    evaluated = evaluate_removed(engine, removed).double()
    effects = evaluated[0] - evaluated[1:]
    means = effects.mean(1).tolist()
    return effects[0], dict(zip(places, means[1:], strict=True)), means[0]


def _effects_with_positions(
    engine: Engine, circuit: Circuit, edge: Edge
) -> tuple[torch.Tensor, dict[str, float], float]:
    """The same where every position label has an edge of its own."""
    graph = engine.graph
    edges = [Edge(edge.sender, at) for at in graph.receivers_at(edge.receiver.at(None))]
    removed = []
    for switched in [*([each] for each in edges), edges]:
        cells = tuple(zip(*map(graph.cell, switched), strict=True))
        for gone in (False, True):
            mask = circuit.removed_mask.copy()
            mask[cells] = gone
            removed.append(RemovedEdges(mask))
    evaluated = evaluate_removed(engine, removed).double()
    effects = evaluated[::2] - evaluated[1::2]
    means = effects.mean(1).tolist()
    labels = [str(each.receiver.position) for each in edges]
    own = effects[edges.index(edge)]
    return own, dict(zip(labels, means[:-1], strict=True)), means[-1]


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
    kept = [step.edge for step in circuit.decisions if step.kept]
    circuits = [RemovedEdges(removed), *(RemovedEdges(removed, (edge, mask)) for edge in kept)]
    whole, *without = evaluate_removed(engine, circuits).double().mean(1).tolist()
    return {edge.id: whole - value for edge, value in zip(kept, without, strict=True)}


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


def attention_by_label(engine: Engine, head: Node) -> pd.DataFrame:
    """Mean attention of a head in the clean run, from each label (rows) to each label (columns).

    Labels that share a token in a prompt share its attention; "other" is what goes elsewhere.
    """
    masks = {
        label: mask.to(engine.weights.device) for label, mask in engine.task.position_masks.items()
    }
    elsewhere = masks.pop(REST)
    pattern = engine.clean_pattern(head)
    table = {}
    for label, queries in masks.items():
        # Of a span the mean over its tokens.
        weights = torch.einsum("nqk,nq->nk", pattern, queries / queries.sum(1, keepdim=True))
        keys = [*masks.values(), elsewhere]
        table[label] = [(weights * mask).sum(-1).mean().item() for mask in keys]
    return pd.DataFrame.from_dict(table, orient="index", columns=[*masks, OTHER])


def state_of(circuit: Circuit, edge: Edge) -> str:
    """What a search made of an edge: "kept", "removed", or "untested" as yet."""
    cell = circuit.graph.cell(edge)
    if circuit.removed_mask[cell]:
        return REMOVED
    return KEPT if circuit.kept_mask[cell] else UNTESTED
