"""The tab with the heads: what the library measures, linked with what is selected."""

from __future__ import annotations

import re
from html import unescape

import numpy as np
import pytest
from conftest import random_task, until

import acdc_explorer as ax
from acdc_explorer.explorer.heads.head_table import head_columns
from acdc_explorer.explorer.heads.heads import Heads
from acdc_explorer.explorer.heads.heads_html import ends_of, head_html, saved_html
from acdc_explorer.explorer.heads.heat_map import heat_map, token_shown
from acdc_explorer.explorer.selection import Selection


@pytest.fixture(scope="module")
def ioi(mini):
    return ax.load_task("ioi", mini, n_prompts=16)


@pytest.fixture(scope="module")
def circuit(mini, ioi):
    return ax.find_circuit(mini, ioi)


@pytest.fixture
def explorer(mini, ioi):
    explorer = ax.Explorer(mini, ioi)
    explorer._runner.rest(True)
    explorer.wait(30)
    yield explorer
    explorer.close()


def tab_of(explorer):
    (tab,) = (part for part in explorer._page._parts if isinstance(part, Heads))
    tab.open(True)
    return tab


def test_a_map_has_a_cell_for_each_weight_and_escapes_tokens():
    weights = np.array([[1.0, 0.0], [0.25, 0.75]])
    tokens = ["<b>", "\n"]
    html = heat_map("a & b", weights, tokens, tokens, {1: "END"})
    opacities = re.findall(r'fill-opacity="([\d.]+)"', html)
    assert [float(each) for each in opacities] == [1, 0.25, 0.75]
    assert "from &#x27;\\n&#x27; [1] to &#x27;&lt;b&gt;&#x27; [0]: 0.250" in html
    assert "<b>" not in html
    assert "a &amp; b" in html
    assert "↵ (END)" in html
    assert html.count('class="labelled"') == 2
    signed = heat_map("x", weights - 0.5, tokens, tokens, {}, signed=True)
    assert "+0.500" in signed
    assert "-0.250" in signed


def test_tokens_can_be_read():
    assert token_shown(" the") == "the"
    assert token_shown("  ") == "␣"
    assert token_shown("\n\n") == "↵↵"
    assert token_shown("incomprehensibility") == "incomprehens…"


def test_the_columns_are_what_was_measured(mini, ioi, circuit):
    table = ax.describe_heads(mini, ioi, circuit).table
    columns = {column.name: column for column in head_columns(table)}
    for name, column in columns.items():
        if name != "label":
            assert list(column.values) == table[name].tolist()
        column.as_dict()
    assert columns["label"].values[0] == "L0H1"
    # Where nothing is suggested, there is no column for it.
    assert "suggestion" not in [column.as_dict()["name"] for column in head_columns(table[:0])]


def test_one_head_in_words(mini, ioi, circuit):
    found = ax.inspect_head(mini, ioi, "a3.h0", 2, circuit)
    row = ax.describe_heads(mini, ioi, circuit).row_of(found.head)
    html = head_html(found, ioi, circuit, found.mean_by_label, row)
    assert html.count("<svg") >= 4 + 4
    for title in ("Clean prompt", "Corrupted prompt", "Clean − corrupted", "In the circuit"):
        assert f"<figcaption>{title}</figcaption>" in html
    assert f"{found.writes_clean:+.3f}" in html
    assert f"{found.writes.clean.mean():+.3f}" in html
    assert "Perhaps a <b>name mover</b>" in html
    into = [edge for edge in circuit.kept if "->a3.h0<" in edge]
    assert all(f'data-edge="{edge.replace(">", "&gt;").replace("<", "&lt;")}"' in html
               for edge in into)  # fmt: skip
    assert "data-edge" not in head_html(found, ioi, circuit, found.mean_by_label, None, live=False)
    # Elsewhere it would be said that the head does nothing.
    assert "does nothing in the circuit" not in html
    out = ax.inspect_head(mini, ioi, "a1.h0", 2, circuit)
    assert "does nothing in the circuit" in head_html(out, ioi, circuit, out.mean_by_label, None)


def test_a_page_about_a_head_is_a_link_that_is_clicked(mini, ioi, circuit):
    found = ax.inspect_head(mini, ioi, "a3.h0", 2, circuit)
    row = ax.describe_heads(mini, ioi, circuit).row_of(found.head)
    row["page"] = "https://example.org/9"
    html = head_html(found, ioi, circuit, found.mean_by_label, row)
    assert '<a href="https://example.org/9" target="_blank" rel="noopener noreferrer">' in html
    assert "opens example.org" in html


def test_a_selection_is_about_the_heads_at_its_ends(circuit):
    graph = circuit.graph

    def named(kind, name):
        return [node.id for node in ends_of(Selection(kind, name).find(graph))]

    assert named("edge", "a0.h1->a3.h0<q>") == ["a0.h1", "a3.h0"]
    assert named("edge", "m0->a3.h0<q>") == ["a3.h0"]
    assert named("edge", "a0.h1->logits") == ["a0.h1"]
    assert named("node", "a2.h1") == ["a2.h1"]
    assert named("node", "m0") == named("edge", "input->m0") == []


