"""Previews of tasks, and whether a model does them."""

from __future__ import annotations

import dataclasses

import torch
from prompt_tables import CLEAN, other, row, table

import acdc_explorer as ax
from acdc_explorer.engine.cache import engine_for


def test_previews(mini):
    task = ax.Task.from_dataframe(table(row(pair="Mary and John"), other(pair="Amy")), mini)
    plain = task.preview()
    assert list(plain.columns) == ["clean", "corrupted", "answer", "wrong_answer", "pair", "END"]
    assert plain["pair"].tolist() == ["Mary and John [2:5]", "Amy [2]"]
    assert plain["END"].tolist() == ["to [14]", "to [14]"]
    asked = ax.preview_task("mini", task)
    assert list(asked.columns[-3:]) == ["top_answer", "correct", "logit_diff"]
    engine = engine_for(mini, task)
    assert asked["logit_diff"].tolist() == engine.clean_by_prompt.tolist()
    best = engine.scoring.clean_logits.argmax(-1).tolist()
    assert asked["top_answer"].tolist() == mini.tokenizer.convert_ids_to_tokens(best)
    by_tokens = ax.Task("t", task.clean_tokens, task.corrupted_tokens, [1, 2], [2, 1],
                        {"gap": torch.eye(15).bool()[:2] | torch.eye(15).bool()[5]})  # fmt: skip
    assert by_tokens.preview().to_dict("list") == {
        "gap": ["[0, 5]", "[1, 5]"], "END": ["[14]", "[14]"]
    }  # fmt: skip


def test_a_task_that_the_model_does(mini):
    check = ax.check_task(mini, ax.load_task("ioi", mini, n_prompts=32))
    assert check.accuracy > 0.9
    assert check.clean > 1
    assert abs(check.corrupted) < 1
    assert min(check.clean_deviation, check.corrupted_deviation) > 0
    assert check.warnings == ()
    lines = str(check).splitlines()
    assert lines[0] == "ioi on mini, 32 prompts"
    assert lines[1].startswith("  accuracy   ")
    assert f"± {check.clean_deviation:.3f} logits" in lines[3]


def test_a_task_that_the_model_does_not(mini):
    turned = table(row(answer="John", wrong_answer="Mary"))
    check = ax.check_task("mini", ax.Task.from_dataframe(turned, mini))
    assert check.accuracy == 0
    assert "its answer is right on 0% of the prompts" in check.warnings[0]


def test_prompts_whose_corruption_changes_nothing_much(mini):
    frame = table(row(corrupted=CLEAN.replace("store", "garden")))
    check = ax.check_task(mini, ax.Task.from_dataframe(frame, mini))
    gap = abs(check.clean - check.corrupted)
    assert gap < 0.2 * check.clean
    assert f"differ by {gap:.3g} in logit difference" in check.warnings[0]
    assert "too close for a search" in check.warnings[0]
    assert check.warnings[0] in str(check)


def test_reports_escape_what_they_show(mini):
    frame = table(row(), other())
    task = ax.Task.from_dataframe(frame, mini, name="<script>alert(1)</script>")
    shown = ax.check_task(mini, task)._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert "<li><b>note</b>: " in shown


def test_one_wrong_answer_in_many_is_not_rounded_away(mini):
    check = ax.check_task(mini, ax.load_task("ioi", mini, n_prompts=4))
    assert "100% (4 of 4)" in str(check)
    many = dataclasses.replace(check, n_prompts=5000, accuracy=4999 / 5000)
    assert "99.9% (4999 of 5000)" in str(many)
