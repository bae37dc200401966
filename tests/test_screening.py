"""Searches that let edges go by their predicted change: predictions, runs, replay, files."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import zip_longest

import numpy as np
import pytest
import torch
from conftest import bridge_of, labelled_task, mostly_slow, random_gpt2, random_model, random_task

import acdc_explorer as ax
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.circuits.steps import EdgeStep, ReceiverStep
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.evaluate import evaluate_removed
from acdc_explorer.engine.predictions import Predictions
from acdc_explorer.engine.prompt_slices import SlicedTrials
from acdc_explorer.engine.removed_edges import RemovedEdges
from acdc_explorer.engine.scoring import mean_metric
from acdc_explorer.metrics import METRICS
from acdc_explorer.models.bridge import extract_weights
from acdc_explorer.searches import receiver_walk
from acdc_explorer.searches.acdc import _AcdcSearch, acdc_steps
from acdc_explorer.searches.audit import audit_circuit, most_wrong
from acdc_explorer.searches.methods import circuit_of

SIX = ["gpt2", "llama", "gpt_neox", "gemma2", "olmo2", "phi"]
THRESHOLD = 0.05
EXACT = SearchSettings(THRESHOLD, str(THRESHOLD))


def engine_of(kind, ablation="corrupted", task=None, sizes=None, **options) -> Engine:
    model = random_gpt2("3x2") if kind == "gpt2" else random_model(kind, **(sizes or {}))
    return Engine(extract_weights(bridge_of(model)), task or random_task(), ablation, **options)


def decisions(steps) -> list[EdgeStep]:
    return [step for step in steps if isinstance(step, EdgeStep)]


def metric_without(engine, removed) -> float:
    return mean_metric(evaluate_removed(engine, [RemovedEdges(removed.copy())])[0])


def kept(steps) -> list[str]:
    return [step.edge.id for step in decisions(steps) if step.kept]


class TestPredictions:
    @pytest.mark.parametrize("ablation", ["corrupted", "zero", "mean"])
    @pytest.mark.parametrize("kind", mostly_slow(SIX, "llama", "gemma2"))
    def test_they_are_derivatives_in_the_circuit_as_it_stands(self, kind, ablation):
        self.check(engine_of(kind, ablation).in_float64)

    @pytest.mark.parametrize("kind", ["gpt2", "gemma2"])
    @pytest.mark.parametrize("options", [{"positions": True}, {"split_qkv": False}])
    def test_with_other_edges(self, kind, options):
        self.check(engine_of(kind, task=labelled_task(), **options).in_float64)

    @staticmethod
    def check(engine: Engine) -> None:
        """At receivers all through a search, against the metric a small step away."""
        search = _AcdcSearch(engine, EXACT, None, ())
        compared, at = [], 0
        original, step = receiver_walk.ReceiverWalk.steps, 1e-7

        def compare_first(walk):
            nonlocal at
            at += 1
            if at % 3 == 1:
                # Not those that another head's receiver has asked for.
                search.circuit.predictions[0]._changes.clear()
                predicted = walk._trials.predicted_changes() * engine.n_prompts
                trials = walk._trials._trials[0]
                senders = range(len(walk._senders))
                scaled = []
                for sender in senders:
                    sums = dict(trials._head_sums)
                    scaled.append(amount(trials, sender, sums))
                inputs = trials._now + torch.stack([torch.zeros_like(trials._now), *scaled])
                values = trials._downstream.metric_of({trials._input: inputs}).sum(-1)
                compared.append((predicted, ((values[1:] - values[0]) / step).numpy()))
            return original(walk)

        def amount(trials, sender, sums):
            runs = trials._circuit.runs
            delta, heads_delta = runs.delta, runs.heads_delta
            runs.delta = lambda *given: step * delta(*given)
            runs.heads_delta = lambda *given: step * heads_delta(*given)
            try:
                return trials._amount([sender], sums)
            finally:
                del runs.delta, runs.heads_delta

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(receiver_walk.ReceiverWalk, "steps", compare_first)
            list(search.steps())
        assert len(compared) > 2
        assert max(np.abs(measured).max() for _, measured in compared) > 0.1
        for predicted, measured in compared:
            largest = max(1e-2, np.abs(measured).max())
            np.testing.assert_allclose(predicted, measured, rtol=0, atol=1e-3 * largest)

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", mostly_slow(SIX, "llama", "gemma2"))
    def test_those_of_several_heads_together_are_those_of_each(self, kind):
        engine = engine_of(kind).in_float64
        search, n_compared = _AcdcSearch(engine, EXACT, None, ()), 0
        predictions = search.circuit.predictions[0]
        for step in search.steps():
            if not isinstance(step, ReceiverStep) or not step.live:
                continue
            receivers = predictions._like(step.receiver)
            together = predictions._differentiate(receivers)
            for receiver in receivers if len(receivers) > 1 else ():
                alone = predictions._differentiate([receiver])[receiver]
                assert torch.allclose(together[receiver], alone, atol=1e-9)
                n_compared += 1
        assert n_compared

    @pytest.mark.parametrize("options", [{}, {"positions": True}, {"split_qkv": False}])
    def test_heads_that_read_alike_share_a_run(self, options, monkeypatch):
        """At each label, though the labels of one head come one after the other."""
        engine, asked = engine_of("gpt2", task=labelled_task(), **options), []
        original = Predictions._differentiate

        def differentiate(predictions, receivers):
            if receivers[0].node.kind == "head":
                asked.extend({(each.node.layer, each.qkv, each.position) for each in receivers})
            return original(predictions, receivers)

        monkeypatch.setattr(Predictions, "_differentiate", differentiate)
        circuit_at(engine, 1e-3)
        assert len(set(asked)) == len(asked) > 2

    def test_slices_add_up(self):
        whole, sliced = engine_of("llama"), engine_of("llama", slice_size=2)
        changes = []
        for engine in (whole, sliced):
            search = _AcdcSearch(engine, EXACT, None, ())
            receiver = next(iter(search.steps())).receiver
            changes.append(SlicedTrials(search.circuit, receiver).predicted_changes())
        np.testing.assert_allclose(*changes, atol=1e-5)


def circuit_at(engine: Engine, threshold: float, screen: float = 0.3, **options):
    """A circuit of a screened search."""
    settings = SearchSettings(threshold, "", screen=screen, ablation=engine.ablation, **options)
    return circuit_of("m", engine, settings, acdc_steps(engine, settings))


def exact_steps(engine: Engine, threshold: float, **options):
    """The decisions of a search that tests every edge."""
    settings = SearchSettings(threshold, "", ablation=engine.ablation, **options)
    return decisions(acdc_steps(engine, settings))


def verified(engine: Engine, circuit):
    """The decisions after verification."""
    settings = replace(circuit.settings, screen=0.0)
    return decisions(acdc_steps(engine, settings, replay=circuit.steps))


class TestScreenedSearch:
    @pytest.mark.parametrize("ablation", ["corrupted", "zero", "mean"])
    @pytest.mark.parametrize("kind", mostly_slow(SIX, "llama", "gemma2"))
    def test_values_are_those_of_the_circuit(self, kind, ablation):
        """What is measured after a run of screened edges, and at the end, is what is left."""
        engine = engine_of(kind, ablation)
        circuit = circuit_at(engine, 0.4, screen=0.5)
        assert circuit.n_screened > 0
        assert circuit.n_tested + circuit.n_screened == len(circuit.decisions)
        removed, n_compared = engine.graph.mask_of([]), 0
        for step, following in zip_longest(circuit.decisions, circuit.decisions[1:]):
            removed[engine.graph.cell(step.edge)] = not step.kept
            if step.screened and (following is None or not following.screened) and n_compared < 6:
                assert metric_without(engine, removed) == pytest.approx(step.after, abs=2e-5)
                n_compared += 1
        assert n_compared
        left = metric_without(engine, circuit.removed_mask)
        assert left == pytest.approx(circuit.metric_value, abs=2e-5)

    @pytest.mark.parametrize("kind", mostly_slow(SIX, "llama", "gemma2"))
    def test_few_decisions_differ(self, kind):
        engine = engine_of(kind)
        exact, screened = exact_steps(engine, 0.3), circuit_at(engine, 0.3)
        assert screened.n_screened > 0
        assert len(set(kept(exact)) ^ set(screened.kept)) <= 2

    def test_a_large_model_is_hardly_tested(self):
        """Where many edges do little, nearly all of them go in a few runs."""
        engine = engine_of("llama", sizes={"num_hidden_layers": 6, "num_attention_heads": 8})
        exact, screened = exact_steps(engine, 0.3), circuit_at(engine, 0.3)
        assert screened.n_tested < len(exact) / 2

    @pytest.mark.parametrize("rule", ["signed", "cumulative"])
    @pytest.mark.parametrize("order", ["default", "random", "attribution"])
    def test_rules_and_orders(self, rule, order):
        engine = engine_of("llama")
        options = {"rule": rule, "order": order}
        circuit = circuit_at(engine, 0.4, **options)
        assert circuit.n_screened > 0
        assert_same(verified(engine, circuit), exact_steps(engine, 0.4, **options))

    @pytest.mark.parametrize("options", [{"positions": True}, {"split_qkv": False}])
    @pytest.mark.parametrize("kind", ["gpt2", "gemma2"])
    def test_other_edges(self, kind, options):
        engine = engine_of(kind, task=labelled_task(), **options)
        circuit = circuit_at(engine, 0.4)
        assert circuit.n_screened > 0
        assert_same(verified(engine, circuit), exact_steps(engine, 0.4))

    @pytest.mark.parametrize("metric", list(METRICS))
    def test_metrics(self, metric):
        """KL divergence has no gradient at the clean run: there its runs are halved to tests."""
        engine = engine_of("llama", task=random_task(metric=metric))
        threshold = 0.1 * abs(engine.corrupted_metric - engine.full_metric)
        circuit = circuit_at(engine, threshold)
        assert_same(verified(engine, circuit), exact_steps(engine, threshold))

    def test_slices_change_nothing(self):
        whole, sliced = (circuit_at(engine_of("llama", slice_size=n), 0.3) for n in (None, 2))
        assert whole.kept == sliced.kept
        assert whole.n_screened == sliced.n_screened > 0

    def test_poor_predictions_make_it_test_more(self, monkeypatch):
        """Kept edges that predictions missed halve what is left to them."""
        engine = engine_of("llama")
        monkeypatch.setattr(SlicedTrials, "predicted_changes", noise)
        circuit = circuit_at(engine, 0.05)
        search = _AcdcSearch(engine, circuit.settings, None, ())
        assert len(list(search.steps())) == len(circuit.steps)
        assert search.screen.share < 0.3

    def test_a_screened_circuit_is_replayed_without_a_test(self, monkeypatch):
        engine = engine_of("llama")
        circuit = circuit_at(engine, 0.3)
        for name in ("try_removing", "predicted_changes"):
            monkeypatch.setattr(SlicedTrials, name, never)
        replayed = acdc_steps(engine, circuit.settings, replay=circuit.steps)
        assert_same(decisions(replayed), circuit.decisions)

    def test_replay_at_another_threshold(self):
        engine = engine_of("llama")
        for first, second in ((0.3, 0.2), (0.2, 0.3)):
            settings = replace(circuit_at(engine, first).settings, threshold=second)
            steps = acdc_steps(engine, settings, replay=circuit_at(engine, first).steps)
            circuit = circuit_of("m", engine, settings, steps)
            assert_same(verified(engine, circuit), exact_steps(engine, second))

    def test_what_does_not_apply_is_refused(self):
        model = ax.load_model("mini")
        task = ax.load_task("ioi", model, n_prompts=4)
        for method in ("path_patching", "eap"):
            with pytest.raises(ValueError, match="screen is for method 'acdc'"):
                ax.find_circuit(model, task, method=method, screen=0.3)
        for screen in (1, -0.1, True):
            with pytest.raises(ValueError, match="screen must be a share of the threshold"):
                ax.find_circuit(model, task, screen=screen)
        own = ax.Metric("own", "own", "", lambda logits, *_: torch.tensor(logits.numpy()[:, 0]))
        with pytest.raises(ValueError, match="'own' has none; search without screen"):
            ax.find_circuit(model, replace(task, metric=own), "0.1", screen=0.3)


def noise(trials: SlicedTrials) -> np.ndarray:
    """Predictions that are wrong."""
    return np.zeros(trials._circuit.engine.graph.n_senders_to(trials._receiver))


def never(*_):
    raise AssertionError("what is known was computed again")


def assert_same(got, expected) -> None:
    assert [(s.edge, s.kept, s.screened) for s in got] == [
        (s.edge, s.kept, s.screened) for s in expected
    ]
    for mine, other in zip(got, expected, strict=True):
        assert mine.before == pytest.approx(other.before, abs=2e-5)
        assert mine.after == pytest.approx(other.after, abs=2e-5)


class TestVerify:
    @pytest.mark.parametrize("ablation", ["corrupted", "zero", "mean"])
    @pytest.mark.parametrize("kind", mostly_slow(SIX, "llama", "gemma2"))
    def test_ends_in_the_exact_circuit(self, kind, ablation):
        engine = engine_of(kind, ablation)
        assert_same(verified(engine, circuit_at(engine, 0.2)), exact_steps(engine, 0.2))

    @pytest.mark.parametrize("factor", [-1.0, 0.0, 0.1])
    @pytest.mark.parametrize("kind", mostly_slow(SIX, "llama", "gemma2"))
    def test_every_mistake_is_put_right(self, kind, factor, monkeypatch):
        """With predictions made wrong, and believed whatever is measured."""
        engine = engine_of(kind)
        original = SlicedTrials.predicted_changes
        monkeypatch.setattr(
            SlicedTrials, "predicted_changes", lambda trials: factor * original(trials)
        )
        monkeypatch.setattr("acdc_explorer.searches.screening._BELIEVED", 1e9)
        circuit = circuit_at(engine, 0.1, screen=0.9)
        exact = exact_steps(engine, 0.1)
        if factor != -1:
            assert set(circuit.kept) != set(kept(exact))
        assert_same(verified(engine, circuit), exact)

    def test_interrupted_and_resumed(self):
        model = ax.load_model("mini")
        task = ax.load_task("ioi", model, n_prompts=2)
        exact = ax.find_circuit(model, task, "30%")
        circuit = ax.find_circuit(model, task, "30%", screen=0.3)
        assert circuit.n_screened > 0
        n_rounds, n_screened = 0, [circuit.n_screened]
        while circuit.n_screened or not circuit.complete:
            circuit = Circuit.from_dict(circuit.to_dict())
            circuit = ax.verify(model, task, circuit, seconds=0.0)
            n_rounds += 1
            n_screened.append(circuit.n_screened)
            assert n_screened[-1] <= n_screened[-2]
        assert n_rounds > 1
        assert_same(circuit.decisions, exact.decisions)
        assert circuit.settings == exact.settings
        assert ax.verify(model, task, circuit) == circuit

    def test_other_prompts_are_refused(self):
        model = ax.load_model("mini")
        task = ax.load_task("ioi", model, n_prompts=4)
        circuit = ax.find_circuit(model, task, screen=0.3)
        other = ax.load_task("ioi", model, n_prompts=4, seed=5)
        for call in (ax.verify, ax.audit):
            with pytest.raises(ValueError, match="of another model or other prompts"):
                call(model, other, circuit)
        with pytest.raises(ValueError, match="found by 'eap'"):
            ax.verify(model, task, ax.find_circuit(model, task, method="eap"))


class TestAudit:
    @pytest.mark.parametrize("kind", ["gpt2", "gemma2"])
    @pytest.mark.parametrize("ablation", ["corrupted", "zero"])
    def test_it_finds_what_verification_finds(self, kind, ablation, monkeypatch):
        """All screened edges tested, in the states in which they were decided."""
        engine = engine_of(kind, ablation)
        monkeypatch.setattr("acdc_explorer.searches.screening._BELIEVED", 1e9)
        monkeypatch.setattr(SlicedTrials, "predicted_changes", noise)
        circuit = circuit_at(engine, 0.1)
        found = audit_circuit(engine, circuit, 10_000, 0)
        assert len(found.tests) == found.n_screened == circuit.n_screened
        assert found.most_wrong == len(found.wrong) / found.n_screened > 0
        removed = engine.graph.mask_of([])
        tests = {step.edge: step for step in found.tests}
        for step in circuit.decisions:
            before = removed.copy()
            removed[engine.graph.cell(step.edge)] = True
            if step.edge in tests:
                after = metric_without(engine, removed)
                change = abs(after - metric_without(engine, before))
                assert tests[step.edge].after == pytest.approx(after, abs=2e-5)
                assert (step.edge.id in found.wrong) == (change >= 0.1)
            if step.kept:
                removed = before

    def test_a_draw(self):
        model = ax.load_model("mini")
        task = ax.load_task("ioi", model, n_prompts=8)
        circuit = ax.find_circuit(model, task, "7%", screen=0.3)
        one, again, other = (ax.audit(model, task, circuit, n=20, seed=s) for s in (0, 0, 1))
        assert one == again
        assert len(one.tests) == 20
        assert {t.edge for t in one.tests} != {t.edge for t in other.tests}
        assert "of 20 wrong" in str(one)
        assert f"{circuit.n_screened:,} screened edges" in str(one)
        assert str(ax.audit(model, task, ax.verify(model, task, circuit))) == (
            "no edge was screened"
        )
        for wrong in ({"n": 0}, {"n": 2.5}, {"seed": -1}):
            with pytest.raises(ValueError, match="must be a whole number from"):
                ax.audit(model, task, circuit, **wrong)

    @pytest.mark.parametrize(("n_wrong", "n"), [(0, 400), (3, 400), (40, 400), (300, 400)])
    def test_bounds_hold(self, n_wrong, n):
        """In at least 95% of draws, less what chance allows in 2,000 of them."""
        rng = np.random.default_rng(0)
        found = rng.hypergeometric(n_wrong, n - n_wrong, 60, size=2000)
        bounds = {k: most_wrong(int(k), 60, n) for k in set(found)}
        holds = [bounds[k] >= n_wrong / n for k in found]
        assert np.mean(holds) > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 2000)

    def test_known_bounds(self):
        assert most_wrong(0, 300, 10**6) == pytest.approx(1 - 0.05 ** (1 / 300), rel=1e-6)
        # Of tables of the binomial distribution.
        assert most_wrong(1, 10, 10**6) == pytest.approx(0.3942, abs=1e-4)
        assert most_wrong(10, 10, 10**6) == 1
        assert most_wrong(0, 0, 0) == 0


class TestFile:
    def test_a_screened_circuit_comes_back(self, tmp_path):
        circuit = circuit_at(engine_of("llama"), 0.3)
        circuit.save(tmp_path / "circuit.json")
        again = Circuit.load(tmp_path / "circuit.json")
        assert again == circuit
        assert again.n_screened == circuit.n_screened > 0
        assert again.edges.screened.sum() == circuit.n_screened
        assert f"{circuit.n_tested} tested and {circuit.n_screened} screened" in again.summary()

    def test_files_of_version_1_are_read(self, tmp_path):
        engine = engine_of("llama")
        circuit = circuit_of("m", engine, EXACT, acdc_steps(engine, EXACT))
        data = circuit.to_dict()
        data["version"] = 1
        del data["settings"]["screen"], data["by_hand"]
        (tmp_path / "old.json").write_text(json.dumps(data))
        assert Circuit.load(tmp_path / "old.json") == circuit
