"""The ACDC search: its every decision against the sequential reference, and its exactness."""

from __future__ import annotations

import math
import textwrap

import pytest
import torch
from conftest import bridge_of, mostly_slow, random_gpt2, random_task

from acdc_explorer.circuits.settings import SearchSettings, parse_threshold
from acdc_explorer.circuits.steps import EdgeStep
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.evaluate import evaluate_removed
from acdc_explorer.engine.removed_edges import RemovedEdges
from acdc_explorer.engine.scoring import mean_metric
from acdc_explorer.graph import LOGITS, Edge, Node, Receiver
from acdc_explorer.metrics import METRICS
from acdc_explorer.models.bridge import extract_weights
from acdc_explorer.searches import acdc
from acdc_explorer.searches.acdc import acdc_steps
from acdc_explorer.searches.decisions import BORDERLINE
from acdc_explorer.searches.methods import circuit_of
from acdc_explorer.searches.order import search_receivers, search_senders
from acdc_explorer.testing.reference import Reference


def decisions(engine, settings, chain_length=None):
    steps = acdc_steps(engine, settings, chain_length)
    return [step for step in steps if isinstance(step, EdgeStep)]


def make(hf_model, ablation="corrupted", **task_options):
    task = random_task(**task_options)
    engine = Engine(extract_weights(bridge_of(hf_model)), task, ablation)
    return engine, Reference(bridge_of(hf_model, torch.float64), task, ablation)


def assert_same_decisions(got: list[EdgeStep], expected: list[EdgeStep]) -> None:
    assert [step.edge for step in got] == [step.edge for step in expected]
    assert [step.kept for step in got] == [step.kept for step in expected]
    for mine, reference in zip(got, expected, strict=True):
        assert mine.before == pytest.approx(reference.before, abs=1e-5)
        assert mine.after == pytest.approx(reference.after, abs=1e-5)


@pytest.mark.parametrize("threshold", [pytest.param(0.02, marks=pytest.mark.slow), 0.1, 0.5])
@pytest.mark.parametrize("rule", ["abs", "signed"])
def test_every_decision_equals_the_reference(hf_model, rule, threshold):
    engine, reference = make(hf_model)
    settings = SearchSettings(threshold, str(threshold), rule=rule)
    expected = list(reference.acdc(settings))
    if threshold == 0.02:
        assert any(step.kept for step in expected)
        assert not all(step.kept for step in expected)
    assert_same_decisions(decisions(engine, settings), expected)


@pytest.mark.parametrize("ablation", mostly_slow(["zero", "mean"], "zero"))
def test_every_decision_under_other_ablations(hf_model, ablation):
    engine, reference = make(hf_model, ablation)
    settings = SearchSettings(0.05, "0.05", ablation=ablation)
    assert_same_decisions(decisions(engine, settings), list(reference.acdc(settings)))


@pytest.mark.parametrize("metric", list(METRICS))
@pytest.mark.parametrize("rule", mostly_slow(["abs", "signed"], "abs"))
def test_every_decision_with_every_metric(metric, rule):
    engine, reference = make(random_gpt2("2x4", seed=3), metric=metric)
    settings = SearchSettings(0.02, "0.02", rule=rule)
    expected = list(reference.acdc(settings))
    assert any(step.kept for step in expected)
    assert_same_decisions(decisions(engine, settings), expected)


@pytest.mark.parametrize(
    ("order", "seed"),
    mostly_slow([("ascending_heads", 0), ("random", 1), ("random", 2)], ("random", 1)),
)
def test_every_decision_in_other_orders(order, seed):
    engine, reference = make(random_gpt2("2x4"))
    settings = SearchSettings(0.1, "0.1", order=order, order_seed=seed)
    default = decisions(engine, SearchSettings(0.1, "0.1"))
    got = decisions(engine, settings)
    assert [step.edge for step in got] != [step.edge for step in default]
    assert_same_decisions(got, list(reference.acdc(settings)))


