"""What stands above the edge table, as HTML; pure functions."""

from __future__ import annotations

from html import escape

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.explorer.table.edge_rows import ALL, EdgeRows
from acdc_explorer.explorer.words import counted

NO_CIRCUIT = "<p>No circuit yet. Its edges will stand here, one in a row.</p>"


def summary_html(circuit: Circuit, rows: EdgeRows, state: str) -> str:
    """How many edges there are, what can be done here, and what does not fit.

    Args:
        circuit: that is shown.
        rows: of the table.
        state: of the edges that were asked for.
    """
    n_kept, n_removed = int(circuit.kept_mask.sum()), int(circuit.removed_mask.sum())
    n_untested = circuit.graph.n_edges - n_kept - n_removed
    untested = f", {n_untested:,} untested" if n_untested else ""
    told = (
        f"<p><b>{n_kept:,}</b> kept, {n_removed:,} removed{untested} of the model's "
        f"{counted(circuit.graph.n_edges, 'edge')}. Click a row, or go along the rows by the arrow "
        "keys, to select its edge in the graph; check rows to remove or restore several.</p>"
    )
    n_shown = len(rows.edges)
    if rows.n_of_state <= n_shown:
        return told
    of_state = f"{rows.n_of_state:,} {'' if state == ALL else f'{escape(state)} '}edges"
    if rows.n_found == rows.n_of_state:
        return (
            f"{told}<p class='acdc-muted'>Here are the {n_shown:,} of {of_state} that have the "
            "largest effect. What you type is looked for among all of them.</p>"
        )
    largest = f"; here are the {n_shown:,} with the largest effect" * (n_shown < rows.n_found)
    return (
        f"{told}<p class='acdc-muted'>{rows.n_found:,} of {of_state} match what you typed"
        f"{largest}.</p>"
    )
