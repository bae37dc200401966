"""What removing each edge into a receiver would do to the metric, to first order.

Edge attribution patching (Syed et al. 2023) in the circuit as it stands: the metric's gradient with
respect to what the receiver reads, times the difference that each sender's removal makes there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from acdc_explorer.engine.change_plan import ChangePlan
from acdc_explorer.engine.downstream import Downstream
from acdc_explorer.engine.gradients import through_norm
from acdc_explorer.engine.live_circuit import LiveCircuit
from acdc_explorer.engine.position_sets import PositionSet
from acdc_explorer.engine.runs import PromptRuns
from acdc_explorer.engine.stream_sum import Stream
from acdc_explorer.graph import Node, Receiver
from acdc_explorer.models.linear import linear


class Predictions:
    """Predicts for one receiver after the other.

    The gradients of all heads' queries (or keys, or values) of a block come from one run forwards
    and backwards. They are used for all of them, though the circuit changes a little in between.
    """

    def __init__(self, circuit: LiveCircuit):
        """Has computed nothing yet."""
        self._circuit = circuit
        self._gradients: dict[Receiver, Stream] = {}

    def of(self, receiver: Receiver) -> Float[np.ndarray, " sender"]:
        """What the removal of each edge, alone, adds to the metric's sum over prompts, about.

        Heads are multiplied before W_O, which takes a fraction of the time and of the memory that
        all their differences on the stream would take.

        Args:
            receiver: a live one, none of whose edges is removed yet.

        Returns:
            One number for each sender to the receiver, in the order of the graph.
        """
        if receiver not in self._gradients:
            self._gradients = self._differentiate(self._like(receiver))
        runs, at = self._circuit.runs, self._circuit.reads_at(receiver)
        # Prompts with fewer positions repeat one; that must not count twice.
        gradient = self._gradients[receiver] * at.distinct
        graph, changes = self._circuit.graph, list[Tensor]()
        of_heads: dict[int, Tensor] = {}
        for sender in graph.senders[: graph.n_senders_to(receiver)]:
            if sender.kind != "head":
                changes.append((gradient * runs.output_delta(sender, at)).sum())
                continue
            if sender.layer not in of_heads:
                of_heads[sender.layer] = _of_heads(runs, sender.layer, gradient, at)
            changes.append(of_heads[sender.layer][sender.head])
        return torch.stack(changes).double().cpu().numpy()

    def _like(self, receiver: Receiver) -> list[Receiver]:
        """A receiver and the live ones of the same kind in other heads of its block."""
        if receiver.node.kind != "head":
            return [receiver]
        heads = (Node("head", receiver.node.layer, n) for n in range(self._circuit.graph.n_heads))
        receivers = (replace(receiver, node=head) for head in heads)
        return [each for each in receivers if self._circuit.is_live(each)]

    def _differentiate(self, receivers: Sequence[Receiver]) -> dict[Receiver, Stream]:
        """The gradients of the metric, summed over prompts, with respect to what these read."""
        circuit = self._circuit
        read_at = {receiver.at(None): circuit.reads_at(receiver) for receiver in receivers}
        downstream = Downstream(circuit, ChangePlan(circuit, read_at))
        with torch.enable_grad():
            now = {
                input_: circuit.input_now(input_, at)[None].detach().requires_grad_()
                for input_, at in read_at.items()
            }
            total = downstream.metric_of(now).sum()
            gradients = torch.autograd.grad(total, list(now.values()))
        return {
            receiver: gradient[0] for receiver, gradient in zip(receivers, gradients, strict=True)
        }


def _of_heads(
    runs: PromptRuns,
    layer: int,
    gradient: Float[Tensor, "prompt width d_model"],
    at: PositionSet,
) -> Float[Tensor, " head"]:
    """The same for the heads of one block."""
    block = runs.weights.blocks[layer]
    if block.ln1_post is not None:
        head_sum = at.take(runs.clean.head_sums[layer])
        gradient = through_norm(head_sum, block.ln1_post, gradient[None])[0]
    n_heads = len(block.W_O)
    before_W_O = linear(gradient, block.W_O.flatten(0, 1).T).unflatten(-1, (n_heads, -1))
    delta = at.take(runs.z_delta(layer).transpose(0, 1))
    # [prompt, width, head, d_head] and [head, prompt, width, d_head]
    return torch.einsum("pwhd,hpwd->h", before_W_O, delta)
