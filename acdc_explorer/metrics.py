"""What a circuit is judged by: functions of the logits at END, one value per prompt.

The mean over prompts is the number that a search compares with the threshold.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, SupportsIndex

import torch
from jaxtyping import Float, Int
from torch import Tensor

from acdc_explorer.errors import unknown_name

Rule = Literal["abs", "signed", "cumulative"]

Logits = Float[Tensor, "*batch prompt vocab"]
CleanLogits = Float[Tensor, "prompt vocab"]
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
        per_prompt: (logits, answer tokens, wrong tokens, clean logits) -> values. It is called for
            one circuit at a time, with the logits of all the task's prompts [prompt, vocab], and
            returns a float tensor [prompt], each value a function of that prompt's logits alone.
            Near a threshold the logits are float64, else float32.
        higher_is_better: whether a fall does damage; the `signed` rule asks.
        default_rule: the decision rule used unless one is named.
        takes_batches: whether `per_prompt` also takes logits [*batch, prompt, vocab] of several
            circuits, and of some of the prompts with their answers: faster. The metrics by name do.
        linear: whether it is the mean answer logit minus the mean wrong logit, so that it can be
            computed by one dot product with the final stream instead of a whole unembedding.
        of_these_prompts: whether it is for the prompts that it was given with, and no others: as a
            function of the logits may be, which knows their answers by their order.
    """

    name: str
    label: str
    unit: str
    per_prompt: Callable[[Logits, AnswerTokens, AnswerTokens, CleanLogits], PromptValues]
    higher_is_better: bool = True
    default_rule: Rule = "abs"
    linear: bool = False
    takes_batches: bool = False
    of_these_prompts: bool = False

    @property
    def sign(self) -> float:
        """1 if higher is better, else -1."""
        return 1.0 if self.higher_is_better else -1.0

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        """One by name is the same object in another process."""
        if METRICS.get(self.name) is self:
            return get_metric, (self.name,)
        return super().__reduce_ex__(protocol)


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
    logits: Logits, answers: AnswerTokens, wrong: AnswerTokens, clean_logits: CleanLogits
) -> PromptValues:
    """Mean logit of the answers minus mean logit of the wrong answers (Wang et al. 2022)."""

    def mean(tokens: AnswerTokens) -> PromptValues:
        return (_gather(logits, tokens, 0.0) * mean_weights(tokens).to(logits)).sum(-1)

    return mean(answers) - mean(wrong)


def prob_diff(
    logits: Logits, answers: AnswerTokens, wrong: AnswerTokens, clean_logits: CleanLogits
) -> PromptValues:
    """Probability of the answers minus that of the wrong answers (Hanna et al. 2023)."""
    probs = logits.softmax(-1)
    return _gather(probs, answers, 0.0).sum(-1) - _gather(probs, wrong, 0.0).sum(-1)


def kl_divergence(
    logits: Logits, answers: AnswerTokens, wrong: AnswerTokens, clean_logits: CleanLogits
) -> PromptValues:
    """KL(clean run || patched run) in nats (Conmy et al. 2023); 0 for the clean run."""
    clean = clean_logits.log_softmax(-1)
    return (clean.exp() * (clean - logits.log_softmax(-1))).sum(-1)


def negative_log_likelihood(
    logits: Logits, answers: AnswerTokens, wrong: AnswerTokens, clean_logits: CleanLogits
) -> PromptValues:
    """Minus the log of the answers' probability, in nats."""
    return -torch.logsumexp(_gather(logits.log_softmax(-1), answers, -math.inf), -1)


def accuracy(
    logits: Logits, answers: AnswerTokens, wrong: AnswerTokens, clean_logits: CleanLogits
) -> PromptValues:
    """1 where the best answer's logit is above every wrong answer's, else 0."""
    best, best_wrong = (_gather(logits, each, -math.inf).amax(-1) for each in (answers, wrong))
    return (best > best_wrong).to(logits)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "logit_diff",
            "logit difference",
            "logits",
            logit_diff,
            linear=True,
            takes_batches=True,
        ),
        Metric("prob_diff", "probability difference", "", prob_diff, takes_batches=True),
        Metric(
            "kl_divergence",
            "KL divergence from the clean run",
            "nats",
            kl_divergence,
            higher_is_better=False,
            default_rule="signed",
            takes_batches=True,
        ),
        Metric(
            "nll",
            "negative log-likelihood",
            "nats",
            negative_log_likelihood,
            higher_is_better=False,
            default_rule="signed",
            takes_batches=True,
        ),
    )
}


