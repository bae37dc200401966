"""The shape of a model, where a file has no better place for it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from acdc_explorer.checked_json import Value, parse_json
from acdc_explorer.circuits.files import graph_from, graph_to_json
from acdc_explorer.graph import Graph
from acdc_explorer.names import ends_of

_HEAD, _MLP = re.compile(r"a(\d{1,4})\.h(\d{1,4})"), re.compile(r"m(\d{1,4})")
_NOT_TOLD = (
    "it does not say what model it is of: read it by `Circuit.from_file` with `graph=`, as that of "
    "a circuit of the same model; or give the command `convert` such a circuit by --like"
)


class UntoldModelError(ValueError):
    """A file does not say of what model it is, which a list of some edges need not."""


def graph_of_all_edges(names: Sequence[str]) -> Graph:
    """The graph whose edges are these, all of them.

    Args:
        names: of edges.

    Raises:
        UntoldModelError: if they are not all edges of any model.
    """
    ends = [ends_of(name, ()) for name in names]
    nodes = {sender for sender, _ in ends}
    heads = [match for node in nodes if (match := _HEAD.fullmatch(node))]
    receivers = {receiver for _, receiver in ends}
    labels = dict.fromkeys(
        label
        for _, receiver in ends
        if receiver[:1] != "l" and (label := receiver.partition("@")[2])
    )
    shape = {
        "n_layers": 1 + max((int(head[1]) for head in heads), default=-1),
        "n_heads": 1 + max((int(head[2]) for head in heads), default=-1),
        "has_mlps": any(_MLP.fullmatch(node) for node in nodes),
        "parallel": ("a0.h0", "m0") not in {(s, r.partition("@")[0]) for s, r in ends},
        "split_qkv": any("<" in receiver for receiver in receivers),
        "labels": list(labels),
    }
    shape["parallel"] = shape["parallel"] and shape["has_mlps"]
    try:
        graph = graph_from(Value(shape, "the model"))
    except ValueError:
        raise UntoldModelError(_NOT_TOLD) from None
    if graph.n_edges != len(names):
        raise UntoldModelError(_NOT_TOLD)
    return graph


def shape_text(graph: Graph, title: str) -> str:
    """A title and the shape of a model as one line of text, which `graph_of_text` reads."""
    return json.dumps({"title": title, "model": graph_to_json(graph)})


def graph_of_text(text: str | None, graph: Graph | None) -> Graph:
    """The graph of a text that `shape_text` made.

    Args:
        text: from a file of anybody, or None.
        graph: that is given instead of one, or None.

    Raises:
        UntoldModelError: if there is neither.
        ValueError: if the text's model is wrong.
    """
    try:
        data = parse_json(text or "")
    except ValueError:
        data = None
    if isinstance(data, dict) and "model" in data:
        return graph_from(Value(data)["model"])
    if graph is None:
        raise UntoldModelError(_NOT_TOLD)
    return graph
