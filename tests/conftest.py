"""Small random models and tasks on which effects are real, shared by all tests."""

from __future__ import annotations

import copy

import pytest
import torch

from acdc_explorer.tasks.task import Task

# (layers, heads, d_model, d_mlp): wide and shallow, deep and narrow, one head.
SHAPES = {"2x4": (2, 4, 32, 48), "3x2": (3, 2, 16, 64), "4x1": (4, 1, 24, 24)}
VOCAB, CONTEXT = 40, 16


def random_gpt2(shape: str, seed: int = 0):
    """A Hugging Face GPT-2 with weights and biases large enough that every edge matters."""
    from transformers import GPT2Config, GPT2LMHeadModel

    layers, heads, d_model, d_mlp = SHAPES[shape]
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=VOCAB,
        n_positions=CONTEXT,
        n_embd=d_model,
        n_layer=layers,
        n_head=heads,
        n_inner=d_mlp,
        initializer_range=0.3,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias") or "ln_" in name:
                parameter += 0.2 * torch.randn_like(parameter)
    return model


def bridge_of(hf_model, dtype=torch.float32):
    """A TransformerBridge around a copy of a Hugging Face model, since booting changes it."""
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

    hf_copy = copy.deepcopy(hf_model).to(dtype)
    bridge = build_bridge_from_module(hf_copy, "GPT2LMHeadModel", hf_config=hf_copy.config)
    return bridge.eval()


def random_task(seed: int = 0, n_prompts: int = 5, length: int = 9, **options) -> Task:
    """Random prompts of unlike lengths; the first tokens of each pair agree."""
    generator = torch.Generator().manual_seed(seed)

    def tokens(*shape: int) -> torch.Tensor:
        return torch.randint(VOCAB, shape, generator=generator)

    clean, corrupted = tokens(n_prompts, length), tokens(n_prompts, length)
    corrupted[:, :2] = clean[:, :2]
    corrupted[0, :4] = clean[0, :4]
    end = torch.randint(length - 3, length, (n_prompts,), generator=generator)
    middle = torch.randint(2, length - 3, (n_prompts,), generator=generator)
    return Task(
        name="random",
        clean_tokens=clean,
        corrupted_tokens=corrupted,
        answer_tokens=tokens(n_prompts),
        wrong_tokens=tokens(n_prompts),
        positions={"MIDDLE": middle, "END": end},
        **options,
    )


@pytest.fixture(scope="session", params=list(SHAPES))
def hf_model(request):
    """A random model of each shape in turn."""
    return random_gpt2(request.param)
