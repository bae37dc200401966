"""A backwards search on all prompts together, or slice by slice where their runs are too large."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from acdc_explorer.engine.change_plan import Work
from acdc_explorer.engine.edge_trials import EdgeTrials, Link, last_removal
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.live_circuit import LiveCircuit
from acdc_explorer.engine.predictions import Predictions
from acdc_explorer.graph import Node, Receiver


class SlicedCircuit:
    """The live circuits of the slices of an engine's prompts; as a rule there is one slice.

    Attributes:
        engine: that is searched.
        circuits: one for each slice.
        predictions: likewise, of edges' effects.
        values: the metric by now, of each slice's prompts.
    """

    def __init__(self, engine: Engine, *, sums_what_is_left: bool = False):
        """Starts with the full model, nothing tested; arguments as for `LiveCircuit`."""
        self.engine = engine
        self.circuits = [
            LiveCircuit(engine, runs, sums_what_is_left=sums_what_is_left) for runs in engine.slices
        ]
        self.predictions = [Predictions(circuit) for circuit in self.circuits]
        sizes = [runs.n_prompts for runs in engine.slices]
        self.values = list(engine.clean_by_prompt.split(sizes))

    def is_live(self, receiver: Receiver) -> bool:
        """Whether a path of kept edges leads from what a receiver reads to the metric."""
        return any(circuit.is_live(receiver) for circuit in self.circuits)

    def keep(self, sender: Node, receiver: Receiver) -> None:
        """Records that an edge stays, without a test."""
        for circuit in self.circuits:
            if circuit.is_live(receiver):
                circuit.open(receiver)
                circuit.keep(sender, receiver)


class SlicedTrials:
    """`EdgeTrials` for all slices; see there.

    Attributes:
        width: the most tokens of a prompt that a trial computes.
        work: what a batch of candidates takes, the runs of every slice included if they are made
            for it alone.
    """

    def __init__(self, circuit: SlicedCircuit, receiver: Receiver):
        """Finds out in every slice what can change while this receiver is tested."""
        self._circuit, self._receiver, engine = circuit, receiver, circuit.engine
        self._chain: Sequence[Link] = ()
        self._trials: list[EdgeTrials | None] = []
        for live in circuit.circuits:
            # A position label may be missing from a whole slice.
            self._trials.append(EdgeTrials(live, receiver) if live.is_live(receiver) else None)
            engine.leave(live.runs)
        trials = [each for each in self._trials if each is not None]
        self.width = max(each.at.width for each in trials)
        self.work = Work(
            n_steps=sum(each.work.n_steps for each in trials),
            n_weights=sum(each.work.n_weights for each in trials),
            flops_per_member=sum(each.work.flops_per_member for each in trials),
            flops_fixed=engine.flops_of_runs() if engine.is_sliced else 0.0,
        )

    def try_removing(self, chain: Sequence[Link]) -> Float[Tensor, "chain prompt"]:
        """The metric with the first, the first two, ... of these links' edges removed as well."""
        self._chain = chain
        return self._values(lambda trials: trials.try_removing(chain), len(chain))

    def try_alone(self, senders: Sequence[int]) -> Float[Tensor, "candidate prompt"]:
        """The metric with each of these edges, alone, carrying its ablated value."""
        return self._values(lambda trials: trials.try_alone(senders), len(senders))

    def _values(self, function: Callable[[EdgeTrials], Tensor], n: int) -> Tensor:
        self._measured = []
        for live, trials, value in zip(
            self._circuit.circuits, self._trials, self._circuit.values, strict=True
        ):
            if trials is None:
                self._measured.append(value.expand(n, -1))
            else:
                self._measured.append(function(trials))
                self._circuit.engine.leave(live.runs)
        return torch.cat(self._measured, 1)

    def predicted_changes(self) -> Float[np.ndarray, " sender"]:
        """What the removal of each edge, alone, adds to the metric's mean over prompts, about."""
        total = np.zeros(self._circuit.engine.graph.n_senders_to(self._receiver))
        for live, predictions in zip(
            self._circuit.circuits, self._circuit.predictions, strict=True
        ):
            if live.is_live(self._receiver):
                total += predictions.of(self._receiver)
                self._circuit.engine.leave(live.runs)
        return total / self._circuit.engine.n_prompts

    def accept(self, n: int) -> None:
        """Makes what the first links of the last chain remove part of the circuit."""
        member = last_removal(self._chain[:n])
        if member is None:
            return
        self._circuit.values = [values[member] for values in self._measured]
        for trials in self._trials:
            if trials is not None:
                trials.accept(n)

    def remove(self, senders: Sequence[int]) -> None:
        """Makes the removal of some edges part of the circuit, as known from before."""
        if not senders:
            return
        self._values(lambda trials: trials.remove(senders)[None], 1)
        self._circuit.values = [values[0] for values in self._measured]

    def keep(self, sender: int) -> None:
        """Makes an edge part of the circuit for good."""
        for trials in self._trials:
            if trials is not None:
                trials.keep(sender)

    def finish(self) -> None:
        """Ends an ACDC test: what is not kept by now is removed for good."""
        for trials in self._trials:
            if trials is not None:
                trials.finish()
