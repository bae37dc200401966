"""A circuit prompt by prompt, against the slow reference and TransformerLens itself."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import (
    VOCAB,
    attention_only,
    bridge_of,
    labelled_task,
    random_gpt2,
    random_model,
    random_task,
    ungrouped,
)

import acdc_explorer as ax
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.evaluate import evaluate_prompt, evaluate_removed
from acdc_explorer.engine.removed_edges import RemovedEdges
from acdc_explorer.measures.by_prompt import ByPrompt
from acdc_explorer.models import Model
from acdc_explorer.testing.reference import Reference


@pytest.fixture(scope="module")
def circuit(model, task):
    return ax.find_circuit(model, task, 0.05)


def assert_as_the_reference(bridge, bridge64, task, **options):
    """The values of every prompt, and the effects of some edges on two of them."""
    model = Model(bridge, "random")
    circuit = ax.find_circuit(model, task, 0.05, **options)
    reference = Reference(
        bridge64, task, circuit.settings.ablation, positions=bool(circuit.graph.labels)
    )
    expected = reference.evaluate(circuit.removed_mask)
    found = ax.by_prompt(model, task, circuit).prompts
    np.testing.assert_allclose(found.circuit, expected, atol=2e-5)
    none, every = circuit.graph.mask_of([]), circuit.graph.edge_mask
    np.testing.assert_allclose(found.full, reference.evaluate(none), atol=2e-5)
    np.testing.assert_allclose(found.ablated, reference.evaluate(every), atol=2e-5)
    by_row = [ax.prompt_effects(model, task, circuit, row).set_index("edge") for row in (0, 2)]
    assert {*by_row[0].index} == {*circuit.kept}
    for edge in circuit.kept[:: max(1, len(circuit.kept) // 4)]:
        without = circuit.removed_mask | circuit.graph.mask_of([edge])
        effects = expected - reference.evaluate(without)
        for row, table in zip((0, 2), by_row, strict=True):
            assert table.effect[edge] == pytest.approx(effects[row].item(), abs=4e-5)


@pytest.mark.parametrize("kind", ["gpt_neox", "llama", "gemma2", "olmo2"])
def test_values_and_effects_of_many_architectures(kind):
    hf = random_model(kind)
    assert_as_the_reference(
        bridge_of(hf), bridge_of(ungrouped(hf), torch.float64), random_task(n_prompts=3)
    )


@pytest.mark.parametrize(
    "options",
    [{"ablation": "zero"}, {"ablation": "mean"}, {"positions": True}, {"method": "eap"}],
    ids=str,
)
def test_values_and_effects_whatever_the_search(options):
    hf = random_gpt2("2x4")
    assert_as_the_reference(bridge_of(hf), bridge_of(hf, torch.float64), labelled_task(), **options)


def test_values_and_effects_without_mlps():
    assert_as_the_reference(
        attention_only(), attention_only(torch.float64), random_task(n_prompts=3)
    )


@pytest.mark.parametrize("metric", ["kl_divergence", "prob_diff", lambda logits: logits[:, 3]])
def test_any_metric(model, metric):
    task = random_task(metric=metric)
    circuit = ax.find_circuit(model, task, 1e-4)
    found = ax.by_prompt(model, task, circuit)
    assert found.prompts.circuit.mean() == pytest.approx(circuit.metric_value, abs=1e-5)
    effects = ax.prompt_effects(model, task, circuit, 1)
    edge, effect = effects.edge[0], effects.effect[0]
    expected = ax.inspect_edge(model, task, circuit, edge).by_prompt[1]
    assert effect == pytest.approx(expected, abs=1e-5)


def test_means_over_prompts_are_the_circuits_own_numbers(model, task, circuit):
    table = ax.by_prompt(model, task, circuit).prompts
    assert table.full.mean() == pytest.approx(circuit.full_metric, abs=1e-5)
    assert table.ablated.mean() == pytest.approx(circuit.corrupted_metric, abs=1e-5)
    assert table.circuit.mean() == pytest.approx(circuit.metric_value, abs=1e-5)
    shares = (table.circuit - table.ablated) / (table.full - table.ablated)
    np.testing.assert_allclose(table.faithfulness, shares)
    task = random_task(metric="kl_divergence")
    of_kl = ax.by_prompt(model, task, ax.find_circuit(model, task, 0.01)).prompts
    np.testing.assert_allclose(of_kl.kl, of_kl.circuit, atol=1e-6)


def test_effects_are_sorted_and_have_what_the_search_found(model, task, circuit):
    table = ax.prompt_effects(model, task, circuit, 2)
    assert table.effect.abs().is_monotonic_decreasing
    decided = circuit.edges.set_index("edge").effect
    assert table.set_index("edge").effect_when_decided.equals(
        decided[table.edge].rename("effect_when_decided")
    )
    empty = ax.find_circuit(model, task, 1e6)
    none = ax.prompt_effects(model, task, empty, 0)
    assert list(none.columns) == list(table.columns)
    assert len(none) == 0


def test_a_prompt_that_the_corruption_does_not_change_has_no_faithfulness(model):
    task = random_task()
    corrupted = task.corrupted_tokens.clone()
    corrupted[1] = task.clean_tokens[1]
    task = ax.Task(
        name="one unchanged",
        clean_tokens=task.clean_tokens,
        corrupted_tokens=corrupted,
        answer_tokens=task.answer_tokens,
        wrong_tokens=task.wrong_tokens,
        positions=task.positions,
    )
    found = ax.by_prompt(model, task, ax.find_circuit(model, task, 0.05))
    assert found.prompts.faithfulness.isna().tolist() == [False, True, False, False, False]
    # It stands last, unless the circuit fails on it.
    assert found.worst_first().index[-1] == 1


def next_tokens(bridge, tokens, end):
    with torch.no_grad():
        logits = bridge(tokens, prepend_bos=False)
    return logits[torch.arange(len(end)), end]


def test_top_tokens_are_those_of_transformer_lens(model, task, circuit):
    """And the circuit's logits those of the reference, asked for one token after the other."""
    bridge = bridge_of(random_gpt2("2x4"), torch.float64)
    clean = next_tokens(bridge, task.clean_tokens, task.end)
    corrupted = next_tokens(bridge, task.corrupted_tokens, task.end)
    for row in (0, 3):
        table = ax.top_tokens(model, task, circuit, row, n=VOCAB)
        for run, expected in (("full", clean[row]), ("ablated", corrupted[row])):
            of_run = table[table.run == run]
            assert of_run["rank"].tolist() == [*range(1, VOCAB + 1)]
            assert of_run.token.iloc[0] == expected.argmax().item()
            np.testing.assert_allclose(of_run.logit, expected[of_run.token.tolist()], atol=2e-5)
            probabilities = expected.softmax(-1)[of_run.token.tolist()]
            np.testing.assert_allclose(of_run.probability, probabilities, atol=1e-5)
        of_circuit = table[table.run == "circuit"].set_index("token").logit
        for token in (3, 17):
            by_token = Reference(bridge, random_task(metric=lambda logits, t=token: logits[:, t]))
            expected = by_token.evaluate(circuit.removed_mask)[row].item()
            assert of_circuit[token] == pytest.approx(expected, abs=2e-5)


