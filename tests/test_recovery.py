"""How well known circuits are recovered, and the scores of edges by every method."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import random_gpt2, random_task

import acdc_explorer as ax
from acdc_explorer.measures.edge_scoring import SCORING_METHODS
from acdc_explorer.measures.recovery import roc_curve
from acdc_explorer.models.toys import HANDMADE


@pytest.fixture(scope="module")
def random_model():
    return ax.load_model(random_gpt2("2x4"))


@pytest.fixture(scope="module")
def or_gate():
    return ax.load_model("or-gate")


def by_edge(table):
    return table.set_index("edge")["score"]


def test_roc_curve_of_four_edges_by_hand():
    curve = roc_curve(np.array([2.0, 1.0, 3.0, 2.0]), np.array([True, False, True, False]))
    expected = {
        "score": [np.inf, 3, 2, 1],
        "n_edges": [0, 1, 3, 4],
        "tpr": [0, 0.5, 1, 1],
        "fpr": [0, 0, 0.5, 1],
        "precision": [np.nan, 1, 2 / 3, 0.5],
        "f1": [0, 2 / 3, 0.8, 2 / 3],
    }
    pd.testing.assert_frame_equal(curve, pd.DataFrame(expected), check_dtype=False)


def test_areas_of_four_edges_by_hand(or_gate):
    edges = or_gate.graph.edge_ids
    # Three true and ten others. Above all stand one of each, tied: 0.5 and 9 of 10 pairs. Then a
    # true one: 9 pairs. All others tie: 0.5 of 9 pairs.
    scores = {edges[0]: 2.0, edges[3]: -2.0, edges[1]: 1.0}
    found = ax.recovery(or_gate, scores, edges[:3])
    assert found.auc == pytest.approx((0.5 + 9 + 9 + 9 / 2) / 30)
    # Ties to the others' advantage: only what is strictly below counts.
    assert found.auc_pessimistic == pytest.approx((9 + 9) / 30)
    assert found.found == (edges[0], edges[1], edges[3])
    assert found.n_edges == 13
    assert found.precision == pytest.approx(2 / 3)
    assert found.recall == pytest.approx(2 / 3)
    assert found.false_positive_rate == pytest.approx(1 / 10)
    assert found.f1 == found.best_f1 == pytest.approx(2 / 3)
    assert str(found) == (
        "2 of 3 true edges found, 1 of 10 others; precision 0.667, recall 0.667, F1 0.667, AUC "
        "0.767"
    )
    # By the signed score the one that hurts comes last.
    signed = ax.recovery(or_gate, scores, edges[:3], ranking="signed")
    assert signed.auc == pytest.approx((10 + 10 + 1 + 9 / 2) / 30)
    assert signed.found == (edges[0], edges[1])
    assert ax.recovery(or_gate, scores, edges[:3], above=1.5).found == (edges[0], edges[3])


def test_the_area_is_the_share_of_pairs_in_the_right_order(or_gate):
    rng = np.random.default_rng(0)
    edges = or_gate.graph.edge_ids
    for _ in range(20):
        values = rng.integers(0, 4, len(edges)).astype(float)
        true = rng.permutation(len(edges)) < rng.integers(1, len(edges))
        pairs = values[true][:, None] - values[~true][None]
        chosen = [edge for edge, is_true in zip(edges, true, strict=True) if is_true]
        found = ax.recovery(or_gate, dict(zip(edges, values, strict=True)), chosen)
        assert found.auc == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())
        assert found.auc_pessimistic == pytest.approx((pairs > 0).mean())


def test_no_edge_found_and_no_edge_missed(or_gate):
    edges = or_gate.graph.edge_ids
    nothing = ax.recovery(or_gate, {}, edges[:3])
    assert (nothing.found, nothing.recall, nothing.f1, nothing.auc) == ((), 0, 0, 0.5)
    assert np.isnan(nothing.precision)
    assert nothing.auc_pessimistic == 0
    right = ax.recovery(or_gate, dict.fromkeys(edges[:3], 1.0), edges[:3])
    assert (right.precision, right.recall, right.f1, right.auc) == (1, 1, 1, 1)
    assert right.auc_pessimistic == 1


@pytest.mark.parametrize("ablation", ["corrupted", "zero"])
def test_a_circuit_counts_by_its_kept_edges_under_its_own_ablation(or_gate, ablation):
    task = ax.load_task("or-gate", or_gate, 4)
    circuit = ax.find_circuit(or_gate, task, 0.5, ablation=ablation)
    found = ax.recovery(or_gate, circuit)
    assert set(found.true_edges) == set(HANDMADE["or-gate"].true_edges[ablation])
    assert set(found.found) == set(circuit.kept)
    # Of the two heads one is found.
    n_true = {"corrupted": 5, "zero": 9}[ablation]
    assert found.recall == {"corrupted": 3 / 5, "zero": 5 / 9}[ablation]
    assert found.precision == 1
    assert found.auc == pytest.approx((1 + found.recall) / 2)
    assert len(found.curve) == 3
    listed = ax.recovery(or_gate, circuit.kept, ablation=ablation)
    assert (listed.found, listed.auc) == (found.found, found.auc)
    path = ax.threshold_path(or_gate, task, 0.1, 2.0, ablation=ablation)
    assert ax.recovery(or_gate, path).found == found.found
    assert len(ax.recovery(or_gate, path, ablation="mean").true_edges) == 5
    assert n_true == len(found.true_edges)


def test_heads_with_one_input_are_compared_as_such(or_gate):
    task = ax.load_task("or-gate", or_gate, 4)
    circuit = ax.find_circuit(or_gate, task, 0.5, split_qkv=False)
    found = ax.recovery(or_gate, circuit)
    assert set(found.true_edges) == {
        *(f"input->a0.h{head}" for head in range(2)),
        *(f"a0.h{head}->m0" for head in range(2)),
        "m0->logits",
    }
    assert found.n_edges == 9
    assert found.recall == 3 / 5
    with_positions = ax.find_circuit(or_gate, task, 0.5, positions=True)
    with pytest.raises(ValueError, match="does not tell positions apart"):
        ax.recovery(or_gate, with_positions)
    own = ax.recovery(or_gate, with_positions, with_positions.kept)
    assert own.auc == 1


def test_a_published_circuit_is_compared_with():
    from transformer_lens import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge

    config = TransformerBridgeConfig(
        d_model=8, d_head=2, n_heads=8, n_layers=4, n_ctx=8, d_vocab=9, attn_only=True,
        normalization_type="LN", act_fn="gelu", seed=0, device="cpu",
    )  # fmt: skip
    model = ax.load_model(TransformerBridge.boot_native(config))
    published = ax.published_circuit("docstring")
    found = ax.recovery(model, dict.fromkeys(published.edge_ids[:6], 1.0), published)
    assert found.n_edges == model.graph.n_edges == 1281
    assert found.recall == 6 / 24
    assert found.precision == 1


def test_wrong_arguments_of_recovery_are_named(or_gate, random_model):
    edges = or_gate.graph.edge_ids
    with pytest.raises(ValueError, match="is not known; give true_edges="):
        ax.recovery(random_model, {})
    with pytest.raises(ValueError, match="some edges of the graph and not all; got 13 of its 13"):
        ax.recovery(or_gate, {}, edges)
    with pytest.raises(ValueError, match="got 0 of its 13"):
        ax.recovery(or_gate, {}, [])
    with pytest.raises(ValueError, match="unknown ranking 'abs'"):
        ax.recovery(or_gate, {}, edges[:2], ranking="abs")
    with pytest.raises(ValueError, match="unknown ablation 'none'"):
        ax.recovery(or_gate, {}, ablation="none")
    with pytest.raises(ValueError, match=r"'a7\.h0->logits'"):
        ax.recovery(or_gate, {"a7.h0->logits": 1.0})
    with pytest.raises(ValueError, match="must be a number; got nan"):
        ax.recovery(or_gate, {edges[0]: float("nan")})
    with pytest.raises(ValueError, match="it lacks score"):
        ax.recovery(or_gate, pd.DataFrame({"edge": edges}))
    with pytest.raises(ValueError, match="is scored twice"):
        ax.recovery(or_gate, pd.DataFrame({"edge": edges[:1] * 2, "score": [1.0, 2.0]}))
    with pytest.raises(ValueError, match="not the single string"):
        ax.recovery(or_gate, edges[0])


@pytest.mark.parametrize("metric", ["logit_diff", "kl_divergence"])
@pytest.mark.parametrize("ablation", ["corrupted", "zero"])
def test_exact_scores_are_effects_alone(random_model, metric, ablation):
    task = random_task(metric=metric)
    table = ax.score_edges(random_model, task, "exact", ablation=ablation)
    assert len(table) == random_model.graph.n_edges
    assert (table["score"].abs().diff().dropna() <= 0).all()
    full = ax.evaluate(random_model, task, [])
    # By KL divergence every removal does damage.
    sign = 1 if metric == "logit_diff" else -1
    for edge, score in zip(table["edge"][::9], table["score"][::9], strict=True):
        alone = full - ax.evaluate(random_model, task, [edge], ablation=ablation)
        assert score == pytest.approx(sign * alone, abs=1e-5)
    assert metric == "logit_diff" or (table["score"] > -1e-6).all()


@pytest.mark.parametrize("method", ["eap", "eap_ig"])
def test_attribution_scores_are_those_of_attribute(random_model, method):
    task = random_task()
    scores = ax.score_edges(random_model, task, method, ablation="mean")
    expected = ax.attribute(random_model, task, method, ablation="mean")
    pd.testing.assert_series_equal(
        by_edge(scores).sort_index(), by_edge(expected).sort_index(), check_exact=True
    )
    nll = random_task(metric="nll")
    falls = by_edge(ax.attribute(random_model, nll, method)).sort_index()
    pd.testing.assert_series_equal(
        by_edge(ax.score_edges(random_model, nll, method)).sort_index(), -falls
    )


@pytest.mark.parametrize("metric", ["logit_diff", "kl_divergence"])
def test_acdc_scores_are_the_largest_thresholds_that_keep_an_edge(random_model, metric):
    task = random_task(metric=metric)
    lowest = {"logit_diff": 0.3, "kl_divergence": 0.1}[metric]
    scores = by_edge(ax.score_edges(random_model, task, "acdc", lowest=lowest))
    assert set(scores.index) == set(random_model.graph.edge_ids)
    kept_at = {}
    # As many thresholds as there are scores, from each of which on its edges go, and more.
    ends = sorted({*scores[scores > 0], lowest})
    assert len(ends) > 5
    thresholds = [lowest * 1.001, *(end * near for end in ends for near in (0.9999, 1.0001))]
    for threshold in sorted(thresholds):
        for edge in ax.find_circuit(random_model, task, threshold).kept:
            kept_at[edge] = threshold
    above = {edge: at for edge, at in kept_at.items() if at > lowest}
    assert set(above) == set(scores.index[scores > 0])
    for edge, at in above.items():
        assert at < scores[edge] < at * 1.001


def test_acdc_scores_of_five_small_effects():
    model = ax.load_model("five-heads")
    task = ax.load_task("five-heads", model, 4)
    scores = by_edge(ax.score_edges(model, task))
    assert set(scores[scores > 0].index) == set(HANDMADE["five-heads"].true_edges["corrupted"])
    assert set(scores) == {0.0, 1.0}


def test_acdc_scores_above_all_effects_are_zero():
    table = ax.score_edges("five-heads", "five-heads", lowest=2.0)
    assert (table["score"] == 0).all()
    assert len(table) == 21


def test_wrong_arguments_of_scores_are_named(random_model):
    with pytest.raises(ValueError, match="unknown method 'acdcc'"):
        ax.score_edges(random_model, random_task(), "acdcc")
    with pytest.raises(ValueError, match="lowest must be a positive threshold; got 0"):
        ax.score_edges(random_model, random_task(), lowest=0)
    constant = random_task(metric=lambda logits: 0 * logits[:, 0])
    with pytest.raises(ValueError, match="the metric is 0 with all edges and with none"):
        ax.score_edges(random_model, constant)


@pytest.mark.parametrize("method", SCORING_METHODS)
def test_every_method_scores_with_positions(or_gate, method):
    task = ax.load_task("or-gate", or_gate, 4)
    table = ax.score_edges(or_gate, task, method, positions=True)
    labels = {"state", "END", "rest"}
    assert set(table["position"]) == labels
    assert by_edge(table)["m0->logits@END"] > 0
