"""From prompt pairs to token tensors, with every faulty pair named."""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from acdc_explorer.metrics import NO_TOKEN
from acdc_explorer.tasks.answers import read_answers, shown_tokens
from acdc_explorer.tasks.labels import LabelledTokens, changed_tokens
from acdc_explorer.tasks.problems import Problems
from acdc_explorer.tasks.prompts import PromptPair, TokenSpan

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Tokens shown on either side of the place where two prompts part.
_CONTEXT = 4


@dataclass(frozen=True)
class TokenizedPairs:
    """What a `Task` is made of; see there."""

    clean_tokens: Tensor
    corrupted_tokens: Tensor
    answer_tokens: Tensor
    wrong_tokens: Tensor
    positions: dict[str, Tensor]
    texts: list[str]
    pairs: list[PromptPair]
    token_texts: list[list[str]]
    notes: list[str]


def tokenize_pairs(
    pairs: Sequence[PromptPair],
    tokenizer: PreTrainedTokenizerBase | None,
    *,
    prepend_bos: bool,
    n_ctx: int | None = None,
    rows: Sequence[Hashable] | None = None,
    problems: Problems | None = None,
    guess_spaces: bool = False,
    find_labels: bool = False,
) -> TokenizedPairs:
    """Tokenises prompt pairs, pads them on the right and finds the labelled tokens.

    Args:
        pairs: at least one.
        tokenizer: a fast tokenizer, since labels are found by character offsets.
        prepend_bos: whether each prompt starts with the tokenizer's beginning-of-text token.
        n_ctx: how many tokens the model takes, if that is limited.
        rows: what each pair is called in a message; by default its number, from 0.
        problems: those found before, to be told together with the ones found here.
        guess_spaces: see `read_answers`.
        find_labels: whether to label the tokens that differ, as `changed_tokens` does.

    Raises:
        ValueError: for no pairs or no fast tokenizer; and, all at once and by row, for prompts that
            are empty, too long or have unknown words, answers that are not one known token or are
            wrong answers too, prompts of a pair that differ in length, and labels without a token.
    """
    rows = rows if rows is not None else range(len(pairs))
    problems = problems or Problems(rows)
    if not problems.rows:
        raise ValueError("a task needs at least one prompt; got none")
    tokenizer = fast_tokenizer(tokenizer)
    prefix = [_bos(tokenizer)] if prepend_bos else []
    clean = _Encoded([pair.clean for pair in pairs], prefix, tokenizer)
    corrupted = _Encoded([pair.corrupted for pair in pairs], prefix, tokenizer)
    _check_prompts(rows, clean, corrupted, tokenizer, problems)
    for row, ids in zip(rows, clean.ids, strict=True):
        if n_ctx is not None and len(ids) > n_ctx:
            problems.add(row, f"clean is {len(ids)} tokens long; the model takes {n_ctx}")
    answers = read_answers(pairs, rows, tokenizer, problems, guess_spaces=guess_spaces)
    labelled = _labelled_tokens(pairs, rows, clean, problems)
    problems.raise_if_any()

    notes = answers.notes
    if find_labels:
        labelled = changed_tokens(clean.ids, corrupted.ids)
        found = ", ".join([*labelled, "END"])
        notes = [*notes, f"positions were labelled where clean and corrupted differ: {found}"]
    end = torch.tensor([len(ids) - 1 for ids in clean.ids])
    n_positions = int(end.max()) + 1
    positions = {label: _position(tokens, n_positions) for label, tokens in labelled.items()}
    return TokenizedPairs(
        clean_tokens=_padded(clean.ids),
        corrupted_tokens=_padded(corrupted.ids),
        answer_tokens=_padded(answers.answer, NO_TOKEN),
        wrong_tokens=_padded(answers.wrong_answer, NO_TOKEN),
        positions={**positions, "END": end},
        texts=[pair.clean for pair in pairs],
        pairs=answers.pairs,
        token_texts=clean.token_texts,
        notes=notes,
    )


def fast_tokenizer(tokenizer: PreTrainedTokenizerBase | None) -> PreTrainedTokenizerBase:
    """A model's tokenizer, if it is one that prompts given as text can be read with.

    Raises:
        ValueError: if there is none, or it is a slow one.
    """
    if tokenizer is None or not tokenizer.is_fast:
        raise ValueError(
            "prompts given as text need a model with a fast tokenizer; this model has "
            f"{'no tokenizer' if tokenizer is None else 'a slow one'}. Pass tokenizer= to "
            "load_model, or token tensors to Task(...)"
        )
    return tokenizer


