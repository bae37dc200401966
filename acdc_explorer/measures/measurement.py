"""What a measurement of a circuit says, as tables and in words."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass

import pandas as pd

from acdc_explorer.measures.hypotheses import HypothesisTest


@dataclass(frozen=True, repr=False)
class Measurement:
    """How right a circuit is.

    Every score is the task's metric, mean over prompts, unless another one is named.

    Attributes:
        model_name: of the model.
        task_name: of the task.
        metric_name: of the metric.
        n_kept: how many edges the circuit has.
        ablation: under which it was found; the null, the tests and the edges are measured under it.
        measured_on: which prompts, in words.
        held_out: whether the circuit was found on other prompts.
        ablations: one row per ablation: `full` (no edge removed), `ablated` (all removed),
            `circuit` (all removed but the circuit's), `without` (the circuit's removed);
            `faithfulness`, (circuit - ablated) / (full - ablated), and `remainder`, the same of
            `without`: 0 if the circuit is complete, in that nothing is left without it; each with
            the ends `_low` and `_high` of a 95% bootstrap interval over prompts;
            `prompts_low` and `prompts_high`, the 10th and 90th percentile of the single prompts'
            faithfulness; `kl`, the divergence of the circuit's next-token distribution from the
            full model's, in nats; `accuracy` of the circuit and `full_accuracy`: the share of
            prompts on which the best answer is above every wrong one.
        by_prompt: `full`, `ablated`, `circuit`, `without` for every prompt, under `ablation`.
        random: one row per kind of random circuit of the same size ("any edges", "alike edges",
            from the same layers and of the same kinds, and "connected edges"; see
            `measures/random_circuits.py`): `n` drawn; `as_near`, how many came as near to the full
            model as the circuit; `shared`, the mean number of edges in common with it;
            `faithfulness_median` and `faithfulness_best`, of the nearest.
        edges: one row per kept edge that was removed from the circuit alone: `edge`, `effect`
            (score with it - without it), `standard_error` over prompts, `p_value` (adjusted for
            being one of many, see `hypotheses.minimality`), `above_random`. Where lower is better,
            as of KL divergence, an edge that helps has a negative effect.
        tests: the five tests of `measures/hypotheses.py`.
        observations: what else was noticed, in sentences.
    """

    model_name: str
    task_name: str
    metric_name: str
    n_kept: int
    ablation: str
    measured_on: str
    held_out: bool
    ablations: pd.DataFrame
    by_prompt: pd.DataFrame
    random: pd.DataFrame
    edges: pd.DataFrame
    tests: tuple[HypothesisTest, ...]
    observations: tuple[str, ...]

    @property
    def faithfulness(self) -> float:
        """Under the ablation that the circuit was found with: 1 for the full model."""
        return float(self.ablations.faithfulness[self.ablation])

    @property
    def remainder(self) -> float:
        """What is left without the circuit, as a share: 0 where it is complete."""
        return float(self.ablations.remainder[self.ablation])

    @property
    def least_effect(self) -> float:
        """The least |effect| of a kept edge that is removed from the circuit alone."""
        return float(self.edges.effect.abs().min()) if len(self.edges) else math.nan

    def summary(self) -> str:
        """In a line."""
        row = self.ablations.to_dict("index")[self.ablation]
        return (
            f"{self.model_name} · {self.task_name}, {self.n_kept} "
            f"edge{'s' * (self.n_kept != 1)} on {self.measured_on}: faithfulness "
            f"{percent(row['faithfulness'])} ({percent(row['faithfulness_low'])} to "
            f"{percent(row['faithfulness_high'])}), {percent(row['remainder'])} left without it, "
            f"accuracy {percent(row['accuracy'])} of {percent(row['full_accuracy'])}, "
            f"KL {row['kl']:.3f} nats"
        )

    def sentences(self) -> list[str]:
        """What there is to say, the tests first."""
        return [*map(str, self.tests), *self.observations]

    def __str__(self) -> str:
        return "\n".join([self.summary(), *(f"  {line}" for line in self.sentences())])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        lines = "".join(f"<li>{html.escape(line)}</li>" for line in self.sentences())
        return (
            f"<div><b>{html.escape(self.summary())}</b><ul>{lines}</ul>"
            f"{self.ablations.to_html(float_format='{:.3g}'.format)}"
            f"{self.random.to_html(float_format='{:.3g}'.format)}</div>"
        )


def percent(share: float) -> str:
    """A share in per cent; a dash if there is none."""
    # No "-0%".
    return "–" if math.isnan(share) else f"{round(share, 2) + 0:.0%}"
