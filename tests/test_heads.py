"""Heads one by one: attention, what they write to the logits, scores, and what they may be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import (
    KINDS,
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
from acdc_explorer.arguments import engine_of
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.evaluate import evaluate_removed
from acdc_explorer.engine.removed_edges import RemovedEdges, differ_at_logits_alone
from acdc_explorer.graph import LOGITS, Node
from acdc_explorer.heads.attribution import BIASES, attribution_of
from acdc_explorer.heads.classes import known_classes, suggested
from acdc_explorer.heads.facts import HeadFacts
from acdc_explorer.heads.pages import page_of
from acdc_explorer.heads.scores import SCORES, repeated_tokens, scores_of
from acdc_explorer.measures.observations import DirectEffect, HeadRoles, head_roles
from acdc_explorer.models import Model
from acdc_explorer.testing.reference import Reference

NO_LABELS = frozenset[str]()


@pytest.fixture(scope="module")
def ioi(mini):
    return ax.load_task("ioi", mini, n_prompts=16)


@pytest.fixture(scope="module")
def ioi_circuit(mini, ioi):
    return ax.find_circuit(mini, ioi)


# Direct logit attribution.


def mean_difference(logits, task):
    """Mean answer logit minus mean wrong logit at END, from logits at all positions."""
    at_end = logits[torch.arange(task.n_prompts), task.end]

    def mean(tokens):
        return torch.stack(
            [row[ids[ids >= 0]].mean() for row, ids in zip(at_end, tokens, strict=True)]
        )

    return (mean(task.answer_tokens) - mean(task.wrong_tokens)).numpy()


def bridge_logits(bridge, tokens, cap=None):
    with torch.no_grad():
        logits = bridge(tokens, prepend_bos=False)
    return logits if cap is None else cap * torch.atanh(logits / cap)


@pytest.mark.parametrize("kind", [*KINDS, "gpt2", "attention only"])
def test_clean_parts_sum_up_to_the_logit_difference(kind):
    if kind == "attention only":
        bridge, bridge64 = attention_only(), attention_only(torch.float64)
    else:
        hf = random_gpt2("2x4") if kind == "gpt2" else random_model(kind)
        bridge, bridge64 = bridge_of(hf), bridge_of(hf, torch.float64)
    task, model = random_task(), Model(bridge, kind)
    found = ax.direct_logit_attribution(model, task)
    cap = model.weights.logit_cap
    expected = mean_difference(bridge_logits(bridge64, task.clean_tokens, cap), task)
    np.testing.assert_allclose(found.clean.sum(axis=1), expected, atol=2e-5)
    assert found.logit_difference == pytest.approx(expected.mean(), abs=1e-5)
    assert found.capped == (cap is not None)
    assert list(found.nodes.index) == [*(node.id for node in model.graph.senders), BIASES]
    assert found.nodes.difference[BIASES] == 0
    assert found.nodes.clean["a1.h1"] == pytest.approx(found.clean["a1.h1"].mean())


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox", "llama", "qwen3", "gemma2", "olmo2"])
def test_parts_are_transformer_lenss(kind):
    """Its stacks of heads' and MLPs' outputs, its cached scales, and the norm's own weight."""
    hf = random_gpt2("2x4") if kind == "gpt2" else random_model(kind)
    bridge, task = bridge_of(hf, torch.float64), random_task()
    found = ax.direct_logit_attribution(Model(bridge_of(hf), kind), task)
    rows = torch.arange(task.n_prompts)
    with torch.no_grad():
        _, cache = bridge.run_with_cache(task.clean_tokens, prepend_bos=False)
        _, corrupted = bridge.run_with_cache(task.corrupted_tokens, prepend_bos=False)
    W_U = bridge.unembed.W_U
    answer, wrong = (each[:, 0] for each in (task.answer_tokens, task.wrong_tokens))
    direction = (W_U[:, answer] - W_U[:, wrong]).T * bridge.ln_final.original_component.weight
    if kind == "gemma2":
        # Its norms multiply by one more than their weight.
        direction = direction + (W_U[:, answer] - W_U[:, wrong]).T
    normed_sums = kind in ("gemma2", "olmo2")
    for of_run, table in ((cache, found.clean), (corrupted, found.corrupted)):
        names = [node for node in table.columns if node != BIASES]
        if normed_sums:
            names = [node for node in names if not node.startswith("a")]
        parts = {"input": of_run["blocks.0.hook_resid_pre"]}
        for layer in range(2):
            parts[f"m{layer}"] = of_run[f"blocks.{layer}.hook_mlp_out"]
        results = of_run.stack_head_results(layer=2)
        parts |= {f"a{n // 4}.h{n % 4}": result for n, result in enumerate(results)}
        if normed_sums and of_run is cache:
            parts |= {f"layer {n}": of_run[f"blocks.{n}.hook_attn_out"] for n in range(2)}
            names += ["layer 0", "layer 1"]
            table = table.assign(
                **{f"layer {n}": table[[f"a{n}.h{h}" for h in range(4)]].sum(axis=1)
                   for n in range(2)}
            )  # fmt: skip
        # The clean run's scales, for both runs.
        stack = cache.apply_ln_to_stack(torch.stack([parts[name] for name in names]))
        expected = (stack[:, rows, task.end] * direction).sum(-1)
        np.testing.assert_allclose(table[names].T, expected.detach(), atol=2e-5)


