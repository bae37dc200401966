"""A tokenizer of whole words, for the models that come with the package."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers.pre_tokenizers import PreTokenizer
    from transformers import PreTrainedTokenizerFast

BOS, UNKNOWN = "<|bos|>", "<|unk|>"


def split_words() -> PreTokenizer:
    """What parts text into words, punctuation marks, and one or two digits."""
    from tokenizers import Regex, pre_tokenizers

    return pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Split(Regex(r"\d{1,2}"), "isolated")]
    )


def word_tokenizer(words: Iterable[str], name: str) -> PreTrainedTokenizerFast:
    """A tokenizer with one token per word, punctuation mark, or one or two digits.

    Args:
        words: token 2 and on; before them come `BOS` and `UNKNOWN`.
        name: of the model it belongs to.
    """
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: index for index, word in enumerate([BOS, UNKNOWN, *words])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    core.pre_tokenizer = split_words()
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
