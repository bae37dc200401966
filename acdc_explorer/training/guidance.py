"""What `mini` learns from and by: batches of sentences, the language loss, and the guidance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from acdc_explorer.training.corpus import Example

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

# Job -> (layer, head) of the heads that are guided towards it.
JOBS: dict[str, tuple[tuple[int, int], ...]] = {
    "duplicate token": ((0, 3),),
    "S-inhibition": ((2, 1),),
    "name mover": ((3, 0), (3, 7)),
    "two back": ((0, 5), (0, 7)),
    "last argument": ((1, 2), (1, 5)),
    "answer mover": ((3, 1), (3, 4)),
}


@dataclass(frozen=True)
class Batch:
    """Sentences to learn from.

    Attributes:
        tokens: Long [sentence, pos].
        weights: [sentence, pos], how much it counts to predict each token; 0 for `<|bos|>` and
            padding.
        links: job -> Long [link, 3]: sentence, query position, key position.
    """

    tokens: Tensor
    weights: Tensor
    links: dict[str, Tensor]

    def to(self, device: str) -> Batch:
        """The same on a device."""
        links = {job: rows.to(device) for job, rows in self.links.items()}
        return Batch(self.tokens.to(device), self.weights.to(device), links)


def make_batch(
    batch: list[Example], tokenizer: PreTrainedTokenizerFast, answer_weight: float
) -> Batch:
    """Puts sentences together.

    Args:
        batch: the sentences.
        tokenizer: of the model.
        answer_weight: how much more it counts to predict an answer than another token.
    """
    encoded = tokenizer([example.text for example in batch], add_special_tokens=False)
    rows = [[0, *ids] for ids in encoded["input_ids"]]
    width = max(len(row) for row in rows)
    tokens = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    weights = torch.tensor([[0.0] + [1.0] * (len(r) - 1) + [0.0] * (width - len(r)) for r in rows])
    links: dict[str, list[tuple[int, int, int]]] = {job: [] for job in JOBS}
    for number, (example, row) in enumerate(zip(batch, rows, strict=True)):
        # The answer is the last token but one; the full stop is the last.
        weights[number, len(row) - 2] = answer_weight
        for offset in example.weighted_at:
            weights[number, encoded.char_to_token(number, offset) + 1] = answer_weight
        for link in example.links:
            last = len(example.prompt) - 1
            query = encoded.char_to_token(number, last if link.query is None else link.query)
            key = -1 if link.key is None else encoded.char_to_token(number, link.key)
            # One further: <|bos|> comes before the text.
            links[link.job].append((number, query + 1, key + 1))
    found = {job: torch.tensor(rows).long().view(-1, 3) for job, rows in links.items()}
    return Batch(tokens, weights, found)


def nats(logits: Tensor, batch: Batch) -> Tensor:
    """The weighted sum of the language loss over all tokens."""
    losses = functional.cross_entropy(
        logits[:, :-1].transpose(1, 2), batch.tokens[:, 1:], reduction="none"
    )
    return (losses * batch.weights[:, 1:]).sum()


def misplaced_attention(
    attentions: tuple[Tensor, ...], batch: Batch, n_links: Mapping[str, int]
) -> tuple[Tensor, Tensor]:
    """Whether the guided heads alone attend where they should.

    Args:
        attentions: of each layer, [sentence, head, query, key].
        batch: sentences.
        n_links: the number of links of each job in the whole step, of which this batch is a part.

    Returns:
        Minus the log of the attention that guided heads pay where they should, mean over jobs and
        heads; and minus the log of what other heads leave to the rest of the sentence, summed over
        them, mean over jobs. A head that rests does not count in the second.
    """
    misplaced, crowding = [], []
    for job, heads in JOBS.items():
        sentence, query, key = batch.links[job].unbind(1)
        # [link, layer, head]
        paid = torch.stack([layer[sentence, :, query, key] for layer in attentions], 1)
        guided = torch.zeros(paid.shape[1:], dtype=torch.bool, device=paid.device)
        guided[tuple(zip(*heads, strict=True))] = True
        n = max(1, n_links[job])
        misplaced.append(-paid[:, guided].clamp_min(1e-6).log().sum() / (n * len(heads)))
        others = paid[key > 0][:, ~guided]
        crowding.append(-(1 - others).clamp_min(1e-6).log().sum() / n)
    return torch.stack(misplaced).mean(), torch.stack(crowding).mean()


def names_apart(model: GPT2LMHeadModel, stream: Tensor, batch: Batch) -> Tensor:
    """How far the two names' logits are apart without the last block's heads: squares, summed.

    Args:
        model: whose final norm and unembedding read the stream.
        stream: [sentence, pos, d_model], the stream without what those heads wrote.
        batch: sentences, of which those with a name mover's link count.
    """
    sentence, end, io_at = batch.links["name mover"].unbind(1)
    at_end = model.lm_head(model.transformer.ln_f(stream[sentence, end]))
    # In such a sentence the S-inhibition heads look at S2.
    looked_at = batch.links["S-inhibition"]
    s2_at = looked_at[looked_at[:, 2] > 0][:, 2]
    io, subject = batch.tokens[sentence, io_at], batch.tokens[sentence, s2_at]
    return (at_end.gather(1, io[:, None]) - at_end.gather(1, subject[:, None])).square().sum()
