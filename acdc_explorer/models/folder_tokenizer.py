"""The tokenizer that comes with a model's folder, or that is given instead."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from acdc_explorer.models.faults import FaultyModelError

# What may hold a tokenizer's vocabulary: any one line will do.
_VOCABULARIES = (
    ("tokenizer.json",),
    ("vocab.json", "merges.txt"),
    ("vocab.txt",),
    ("tokenizer.model",),
    ("spiece.model",),
    ("sentencepiece.bpe.model",),
    ("tekken.json",),
)


def checked_tokenizer(tokenizer: Any) -> Any:
    """A copy of a tokenizer, since TransformerLens changes it; or None."""
    from transformers import PreTrainedTokenizerBase

    if tokenizer is not None and not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise ValueError(
            "tokenizer must be one of transformers' tokenizers, as AutoTokenizer.from_pretrained "
            f"makes them; got {tokenizer!r}"
        )
    return copy.deepcopy(tokenizer)


def hf_tokenizer(folder: Path) -> Any:
    """The tokenizer of a Hugging Face folder, or None if it has none."""
    from transformer_lens.utilities.hf_utils import autotokenizer_with_special_token_compat
    from transformers import AutoTokenizer

    # Without a vocabulary transformers would make an empty GPT-2 tokenizer.
    if not any(all((folder / name).is_file() for name in names) for names in _VOCABULARIES):
        return None
    options = {"use_fast": True, "trust_remote_code": False}
    with _tokenizer_told_of():
        try:
            return autotokenizer_with_special_token_compat(
                str(folder), auto_tokenizer=AutoTokenizer, add_bos_token=True, **options
            )
        except ValueError:
            # Some raise that if there is no such token to add.
            return AutoTokenizer.from_pretrained(str(folder), **options)


def checkpoint_tokenizer(folder: Path) -> Any:
    """The tokenizer beside an old checkpoint, whose config.json transformers cannot read."""
    from transformers import PreTrainedTokenizerFast

    with _tokenizer_told_of():
        file = folder / "tokenizer_config.json"
        settings = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        special = {
            name: token["content"] if isinstance(token, dict) else token
            for name, token in settings.items()
            if name in ("bos_token", "eos_token", "unk_token", "pad_token") and token
        }
        return PreTrainedTokenizerFast(
            tokenizer_file=str(folder / "tokenizer.json"),
            # Without these two TransformerLens asks the hub for the tokenizer again.
            add_bos_token=True,
            name_or_path=folder.name,
            **special,
        )


@contextlib.contextmanager
def _tokenizer_told_of() -> Iterator[None]:
    try:
        yield
    # The reader of tokenizer.json raises plain exceptions.
    except Exception as error:
        raise FaultyModelError(
            f"its tokenizer cannot be read ({type(error).__name__}). Pass another one as "
            "tokenizer=, or remove its files: prompts given as token numbers need none"
        ) from None
