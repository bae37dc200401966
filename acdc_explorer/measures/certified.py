"""A circuit by the vote of many subsets of the prompts, which no change of few prompts can alter.

After the "Certified circuits" of arXiv 2602.22968: where the subsets disagree, no decision is made.

What is certified, and why. Let a search on k prompts either keep an edge or not, and let the
edge's vote p be the share of all subsets of k of the n prompts on which it is kept. Take away any
a prompts and put in any b others, both at most r. A subset drawn from the old prompts and one drawn
from the new ones can be drawn together so that they are the same with a chance of

    C(n - a, k) / max(C(n, k), C(n - a + b, k)),

since the C(n - a, k) subsets of the prompts that stay are as likely as any other under either. For
all a, b <= r that is at least q = C(n - r, k) / C(n, k): if b <= a, because C(n - a, k) falls with
a; if b > a, because C(m, k) / C(m + b, k) rises with m = n - a, which is more than n - b. So the
vote changes by 1 - q at most, and an edge with p > 1/2 + (1 - q), or p < 1/2 - (1 - q), is on the
same side of one half before and after. The bound is reached where r prompts are swapped for others.

Votes are estimated from some subsets, so p is replaced by the end of its exact interval that lies
nearer to one half.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Unpack

import numpy as np
import pandas as pd

from acdc_explorer.arguments import THRESHOLD, KindOfSearch, resolve
from acdc_explorer.arithmetic import plain_arithmetic
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.steps import Step
from acdc_explorer.errors import check_whole_number
from acdc_explorer.measures.repeated_search import RepeatedSearch
from acdc_explorer.models.model import ModelLike
from acdc_explorer.progress import working_on
from acdc_explorer.searches.binomial import clopper_pearson
from acdc_explorer.tasks.task import Task

IN, OUT, ABSTAIN = "in", "out", "abstain"
# A subset has this share of the prompts, unless told otherwise.
_SUBSET_SHARE = 0.25


@dataclass(frozen=True)
class CertifiedCircuit:
    """Which edges most subsets of the prompts keep, and for which that is too close to say.

    Attributes:
        n_prompts: how many prompts there are.
        subset_size: how many of them a subset has.
        n_subsets: how many subsets were drawn, each independently of the others.
        confidence: of each edge's interval by itself, as a share. Of many edges whose vote is near
            one half, as many as this allows may be decided wrongly.
        edges: a row for each edge of the graph, the one kept most often first: edge; share (of the
            drawn subsets, on whose prompts the search keeps it); low and high (the exact interval
            for the share of all subsets, by Clopper and Pearson 1934); decision ("in" if low is
            above one half, "out" if high is below, else "abstain"); and radius, the most prompts
            that can be swapped for any others, taken away or put in without changing the decision
            (see the module's text); missing where there is none.
        kept: ids of the edges that are in, in the order of `edges`.
        faithfulness: of the circuit of just these edges, on all the prompts.
    """

    n_prompts: int
    subset_size: int
    n_subsets: int
    confidence: float
    edges: pd.DataFrame
    kept: tuple[str, ...]
    faithfulness: float

    def __str__(self) -> str:
        """In a few sentences."""
        counts = self.edges["decision"].value_counts()
        n_abstained = int(counts.get(ABSTAIN, 0))
        radii = self.edges.loc[self.edges["decision"] == IN, "radius"].tolist()
        staying = [
            f"{sum(radius >= n for radius in radii)} ({n} prompt{'s' * (n > 1)})"
            for n in range(1, max(radii, default=0) + 1)
        ]
        said = (
            f"{len(self.kept)} edges are in: at {self.confidence:.0%} confidence for each, more "
            f"than half of all subsets of {self.subset_size} of the {self.n_prompts} prompts keep "
            f"it. {n_abstained} are too close to say, {int(counts.get(OUT, 0)):,} are out. "
            f"Faithfulness of those that are in: {self.faithfulness:.1%}."
        )
        if staying:
            said += f" Still in after any swap of prompts for others: {', '.join(staying)}."
        return said


def certify(
    model: ModelLike,
    task: Task | str,
    threshold: float | str = THRESHOLD,
    *,
    n: int = 100,
    subset_size: int | None = None,
    confidence: float = 0.95,
    seed: int = 0,
    **options: Unpack[KindOfSearch],
) -> CertifiedCircuit:
    """Searches on many random subsets of the prompts, and lets them vote on every edge.

    An edge is in if surely more than half of all subsets keep it, out if surely fewer do; of others
    nothing is said. For each decision there is a number of prompts, its radius: whichever so many
    are swapped for whatever others, most subsets decide as before. That is proved, not estimated
    from data, given that the interval holds; `measures/certified.py` has the proof.

    It says nothing about other models, thresholds, orders of the tests or metrics; about prompts
    of which more than the radius are other ones, as all of another draw are (see `stability`);
    about the circuit that a search on all prompts at once finds; or whether a circuit is right.

    Args:
        model: anything that `load_model` takes.
        task: a `Task`, or the name of one; of at least two prompts.
        threshold: as `find_circuit` takes it; a per cent is one of each subset's clean metric.
        n: how many subsets to draw.
        subset_size: how many prompts are in each, fewer than there are; by default a quarter of
            them. The smaller it is, the larger the radii, and the noisier each circuit.
        confidence: of each edge's interval, as a share.
        seed: of the draws.
        options: other arguments of `find_circuit` but `replay` and `top_n`.

    Raises:
        ValueError: naming the argument that is wrong and what is allowed.
    """
    with plain_arithmetic():
        loaded, task = resolve(model, task)
        search = RepeatedSearch.of(loaded, task, threshold, options)
        vote = SubsetVote(search, n, subset_size, confidence, seed)
        with working_on("searching on subsets of the prompts: circuits found", n) as done:
            # After every step, so that whoever listens can do something else, or give it up.
            for _ in vote.steps():
                done(vote.n_done)
        return vote.result()


class SubsetVote:
    """A vote under way.

    Attributes:
        n_done: how many subsets have voted.
    """

    def __init__(
        self,
        search: RepeatedSearch,
        n: int,
        subset_size: int | None,
        confidence: float,
        seed: int,
    ):
        """Begins.

        Args:
            search: to make on each subset.
            n: as for `certify`; so are the others.
            subset_size: likewise.
            confidence: likewise.
            seed: likewise.

        Raises:
            ValueError: likewise.
        """
        for name, value, least in (("n", n, 1), ("seed", seed, 0)):
            check_whole_number(name, value, least)
        n_prompts = search.task.n_prompts
        if n_prompts < 2:
            raise ValueError("subsets need at least two prompts; got 1")
        size = max(1, round(_SUBSET_SHARE * n_prompts)) if subset_size is None else subset_size
        if type(size) is not int or not 1 <= size < n_prompts:
            raise ValueError(
                f"subset_size must be a whole number from 1 to {n_prompts - 1}, as one of the "
                f"{n_prompts} prompts at least is left out; got {subset_size!r}"
            )
        if not (isinstance(confidence, (int, float)) and 0 < confidence < 1):
            raise ValueError(f"confidence must be a number between 0 and 1; got {confidence!r}")
        self._search, self._n, self._size = search, n, size
        self._confidence, self._seed = confidence, seed
        self._votes = np.zeros(search.engine.graph.n_edges, dtype=np.int64)
        self.n_done = 0

    def steps(self) -> Iterator[Step | Circuit]:
        """Makes the searches.

        Yields:
            Every step, so that whoever drives this can do something else in between, and the
            circuit of every subset as it is found.
        """
        for number in range(self._n):
            circuit = yield from self._search.steps(*self._search.on(self._subset(number)))
            self._votes += circuit.kept_mask[circuit.graph.edge_mask]
            self.n_done += 1
            yield circuit

    def _subset(self, number: int) -> Task:
        task = self._search.task
        rng = np.random.default_rng([self._seed, number])
        rows = rng.choice(task.n_prompts, self._size, replace=False)
        return task.take(np.sort(rows).tolist())

    def result(self) -> CertifiedCircuit:
        """What the subsets so far say.

        Raises:
            ValueError: if none has voted.
        """
        if not self.n_done:
            raise ValueError("no subset has voted so far")
        n_prompts = self._search.task.n_prompts
        edges = vote_table(
            self._search.engine.graph.edge_ids,
            self._votes,
            self.n_done,
            n_prompts,
            self._size,
            self._confidence,
        )
        kept = tuple(edges.loc[edges["decision"] == IN, "edge"])
        return CertifiedCircuit(
            n_prompts,
            self._size,
            self.n_done,
            self._confidence,
            edges,
            kept,
            self._search.faithfulness_of(kept),
        )


def vote_table(
    edge_ids: list[str],
    votes: np.ndarray,
    n_subsets: int,
    n_prompts: int,
    subset_size: int,
    confidence: float,
) -> pd.DataFrame:
    """The table of `CertifiedCircuit.edges`.

    Args:
        edge_ids: ids.
        votes: how many of the drawn subsets keep each.
        n_subsets: how many were drawn.
        n_prompts: how many prompts there are.
        subset_size: how many of them a subset has.
        confidence: of each edge's interval, as a share.
    """

    @cache
    def decided(n_votes: int) -> tuple[float, float, str, int | None]:
        low, high = clopper_pearson(n_votes, n_subsets, confidence)
        margin = max(low - 0.5, 0.5 - high)
        if margin <= 0:
            return low, high, ABSTAIN, None
        return low, high, IN if low > 0.5 else OUT, radius_of(margin, n_prompts, subset_size)

    rows = [
        (edge, n / n_subsets, *decided(n)) for edge, n in zip(edge_ids, votes.tolist(), strict=True)
    ]
    columns = ["edge", "share", "low", "high", "decision", "radius"]
    table = pd.DataFrame(rows, columns=columns).astype({"radius": "Int64"})
    return table.sort_values("share", ascending=False, kind="stable", ignore_index=True)


def radius_of(margin: float, n_prompts: int, subset_size: int) -> int:
    """How many prompts can be other ones without moving a vote by so much; see the module's text.

    Args:
        margin: how far the vote is from one half; at most one half.
        n_prompts: how many prompts there are.
        subset_size: how many of them a subset has.
    """
    radius = 0
    while most_moved(n_prompts, subset_size, radius + 1) < margin:
        radius += 1
    return radius


def most_moved(n_prompts: int, subset_size: int, n_changed: int) -> float:
    """By how much a vote can move if so many prompts are swapped for others: 1 - q of the proof."""
    same = math.comb(n_prompts - n_changed, subset_size) / math.comb(n_prompts, subset_size)
    return 1 - same
