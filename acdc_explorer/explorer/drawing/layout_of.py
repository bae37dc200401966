"""Which layout a circuit is drawn in, by what the user wants to see."""

from __future__ import annotations

from collections.abc import Sequence

from acdc_explorer.explorer.drawing.closed_groups import ClosedGroups
from acdc_explorer.explorer.drawing.layout import LayerLayout, Layout, PositionLayout
from acdc_explorer.explorer.drawing.shown import Shown
from acdc_explorer.explorer.drawing.traces import column_name
from acdc_explorer.graph import Edge, Node
from acdc_explorer.runner.state import Snapshot


def layout_of(
    snapshot: Snapshot,
    edges: Sequence[Edge],
    selected: Edge | Node | None,
    shown: Shown,
    columns: str,
    closed: ClosedGroups,
) -> Layout:
    """Where things lie; folded once the search has ended, lest nodes move while it runs.

    Args:
        snapshot: with a circuit and its task.
        edges: to draw.
        selected: what must be seen as well, or None.
        shown: what the user wants to see.
        columns: "heads" or "positions"; the latter for a circuit with positions.
        closed: groups that are drawn as one node.
    """
    circuit, task = snapshot.circuit, snapshot.task
    assert circuit is not None
    assert task is not None
    is_folded = circuit.complete and shown.folded
    if circuit.graph.labels and columns == "positions":
        names = {label: column_name(label, snapshot.tokens) for label in task.label_order}
        opened = shown.opened if is_folded else None
        return PositionLayout(circuit.graph, edges, names, task.sees, opened, closed)
    ends = [*edges, *([selected] if isinstance(selected, Edge) else [])]
    used = {node for edge in ends for node in (edge.sender, edge.receiver.node)}
    used |= {selected} if isinstance(selected, Node) else set()
    return LayerLayout(circuit.graph, used if is_folded else None, shown.opened, closed)
