"""What the side panel and the status line say: rounding is no effect, one thing is no plural."""

from __future__ import annotations

import html
import math
import re
from dataclasses import replace

import pandas as pd
import pytest
from conftest import random_task

import acdc_explorer as ax
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.errors import unknown_name
from acdc_explorer.explorer.controls.status_html import status_html
from acdc_explorer.explorer.panel.panel_html import edge_html, empty_html, node_html, pending_html
from acdc_explorer.explorer.task_html import task_html
from acdc_explorer.explorer.words import counted, signed, with_unit
from acdc_explorer.runner.state import Snapshot
from acdc_explorer.tasks import Task

# On these prompts and at this threshold MLPs are kept that the input does not reach.
THRESHOLD = "3%"


@pytest.fixture(scope="module")
def task(mini) -> Task:
    return ax.load_task("ioi", mini, n_prompts=16)


@pytest.fixture(scope="module")
def circuit(mini, task) -> Circuit:
    return ax.find_circuit(mini, task, THRESHOLD)


def loose_edges(circuit: Circuit) -> list[str]:
    connected = set(circuit.connected())
    return [edge for edge in circuit.kept if edge not in connected]


def text_of(markup: str) -> str:
    """What one reads."""
    return html.unescape(re.sub("<[^>]*>", " ", markup))


def bar_lengths(markup: str) -> list[float]:
    table = markup[markup.index("effect by position") :]
    return [float(width) for width in re.findall(r'<rect [^>]*width="([\d.]+)"', table)]


def test_counts_and_numbers_in_words():
    assert [counted(n, "edge") for n in (0, 1, 2, 1519)] == [
        "0 edges", "1 edge", "2 edges", "1,519 edges",
    ]  # fmt: skip
    assert with_unit("0.5", "logits") == "0.5 logits"
    assert with_unit("0.5", "") == "0.5"
    assert with_unit("0.5", "<b>") == "0.5 &lt;b&gt;"
    effects = (0.1234, -0.1234, 0.0, -1e-7, 4e-4, math.nan)
    told = ["+0.123", "-0.123", "0.000", "0.000", "0.000", "–"]
    assert [signed(effect, 5e-4) for effect in effects] == told
    # Where the threshold is as small, it is an effect.
    assert signed(-4e-4, 1e-4) == "-0.0004"


def test_rounding_is_no_effect(mini, task, circuit):
    edge = loose_edges(circuit)[0]
    found = ax.inspect_edge(mini, task, circuit, edge)
    assert 0 < found.by_prompt.abs().max() < 1e-4
    markup = edge_html(found, circuit, task)
    assert bar_lengths(markup) == []
    text = text_of(markup)
    assert re.search(r"in this circuit\s+no effect\s+when", text)
    assert "No prompt is affected" in text
    assert "prompts positive" not in text
    assert "+0.000" not in text
    assert "-0.000" not in text
    assert "interact" not in text
    # What it did when it was tested is told all the same.
    assert f"{found.effect_when_decided:+.3f} logits" in text


def test_an_effect_is_drawn_to_scale_and_what_is_rounding_beside_it_is_not(mini, task, circuit):
    edge = circuit.connected()[0]
    found = ax.inspect_edge(mini, task, circuit, edge)
    values = {"IO": 2.0, "S1": -1.0, "S2": -1e-6, "END": 0.0, "rest": 3e-4}
    by_prompt = pd.Series([1.0, 1e-6, -1e-6, 2e-4])
    found = replace(found, by_position=pd.Series(values), by_prompt=by_prompt)
    markup = edge_html(found, circuit, task)
    lengths = bar_lengths(markup)
    assert len(lengths) == 2
    assert lengths[0] == 2 * lengths[1]
    text = text_of(markup)
    assert "25% of 4 prompts positive" in text
    assert len(re.findall('class="acdc-prompt"', markup)) == 1
    assert text_of(markup.split("By prompt")[0]).count("0.000") == 3
    alone = replace(found, by_prompt=by_prompt[:1])
    assert "100% of 1 prompt positive" in text_of(edge_html(alone, circuit, task))