def test_the_table_is_that_of_the_library_and_selects_heads(explorer, mini, ioi):
    tab = tab_of(explorer)
    until(lambda: tab.table.table)
    described = ax.describe_heads(mini, ioi, explorer.circuit)
    assert tab.table.table["keys"] == described.table.index.tolist()
    n_named = described.table.suggestion.notna().sum()
    assert f"for {n_named} of them" in tab.summary.value
    # Backups come later.
    until(lambda: "Looking for backup heads" not in tab.summary.value)
    assert tab.chooser.layout.display == "none"
    tab.table._received({"chosen": "a3.h0"})
    assert explorer.selected_node == "a3.h0"
    assert tab.table.current == "a3.h0"
    until(lambda: 'data-node="a3.h0" data-prompt="0"' in tab.detail.value)
    found = ax.inspect_head(mini, ioi, "a3.h0", 0, explorer.circuit)
    assert f"{found.writes_clean:+.3f}" in tab.detail.value
    assert tab.ends.layout.display == "none"
    # Its edges are buttons.
    edge = re.search('data-edge="([^"]*)"', tab.detail.value)[1]
    tab.detail._handle_custom_msg({"chosen": unescape(edge)}, [])
    assert explorer.selected_edge == unescape(edge)
    assert unescape(edge) in explorer.circuit.kept


def test_prompts_are_gone_through(explorer, mini, ioi):
    tab = tab_of(explorer)
    explorer.selected_node = "a3.h7"
    until(lambda: 'data-prompt="0"' in tab.detail.value)
    before, after = tab.chooser.children[2:4]
    after.click()
    until(lambda: 'data-prompt="1"' in tab.detail.value)
    assert ioi.texts[1] in tab.line.value
    assert explorer._state.kept["prompt"] == 1
    tab.prompt.value = 15
    until(lambda: 'data-prompt="15"' in tab.detail.value)
    after.click()
    assert tab.prompt.value == 15
    before.click()
    until(lambda: 'data-prompt="14"' in tab.detail.value)
    # One that a session keeps may be of another task.
    tab.open(False)
    explorer._state.kept["prompt"] = "9"
    tab.open(True)
    until(lambda: 'data-prompt="0"' in tab.detail.value)


def test_either_end_of_an_edge_is_shown(explorer):
    tab = tab_of(explorer)
    edge = next(edge for edge in explorer.circuit.kept if edge.startswith("a2.h1->a3.h0"))
    explorer.selected_edge = edge
    until(lambda: 'data-node="a3.h0"' in tab.detail.value)
    assert [label for label, _ in tab.ends.options] == ["sender L2H1", "receiver L3H0"]
    tab.ends.value = tab.ends.options[0][1]
    until(lambda: 'data-node="a2.h1"' in tab.detail.value)
    assert tab.table.current == "a2.h1"
    assert explorer.selected_edge == edge
    explorer.selected_node = "m0"
    assert "MLP 0</b> is no attention head" in tab.detail.value
    explorer.selected_node = None
    assert "Choose a head" in tab.detail.value


def test_the_lines_do_the_same_in_a_script(explorer, mini, ioi):
    tab = tab_of(explorer)
    until(lambda: tab.table.table)
    tab.table._received({"chosen": "a3.h0"})
    until(lambda: 'data-node="a3.h0"' in tab.detail.value)
    names = {"ax": ax, "model": mini, "task": ioi, "circuit": explorer.circuit}
    lines = [line for line in explorer._state.script.lines if "head" in line]
    assert lines == [
        "ax.describe_heads(model, task, circuit)",
        "ax.inspect_head(model, task, 'a3.h0', 0, circuit)",
    ]
    for line in lines:
        exec(line, names)


def test_changes_by_hand_are_seen(explorer):
    tab = tab_of(explorer)
    until(lambda: tab.table.table)
    explorer.selected_node = "a2.h1"
    until(lambda: 'data-node="a2.h1"' in tab.detail.value)
    explorer.edit(remove=["a2.h1"])
    until(lambda: "a2.h1" not in tab.table.table["keys"])
    until(lambda: "does nothing in the circuit" in tab.detail.value)


def test_what_is_saved_holds_the_heads(explorer, tmp_path):
    tab = tab_of(explorer)
    until(lambda: tab.table.table)
    explorer.selected_node = "a3.h0"
    until(lambda: 'data-node="a3.h0"' in tab.detail.value)
    explorer.snapshot_html(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<h2>Heads of the circuit</h2>" in page
    assert "<figcaption>Clean prompt</figcaption>" in page
    assert "name mover" in saved_html(tab._found, "")


def test_a_model_without_tokenizer_or_labels_of_the_literature(model):
    explorer = ax.Explorer(model, random_task(), 0.1)
    explorer._runner.rest(True)
    explorer.wait(30)
    tab = tab_of(explorer)
    until(lambda: tab.table.table)
    explorer.selected_node = tab.table.table["keys"][0]
    until(lambda: "data-prompt" in tab.detail.value)
    assert "Looking for backup heads" not in tab.summary.value
    explorer.close()
