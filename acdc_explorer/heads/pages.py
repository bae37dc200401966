"""Public pages about single heads, by the model's name alone: nothing is asked of the network."""

from __future__ import annotations

from acdc_explorer.graph import Node

# GPT-2 small by its names. Its 144 heads have a page each of what features of sparse autoencoders
# they write (Kissane et al. 2024, arXiv 2406.17759); gpt2-small-saes/index.html links them all.
_GPT2_SMALL = {"gpt2", "gpt2-small", "openai-community/gpt2"}
_GPT2_SMALL_PAGE = "https://robertzk.github.io/gpt2-small-saes/cards/top_features_{}_{}.html"
_GPT2_SMALL_SHAPE = 12, 12


def page_of(model_name: str, head: Node) -> str | None:
    """The address of a public page about a head, or None if none is known.

    Args:
        model_name: of the model.
        head: one of its heads.
    """
    n_layers, n_heads = _GPT2_SMALL_SHAPE
    if model_name not in _GPT2_SMALL or not (head.layer < n_layers and head.head < n_heads):
        return None
    return _GPT2_SMALL_PAGE.format(head.layer, head.head)
