"""RelP's rules written into a model of transformers, as detached factors, for autograd.

Independent of the engine: what a rule counts as a constant is detached where transformers computes
it. All functions change the model that they are given.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def proportional(x: Tensor, y: Tensor) -> Tensor:
    """y as x times a constant; nothing where x is 0."""
    return x * torch.where(x == 0, 0, y / x).detach()


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


def halve_gates(model: nn.Module) -> None:
    """The gradient of a gated MLP's product is halved."""
    for module in model.modules():
        if hasattr(module, "gate_proj"):
            module.down_proj.register_forward_pre_hook(lambda _, x: ((x[0] + x[0].detach()) / 2,))
