"""Backward rules written into a model of transformers, as detached factors, for autograd.

Independent of the engine: what a rule counts as a constant is detached where transformers computes
it. Changes the model that it is given, and for as long as it is used, PyTorch's softmax.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Projections to queries, keys and values, each by itself or all in a row.
PROJECTIONS = {"q_proj": "q", "k_proj": "k", "v_proj": "v", "c_attn": "qkv"}
INTERLEAVED = "query_key_value"


def proportional(x: Tensor, y: Tensor) -> Tensor:
    """y as x times a constant; nothing where x is 0."""
    return x * torch.where(x == 0, 0, y / x).detach()


def scaled(x: Tensor, factor: float | Tensor) -> Tensor:
    """The same values; the gradient times a factor."""
    return x.detach() + factor * (x - x.detach())


def freeze_norms(model: nn.Module) -> None:
    """Every norm's scale is a constant."""
    for module in model.modules():
        if "Norm" not in type(module).__name__:
            continue
        forward, bias = module.forward, getattr(module, "bias", None)

        def frozen(x: Tensor, forward=forward, bias=bias) -> Tensor:
            if bias is None:
                return proportional(x, forward(x))
            return proportional(x - x.mean(-1, keepdim=True), forward(x) - bias) + bias

        module.forward = frozen


def freeze_activations(model: nn.Module) -> None:
    """Every activation is its input times a constant."""
    for name, module in model.named_modules():
        if name.rsplit(".", 1)[-1] in ("act", "act_fn", "activation_fn"):
            forward = module.forward
            module.forward = lambda x, forward=forward: proportional(x, forward(x))


def scale_gates(model: nn.Module, factor: float) -> None:
    """The gradient of a gated MLP's product is multiplied by a factor."""
    for module in model.modules():
        if hasattr(module, "gate_proj"):
            module.down_proj.register_forward_pre_hook(lambda _, x: (scaled(x[0], factor),))


def scale_vectors(model: nn.Module, factors: dict[str, float]) -> None:
    """The gradients of queries, keys and values are multiplied by factors."""
    for name, module in model.named_modules():
        last = name.rsplit(".", 1)[-1]
        if last in PROJECTIONS:
            each = torch.tensor([factors[letter] for letter in PROJECTIONS[last]])

            def hook(_, inputs, y: Tensor, each: Tensor = each) -> Tensor:
                return scaled(y, each.repeat_interleave(y.shape[-1] // len(each)))

            module.register_forward_hook(hook)
        elif last == INTERLEAVED:
            n_heads = model.config.num_attention_heads
            each = torch.tensor([factors[letter] for letter in "qkv"])

            def hook(_, inputs, y: Tensor, each: Tensor = each, n_heads: int = n_heads) -> Tensor:
                d_head = y.shape[-1] // (3 * n_heads)
                return scaled(y, each.repeat_interleave(d_head).repeat(n_heads))

            module.register_forward_hook(hook)


@contextmanager
def tempered_softmax(temperature: float) -> Iterator[None]:
    """The softmax's derivative is that at scores divided by a temperature."""
    plain: Callable[..., Tensor] = F.softmax

    def tempered(x: Tensor, *args: object, **options: object) -> Tensor:
        pattern = plain(x, *args, **options)
        soft = temperature * plain(x / temperature, *args, **options)
        return pattern.detach() + soft - soft.detach()

    F.softmax = tempered
    try:
        yield
    finally:
        F.softmax = plain
