"""Searches on models whose circuits are known exactly."""

from __future__ import annotations

from itertools import chain, combinations

import pytest
import torch
from conftest import random_task

import acdc_explorer as ax
from acdc_explorer.api import search
from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.engine.cache import engine_for
from acdc_explorer.engine.evaluate import evaluate_removed
from acdc_explorer.engine.removed_edges import RemovedEdges
from acdc_explorer.models.toys import HANDMADE
from acdc_explorer.options import ABLATIONS
from acdc_explorer.testing.reference import Reference

BY_HAND = {"five-heads": (5.0, 0.0), "or-gate": (1.0, 0.0), "induction-pair": (1.0, 0.0)}
# Their answers are written by MLPs that count, which round.
COUNTED = [f"rasp-{name}" for name in ("histogram", "duplicate", "count", "parity", "largest",
                                       "majority", "dyck", "bigram")]  # fmt: skip
WITHOUT_STAND_INS = [name for name in HANDMADE if name != "or-gate"]


def expected_metric(name, pair, text):
    """The metric of a clean or a corrupted prompt."""
    if name in BY_HAND:
        return BY_HAND[name][text != pair.clean]
    row = text.split()
    if name == "rasp-proportion":
        return row.count("x") / len(row)
    if name == "rasp-balance":
        return (row.count("(") - row.count(")")) / len(row)
    return 1.0 if text == pair.clean else -1.0


def stand_ins(edge, name, true):
    """The edges that do an edge's work where it is gone: of an OR gate, those of the other head."""
    if name != "or-gate" or edge == "m0->logits":
        return set()
    other = "a0.h1" if "a0.h0" in edge else "a0.h0"
    return {candidate for candidate in true if other in candidate}


@pytest.fixture(scope="module", params=list(HANDMADE))
def known(request):
    model = ax.load_model(request.param)
    return model, ax.load_task(request.param, model, n_prompts=8), HANDMADE[request.param]


@pytest.fixture(params=ABLATIONS)
def ablation(request):
    return request.param


def test_metrics_are_whole_numbers(known):
    model, task, _ = known
    engine = engine_for(model, task)
    for run, texts in (
        (engine.clean_by_prompt, [pair.clean for pair in task.pairs]),
        (engine.corrupted_by_prompt, [pair.corrupted for pair in task.pairs]),
    ):
        pairs = zip(task.pairs, texts, strict=True)
        values = torch.tensor([expected_metric(model.name, pair, text) for pair, text in pairs])
        atol = 2e-5 if model.name in COUNTED else 0.0
        assert torch.allclose(run, values, rtol=0, atol=atol)
    assert ax.check_task(model, task).accuracy == 1
    assert ax.preview_task(model, task)["top_answer"].tolist() == [pair.answer[0].strip()
                                                          for pair in task.pairs]  # fmt: skip


def test_the_true_edges_are_all_that_is_needed_and_each_carries_something(known, ablation):
    model, task, recipe = known
    true, ids = set(recipe.true_edges[ablation]), model.graph.edge_ids
    assert len(true) == len(recipe.true_edges[ablation])
    assert true < set(ids)
    engine = engine_for(model, task, ablation)

    def changes_without(sets):
        masks = [engine.graph.mask_of(edges) for edges in sets]
        values = evaluate_removed(engine, [RemovedEdges(mask) for mask in masks])
        return (values.double().mean(-1) - engine.full_metric).tolist()

    assert changes_without([set(ids) - true]) == [0]
    # Of those that stand in for one another, either can go.
    others = [stand_ins(edge, model.name, true) if edge in true else set() for edge in ids]
    assert set(changes_without(others)) == {0}
    changes = changes_without(
        [{edge, *stand_in} for edge, stand_in in zip(ids, others, strict=True)]
    )
    for edge, change in zip(ids, changes, strict=True):
        assert abs(change) > 0.03 if edge in true else change == 0, edge


def test_no_part_of_the_true_edges_does_the_same(known, ablation):
    """With all other edges removed, and any set of the true ones; of twenty, any one or two."""
    model, task, recipe = known
    true = recipe.true_edges[ablation]
    engine = engine_for(model, task, ablation)
    graph = engine.graph
    sizes = range(0 if len(true) <= 10 else len(true) - 2, len(true) + 1)
    subsets = list(chain.from_iterable(combinations(true, size) for size in sizes))
    masks = [graph.edge_mask & ~graph.mask_of(subset) for subset in subsets]
    values = evaluate_removed(engine, [RemovedEdges(mask) for mask in masks]).double().mean(-1)
    same = [
        set(subset)
        for subset, value in zip(subsets, values.tolist(), strict=True)
        if abs(value - engine.full_metric) < 0.01
    ]
    assert set(true) in same
    for kept in same:
        for edge in set(true) - kept:
            assert model.name == "or-gate"
            assert stand_ins(edge, model.name, true) <= kept


@pytest.mark.parametrize(
    ("name", "method", "order"),
    [
        *((name, "acdc", "default") for name in WITHOUT_STAND_INS),
        *(pytest.param(name, "path_patching", "default", marks=pytest.mark.slow)
          for name in WITHOUT_STAND_INS),
        *(pytest.param(name, "acdc", order, marks=pytest.mark.slow)
          for name in ("five-heads", "rasp-reverse", "rasp-dyck")
          for order in ("ascending_heads", "random", "attribution")),
    ],
)  # fmt: skip
def test_a_search_finds_the_true_edges(name, ablation, method, order):
    model = ax.load_model(name)
    task = ax.load_task(name, model, 8)
    circuit = ax.find_circuit(model, task, 0.02, order=order, ablation=ablation, method=method)
    assert sorted(circuit.kept) == sorted(HANDMADE[name].true_edges[ablation])
    assert circuit.metric_value == ax.evaluate(model, task, [])