def test_five_heads_write_one_logit_each():
    found = ax.direct_logit_attribution("five-heads", "five-heads")
    heads = found.nodes.filter(regex=r"^a0\.h[0-4]$", axis="index")
    assert heads.clean.tolist() == pytest.approx([1] * 5, abs=1e-2)
    assert heads.corrupted.tolist() == pytest.approx([0] * 5, abs=1e-2)
    assert found.logit_difference == pytest.approx(5, abs=5e-2)
    assert "the logit difference of 5" in str(found)


@pytest.mark.parametrize("metric", ["prob_diff", "kl_divergence", lambda logits: logits[:, 3]])
def test_attribution_is_of_the_logit_difference_whatever_the_metric(model, task, metric):
    answers = torch.tensor([[1, 2], [3, -1], [5, 6], [7, 8], [9, -1]])
    plain = replace(task, answer_tokens=answers)
    expected = ax.direct_logit_attribution(model, plain)
    found = ax.direct_logit_attribution(model, replace(plain, metric=metric))
    pd.testing.assert_frame_equal(found.clean, expected.clean)
    logits = bridge_logits(model.bridge, task.clean_tokens)
    np.testing.assert_allclose(found.clean.sum(axis=1), mean_difference(logits, plain), atol=2e-5)


@pytest.mark.parametrize("options", [{"ablation": "zero"}, {"ablation": "mean"}, {"slice_size": 2}])
def test_attribution_is_of_clean_and_corrupted_prompts_whatever_is_removed(model, task, options):
    expected = ax.direct_logit_attribution(model, task)
    found = attribution_of(Engine(model.weights, task, **options), "random")
    np.testing.assert_allclose(found.clean, expected.clean, atol=1e-5)
    np.testing.assert_allclose(found.corrupted, expected.corrupted, atol=1e-5)


# One head.


def reference_pattern(bridge, task, layer, head, circuit=None):
    """A head's attention [prompt, query, key] as TransformerLens records it."""
    recorded = []
    point = bridge.blocks[layer].attn.hook_pattern
    reference = circuit and Reference(
        bridge, task, circuit.settings.ablation, positions=bool(circuit.graph.labels),
        split_qkv=circuit.graph.split_qkv,
    )  # fmt: skip
    point.add_hook(lambda value, hook: recorded.append(value[:, head]), is_permanent=True)
    if reference:
        reference.evaluate(circuit.removed_mask)
    else:
        bridge_logits(bridge, task.clean_tokens)
    return recorded[-1].numpy()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("gpt2", {}),
        ("gpt2", {"positions": True}),
        ("gemma2", {}),
        *(
            pytest.param(kind, options, marks=pytest.mark.slow)
            for kind, options in [
                ("gpt2", {"ablation": "zero"}),
                ("gpt2", {"ablation": "mean"}),
                ("gpt2", {"split_qkv": False}),
                ("gpt_neox", {}),
                ("llama", {}),
                ("mistral", {}),
                ("olmo2", {}),
            ]
        ),
    ],
    ids=str,
)
def test_attention_in_a_circuit_is_the_references(kind, options):
    hf = random_gpt2("2x4") if kind == "gpt2" else random_model(kind)
    task = labelled_task()
    model = Model(bridge_of(hf), kind)
    circuit = ax.find_circuit(model, task, 0.1, **options)
    engine = engine_of(circuit, model, task)
    seen = 0
    for head in range(4):
        node = Node("head", 1, head)
        expected = reference_pattern(
            bridge_of(ungrouped(hf), torch.float64), task, 1, head, circuit
        )
        is_out = not circuit.kept_mask[:, engine.graph.sender_index[node]].any()
        for row in (0, 3):
            found = ax.inspect_head(model, task, node, row, circuit)
            if is_out:
                assert found.in_circuit is None
                continue
            seen += 1
            length = int(task.end[row]) + 1
            of_prompt = expected[row, :length, :length]
            np.testing.assert_allclose(found.in_circuit, of_prompt, atol=2e-5)
    assert seen


