"""The bundled model: its card's claims measured again, and that its script makes such a model."""

from __future__ import annotations

import json
import math
import re

import pytest
import torch

import acdc_explorer as ax
from acdc_explorer.engine.cache import engine_for
from acdc_explorer.graph import Node
from acdc_explorer.inspection import attention_by_label
from acdc_explorer.models.loading import BUNDLED
from acdc_explorer.tasks.builtin.registry import STANDARD_TASKS
from acdc_explorer.tasks.builtin.words import NAMES
from acdc_explorer.training.card import N_PROMPTS
from acdc_explorer.training.corpus import Example, Link
from acdc_explorer.training.measuring import held_out_task, measure
from acdc_explorer.training.train_mini import (
    JOBS,
    Recipe,
    main,
    make_batch,
    make_tokenizer,
    misplaced_attention,
    train,
)


def test_it_is_small_and_complete():
    files = {file.name: file.stat().st_size for file in BUNDLED["mini"].iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= set(files)
    assert sum(files.values()) < 10_000_000


@pytest.mark.slow
def test_it_does_ioi_on_what_it_never_saw(mini):
    """The card's row measured again; the other tasks are in test_standard_tasks.py."""
    found = measure(mini, held_out_task("ioi", mini, N_PROMPTS))
    assert found["accuracy"] >= 0.99
    assert found["clean"] >= 3
    assert abs(found["corrupted"]) <= 0.5
    card = (BUNDLED["mini"] / "README.md").read_text(encoding="utf-8")
    assert f"| {found['accuracy']:.1%} | logit_diff | {found['clean']:.2f} ±" in card


def test_heads_have_the_jobs_that_the_card_names(mini):
    # Job -> task, looking label, label looked at.
    looks = {
        "duplicate token": [("ioi", "S2", "S1"), ("multiple_choice", "choice", "color")],
        "S-inhibition": [("ioi", "END", "S2")],
        "name mover": [("ioi", "END", "IO")],
        "two back": [("docstring", "C_def", "B_def"), ("multiple_choice", "choice", "letter")],
        "last argument": [("docstring", "END", "B_doc")],
        "answer mover": [("docstring", "END", "C_def"), ("multiple_choice", "END", "choice")],
    }
    card = (BUNDLED["mini"] / "README.md").read_text(encoding="utf-8")
    for job, heads in JOBS.items():
        nodes = [Node("head", layer, head) for layer, head in heads]
        assert f"- **{job}**: {', '.join(node.label for node in nodes)} " in card
        for name, query, key in looks[job]:
            engine = engine_for(mini, held_out_task(name, mini, 64))
            for node in nodes:
                assert attention_by_label(engine, node).loc[query, key] > 0.5


def test_its_circuit_is_worth_exploring(mini):
    """A handful of edges, from the input to the logits, through heads in several layers."""
    circuit = ax.find_circuit(mini, "ioi", "7%")
    assert 10 <= len(circuit.kept) <= 40
    assert circuit.faithfulness > 0.3
    kinds = {step.edge.kind for step in circuit.decisions if step.kept}
    assert kinds == {"q", "k", "v", "other"}
    into_logits = [edge for edge in circuit.kept if edge.endswith("->logits")]
    assert {"a3.h0->logits", "a3.h7->logits"} <= set(into_logits)
    # The story: duplicate token -> S-inhibition (k or v) -> name mover (q) -> logits.
    assert re.search(r"a0\.h3->a2\.h1<[kv]>", " ".join(circuit.kept))
    assert re.search(r"a2\.h1->a3\.h[07]<q>", " ".join(circuit.kept))
    card = (BUNDLED["mini"] / "README.md").read_text(encoding="utf-8")
    assert f"{len(circuit.kept)} of 1,519 edges\nkept" in card


def test_every_name_is_one_token(mini):
    for name in NAMES:
        assert len(mini.tokenizer(f" {name}", add_special_tokens=False)["input_ids"]) == 1
        assert mini.tokenizer(name).input_ids[-1] != mini.tokenizer.unk_token_id
    assert mini.bridge.to_tokens("Mary met John").tolist()[0].count(0) == 1


@pytest.mark.slow
def test_training_learns_and_is_repeatable():
    recipe = Recipe(steps=30, batch_size=32, n_embd=32, seed=3)
    _, losses = train(recipe, make_tokenizer(), "cpu")
    _, again = train(recipe, make_tokenizer(), "cpu")
    assert losses[-1] < losses[0] - 0.5
    assert losses == pytest.approx(again, rel=1e-3)


@pytest.mark.slow
def test_guidance_counts_what_guided_heads_miss_and_what_others_take():
    example = Example("one two three", " two", (Link("name mover", None, 4),))
    batch = make_batch([example], make_tokenizer(), 3.0)
    # Each head's attention from END, token 3, to "two", token 2.
    attentions = tuple(torch.zeros(1, 8, 6, 6) for _ in range(4))
    for layer, head in JOBS["name mover"]:
        attentions[layer][0, head, 3, 2] = 0.5
    attentions[1][0, 4, 3, 2] = 0.25
    misplaced, crowding = misplaced_attention(
        attentions, batch, {**dict.fromkeys(JOBS, 0), "name mover": 1}
    )
    assert misplaced.item() == pytest.approx(-math.log(0.5) / len(JOBS))
    assert crowding.item() == pytest.approx(-math.log(0.75) / len(JOBS))


@pytest.mark.slow
def test_the_script_writes_a_whole_model_folder(tmp_path, monkeypatch):
    # What is measured on how many is written; few are quicker.
    monkeypatch.setattr("acdc_explorer.training.card.N_PROMPTS", 32)
    main(["--out", str(tmp_path), "--steps", "12", "--n-embd", "32", "--batch-size", "16"])
    model = ax.load_model(str(tmp_path), device="cpu")
    assert model.graph.n_edges == 1519
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert re.search(r"steps 12,\s+batch_size 16", card)
    assert "| ioi | orders of two names; templates | 32 |" in card
    measured = json.loads((tmp_path / "tasks.json").read_text(encoding="utf-8"))
    assert set(measured) == set(STANDARD_TASKS)
