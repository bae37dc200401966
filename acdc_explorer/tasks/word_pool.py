"""Words that a task draws from, and which of them a model's tokenizer keeps in one token."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from acdc_explorer.tasks.answers import ids_of_words, shown_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Words named in one message.
_SHOWN = 20


@dataclass(frozen=True)
class WordPool:
    """Words of one kind, of which a task takes those that are one token each.

    Attributes:
        kind: what they are called in messages, as "names".
        forms: word -> all that must be one token for the task to take it: the word itself, its
            plural, the answer that belongs to it. Each follows a space.
        fewest: how many the task cannot do without.
    """

    kind: str
    forms: Mapping[str, tuple[str, ...]]
    fewest: int

    @staticmethod
    def of(kind: str, words: Iterable[str], fewest: int) -> WordPool:
        """Words that need only be one token themselves."""
        return WordPool(kind, {word: (word,) for word in words}, fewest)


def one_token_words(
    task: str, pools: Mapping[str, WordPool], tokenizer: PreTrainedTokenizerBase
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """The words of each pool that a tokenizer keeps whole, in the pool's order.

    Args:
        task: its name, for the message.
        pools: by any name.
        tokenizer: of the model.

    Returns:
        The words by the pools' names, for those pools alone of which some words are left out; and
        for each of these a sentence that says which, and how they are split.

    Raises:
        ValueError: if a pool has fewer such words than the task needs; the message says which words
            the tokenizer splits, and which it does not know.
    """
    taken, notes = {}, []
    for name, pool in pools.items():
        faulty, told = _not_one_token(pool, tokenizer)
        words = tuple(word for word, forms in pool.forms.items() if not faulty.intersection(forms))
        counted = f"{len(words)} of {len(pool.forms)}"
        if len(words) < pool.fewest:
            raise ValueError(
                f"task {task!r} needs {pool.fewest} {pool.kind} that are one token each in this "
                f"model's tokenizer; {counted} are{told}"
            )
        if len(words) < len(pool.forms):
            taken[name] = words
            notes.append(f"the prompts use {counted} {pool.kind}{told}")
    return taken, notes


def _not_one_token(
    pool: WordPool, tokenizer: PreTrainedTokenizerBase
) -> tuple[frozenset[str], str]:
    """The forms that are not one token; and which they are, in words, as the end of a sentence."""
    ids = ids_of_words(dict.fromkeys(chain.from_iterable(pool.forms.values())), tokenizer)
    # Asked for once: a tokenizer takes long to say it.
    unknown_id = tokenizer.unk_token_id
    unknown = [form for form, tokens in ids.items() if unknown_id in tokens]
    split = [form for form, tokens in ids.items() if form not in unknown and len(tokens) != 1]
    # Without the space before the word, which may be a token by itself.
    pieces = {form: shown_tokens(ids[form], tokenizer).lstrip(" |") for form in split[:_SHOWN]}
    told = ""
    if split:
        told += f"; the tokenizer splits {_listed(split, lambda form: f'{form} ({pieces[form]})')}"
    if unknown:
        told += f"; words that the model does not know: {_listed(unknown, repr)}"
    return frozenset((*unknown, *split)), told


def _listed(words: list[str], shown: Callable[[str], str]) -> str:
    more = len(words) - _SHOWN
    return ", ".join(map(shown, words[:_SHOWN])) + (f" and {more} more" if more > 0 else "")
