"""What stands for the derivatives of norms, activations, attention and gates in a backward run.

Plain derivatives describe small changes. What attribution is asked about are large ones: a sender's
whole output is exchanged for another. Two methods replace, at the operations that are not linear,
the derivative by something that describes those better, and leave the forward run as it is.

All that replaces a derivative is here; `sublayers.py` applies it in the forward run that is
differentiated, and `engine/gradients.py` where it goes backwards through a norm by itself. Caps on
scores and logits (Gemma 2), the metric and all else keep their derivatives: neither paper says
anything about them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from acdc_explorer.graph import QKV
from acdc_explorer.models.weights import Norm


@dataclass(frozen=True)
class BackwardRules:
    """The rules of one backward run; by default derivatives throughout.

    Attributes:
        freezes_norms: whether what a norm divides by counts as a constant. It does in all norms:
            those of queries and keys, after sublayers, and the final one, too.
        freezes_activations: whether an activation counts as a product with the constant
            activation(x) / x (the identity rule).
        softmax_temperature: attention's derivative is that of scores divided by this, times it.
        through_q: what the gradient of queries is multiplied by; through_k, through_v: likewise.
        through_gate: the same for the product in a gated MLP, and so for both of its factors.
    """

    freezes_norms: bool = False
    freezes_activations: bool = False
    softmax_temperature: float = 1.0
    through_q: float = 1.0
    through_k: float = 1.0
    through_v: float = 1.0
    through_gate: float = 1.0

    def through(self, vectors: Tensor, qkv: QKV) -> Tensor:
        """Queries, keys or values, the gradient of which is multiplied by what the rules say."""
        return with_scaled_gradient(vectors, getattr(self, f"through_{qkv}"))

    def activated(
        self, x: Float[Tensor, "*batch d_mlp"], activation: Callable[[Tensor], Tensor]
    ) -> Float[Tensor, "*batch d_mlp"]:
        """An activation's values, which this function may be asked for only if it is frozen.

        Where x is 0, so is the constant: of ReLU it is 0 below and 1 above.
        """
        constant = torch.where(x == 0, 0, activation(x) / x)
        return x * constant.detach()

    def softmax(
        self, scores: Float[Tensor, "*batch query key"]
    ) -> Float[Tensor, "*batch query key"]:
        """The softmax over the last axis."""
        pattern = scores.softmax(-1)
        if self.softmax_temperature == 1:
            return pattern
        # Of this only the derivative is used. GIM leaves out the factor 1 / temperature that the
        # division would bring (so does its authors' code).
        tempered = self.softmax_temperature * (scores / self.softmax_temperature).softmax(-1)
        return pattern.detach() + tempered - tempered.detach()


# The derivatives themselves.
DERIVATIVES = BackwardRules()

# Relevance patching: Jafari et al. 2025, arXiv 2508.21258, section 3 and table 1, with the rules
# that their code switches on. The rule by which attention patterns are constants (AH-rule) is left
# out, as it is there: all edges to queries and keys would score 0.
RELP = BackwardRules(freezes_norms=True, freezes_activations=True, through_gate=0.5)

# Gradient interaction modifications: Edin et al. 2025, arXiv 2505.17630, section 4: attention's
# output is a product of values and pattern, each of which gets half, and scores are one of queries
# and keys, each of which gets half of that.
GIM = BackwardRules(
    freezes_norms=True,
    softmax_temperature=2.0,
    through_q=0.25,
    through_k=0.25,
    through_v=0.5,
    through_gate=0.5,
)


def with_scaled_gradient(x: Tensor, factor: float) -> Tensor:
    """The same values, whose gradient is multiplied by a factor."""
    if factor == 1:
        return x
    scaled = factor * x
    return scaled + (x - scaled).detach()


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
