"""EAP-IG's JSON: every edge with a score and whether it is in the graph (Hanna et al. 2024).

As `Graph.to_json` of github.com/hannamw/EAP-IG writes it: `cfg` with the model's shape, `nodes` and
`edges` by name, whose names are our ids. MIB's `importances.json` is such a file.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from acdc_explorer.checked_json import Value
from acdc_explorer.circuits.exchange.scores import EdgeScores
from acdc_explorer.circuits.files import graph_from
from acdc_explorer.circuits.imported import EdgeCollector, ImportedEdges
from acdc_explorer.graph import Graph

if TYPE_CHECKING:
    from acdc_explorer.circuits.circuit import Circuit


def is_eap_ig(data: Any) -> bool:
    """Whether JSON is of this format."""
    return isinstance(data, dict) and "cfg" in data and "edges" in data


def read_eap_ig(data: Any, origin: str, **names: str) -> ImportedEdges:
    """Reads the JSON of a graph.

    Args:
        data: of the file.
        origin: the file, in words.
        names: `model_name` and `task_name`, where they are known.

    Raises:
        ValueError: naming the value that is wrong; or if the graph keeps some neurons of a node
            alone.
    """
    value = Value(data)
    graph = graph_of_cfg(value["cfg"])
    collector, edges = EdgeCollector(graph), value["edges"]
    for name in edges.mapping():
        edge = edges[name]
        collector.add(name, edge["score"], kept=edge["in_graph"].truth())
    nodes = value.get("nodes", {})
    for name in {name.partition("->")[0] for name in collector.kept} & nodes.mapping().keys():
        neurons = nodes[name].get("neurons", None)
        if neurons.data is not None and not all(item.data for item in neurons.items()):
            raise by_neuron(name)
    return ImportedEdges(origin, graph, tuple(collector.kept), collector.scores, **names)


def write_eap_ig(circuit: Circuit, scores: EdgeScores) -> str:
    """The JSON text of a circuit, which EAP-IG's `Graph.from_json` reads.

    Args:
        circuit: without positions, of a model whose blocks have MLPs, with q, k and v apart.
        scores: of its edges.

    Raises:
        ValueError: if EAP-IG has no such graphs.
    """
    graph, kept = circuit.graph, circuit.kept_mask
    check_eap_ig_has(graph)
    values, is_kept = scores.matrix[graph.edge_mask], kept[graph.edge_mask]
    nodes = {}
    for node in graph.nodes:
        column = graph.sender_index.get(node)
        writes = column is not None and bool(kept[:, column].any())
        # EAP-IG has the logits in every graph.
        nodes[node.id] = {"in_graph": writes or column is None}
    edges = {
        edge_id: {"score": score, "in_graph": in_graph}
        for edge_id, score, in_graph in zip(
            graph.edge_ids, values.tolist(), is_kept.tolist(), strict=True
        )
    }
    return json.dumps({"cfg": cfg_of(graph), "nodes": nodes, "edges": edges})


def graph_of_cfg(cfg: Value) -> Graph:
    """The graph of a `cfg`.

    Raises:
        ValueError: naming the value that is wrong; or if the graph were too big for memory.
    """
    shape = {
        "n_layers": cfg["n_layers"].data,
        "n_heads": cfg["n_heads"].data,
        "parallel": cfg.get("parallel_attn_mlp", False).data,
    }
    return graph_from(Value(shape, "cfg"))


def cfg_of(graph: Graph) -> dict[str, Any]:
    """The `cfg` of a graph. Its `d_model` counts neurons, of which there are none: 0."""
    return {
        "n_layers": graph.n_layers,
        "n_heads": graph.n_heads,
        "parallel_attn_mlp": graph.parallel,
        "d_model": 0,
    }


def by_neuron(node: str) -> ValueError:
    """The error for a graph that keeps an edge from a node without some of its neurons."""
    return ValueError(f"it keeps some neurons of {node} alone; circuits here have whole nodes")


def check_eap_ig_has(graph: Graph) -> None:
    """Raises a ValueError if EAP-IG has no graphs like this one."""
    reasons = {
        "their edges are of all positions, and this circuit's are by position": bool(graph.labels),
        "every block has an MLP, and this model has none": not graph.has_mlps,
        "every head has q, k and v, and here it is one receiver": not graph.split_qkv,
    }
    for reason, is_so in reasons.items():
        if is_so:
            raise ValueError(f"EAP-IG has no such graphs: {reason}")
