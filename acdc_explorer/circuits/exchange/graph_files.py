"""GraphML and GEXF: the kept edges as a graph, for Gephi, Cytoscape, yEd and networkx.

Nodes are ids with `kind`, `layer` and `head`; edges have `id`, `qkv`, `position` and `score`. The
graph's name says what it is and the model's shape, so that the file can be read again.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

import networkx as nx

from acdc_explorer.checked_json import Value
from acdc_explorer.circuits.exchange.scores import EdgeScores
from acdc_explorer.circuits.exchange.shapes import graph_of_text, shape_text
from acdc_explorer.circuits.imported import EdgeCollector, ImportedEdges
from acdc_explorer.circuits.summary import named
from acdc_explorer.graph import Graph

if TYPE_CHECKING:
    from acdc_explorer.circuits.circuit import Circuit


def is_graphml(text: str) -> bool:
    """Whether a text is GraphML."""
    return "<graphml" in text[:4000]


def is_gexf(text: str) -> bool:
    """Whether a text is GEXF."""
    return "<gexf" in text[:4000]


def read_graphml(text: str, origin: str, graph: Graph | None) -> ImportedEdges:
    """Reads GraphML.

    Args:
        text: of the file.
        origin: the file, in words.
        graph: of the model, where the file does not say it; else None.

    Raises:
        ValueError: naming the edge that is wrong, or if the file is no GraphML.
    """
    return _read(nx.parse_graphml, text, origin, graph)


def read_gexf(text: str, origin: str, graph: Graph | None) -> ImportedEdges:
    """Reads GEXF; as `read_graphml`."""
    return _read(lambda text: nx.read_gexf(io.BytesIO(text.encode())), text, origin, graph)


def write_graphml(circuit: Circuit, scores: EdgeScores) -> str:
    """The kept edges of a circuit as GraphML.

    Args:
        circuit: any.
        scores: of its edges.
    """
    return "\n".join(nx.generate_graphml(_scored_graph(circuit, scores))) + "\n"


def write_gexf(circuit: Circuit, scores: EdgeScores) -> str:
    """The kept edges of a circuit as GEXF.

    Args:
        circuit: any.
        scores: of its edges.
    """
    return "\n".join(nx.generate_gexf(_scored_graph(circuit, scores))) + "\n"


def _scored_graph(circuit: Circuit, scores: EdgeScores) -> nx.MultiDiGraph:
    result, graph = circuit.to_networkx(), circuit.graph
    # GEXF knows no other attribute of a whole graph.
    result.graph = {"name": shape_text(graph, named(circuit))}
    for _, _, data in result.edges(data=True):
        # The decision's effect is told by the score.
        del data["effect"]
        data["score"] = float(scores.matrix[graph.cell(graph.parse_edge(data["id"]))])
    return result


def _read(
    parse: Callable[[str], nx.Graph], text: str, origin: str, graph: Graph | None
) -> ImportedEdges:
    if "\0" in text:
        # As text of two bytes a letter, which XML would be read as, entities and all.
        raise ValueError("it has zero bytes, which no text in UTF-8 has")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError("it defines XML entities, which circuits need none of")
    try:
        found = parse(text)
    except Exception as error:
        # networkx takes for granted that a file is as it should be, and fails in many ways.
        raise ValueError(f"it is no graph that networkx reads ({error})") from None
    graph = graph_of_text(found.graph.get("name"), graph)
    collector = EdgeCollector(graph)
    for sender, receiver, data in found.edges(data=True):
        # `Circuit.to_networkx` has effects.
        name = next((name for name in ("score", "effect") if name in data), None)
        score = None if name is None else Value(data[name], name)
        collector.add(_edge_name(str(sender), str(receiver), data), score, kept=True)
    return ImportedEdges(origin, graph, tuple(collector.kept), collector.scores)


def _edge_name(sender: str, receiver: str, data: dict[str, object]) -> str:
    """What an edge is called: by its `id` if that is an edge's, else by its ends."""
    told = data.get("id")
    if isinstance(told, str) and "->" in told:
        return told
    qkv = f"<{data['qkv']}>" if data.get("qkv") else ""
    at = f"@{data['position']}" if data.get("position") else ""
    return f"{sender}->{receiver}{qkv}{at}"
