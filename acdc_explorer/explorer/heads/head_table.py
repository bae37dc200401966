"""The table of the circuit's heads."""

from __future__ import annotations

import pandas as pd

from acdc_explorer.explorer.widgets.data_table import Column
from acdc_explorer.graph import Node

_SCORES = {
    "previous_token": ("prev.", "the token before"),
    "duplicate_token": ("dupl.", "the same token, earlier"),
    "induction": ("induct.", "the token that followed the same one, earlier"),
}


def head_columns(table: pd.DataFrame) -> list[Column]:
    """The columns of the table.

    Args:
        table: of `HeadDescriptions`.
    """
    numbers = {"kind": "number", "width": "62px"}
    largest = float(table.writes.abs().max()) if len(table) else 0.0
    suggestions = [
        Column(
            "suggestion",
            "perhaps",
            "A suggestion, from measured facts alone: the class of the literature whose rule the "
            "head meets (see ax.describe_heads)",
            [*table.suggestion],
            width="minmax(164px, 1fr)",
            facet="Perhaps",
        )
    ]
    return [
        Column(
            "label",
            "head",
            "The head: its layer and number",
            [Node.parse(head).label for head in table.index],
            width="64px",
        ),
        *(suggestions if table.suggestion.notna().any() else ()),
        Column(
            "facts",
            "what stands out",
            "Mean attention between labelled positions on clean prompts; what it writes; scores",
            [*table.facts],
            width="minmax(200px, 3fr)",
        ),
        Column(
            "writes",
            "writes",
            "What it adds to the logit difference directly (direct logit attribution), in logits, "
            "mean over clean prompts; on corrupted ones: see below, once it is chosen",
            [*table.writes],
            "number",
            "minmax(120px, 1fr)",
            signed=True,
            bar=max(largest, 1e-3),
            by_size=True,
        ),
        *(
            Column(
                name,
                label,
                f"On random tokens that come twice, mean attention to {to_what}",
                [*table[name]],
                **numbers,  # type: ignore[arg-type]
            )
            for name, (label, to_what) in _SCORES.items()
        ),
        Column("n_in", "in", "Kept edges into it", [*table.n_in], "number", "38px", whole=True),
        Column("n_out", "out", "Kept edges out of it", [*table.n_out], "number", "38px",
               whole=True),
    ]  # fmt: skip