@pytest.mark.parametrize("chain_length", [1, 3, 64])
def test_chain_length_does_not_change_decisions(hf_model, chain_length):
    engine, _ = make(hf_model, n_prompts=7)
    settings = SearchSettings(0.05, "0.05")
    assert_same_decisions(decisions(engine, settings, chain_length), decisions(engine, settings))


@pytest.mark.slow
def test_edges_at_the_threshold_are_decided_in_float64():
    """At a threshold equal to an edge's own change, float32 rounding alone would decide."""
    engine, reference = make(random_gpt2("2x4"))
    for start in (0.02, 0.05, 0.1, 0.3):
        # The smallest change of a kept edge: up to it nothing changes, so it is met again.
        steps = list(reference.acdc(SearchSettings(start, str(start))))
        change = min(abs(step.effect) for step in steps if step.kept)
        for threshold in (change * (1 + 1e-9), change * (1 - 1e-9)):
            settings = SearchSettings(threshold, str(threshold))
            expected = list(reference.acdc(settings))
            for chain_length in (1, 5, 64):
                got = decisions(engine, settings, chain_length)
                assert any(step.borderline for step in got)
                assert_same_decisions(got, expected)


def test_rounding_is_far_below_the_borderline_tolerance(hf_model):
    engine, reference = make(hf_model)
    settings = SearchSettings(0.05, "0.05")
    pairs = zip(decisions(engine, settings), reference.acdc(settings), strict=True)
    worst = max(abs(mine.after - exact.after) for mine, exact in pairs)
    assert worst < BORDERLINE / 5


def test_the_docstring_shows_the_algorithm(hf_model):
    """Plain ACDC as the module shows it makes the very decisions of the search."""
    engine, _ = make(hf_model)
    text = acdc.__doc__.partition("for every edge:")[2].partition("The search below")[0]
    names = {
        "graph": engine.graph,
        "LOGITS": LOGITS,
        "search_receivers": search_receivers,
        "search_senders": search_senders,
        "threshold": 0.1,
        "edge_into": lambda receiver, sender: Edge(engine.graph.senders[sender], receiver),
        "evaluate": lambda removed: mean_metric(
            evaluate_removed(engine, [RemovedEdges(engine.graph.mask_of(removed))])[0]
        ),
    }
    exec(textwrap.dedent(text), names)
    settings = SearchSettings(0.1, "0.1")
    circuit = circuit_of("m", engine, settings, acdc_steps(engine, settings))
    assert {edge.id for edge in names["removed"]} == set(circuit.removed)
    assert names["before"] == pytest.approx(circuit.metric_value, abs=1e-5)


def test_nothing_kept():
    engine, _ = make(random_gpt2("3x2"))
    settings = SearchSettings(1e6, "1e6")
    nothing = circuit_of("m", engine, settings, acdc_steps(engine, settings))
    assert nothing.kept == []
    assert nothing.metric_value == pytest.approx(engine.corrupted_metric, abs=1e-5)
    assert nothing.faithfulness == pytest.approx(0, abs=1e-4)
    assert (nothing.edges.state == "removed").all()
    assert nothing.n_tested == len(engine.graph.senders)
    assert nothing.removed == list(nothing.edges.edge)


def test_everything_kept():
    """Where every removal changes the metric, the circuit is the whole model."""
    engine, _ = make(random_gpt2("2x4"))
    settings = SearchSettings(1e-9, "1e-9")
    everything = circuit_of("m", engine, settings, acdc_steps(engine, settings))
    # Queries, keys and values at positions that END cannot see any difference of change nothing.
    changing = everything.edges.effect.abs() > 1e-6
    assert (everything.edges.state[changing] == "kept").all()
    assert changing.mean() > 0.9
    assert everything.metric_value == pytest.approx(engine.full_metric, abs=1e-5)
    assert everything.faithfulness == pytest.approx(1, abs=1e-4)


