"""What changes by hand do to a circuit, as HTML."""

from __future__ import annotations

import math
from html import escape

import pandas as pd

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.summary import hand_changes_in_words
from acdc_explorer.explorer.words import counted, plain, with_unit
from acdc_explorer.measures.by_prompt import ANSWER, WRONG_ANSWER

# What a circuit says next on one prompt, as searched and with changes: rows of `top_tokens`.
Tokens = tuple[pd.DataFrame, pd.DataFrame]
# Of the edges that were changed.
_NAMED = 4


def changes_html(circuit: Circuit, tokens: Tokens | None = None) -> str:
    """Which edges were changed, and what that does, before and after.

    Args:
        circuit: with changes by hand, or without: then there is nothing to say.
        tokens: what the circuit says next on the first prompt, once that is known.
    """
    if not circuit.by_hand:
        return ""
    searched = circuit.searched()
    named = [
        f"<code>{escape(each.edge.label)}</code> {'restored' if each.kept else 'removed'}"
        for each in circuit.by_hand[-_NAMED:]
    ]
    more = len(circuit.by_hand) - len(named)
    rows = [
        (
            escape(circuit.metric_name.replace("_", " ")),
            with_unit(plain(searched.metric_value), circuit.metric_unit),
            with_unit(plain(circuit.metric_value), circuit.metric_unit),
        ),
        ("faithfulness", _percent(searched.faithfulness), _percent(circuit.faithfulness)),
        ("edges", f"{len(searched.kept):,}", f"{len(circuit.kept):,}"),
        *(_token_rows(*tokens) if tokens else ()),
    ]
    table = "".join(
        f'<tr><th scope="row">{name}</th><td class="num">{before}</td>'
        f'<td class="num"><b>{after}</b></td></tr>'
        for name, before, after in rows
    )
    return (
        f'<div class="acdc-changes" role="status"><p><b>By hand: {hand_changes_in_words(circuit)}'
        f"</b> · {' · '.join(named)}{f' · and {more:,} more' if more else ''}</p>"
        f'<table><tr><th></th><th scope="col">as searched</th><th scope="col">now</th></tr>'
        f"{table}</table></div>"
    )


def waiting_html(n_changes: int) -> str:
    """That changes by hand are made once the search has ended."""
    return f"<p>{counted(n_changes, 'change')} by hand: made once the search has ended.</p>"


def _token_rows(before: pd.DataFrame, after: pd.DataFrame) -> list[tuple[str, str, str]]:
    """The best answer, the best wrong one and what comes first, with their probabilities."""
    rows = []
    for role in (ANSWER, WRONG_ANSWER):
        if not (before.role == role).any():
            # Every wrong answer is an answer too.
            continue
        # The best of each comes first.
        then, now = (of_run[of_run.role == role].iloc[0] for of_run in (before, after))
        tokens = " / ".join(dict.fromkeys((_token(then.token), _token(now.token))))
        rows.append(
            (f"{role} {tokens}", f"{100 * then.probability:.2g}%", f"{100 * now.probability:.2g}%")
        )
    said = _token(before.token.iloc[0]), _token(after.token.iloc[0])
    return [*rows, ("says first (prompt 0)", *said)]


def _token(token: object) -> str:
    return f"<code>{escape(str(token).strip() or repr(token))}</code>"


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{share:.1%}"