def test_five_small_effects_are_all_lost_above_their_size():
    model = ax.load_model("five-heads")
    task = ax.load_task("five-heads", model, 4)
    assert len(ax.find_circuit(model, task, 1.0).kept) == 10
    circuit = ax.find_circuit(model, task, 2.0)
    assert circuit.kept == []
    assert circuit.metric_value == 0
    effects = [step.effect for step in search(model, task, 2.0) if step.edge.id.startswith("a0")]
    assert effects == [1.0] * 5


def test_measured_against_the_full_model_small_effects_add_up():
    model = ax.load_model("five-heads")
    task = ax.load_task("five-heads", model, 4)
    circuit = ax.find_circuit(model, task, 2.0, rule="cumulative")
    assert circuit.metric_value == 4
    assert len([edge for edge in circuit.kept if edge.endswith("->logits")]) == 4
    alone = ax.find_circuit(model, task, "7%", method="path_patching")
    assert {f"a0.h{head}->logits" for head in range(5)} <= {
        edge.split("@")[0] for edge in alone.kept
    }


def test_which_input_of_an_or_gate_stays_depends_on_the_order(ablation):
    model = ax.load_model("or-gate")
    task = ax.load_task("or-gate", model, 4)
    true = set(HANDMADE["or-gate"].true_edges[ablation])
    for order, head in [("default", 0), ("ascending_heads", 1)]:
        circuit = ax.find_circuit(model, task, 0.5, order=order, ablation=ablation)
        assert set(circuit.kept) == true - stand_ins(f"a0.h{head}->m0", "or-gate", true)
        assert circuit.metric_value == 1
    # Patched alone, neither head changes anything.
    alone = ax.find_circuit(model, task, 0.5, method="path_patching", ablation=ablation)
    assert alone.kept == ["m0->logits"]
    assert ax.evaluate(model, task, ["a0.h0->m0"]) == ax.evaluate(model, task, ["a0.h1->m0"]) == 1
    assert ax.evaluate(model, task, ["a0.h0->m0", "a0.h1->m0"]) == 0


def test_induction_heads_attend_to_what_came_after():
    model = ax.load_model("induction-pair")
    task = ax.load_task("induction-pair", model, 4)
    engine = engine_for(model, task)
    attention = ax.inspect_edge(model, task, ax.find_circuit(model, task, 0.5), "a1.h0->logits")
    assert engine.task is task
    assert attention.effect == 1
    second = task.positions["second"]
    _, cache = model.bridge.run_with_cache(task.clean_tokens, prepend_bos=False)
    pattern = cache["blocks.1.attn.hook_pattern"][:, 0, -1]
    assert pattern.argmax(-1).tolist() == second.tolist()
    before = cache["blocks.0.attn.hook_pattern"][:, 0].argmax(-1)
    assert before.tolist() == [[0, 0, 1, 2, 3, 4]] * 4


@pytest.mark.parametrize("name", [*BY_HAND, "rasp-reverse", "rasp-proportion", "rasp-duplicate"])
def test_the_reference_agrees(name, ablation):
    model = ax.load_model(name)
    task = ax.load_task(name, model, 8)
    true = HANDMADE[name].true_edges[ablation]
    reference = Reference(model.bridge, task, ablation)
    rest = model.graph.edge_mask & ~model.graph.mask_of(true)
    for removed in (rest, model.graph.mask_of(true[:2]), model.graph.mask_of(true[-1:])):
        slow = reference.evaluate(removed).mean().item()
        fast = evaluate_removed(engine_for(model, task, ablation), [RemovedEdges(removed)]).mean()
        assert slow == pytest.approx(fast.item(), abs=1e-5)
    assert reference.evaluate(rest).mean().item() == pytest.approx(ax.evaluate(model, task, []))
    settings = SearchSettings(
        threshold=0.02, threshold_text="0.02", rule="abs", method="acdc", ablation=ablation
    )
    kept = [step.edge.id for step in reference.acdc(settings) if step.kept]
    fast = ax.find_circuit(model, task, 0.02, ablation=ablation)
    assert kept == fast.kept


def test_other_tasks_are_refused_by_their_words():
    model = ax.load_model("or-gate")
    with pytest.raises(ValueError, match="words that the model does not know: "):
        ax.load_task("ioi", model, 4)
    with pytest.raises(ValueError, match=r"the model .* 20 tokens"):
        engine_for(model, random_task())


def test_hand_built_models_are_listed():
    models = ax.list_models().set_index("model")
    assert models.loc["five-heads", ["source", "n_heads", "n_edges"]].tolist() == [
        "hand-built",
        5,
        21,
    ]
    assert models.loc["or-gate", "n_edges"] == 13
    assert models.loc["induction-pair", "n_edges"] == 29
    assert models.loc["rasp-reverse", ["source", "n_edges"]].tolist() == ["compiled", 77]
    assert models.loc["rasp-proportion", ["n_layers", "n_edges"]].tolist() == [2, 23]
    assert set(HANDMADE) <= set(ax.list_tasks().task)
