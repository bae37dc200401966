"""Trains the bundled model: `python -m acdc_explorer.training.train_mini`.

A small GPT-2 that reads words. Seeded; some minutes on two CPU cores, on a GPU if there is one.
Writes a Hugging Face folder with a model card of what was measured.

Left to itself a model so small finds a shortcut for IOI: it lowers the logit of the last name it
read. So that its circuit has the parts of GPT-2's (Wang et al. 2022), training guides a few heads
at first: while the language loss falls, the heads named in `JOBS` are also rewarded for attending
where the examples' links say, and the other heads for not attending there; and the two names'
logits are held together but for what the last block's heads write, so that it is left to the name
movers there to part them. Docstrings and multiple choice take three hops, which it does not find in
so few steps; for them, too, some heads are guided. In the first round the guidance fades and the
language loss is alone for the rest; the shortcut is partly back then. A short second round has more
guidance, which fades until close to the end.
"""

from __future__ import annotations

import argparse
import logging
import math
import random
import time
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from acdc_explorer.models.loading import BUNDLED
from acdc_explorer.models.word_tokenizer import split_words, word_tokenizer
from acdc_explorer.training.corpus import all_texts, examples
from acdc_explorer.training.guidance import (
    JOBS,
    make_batch,
    misplaced_attention,
    names_apart,
    nats,
)

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Round:
    """One rise and fall of the learning rate.

    Attributes:
        share: its steps, as a share of the recipe's.
        rate: its learning rate, as a share of the recipe's.
        guidance: what the guided heads' attention counts, against the language loss.
        division: what it counts that other heads attend where the guided ones should.
        restraint: what the difference of the names' logits without the last block's heads counts.
        guided_share: after what share of its steps these three have faded away.
        seed: of its examples.
    """

    share: float
    rate: float
    guidance: float
    division: float
    restraint: float
    guided_share: float
    seed: int


ROUNDS = (
    Round(
        share=1.0, rate=1.0, guidance=0.6, division=0.06, restraint=0.03, guided_share=0.6, seed=0
    ),
    Round(
        share=0.16, rate=0.5, guidance=1.2, division=0.6, restraint=0.5, guided_share=0.95, seed=1
    ),
)


@dataclass(frozen=True)
class Recipe:
    """Everything that the result depends on, but for `ROUNDS`; steps are the first round's."""

    steps: int = 4400
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 1.0
    dropout: float = 0.0
    answer_weight: float = 3.0
    n_layer: int = 4
    n_head: int = 8
    n_embd: int = 128
    n_inner: int = 32
    n_positions: int = 64
    seed: int = 0


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token for every word of the corpus."""
    split = split_words()
    words = {word for text in all_texts() for word, _ in split.pre_tokenize_str(text)}
    return word_tokenizer(sorted(words), "mini")


def make_model(recipe: Recipe, n_vocab: int) -> GPT2LMHeadModel:
    """A GPT-2 with fresh weights."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(recipe.seed)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=n_vocab,
            n_positions=recipe.n_positions,
            n_embd=recipe.n_embd,
            n_layer=recipe.n_layer,
            n_head=recipe.n_head,
            n_inner=recipe.n_inner,
            resid_pdrop=recipe.dropout,
            embd_pdrop=recipe.dropout,
            # Guidance needs the attention as it is.
            attn_pdrop=0.0,
            bos_token_id=0,
            eos_token_id=0,
            tie_word_embeddings=False,
        )
    )
    # The attention weights come out of this implementation only.
    model.set_attn_implementation("eager")
    return model


def train(
    recipe: Recipe, tokenizer: PreTrainedTokenizerFast, device: str
) -> tuple[GPT2LMHeadModel, list[float]]:
    """Trains a model from scratch.

    Returns:
        The model, in evaluation mode on the CPU, and the loss at each step, in nats per token.
    """
    model = make_model(recipe, len(tokenizer)).train()
    model.to(torch.device(device))
    losses: list[float] = []
    for part in ROUNDS:
        losses += _train_round(model, recipe, part, tokenizer, device)
    return model.eval().cpu(), losses


def _train_round(
    model: GPT2LMHeadModel,
    recipe: Recipe,
    part: Round,
    tokenizer: PreTrainedTokenizerFast,
    device: str,
) -> list[float]:
    """Trains for one round; returns the loss at each step."""
    steps = max(1, round(part.share * recipe.steps))
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": recipe.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=recipe.learning_rate * part.rate,
        betas=(0.9, 0.98),
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    last_mlp: list[Tensor] = []
    hook = model.get_submodule(f"transformer.h.{recipe.n_layer - 1}.mlp").register_forward_hook(
        lambda module, inputs, output: last_mlp.append(output)
    )
    losses = []
    stream = examples(random.Random(recipe.seed + part.seed))
    for step in range(steps):
        fading = max(0.0, 1 - step / (part.guided_share * steps))
        # Sentences of like length go together, since padding costs as much as words.
        drawn = sorted(islice(stream, recipe.batch_size), key=lambda example: len(example.text))
        half = len(drawn) // 2
        batches = [
            make_batch(alike, tokenizer, recipe.answer_weight).to(device)
            for alike in (drawn[:half], drawn[half:])
        ]
        n_tokens = sum(batch.weights.sum() for batch in batches)
        n_links = {job: sum(len(batch.links[job]) for batch in batches) for job in JOBS}
        optimizer.zero_grad()
        losses.append(0.0)
        for batch in batches:
            output = model(batch.tokens, output_attentions=True, output_hidden_states=True)
            # The stream at the end without what the last block's heads wrote.
            without_movers = output.hidden_states[-2] + last_mlp.pop()
            loss = nats(output.logits, batch) / n_tokens
            losses[-1] += loss.item()
            misplaced, crowding = misplaced_attention(output.attentions, batch, n_links)
            apart = names_apart(model, without_movers, batch) / max(1, n_links["name mover"])
            guidance = part.guidance * misplaced + part.division * crowding + part.restraint * apart
            (loss + fading * guidance).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == steps - 1:
            logger.info("step %d of %d: loss %.4f", step, steps, losses[-1])
    hook.remove()
    return losses


def _rate(step: int, steps: int) -> float:
    """A short rise, then half a cosine down to nothing."""
    rise = min(200, max(1, steps // 10))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def main(arguments: list[str] | None = None) -> None:
    """Trains, measures and writes the model folder."""
    parser = argparse.ArgumentParser(description="Train the bundled model.")
    parser.add_argument("--out", type=Path, default=BUNDLED["mini"])
    parser.add_argument(
        "--validate",
        action="store_true",
        help="measure on validation prompts alone, to choose by, and write no card",
    )
    defaults = Recipe()
    for name, value in asdict(defaults).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    options = vars(parser.parse_args(arguments))
    out, validate = options.pop("out"), options.pop("validate")
    recipe = Recipe(**options)
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    device = "cuda" if torch.cuda.is_available() else "cpu"
    started = time.monotonic()
    tokenizer = make_tokenizer()
    model, losses = train(recipe, tokenizer, device)
    seconds = time.monotonic() - started
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)

    logger.info("written to %s after %.0f s of training", out, seconds)

    from acdc_explorer.training.card import log_validation, write_card

    log_validation(out)
    if not validate:
        write_card(out, recipe, ROUNDS, JOBS, device, seconds, losses[-1])


if __name__ == "__main__":
    main()
