"""Searches made again: other orders, prompts, seeds, thresholds and templates."""

from __future__ import annotations

import weakref
from itertools import combinations

import numpy as np
import pytest
from conftest import random_task

import acdc_explorer as ax
from acdc_explorer.circuits.steps import EdgeStep
from acdc_explorer.engine import cache
from acdc_explorer.engine.engine import Engine
from acdc_explorer.measures.overlap import mean_jaccard, pairwise_jaccard
from acdc_explorer.measures.repeated_search import RepeatedSearch
from acdc_explorer.measures.stability import StabilityRun, StabilityStudy
from acdc_explorer.measures.templates import prompts_by_template
from acdc_explorer.options import VARIATIONS

N_PROMPTS, N = 16, 3


@pytest.fixture(scope="module")
def task(mini):
    return ax.load_task("ioi", mini, N_PROMPTS)


@pytest.fixture(scope="module")
def found(mini, task):
    return ax.stability(mini, task, "10%", n=N, seed=1)


def jaccard(first, second):
    either = set(first) | set(second)
    return len(set(first) & set(second)) / len(either) if either else 1.0


class TestOverlap:
    def test_of_circuits_by_hand(self):
        kept = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [1, 1, 1, 0]], dtype=bool)
        expected = [[1, 1 / 3, 2 / 3], [1 / 3, 1, 2 / 3], [2 / 3, 2 / 3, 1]]
        np.testing.assert_allclose(pairwise_jaccard(kept), expected)
        assert mean_jaccard(kept, np.random.default_rng(0))[0] == pytest.approx(5 / 9)

    def test_empty_circuits_are_the_same(self):
        assert pairwise_jaccard(np.zeros((2, 3), dtype=bool)).tolist() == [[1, 1], [1, 1]]

    def test_the_interval_against_plain_resampling(self):
        rng = np.random.default_rng(3)
        kept = rng.random((8, 30)) < 0.4
        mean, low, high = mean_jaccard(kept, np.random.default_rng(0))
        each = pairwise_jaccard(kept)
        means = []
        for _ in range(4000):
            drawn = rng.integers(8, size=8)
            pairs = [each[i, j] for i, j in combinations(drawn, 2) if i != j]
            means.append(np.mean(pairs))
        assert low < mean < high
        assert [low, high] == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.01)

    def test_too_few_circuits_have_none(self):
        kept = np.array([[1, 1], [1, 0]], dtype=bool)
        assert mean_jaccard(kept, np.random.default_rng(0))[0] == 0.5
        assert np.isnan(mean_jaccard(kept, np.random.default_rng(0))[1:]).all()
        assert np.isnan(mean_jaccard(kept[:1], np.random.default_rng(0))).all()


class TestTemplates:
    def test_of_ioi_are_told_by_the_order_of_names(self, task):
        groups = prompts_by_template(task)
        assert set(groups) == {"IO … S1 … S1+1 … S2", "S1 … S1+1 … IO … S2"}
        for name, rows in groups.items():
            assert len(rows) == N_PROMPTS // 2
            for row in rows:
                io_first = task.positions["IO"][row] < task.positions["S1"][row]
                assert io_first == name.startswith("IO")

    def test_by_their_words(self, mini):
        task = ax.load_task("hypernymy", mini, 40)
        groups = prompts_by_template(task)
        assert len(groups) > 1
        for name, rows in groups.items():
            assert "<thing>" in name
            assert len(rows) >= 4
            for row in rows:
                thing = int(task.positions["thing"][row])
                said = list(task.token_texts[row])
                said[thing : thing + 2] = ["<thing>", "<and>"]
                assert " ".join(said) == name

    def test_what_a_label_says_again_is_no_template(self, mini):
        # The century comes twice, and is labelled once.
        assert prompts_by_template(ax.load_task("greater_than", mini, 20)) == {}

    def test_prompts_without_words_go_by_their_labels(self):
        assert prompts_by_template(random_task()) == {}


