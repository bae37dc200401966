"""The graph as SVG, the picture that outlasts the kernel, and files through the browser."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import replace
from functools import partial

import pytest
from drawings import circuit_of_edges, draw, make_figure, random_circuit

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.explorer.drawing.picture import graph_svg
from acdc_explorer.explorer.drawing.shown import kept_edges
from acdc_explorer.explorer.notebook.lasting_picture import LastingPicture
from acdc_explorer.explorer.style import DASHES, KIND_COLOURS
from acdc_explorer.explorer.widgets.file_buttons import FileButtons
from acdc_explorer.graph import graph_of

SVG = "{http://www.w3.org/2000/svg}"


def picture(circuit: Circuit, title: str = "title") -> ET.Element:
    figure = make_figure()
    draw(figure, circuit)
    return ET.fromstring(graph_svg(figure.widget, figure.layout, title, kept_edges(circuit)))


def texts(svg: ET.Element) -> list[str]:
    return [element.text for element in svg.iter(f"{SVG}text")]


def test_every_edge_and_node_is_there():
    circuit = random_circuit(25, (4, 8))
    svg = picture(circuit, "<a> & b")
    curves = Counter()
    for path in svg.iter(f"{SVG}path"):
        assert path.get("fill") == "none"
        curves[path.get("stroke"), path.get("stroke-dasharray")] += path.get("d").count("M")
    expected = Counter(
        (KIND_COLOURS[step.edge.kind], DASHES["hurts"] if step.effect < 0 else None)
        for step in circuit.decisions
    )
    assert curves == expected
    names = texts(svg)
    assert names[0] == "<a> & b"
    for step in circuit.decisions:
        for node in (step.edge.sender, step.edge.receiver.node):
            if node.kind == "head":
                assert f"{node.layer}.{node.head}" in names
    assert [f"H{head}" for head in range(8)] == [name for name in names if name.startswith("H")]
    assert svg.get("id") == "acdc-picture"


def test_the_key_tells_what_occurs():
    graph = graph_of(2, 2)
    svg = picture(circuit_of_edges(graph, {"input->a1.h0<q>": 1.0, "a1.h0->logits": -1.0}))
    assert {"Q-composition", "into an MLP or the logits", "hurts"} <= set(texts(svg))
    assert "K-composition" not in texts(svg)
    assert "over 10% of the clean metric" in texts(svg)
    assert "under 2%" not in texts(svg)
    assert "lead from nothing" not in texts(svg)
    svg = picture(circuit_of_edges(graph, {"a1.h0->logits": 1.0}))
    assert "lead from nothing" in texts(svg)


def test_nothing_leaves_the_picture():
    svg = picture(replace(random_circuit(60, (30, 9)), complete=True))
    width, height = float(svg.get("width")), float(svg.get("height"))
    for text in svg.iter(f"{SVG}text"):
        length = 6.2 * len(text.text) if text.get("text-anchor") == "start" else 0
        assert 0 <= float(text.get("x")) <= width - length
        assert 0 <= float(text.get("y")) <= height


@pytest.fixture
def published(monkeypatch):
    """What is displayed: (MIME bundle, whether it takes another one's place)."""
    from IPython.core.interactiveshell import InteractiveShell

    shell, sent = InteractiveShell.instance(), []
    monkeypatch.setattr(
        shell.display_pub, "publish",
        lambda data, metadata=None, *, transient=None, update=False, **_: sent.append(
            (data, transient["display_id"], update)
        ),
    )  # fmt: skip
    yield sent
    InteractiveShell.clear_instance()


def test_the_last_picture_takes_the_place_of_the_first(published, monkeypatch):
    monkeypatch.delenv("VSCODE_PID", raising=False)
    picture = LastingPicture()
    picture.renew_soon(lambda: ("<svg>0</svg>", "none on view yet"))
    picture.finish()
    assert not published
    picture.show("<svg>1</svg>", "one")
    picture.renew_soon(lambda: ("<svg>2</svg>", "two"))
    picture.finish()
    (first, identity, is_update), (second, same, is_later_update) = published
    assert (first, is_update) == ({"image/svg+xml": "<svg>1</svg>", "text/plain": "one"}, False)
    assert (second["image/svg+xml"], same, is_later_update) == ("<svg>2</svg>", identity, True)


def test_of_pictures_that_follow_one_another_the_last_alone_is_made(published, monkeypatch):
    monkeypatch.delenv("VSCODE_PID", raising=False)
    monkeypatch.setattr("acdc_explorer.explorer.notebook.lasting_picture.REST_SECONDS", 0.2)
    picture, made = LastingPicture(), []

    def make(number):
        made.append(number)
        return f"<svg>{number}</svg>", str(number)

    picture.show(*make(0))
    for number in range(1, 6):
        picture.renew_soon(partial(make, number))
    deadline = time.monotonic() + 10
    while len(published) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert made == [0, 5]
    assert [data["text/plain"] for data, *_ in published] == ["0", "5"]
    picture.finish()
    assert made == [0, 5]


def test_files_are_handed_out_and_taken_in():
    sent, loaded = [], []
    made = {"json": ("a.json", "application/json", "{}"), "png": None}
    buttons = FileButtons(made.get, lambda name, content: loaded.append((name, content)))
    buttons.send = sent.append
    for message in ({"wanted": "json"}, {"wanted": "png"}, {"wanted": "more"}, "nothing"):
        buttons._handle_custom_msg(message, [])
    assert sent == [{"name": "a.json", "type": "application/json", "text": "{}"}]
    buttons._handle_custom_msg({"loaded": "b.pt"}, [memoryview(b"PK\xff")])
    # As somebody might send who has no file.
    buttons._handle_custom_msg({"loaded": "c.pt"}, [])
    assert loaded == [("b.pt", b"PK\xff")]
