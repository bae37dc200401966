"""A tokenizer of whole words, for the hand-built models."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BOS, UNKNOWN = "<|bos|>", "<|unk|>"


def word_tokenizer(words: Iterable[str], name: str) -> PreTrainedTokenizerFast:
    """A tokenizer with one token per word or punctuation mark.

    Args:
        words: token 2 and on; before them come `BOS` and `UNKNOWN`.
        name: of the model it belongs to.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: index for index, word in enumerate([BOS, UNKNOWN, *words])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=BOS,
        eos_token=BOS,
        pad_token=BOS,
        unk_token=UNKNOWN,
        # TransformerLens reads these two; without them it asks the hub for the tokenizer again.
        add_bos_token=True,
        name_or_path=f"acdc_explorer/{name}",
        clean_up_tokenization_spaces=False,
        padding_side="right",
    )
