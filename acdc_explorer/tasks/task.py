"""A task: clean and corrupted prompts, right and wrong answers, a metric, labelled positions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from acdc_explorer.graph import END, REST
from acdc_explorer.metrics import NO_TOKEN, Metric, get_metric
from acdc_explorer.tasks.prompts import PromptPair
from acdc_explorer.tasks.tokenizing import tokenize_pairs

if TYPE_CHECKING:
    from acdc_explorer.models import Model


@dataclass(frozen=True, eq=False)
class Task:
    """What a circuit is searched for: prompts, answers and a metric.

    Attributes:
        name: shown and saved with circuits.
        clean_tokens: Long [prompt, pos]; shorter prompts padded on the right with any token.
        corrupted_tokens: Long [prompt, pos]; prompt by prompt as long as the clean one.
        answer_tokens: Long [prompt] or [prompt, answer]; prompts with fewer answers than others
            filled up with -1.
        wrong_tokens: Long [prompt] or [prompt, wrong_answer], likewise.
        positions: label -> Long [prompt], one token index per prompt, or bool [prompt, pos], a span
            of tokens. `END`, the position whose logits are scored, is one token; it comes last, and
            is the last token of all if it is not given.
        metric: a name from `METRICS`, a `Metric`, or a function of the logits at END
            [*batch, prompt, vocab] with one value per prompt [*batch, prompt].
        texts: the clean prompts in words, for display; may be empty.

    Raises:
        ValueError: if shapes disagree, prompts are empty, an index lies outside its prompt, or the
            clean and corrupted prompts are all the same.
    """

    name: str
    clean_tokens: Tensor
    corrupted_tokens: Tensor
    answer_tokens: Tensor
    wrong_tokens: Tensor
    positions: Mapping[str, Tensor] = field(default_factory=dict)
    metric: Metric | str | Callable[[Tensor], Tensor] = "logit_diff"
    texts: Sequence[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        for name in ("clean_tokens", "corrupted_tokens", "answer_tokens", "wrong_tokens"):
            set_field(self, name, torch.as_tensor(getattr(self, name)).long().cpu())
        for name in ("answer_tokens", "wrong_tokens"):
            if getattr(self, name).ndim == 1:
                set_field(self, name, getattr(self, name)[:, None])
        set_field(self, "metric", get_metric(self.metric))
        self._check_shapes()
        positions = {
            label: index.cpu() if index.dtype == torch.bool else index.long().cpu()
            for label, index in (
                (label, torch.as_tensor(index)) for label, index in self.positions.items()
            )
        }
        end = positions.pop(END, torch.full((self.n_prompts,), self.n_positions - 1))
        set_field(self, "positions", {**positions, END: end})
        self._check_positions()

    @staticmethod
    def from_pairs(
        name: str,
        pairs: Sequence[PromptPair],
        model: Model,
        metric: Metric | str | Callable[[Tensor], Tensor] = "logit_diff",
        options: Mapping[str, Any] | None = None,
    ) -> Task:
        """Tokenises prompt pairs for a model.

        Args:
            name: of the task.
            pairs: clean and corrupted texts with answers and labelled spans.
            model: whose tokenizer is used.
            metric: as above.
            options: how the prompts were made (seed, ...), kept with saved circuits.

        Raises:
            ValueError: if there are no pairs, an answer is not one token, a pair's two prompts
                differ in length, or the model has no tokenizer. Every faulty pair is counted and
                the first few are shown with their tokens.
        """
        tokenized = tokenize_pairs(pairs, model.tokenizer, prepend_bos=model.prepend_bos)
        return Task(name=name, metric=metric, options=dict(options or {}), **vars(tokenized))

    @property
    def n_prompts(self) -> int:
        """The number of prompts."""
        return self.clean_tokens.shape[0]

    @property
    def n_positions(self) -> int:
        """The length of the longest prompt, in tokens."""
        return self.clean_tokens.shape[1]

    @property
    def end(self) -> Tensor:
        """Long [prompt]: the position whose logits are scored."""
        return self.positions[END]

    @cached_property
    def position_masks(self) -> dict[str, Tensor]:
        """Label -> bool [prompt, pos]; the last, "rest", is what has no label, up to END.

        Labels may share tokens.
        """
        positions = torch.arange(self.n_positions)[None]
        masks = {
            label: index if index.ndim == 2 else positions == index[:, None]
            for label, index in self.positions.items()
        }
        labelled = torch.stack(list(masks.values())).any(0)
        return {**masks, REST: ~labelled & (positions <= self.end[:, None])}

    @cached_property
    def label_order(self) -> list[str]:
        """The labels of `position_masks` in the order of the prompts, "rest" first."""
        positions = torch.arange(self.n_positions)
        masks = {label: mask for label, mask in self.position_masks.items() if label != REST}
        mean = {
            label: float((mask * positions).sum() / mask.sum()) for label, mask in masks.items()
        }
        return [REST, *sorted(masks, key=lambda label: mean[label])]

    def sees(self, query_label: str, key_label: str) -> bool:
        """Whether in any prompt a query at one label can attend to a key at another."""
        query, key = (self.position_masks[label] for label in (query_label, key_label))
        return bool((key & query.flip(1).cummax(1).values.flip(1)).any())

    def __repr__(self) -> str:
        labels = ", ".join(self.positions)
        metric = self.metric.name  # type: ignore[union-attr]
        return f"Task({self.name!r}, {self.n_prompts} prompts, metric {metric}, positions {labels})"

    def _check_shapes(self) -> None:
        clean, corrupted = self.clean_tokens, self.corrupted_tokens
        if clean.ndim != 2 or 0 in clean.shape:
            raise ValueError(
                f"task {self.name!r}: clean_tokens must be [prompt, pos] with at least one prompt "
                f"and one token; got shape {list(clean.shape)}"
            )
        if clean.shape != corrupted.shape:
            raise ValueError(
                f"task {self.name!r}: clean and corrupted prompts must have the same number of "
                f"tokens; got {list(clean.shape)} and {list(corrupted.shape)}"
            )
        for name in ("answer_tokens", "wrong_tokens"):
            tokens = getattr(self, name)
            if tokens.ndim != 2 or tokens.shape[0] != len(clean) or tokens.shape[1] == 0:
                raise ValueError(
                    f"task {self.name!r}: {name} must be [prompt] or [prompt, answer] for "
                    f"{len(clean)} prompts; got shape {list(tokens.shape)}"
                )
            if (tokens == NO_TOKEN).all(1).any():
                row = int((tokens == NO_TOKEN).all(1).nonzero()[0])
                raise ValueError(f"task {self.name!r}: {name} of prompt {row} are all missing")
        if torch.equal(clean, corrupted):
            raise ValueError(
                f"task {self.name!r}: clean and corrupted prompts are all the same, so patching "
                "cannot change anything"
            )

    def _check_positions(self) -> None:
        for label, index in self.positions.items():
            if label == REST:
                raise ValueError(
                    f"task {self.name!r}: no position may be called {REST!r}; that stands for all "
                    "positions without a label"
                )
            if index.dtype == torch.bool and label != END:
                self._check_span(label, index)
                continue
            if index.shape != (self.n_prompts,):
                raise ValueError(
                    f"task {self.name!r}: position {label!r} must hold one index per prompt "
                    f"({self.n_prompts}); got shape {list(index.shape)}"
                )
            outside = (index < 0) | (index > self.end)
            if outside.any():
                row = int(outside.nonzero()[0])
                raise ValueError(
                    f"task {self.name!r}: position {label!r} is {int(index[row])} in prompt {row}, "
                    f"outside 0..{int(self.end[row])} (END)"
                    if label != END
                    else f"task {self.name!r}: END is {int(index[row])} in prompt {row}, outside "
                    f"0..{self.n_positions - 1}"
                )
        if (self.end >= self.n_positions).any():
            raise ValueError(
                f"task {self.name!r}: END is {int(self.end.max())} in a prompt of "
                f"{self.n_positions} tokens"
            )

    def _check_span(self, label: str, mask: Tensor) -> None:
        if mask.shape != self.clean_tokens.shape:
            raise ValueError(
                f"task {self.name!r}: the span of position {label!r} must be "
                f"{list(self.clean_tokens.shape)}; got shape {list(mask.shape)}"
            )
        after = torch.arange(self.n_positions)[None] > self.end[:, None]
        for faulty, what in (~mask.any(1), "is empty"), ((mask & after).any(1), "goes past END"):
            if faulty.any():
                row = int(faulty.nonzero()[0])
                raise ValueError(
                    f"task {self.name!r}: the span of position {label!r} {what} in prompt {row}"
                )
