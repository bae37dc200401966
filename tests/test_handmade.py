"""Searches on models whose circuits are known exactly."""

from __future__ import annotations

import pytest
import torch
from conftest import random_task

import acdc_explorer as ax
from acdc_explorer.api import search
from acdc_explorer.engine.reference import Reference
from acdc_explorer.models.handmade import HANDMADE

FULL = {"five-heads": 5.0, "or-gate": 1.0, "induction-pair": 1.0}


@pytest.fixture(scope="module", params=list(HANDMADE))
def known(request):
    model = ax.load_model(request.param)
    return model, ax.load_task(request.param, model, n_prompts=8), HANDMADE[request.param]


def test_metrics_are_whole_numbers(known):
    model, task, _ = known
    engine = model.engine(task)
    assert torch.equal(engine.clean_by_prompt, torch.full((8,), FULL[model.name]))
    assert engine.corrupted_by_prompt.abs().max() == 0
    assert task.check(model).accuracy == 1
    assert task.preview(model)["top_answer"].tolist() == [pair.answer[0].strip()
                                                          for pair in task.pairs]  # fmt: skip


def test_the_true_edges_are_all_that_is_needed_and_each_carries_something(known):
    model, task, recipe = known
    true = set(recipe.true_edges)
    everything = set(model.graph.edge_ids)
    assert true < everything
    others = everything - true
    assert ax.evaluate(model, task, others) == FULL[model.name]
    assert ax.evaluate(model, task, true) == 0
    # Of an OR gate's edges one can go; of the others none.
    needed = {edge: ax.evaluate(model, task, [edge]) < FULL[model.name] for edge in true}
    free = {edge for edge, is_needed in needed.items() if not is_needed}
    assert free == (true - {"m0->logits"} if model.name == "or-gate" else set())


@pytest.mark.parametrize("name", ["five-heads", "induction-pair"])
@pytest.mark.parametrize("order", ["default", "ascending_heads", "random"])
def test_a_search_finds_the_true_edges(name, order):
    model = ax.load_model(name)
    circuit = ax.find_circuit(model, ax.load_task(name, model, 4), 0.5, order=order)
    assert sorted(circuit.kept) == sorted(HANDMADE[name].true_edges)
    assert circuit.metric_value == FULL[name]


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


def test_which_input_of_an_or_gate_stays_depends_on_the_order():
    model = ax.load_model("or-gate")
    task = ax.load_task("or-gate", model, 4)
    for order, head in [("default", 0), ("ascending_heads", 1)]:
        circuit = ax.find_circuit(model, task, 0.5, order=order)
        assert sorted(circuit.kept) == [f"a0.h{head}->m0", f"input->a0.h{head}<v>", "m0->logits"]
        assert circuit.metric_value == 1
    assert ax.evaluate(model, task, ["a0.h0->m0"]) == ax.evaluate(model, task, ["a0.h1->m0"]) == 1
    assert ax.evaluate(model, task, ["a0.h0->m0", "a0.h1->m0"]) == 0


def test_induction_heads_attend_to_what_came_after():
    model = ax.load_model("induction-pair")
    task = ax.load_task("induction-pair", model, 4)
    engine = model.engine(task)
    attention = ax.inspect_edge(model, task, ax.find_circuit(model, task, 0.5), "a1.h0->logits")
    assert engine.task is task
    assert attention.effect == 1
    second = task.positions["second"]
    _, cache = model.bridge.run_with_cache(task.clean_tokens, prepend_bos=False)
    pattern = cache["blocks.1.attn.hook_pattern"][:, 0, -1]
    assert pattern.argmax(-1).tolist() == second.tolist()
    before = cache["blocks.0.attn.hook_pattern"][:, 0].argmax(-1)
    assert before.tolist() == [[0, 0, 1, 2, 3, 4]] * 4


def test_the_reference_agrees(known):
    model, task, recipe = known
    mask = model.graph.mask_of(recipe.true_edges[:2])
    slow = Reference(model.bridge, task).evaluate(mask).mean().item()
    assert slow == pytest.approx(ax.evaluate(model, task, recipe.true_edges[:2]), abs=1e-5)


def test_other_tasks_are_refused_by_their_words():
    model = ax.load_model("or-gate")
    with pytest.raises(ValueError, match="words that the model does not know: "):
        ax.load_task("ioi", model, 4)
    with pytest.raises(ValueError, match="the model has 20 tokens"):
        model.engine(random_task())


def test_hand_built_models_are_listed():
    models = ax.list_models().set_index("model")
    assert models.loc["five-heads", ["source", "n_heads", "n_edges"]].tolist() == [
        "hand-built",
        5,
        21,
    ]
    assert models.loc["or-gate", "n_edges"] == 13
    assert models.loc["induction-pair", "n_edges"] == 29
    assert set(HANDMADE) <= set(ax.list_tasks().task)
