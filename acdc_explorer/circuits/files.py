"""The parts of a circuit's file: graph, settings and steps, checked before anything is built."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from acdc_explorer.checked_json import Value, shown
from acdc_explorer.circuits.by_hand import changes_from, changes_to_json
from acdc_explorer.circuits.imported import ImportedEdges
from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.circuits.steps import EdgeStep, ReceiverStep, Step
from acdc_explorer.graph import Edge, Graph, Receiver, graph_of
from acdc_explorer.metrics import METRICS
from acdc_explorer.unknown_ids import unknown_receiver

if TYPE_CHECKING:
    from acdc_explorer.circuits.circuit import Circuit

FORMAT = "acdc_explorer.circuit"
# Version 2 added screened edges, version 3 changes by hand, version 4 circuits from files of other
# tools; older files have none.
VERSIONS = 1, 2, 3, 4
_MOST_LAYERS = 1000
_MOST_HEADS = 1000
_MOST_LABELS = 1000
# Cells of an edge matrix, one byte each; a model of 80 layers and 64 heads has 80 million.
_MOST_CELLS = 300_000_000


def is_version(value: Any) -> bool:
    """Whether this is a version of circuit files that can be read."""
    # True equals 1.
    return value in VERSIONS and not isinstance(value, bool)


def check_format(data: Any, name: str) -> None:
    """Raises a ValueError unless JSON is a circuit's, of a version that can be read.

    Args:
        data: of a file.
        name: of the file, for the error.
    """
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ValueError(
            f'{name!r} is no circuit file: it lacks "format": "{FORMAT}"; those of other tools are '
            "read by Circuit.from_file"
        )
    if not is_version(data.get("version")):
        raise ValueError(
            f"{name!r} is a circuit file of version {shown(data.get('version'))}; this "
            f"acdc_explorer reads versions {VERSIONS[0]} to {VERSIONS[-1]}"
        )


def circuit_to_dict(circuit: Circuit) -> dict[str, Any]:
    """A circuit as plain values; see `Circuit.to_dict`."""

    def number(value: float) -> float | None:
        return None if math.isnan(value) else value

    values = {
        "format": FORMAT,
        "version": VERSIONS[-1],
        "model": {"name": circuit.model_name, **graph_to_json(circuit.graph)},
        "task": {"name": circuit.task_name, "options": dict(circuit.task_options)},
        "settings": circuit.settings.as_dict(),
        "metric": {
            "name": circuit.metric_name,
            "unit": circuit.metric_unit,
            "higher_is_better": circuit.higher_is_better,
            "full": number(circuit.full_metric),
            "corrupted": number(circuit.corrupted_metric),
            "circuit": number(circuit.metric_value),
        },
        "complete": circuit.complete,
        "by_hand": {
            "changes": changes_to_json(circuit.by_hand),
            "metric_as_searched": circuit.metric_as_searched,
        },
        "steps": [step_to_json(step) for step in circuit.steps],
    }
    if circuit.imported:
        # There was no search.
        del values["settings"]
        values["imported"] = circuit.imported.to_dict()
    return values


def circuit_fields(value: Value) -> dict[str, Any]:
    """The arguments of `Circuit`, from its file's JSON.

    Raises:
        ValueError: naming the first value that is wrong, by its place.
    """
    if value["format"].data != FORMAT or not is_version(value["version"].data):
        raise value.error(f'a circuit, with "format": "{FORMAT}" and "version": {VERSIONS[-1]}')
    graph = graph_from(value["model"])
    has_imported = "imported" in value
    imported = ImportedEdges.from_value(value["imported"], graph) if has_imported else None
    metric = value["metric"]
    name = metric["name"].text()
    # Files of before the direction was saved can only be of one of these, or of a function.
    known = METRICS.get(name)
    higher_is_better = known.higher_is_better if known else True
    by_hand = value.get("by_hand", {"changes": [], "metric_as_searched": None})
    before = by_hand["metric_as_searched"]

    def number(name: str, *, known: bool) -> float:
        return math.nan if metric[name].data is None and not known else metric[name].number()

    fields_found = {
        "model_name": value["model"]["name"].text(),
        "task_name": value["task"]["name"].text(),
        "task_options": value["task"]["options"].mapping(),
        "graph": graph,
        "metric_name": name,
        "full_metric": number("full", known=imported is None),
        "corrupted_metric": number("corrupted", known=imported is None),
        "steps": steps_from(value["steps"], graph),
        "complete": value["complete"].truth(),
        "metric_value": number("circuit", known=False),
        "metric_unit": metric.get("unit", known.unit if known else "").text(),
        "higher_is_better": metric.get("higher_is_better", higher_is_better).truth(),
        "by_hand": changes_from(by_hand["changes"], graph),
        "metric_as_searched": None if before.data is None else before.number(),
    }
    if imported is None:
        return {**fields_found, "settings": settings_from(value["settings"])}
    return {**imported.circuit_fields(), **fields_found}


def step_to_json(step: Step) -> list[Any]:
    """A step as plain values: [receiver, live], or [edge, before, after, kept, borderline].

    With a last value, true, for a screened edge.
    """
    if isinstance(step, ReceiverStep):
        return [step.receiver.id, step.live]
    values = [step.edge.id, step.before, step.after, step.kept, step.borderline]
    return [*values, True] if step.screened else values


def graph_to_json(graph: Graph) -> dict[str, Any]:
    """A graph as a file's "model" has it, beside the model's name."""
    return {
        "n_layers": graph.n_layers,
        "n_heads": graph.n_heads,
        "has_mlps": graph.has_mlps,
        "parallel": graph.parallel,
        "split_qkv": graph.split_qkv,
        "labels": list(graph.labels),
    }


def graph_from(model: Value) -> Graph:
    """The graph of a file's "model".

    Raises:
        ValueError: naming the value that is wrong; or if the graph were too big for memory, which
            is told from the numbers alone.
    """
    n_layers = model["n_layers"].whole(1, _MOST_LAYERS)
    n_heads = model["n_heads"].whole(1, _MOST_HEADS)
    has_mlps = model.get("has_mlps", True).truth()
    parallel = model.get("parallel", False).truth()
    split_qkv = model.get("split_qkv", True).truth()
    labels = _labels_from(model.get("labels", []))
    n_senders = 1 + n_layers * (n_heads + has_mlps)
    n_inputs = 1 + n_layers * (n_heads * (3 if split_qkv else 1) + has_mlps)
    n_cells = n_senders * n_inputs * max(1, len(labels))
    if n_cells > _MOST_CELLS:
        raise ValueError(
            f"{model.place}: {n_layers} layers of {n_heads} heads with {len(labels)} labels need "
            f"an edge matrix of {n_cells:,} cells; at most {_MOST_CELLS:,} are allowed"
        )
    return graph_of(n_layers, n_heads, has_mlps, parallel, split_qkv, labels)


def _labels_from(value: Value) -> tuple[str, ...]:
    labels = tuple(item.text() for item in value.items())
    if len(labels) > _MOST_LABELS or len(set(labels)) < len(labels) or "" in labels:
        raise value.error(f"a list of at most {_MOST_LABELS} different texts, none empty")
    return labels


def settings_from(value: Value) -> SearchSettings:
    """The settings of a file.

    Raises:
        ValueError: naming the value that is wrong.
    """
    found = value.fields([field.name for field in fields(SearchSettings)])
    # Those that older files lack have defaults.
    read: dict[str, Any] = {
        "threshold": value["threshold"].number(positive=True),
        "threshold_text": value["threshold_text"].text(),
    }
    for name in found.keys() - read.keys():
        setting = found[name]
        if name == "order_seed":
            read[name] = setting.whole(0)
        elif name == "screen":
            read[name] = setting.number()
        else:
            read[name] = setting.text()
    try:
        return SearchSettings(**read)
    except ValueError as error:
        raise ValueError(f"{value.place}: {error}") from None


def steps_from(value: Value, graph: Graph) -> tuple[Step, ...]:
    """The steps of a file.

    Each edge comes after the step of the receiver that it leads into, and before the next
    receiver's.

    Raises:
        ValueError: naming the step that is wrong.
    """
    reader = _StepReader(graph)
    return tuple(reader.read(item) for item in value.items())


class _StepReader:
    """Reads steps one after the other and keeps in mind which came before."""

    def __init__(self, graph: Graph):
        self._graph = graph
        self._receivers = {receiver.id: receiver for receiver in graph.receivers}
        self._senders = {sender.id: number for number, sender in enumerate(graph.senders)}
        self._visited: set[Receiver] = set()
        # The receiver whose edges come now, and the senders of those that came already.
        self._now: ReceiverStep | None = None
        self._tested: set[int] = set()

    def read(self, item: Value) -> Step:
        """The next step."""
        if isinstance(item.data, list) and len(item.data) == 2:
            return self._receiver_step(item, *item.data)
        if isinstance(item.data, list) and len(item.data) in (5, 6):
            return self._edge_step(item, *item.data)
        raise item.error("[receiver, live] or [edge, before, after, kept, borderline, screened]")

    def _receiver_step(self, item: Value, receiver_id: Any, live: Any) -> ReceiverStep:
        name = Value(receiver_id, ".receiver", item).text()
        receiver = self._receivers.get(name)
        if receiver is None:
            raise ValueError(f"{item.place}: {unknown_receiver(self._graph, name)}")
        if receiver in self._visited:
            raise ValueError(f"{item.place}: {receiver.id} comes a second time")
        self._visited.add(receiver)
        self._now = ReceiverStep(receiver, Value(live, ".live", item).truth())
        self._tested = set()
        return self._now

    def _edge_step(
        self,
        item: Value,
        edge_id: Any,
        before: Any,
        after: Any,
        kept: Any,
        borderline: Any,
        screened: Any = False,
    ) -> EdgeStep:
        sender, receiver = self._ends(item, Value(edge_id, ".edge", item).text())
        if self._now is None or receiver != self._now.receiver or not self._now.live:
            where = "no receiver" if self._now is None else self._now.receiver.id
            live = "" if self._now is None or self._now.live else ", which is not live"
            raise ValueError(f"{item.place}: {edge_id} stands among the edges into {where}{live}")
        if sender in self._tested:
            raise ValueError(f"{item.place}: {edge_id} is tested a second time")
        self._tested.add(sender)
        return EdgeStep(
            Edge(self._graph.senders[sender], receiver),
            Value(before, ".before", item).number(),
            Value(after, ".after", item).number(),
            Value(kept, ".kept", item).truth(),
            Value(borderline, ".borderline", item).truth(),
            Value(screened, ".screened", item).truth(),
        )

    def _ends(self, item: Value, edge_id: str) -> tuple[int, Receiver]:
        """The number of an edge's sender, and its receiver."""
        # By the ids of its two ends: to take every id apart takes several times as long.
        sender_id, _, receiver_id = edge_id.partition("->")
        sender, receiver = self._senders.get(sender_id), self._receivers.get(receiver_id)
        if (
            sender is not None
            and receiver is not None
            and sender < self._graph.n_senders_to(receiver)
        ):
            return sender, receiver
        try:
            edge = self._graph.parse_edge(edge_id)
        except ValueError as error:
            raise ValueError(f"{item.place}: {error}") from None
        return self._graph.sender_index[edge.sender], edge.receiver
