"""From the names that people write, or read on the page, to the ids of nodes and edges.

`L8H6`, `A8.H6` and `8.6` are `a8.h6`; `MLP 3` is `m3`; `L8H6 → L9H9 q @ end` is
`a8.h6->a9.h9<q>@END`. Whether there is such a node or edge is not asked here.
"""

from __future__ import annotations

import re
from collections.abc import Collection

_NODE = re.compile(
    r"(?P<end>input|logits)|(?:mlp|m)\s*(?P<mlp>\d{1,6})"
    r"|[al]?\s*(?P<layer>\d{1,6})\s*(?:\.\s*h?|h)\s*(?P<head>\d{1,6})",
    re.IGNORECASE | re.ASCII,
)
_ARROW = re.compile("->|→")


def is_edge(name: str) -> bool:
    """Whether a name is an edge's, which has an arrow; if not, it is a node's."""
    return _ARROW.search(name) is not None


def node_id(name: str) -> str:
    """The id of the node that has this name; the name itself if none can have it."""
    match = _NODE.fullmatch(name.strip())
    if match is None:
        return name.strip()
    if match["end"]:
        return match["end"].lower()
    if match["mlp"]:
        return f"m{int(match['mlp'])}"
    return f"a{int(match['layer'])}.h{int(match['head'])}"


def ends_of(name: str, labels: Collection[str]) -> tuple[str, str]:
    """The ids of an edge's two ends, as far as they can be made out.

    Args:
        name: of the edge.
        labels: of positions, which may be written in another case.
    """
    arrow = _ARROW.search(name)
    if arrow is None:
        return node_id(name), ""
    return node_id(name[: arrow.start()]), _receiver_id(name[arrow.end() :], labels)


def _receiver_id(name: str, labels: Collection[str]) -> str:
    node, at, position = name.strip().partition("@")
    node, qkv = node.strip(), ""
    if node.endswith(">"):
        node, _, qkv = node[:-1].rpartition("<")
    elif node[-1:].lower() in ("q", "k", "v"):
        node, qkv = node[:-1], node[-1]
    qkv = f"<{qkv.strip().lower()}>" if qkv else ""
    return f"{node_id(node)}{qkv}{at}{_label(position.strip(), labels)}"


def _label(name: str, labels: Collection[str]) -> str:
    alike = [label for label in labels if label.casefold() == name.casefold()]
    return alike[0] if len(alike) == 1 and name not in labels else name
