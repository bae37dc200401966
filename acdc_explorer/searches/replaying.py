"""Measuring decisions of a circuit again, each in the state in which it was made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from acdc_explorer.circuits.steps import EdgeStep
from acdc_explorer.engine.edge_trials import Link
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.prompt_slices import SlicedCircuit, SlicedTrials
from acdc_explorer.graph import Edge
from acdc_explorer.searches.chains import ChainLength


@dataclass(frozen=True)
class MeasuredStep:
    """A decision of a circuit, measured again.

    Attributes:
        step: as it is in the circuit.
        before: the metric of each prompt with the edge.
        after: without it.
        removed: the edges that had been removed before.
    """

    step: EdgeStep
    before: Float[Tensor, " prompt"]
    after: Float[Tensor, " prompt"]
    removed: Bool[np.ndarray, "receiver sender"]


def measured_steps(
    engine: Engine, decisions: Sequence[EdgeStep], to_measure: set[Edge]
) -> Iterator[MeasuredStep]:
    """Goes through a circuit's decisions as they were made, and measures some of them on the way.

    Args:
        engine: on which the circuit was found.
        decisions: of a circuit by method "acdc", from the first on, as far as any is measured.
        to_measure: tested or screened edges.

    Yields:
        Them, in the order of the search.
    """
    sums_what_is_left = engine.ablation == "zero"
    live = SlicedCircuit(engine, sums_what_is_left=sums_what_is_left)
    lengths = ChainLength(engine)
    removed, n_left = engine.graph.mask_of([]), len(to_measure)
    for receiver, group in groupby(decisions, lambda step: step.edge.receiver):
        if not n_left:
            return
        trials = SlicedTrials(live, receiver)
        steps = list(group)
        while steps:
            n_links = lengths.next(trials, 2 * len(steps), alone=True)
            chain = _chain_of(
                engine, steps, to_measure, max(2, n_links), comes_back=not sums_what_is_left
            )
            values = torch.cat(live.values).double()[None]
            if chain.links:
                values = torch.cat([values, trials.try_removing(chain.links).double()])
            for step in steps[: chain.n_steps]:
                if step.kept:
                    trials.keep(engine.graph.sender_index[step.edge.sender])
                if step.edge in chain.measured:
                    before, after = chain.measured[step.edge]
                    yield MeasuredStep(step, values[before], values[after], removed.copy())
                    n_left -= 1
                removed[engine.graph.cell(step.edge)] = not step.kept
            trials.accept(chain.n_removals)
            steps = steps[chain.n_steps :]
        trials.finish()


@dataclass(frozen=True)
class _Chain:
    """The removals of neighbouring edges, in links that end where a value is wanted.

    Value 0 is that of the circuit as it stands; number n that after the n-th link.

    Attributes:
        links: the removals.
        measured: edge -> the numbers of the values before and after its removal.
        n_steps: how many decisions it covers.
        n_removals: how many of its links lead to the circuit as it is after them.
    """

    links: list[Link]
    measured: dict[Edge, tuple[int, int]]
    n_steps: int
    n_removals: int


def _chain_of(
    engine: Engine, steps: Sequence[EdgeStep], to_measure: set[Edge], most: int, *, comes_back: bool
) -> _Chain:
    """A chain for the first of some decisions.

    Args:
        engine: whose edges these are.
        steps: decisions at one receiver that come next.
        to_measure: edges whose values are wanted.
        most: how many links at most; two at least.
        comes_back: whether an edge that was kept can be there again after its link; else it is the
            last one.
    """
    links, measured, pending = list[Link](), dict[Edge, tuple[int, int]](), list[int]()
    # The number of the value of the circuit as it is after the edges so far.
    now, n_steps = 0, 0
    for step in steps:
        sender = engine.graph.sender_index[step.edge.sender]
        if step.edge in to_measure:
            if len(links) + 2 > most:
                break
            if pending:
                links.append(Link(pending))
                now, pending = len(links), []
            links.append(Link([sender], comes_back=step.kept and comes_back))
            measured[step.edge] = now, len(links)
            if not step.kept:
                now = len(links)
            elif not comes_back:
                return _Chain(links, measured, n_steps + 1, len(links) - 1)
        elif not step.kept:
            pending.append(sender)
        n_steps += 1
    if pending:
        links.append(Link(pending))
    return _Chain(links, measured, n_steps, len(links))
