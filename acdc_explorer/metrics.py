"""What a circuit is judged by: functions of the logits at END, one value per prompt.

Each metric maps logits [..., prompt, vocab] to values [..., prompt]; the mean over prompts is the
number that a search compares with the threshold.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from acdc_explorer.errors import unknown_name

Rule = Literal["abs", "signed", "cumulative"]

Logits = Float[Tensor, "*batch prompt vocab"]
# Prompts with fewer answers than others are filled up with NO_TOKEN.
AnswerTokens = Int[Tensor, "prompt answer"]
NO_TOKEN = -1
PromptValues = Float[Tensor, "*batch prompt"]


@dataclass(frozen=True)
class Metric:
    """A number per prompt computed from the logits at END.

    Attributes:
        name: what it is called in arguments and files.
        label: what it is called on screen.
        unit: of the values, for display.
        per_prompt: (logits, answer tokens, wrong tokens, clean logits) -> values.
        higher_is_better: whether a fall does damage; the `signed` rule asks.
        default_rule: the decision rule used unless one is named.
        linear: whether it is the mean answer logit minus the mean wrong logit, so that it can be
            computed by one dot product with the final stream instead of a whole unembedding.
    """

    name: str
    label: str
    unit: str
    per_prompt: Callable[[Logits, AnswerTokens, AnswerTokens, Logits], PromptValues]
    higher_is_better: bool = True
    default_rule: Rule = "abs"
    linear: bool = False


def _gather(
    values: Logits, tokens: AnswerTokens, missing: float
) -> Float[Tensor, "*batch prompt answer"]:
    """The values of some tokens, and `missing` where a prompt has fewer of them than others."""
    index = tokens.clamp_min(0).expand(*values.shape[:-1], tokens.shape[-1])
    return values.gather(-1, index).masked_fill(tokens == NO_TOKEN, missing)


def mean_weights(tokens: AnswerTokens) -> Float[Tensor, "prompt answer"]:
    """What each token counts in the mean over a prompt's answers; `NO_TOKEN` counts nothing."""
    present = (tokens != NO_TOKEN).double()
    return present / present.sum(-1, keepdim=True)


def logit_diff(
    logits: Logits, answers: AnswerTokens, wrong: AnswerTokens, clean_logits: Logits
) -> PromptValues:
    """Mean logit of the answers minus mean logit of the wrong answers (Wang et al. 2022)."""

    def mean(tokens: AnswerTokens) -> PromptValues:
        return (_gather(logits, tokens, 0) * mean_weights(tokens).to(logits)).sum(-1)

    return mean(answers) - mean(wrong)


def prob_diff(
    logits: Logits, answers: AnswerTokens, wrong: AnswerTokens, clean_logits: Logits
) -> PromptValues:
    """Probability of the answers minus that of the wrong answers (Hanna et al. 2023)."""
    probs = logits.softmax(-1)
    return _gather(probs, answers, 0).sum(-1) - _gather(probs, wrong, 0).sum(-1)


def kl_divergence(
    logits: Logits, answers: AnswerTokens, wrong: AnswerTokens, clean_logits: Logits
) -> PromptValues:
    """KL(clean run || patched run) in nats (Conmy et al. 2023); 0 for the clean run."""
    clean = clean_logits.log_softmax(-1)
    return (clean.exp() * (clean - logits.log_softmax(-1))).sum(-1)


def negative_log_likelihood(
    logits: Logits, answers: AnswerTokens, wrong: AnswerTokens, clean_logits: Logits
) -> PromptValues:
    """Minus the log of the answers' probability, in nats."""
    return -torch.logsumexp(_gather(logits.log_softmax(-1), answers, -math.inf), -1)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("logit_diff", "logit difference", "logits", logit_diff, linear=True),
        Metric("prob_diff", "probability difference", "", prob_diff),
        Metric(
            "kl_divergence",
            "KL divergence from the clean run",
            "nats",
            kl_divergence,
            higher_is_better=False,
            default_rule="signed",
        ),
        Metric(
            "nll",
            "negative log-likelihood",
            "nats",
            negative_log_likelihood,
            higher_is_better=False,
            default_rule="signed",
        ),
    )
}


def get_metric(metric: Metric | str | Callable[[Logits], PromptValues]) -> Metric:
    """A metric as it is, by name, or from a function of the logits.

    Args:
        metric: a `Metric`; a name from `METRICS`; or a function from the logits at END
            [*batch, prompt, vocab] to one value per prompt [*batch, prompt], higher for better.

    Raises:
        ValueError: for an unknown name, naming those there are, or for something else.
    """
    if isinstance(metric, Metric):
        return metric
    if isinstance(metric, str):
        if metric not in METRICS:
            raise unknown_name("metric", metric, METRICS)
        return METRICS[metric]
    if not callable(metric):
        raise ValueError(
            f"metric must be a name ({', '.join(METRICS)}), a Metric, or a function of the logits "
            f"at END; got {type(metric).__name__}"
        )
    name = getattr(metric, "__name__", type(metric).__name__)
    return Metric(name, name.replace("_", " "), "", lambda logits, *_: metric(logits))