def test_the_answers_come_besides_with_their_ranks(model, task, circuit):
    whole = ax.top_tokens(model, task, circuit, 1, n=VOCAB)
    short = ax.top_tokens(model, task, circuit, 1, n=1)
    assert set(short.role) >= {"answer", "wrong answer"}
    expected = whole[(whole["rank"] == 1) | (whole.role != "")].reset_index(drop=True)
    pd.testing.assert_frame_equal(short, expected)
    assert short[short.role == "answer"].token.unique() == task.answer_tokens[1].item()
    assert short[short.role == "wrong answer"].token.unique() == task.wrong_tokens[1].item()


def test_it_fails_where_its_best_token_is_the_wrong_one(model, task, circuit):
    """The full model's choice is the answer, the circuit's the wrong one, where they differ."""
    tables = [ax.top_tokens(model, task, circuit, row, n=2) for row in range(task.n_prompts)]
    best = {
        run: [table[table.run == run].token.tolist()[:2] for table in tables]
        for run in ("full", "circuit")
    }
    answers = [first for first, _ in best["full"]]
    wrong = [first if first != answer else second
             for answer, (first, second) in zip(answers, best["circuit"], strict=True)]  # fmt: skip
    expected = [row for row, answer in enumerate(answers) if wrong[row] == best["circuit"][row][0]]
    assert 0 < len(expected) < task.n_prompts, "the test needs prompts of either kind"
    renamed = ax.Task(
        name="answers of its own",
        clean_tokens=task.clean_tokens,
        corrupted_tokens=task.corrupted_tokens,
        answer_tokens=torch.tensor(answers),
        wrong_tokens=torch.tensor(wrong),
        positions=task.positions,
        # By KL divergence the circuit is the same whatever the answers are.
        metric="kl_divergence",
    )
    of_kl = ax.find_circuit(model, renamed, 0.01)
    found = ax.by_prompt(model, renamed, of_kl)
    assert found.prompts.full_right.all()
    assert found.fails == found.prompts.index[~found.prompts.circuit_right].tolist()
    first = found.worst_first()
    assert first.fails.tolist() == sorted(first.fails, reverse=True)