# Nothing to search by: most edges change no prompt's.
ACCURACY = Metric("accuracy", "accuracy", "", accuracy, takes_batches=True)


def get_metric(metric: Metric | str | Callable[[Logits], PromptValues]) -> Metric:
    """A metric as it is, by name, or from a function of the logits.

    Args:
        metric: a `Metric`; a name from `METRICS`; or a function from the logits at END of all the
            task's prompts, in their order [prompt, vocab], to a float tensor with one value per
            prompt [prompt], higher for better; see `Metric.per_prompt`.

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
    return Metric(
        name, name.replace("_", " "), "", lambda logits, *_: metric(logits), of_these_prompts=True
    )


def values_of(
    metric: Metric,
    logits: Float[Tensor, "prompt vocab"],
    answers: AnswerTokens,
    wrong: AnswerTokens,
    clean_logits: Float[Tensor, "prompt vocab"],
) -> Float[Tensor, " prompt"]:
    """A metric's values for one circuit, checked.

    Args:
        metric: any.
        logits: of all the task's prompts.
        answers: of the task.
        wrong: likewise.
        clean_logits: of the clean run.

    Raises:
        ValueError: if it returns anything but a float tensor with one finite value per prompt.
    """
    values: object = metric.per_prompt(logits, answers, wrong, clean_logits)
    n_prompts, n_vocab = logits.shape
    if not isinstance(values, Tensor):
        told = f"a {type(values).__name__}"
    elif not values.is_floating_point():
        told = f"a tensor of {str(values.dtype).removeprefix('torch.')} (append .float())"
    elif values.shape != (n_prompts,):
        told = f"a tensor of shape {list(values.shape)}"
    elif not values.isfinite().all():
        row = int(values.isfinite().logical_not().nonzero()[0])
        told = f"{values[row].item()} for prompt {row}"
    else:
        return values
    raise ValueError(
        f"metric {metric.name!r} must turn logits [prompt, vocab], here [{n_prompts}, {n_vocab}], "
        f"into a float tensor with one finite value per prompt, here [{n_prompts}], as "
        f"`lambda logits: logits[:, 5] - logits[:, 7]` does; it returned {told}"
    )


def check_metric(
    metric: Metric,
    clean_logits: Float[Tensor, "prompt vocab"],
    answers: AnswerTokens,
    wrong: AnswerTokens,
) -> None:
    """Tries a metric out as a search will use it.

    Args:
        metric: any.
        clean_logits: of the clean run.
        answers: of the task.
        wrong: likewise.

    Raises:
        ValueError: if it fails in float64, a value depends on other prompts' logits, or, with
            `takes_batches`, several circuits together or some of the prompts give other values.
    """

    def values(logits: Tensor) -> Tensor:
        return values_of(metric, logits.clone(), answers, wrong, clean_logits.to(logits))

    def same(one: Tensor, other: Tensor) -> bool:
        return one.shape == other.shape and torch.allclose(one, other, rtol=1e-4, atol=1e-5)

    try:
        values(clean_logits.double())
    except RuntimeError as error:
        raise ValueError(
            f"metric {metric.name!r} must take float64 logits too, which decide edges that are "
            f"close to the threshold: {error}"
        ) from error
    # Other logits that the model really gives: those of the prompt before.
    other_logits = clean_logits.roll(1, 0)
    clean, other = values(clean_logits), values(other_logits)
    half = torch.arange(len(clean), device=clean.device) % 2 == 0
    mixed = values(torch.where(half[:, None], clean_logits, other_logits))
    if not same(mixed, torch.where(half, clean, other)):
        raise ValueError(
            f"metric {metric.name!r} must give each prompt a value of its own logits alone; with "
            "other logits for every second prompt the values of the rest changed too"
        )
    if not metric.takes_batches:
        return
    stacked = metric.per_prompt(
        torch.stack([clean_logits, other_logits]), answers, wrong, clean_logits
    )
    some = metric.per_prompt(clean_logits[half], answers[half], wrong[half], clean_logits[half])
    if not (same(stacked, torch.stack([clean, other])) and same(some, clean[half])):
        raise ValueError(
            f"metric {metric.name!r} is said to take batches, but gives other values for two "
            "circuits together, or for half of the prompts, than for each circuit and all prompts"
        )
