"""The tab with the prompts: both tables hold what the library measures, linked with the graph."""

from __future__ import annotations

import re
import time
from dataclasses import replace

import pytest
from conftest import random_task

import acdc_explorer as ax
from acdc_explorer.explorer.prompts.prompt_tables import (
    RESULTS,
    effect_columns,
    prompt_columns,
    template_groups,
)
from acdc_explorer.explorer.prompts.prompts import Prompts
from acdc_explorer.explorer.prompts.prompts_html import detail_html, saved_html, summary_html
from acdc_explorer.tasks.prompts import each
from acdc_explorer.tasks.task import Task

THRESHOLD = 0.05


@pytest.fixture(scope="module")
def ioi(mini):
    return ax.load_task("ioi", mini, n_prompts=16)


@pytest.fixture(scope="module")
def circuit(mini, ioi):
    return ax.find_circuit(mini, ioi)


@pytest.fixture(scope="module")
def found(mini, ioi, circuit):
    return ax.by_prompt(mini, ioi, circuit)


def until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def test_the_columns_are_what_was_measured(found):
    rows = found.worst_first()
    columns = {column.name: column for column in prompt_columns(found, rows)}
    assert columns["number"].values == rows.index.tolist()
    for name in ("text", "full", "circuit", "ablated", "kl", "faithfulness", "template"):
        assert columns[name].values == rows[name].tolist()
    for told, fails in zip(columns["result"].values, rows.fails, strict=True):
        assert (told == RESULTS[True, False]) is fails
    groups = template_groups(found)
    assert {*groups.headings} == {*found.by_template.index}
    n_fails = found.by_template.n_fails.iloc[0]
    assert groups.headings[found.by_template.index[0]].endswith(f"the circuit fails on {n_fails}")


def test_a_task_without_templates_has_no_groups(model, task):
    found = ax.by_prompt(model, task, ax.find_circuit(model, task, THRESHOLD))
    assert template_groups(found) is None
    assert "template" not in {column.name for column in prompt_columns(found, found.prompts)}


def test_effects_stand_beside_the_mean(mini, ioi, circuit):
    effects = ax.prompt_effects(mini, ioi, circuit, 2)
    labels = [circuit.graph.parse_edge(edge).label for edge in effects.edge]
    columns = {column.name: column for column in effect_columns(circuit, effects, labels)}
    assert columns["label"].values == labels
    assert columns["effect"].values == effects.effect.tolist()
    assert columns["effect"].bar == effects.effect.abs().max()
    assert columns["effect_when_decided"].values == effects.effect_when_decided.tolist()
    none = effect_columns(circuit, effects[:0], [])
    assert [len(column.values) for column in none] == [0, 0, 0]


def test_a_prompt_in_depth(mini, ioi, circuit, found):
    tokens = ax.top_tokens(mini, ioi, circuit, 3)
    html = detail_html(ioi, found, circuit, 3, tokens)
    pair, row = ioi.pairs[3], found.prompts.loc[3]
    assert RESULTS[row.full_right, row.circuit_right] in html
    assert f"full model {row.full:.3f} logits, circuit {row.circuit:.3f} logits" in html
    words = re.sub("<[^>]*>", " ", html)
    assert all(answer.strip() in words for answer in (*each(pair.answer), *each(pair.wrong_answer)))
    assert "<mark>" in html
    first = tokens[tokens.run == "circuit"].iloc[0]
    assert first.token.strip() in words
    assert f"{first.probability:.1%}" in words
    assert "measuring" in detail_html(ioi, found, circuit, 3, None)


def test_foreign_text_is_escaped(model):
    task = random_task()
    task = Task(**{**vars_of(task), "texts": ["<i>"] * task.n_prompts})
    circuit = ax.find_circuit(model, task, THRESHOLD)
    found = ax.by_prompt(model, task, circuit)
    tokens = ax.top_tokens(model, task, circuit, 0)
    tokens["token"] = "<b>"
    for html in (detail_html(task, found, circuit, 0, tokens), saved_html(found)):
        assert "<i>" not in html
        assert "&lt;i&gt;" in html
    assert "<b> " not in detail_html(task, found, circuit, 0, tokens)
    named = replace(found, task_name="<u>")
    assert "<u>" not in summary_html(named) + saved_html(named)


def vars_of(task):
    return {name: getattr(task, name) for name in task.__dataclass_fields__}


@pytest.fixture
def explorer(model, task):
    explorer = ax.Explorer(model, task, THRESHOLD)
    explorer.wait(30)
    yield explorer
    explorer.close()


def open_tab(explorer) -> Prompts:
    (part,) = (part for part in explorer._page._parts if isinstance(part, Prompts))
    explorer._page.tabs.selected_index = explorer._page.tabs.titles.index("Prompts")
    return part