def rows(**columns) -> pd.DataFrame:
    return pd.DataFrame(columns).rename_axis("prompt")


def test_in_words_and_worst_first():
    table = rows(
        faithfulness=[0.9, np.nan, 0.2, 0.5],
        full_right=[True, True, True, False],
        circuit_right=[True, True, False, False],
        fails=[False, False, True, False],
    )
    found = ByPrompt("m", "t", "logit_diff", table, pd.DataFrame({"faithfulness": []}))
    assert found.fails == [2]
    assert found.worst_first().index.tolist() == [2, 3, 0, 1]
    assert str(found) == (
        "m · t, 4 prompts: the full model is right on 3, the circuit on 2. On 1 it is wrong though "
        "the full model is right: prompt 2. Faithfulness of single prompts: median 50%, lowest 20% "
        "(prompt 2), highest 90% (prompt 0)."
    )
    right = ByPrompt("m", "t", "logit_diff", table[:2], pd.DataFrame({"faithfulness": []}))
    assert "wrong on no prompt" in str(right)


def test_templates_of_the_bundled_task():
    model = ax.load_model("mini")
    task = ax.load_task("ioi", model, n_prompts=16)
    found = ax.by_prompt(model, task, ax.find_circuit(model, task))
    table, groups = found.by_template, found.prompts.groupby("template")
    assert len(table) == 2
    assert table.n_prompts.sum() == 16
    assert table.n_prompts.is_monotonic_decreasing
    for name in ("full", "ablated", "circuit", "kl"):
        np.testing.assert_allclose(table[name], groups[name].mean()[table.index])
    means = (table.circuit - table.ablated) / (table.full - table.ablated)
    np.testing.assert_allclose(table.faithfulness, means)
    assert (table.accuracy == groups.circuit_right.mean()[table.index]).all()
    assert table.n_fails.sum() == len(found.fails)
    assert "templates" in str(found)
    assert found.prompts.text[3] == task.texts[3]
    assert ax.top_tokens(model, task, ax.find_circuit(model, task), 3).token.iloc[0].strip()


def test_without_texts_and_templates(model, task, circuit):
    found = ax.by_prompt(model, task, circuit)
    assert found.prompts.text[3] == "prompt 3"
    assert found.prompts.template.isna().all()
    assert len(found.by_template) == 0
    assert "template" not in str(found)


def test_slices_make_no_difference(model, task, circuit):
    whole, sliced = (Engine(model.weights, task, slice_size=size) for size in (None, 2))
    removed = [RemovedEdges(circuit.removed_mask), RemovedEdges(circuit.graph.edge_mask)]
    expected = evaluate_removed(whole, removed)
    for row in range(task.n_prompts):
        for engine in (whole, sliced):
            torch.testing.assert_close(
                evaluate_prompt(engine, removed, row), expected[:, row], atol=1e-5, rtol=1e-5
            )


@pytest.mark.parametrize("call", [ax.prompt_effects, ax.top_tokens])
def test_what_is_wrong_is_named(model, task, circuit, call):
    with pytest.raises(ValueError, match="prompts 0 to 4; got 5"):
        call(model, task, circuit, 5)
    for wrong in (-1, 1.0, True, "1"):
        with pytest.raises(ValueError, match="prompt must be a whole number from 0 on"):
            call(model, task, circuit, wrong)
    with pytest.raises(ValueError, match="other prompts"):
        call(model, random_task(seed=1), circuit, 0)
    with pytest.raises(ValueError, match="circuit must be a Circuit; got a list"):
        call(model, task, circuit.kept, 0)


def test_what_else_is_wrong_is_named(model, task, circuit):
    with pytest.raises(ValueError, match="n must be a whole number from 1 on; got 0"):
        ax.top_tokens(model, task, circuit, 0, n=0)
    with pytest.raises(ValueError, match="other prompts"):
        ax.by_prompt(model, random_task(seed=1), circuit)