def fitting_pairs(
    pairs: Sequence[PromptPair],
    tokenizer: PreTrainedTokenizerBase | None,
    one_token: Sequence[str] = (),
) -> list[PromptPair]:
    """The pairs in which `pair_faults` finds none.

    Args:
        pairs: to choose from.
        tokenizer: without a fast one nothing is left out.
        one_token: position labels that must be one token each, which holds nothing else.
    """
    if tokenizer is None or not tokenizer.is_fast:
        return list(pairs)
    faulty = _prompt_faults(pairs, tokenizer, one_token).faulty
    fitting = [pair for row, pair in enumerate(pairs) if row not in faulty]
    # Answers last: a prompt may have a hundred.
    problems = Problems(range(len(fitting)))
    read_answers(fitting, problems.rows, tokenizer, problems, guess_spaces=False)
    faulty = problems.faulty
    return [pair for row, pair in enumerate(fitting) if row not in faulty]


def pair_faults(
    pairs: Sequence[PromptPair],
    tokenizer: PreTrainedTokenizerBase,
    one_token: Sequence[str] = (),
) -> Problems:
    """What `tokenize_pairs` would find wrong, and labels that are not one token; by row.

    Args:
        pairs: to look at.
        tokenizer: a fast one.
        one_token: as of `fitting_pairs`.
    """
    problems = _prompt_faults(pairs, tokenizer, one_token)
    read_answers(pairs, problems.rows, tokenizer, problems, guess_spaces=False)
    return problems


def _prompt_faults(
    pairs: Sequence[PromptPair], tokenizer: PreTrainedTokenizerBase, one_token: Sequence[str]
) -> Problems:
    """What is wrong with prompts and labels."""
    rows = range(len(pairs))
    problems = Problems(rows)
    clean = _Encoded([pair.clean for pair in pairs], [], tokenizer)
    corrupted = _Encoded([pair.corrupted for pair in pairs], [], tokenizer)
    _check_prompts(rows, clean, corrupted, tokenizer, problems)
    labelled = _labelled_tokens(pairs, rows, clean, problems)
    for row, (pair, texts) in enumerate(zip(pairs, clean.token_texts, strict=True)):
        for label in one_token:
            word = pair.clean[slice(*pair.spans[label])]
            read_as = [texts[token].strip() for token in labelled[label][row]]
            if read_as != [word]:
                problems.add(
                    row, f"position {label!r} is {'|'.join(read_as)}; {word!r} must be one token"
                )
    return problems


class _Encoded:
    """Texts as tokens, with the beginning-of-text token where the model has one.

    Attributes:
        ids: token ids of each text.
        offsets: (start, end) characters of each token; (0, 0) for a beginning-of-text token.
        token_texts: each token in words.
    """

    def __init__(self, texts: list[str], prefix: list[int], tokenizer: PreTrainedTokenizerBase):
        self.texts = texts
        encoded: Any = {"input_ids": [], "offset_mapping": []}
        if texts:
            encoded = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
        self.bare: list[list[int]] = encoded["input_ids"]
        self.ids = [prefix + ids for ids in self.bare]
        self.offsets: list[list[tuple[int, int]]] = [
            [(0, 0)] * len(prefix) + list(spans) for spans in encoded["offset_mapping"]
        ]
        start = [str(tokenizer.decode([token])) for token in prefix]
        self.token_texts = [
            start + [text[slice(*span)] for span in spans[len(prefix) :]]
            for text, spans in zip(texts, self.offsets, strict=True)
        ]


def _bos(tokenizer: PreTrainedTokenizerBase) -> int:
    bos = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if bos is None:
        raise ValueError("the model starts prompts with BOS, but its tokenizer has no such token")
    return int(bos)


def _check_prompts(
    rows: Sequence[Hashable],
    clean: _Encoded,
    corrupted: _Encoded,
    tokenizer: PreTrainedTokenizerBase,
    problems: Problems,
) -> None:
    # Asked for once: a tokenizer takes long to say them.
    unknown_id, unknown_text = tokenizer.unk_token_id, tokenizer.unk_token
    for number, row in enumerate(rows):
        for name, encoded in (("clean", clean), ("corrupted", corrupted)):
            ids = encoded.bare[number]
            spans = encoded.offsets[number][len(encoded.ids[number]) - len(ids) :]
            if not ids:
                problems.add(row, f"{name} is empty")
            elif len(encoded.ids[number]) > len(ids) and encoded.ids[number][0] == ids[0]:
                start = encoded.texts[number][slice(*spans[0])]
                problems.add(
                    row,
                    f"{name} starts with {start!r}, which the model puts before every prompt; "
                    "leave it out",
                )
            words = [
                encoded.texts[number][slice(*span)]
                for token, span in zip(ids, spans, strict=True)
                if token == unknown_id
            ]
            # GPT-2's unknown token is its end-of-text token, which only its own name gives.
            unknown = [word for word in words if word != unknown_text]
            if unknown:
                listed = ", ".join(repr(word) for word in dict.fromkeys(unknown))
                problems.add(row, f"{name} has words that the model does not know: {listed}")
        if clean.bare[number] and corrupted.bare[number]:
            _check_lengths(row, clean.bare[number], corrupted.bare[number], tokenizer, problems)


