"""A backwards search on all prompts together, or slice by slice where their runs are too large."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.patching import LiveCircuit
from acdc_explorer.engine.receiver_test import ReceiverTest, Work
from acdc_explorer.graph import Node, Receiver


class SlicedCircuit:
    """The live circuits of the slices of an engine's prompts; as a rule there is one slice."""

    def __init__(self, engine: Engine, *, sums_what_is_left: bool = False):
        """Starts with the full model, nothing tested; arguments as for `LiveCircuit`."""
        self.circuits = [
            LiveCircuit(part, sums_what_is_left=sums_what_is_left) for part in engine.parts()
        ]
        # The metric by now.
        self.values = [circuit.engine.clean_by_prompt for circuit in self.circuits]

    @property
    def is_sliced(self) -> bool:
        """Whether there are several slices, whose runs are made again for every batch."""
        return len(self.circuits) > 1

    def is_live(self, receiver: Receiver) -> bool:
        """Whether a path of kept edges leads from what a receiver reads to the metric."""
        return any(circuit.is_live(receiver) for circuit in self.circuits)

    def keep(self, sender: Node, receiver: Receiver) -> None:
        """Records that an edge stays, without a test."""
        for circuit in self.circuits:
            if circuit.is_live(receiver):
                circuit.open(receiver)
                circuit.keep(sender, receiver)


class SlicedTest:
    """`ReceiverTest` for all slices; see there.

    Attributes:
        width: the most tokens of a prompt that a test computes.
        work: what a batch of candidates takes, the runs of every slice included if they are made
            for it alone.
    """

    def __init__(self, circuit: SlicedCircuit, receiver: Receiver):
        """Finds out in every slice what can change while this receiver is tested."""
        self._circuit = circuit
        self._tests: list[ReceiverTest | None] = []
        for live in circuit.circuits:
            # A position label may be missing from a whole slice.
            self._tests.append(ReceiverTest(live, receiver) if live.is_live(receiver) else None)
            self._leave(live.engine)
        tests = [test for test in self._tests if test is not None]
        self.width = max(test.at.width for test in tests)
        self.work = Work(
            n_steps=sum(test.work.n_steps for test in tests),
            n_weights=sum(test.work.n_weights for test in tests),
            flops_per_member=sum(test.work.flops_per_member for test in tests),
            flops_fixed=sum(live.engine.flops_of_runs for live in circuit.circuits)
            if circuit.is_sliced
            else 0,
        )

    def _leave(self, engine: Engine) -> None:
        if self._circuit.is_sliced:
            engine.forget()

    def try_removing(self, senders: Sequence[int]) -> Float[Tensor, "chain prompt"]:
        """The metric with the first, the first two, ... of these edges removed as well."""
        return self._values(lambda test: test.try_removing(senders), len(senders))

    def try_alone(self, senders: Sequence[int]) -> Float[Tensor, "candidate prompt"]:
        """The metric with each of these edges, alone, carrying its ablated value."""
        return self._values(lambda test: test.try_alone(senders), len(senders))

    def _values(self, function: Callable[[ReceiverTest], Tensor], n: int) -> Tensor:
        self._measured = []
        for test, value in zip(self._tests, self._circuit.values, strict=True):
            if test is None:
                self._measured.append(value.expand(n, -1))
            else:
                self._measured.append(function(test))
                self._leave(test.engine)
        return torch.cat(self._measured, 1)

    def accept(self, senders: Sequence[int]) -> None:
        """Makes the removal of the first edges of the last chain, these, part of the circuit."""
        if not senders:
            return
        self._circuit.values = [values[len(senders) - 1] for values in self._measured]
        for test in self._tests:
            if test is not None:
                test.accept(senders)

    def remove(self, senders: Sequence[int]) -> None:
        """Makes the removal of some edges part of the circuit, as known from before."""
        if not senders:
            return
        self._values(lambda test: test.remove(senders)[None], 1)
        self._circuit.values = [values[0] for values in self._measured]

    def keep(self, sender: int) -> None:
        """Makes an edge part of the circuit for good."""
        for test in self._tests:
            if test is not None:
                test.keep(sender)

    def finish(self) -> None:
        """Ends an ACDC test: what is not kept by now is removed for good."""
        for test in self._tests:
            if test is not None:
                test.finish()
