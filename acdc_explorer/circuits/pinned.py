"""What of a circuit is enough to compare others with it: kept without its decisions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from acdc_explorer.checked_json import Value
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.files import graph_from, graph_to_json
from acdc_explorer.circuits.summary import named
from acdc_explorer.graph import Graph


@dataclass(frozen=True)
class PinnedCircuit:
    """The kept edges of a circuit and its score, to compare others with.

    It is as small as the circuit, where a `Circuit` has every decision of its search.

    Attributes:
        name: what the circuit is, in words: model, task, method and threshold.
        graph: nodes and edges of its model.
        effects: id of each kept edge -> its effect when it was decided, in the metric's units.
        faithfulness: of the circuit on its own prompts; NaN if there was none.
    """

    name: str
    graph: Graph
    effects: Mapping[str, float]
    faithfulness: float = math.nan

    @staticmethod
    def of(circuit: Circuit) -> PinnedCircuit:
        """What is to be kept of a circuit, changes by hand included."""
        effects = {edge.id: effect for edge, effect in circuit.kept_effects.items()}
        return PinnedCircuit(named(circuit), circuit.graph, effects, circuit.faithfulness)

    def to_dict(self) -> dict[str, Any]:
        """As plain values that JSON knows; `PinnedCircuit.from_dict` reads them."""
        score = None if math.isnan(self.faithfulness) else self.faithfulness
        return {
            "name": self.name,
            "model": graph_to_json(self.graph),
            "effects": dict(self.effects),
            "faithfulness": score,
        }

    @staticmethod
    def from_dict(data: Any) -> PinnedCircuit:
        """The circuit that `to_dict` made these values of.

        Args:
            data: of a file that anybody may have written.

        Raises:
            ValueError: naming the first value that is wrong, by its place.
        """
        value = Value(data)
        graph, score = graph_from(value["model"]), value["faithfulness"]
        effects = value["effects"]
        try:
            graph.mask_of(effects.mapping())
        except ValueError as error:
            raise ValueError(f"{effects.place}: {error}") from None
        return PinnedCircuit(
            value["name"].text(),
            graph,
            {edge_id: effects[edge_id].number() for edge_id in effects.mapping()},
            math.nan if score.data is None else score.number(),
        )

    def __repr__(self) -> str:
        n_edges = len(self.effects)
        return f"PinnedCircuit({self.name}, {n_edges:,} edge{'s' * (n_edges != 1)})"
