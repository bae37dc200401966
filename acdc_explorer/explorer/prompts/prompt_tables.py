"""The two tables of the tab: the prompts, and what edges do on one of them."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.explorer.widgets.data_table import Column, Groups
from acdc_explorer.explorer.words import counted, smallest_effect
from acdc_explorer.measures.by_prompt import ByPrompt
from acdc_explorer.measures.measurement import percent

# By whether the full model is right, and whether the circuit is.
RESULTS = {
    (True, True): "✓ both right",
    (True, False): "✗ circuit fails",
    (False, False): "– both wrong",
    (False, True): "✓ circuit alone",
}


def prompt_columns(found: ByPrompt, rows: pd.DataFrame) -> list[Column]:
    """The columns of the table of prompts.

    Args:
        found: what was measured.
        rows: of its `prompts`, in the order in which they stand.
    """
    results = [RESULTS[pair] for pair in zip(rows.full_right, rows.circuit_right, strict=True)]
    templates = [
        Column(
            "template",
            "template",
            "From which the prompt was made, as far as its words tell",
            [*rows.template],
            width="minmax(150px, 1fr)",
            facet="Template",
        )
    ]
    told = {
        "full": "The metric of the full model",
        "circuit": "The metric of the circuit",
        "ablated": "The metric with every edge removed",
    }
    return [
        Column("number", "#", "The prompt's number", [*rows.index], "number", "46px", whole=True),
        Column("text", "prompt", "The clean prompt", [*rows.text], width="minmax(200px, 3.2fr)"),
        Column(
            "result",
            "result",
            "Whether the best answer is above all wrong ones: in the full model, in the circuit",
            results,
            width="122px",
            facet="Result",
        ),
        Column(
            "faithfulness",
            "faithful",
            "(circuit - ablated) / (full - ablated), of this prompt",
            [*rows.faithfulness],
            "number",
            "76px",
            percent=True,
        ),
        *(Column(name, name, told[name], [*rows[name]], "number", "70px") for name in told),
        Column(
            "kl",
            "KL",
            "How far the circuit's prediction is from the full model's: the KL divergence, in nats",
            [*rows.kl],
            "number",
            "64px",
        ),
        *(templates if len(found.by_template) else []),
    ]


def template_groups(found: ByPrompt) -> Groups | None:
    """How prompts are grouped by their template, where that is known."""
    if not len(found.by_template):
        return None
    headings = {
        str(template): f"{template} · {counted(row['n_prompts'], 'prompt')}, faithfulness "
        f"{percent(row['faithfulness'])}, the circuit fails on {row['n_fails']}"
        for template, row in found.by_template.to_dict("index").items()
    }
    return Groups("template", "Group by template", headings)


def effect_columns(circuit: Circuit, effects: pd.DataFrame, labels: Sequence[str]) -> list[Column]:
    """The columns of the table of edges.

    Args:
        circuit: that has the edges.
        effects: as `prompt_effects` makes them.
        labels: of its edges.
    """
    smallest = smallest_effect(circuit)
    largest = float(effects.effect.abs().max()) if len(effects) else 0.0
    return [
        Column(
            "label",
            "edge",
            "The edge",
            labels,
            width="minmax(180px, 1.4fr)" if circuit.graph.labels else "minmax(120px, 1.4fr)",
        ),
        Column(
            "effect",
            "on this prompt",
            "The metric of the circuit minus that without the edge, on this prompt alone",
            [*effects.effect],
            "number",
            "minmax(120px, 1.4fr)",
            facet="Effect",
            signed=True,
            smallest=smallest,
            bar=max(largest, smallest),
            by_size=True,
        ),
        Column(
            "effect_when_decided",
            "mean",
            "The effect when the search tested the edge, mean over all prompts",
            [*effects.effect_when_decided],
            "number",
            "76px",
            signed=True,
            smallest=smallest,
            by_size=True,
        ),
    ]