class TestRuns:
    def test_each_is_what_find_circuit_finds(self, mini, task, found):
        runs = {run.name: run for run in found.runs}
        expected = {
            "order 3": ax.find_circuit(mini, task, "10%", order="random", order_seed=3),
            "seed 4": ax.find_circuit(mini, ax.load_task("ioi", mini, N_PROMPTS, 4), "10%"),
            "IO … S1 … S1+1 … S2": ax.find_circuit(
                mini, task.take(prompts_by_template(task)["IO … S1 … S1+1 … S2"]), "10%"
            ),
        }
        rows = np.random.default_rng(5).integers(N_PROMPTS, size=N_PROMPTS)
        expected["draw 5"] = ax.find_circuit(mini, task.take(sorted(rows)), "10%")
        for factor in (2, 1, 1 / 2):
            threshold = found.circuit.threshold * factor
            circuit = ax.find_circuit(mini, task, threshold)
            expected[f"threshold {threshold:.4g}"] = circuit
        for name, circuit in expected.items():
            assert set(runs[name].kept) == set(circuit.kept)
            assert runs[name].threshold == pytest.approx(circuit.threshold)
            assert runs[name].faithfulness == pytest.approx(circuit.faithfulness, abs=1e-5)
        assert runs["IO … S1 … S1+1 … S2"].n_prompts == N_PROMPTS // 2
        assert found.circuit.kept == ax.find_circuit(mini, task, "10%").kept

    def test_the_tables_count_them(self, found):
        by_kind = {kind: [run for run in found.runs if run.kind == kind] for kind in VARIATIONS}
        assert [len(runs) for runs in by_kind.values()] == [N, N, N, N, 2]
        by_kind["all"] = list(found.runs)
        assert found.kinds["kind"].tolist() == list(by_kind)
        kept = {edge for run in found.runs for edge in run.kept} | set(found.circuit.kept)
        assert set(found.edges["edge"]) == kept
        for row in found.edges.to_dict("records"):
            assert row["kept"] == (row["edge"] in found.circuit.kept)
            for kind, runs in by_kind.items():
                share = sum(row["edge"] in run.kept for run in runs) / len(runs)
                assert row[kind] == pytest.approx(share)
        assert found.edges["all"].is_monotonic_decreasing
        for row in found.kinds.itertuples():
            runs = by_kind[row.kind]
            pairs = [jaccard(a.kept, b.kept) for a, b in combinations(runs, 2)]
            assert row.jaccard == pytest.approx(np.mean(pairs))
            with_circuit = [jaccard(run.kept, found.circuit.kept) for run in runs]
            assert row.with_circuit == pytest.approx(np.mean(with_circuit))
            sizes = [len(run.kept) for run in runs]
            assert (row.smallest, row.largest) == (min(sizes), max(sizes))
            assert row.median == np.median(sizes)
            assert np.isnan(row.low) == (len(runs) < 3)

    def test_the_consensus_is_what_half_of_them_keep(self, mini, task, found):
        n_kept = {e: sum(e in run.kept for run in found.runs) for e in found.edges["edge"]}
        half = {edge for edge, n in n_kept.items() if n >= len(found.runs) / 2}
        assert set(found.consensus) == half
        circuit = found.circuit
        value = ax.evaluate(mini, task, kept=found.consensus)
        span = circuit.full_metric - circuit.corrupted_metric
        share = (value - circuit.corrupted_metric) / span
        assert found.consensus_faithfulness == pytest.approx(share, abs=1e-5)

    def test_in_words(self, found):
        said = str(found)
        orders = found.kinds.set_index("kind").loc["orders"]
        interval = f"{orders.jaccard:.2f} ({orders.low:.2f} to {orders.high:.2f})"
        assert f"{interval} for 3 orders of the tests, " in said
        assert (
            f"{found.kinds.set_index('kind').loc['templates'].jaccard:.2f} for 2 templates" in said
        )
        assert f"At least half of all 14 runs keep {len(found.consensus)} edges" in said

    def test_another_seed_gives_others(self, mini):
        task = ax.load_task("induction", mini, 8)
        options = {"kinds": ["orders", "prompts", "seeds"], "n": 2}
        first, second, again = (
            ax.stability(mini, task, "10%", seed=seed, **options) for seed in (0, 1, 0)
        )
        assert len({run.name for run in (*first.runs, *second.runs)}) == 12
        assert again.runs == first.runs

    @pytest.mark.slow
    def test_with_screening_and_other_options(self, mini, task):
        options = {"screen": 0.5, "positions": True, "ablation": "mean", "rule": "signed"}
        found = ax.stability(mini, task, "20%", kinds=["thresholds", "prompts"], n=2, **options)
        assert found.circuit.kept == ax.find_circuit(mini, task, "20%", **options).kept
        assert found.circuit.n_screened
        lower = ax.find_circuit(mini, task, found.circuit.threshold / 2, **options)
        assert set(found.runs[1].kept) == set(lower.kept)


