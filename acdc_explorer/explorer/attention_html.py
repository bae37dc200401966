"""Mean attention between position labels, as HTML."""

from __future__ import annotations

from html import escape

import pandas as pd


def attention_table(table: pd.DataFrame) -> str:
    """From rows to columns, as a heat map with numbers."""
    head = "".join(f'<th scope="col">{escape(str(column))}</th>' for column in table.columns)
    rows = []
    for label, weights in table.iterrows():
        cells = "".join(
            f'<td class="num" style="background:rgba(0,114,178,{0.6 * weight:.2f})">'
            f"{weight:.2f}</td>"
            for weight in weights
        )
        rows.append(f'<tr><th scope="row">{escape(str(label))}</th>{cells}</tr>')
    return (
        f'<table aria-label="attention"><tr><th>from ↓ to →</th>{head}</tr>{"".join(rows)}</table>'
    )
