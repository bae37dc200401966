"""Answers: how they are spelled after a prompt, and the one token that each must be."""

from __future__ import annotations

import unicodedata
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from acdc_explorer.tasks.problems import Problems
from acdc_explorer.tasks.prompts import PromptPair, each

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# After these a word is a new one, and comes with a space.
_BEFORE_A_SPACE = ".,;:!?)]}%…"
_ANY_WORD = "So"


@dataclass(frozen=True)
class ReadAnswers:
    """Answers as tokens.

    Attributes:
        pairs: the prompts, their answers spelled as they were read.
        answer: token ids, per prompt.
        wrong_answer: likewise.
        notes: what was assumed, in sentences.
    """

    pairs: list[PromptPair]
    answer: list[list[int]]
    wrong_answer: list[list[int]]
    notes: list[str]


def spelled_after(prompt: str, answer: str) -> str:
    """An answer as the continuation of a prompt, with a space or without.

    A prompt that ends in a space has it already. Otherwise a word or number that follows a word or
    a closing punctuation mark is read with a space before it, as " Mary"; but for a digit after a
    digit ("17" -> "33"), and for writing without spaces between words. Whatever else (punctuation,
    what follows a quotation mark, a bracket or a hyphen) stays as it is given.
    """
    if prompt[-1:].isspace():
        return answer.lstrip(" ") or answer
    if not prompt or not answer or not answer[0].isalnum():
        return answer
    last = prompt[-1]
    if last.isdigit() and answer[0].isdigit():
        return answer
    if unicodedata.east_asian_width(answer[0]) in "WF":
        return answer
    return f" {answer}" if last.isalnum() or last in _BEFORE_A_SPACE else answer


def read_answers(
    pairs: Sequence[PromptPair],
    rows: Sequence[Hashable],
    tokenizer: PreTrainedTokenizerBase,
    problems: Problems,
    *,
    guess_spaces: bool,
) -> ReadAnswers:
    """Finds the token of each answer, and notes those that are not one.

    An answer's token is the one that the tokenizer puts after the prompt's own for prompt and
    answer written in one; if it does not, the answer's token by itself.

    Args:
        pairs: the prompts.
        rows: what each is called in a message.
        tokenizer: of the model.
        problems: where faults are noted.
        guess_spaces: whether answers are spelled as `spelled_after` says, or as they are given.
    """
    spelled = [
        replace(
            pair,
            answer=tuple(spelled_after(pair.clean, text) for text in each(pair.answer)),
            wrong_answer=tuple(spelled_after(pair.clean, text) for text in each(pair.wrong_answer)),
        )
        if guess_spaces
        else replace(pair, answer=each(pair.answer), wrong_answer=each(pair.wrong_answer))
        for pair in pairs
    ]
    tokens = _Tokens(spelled, tokenizer)
    found: dict[str, list[list[int]]] = {"answer": [], "wrong_answer": []}
    for row, pair in zip(rows, spelled, strict=True):
        for column, by_row in found.items():
            by_row.append([])
            texts = each(getattr(pair, column))
            if not texts:
                problems.add(row, f"{column} is empty")
            for text in texts:
                token = tokens.after(pair.clean, text)
                if isinstance(token, str):
                    problems.add(row, f"{column} {text!r} is {token}")
                else:
                    by_row[-1].append(token)
        both = set(found["answer"][-1]) & set(found["wrong_answer"][-1])
        for token in sorted(both):
            text = shown_tokens([token], tokenizer)
            problems.add(row, f"{text!r} is both an answer and a wrong answer")
    notes = _notes(pairs, spelled, tokens) if guess_spaces else []
    return ReadAnswers(spelled, found["answer"], found["wrong_answer"], notes)


class _Tokens:
    """Token ids of prompts, answers, and both in one, encoded together."""

    def __init__(self, pairs: Sequence[PromptPair], tokenizer: PreTrainedTokenizerBase):
        self._tokenizer = tokenizer
        texts: dict[str, None] = {}
        for pair in pairs:
            for answer in (*each(pair.answer), *each(pair.wrong_answer)):
                stripped = pair.clean.rstrip(" ")
                bare = answer.lstrip(" ")
                spellings = (answer, bare, f" {bare}", pair.clean + answer)
                texts |= dict.fromkeys((pair.clean, stripped, *spellings))
        # Asked for once: a tokenizer takes long to say it.
        self._unknown = tokenizer.unk_token_id
        ids = tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []
        self.of: dict[str, list[int]] = dict(zip(texts, ids, strict=True))

    def ids_after(self, prompt: str, answer: str) -> list[int]:
        """The answer's token ids; one if they are, in any way that `read_answers` takes."""
        before, together = self.of[prompt], self.of[prompt + answer]
        ids = together[len(before) :]
        return self.of[answer] if together[: len(before)] != before or len(ids) != 1 else ids

    def after(self, prompt: str, answer: str) -> int | str:
        """The answer's token id, or what it is instead of one token."""
        ids = self.ids_after(prompt, answer)
        if self._unknown in ids:
            return "not in the vocabulary of the model's tokenizer"
        if len(ids) != 1:
            return f"{len(ids)} tokens, {shown_tokens(ids, self._tokenizer)}; it must be one"
        return int(ids[0])


def ids_of_words(words: Iterable[str], tokenizer: PreTrainedTokenizerBase) -> dict[str, list[int]]:
    """Words as token ids, each as it follows another word, with a space before it."""
    words = tuple(words)
    spelled = tuple(f" {word}" for word in words)
    tokens = _Tokens([PromptPair(_ANY_WORD, "", spelled, ())], tokenizer)
    return {
        word: tokens.ids_after(_ANY_WORD, text) for word, text in zip(words, spelled, strict=True)
    }


def shown_tokens(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> str:
    """Tokens in words, parted by upright strokes."""
    return "|".join(str(tokenizer.decode([token])) for token in ids)


def _notes(
    given: Sequence[PromptPair], spelled: Sequence[PromptPair], tokens: _Tokens
) -> list[str]:
    """What was assumed about spaces, where it makes a difference to the tokenizer."""
    notes = []
    changed: dict[Literal["added", "removed"], list[str]] = {"added": [], "removed": []}
    trailing = 0
    for before, after in zip(given, spelled, strict=True):
        for column in ("answer", "wrong_answer"):
            texts = zip(each(getattr(before, column)), each(getattr(after, column)), strict=True)
            for old, new in texts:
                # Some tokenizers read "Mary" as " Mary" anyhow.
                if new == old or tokens.of.get(old) == [tokens.after(after.clean, new)]:
                    continue
                if len(new) > len(old):
                    changed["added"].append(f"{old!r} after '… {after.clean.split()[-1]}'")
                else:
                    changed["removed"].append(f"{old!r}")
        stripped = after.clean.rstrip(" ")
        trailing += stripped != after.clean and tokens.of[stripped] != tokens.of[after.clean]
    if changed["added"]:
        notes.append(
            f"{len(changed['added'])} answers without a leading space are read with one, as "
            f"{changed['added'][0]}; Task.from_pairs takes answers exactly as given"
        )
    if changed["removed"]:
        notes.append(
            f"{len(changed['removed'])} answers lose their leading space, since their prompts end "
            f"in a space or a new line, as {changed['removed'][0]}"
        )
    if trailing:
        notes.append(
            f"{trailing} prompts end in a space, which this tokenizer mostly joins to the next "
            "word: the model has seldom read it alone. Leave it out of the prompts"
        )
    return notes
