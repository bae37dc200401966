"""What heads attend to whatever the task: scores on random tokens that come twice."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from acdc_explorer.arithmetic import plain_arithmetic
from acdc_explorer.models.forward import embed, run_blocks
from acdc_explorer.models.loading import load_model
from acdc_explorer.models.model import Model, ModelLike
from acdc_explorer.models.sublayers import attention_pattern, causal, rotary_embedded
from acdc_explorer.progress import working_on

# Tokens that come twice, in each of so many sequences.
_LENGTH, _SEQUENCES, _SEED = 25, 4, 0
SCORES = "previous_token", "duplicate_token", "induction", "first_token"

# A model's, once they are known: they depend on nothing else.
_known: WeakKeyDictionary[Model, pd.DataFrame] = WeakKeyDictionary()


def head_scores(model: ModelLike) -> pd.DataFrame:
    """How much each head attends to the token before, to copies, and to what followed them.

    Mean attention on sequences of 25 random tokens that come twice (fewer if the model takes no
    more, or has no more), all of them different, after the beginning-of-text token where prompts
    start with one; 4 sequences, always the same ones. Random tokens have no meaning: what is
    measured is the head's own habit (Elhage et al. 2021; Olsson et al. 2022, In-context Learning
    and Induction Heads).

    Args:
        model: anything that `load_model` takes.

    Returns:
        A row for each head (index: its id), the earliest first. Columns, all between 0 and 1:
        previous_token, attention from each of the random tokens but the first to the one before;
        duplicate_token, from each of the second time to the same one of the first time; induction,
        from each of the second time to the one that followed it the first time; first_token, from
        each random token but the first to the very first token of the sequence, where attention
        goes that has no use (an attention sink). NaN where the model is too small for two different
        tokens twice.
    """
    with plain_arithmetic():
        loaded = load_model(model)
        if loaded not in _known:
            _known[loaded] = _measured(loaded)
        return _known[loaded].copy()


def repeated_tokens(model: Model) -> tuple[Int[Tensor, "sequence pos"], int, int]:
    """Random tokens that come twice.

    Args:
        model: whose tokens they are.

    Returns:
        The sequences; where the random tokens begin; and how many there are before they come again:
        0, if the model is too small.
    """
    tokenizer, weights = model.tokenizer, model.weights
    special: set[int] = set(tokenizer.all_special_ids) if tokenizer else set()
    prefix: list[int] = []
    if model.prepend_bos and tokenizer is not None:
        # As tasks do it.
        ids = (tokenizer.bos_token_id, tokenizer.eos_token_id)
        prefix = [token for token in ids if token is not None][:1]
    usual = [token for token in range(weights.n_vocab) if token not in special]
    length = min(_LENGTH, (weights.n_ctx - len(prefix)) // 2, len(usual))
    if length < 2:
        return torch.empty((0, 0), dtype=torch.long), len(prefix), 0
    generator = torch.Generator().manual_seed(_SEED)
    drawn = torch.stack(
        [torch.randperm(len(usual), generator=generator)[:length] for _ in range(_SEQUENCES)]
    )
    once = torch.tensor(usual)[drawn]
    start = torch.tensor(prefix, dtype=torch.long).expand(_SEQUENCES, -1)
    return torch.cat([start, once, once], 1), len(prefix), length


def scores_of(
    pattern: Float[Tensor, "*heads query key"], start: int, length: int
) -> Float[Tensor, "*heads score"]:
    """The scores, in the order of `SCORES`, of attention on tokens that come twice.

    Args:
        pattern: of any heads on any sequences.
        start: where the tokens begin.
        length: how many they are before they come again.
    """
    first, again = np.arange(start, start + length), np.arange(start + length, start + 2 * length)
    later = np.arange(start + 1, start + 2 * length)
    places = (later, later - 1), (again, first), (again, first + 1), (later, np.zeros_like(later))
    return torch.stack([pattern[..., query, key].mean(-1) for query, key in places], -1)


def _measured(model: Model) -> pd.DataFrame:
    heads = [node.id for node in model.graph.senders if node.kind == "head"]
    tokens, start, length = repeated_tokens(model)
    if not length:
        return pd.DataFrame(np.nan, index=pd.Index(heads, name="head"), columns=[*SCORES])
    weights, by_block = model.weights, []
    tokens = tokens.to(weights.device)
    with working_on("heads on random tokens: blocks", len(weights.blocks)) as done:
        runs = run_blocks(weights, embed(weights, tokens))
        for number, (block, of_block) in enumerate(zip(weights.blocks, runs, strict=True), 1):
            q, k = (rotary_embedded(of_block.vectors[qkv], block, qkv) for qkv in ("q", "k"))
            allowed = causal(tokens.shape[1], tokens.device, block.window)
            pattern = attention_pattern(q, k, allowed, weights)
            by_block.append(scores_of(pattern, start, length).mean(0))
            done(number)
    scores = torch.cat(by_block).double().cpu().numpy()
    return pd.DataFrame(scores, index=pd.Index(heads, name="head"), columns=[*SCORES])
