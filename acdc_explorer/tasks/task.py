"""A task: clean and corrupted prompts, right and wrong answers, a metric, labelled positions."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from acdc_explorer.graph import END, REST
from acdc_explorer.metrics import Metric, get_metric
from acdc_explorer.models.loading import load_model
from acdc_explorer.models.model import Model, ModelLike
from acdc_explorer.tasks.files import frame_of_auto_circuit, frame_of_csv, frame_of_jsonl, read_text
from acdc_explorer.tasks.preview import prompts_table
from acdc_explorer.tasks.prompts import PromptPair
from acdc_explorer.tasks.table import tokenize_table
from acdc_explorer.tasks.task_faults import check_difference, check_positions, check_shapes
from acdc_explorer.tasks.tokenizing import tokenize_pairs

if TYPE_CHECKING:
    import pandas as pd

LOGIT_DIFF = "logit_diff"

AnyMetric = Metric | str | Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Task:
    """What a circuit is searched for: prompts, answers and a metric.

    One class: half of it are the ways to make one, so that they are found where one looks for them.

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
        options: how the prompts were made (seed, ...), kept with saved circuits.
        pairs: the texts it was made from, answers spelled as they were read; may be empty.
        token_texts: each clean prompt's tokens in words; may be empty.
        notes: what was assumed when it was made, in sentences.

    Raises:
        ValueError: if shapes disagree, prompts are empty, an index lies outside its prompt, or the
            clean and corrupted prompts are all the same up to END.
    """

    name: str
    clean_tokens: Tensor
    corrupted_tokens: Tensor
    answer_tokens: Tensor
    wrong_tokens: Tensor
    positions: Mapping[str, Tensor] = field(default_factory=dict)
    metric: AnyMetric = LOGIT_DIFF
    texts: Sequence[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    pairs: Sequence[PromptPair] = ()
    token_texts: Sequence[Sequence[str]] = ()
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        for name in ("clean_tokens", "corrupted_tokens", "answer_tokens", "wrong_tokens"):
            set_field(self, name, torch.as_tensor(getattr(self, name)).long().cpu())
        for name in ("answer_tokens", "wrong_tokens"):
            if getattr(self, name).ndim == 1:
                set_field(self, name, getattr(self, name)[:, None])
        set_field(self, "metric", get_metric(self.metric))
        check_shapes(self)
        positions = {
            label: index.cpu() if index.dtype == torch.bool else index.long().cpu()
            for label, index in (
                (label, torch.as_tensor(index)) for label, index in self.positions.items()
            )
        }
        end = positions.pop(END, torch.full((self.n_prompts,), self.n_positions - 1))
        set_field(self, "positions", {**positions, END: end})
        check_positions(self)
        check_difference(self)

    @staticmethod
    def from_pairs(
        name: str,
        pairs: Sequence[PromptPair],
        model: Model,
        metric: AnyMetric = LOGIT_DIFF,
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
            ValueError: if there are no pairs or the model has no tokenizer; and for every prompt
                with an unknown word, an answer that is not one token or is a wrong answer too, or a
                corrupted twin of another length. Ten faulty pairs are shown, the others counted.
        """
        tokenized = tokenize_pairs(
            pairs,
            model.tokenizer,
            prepend_bos=model.prepend_bos,
            n_ctx=model.weights.n_ctx,
        )
        return Task(name=name, metric=metric, options=dict(options or {}), **vars(tokenized))

    @staticmethod
    def from_dataframe(
        frame: pd.DataFrame,
        model: ModelLike,
        *,
        name: str = "own prompts",
        metric: AnyMetric = LOGIT_DIFF,
    ) -> Task:
        """Makes a task from a table with one prompt per row.

        The columns `clean`, `corrupted`, `answer` and `wrong_answer` are text; an answer may be a
        list of texts. An answer needs no leading space: what was assumed is in the task's `notes`.
        Any other column is a position label; its cells are a word or phrase that occurs once in the
        clean prompt, a token index (5), or a span of tokens ("3:6"), counted as the model reads
        them. Without such a column, labels are put where clean and corrupted tokens differ (see
        `changed_tokens`). END, the last token, is always labelled.

        Args:
            frame: the table.
            model: anything that `load_model` takes.
            name: of the task.
            metric: as for `Task`.

        Raises:
            ValueError: for missing columns, naming the nearest match; otherwise for everything that
                is wrong with any row: empty cells, prompts that differ in length (with both's
                tokens), unknown words, answers of several tokens, answers that are wrong answers
                too, labels not found or ambiguous, and rows that repeat another. Ten rows are
                shown, the others counted.
        """
        tokenized = tokenize_table(frame, load_model(model), guess_spaces=True)
        return Task(name=name, metric=metric, **vars(tokenized))

    @staticmethod
    def from_csv(
        path: str | os.PathLike[str],
        model: ModelLike,
        *,
        name: str | None = None,
        metric: AnyMetric = LOGIT_DIFF,
    ) -> Task:
        """Makes a task from a CSV file; see `from_dataframe` and `from_csv_text`.

        The file's name is the task's, unless another is given.
        """
        text = read_text(path, "CSV")
        return Task.from_csv_text(text, model, name=name or Path(path).stem, metric=metric)

    @staticmethod
    def from_csv_text(
        text: str, model: ModelLike, *, name: str = "own prompts", metric: AnyMetric = LOGIT_DIFF
    ) -> Task:
        """Makes a task from CSV text, as it is pasted or uploaded; see `from_dataframe`.

        The first line names the columns, which commas part, or tabs or semicolons. Several answers
        in a cell are parted by "|".
        """
        return Task.from_dataframe(frame_of_csv(text), model, name=name, metric=metric)

    @staticmethod
    def from_jsonl(
        path: str | os.PathLike[str],
        model: ModelLike,
        *,
        name: str | None = None,
        metric: AnyMetric = LOGIT_DIFF,
    ) -> Task:
        """Makes a task from a file with one JSON object per line; see `from_dataframe`.

        The file's name is the task's, unless another is given.
        """
        frame = frame_of_jsonl(read_text(path, "JSONL"))
        return Task.from_dataframe(frame, model, name=name or Path(path).stem, metric=metric)

    @staticmethod
    def from_json(
        path: str | os.PathLike[str],
        model: ModelLike,
        *,
        name: str | None = None,
        metric: AnyMetric = LOGIT_DIFF,
    ) -> Task:
        """Makes a task from a dataset file of auto-circuit (UFO-101/auto-circuit, data.py).

        Its `word_idxs` become position labels, or else its `seq_labels`; those that stand for the
        last token of every prompt are END. Answers are taken exactly as they are given.

        Raises:
            ValueError: if the file is not such a dataset, or as in `from_dataframe`.
        """
        loaded = load_model(model)
        frame = frame_of_auto_circuit(read_text(path, "JSON"), first_token=int(loaded.prepend_bos))
        fields = vars(tokenize_table(frame, loaded, guess_spaces=False))
        end = fields["positions"][END]
        fields["positions"] = {
            label: index
            for label, index in fields["positions"].items()
            if label == END or index.shape != end.shape or not torch.equal(index, end)
        }
        return Task(name=name or Path(path).stem, metric=metric, **fields)

    def take(self, rows: Sequence[int]) -> Task:
        """The task with some of its prompts alone; one that is named twice counts twice.

        Args:
            rows: numbers of prompts, from 0 on. As option `rows` of the new task they are numbers
                of the prompts that `options` tell of, so that a part of a part says which it has.

        Raises:
            ValueError: if there is no such prompt, or none is named; or if the metric is a function
                of all the prompts' logits: a `Metric` tells that it suits each prompt by itself.
        """
        if self.metric.of_these_prompts:  # type: ignore[union-attr]
            raise ValueError(
                f"task {self.name!r} has a metric that is a function of the logits of all its "
                "prompts, and may not suit some of them; give the task a Metric, or one by name"
            )
        if any(isinstance(row, (bool, np.bool_)) for row in rows):
            raise ValueError("rows must be numbers of prompts; got True or False")
        rows = [int(row) for row in rows]
        wrong = [row for row in rows if not 0 <= row < self.n_prompts]
        if wrong or not rows:
            told = f"got {wrong[0]}" if wrong else "none is named"
            raise ValueError(f"task {self.name!r} has prompts 0 to {self.n_prompts - 1}; {told}")
        known = self.options.get("rows", range(self.n_prompts))
        return replace(
            self,
            clean_tokens=self.clean_tokens[rows],
            corrupted_tokens=self.corrupted_tokens[rows],
            answer_tokens=self.answer_tokens[rows],
            wrong_tokens=self.wrong_tokens[rows],
            positions={label: index[rows] for label, index in self.positions.items()},
            texts=[self.texts[row] for row in rows] if self.texts else (),
            pairs=[self.pairs[row] for row in rows] if self.pairs else (),
            token_texts=[self.token_texts[row] for row in rows] if self.token_texts else (),
            options={**self.options, "rows": [known[row] for row in rows]},
        )

    def split(self, share: float = 0.5, seed: int = 0) -> tuple[Task, Task]:
        """Parts the prompts at random: to search with the first, and measure on the second.

        Args:
            share: of the prompts in the first; at least one is in either.
            seed: the same seed gives the same parts.

        Raises:
            ValueError: if the share is not between 0 and 1, or there is one prompt alone.
        """
        if not 0 < share < 1:
            raise ValueError(f"share must be a number between 0 and 1; got {share!r}")
        if self.n_prompts < 2:
            raise ValueError(f"task {self.name!r} has one prompt, which cannot be parted")
        rows = torch.randperm(
            self.n_prompts, generator=torch.Generator().manual_seed(seed)
        ).tolist()
        n_first = min(max(1, round(share * self.n_prompts)), self.n_prompts - 1)
        return self.take(sorted(rows[:n_first])), self.take(sorted(rows[n_first:]))

    def preview(self) -> pd.DataFrame:
        """The prompts as a table, one per row; `preview_task` adds what a model answers.

        Returns:
            Columns: clean, corrupted, answer, wrong_answer (as far as the task was made from text);
            and one per position label, as "Mary [4]" or "Mary and John [3:6]".
        """
        return prompts_table(self)

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