def test_attention_is_transformer_lenss(model, task):
    found = ax.inspect_head(model, task, "L1H2", 3)
    length = int(task.end[3]) + 1
    for tokens, pattern in (
        (task.clean_tokens, found.clean),
        (task.corrupted_tokens, found.corrupted),
    ):
        _, cache = model.bridge.run_with_cache(tokens, prepend_bos=False)
        expected = cache["blocks.1.attn.hook_pattern"][3, 2, :length, :length]
        np.testing.assert_allclose(pattern, expected.detach(), atol=1e-5)
    np.testing.assert_array_equal(found.difference, found.clean - found.corrupted)
    assert found.in_circuit is None
    assert found.tokens == tuple(map(str, task.clean_tokens[3, :length].tolist()))
    assert list(found.mean_by_label.columns) == ["MIDDLE", "END", "other"]


def test_what_a_head_writes_is_its_part_of_the_logits(model, task):
    attribution = ax.direct_logit_attribution(model, task)
    found = ax.inspect_head(model, task, Node("head", 0, 1), 2)
    assert found.writes_clean == pytest.approx(attribution.clean["a0.h1"][2], abs=1e-6)
    assert found.writes_corrupted == pytest.approx(attribution.corrupted["a0.h1"][2], abs=1e-6)
    np.testing.assert_allclose(found.writes.clean, attribution.clean["a0.h1"], atol=1e-6)
    assert found.writes.difference.mean() == pytest.approx(
        attribution.nodes.difference["a0.h1"], abs=1e-6
    )


def test_tokens_are_in_words_where_there_is_a_tokenizer(mini, ioi):
    found = ax.inspect_head(mini, ioi, "a3.h0", 1)
    assert "".join(found.tokens[1:]).replace(" ", "") in ioi.texts[1].replace(" ", "")
    assert len(found.tokens) == len(found.clean) == int(ioi.end[1]) + 1
    told = str(found)
    assert "L3H0 on prompt 1" in told
    assert "towards the answer" in told


def test_wrong_heads_prompts_and_circuits_are_refused(model, task, mini, ioi_circuit):
    with pytest.raises(ValueError, match="head must be an attention head"):
        ax.inspect_head(model, task, "m0")
    with pytest.raises(ValueError, match=r"unknown node 'a7\.h0'"):
        ax.inspect_head(model, task, "a7.h0")
    with pytest.raises(ValueError, match="has prompts 0 to 4; got 5"):
        ax.inspect_head(model, task, "a0.h0", 5)
    with pytest.raises(ValueError, match="prompt must be a whole number"):
        ax.inspect_head(model, task, "a0.h0", 1.5)
    with pytest.raises(ValueError, match="4 layers x 8 heads; this one has 2 layers x 4 heads"):
        ax.inspect_head(model, task, "a0.h0", 0, ioi_circuit)


# Scores on random tokens.


def test_scores_by_hand():
    """Two tokens twice, after a beginning: positions 1 2 | 3 4."""
    pattern = torch.zeros(5, 5)
    pattern[2, 1], pattern[3, 2], pattern[4, 3] = 0.3, 0.6, 0.9
    pattern[3, 1], pattern[4, 2] = 0.2, 0.1
    pattern[2, 0], pattern[3, 0], pattern[4, 0] = 0.7, 0.2, 0.0
    # previous; duplicate: 3 -> 1, 4 -> 2; induction: 3 -> 2, 4 -> 3; first.
    expected = [(0.3 + 0.6 + 0.9) / 3, (0.2 + 0.1) / 2, (0.6 + 0.9) / 2, 0.9 / 3]
    assert scores_of(pattern, 1, 2).tolist() == pytest.approx(expected)


def test_heads_that_are_built_for_it_score_one():
    scores = ax.head_scores("induction-pair")
    assert scores.previous_token["a0.h0"] == pytest.approx(1, abs=1e-2)
    assert scores.induction["a1.h0"] == pytest.approx(1, abs=1e-2)
    assert scores.loc["a1.h0", ["previous_token", "duplicate_token"]].max() < 0.2


