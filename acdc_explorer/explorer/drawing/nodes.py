"""How nodes look: those in the circuit, in the one it is compared with alone, and the others."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from html import escape

import numpy as np
import plotly.graph_objects as go

from acdc_explorer.circuits.groups import Group
from acdc_explorer.explorer.drawing.layout import Layout
from acdc_explorer.explorer.drawing.traces import NAN, node_text
from acdc_explorer.explorer.style import ONLY_THERE_COLOUR
from acdc_explorer.graph import Node

# Of larger models the nodes without a kept edge are left out; and of the edges that are still to be
# tested, of which there are more than can be told apart.
MANY_NODES = 100
UNSEEN = "rgba(0,0,0,0)"

# Around a node that stands for a group, as a share of it.
_RING = 1.3
# State -> size, as a share of a node in the circuit; fill, border.
LOOKS = {
    "in": (1.0, "#ffffff", "#555555"),
    "there": (0.85, "#ffffff", ONLY_THERE_COLOUR),
    "untested": (0.4, "#ffffff", "#9a9a9a"),
    "out": (0.22, "#9a9a9a", "#9a9a9a"),
}
SYMBOLS = {"head": "circle", "mlp": "square", "input": "diamond", "logits": "diamond"}
_SAID = {
    "in": "",
    "there": "<br>only in the other circuit",
    "untested": "<br>not tested yet",
    "out": "<br>no kept edge",
}


# Of the name above a group's node.
_LONGEST_NAME = 13


def draw_groups(trace: go.Scatter, layout: Layout) -> None:
    """Puts a ring around every node that stands for a closed group, and its name above.

    Args:
        trace: of the rings.
        layout: with the closed groups.
    """
    closed = layout.closed.at
    spots = [spot for spot in layout.spots if spot.node in closed]
    trace.x = np.array([spot.x for spot in spots] or [np.nan], dtype=np.float32)
    trace.y = np.array([spot.y for spot in spots] or [np.nan], dtype=np.float32)
    names = [closed[spot.node].name for spot in spots]
    trace.text = [
        name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…" for name in names
    ] or [""]
    trace.marker.size = _RING * layout.node_size


def _group_hover(group: Group) -> str:
    members = ", ".join(node.label for node in group.members)
    return f"<b>{escape(group.name)}</b>: {members}<br>click to open the group"


def draw_nodes(
    trace: go.Scatter, layout: Layout, states: Mapping[str, Collection[Node]]
) -> set[str]:
    """Draws the nodes of a circuit.

    Args:
        trace: of the nodes.
        layout: where they lie.
        states: "in", "there" and "untested" -> the nodes in the circuit, in the circuit that it is
            compared with, and those not decided yet; the first that has a node counts.

    Returns:
        The ids of the nodes that are none of these.
    """
    is_small = len(layout.spots) <= MANY_NODES
    seen = [
        (spot, next((state for state, nodes in states.items() if spot.node in nodes), "out"))
        for spot in layout.spots
    ]
    seen = [each for each in seen if is_small or each[1] != "out" or each[0].node.layer < 0]
    spots, state_of = [spot for spot, _ in seen], [state for _, state in seen]
    nodes = [spot.node for spot in spots]
    trace.x = np.array([spot.x for spot in spots], dtype=np.float32)
    trace.y = np.array([spot.y for spot in spots], dtype=np.float32)
    trace.customdata = [node.id for node in nodes]
    # Every node has a label and some are see-through: where labels become empty and full again,
    # Plotly loses some of them.
    closed = layout.closed.at
    trace.text = [
        f"×{len(closed[node].nodes)}" if node in closed else node_text(node) for node in nodes
    ]
    trace.textfont.color = [
        "#222222" if state in ("in", "there") and spot.node.layer >= 0 else UNSEEN
        for spot, state in seen
    ]
    trace.hovertext = [
        (_group_hover(closed[spot.node]) if spot.node in closed else spot.node.label)
        + (f" @ {escape(spot.label)}" if spot.label else "")
        + _SAID[state]
        for spot, state in seen
    ]
    looks = [LOOKS[state] for state in state_of]
    trace.marker.size = [share * layout.node_size for share, _, _ in looks]
    trace.marker.color = [fill for _, fill, _ in looks]
    trace.marker.line.color = [border for _, _, border in looks]
    trace.marker.symbol = [SYMBOLS[node.kind] for node in nodes]
    return {node.id for node, state in zip(nodes, state_of, strict=True) if state == "out"}


def draw_folds(trace: go.Scatter, layout: Layout) -> None:
    """Draws what stands for layers that are folded.

    Args:
        trace: of the folds.
        layout: where they lie.
    """
    folds = layout.rows.folds
    middle = sum(layout.x_range) / 2
    trace.x = np.array([middle for _ in folds] or NAN, dtype=np.float32)
    trace.y = np.array([fold.y for fold in folds] or NAN, dtype=np.float32)
    trace.text = [f"··· {fold.name} ···" for fold in folds] or [""]
    trace.hovertext = [f"{fold.name}: nothing kept; click to unfold" for fold in folds] or [""]
    trace.marker.size, trace.marker.color = 14, UNSEEN
    trace.marker.line.color = UNSEEN
    trace.textfont.color = "#767676"
