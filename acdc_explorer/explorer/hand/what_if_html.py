"""What changes by hand do to a circuit, as HTML."""

from __future__ import annotations

import math
from html import escape

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.summary import hand_changes_in_words
from acdc_explorer.explorer.words import plain, with_unit

# Of the edges that were changed.
_NAMED = 4


def changes_html(circuit: Circuit) -> str:
    """Which edges were changed, and the metric and faithfulness before and after.

    Args:
        circuit: with changes by hand, or without: then there is nothing to say.
    """
    if not circuit.by_hand:
        return ""
    searched = circuit.searched()
    named = [
        f"<code>{escape(each.edge.label)}</code> {'restored' if each.kept else 'removed'}"
        for each in circuit.by_hand[-_NAMED:]
    ]
    more = len(circuit.by_hand) - len(named)
    rows = (
        (
            escape(circuit.metric_name.replace("_", " ")),
            with_unit(plain(searched.metric_value), circuit.metric_unit),
            with_unit(plain(circuit.metric_value), circuit.metric_unit),
        ),
        ("faithfulness", _percent(searched.faithfulness), _percent(circuit.faithfulness)),
        ("edges", f"{len(searched.kept):,}", f"{len(circuit.kept):,}"),
    )
    table = "".join(
        f'<tr><th scope="row">{name}</th><td class="num">{before}</td>'
        f'<td class="num"><b>{after}</b></td></tr>'
        for name, before, after in rows
    )
    return (
        f'<div class="acdc-changes" role="status"><p><b>By hand: {hand_changes_in_words(circuit)}'
        f"</b> · {' · '.join(named)}{f' · and {more:,} more' if more else ''}</p>"
        f"<table><tr><th></th><th>as searched</th><th>now</th></tr>{table}</table></div>"
    )


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{share:.1%}"
