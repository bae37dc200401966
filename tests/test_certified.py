"""The vote of subsets of the prompts: intervals, decisions, and what no change of few can alter."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from conftest import bridge_of, random_gpt2, random_task

import acdc_explorer as ax
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.measures.certified import SubsetVote, most_moved, radius_of, vote_table
from acdc_explorer.measures.repeated_search import RepeatedSearch
from acdc_explorer.searches.binomial import clopper_pearson

N, K = 6, 2


@pytest.fixture(scope="module")
def model():
    return ax.load_model(bridge_of(random_gpt2("3x2")))


class TestInterval:
    def test_by_hand(self):
        # Where all draws agree, an end is a root; else from tables of the binomial distribution.
        assert clopper_pearson(0, 10, 0.95) == pytest.approx((0, 1 - 0.025**0.1))
        assert clopper_pearson(10, 10, 0.95) == pytest.approx((0.025**0.1, 1))
        assert clopper_pearson(1, 10, 0.95) == pytest.approx((0.0025, 0.4450), abs=1e-4)
        assert clopper_pearson(8, 10, 0.90) == pytest.approx((0.4931, 0.9632), abs=1e-4)

    @pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.9])
    def test_it_holds_the_share_as_often_as_it_says(self, share):
        """The chance of all outcomes whose interval holds it, summed up."""
        n, held = 40, 0.0
        for k in range(n + 1):
            low, high = clopper_pearson(k, n, 0.9)
            if low <= share <= high:
                held += math.comb(n, k) * share**k * (1 - share) ** (n - k)
        assert 0.9 <= held < 1


class TestProof:
    """Exhaustively: votes of all subsets before and after every change of few prompts."""

    @staticmethod
    def vote(keeps, prompts, k):
        subsets = list(combinations(sorted(prompts), k))
        return sum(keeps(subset) for subset in subsets) / len(subsets)

    @pytest.mark.parametrize("k", [1, 2, 3])
    def test_no_change_moves_a_vote_by_more(self, k):
        rng = np.random.default_rng(k)
        before, others = range(6), range(6, 9)
        for _ in range(20):
            drawn = {s: rng.random() < 0.5 for s in combinations(range(9), k)}
            old = self.vote(drawn.__getitem__, before, k)
            for n_away in range(3):
                for n_new in range(3):
                    most = most_moved(6, k, max(n_away, n_new))
                    for away in combinations(before, n_away):
                        for new in combinations(others, n_new):
                            after = {*before, *new} - {*away}
                            moved = abs(self.vote(drawn.__getitem__, after, k) - old)
                            assert moved <= most + 1e-12

    @pytest.mark.parametrize(("n", "k", "r"), [(6, 2, 1), (7, 3, 2)])
    def test_one_swap_moves_it_by_as_much(self, n, k, r):
        def touched(subset):
            return any(prompt < r for prompt in subset)

        old = self.vote(touched, range(n), k)
        new = self.vote(touched, range(r, n + r), k)
        assert old - new == pytest.approx(most_moved(n, k, r))

    def test_by_hand(self):
        # Of 6 prompts, C(5, 2) = 10 of the 15 pairs are without a certain one; C(4, 2) = 6 without
        # certain two.
        assert most_moved(6, 2, 1) == pytest.approx(1 / 3)
        assert most_moved(6, 2, 2) == pytest.approx(9 / 15)
        assert most_moved(6, 2, 5) == 1
        assert radius_of(0.5, 6, 2) == 1
        assert radius_of(0.3, 6, 2) == 0
        assert radius_of(0.5, 64, 16) == 2
        # At the bound itself nothing is proved.
        assert radius_of(most_moved(8, 1, 2), 8, 1) == 1

    def test_of_searches(self, model):
        """All pairs of prompts searched; one of them swapped for each of two others."""
        task = random_task(n_prompts=N + 2)
        kept = {
            pair: set(ax.find_circuit(model, task.take(pair), 0.3).kept)
            for pair in combinations(range(N + 2), K)
        }
        edges = sorted(set.union(*kept.values()))
        votes = {edge: self.vote(lambda s, e=edge: e in kept[s], range(N), K) for edge in edges}
        margin = {edge: abs(votes[edge] - 0.5) for edge in edges}
        certain = [edge for edge in edges if radius_of(margin[edge], N, K)]
        assert 0 < len(certain) < len(edges)
        moved = 0.0
        for away in range(N):
            for new in (N, N + 1):
                after = {*range(N), new} - {away}
                for edge in edges:
                    vote = self.vote(lambda s, e=edge: e in kept[s], after, K)
                    moved = max(moved, abs(vote - votes[edge]))
                    if edge in certain:
                        assert (vote > 0.5) == (votes[edge] > 0.5)
        assert 0.1 < moved <= most_moved(N, K, 1)


class TestTable:
    def test_by_hand(self):
        ids = ["a", "b", "c", "d"]
        table = vote_table(ids, np.array([50, 100, 0, 95]), 100, 64, 16, 0.95)
        assert table["edge"].tolist() == ["b", "d", "a", "c"]
        assert table["share"].tolist() == [1, 0.95, 0.5, 0]
        assert table["decision"].tolist() == ["in", "in", "abstain", "out"]
        low = [0.025 ** (1 / 100), clopper_pearson(95, 100, 0.95)[0]]
        assert table["low"].tolist()[:2] == pytest.approx(low)
        assert low[1] > 0.88
        # 0.964 is above 1/2 + 0.44, 0.887 above 1/2 + 0.25 alone.
        assert table["radius"].tolist()[:2] == [2, 1]
        assert table["radius"].isna().tolist() == [False, False, True, False]


class TestVote:
    def test_each_is_what_find_circuit_finds(self, mini):
        task = ax.load_task("greater_than", mini, 12)
        found = ax.certify(mini, task, "10%", n=6, subset_size=4, seed=2)
        votes = dict.fromkeys(found.edges["edge"], 0)
        for number in range(6):
            rows = np.random.default_rng([2, number]).choice(12, 4, replace=False)
            for edge in ax.find_circuit(mini, task.take(sorted(rows)), "10%").kept:
                votes[edge] += 1
        shares = found.edges.set_index("edge")["share"]
        assert shares.to_dict() == pytest.approx({edge: k / 6 for edge, k in votes.items()})
        assert len(found.edges) == mini.graph.n_edges
        assert (found.n_prompts, found.subset_size, found.n_subsets) == (12, 4, 6)
        in_ = [e for e, k in votes.items() if clopper_pearson(k, 6, 0.95)[0] > 0.5]
        assert set(found.kept) == set(in_)
        assert in_
        value = ax.evaluate(mini, task, kept=found.kept)
        full, ablated = ax.evaluate(mini, task, []), ax.evaluate(mini, task, kept=[])
        assert found.faithfulness == pytest.approx((value - ablated) / (full - ablated), abs=1e-5)

    def test_in_words(self, mini):
        task = ax.load_task("greater_than", mini, 16)
        found = ax.certify(mini, task, "20%", n=12, subset_size=2)
        said = str(found)
        assert said.startswith(f"{len(found.kept)} edges are in: at 95% confidence for each, more")
        assert "all subsets of 2 of the 16 prompts keep it" in said
        radii = found.edges.loc[found.edges["decision"] == "in", "radius"]
        assert radii.max() >= 1
        assert f"any swap of prompts for others: {(radii >= 1).sum()} (1 prompt)" in said

    def test_it_can_be_left_between_steps(self, mini):
        task = ax.load_task("greater_than", mini, 8)
        vote = SubsetVote(RepeatedSearch.of(mini, task, "20%", {}), 9, None, 0.95, 0)
        with pytest.raises(ValueError, match="no subset has voted"):
            vote.result()
        for step in vote.steps():
            if isinstance(step, Circuit) and vote.n_done == 2:
                break
        assert vote.result().n_subsets == 2
        assert vote.result().subset_size == 2

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"n": 0}, "n must be a whole number from 1 on; got 0"),
            ({"seed": 0.5}, "seed must be a whole number from 0 on; got 0.5"),
            (
                {"subset_size": 4},
                "subset_size must be a whole number from 1 to 3, as one of the 4 prompts",
            ),
            ({"confidence": 95}, "confidence must be a number between 0 and 1; got 95"),
            ({"replay": None, "top_n": 3}, "top_n does not apply here"),
        ],
    )
    def test_wrong_arguments_are_named(self, mini, options, message):
        with pytest.raises(ValueError, match=message):
            ax.certify(mini, ax.load_task("ioi", mini, 4), **options)

    def test_one_prompt_is_refused(self, mini):
        with pytest.raises(ValueError, match="at least two prompts; got 1"):
            ax.certify(mini, ax.load_task("ioi", mini, 1))