def _check_lengths(
    row: Hashable,
    clean: list[int],
    corrupted: list[int],
    tokenizer: PreTrainedTokenizerBase,
    problems: Problems,
) -> None:
    if len(clean) == len(corrupted):
        return

    def text() -> str:
        lines = side_by_side(
            *([shown_tokens([token], tokenizer) for token in ids] for ids in (clean, corrupted))
        )
        return (
            "clean and corrupted must have the same number of tokens; they have "
            f"{len(clean)} and {len(corrupted)}:\n  clean      {lines[0]}\n  corrupted  {lines[1]}"
        )

    problems.add(row, text)


def side_by_side(first: list[str], second: list[str]) -> tuple[str, str]:
    """Two lines with equal tokens one below the other, from just before their first difference."""
    columns: list[tuple[str, str]] = []
    matcher = difflib.SequenceMatcher(a=first, b=second, autojunk=False)
    for _, a_from, a_to, b_from, b_to in matcher.get_opcodes():
        width = max(a_to - a_from, b_to - b_from)
        left = first[a_from:a_to] + [""] * width
        right = second[b_from:b_to] + [""] * width
        columns += list(zip(left, right, strict=False))[:width]
    different = [index for index, (a, b) in enumerate(columns) if a != b]
    start = max(0, different[0] - _CONTEXT)
    stop = min(len(columns), different[-1] + _CONTEXT + 1)
    shown = [(repr(a)[1:-1], repr(b)[1:-1]) for a, b in columns[start:stop]]
    shown = [("…", "…")] * (start > 0) + shown + [("…", "…")] * (stop < len(columns))
    widths = [max(len(a), len(b)) for a, b in shown]
    lines = [
        "|".join(pair[side].ljust(width) for pair, width in zip(shown, widths, strict=True))
        for side in (0, 1)
    ]
    return lines[0].rstrip(), lines[1].rstrip()


def _labelled_tokens(
    pairs: Sequence[PromptPair], rows: Sequence[Hashable], clean: _Encoded, problems: Problems
) -> LabelledTokens:
    labels = list(dict.fromkeys(label for pair in pairs for label in pair.spans))
    labelled: LabelledTokens = {label: [] for label in labels}
    for number, (row, pair) in enumerate(zip(rows, pairs, strict=True)):
        for label, by_row in labelled.items():
            span = pair.spans.get(label)
            tokens = [] if span is None else _tokens_at(span, clean.offsets[number])
            by_row.append(tokens)
            if span is None:
                problems.add(row, f"there is no position {label!r}, which other prompts have")
            elif not tokens and isinstance(span, TokenSpan):
                one = span.end - span.start == 1
                where = f"token {span.start}" if one else f"tokens {span.start}:{span.end}"
                problems.add(
                    row,
                    f"position {label!r} is {where}; the clean prompt has tokens 0 to "
                    f"{len(clean.ids[number]) - 1}",
                )
            elif not tokens:
                problems.add(
                    row,
                    f"position {label!r} is characters {span[0]} to {span[1]}, which hold no token "
                    f"of {pair.clean!r}",
                )
    return labelled


def _tokens_at(span: tuple[int, int], offsets: Sequence[tuple[int, int]]) -> list[int]:
    """The tokens in a span; none if it is a `TokenSpan` that goes past the last one."""
    start, end = span
    if isinstance(span, TokenSpan):
        return list(range(start, end)) if 0 <= start < end <= len(offsets) else []
    return [
        index
        for index, (token_start, token_end) in enumerate(offsets)
        if token_start < end and token_end > start
    ]


def _position(rows: list[list[int]], n_positions: int) -> Tensor:
    """One index per prompt where a label is one token in each; else bool [prompt, pos]."""
    if all(len(row) == 1 for row in rows):
        return torch.tensor(rows)[:, 0]
    mask = torch.zeros(len(rows), n_positions, dtype=torch.bool)
    for number, row in enumerate(rows):
        mask[number, row] = True
    return mask


def _padded(rows: list[list[int]], filler: int = 0) -> Tensor:
    # The pad token may be any: causal attention keeps it from every position up to END.
    width = max(len(row) for row in rows)
    return torch.tensor([row + [filler] * (width - len(row)) for row in rows])