def test_scores_are_of_transformer_lenss_attention():
    model = Model(bridge_of(random_model("mistral")), "mistral")
    tokens, start, length = repeated_tokens(model)
    # Without a tokenizer there is no beginning-of-text token; 16 tokens fit.
    assert (start, length, tokens.shape) == (0, 8, (4, 16))
    assert all(len({*row}) == 8 for row in tokens[:, :8].tolist())
    assert tokens.max() < VOCAB
    torch.testing.assert_close(tokens[:, :8], tokens[:, 8:])
    _, cache = model.bridge.run_with_cache(tokens, prepend_bos=False)
    found = ax.head_scores(model)
    for layer in range(2):
        pattern = cache[f"blocks.{layer}.attn.hook_pattern"].detach()
        for head in range(4):
            of_head = pattern[:, head]
            previous = np.mean([of_head[:, i, i - 1].mean() for i in range(1, 16)])
            induction = np.mean([of_head[:, i, i - 7].mean() for i in range(8, 16)])
            row = found.loc[f"a{layer}.h{head}"]
            assert row.previous_token == pytest.approx(previous, abs=1e-5)
            assert row.induction == pytest.approx(induction, abs=1e-5)


def test_special_tokens_are_not_random_ones(mini):
    tokens, start, length = repeated_tokens(mini)
    assert start == 1
    assert length == 25
    assert (tokens[:, 0] == mini.tokenizer.bos_token_id).all()
    assert not np.isin(tokens[:, 1:], mini.tokenizer.all_special_ids).any()
    # What is handed out is a copy.
    handed_out = ax.head_scores(mini)
    handed_out.loc[:, :] = 5
    assert ax.head_scores(mini).max().max() <= 1


# What heads may be.


def facts(attention, *, scores=None, writes=0.0, backup=None):
    """Of a head that attends as told, {"END IO": 0.9}, where the logit difference is 10."""
    labels = sorted({"END"}.union(*(pair.split() for pair in attention)))
    table = pd.DataFrame(0.0, index=labels, columns=[*labels, "other"])
    for pair, value in attention.items():
        query, key = pair.split()
        table.loc[query, key] = value
    of_scores = dict.fromkeys(SCORES, 0.0) | (scores or {})
    return HeadFacts(Node("head", 1, 0), table, of_scores, writes, 0.0, 10.0, backup)


BACKUP = DirectEffect(Node("head", 1, 0), 0.1, 0.9)


@pytest.mark.parametrize(
    ("known", "leads_to", "expected"),
    [
        (facts({"END IO": 0.25, "END S1": 0.2}, writes=0.3), set(), "name mover"),
        (facts({"END IO": 0.24}, writes=5), set(), None),
        (facts({"END IO": 0.5, "END S2": 0.6}, writes=5), set(), None),
        (facts({"END IO": 0.9}, writes=0.29), set(), None),
        (facts({"END IO": 0.9}, writes=-0.3), set(), "negative name mover"),
        (facts({"END IO": 0.9}, backup=BACKUP), set(), "backup name mover"),
        (facts({"END S2": 0.5, "END IO": 0.3}), {"q", "k"}, "S-inhibition head"),
        (facts({"END S2": 0.5}), {"k", "v"}, None),
        (facts({"S2 S1": 0.3}), set(), "duplicate-token head"),
        (facts({"S2 S1+1": 0.3}), set(), "induction head"),
        (facts({"S1+1 S1": 0.3}), set(), "previous-token head"),
        (facts({}, scores={"induction": 0.4}), set(), "induction head"),
        (facts({}, scores={"previous_token": 0.39}), set(), None),
        (facts({}, scores={"duplicate_token": np.nan}), set(), None),
    ],
)
def test_rules_for_ioi(ioi, known, leads_to, expected):
    found = suggested(known, frozenset(leads_to), known_classes(ioi))
    assert (found and found[0]) == expected


@pytest.mark.parametrize(
    ("name", "known", "leads_to", "expected"),
    [
        ("induction", facts({"END B1": 0.3}), set(), "induction head"),
        ("induction", facts({"B1 A1": 0.3}), set(), "previous-token head"),
        ("induction", facts({"END A1": 0.3}), set(), "duplicate-token head"),
        ("greater_than", facts({"END YY": 0.3}), {"MLPs"}, "start-year head"),
        ("greater_than", facts({"END YY": 0.3}), {"q"}, None),
        ("docstring", facts({"END C_def": 0.9}, writes=5), {"logits"}, None),
    ],
)
def test_rules_for_other_tasks(mini, name, known, leads_to, expected):
    task = ax.load_task(name, mini, n_prompts=4)
    found = suggested(known, frozenset(leads_to), known_classes(task))
    assert (found and found[0]) == expected