def test_an_edge_that_leads_from_nothing_says_why_it_stands_there(mini, task, circuit):
    loose, connected = loose_edges(circuit), circuit.connected()
    assert loose
    assert connected
    for edge in loose:
        text = text_of(edge_html(ax.inspect_edge(mini, task, circuit, edge), circuit, task))
        sender = circuit.graph.parse_edge(edge).sender.label
        assert "Leads from nothing." in text
        assert f"no kept edges lead from the input to {sender}." in text
        assert "it has no effect (0.000)" in text
    whole = edge_html(ax.inspect_edge(mini, task, circuit, connected[0]), circuit, task)
    assert "nothing" not in whole
    under_way = replace(circuit, complete=False)
    found = ax.inspect_edge(mini, task, under_way, loose[0])
    assert "nothing" not in edge_html(found, under_way, task)


def test_an_edge_that_leads_to_nothing_is_told_apart(mini, task, circuit):
    """Neither the input nor the logits need be linked to what somebody keeps."""
    told = {
        "input->a0.h3<k>": ("Leads to nothing.", "from L0H3 to the logits."),
        "a3.h7->logits": ("Leads from nothing.", "from the input to L3H7."),
        "a2.h1->a3.h0<q>": (
            "Leads from nothing.",
            "from the input to L2H1 or from L3H0 to the logits.",
        ),
    }
    assert set(told) <= set(circuit.kept)
    steps = [
        replace(step, kept=step.edge.id in told) if step in circuit.decisions else step
        for step in circuit.steps
    ]
    for method, kept in (("acdc", "what was removed later"), ("eap", "whatever became of")):
        settings = replace(circuit.settings, method=method)
        cut = replace(circuit, steps=tuple(steps), settings=settings)
        for edge, (title, why) in told.items():
            found = ax.inspect_edge(mini, task, cut, edge)
            note = re.search('<p class="acdc-note"><b>Leads.*?</p>', edge_html(found, cut, task))[0]
            assert title in note
            assert f"no kept edges lead {why}" in note
            assert kept in note


def test_the_status_line_counts_connected_edges_once_the_search_has_ended(circuit):
    n_loose = len(loose_edges(circuit))
    line = text_of(status_html(Snapshot("done", circuit), 100))
    kept, connected = len(circuit.kept), len(circuit.connected())
    assert f"{kept}  kept ({connected} connected, {n_loose} lead from nothing)" in line
    assert "nothing" not in status_html(Snapshot("done", replace(circuit, complete=False)), 100)
    one = set(loose_edges(circuit)[1:])
    steps = [
        replace(step, kept=False) if step in circuit.decisions and step.edge.id in one else step
        for step in circuit.steps
    ]
    line = text_of(status_html(Snapshot("done", replace(circuit, steps=tuple(steps))), 100))
    assert f"({connected} connected, 1 leads from nothing)" in line


def test_the_state_of_an_edge_stands_in_its_title(mini, task, circuit):
    removed = circuit.removed[0]
    for edge, state in ((circuit.kept[0], "kept"), (removed, "removed")):
        for markup in (
            pending_html(circuit.graph.parse_edge(edge), circuit),
            edge_html(ax.inspect_edge(mini, task, circuit, edge), circuit, task),
        ):
            assert f'data-state="{state}"' in markup
            title = re.search("<h3>(.*?)</h3>", markup)[1]
            assert text_of(title).split()[-1] == state
    untested = replace(circuit, steps=(), complete=False)
    edge = circuit.graph.parse_edge(removed)
    assert "not tested yet" in re.search("<h3>(.*?)</h3>", pending_html(edge, untested))[1]


@pytest.mark.parametrize("metric", ["logit_diff", "prob_diff"])
def test_a_unit_is_told_where_there_is_one(mini, metric):
    task = replace(ax.load_task("ioi", mini, n_prompts=4), metric=metric)
    circuit = ax.find_circuit(mini, task, "20%")
    found = ax.inspect_edge(mini, task, circuit, circuit.kept[0])
    for markup in (
        edge_html(found, circuit, task),
        status_html(Snapshot("done", circuit), 100),
    ):
        assert not re.search(r"\s[),<]", re.sub(r"</?\w+[^>]*> *", "", markup))
        assert ("logits</td>" in markup or "</b> logits" in markup) == (metric == "logit_diff")