def test_nothing_is_measured_before_the_tab_is_opened(explorer, model, task):
    (part,) = (part for part in explorer._page._parts if isinstance(part, Prompts))
    assert part.prompts.table == {}
    assert not part.is_measuring
    assert part.saved_html() == ""
    open_tab(explorer)
    until(lambda: part.prompts.table)
    expected = ax.by_prompt(model, task, explorer.circuit).worst_first()
    assert part.prompts.table["keys"] == [str(row) for row in expected.index]
    assert "Prompt by prompt" in part.saved_html()


def test_a_prompt_is_looked_into(explorer, model, task):
    part = open_tab(explorer)
    until(lambda: part.prompts.table)
    part.prompts._handle_custom_msg({"chosen": "2"}, [])
    until(lambda: part.effects.table)
    expected = ax.prompt_effects(model, task, explorer.circuit, 2)
    assert part.effects.table["keys"] == expected.edge.tolist()
    assert part.prompts.current == "2"
    assert 'data-prompt="2"' in part.detail.value
    # Both ways with the selection.
    first, second = expected.edge[:2]
    part.effects._handle_custom_msg({"chosen": first}, [])
    assert explorer.selected_edge == first
    explorer.selected_edge = second
    assert part.effects.current == second


def test_the_script_does_the_same(explorer, model, task):
    part = open_tab(explorer)
    until(lambda: part.prompts.table)
    part.prompts._handle_custom_msg({"chosen": "1"}, [])
    names = {"ax": ax, "model": model, "task": task, "circuit": explorer.circuit}
    all_prompts, tokens, effects = (eval(line, names) for line in explorer._state.script.lines[-3:])
    of = model, task, explorer.circuit
    assert all_prompts.equals(ax.by_prompt(*of).worst_first())
    assert tokens.equals(ax.top_tokens(*of, 1))
    assert effects.equals(ax.prompt_effects(*of, 1))


def test_another_threshold_keeps_the_chosen_prompt(explorer, model, task):
    part = open_tab(explorer)
    until(lambda: part.prompts.table)
    part.prompts._handle_custom_msg({"chosen": "2"}, [])
    until(lambda: part.effects.table)
    explorer.threshold = 4 * THRESHOLD
    explorer.wait(30)
    expected = ax.prompt_effects(model, task, explorer.circuit, 2)
    until(lambda: part.effects.table["keys"] == expected.edge.tolist())
    # A prompt that another task lacks is none of its own.
    explorer._state.kept["prompt"] = 99
    explorer.threshold = THRESHOLD
    explorer.wait(30)
    n_kept = len(explorer.circuit.kept)
    until(lambda: not part.is_measuring)
    assert len(part.effects.table["keys"]) != n_kept


def test_changes_by_hand_count(explorer, model, task):
    part = open_tab(explorer)
    until(lambda: part.prompts.table)
    edge = explorer.circuit.kept[0]
    changed = ax.edit(model, task, explorer.circuit, remove=[edge])
    expected = ax.by_prompt(model, task, changed).worst_first()
    explorer.edit(remove=[edge])

    def shown():
        columns = {column["name"]: column for column in part.prompts.table["columns"]}
        return columns["circuit"]["values"]

    until(lambda: shown() == pytest.approx(expected.circuit.tolist(), abs=1e-6))


def test_the_graph_is_drawn_by_a_prompts_effects(explorer, model, task):
    part, view = open_tab(explorer), explorer._graph_view
    until(lambda: part.prompts.table)
    before = {each.edge.id: each.effect for each in view.drawn_edges()}
    part.prompts._handle_custom_msg({"chosen": "2"}, [])
    until(lambda: part.effects.table)
    part.draws.value = True
    assert "on prompt 2 alone" in view._caption.value

    def drawn():
        return {each.edge.id: each.effect for each in view.drawn_edges()}

    def effects_on(prompt):
        table = ax.prompt_effects(model, task, explorer.circuit, prompt)
        return pytest.approx(dict(zip(table.edge, table.effect, strict=True)), abs=1e-5)

    assert drawn() == effects_on(2)
    # It goes on with another prompt, and with another circuit, until it is given up.
    part.prompts._handle_custom_msg({"chosen": "3"}, [])
    until(lambda: "on prompt 3 alone" in view._caption.value)
    assert drawn() == effects_on(3)
    explorer.threshold = 4 * THRESHOLD
    explorer.wait(30)
    until(lambda: not part.is_measuring and "on prompt 3 alone" in view._caption.value)
    assert drawn() == effects_on(3)
    part.draws.value = False
    assert view._caption.value == ""
    assert explorer._state.drawn_by is None
    explorer.threshold = THRESHOLD
    explorer.wait(30)
    assert drawn() == before
