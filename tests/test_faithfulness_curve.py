"""Faithfulness by size, held to values by hand and to circuits evaluated one by one."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import mostly_slow, random_gpt2, random_task

import acdc_explorer as ax
from acdc_explorer.circuits.connected import on_paths
from acdc_explorer.measures.edge_scoring import SCORING_METHODS
from acdc_explorer.measures.faithfulness_curve import SHARES

HEADS = range(5)


@pytest.fixture(scope="module")
def five_heads():
    model = ax.load_model("five-heads")
    return model, ax.load_task("five-heads", model, 4)


@pytest.fixture(scope="module")
def random_model():
    return ax.load_model(random_gpt2("2x4"))


def head_by_head(scores):
    """Both edges of a head with its score."""
    return {
        edge: score
        for head, score in zip(HEADS, scores, strict=True)
        for edge in (f"input->a0.h{head}<v>", f"a0.h{head}->logits")
    }


def test_areas_by_hand(five_heads):
    """Of 21 edges 2, 4, 6, 10 and all: a head each, that adds a fifth."""
    shares = (0.1, 0.2, 0.3, 0.5, 1.0)
    scores = {"by hand": head_by_head([5.0, -4.0, 3.0, 2.0, 1.0])}
    curve = ax.faithfulness_curve(*five_heads, scores, shares=shares, held_out=False)
    assert curve.table.columns.tolist() == [
        "method", "ranking", "share", "n_edges", "n_connected", "faithfulness"
    ]  # fmt: skip
    absolute = curve.table.query("ranking == 'absolute'")
    assert absolute["n_edges"].tolist() == [2, 4, 6, 10, 21]
    assert absolute["n_connected"].tolist() == [2, 4, 6, 10, 21]
    assert absolute["faithfulness"].tolist() == pytest.approx([0.2, 0.4, 0.6, 1, 1])
    areas = curve.areas.query("ranking == 'absolute'").set_index("axis")
    # 0.1 x 0.3 + 0.1 x 0.5 + 0.2 x 0.8 + 0.5 x 1, and the same with 0.7, 0.5, 0.2 and 0.
    assert areas.loc["linear", "cpr"] == pytest.approx(0.74)
    assert areas.loc["linear", "cmd"] == pytest.approx(0.16)
    in_tenths = (math.log10(2) * 0.3 + math.log10(1.5) * 0.5 + math.log10(5 / 3) * 0.8
                 + math.log10(2) * 1)  # fmt: skip
    assert areas.loc["log10", "cpr"] == pytest.approx(in_tenths)
    off = math.log10(2) * 0.7 + math.log10(1.5) * 0.5 + math.log10(5 / 3) * 0.2
    assert areas.loc["log10", "cmd"] == pytest.approx(off)
    # The second head comes last; before it, 11 edges without a score, eight of which lead on.
    signed = curve.table.query("ranking == 'signed'")
    assert signed["n_edges"].tolist() == [2, 4, 6, 10, 21]
    assert signed["faithfulness"].tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8, 1])
    assert str(curve) == (
        "by hand: CPR 0.670, CMD 0.160\nmeasured on 4 prompts that the circuit was found on"
    )


def test_edges_that_lead_nowhere_are_removed_and_counted(five_heads):
    scores = {"ends": {f"a0.h{head}->logits": 1.0 for head in HEADS}}
    curve = ax.faithfulness_curve(
        *five_heads, scores, shares=(0.3, 1.0), held_out=False, ablation="zero"
    )
    first = curve.table.iloc[0]
    # Five heads without an input, and input->logits, the first of those that tie.
    assert (first["n_edges"], first["n_connected"]) == (6, 1)
    assert first["faithfulness"] == 0


@pytest.mark.parametrize("ablation", ["corrupted", "zero"])
@pytest.mark.parametrize("metric", mostly_slow(["logit_diff", "nll"], "logit_diff"))
def test_every_point_is_that_of_its_circuit(random_model, ablation, metric):
    task = random_task(metric=metric)
    methods = ("exact", "eap")
    curve = ax.faithfulness_curve(random_model, task, methods, held_out=False, ablation=ablation)
    assert curve.told == "5 prompts that the circuit was found on"
    assert not curve.held_out
    assert curve.table["share"].tolist() == 4 * list(SHARES)
    graph = random_model.graph
    full = ax.evaluate(random_model, task, [])
    empty = ax.evaluate(random_model, task, kept=[], ablation=ablation)
    for (method, ranking), rows in curve.table.groupby(["method", "ranking"]):
        scores = ax.score_edges(random_model, task, method, ablation=ablation)
        key = abs if ranking == "absolute" else None
        ranked = scores.sort_values("score", key=key, ascending=False)["edge"].tolist()
        for row in rows.itertuples():
            assert row.n_edges == int(row.share * graph.n_edges)
            kept = graph.ids_of(on_paths(graph, graph.mask_of(ranked[: row.n_edges])))
            assert row.n_connected == len(kept)
            value = ax.evaluate(random_model, task, kept=kept, ablation=ablation)
            assert row.faithfulness == pytest.approx((value - empty) / (full - empty), abs=1e-4)


def test_edges_that_help_come_first_whatever_the_direction(five_heads):
    """Of a metric of which lower is better, too."""
    model, task = five_heads
    for metric in ("nll", "kl_divergence"):
        methods = ["acdc", "exact"] + ["eap_ig"] * (metric == "nll")
        curve = ax.faithfulness_curve(
            model, replace(task, metric=metric), methods, shares=(0.5, 1.0), held_out=False
        )
        assert curve.table["faithfulness"].tolist() == pytest.approx([1.0] * len(curve.table))


def test_methods_by_name_and_by_scores_agree_on_held_out_prompts(five_heads):
    model, _ = five_heads
    first, second = ax.load_task("five-heads", model, 12).split()
    by_name = ax.faithfulness_curve(model, first, held_out=second)
    names = list(SCORING_METHODS)
    assert by_name.held_out
    assert by_name.told == "6 held-out prompts"
    assert by_name.table["method"].unique().tolist() == names
    given = {name: ax.score_edges(model, first, name) for name in names}
    by_scores = ax.faithfulness_curve(model, first, given, held_out=second)
    pd.testing.assert_frame_equal(by_name.table, by_scores.table)
    series = {name: table.set_index("edge")["score"] for name, table in given.items()}
    pd.testing.assert_frame_equal(
        by_name.areas, ax.faithfulness_curve(model, first, series, held_out=second).areas
    )
    # A search that is right is as good as any; two of its scores' rankings are one.
    acdc = by_name.areas.query("method == 'acdc' and axis == 'linear'")
    assert acdc["cpr"].nunique() == acdc["cmd"].nunique() == 1
    assert np.isclose(by_name.table["faithfulness"][by_name.table["share"] == 1], 1).all()


def test_wrong_arguments_are_named(five_heads):
    model, task = five_heads
    for shares in ([0.5], [0.5, 0.5], [0.0, 1.0], [0.5, 1.5]):
        with pytest.raises(ValueError, match="shares must be two or more numbers that ascend"):
            ax.faithfulness_curve(model, task, shares=shares)
    with pytest.raises(ValueError, match="unknown method 'edge'"):
        ax.faithfulness_curve(model, task, ["edge"])
    with pytest.raises(ValueError, match="not the single string 'eap'"):
        ax.faithfulness_curve(model, task, "eap")
    with pytest.raises(ValueError, match="one method at least"):
        ax.faithfulness_curve(model, task, [])
    other = replace(task, positions={"END": task.end})
    with pytest.raises(ValueError, match="labels of the task, state, END; it has END"):
        ax.faithfulness_curve(model, task, ["eap"], held_out=other, positions=True)
    constant = replace(task, metric=lambda logits: 0 * logits[:, 0])
    with pytest.raises(ValueError, match="faithfulness is not defined: the metric is 0 with all"):
        ax.faithfulness_curve(model, constant, {"none": {}}, held_out=False)
