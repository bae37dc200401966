"""A tokenizer of GPT-2's type, and folders of models that use it, made without a network."""

from __future__ import annotations

import random
from functools import cache

import torch

from acdc_explorer.tasks.builtin.ioi import TEMPLATES, fill
from acdc_explorer.tasks.builtin.words import NAMES, OBJECTS, PLACES

END_OF_TEXT = "<|endoftext|>"


@cache
def bpe_core():
    """A byte-level BPE trained on sentences, so that names are tokens with their leading space."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    rng = random.Random(0)
    sentences = []
    for _ in range(1500):
        words = rng.sample(NAMES, 3)
        place, obj = rng.choice(PLACES), rng.choice(OBJECTS)
        text, _ = fill(rng.choice(TEMPLATES), *words, place, obj)
        sentences.append(f"{text} {rng.choice(NAMES)}. The war lasted from the year 17 to 33")
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.post_processor = processors.ByteLevel(trim_offsets=True)
    trainer = trainers.BpeTrainer(
        vocab_size=1200,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(sentences, trainer)
    return core


def bpe_tokenizer():
    """As GPT-2's: one special token for everything, no beginning-of-text token of its own."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=bpe_core(),
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        unk_token=END_OF_TEXT,
        name_or_path="tests/bpe",
        add_bos_token=True,
    )


def bpe_gpt2(n_layer: int = 2, n_head: int = 4, n_embd: int = 32):
    """A GPT-2 with random weights, large enough for effects, for that tokenizer."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(bpe_tokenizer()),
        n_positions=64,
        n_embd=n_embd,
        n_layer=n_layer,
        n_head=n_head,
        initializer_range=0.3 if n_embd < 100 else 0.05,
        bos_token_id=0,
        eos_token_id=0,
    )
    return GPT2LMHeadModel(config).eval()


def save_bpe_gpt2(folder, **shape):
    """Writes model and tokenizer as `save_pretrained` does; returns the model."""
    model = bpe_gpt2(**shape)
    model.save_pretrained(folder)
    bpe_tokenizer().save_pretrained(folder)
    return model
