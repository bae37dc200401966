"""What removing each edge into a receiver would do to the metric, to first order.

Edge attribution patching (Syed et al. 2023) in the circuit as it stands: the metric's gradient with
respect to what the receiver reads, times the difference that each sender's removal makes there.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from acdc_explorer.engine.gradients import through_norm
from acdc_explorer.engine.position_sets import PositionSet
from acdc_explorer.engine.runs import PromptRuns
from acdc_explorer.engine.stream_sum import Stream
from acdc_explorer.graph import Receiver
from acdc_explorer.models.linear import linear


def predicted_changes(
    runs: PromptRuns,
    receiver: Receiver,
    gradient: Float[Tensor, "prompt width d_model"],
    at: PositionSet,
    head_sums: Mapping[int, Stream],
) -> Float[np.ndarray, " sender"]:
    """What the removal of each edge into a receiver adds to the metric's sum over prompts, about.

    Heads are multiplied before W_O, which takes a fraction of the time and of the memory that all
    their differences on the stream would take.

    Args:
        runs: of the prompts.
        receiver: whose edges these are.
        gradient: of that sum with respect to what the receiver reads.
        at: the positions of the gradient.
        head_sums: layer -> what the heads of that block write together at these positions, where
            that is normed and not clean.

    Returns:
        One number for each sender to the receiver, in the order of the graph.
    """
    weights = runs.weights
    # Prompts with fewer positions repeat one; that must not count twice.
    gradient = gradient * at.distinct
    changes: list[Tensor] = []
    of_heads: dict[int, Tensor] = {}
    for sender in weights.graph.senders[: weights.graph.n_senders_to(receiver)]:
        if sender.kind != "head":
            changes.append((gradient * runs.output_delta(sender, at)).sum())
            continue
        if sender.layer not in of_heads:
            of_heads[sender.layer] = _of_heads(runs, sender.layer, gradient, at, head_sums)
        changes.append(of_heads[sender.layer][sender.head])
    return torch.stack(changes).double().cpu().numpy()


def _of_heads(
    runs: PromptRuns,
    layer: int,
    gradient: Float[Tensor, "prompt width d_model"],
    at: PositionSet,
    head_sums: Mapping[int, Stream],
) -> Float[Tensor, " head"]:
    """The same for the heads of one block."""
    block, clean = runs.weights.blocks[layer], runs.clean
    if block.ln1_post is not None:
        head_sum = head_sums[layer] if layer in head_sums else at.take(clean.head_sums[layer])
        gradient = through_norm(head_sum, block.ln1_post, gradient[None])[0]
    n_heads = len(block.W_O)
    before_W_O = linear(gradient, block.W_O.flatten(0, 1).T).unflatten(-1, (n_heads, -1))
    delta = at.take((runs.ablated.z[layer] - clean.z[layer]).transpose(0, 1))
    # [prompt, width, head, d_head] and [head, prompt, width, d_head]
    return torch.einsum("pwhd,hpwd->h", before_W_O, delta)