def test_a_node_with_one_edge_in_is_told_in_the_singular(mini, task, circuit):
    into = circuit.edges[circuit.edges.state == "kept"].groupby("receiver").size()
    for node, n_edges in into.items():
        found = ax.inspect_node(mini, task, circuit, node)
        text = " ".join(text_of(node_html(found)).split())
        assert f"{n_edges} kept edge{'s' * (n_edges != 1)} in" in text
    assert set(into) & {1}


@pytest.mark.parametrize("name", ["ioi", "greater_than", "docstring", "months", "multiple_choice"])
def test_the_task_is_told_by_its_first_prompt(mini, name):
    task = ax.load_task(name, mini, n_prompts=3)
    markup = task_html(task)
    pair = task.pairs[0]
    rows = dict(re.findall(r'<th scope="row">(\w+)</th><td>(.*?)</td>', markup, re.DOTALL))
    labels = re.findall(r"<mark>(.*?)<sub>(.*?)</sub></mark>", rows["clean"])
    without_labels = re.sub("<sub>.*?</sub>|</?mark>", "", rows["clean"])
    assert html.unescape(without_labels) == pair.clean
    places = {label: place.rpartition(" [")[0] for label, place in task.preview().iloc[0].items()
              if label in task.positions}  # fmt: skip
    assert {label: words for words, label in labels} == places
    assert html.unescape(re.sub("</?b>", "", rows["corrupted"])) == pair.corrupted
    assert "<b>" in rows["corrupted"]
    right, wrong = rows["answer"].split(" against ")
    for told, answers in ((right, pair.answer), (wrong, pair.wrong_answer)):
        texts = [answers] if isinstance(answers, str) else list(answers)
        shown = re.findall("<b>(.*?)</b>", told)
        assert shown == [text.strip() for text in texts[:6]]
        assert (f"{len(texts) - 6} other" in told) == (len(texts) > 6)
    assert f"Task {name}: 3 prompts" in markup
    assert "Task" in empty_html(task)
    assert "Click" in empty_html(task)
    assert "Click" not in empty_html(task, live=False)


def test_a_task_of_tokens_alone_is_told_by_their_numbers():
    task = random_task()
    text = " ".join(text_of(task_html(task)).split())
    end, middle = int(task.end[0]), int(task.positions["MIDDLE"][0])
    tokens = task.clean_tokens[0, : end + 1].tolist()
    told = [f"{token} MIDDLE" if place == middle else str(token)
            for place, token in enumerate(tokens)]  # fmt: skip
    assert f"clean {' '.join(told)} END" in text
    assert f"token {int(task.answer_tokens[0, 0])} against token" in text
    one = random_task(n_prompts=1)
    assert "1 prompt<" in task_html(one)


def test_the_texts_of_a_task_are_escaped(mini):
    task = ax.load_task("ioi", mini, n_prompts=2)
    evil = "<script>alert('1')</script>"
    pairs = [replace(pair, corrupted=evil, answer=evil, wrong_answer=(evil, evil))
             for pair in task.pairs]  # fmt: skip
    texts = [f"{evil} {text}" for text in task.texts]
    names = {evil: task.positions["IO"], **task.positions}
    task = replace(task, name=evil, pairs=pairs, texts=texts, positions=names)
    markup = task_html(task)
    assert "<script" not in markup
    assert markup.count("&lt;script&gt;") >= 6


def test_labels_of_several_words_are_told_as_the_prompt_has_them(mini):
    explorer = ax.Explorer(mini, "months", "20%", n_prompts=2)
    try:
        explorer.wait(60)
        snapshot = explorer._runner.snapshot()
    finally:
        explorer.close()
    assert snapshot.tokens["Last month"] == "Last month"
    assert snapshot.tokens["END"] == "is"
    assert snapshot.task.preview()["Last month"].iloc[0] == "Last month [1:3]"


@pytest.mark.parametrize(
    ("given", "nearest"),
    [("IOI", "ioi"), ("ioj", "ioi"), ("month", "months"), ("agreement", "subject_verb_agreement"),
     ("foo", None), ("mouse trap", None), ("", None), ("x" * 50, None)],
)  # fmt: skip
def test_only_a_near_name_is_offered(given, nearest):
    error = str(unknown_name("task", given, ax.list_tasks().task))
    assert (f"Did you mean {nearest!r}?" in error) == (nearest is not None)
    assert ("Did you mean" in error) == (nearest is not None)
