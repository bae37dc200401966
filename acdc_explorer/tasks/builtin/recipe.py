"""How a task is made: its prompts in one form or several, and the words that they draw from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from acdc_explorer.tasks.prompts import PromptPair
from acdc_explorer.tasks.word_pool import WordPool

# (number of prompts, seed), and by name the words of a recipe's pools -> prompt pairs.
MakePairs = Callable[..., list[PromptPair]]


@dataclass(frozen=True)
class PromptForm:
    """One way to write the prompts of a task.

    Attributes:
        pairs: makes them.
        one_token: position labels that must be one token each for the task to make sense.
        notes: how they differ from the usual ones, in sentences.
    """

    pairs: MakePairs
    one_token: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskRecipe:
    """How to make one of the package's tasks.

    Attributes:
        description: what the model has to do, in one line.
        source: the paper it is from.
        pairs: makes the prompts in their usual form.
        metric: its usual metric.
        one_token: of the usual form; see `PromptForm`.
        pools: argument of `pairs` -> the words that it draws from unless it is given others.
        other_forms: for tokenizers that hardly any prompt of the usual form fits; the first that
            fits is taken.
    """

    description: str
    source: str
    pairs: MakePairs
    metric: str = "logit_diff"
    one_token: tuple[str, ...] = ()
    pools: Mapping[str, WordPool] = field(default_factory=dict)
    other_forms: tuple[PromptForm, ...] = ()

    @property
    def forms(self) -> tuple[PromptForm, ...]:
        """The usual form, then the others."""
        return (PromptForm(self.pairs, self.one_token), *self.other_forms)
