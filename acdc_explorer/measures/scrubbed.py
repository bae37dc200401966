"""What came of exchanging groups' outputs between prompts, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from acdc_explorer.circuits.groups import Groups

# The row of all groups at once.
ALL = "all together"


@dataclass(frozen=True, repr=False)
class Scrubbing:
    """How much of a circuit's metric stays when groups' outputs come from agreeing prompts.

    Attributes:
        model_name: of the model.
        task_name: of the task.
        metric_name: of the metric.
        groups: that were tested.
        draws: how many times sources, and random groups, were drawn.
        n_prompts: of the task.
        table: a row for each group (index: its name) and, if there are several, one for "all
            together": n_nodes; inputs (their names); n_prompts (those that have an agreeing prompt;
            all numbers are of these alone); circuit (its metric, nothing exchanged); metric (with
            outputs exchanged, the mean over draws); faithfulness ((metric - ablated) / (full -
            ablated), ablated being every edge removed); stays ((metric - ablated) / (circuit -
            ablated), the mean over draws: 1 where nothing is lost; where it is above, the metric
            rises, which speaks against the claim too); stays_low and stays_high (the smallest and
            the largest draw); random, random_low, random_high (the same of random groups of the
            same size; missing where the circuit has not enough other nodes). Missing where no
            prompt has an agreeing one.
        by_draw: a row for each run: group, kind ("group" or "random"), draw, metric, faithfulness
            and stays.
    """

    model_name: str
    task_name: str
    metric_name: str
    groups: Groups
    draws: int
    n_prompts: int
    table: pd.DataFrame
    by_draw: pd.DataFrame

    def __str__(self) -> str:
        """In a line for each group."""
        lines = [
            f"{self.task_name} in {self.model_name}: how much of the circuit's {self.metric_name} "
            f"stays when outputs are exchanged between agreeing prompts, {self.draws} draws"
        ]
        for name, row in self.table.iterrows():
            agree = f"prompts agree on {row['inputs']}" if row["inputs"] else "any prompts"
            start = f"{name} ({row['n_nodes']} node{'s' if row['n_nodes'] != 1 else ''}, {agree}): "
            if not row["n_prompts"]:
                lines.append(f"{start}no prompt has another that agrees")
                continue
            text = f"{row['stays']:.1%} stays ({row['stays_low']:.1%} to {row['stays_high']:.1%})"
            if pd.notna(row["random"]):
                text += (
                    f"; random groups: {row['random']:.1%} ({row['random_low']:.1%} to "
                    f"{row['random_high']:.1%})"
                )
            else:
                text += "; not enough other nodes for random groups"
            if row["n_prompts"] < self.n_prompts:
                n_out = self.n_prompts - row["n_prompts"]
                text += f"; {n_out} of {self.n_prompts} prompts have no other that agrees"
            lines.append(start + text)
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)
