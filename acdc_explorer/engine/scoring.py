"""From the final stream at END to the metric, one value per prompt."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from acdc_explorer.metrics import METRICS, Metric, check_metric, mean_weights, values_of
from acdc_explorer.models.linear import linear
from acdc_explorer.models.sublayers import capped, normalize
from acdc_explorer.models.weights import ModelWeights
from acdc_explorer.tasks.task import Task


class Scoring:
    """A task's metric on a model.

    Attributes:
        metric: of the task.
        clean_final: the clean run's final stream at END [prompt, d_model], of all prompts.
        clean_values: the metric of the clean run [prompt].
    """

    def __init__(
        self, weights: ModelWeights, task: Task, clean_final: Float[Tensor, "prompt d_model"]
    ):
        """Tries the metric out on the clean run.

        Args:
            weights: of the model.
            task: answers and metric.
            clean_final: as above.

        Raises:
            ValueError: if it does not do what a metric must; see `Metric.per_prompt`.
        """
        self.metric: Metric = task.metric  # type: ignore[assignment]
        self.clean_final = clean_final
        self._weights, self._task = weights, task
        self._answers = task.answer_tokens.to(weights.device)
        self._wrong = task.wrong_tokens.to(weights.device)
        self.clean_values = self._checked_clean_values()

    def values(
        self,
        final: Float[Tensor, "*batch prompt d_model"],
        rows: range | None = None,
        relp: bool = False,
    ) -> Float[Tensor, "*batch prompt"]:
        """The metric for values of the final stream at END.

        Args:
            final: of one circuit or several.
            rows: of which prompts; None: of all.
            relp: whether a backward run goes by RelP's rules (`models/backward_rules.py`).

        Raises:
            ValueError: if a metric that is a function returns anything but finite values.
        """
        rows = range(len(self.clean_final)) if rows is None else rows
        of_rows = slice(rows.start, rows.stop)
        if self.metric.linear:
            return self._linear_values(final, of_rows, relp)
        if self.metric.takes_batches:
            return self.metric.per_prompt(
                self.logits(final, relp),
                self._answers[of_rows],
                self._wrong[of_rows],
                self.clean_logits[of_rows],
            )
        circuits = final.reshape(-1, *final.shape[-2:])
        values = [self._values_of_one(each, of_rows, relp) for each in circuits]
        return torch.stack(values).view(final.shape[:-1])

    def _linear_values(
        self, final: Float[Tensor, "*batch some_prompts d_model"], of_rows: slice, relp: bool
    ) -> Float[Tensor, "*batch some_prompts"]:
        """The mean logit of the answers minus that of wrong answers; no other logit is computed."""
        normed = normalize(final, self._weights.ln_final, relp)
        if self._weights.logit_cap is None:
            direction, offset = self.logit_difference
            return torch.einsum("...nd,nd->...n", normed, direction[of_rows]) + offset[of_rows]
        values = [
            (share[of_rows] * self._logits_of(normed, tokens[of_rows])).sum(-1)
            for tokens, share in self._shares
        ]
        return values[0] - values[1]

    def _logits_of(
        self,
        normed: Float[Tensor, "*batch some_prompts d_model"],
        tokens: Int[Tensor, "some_prompts answer"],
    ) -> Float[Tensor, "*batch some_prompts answer"]:
        """The logits of some tokens of each prompt."""
        columns = self._weights.W_U.T[tokens].to(normed)
        logits = torch.einsum("...nd,nad->...na", normed, columns) + self._weights.b_U[tokens]
        return capped(logits, self._weights.logit_cap)

    def _values_of_one(
        self, final: Float[Tensor, "some_prompts d_model"], of_rows: slice, relp: bool
    ) -> Float[Tensor, " some_prompts"]:
        """The values of a metric that sees one circuit and all prompts at a time."""
        clean = self.clean_logits
        # Prompts of other slices are clean meanwhile: values do not depend on one another.
        given = self.logits(final, relp)
        logits = torch.cat([clean[: of_rows.start], given, clean[of_rows.stop :]])
        return values_of(self.metric, logits, self._answers, self._wrong, clean)[of_rows]

    def _checked_clean_values(self) -> Float[Tensor, " prompt"]:
        """The metric of the clean run, once it is sure to be one."""
        metric = self.metric
        if metric is METRICS.get(metric.name):
            values = self.values(self.clean_final)
            if not values.isfinite().all():
                raise ValueError(
                    f"metric {metric.name!r} is not finite on the clean prompts: {values}"
                )
            return values
        logits = self.clean_logits
        values = values_of(metric, logits.clone(), self._answers, self._wrong, logits)
        check_metric(metric, logits, self._answers, self._wrong)
        if metric.linear:
            by_direction = self.values(self.clean_final)
            if not torch.allclose(by_direction, values, rtol=1e-4, atol=1e-4):
                raise ValueError(
                    f"metric {metric.name!r} is said to be linear, but is not the mean answer "
                    f"logit minus the mean wrong logit: {values} on the clean prompts, where that "
                    f"is {by_direction}"
                )
        return values

    def with_metric(self, metric: Metric) -> Scoring:
        """The same prompts and answers, judged by another metric."""
        return Scoring(self._weights, replace(self._task, metric=metric), self.clean_final)

    @cached_property
    def has_gradient(self) -> bool:
        """Whether the metric can be differentiated, as attribution must."""
        with torch.enable_grad():
            final = self.clean_final.detach().requires_grad_()
            try:
                return self.values(final).requires_grad
            except RuntimeError:
                # "Can't call numpy() on Tensor that requires grad", and the like.
                return False

    @cached_property
    def clean_logits(self) -> Float[Tensor, "prompt vocab"]:
        """The clean run's logits at END."""
        return self.logits(self.clean_final)

    def logits(
        self, final: Float[Tensor, "*batch d_model"], relp: bool = False
    ) -> Float[Tensor, "*batch vocab"]:
        """All logits for values of the final stream at END; `relp` as in `values`."""
        normed = normalize(final, self._weights.ln_final, relp)
        logits = linear(normed, self._weights.W_U, self._weights.b_U)
        return capped(logits, self._weights.logit_cap)

    @cached_property
    def _shares(self) -> list[tuple[Int[Tensor, "prompt answer"], Float[Tensor, "prompt answer"]]]:
        """Answers and wrong answers, with what each of their logits counts in a mean."""
        b_U = self._weights.b_U
        # Token -1, where a prompt has fewer answers than others, counts nothing.
        return [(tokens, mean_weights(tokens).to(b_U)) for tokens in (self._answers, self._wrong)]

    @cached_property
    def logit_difference(self) -> tuple[Float[Tensor, "prompt d_model"], Float[Tensor, " prompt"]]:
        """Mean answer logit minus mean wrong logit, before a cap: direction and offset.

        The direction is one of the normed final stream at END.
        """
        W_U, b_U = self._weights.W_U, self._weights.b_U
        direction, wrong_direction = (
            torch.einsum("na,nad->nd", share, W_U.T[tokens].to(share))
            for tokens, share in self._shares
        )
        offset, wrong_offset = ((share * b_U[tokens]).sum(1) for tokens, share in self._shares)
        return direction - wrong_direction, offset - wrong_offset


def mean_metric(by_prompt: Float[Tensor, " prompt"]) -> float:
    """The number that a search looks at: the mean over prompts, summed in float64."""
    return by_prompt.double().mean().item()
