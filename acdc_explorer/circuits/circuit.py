"""A circuit: every edge with its state and effect, the decisions that led to it, and its file."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd

from acdc_explorer.checked_json import Value, parse_json, read_json
from acdc_explorer.circuits.by_hand import HandChange, switch
from acdc_explorer.circuits.connected import on_paths
from acdc_explorer.circuits.exchange.reading import read_content, read_file
from acdc_explorer.circuits.files import check_format, circuit_fields, circuit_to_dict
from acdc_explorer.circuits.imported import ImportedEdges
from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.circuits.steps import DecisionArrays, EdgeStep, ReceiverStep, Step
from acdc_explorer.circuits.summary import summary_of
from acdc_explorer.circuits.tables import edge_table, kept_graph
from acdc_explorer.files import write_text
from acdc_explorer.graph import Edge, Graph


@dataclass(frozen=True)
class Circuit:
    """The result of a search, finished or not; or what another tool's file has of a circuit.

    One class: most of its length says what its few columns and numbers mean.

    Attributes:
        model_name: of the model.
        task_name: of the task.
        task_options: how the prompts were made, as far as known.
        graph: nodes and edges of the model.
        settings: threshold, rule, order, ablation.
        metric_name: of the metric.
        full_metric: of the clean run, no edge removed; mean over prompts.
        corrupted_metric: with every edge removed.
        metric_value: of the circuit: the full model without the removed edges. NaN while another
            search than ACDC is under way, since it removes nothing until it ends.
        steps: every step of the search so far, in order.
        complete: whether the search came to its end.
        metric_unit: of the metric's values, for display; may be empty.
        higher_is_better: the metric's direction: whether a fall does damage.
        by_hand: edges that were removed or restored by hand since, see `acdc_explorer.edit`. What
            is kept and removed, and `metric_value`, are with these; `steps`, `decisions` and
            `valid_interval` are of the search.
        metric_as_searched: the metric before these changes; None if there are none, or it was NaN.
        imported: the edges of another tool's file, from which the circuit came instead of from a
            search; then there are no steps, the threshold and all metrics are NaN, and effects are
            the file's scores.
    """

    model_name: str
    task_name: str
    task_options: Mapping[str, Any]
    graph: Graph
    settings: SearchSettings
    metric_name: str
    full_metric: float
    corrupted_metric: float
    metric_value: float
    steps: Sequence[Step] = field(repr=False)
    complete: bool = True
    metric_unit: str = ""
    higher_is_better: bool = True
    by_hand: tuple[HandChange, ...] = ()
    metric_as_searched: float | None = None
    imported: ImportedEdges | None = None

    def searched(self) -> Circuit:
        """The circuit as the search left it, without changes by hand."""
        if not self.by_hand:
            return self
        value = math.nan if self.metric_as_searched is None else self.metric_as_searched
        return replace(self, metric_value=value, by_hand=(), metric_as_searched=None)

    @property
    def threshold(self) -> float:
        """In the metric's units."""
        return self.settings.threshold

    @property
    def lacks(self) -> str:
        """What a circuit of another tool's file lacks, in a sentence; empty: nothing."""
        return self.imported.lacks if self.imported else ""

    @cached_property
    def decisions(self) -> tuple[EdgeStep, ...]:
        """The tested and the screened edges, in the order of the search."""
        return tuple(step for step in self.steps if isinstance(step, EdgeStep))

    @cached_property
    def decision_arrays(self) -> DecisionArrays:
        """The same as arrays."""
        return DecisionArrays.of(self.graph, self.decisions)

    @cached_property
    def kept_effects(self) -> dict[Edge, float]:
        """Of the kept edges, in the order of the tests, the effects that these found; or scores.

        Last come edges that the search removed untested and that were restored by hand: 0.
        """
        if self.imported:
            told = self.imported.kept_scores()
        else:
            told = {step.edge: step.effect for step in self.decisions}
        is_kept, cell = self.kept_mask, self.graph.cell
        effects = {edge: effect for edge, effect in told.items() if is_kept[cell(edge)]}
        restored = (change.edge for change in self.by_hand if change.kept)
        return effects | {edge: 0.0 for edge in restored if edge not in effects}

    @cached_property
    def kept(self) -> list[str]:
        """Ids of the kept edges, in the order of the tests."""
        return [edge.id for edge in self.kept_effects]

    @cached_property
    def removed(self) -> list[str]:
        """Ids of the removed edges, tested or not, in the order of `edges`."""
        return self.graph.ids_of(self.removed_mask)

    @cached_property
    def removed_mask(self) -> np.ndarray:
        """Boolean [n_receivers, n_senders]: the edges that are removed, tested or not."""
        mask = self.decision_arrays.mask(self.graph, ~self.decision_arrays.kept)
        if self.imported:
            mask = self.graph.edge_mask & ~self.imported.kept_mask
        for step in self.steps:
            if isinstance(step, ReceiverStep) and not step.live:
                row = self.graph.receiver_index[step.receiver]
                mask[row] = self.graph.edge_mask[row]
        return switch(mask, self.graph, self.by_hand, kept=False)

    @cached_property
    def kept_mask(self) -> np.ndarray:
        """Boolean [n_receivers, n_senders]: the edges that are kept."""
        mask = self.decision_arrays.mask(self.graph, self.decision_arrays.kept)
        if self.imported:
            mask = self.imported.kept_mask.copy()
        return switch(mask, self.graph, self.by_hand, kept=True)

    @cached_property
    def connected_mask(self) -> np.ndarray:
        """Boolean [n_receivers, n_senders]: the kept edges on a path from `input` to the logits.

        A path is one of kept edges, from node to node: what a node writes is taken to depend on all
        that it reads, through any of its inputs and at any position. For a key or value read at one
        position label is used by the queries of later ones, so that labels need not agree along a
        path.

        ACDC goes from the logits backwards, so only at its end is it known which edges the input
        reaches. An edge that it does not reach carries nothing of the clean prompt.
        """
        return on_paths(self.graph, self.kept_mask)

    def connected(self) -> list[str]:
        """Ids of the kept edges on a path from `input` to the logits, in the order of the tests.

        See `connected_mask`.
        """
        mask, cell = self.connected_mask, self.graph.cell
        return [edge.id for edge in self.kept_effects if mask[cell(edge)]]

    @cached_property
    def n_screened(self) -> int:
        """How many edges went by their predicted change, without a test of their own."""
        return sum(step.screened for step in self.decisions)

    @property
    def n_tested(self) -> int:
        """How many edges were tested, each by itself."""
        return len(self.decisions) - self.n_screened

    @property
    def faithfulness(self) -> float:
        """(circuit - corrupted) / (full - corrupted): 1 for the full model, NaN if equal."""
        span = self.full_metric - self.corrupted_metric
        return (self.metric_value - self.corrupted_metric) / span if span else math.nan

    @cached_property
    def valid_interval(self) -> tuple[float, float]:
        """The thresholds (low, high] for which every decision is the same, in the metric's units.

        The ends are float32 values, good to about 1e-6 of the metric's size; where edges were
        screened, predictions count among them. NaN without a search.
        """
        if self.imported:
            return math.nan, math.nan
        tested = self.decision_arrays
        changes = self.settings.change(
            tested.before, tested.after, self.full_metric, self.higher_is_better
        )
        return (
            float(changes[~tested.kept].max(initial=0.0)),
            float(changes[tested.kept].min(initial=math.inf)),
        )

    def change_of(self, step: EdgeStep) -> float:
        """The number by which an edge was decided: it stays if this reaches the threshold."""
        return self.settings.change(
            step.before, step.after, self.full_metric, self.higher_is_better
        )

    @cached_property
    def edges(self) -> pd.DataFrame:
        """One row per edge of the model.

        Columns: edge, sender, receiver (ids), qkv ("q", "k", "v" or None), position (the label at
        which the receiver reads; None: all positions),
        state ("kept", "removed", "untested"), effect (metric before - after when it was tested; 0
        for edges removed untested because nothing downstream of them is kept; NaN if untested),
        order (of the test, from 0), before, after (the metric), borderline (decided in float64),
        screened (went by its predicted change; effect, before and after are then predictions),
        connected (kept, and on a path from `input` to the logits, see `connected_mask`; while a
        search is under way, a path of what it has kept so far: as ACDC goes backwards, hardly any),
        by_hand (removed or restored by hand; effect, before and after are still the search's).
        """
        return edge_table(self)

    def to_networkx(self) -> nx.MultiDiGraph:
        """The kept edges as a graph.

        Nodes are ids with `kind`, `layer`, `head`; parallel edges (one head into another's q, k and
        v) are told apart by their key, "q", "k", "v" or "other", or with positions the receiver's
        id; edges carry `id`, `effect`, and `qkv` and `position` where they have them. All is of
        types that networkx can write to a file.
        """
        return kept_graph(self)

    def to_dict(self) -> dict[str, Any]:
        """The circuit with all its decisions, as plain values; `Circuit.from_dict` reads them."""
        return circuit_to_dict(self)

    def to_json(self) -> str:
        """The circuit with all its decisions as JSON text, as `save` writes it: a step a line."""
        data = self.to_dict()
        steps = ",\n  ".join(map(json.dumps, data.pop("steps")))
        return f'{json.dumps(data, indent=1)[:-2]},\n "steps": [\n  {steps}\n ]\n}}\n'

    @staticmethod
    def from_dict(data: Any) -> Circuit:
        """The circuit that `to_dict` made these values of.

        Raises:
            ValueError: naming the first value that is wrong, by its place.
        """
        return circuit_from(Value(data))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the circuit with all its decisions as JSON (`Circuit.load` reads it).

        Raises:
            ValueError: if the path is a folder's, or nothing can be written there.
        """
        write_text(path, self.to_json())

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Circuit:
        """Reads a circuit from a file.

        Raises:
            FileNotFoundError: if there is none.
            ValueError: if it is no circuit file, is damaged, or is of a newer version.
        """
        return _read(lambda: read_json(path), str(path))

    @staticmethod
    def from_file(
        path: str | os.PathLike[str], graph: Graph | None = None, top_n: int | None = None
    ) -> Circuit:
        """Reads a circuit from a file, other tools' included; the format is told by the content.

        Files of other tools (see `export_circuit`) have edges, and maybe scores, but no decisions
        of a search: what such a circuit `lacks` is said there.

        Args:
            path: of a file, or of a folder as the MIB benchmark has it.
            graph: of the model that the circuit has to be of, as another circuit's `graph`; None:
                whatever the file says. A list of edges does not say it, and needs it.
            top_n: keeps so many edges of the largest |score| instead of those that the file keeps.

        Raises:
            FileNotFoundError: if there is none.
            ValueError: if it is none of these files or too large, is of a model of another shape,
                has unknown edges, edges twice, or scores that are no finite numbers.
        """
        return _made_of(read_file(path, graph, top_n), str(path))

    @staticmethod
    def from_content(content: bytes, name: str, graph: Graph | None = None) -> Circuit:
        """As `from_file`, of what is in a file.

        Args:
            content: of the file.
            name: of the file, for the errors.
            graph: as for `from_file`.
        """
        return _made_of(read_content(content, name, graph), name)

    @staticmethod
    def from_json(text: str, name: str = "the text") -> Circuit:
        """Reads a circuit from the text of its file.

        Args:
            text: as `to_json` makes it.
            name: of where it comes from, for the errors.

        Raises:
            ValueError: as `load`.
        """
        return _read(lambda: parse_json(text), name)

    def summary(self) -> str:
        """Where the circuit stands, in one line."""
        return summary_of(self)

    def __repr__(self) -> str:
        return f"Circuit({self.summary()})"


def _made_of(found: ImportedEdges | dict[str, Any], name: str) -> Circuit:
    if isinstance(found, ImportedEdges):
        return Circuit(**found.circuit_fields())
    return _read(lambda: found, name)


def _read(read: Callable[[], Any], name: str) -> Circuit:
    try:
        data = read()
    except ValueError as error:
        raise ValueError(f"{name!r} is no circuit file: {error}") from None
    check_format(data, name)
    try:
        return Circuit.from_dict(data)
    except ValueError as error:
        raise ValueError(f"{name!r} is a damaged circuit file: {error}") from None


def circuit_from(value: Value) -> Circuit:
    """A circuit from its file's JSON; raises a ValueError that names the first wrong value."""
    return Circuit(**circuit_fields(value))
