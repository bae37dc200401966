"""From prompt pairs to token tensors, with every faulty pair named."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from acdc_explorer.metrics import NO_TOKEN
from acdc_explorer.tasks.prompts import Answers, PromptPair

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SHOWN = 5


@dataclass(frozen=True)
class TokenizedPairs:
    """Tensors for a `Task`; see there for the shapes."""

    clean_tokens: Tensor
    corrupted_tokens: Tensor
    answer_tokens: Tensor
    wrong_tokens: Tensor
    positions: dict[str, Tensor]
    texts: list[str]


def tokenize_pairs(
    pairs: Sequence[PromptPair], tokenizer: PreTrainedTokenizerBase | None, *, prepend_bos: bool
) -> TokenizedPairs:
    """Tokenises prompt pairs, pads them on the right and finds the labelled tokens.

    Args:
        pairs: at least one.
        tokenizer: a fast tokenizer, since labels are found by character offsets.
        prepend_bos: whether each prompt starts with the tokenizer's beginning-of-text token.

    Raises:
        ValueError: for no pairs, no fast tokenizer, answers that are not one known token, prompts
            of a pair that differ in length, or labels whose span holds no token.
    """
    if not pairs:
        raise ValueError("a task needs at least one prompt; got none")
    if tokenizer is None or not tokenizer.is_fast:
        raise ValueError(
            "prompts given as text need a model with a fast tokenizer; this model has "
            f"{'no tokenizer' if tokenizer is None else 'a slow one'}. Pass token tensors to "
            "Task(...) instead"
        )
    answers = _single_tokens([pair.answer for pair in pairs], tokenizer)
    wrong = _single_tokens([pair.wrong_answer for pair in pairs], tokenizer)
    clean = tokenizer(
        [pair.clean for pair in pairs], add_special_tokens=False, return_offsets_mapping=True
    )
    corrupted = tokenizer([pair.corrupted for pair in pairs], add_special_tokens=False)
    _check_lengths(pairs, clean["input_ids"], corrupted["input_ids"], tokenizer)

    prefix = [_bos(tokenizer)] if prepend_bos else []
    end = torch.tensor([len(ids) + len(prefix) - 1 for ids in clean["input_ids"]])
    positions = {
        label: _position(
            [
                [len(prefix) + at for at in _tokens_at(pair, row, label, offsets)]
                for row, (pair, offsets) in enumerate(
                    zip(pairs, clean["offset_mapping"], strict=True)
                )
            ],
            int(end.max()) + 1,
        )
        for label in pairs[0].spans
    }
    return TokenizedPairs(
        clean_tokens=_padded([prefix + ids for ids in clean["input_ids"]]),
        corrupted_tokens=_padded([prefix + ids for ids in corrupted["input_ids"]]),
        answer_tokens=_padded(answers, NO_TOKEN),
        wrong_tokens=_padded(wrong, NO_TOKEN),
        positions={**positions, "END": end},
        texts=[pair.clean for pair in pairs],
    )


def fitting_pairs(
    pairs: Sequence[PromptPair],
    tokenizer: PreTrainedTokenizerBase | None,
    one_token: Sequence[str] = (),
) -> list[PromptPair]:
    """The pairs that can be tokenised: prompts of equal length, answers of one token each.

    Args:
        pairs: to choose from.
        tokenizer: without a fast one nothing is left out.
        one_token: position labels that must be one token each.
    """
    if tokenizer is None or not tokenizer.is_fast:
        return list(pairs)
    clean = tokenizer(
        [pair.clean for pair in pairs], add_special_tokens=False, return_offsets_mapping=True
    )
    corrupted = tokenizer([pair.corrupted for pair in pairs], add_special_tokens=False)
    answers = {text for pair in pairs for text in _all_answers(pair)}
    faulty = _faulty_answers(answers, tokenizer)
    return [
        pair
        for row, (pair, offsets, other) in enumerate(
            zip(pairs, clean["offset_mapping"], corrupted["input_ids"], strict=True)
        )
        if len(offsets) == len(other)
        and not faulty.keys() & _all_answers(pair)
        and all(_is_one_token(pair, row, label, offsets) for label in one_token)
    ]


def _all_answers(pair: PromptPair) -> set[str]:
    return {
        text
        for row in (pair.answer, pair.wrong_answer)
        for text in ((row,) if isinstance(row, str) else row)
    }


def _is_one_token(
    pair: PromptPair, row: int, label: str, offsets: Sequence[tuple[int, int]]
) -> bool:
    """Whether a label stands for one token that holds nothing else, but a space before it."""
    found = _tokens_at(pair, row, label, offsets)
    start, end = offsets[found[0]]
    return (
        len(found) == 1 and pair.clean[start:end].strip() == pair.clean[slice(*pair.spans[label])]
    )


def _bos(tokenizer: PreTrainedTokenizerBase) -> int:
    bos = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if bos is None:
        raise ValueError("the model starts prompts with BOS, but its tokenizer has no such token")
    return int(bos)


def _single_tokens(
    answers: Sequence[Answers], tokenizer: PreTrainedTokenizerBase
) -> list[list[int]]:
    rows = [(row,) if isinstance(row, str) else row for row in answers]
    if not all(rows):
        raise ValueError(f"prompt {rows.index(())} has no answer")
    texts = {text for row in rows for text in row}
    encoded = _encoded(texts, tokenizer)
    faulty = _faulty_answers(texts, tokenizer)
    if faulty:
        shown = ", ".join(
            f"{text!r} = {tokenizer.convert_ids_to_tokens(ids)}"
            for text, ids in list(faulty.items())[:_SHOWN]
        )
        raise ValueError(
            f"{len(faulty)} of {len(encoded)} answers are not one token of this model: {shown}"
        )
    return [[encoded[text][0] for text in row] for row in rows]


def _encoded(texts: Collection[str], tokenizer: PreTrainedTokenizerBase) -> dict[str, list[int]]:
    return {text: tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts}


def _faulty_answers(
    texts: Collection[str], tokenizer: PreTrainedTokenizerBase
) -> dict[str, list[int]]:
    """Texts that are not one known token, and their tokens."""
    return {
        text: ids
        for text, ids in _encoded(texts, tokenizer).items()
        if len(ids) != 1 or ids[0] == _unknown(tokenizer)
    }


def _unknown(tokenizer: PreTrainedTokenizerBase) -> int | None:
    # GPT-2's unk token is its end-of-text token and never comes out of ordinary text.
    return tokenizer.unk_token_id


def _check_lengths(
    pairs: Sequence[PromptPair],
    clean: list[list[int]],
    corrupted: list[list[int]],
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    empty = [row for row, ids in enumerate(clean) if not ids]
    if empty:
        raise ValueError(f"empty prompts in rows {empty[:_SHOWN]} ({len(empty)} in all)")
    faulty = [row for row, ids in enumerate(clean) if len(ids) != len(corrupted[row])]
    if not faulty:
        return
    shown = "\n".join(
        f"  row {row}: {len(clean[row])} clean tokens {tokenizer.convert_ids_to_tokens(clean[row])}"
        f"\n    against {len(corrupted[row])} corrupted "
        f"{tokenizer.convert_ids_to_tokens(corrupted[row])}"
        for row in faulty[:_SHOWN]
    )
    raise ValueError(
        f"clean and corrupted prompts must have the same number of tokens; {len(faulty)} of "
        f"{len(pairs)} pairs do not:\n{shown}"
    )


def _tokens_at(
    pair: PromptPair, row: int, label: str, offsets: Sequence[tuple[int, int]]
) -> list[int]:
    if label not in pair.spans:
        raise ValueError(f"prompt {row} has no position {label!r}, which prompt 0 has")
    start, end = pair.spans[label]
    found = [
        index
        for index, (token_start, token_end) in enumerate(offsets)
        if token_start < end and token_end > start
    ]
    if found:
        return found
    raise ValueError(
        f"position {label!r} of prompt {row} is characters {start} to {end}, which hold no token "
        f"of {pair.clean!r}"
    )


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