def test_heads_of_a_circuit_are_described(mini, ioi, ioi_circuit):
    found = ax.describe_heads(mini, ioi, ioi_circuit)
    table = found.table
    ends = {end.split("<")[0] for edge in ioi_circuit.kept for end in edge.split("->")}
    assert {*table.index} == {end for end in ends if end.startswith("a")}
    assert table.suggestion["a3.h0"] == table.suggestion["a3.h7"] == "name mover"
    assert table.suggestion["a2.h1"] == "S-inhibition head"
    assert table.suggestion["a0.h3"] == "duplicate-token head"
    assert "at END attends to IO 0.9" in table.facts["a3.h0"]
    assert "at END attends to S2 0.9" in table.evidence["a2.h1"]
    assert found.source == "Wang et al. 2022, section 3"
    attribution = ax.direct_logit_attribution(mini, ioi).nodes
    kept = ioi_circuit.edges.query("state == 'kept'")
    for name, row in table.iterrows():
        assert row.writes == pytest.approx(attribution.clean[name], abs=1e-6)
        assert row.n_in == (kept.receiver == name).sum()
        assert row.n_out == (kept.sender == name).sum()
        means = ax.inspect_head(mini, ioi, name).mean_by_label
        assert row.attention == pytest.approx(means.loc[row.attends_from, row.attends_to])
        assert row.page is None
        assert (row.suggestion is None) == (row.evidence is None)
    assert f"{len(table)} heads with kept edges" in str(found)
    assert "a2.h1 [perhaps: S-inhibition head]" in str(found)


def test_changes_by_hand_count(mini, ioi, ioi_circuit):
    edges = [edge for edge in ioi_circuit.kept if "a2.h1" in edge]
    changed = ax.edit(mini, ioi, ioi_circuit, remove=edges)
    assert "a2.h1" not in ax.describe_heads(mini, ioi, changed).table.index


def test_a_circuit_without_heads_and_one_of_another_model(model, task, ioi_circuit):
    nothing = ax.find_circuit(model, task, 1e6)
    found = ax.describe_heads(model, task, nothing)
    assert len(found.table) == 0
    assert "0 heads with kept edges" in str(found)
    with pytest.raises(ValueError, match="is of a model with 4 layers"):
        ax.describe_heads(model, task, ioi_circuit)


def test_hand_built_heads_are_what_they_were_built_for():
    task = ax.load_task("induction-pair", "induction-pair")
    circuit = ax.find_circuit("induction-pair", task)
    table = ax.describe_heads("induction-pair", task, circuit).table
    assert table.suggestion.to_dict() == {
        "a0.h0": "previous-token head",
        "a1.h0": "induction head",
    }


@pytest.mark.parametrize("kind", ["gpt_neox", "gemma2"])
def test_circuits_that_differ_at_the_logits_alone_are_as_by_themselves(kind):
    """One for each head, as roles are told from; many of them share a run."""
    model, task = Model(bridge_of(random_model(kind)), kind), random_task()
    circuit = ax.find_circuit(model, task, 0.1)
    engine = engine_of(circuit, model, task)
    graph, masks = circuit.graph, [circuit.removed_mask]
    for head in range(4):
        masks.append(circuit.removed_mask.copy())
        masks[-1][graph.rows_of(LOGITS), graph.sender_index[Node("head", 1, head)]] ^= True
    circuits = [RemovedEdges(mask) for mask in masks]
    assert differ_at_logits_alone(graph, circuits)
    together = evaluate_removed(engine, circuits)
    for one, values in zip(circuits, together, strict=True):
        torch.testing.assert_close(evaluate_removed(engine, [one])[0], values, atol=1e-5, rtol=1e-5)
    other = circuit.removed_mask.copy()
    other[0, 0] ^= True
    assert not differ_at_logits_alone(graph, [*circuits, RemovedEdges(other)])
    at = RemovedEdges(circuit.removed_mask, (graph.edge_at(0, 0), task.position_masks["END"]))
    assert not differ_at_logits_alone(graph, [*circuits, at])


def test_a_distance_from_the_model_knows_no_roles(model):
    engine = Engine(model.weights, random_task(metric="kl_divergence"))
    assert head_roles(engine) == HeadRoles((), (), ())


def test_pages_are_known_by_the_models_name_alone():
    page = page_of("gpt2", Node("head", 9, 6))
    assert page == "https://robertzk.github.io/gpt2-small-saes/cards/top_features_9_6.html"
    assert page_of("openai-community/gpt2", Node("head", 11, 11)).endswith("_11_11.html")
    assert page_of("gpt2", Node("head", 12, 0)) is None
    assert page_of("gpt2-medium", Node("head", 0, 0)) is None
