"""What stands for derivatives in RelP's backward run: at norms, activations and gates.

Derivatives describe small changes. What attribution is asked about are large ones: a sender's whole
output is exchanged for another. Relevance patching (RelP: Jafari et al. 2025, arXiv 2508.21258,
section 3 and table 1) leaves the forward run as it is and replaces derivatives there by rules:

- what a norm divides by counts as a constant, in all norms: those of queries and keys, after
  sublayers, and the final one, too;
- an activation is its input times activation(x) / x, which counts as a constant;
- of the product in a gated MLP each of the two factors gets half of the gradient.

The rule by which attention patterns are constants is left out, as in the authors' code: all edges
to queries and keys would score 0. Softmax, caps on scores and logits (Gemma 2), the metric and all
else keep their derivatives. `sublayers.py` applies the rules in a forward run that is
differentiated, `engine/gradients.py` where it goes backwards through a norm by itself.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from acdc_explorer.models.weights import Norm


def scale_of_norm(
    x: Float[Tensor, "*batch d"], norm: Norm
) -> tuple[Float[Tensor, "*batch d"], Float[Tensor, "*batch 1"]]:
    """What a norm multiplies, x less its mean (RMS norm: x), and by what, before its weight."""
    centred = x if norm.bias is None else x - x.mean(-1, keepdim=True)
    return centred, (centred.square().mean(-1, keepdim=True) + norm.eps).rsqrt()


def normalized_by_constant(x: Float[Tensor, "*batch d"], norm: Norm) -> Float[Tensor, "*batch d"]:
    """`sublayers.normalize`, but by a scale that counts as a constant."""
    centred, scale = scale_of_norm(x, norm)
    normed = centred * scale.detach() * norm.weight
    return normed if norm.bias is None else normed + norm.bias


def activated_by_constant(
    x: Float[Tensor, "*batch d_mlp"], activation: Callable[[Tensor], Tensor]
) -> Float[Tensor, "*batch d_mlp"]:
    """activation(x), as x times a constant; where x is 0, so is the constant."""
    return x * torch.where(x == 0, 0, activation(x) / x).detach()


def with_half_the_gradient(x: Tensor) -> Tensor:
    """The same values, whose gradient is halved."""
    half = x / 2
    return half + half.detach()
