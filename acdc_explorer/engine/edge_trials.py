"""The trials of the edges into one receiver: what it reads in each, and which become the present.

`live_circuit.py` says why so little has to be computed. Here a plan is made once for a receiver:
the nodes that can change while its edges are tried, and the positions at which they do
(`ChangePlan`); `Downstream` computes them for a batch of trials.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from acdc_explorer.engine.change_plan import ChangePlan, Work
from acdc_explorer.engine.downstream import Downstream
from acdc_explorer.engine.live_circuit import LiveCircuit
from acdc_explorer.engine.stream_sum import Stream, StreamSum, layers_normed
from acdc_explorer.graph import Receiver
from acdc_explorer.models.linear import chosen
from acdc_explorer.models.sublayers import normalize


@dataclass(frozen=True)
class Link:
    """Edges into one receiver that a chain of trials removes in one step.

    Attributes:
        senders: sender indices.
        comes_back: whether they are there again in the trials after this one.
    """

    senders: Sequence[int]
    comes_back: bool = False


def last_removal(chain: Sequence[Link]) -> int | None:
    """The number of the last link of a chain that does not come back."""
    return max((n for n, link in enumerate(chain) if not link.comes_back), default=None)


class EdgeTrials:
    """Tries to remove edges into one receiver, many at a time.

    Use, for ACDC: `try_removing(chain)` any number of times, after each `accept(n)` with the first
    links of it, whose edges stay removed. What is known already to be removed goes by
    `remove(senders)`; at last `finish()`. For path patching: `try_alone(senders)`. An
    edge that stays: `keep(sender)`.

    Attributes:
        at: the positions at which the receiver's input changes.
        work: what one batch of candidates takes.
    """

    def __init__(self, circuit: LiveCircuit, receiver: Receiver):
        """Finds out what can change while this receiver is tested."""
        self._circuit, self._receiver = circuit, receiver
        self._live = circuit.open(receiver)
        self.at = circuit.reads_at(receiver)
        self._input = receiver.at(None)
        plan = ChangePlan(circuit, {self._input: self.at})
        self.work: Work = plan.work()
        self._downstream = Downstream(circuit, plan)
        self._present = set(range(circuit.graph.n_senders_to(receiver)))
        # What the receiver reads by now: its kept senders are upstream and so still clean.
        self._now = circuit.input_now(self._input, self.at)
        # Of it, what the heads of a block write together, where that is normed and not clean.
        self._head_sums: dict[int, Stream] = {}
        self._chain: Sequence[Link] = ()
        self._inputs = self._now[:0]

    def try_removing(self, chain: Sequence[Link]) -> Float[Tensor, "chain prompt"]:
        """The metric with the first, the first two, ... of these links' edges removed as well."""
        return self._metric_of(chain)

    def try_alone(self, senders: Sequence[int]) -> Float[Tensor, "candidate prompt"]:
        """The metric with each of these edges, alone, carrying its ablated value.

        Args:
            senders: sender indices.
        """
        return self._metric_of([Link([sender], comes_back=True) for sender in senders])

    def remove(self, senders: Sequence[int]) -> Float[Tensor, " prompt"]:
        """Makes the removal of some edges part of the circuit, and gives the metric after it."""
        values = self._metric_of([Link(senders)])
        self.accept(1)
        return values[0]

    def accept(self, n: int) -> None:
        """Makes what the first links of the last chain remove part of the circuit."""
        chain = self._chain[:n]
        member = last_removal(chain)
        if member is None:
            return
        senders = [each for link in chain if not link.comes_back for each in link.senders]
        self._present.difference_update(senders)
        self._now = self._inputs[member].clone()
        if self._circuit.weights.norms_head_sums:
            self._amount(senders, self._head_sums)
        self._downstream.commit(member)

    def keep(self, sender: int) -> None:
        """Makes an edge part of the circuit for good."""
        self._present.discard(sender)
        self._circuit.keep(self._circuit.graph.senders[sender], self._receiver)

    def finish(self) -> None:
        """Ends an ACDC test: what is not kept by now is removed for good."""
        self._circuit.decide(self._receiver)

    def _metric_of(self, chain: Sequence[Link]) -> Float[Tensor, "chain prompt"]:
        self._chain, self._inputs = chain, self._chain_inputs(chain)
        return self._downstream.metric_of({self._input: self._inputs})

    def _chain_inputs(self, chain: Sequence[Link]) -> Float[Tensor, "chain prompt width d_model"]:
        """What the receiver reads in each trial of a chain."""
        if self._circuit.sums_what_is_left:
            return self._chain_inputs_of_what_is_left(chain)
        amounts = self._amounts(chain)
        lasting = [n for n, link in enumerate(chain) if not link.comes_back]
        if len(lasting) == len(chain):
            return self._added_up(amounts)
        by_then = self._added_up(chosen(amounts, lasting)) if lasting else self._now[:0]
        inputs, n_gone = [], 0
        for link, amount in zip(chain, amounts, strict=True):
            n_gone += not link.comes_back
            before = by_then[n_gone - 1] if n_gone else self._now
            inputs.append(before + amount if link.comes_back else before)
        return torch.stack(inputs)

    def _added_up(
        self, amounts: Float[Tensor, "chain prompt width d_model"]
    ) -> Float[Tensor, "chain prompt width d_model"]:
        """What the receiver reads after the first, the first two, ... of some amounts."""
        # By a product, since torch's cumsum over a leading axis is several times slower on a CPU.
        triangle = self._circuit.triangle(len(amounts))
        total = torch.addmm(self._now.flatten()[None], triangle, amounts.flatten(1))
        return total.view_as(amounts)

    def _chain_inputs_of_what_is_left(self, chain: Sequence[Link]) -> Tensor:
        """The same as the sum of what is still there; no link of such a chain comes back."""
        circuit, runs = self._circuit, self._circuit.runs
        removed = [sender for link in chain for sender in link.senders]
        there = self._present.difference(removed)
        for sender, at in self._live.kept.items():
            if circuit.sets.intersection(at, self.at):
                there.add(circuit.graph.sender_index[sender])
        total = StreamSum(circuit.weights, self.at.take(runs.ablated.input_of(self._receiver.node)))
        nodes = [circuit.graph.senders[index] for index in there.union(removed)]
        for layer in layers_normed(nodes, circuit.weights):
            total.open(layer, self.at.take(runs.ablated.head_sums[layer]))
        for index in sorted(there):
            total.add(circuit.graph.senders[index], -runs.delta(index, self.at))
        # From the last to the first, the removed senders come back.
        if circuit.weights.norms_head_sums:
            coming_back: Iterable[Stream] = (
                self._amount(link.senders, total.head_sums, sign=-1) for link in reversed(chain[1:])
            )
        else:
            coming_back = self._amounts(chain)[1:].neg_().flip(0)
        inputs = [total.whole()]
        for amount in coming_back:
            inputs.append(inputs[-1] + amount)
        return torch.stack(inputs[::-1])

    def _amounts(self, chain: Sequence[Link]) -> Float[Tensor, "chain prompt width d_model"]:
        """What each link of a chain adds to what the receiver reads, in a tensor of its own."""
        if not self._circuit.weights.norms_head_sums and all(
            len(link.senders) == 1 for link in chain
        ):
            return self._circuit.runs.deltas([link.senders[0] for link in chain], self.at)
        head_sums, amounts = dict(self._head_sums), []
        for link in chain:
            sums = dict(head_sums) if link.comes_back else head_sums
            amounts.append(self._amount(link.senders, sums))
        return torch.stack(amounts)

    def _amount(
        self, senders: Iterable[int], head_sums: dict[int, Stream], *, sign: int = 1
    ) -> Stream:
        """What the removal of some edges adds to what the receiver reads.

        Args:
            senders: sender indices.
            head_sums: layer -> what its heads write together before, where that is normed and not
                clean; replaced by what they write after.
            sign: -1 for what their return takes away again.
        """
        circuit, runs = self._circuit, self._circuit.runs
        heads: dict[int, list[int]] = {}
        total = torch.zeros_like(self._now)
        for index in senders:
            sender = circuit.graph.senders[index]
            if sender.kind == "head":
                heads.setdefault(sender.layer, []).append(sender.head)
            else:
                total += sign * runs.delta(index, self.at)
        for layer, of_block in heads.items():
            delta = sign * runs.heads_delta(layer, of_block, self.at)
            if not circuit.weights.norms_head_sums:
                total += delta
                continue
            norm, before = circuit.weights.blocks[layer].ln1_post, self._head_sum(layer, head_sums)
            head_sums[layer] = after = before + delta
            total += normalize(after, norm) - normalize(before, norm)
        return total

    def _head_sum(self, layer: int, head_sums: dict[int, Stream]) -> Stream:
        """What the heads of a block write together: as given, else clean."""
        if layer in head_sums:
            return head_sums[layer]
        return self.at.take(self._circuit.runs.clean.head_sums[layer])