def test_valid_interval_holds_at_its_ends(hf_model):
    engine, _ = make(hf_model)
    settings = SearchSettings(0.1, "0.1")
    circuit = circuit_of("m", engine, settings, acdc_steps(engine, settings))
    low, high = circuit.valid_interval
    assert low < 0.1 <= high
    rounding = 1e-5

    def kept_at(threshold):
        return [
            step.edge.id for step in decisions(engine, SearchSettings(threshold, "")) if step.kept
        ]

    assert kept_at(low + rounding) == circuit.kept
    assert kept_at(high - rounding) == circuit.kept
    assert kept_at(low - rounding) != circuit.kept
    assert kept_at(high + rounding) != circuit.kept


def test_the_search_order_is_the_papers():
    """Logits; then per block MLP, v, k, q; heads descending; senders latest first, input last."""
    engine, _ = make(random_gpt2("2x4"))
    graph = engine.graph
    receivers = [receiver.id for receiver in search_receivers(graph)]
    assert receivers[:7] == [
        "logits",
        "m1",
        "a1.h3<v>",
        "a1.h2<v>",
        "a1.h1<v>",
        "a1.h0<v>",
        "a1.h3<k>",
    ]
    assert receivers[-1] == "a0.h0<q>"
    first = search_receivers(graph)[0]
    senders = [graph.senders[index].id for index in search_senders(graph, first)]
    assert senders == ["m1", "a1.h3", "a1.h2", "a1.h1", "a1.h0", "m0", "a0.h3", "a0.h2", "a0.h1",
                       "a0.h0", "input"]  # fmt: skip
    ascending = search_senders(graph, first, "ascending_heads")
    assert [graph.senders[i].id for i in ascending][:5] == [
        "m1",
        "a1.h0",
        "a1.h1",
        "a1.h2",
        "a1.h3",
    ]
    assert search_senders(graph, first, "random", 3) == search_senders(graph, first, "random", 3)


@pytest.mark.parametrize(
    "given", [0, -1, "-7%", "0%", math.nan, math.inf, "abc", "7 %%", "", True, None]
)
def test_bad_thresholds_say_what_is_allowed(given):
    with pytest.raises(ValueError, match=r"threshold must be a positive number in logits.*'7%'"):
        parse_threshold(given, 3.0, METRICS["logit_diff"])


def test_thresholds_as_numbers_text_and_per_cent():
    metric = METRICS["logit_diff"]
    assert parse_threshold(0.3, 3.0, metric) == 0.3
    assert parse_threshold(" 0.3 ", 3.0, metric) == 0.3
    assert parse_threshold("7%", -3.0, metric) == pytest.approx(0.21)
    assert parse_threshold("7 %", 3.0, metric) == pytest.approx(0.21)
    with pytest.raises(ValueError, match="per cent of the clean KL"):
        parse_threshold("7%", 0.0, METRICS["kl_divergence"])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"method": "acdcc"}, "unknown method 'acdcc'. Did you mean 'acdc'"),
        ({"rule": "absolute"}, "unknown rule 'absolute'.*abs, signed"),
        ({"order": "randm"}, "Did you mean 'random'"),
        ({"ablation": "noise"}, "unknown ablation 'noise'.*corrupted, zero, mean"),
    ],
)
def test_unknown_options_are_named(option, message):
    with pytest.raises(ValueError, match=message):
        SearchSettings(0.1, "0.1", **option)


def test_effects_are_before_minus_after():
    edge = Edge(Node("input", -1), Receiver(Node("mlp", 0)))
    assert EdgeStep(edge, before=3.0, after=2.5, kept=True).effect == 0.5


