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
from acdc_explorer.engine.stream_sum import Stream
from acdc_explorer.graph import INPUT, QKV, Node, Receiver


class Predictions:
    """Predicts for one receiver after the other.

    The gradients of all heads' queries (or keys, or values) of a block come from one run forwards
    and backwards, and are multiplied together with what senders write. They are used for all of
    these heads, though the circuit changes a little in between.
    """

    def __init__(self, circuit: LiveCircuit):
        """Has computed nothing yet."""
        self._circuit = circuit
        # Of receivers of one block that read alike, at all labels, and which these are.
        self._changes: dict[Receiver, Float[np.ndarray, " sender"]] = {}
        self._inputs: tuple[int, QKV | None] | None = None

    def of(self, receiver: Receiver) -> Float[np.ndarray, " sender"]:
        """What the removal of each edge, alone, adds to the metric's sum over prompts, about.

        Args:
            receiver: a live one, none of whose edges is removed yet.

        Returns:
            One number for each sender to the receiver, in the order of the graph.
        """
        graph = self._circuit.graph
        n_senders, inputs = graph.n_senders_to(receiver), (receiver.node.layer, receiver.qkv)
        if inputs != self._inputs:
            self._changes, self._inputs = {}, inputs
        if receiver not in self._changes:
            gradients = self._differentiate(self._like(receiver))
            of_positions: dict[PositionSet, list[Receiver]] = {}
            for each in gradients:
                of_positions.setdefault(self._circuit.reads_at(each), []).append(each)
            for at, receivers in of_positions.items():
                # Prompts with fewer positions repeat one; that must not count twice.
                stacked = torch.stack([gradients[each] for each in receivers]) * at.distinct
                latest = graph.senders[n_senders - 1].layer
                changes = self._times_deltas(stacked, at, latest)
                self._changes.update(zip(receivers, changes, strict=True))
        return self._changes[receiver][:n_senders]

    def _times_deltas(
        self,
        gradients: Float[Tensor, "receiver prompt width d_model"],
        at: PositionSet,
        latest: int,
    ) -> Float[np.ndarray, "receiver sender"]:
        """Gradients times what the removal of each sender adds there, in the order of the graph.

        Args:
            gradients: of receivers that read at the same positions.
            at: these.
            latest: the last block of senders.
        """
        runs, graph, products = self._circuit.runs, self._circuit.graph, list[Tensor]()
        for layer in range(INPUT.layer, latest + 1):
            deltas = runs.deltas_of_block(layer, at)
            norm = None if layer == INPUT.layer else runs.weights.blocks[layer].ln1_post
            if norm is None:
                product = gradients.flatten(1) @ deltas.flatten(1).T
            else:
                through = through_norm(at.take(runs.clean.head_sums[layer]), norm, gradients)
                # The latest sender is first, and an MLP is later than its block's heads.
                n_mlps = len(deltas) - graph.n_heads
                product = torch.cat(
                    [
                        gradients.flatten(1) @ deltas[:n_mlps].flatten(1).T,
                        through.flatten(1) @ deltas[n_mlps:].flatten(1).T,
                    ],
                    dim=1,
                )
            products.append(product.flip(1))
        return torch.cat(products, dim=1).double().cpu().numpy()

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