class TestStepByStep:
    def test_it_can_be_left_between_steps_and_asked_at_any_run(self, mini, task):
        search = RepeatedSearch.of(mini, task, "20%", {})
        study = StabilityStudy(search, ["orders"], 3, 0)
        with pytest.raises(ValueError, match="no run has ended"):
            study.result()
        n_steps = 0
        for step in study.steps():
            n_steps += isinstance(step, EdgeStep)
            if isinstance(step, StabilityRun) and len(study.runs) == 2:
                break
        assert n_steps > 3 * len(study.runs[0].kept)
        assert study.n_runs == 3
        assert study.result().runs == tuple(study.runs)
        assert study.result().kinds["runs"].tolist() == [2, 2]

    def test_engines_of_other_prompts_are_let_go_of(self, mini, task, monkeypatch):
        made = []
        original = Engine.__init__

        def remembered(engine, *args, **options):
            original(engine, *args, **options)
            made.append(weakref.ref(engine))

        search = RepeatedSearch.of(mini, task, "20%", {})
        monkeypatch.setattr(Engine, "__init__", remembered)
        before = len(cache._engines[mini])
        n_most = 0
        for step in StabilityStudy(search, ["prompts"], 3, 0).steps():
            if isinstance(step, StabilityRun):
                n_most = max(n_most, sum(engine() is not None for engine in made))
        assert len(made) >= 3
        assert n_most == 0
        assert len(cache._engines[mini]) == before


class TestWhatDoesNotApply:
    def test_is_left_out_and_told(self, mini):
        task = ax.load_task("greater_than", mini, 8).take(range(4))
        found = ax.stability(mini, task, "20%", n=2)
        assert found.kinds["kind"].tolist() == ["orders", "prompts", "thresholds", "all"]
        assert [note.partition(":")[0] for note in found.notes] == ["no seeds", "no templates"]
        assert "No seeds: these are not the prompts of a built-in task" in str(found)

    def test_orders_of_attribution(self, mini, task):
        options = {"kinds": ["orders", "thresholds"], "n": 2, "method": "eap"}
        found = ax.stability(mini, task, "20%", **options)
        assert found.notes == ("no orders: what method 'eap' finds does not depend on the order",)

    def test_nothing_is_an_error(self, mini):
        with pytest.raises(ValueError, match="nothing to vary: no templates"):
            ax.stability(mini, ax.load_task("greater_than", mini, 8), kinds=["templates"])

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"kinds": ["order"]}, "unknown kind 'order'. Did you mean 'orders'"),
            ({"kinds": []}, "kinds must be a list of some of orders, prompts"),
            ({"kinds": "orders"}, "kinds must be a list of some of orders, prompts"),
            ({"n": 1}, "n must be a whole number from 2 on; got 1"),
            ({"seed": -1}, "seed must be a whole number from 0 on; got -1"),
            ({"top_n": 5}, "top_n does not apply here"),
            ({"ordr": "random"}, "unknown option 'ordr'. Did you mean 'order'"),
            ({"threshold": "none"}, "threshold must be a positive number"),
        ],
    )
    def test_wrong_arguments_are_named(self, mini, task, options, message):
        with pytest.raises(ValueError, match=message):
            ax.stability(mini, task, **options)