class TestReplay:
    """A search that begins with another's decisions ends as one from the start."""

    @pytest.mark.parametrize(
        ("rule", "metric"), [("abs", "logit_diff"), ("signed", "kl_divergence")]
    )
    def test_equals_a_fresh_search_at_many_thresholds(self, hf_model, rule, metric):
        engine, _ = make(hf_model, metric=metric)
        thresholds = [0.03, 0.1, 0.4]
        fresh = {
            threshold: list(acdc_steps(engine, SearchSettings(threshold, "", rule=rule)))
            for threshold in thresholds
        }
        assert len({len(steps) for steps in fresh.values()}) > 1
        for then in thresholds:
            for now in thresholds:
                settings = SearchSettings(now, "", rule=rule)
                replayed = list(acdc_steps(engine, settings, replay=fresh[then]))
                assert [s for s in replayed if not isinstance(s, EdgeStep)] == [
                    s for s in fresh[now] if not isinstance(s, EdgeStep)
                ]
                assert_same_decisions(
                    [s for s in replayed if isinstance(s, EdgeStep)],
                    [s for s in fresh[now] if isinstance(s, EdgeStep)],
                )

    @pytest.mark.parametrize("share", mostly_slow([0.0, 0.1, 0.5, 0.9, 1.0], 0.0, 0.5))
    def test_goes_on_where_a_search_was_cut(self, hf_model, share):
        engine, _ = make(hf_model)
        settings = SearchSettings(0.05, "0.05")
        whole = list(acdc_steps(engine, settings))
        known = whole[: int(share * len(whole))]
        rest = list(acdc_steps(engine, settings, replay=known))
        assert_same_decisions(
            [s for s in rest if isinstance(s, EdgeStep)],
            [s for s in whole if isinstance(s, EdgeStep)],
        )

    def test_known_decisions_cost_no_test(self, hf_model, monkeypatch):
        engine, _ = make(hf_model)
        settings = SearchSettings(0.05, "0.05")
        whole = list(acdc_steps(engine, settings))

        def fail(*_):
            raise AssertionError("a known edge was tested again")

        monkeypatch.setattr("acdc_explorer.engine.edge_trials.EdgeTrials.try_removing", fail)
        assert len(list(acdc_steps(engine, settings, replay=whole))) == len(whole)

    @pytest.mark.slow
    def test_at_a_threshold_equal_to_a_known_change(self):
        engine, reference = make(random_gpt2("2x4"))
        steps = list(acdc_steps(engine, SearchSettings(0.1, "0.1")))
        exact = list(reference.acdc(SearchSettings(0.1, "0.1")))
        change = min(abs(step.effect) for step in exact if step.kept)
        for threshold in (change * (1 + 1e-9), change * (1 - 1e-9)):
            settings = SearchSettings(threshold, str(threshold))
            got = [s for s in acdc_steps(engine, settings, replay=steps) if isinstance(s, EdgeStep)]
            assert_same_decisions(got, list(reference.acdc(settings)))

    def test_decisions_of_a_search_in_another_order_are_refused(self):
        engine, _ = make(random_gpt2("2x4"))
        known = list(acdc_steps(engine, SearchSettings(0.1, "", order="ascending_heads")))
        with pytest.raises(ValueError, match="decisions to replay are of another search"):
            list(acdc_steps(engine, SearchSettings(0.1, ""), replay=known))


def entropy(logits):
    """In nats, of what is predicted at END."""
    logs = logits.log_softmax(-1)
    return -(logs.exp() * logs).sum(-1)


def test_a_function_of_the_logits_is_a_metric():
    engine, reference = make(random_gpt2("2x4"), metric=entropy)
    assert engine.metric.name == "entropy"
    settings = SearchSettings(0.02, "0.02")
    expected = list(reference.acdc(settings))
    assert any(step.kept for step in expected)
    assert_same_decisions(decisions(engine, settings), expected)


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (3, "metric must be a name .*got int"),
        ("logit_dif", "Did you mean 'logit_diff'"),
    ],
)
def test_bad_metrics_say_what_is_wrong(metric, message):
    with pytest.raises(ValueError, match=message):
        make(random_gpt2("2x4"), metric=metric)
