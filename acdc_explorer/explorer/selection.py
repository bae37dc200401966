"""What is selected, and how it is asked about: what the graph and the panel share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.engine.engine import Engine
from acdc_explorer.graph import Edge, Graph, Node
from acdc_explorer.models.model import Model

# As `Runner.ask`.
Ask = Callable[
    [Callable[[Model, Engine, Circuit], Any], Callable[[Any, Exception | None], None]], None
]


@dataclass(frozen=True)
class Selection:
    """What is selected: one edge or one node, by its id."""

    kind: Literal["edge", "node"]
    id: str

    @staticmethod
    def of(edge_id: str | None, node_id: str | None) -> Selection | None:
        """The selection of an edge, or else of a node, if there is one."""
        if edge_id is not None:
            return Selection("edge", edge_id)
        return None if node_id is None else Selection("node", node_id)

    def find(self, graph: Graph) -> Edge | Node:
        """The edge or node itself; raises a ValueError if the graph lacks it."""
        return graph.parse_edge(self.id) if self.kind == "edge" else graph.parse_node(self.id)
