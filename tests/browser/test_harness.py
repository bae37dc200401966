"""The harness itself, on a notebook with nothing of ours in it."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from .lab import LabPage

FIGURE = """
import ipywidgets
import plotly.graph_objects as go

figure = go.FigureWidget(
    go.Scatter(
        name="dots",
        mode="markers",
        x=[1, 2, 3, None],
        y=[10, 30, 20, None],
        customdata=["one", "two", "three", "gap"],
    )
)
figure.layout.xaxis.domain = [0.2, 0.9]
answer = ipywidgets.HTML(value="nothing yet")
answer.add_class("answer")

def on_click(trace, points, state):
    if points.point_inds:
        answer.value = "clicked " + trace.customdata[points.point_inds[0]]

figure.data[0].on_click(on_click)
"""


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    path = tmp_path / "dots.ipynb"
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    cells = [new_code_cell(FIGURE), new_code_cell("display(figure, answer)")]
    nbformat.write(new_notebook(cells=cells, metadata=kernel), path)
    return path


def test_click_theme_and_reload(lab: LabPage, notebook: Path) -> None:
    before = notebook.read_bytes()
    lab.open(notebook)
    lab.run_all()
    state = lab.wait_figure("dots")
    assert state.points == {"dots": 3}
    assert state.width > 300

    for index, word in [(1, "two"), (0, "one"), (2, "three")]:
        clicked = lab.click_point("dots", index)
        assert (clicked.trace, clicked.index, clicked.customdata) == ("dots", index, word)
        lab.page.locator(".answer", has_text=f"clicked {word}").wait_for()
    assert lab.run("answer.value") == "'clicked three'"

    for theme, dark in [("JupyterLab Dark", True), ("JupyterLab Light", False)]:
        lab.set_theme(theme)
        red = lab.page.evaluate(
            "() => Number(getComputedStyle(document.querySelector('.jp-Notebook'))"
            ".backgroundColor.match(/\\d+/)[0])"
        )
        assert (red < 128) is dark

    assert lab.reload("dots").points == {"dots": 3}
    lab.page.locator(".answer", has_text="clicked three").wait_for()
    lab.click_point("dots", 1)
    lab.page.locator(".answer", has_text="clicked two").wait_for()
    assert lab.screenshot("harness").stat().st_size > 10_000
    assert lab.offsite_requests == []
    assert lab.console_errors == []
    assert notebook.read_bytes() == before


def test_what_goes_wrong_is_told(lab: LabPage, notebook: Path) -> None:
    lab.open(notebook)
    assert lab.run("import sys\nprint(6 * 7)\nsys.executable").startswith("42\n'")
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        lab.run("1 / 0")
    with pytest.raises(AssertionError, match="SyntaxError"):
        lab.run("1 +")
    with pytest.raises(AssertionError, match="no visible figure"):
        lab.figure_state()
    lab.run(FIGURE + "figure")
    lab.wait_figure("dots")
    with pytest.raises(AssertionError, match="trace lines"):
        lab.point_pixel("lines", 0)
    with pytest.raises(AssertionError, match="4 points"):
        lab.point_pixel("dots", 4)
    with pytest.raises(AssertionError, match="gap"):
        lab.click_point("dots", 3)

    status = '<b class="acdc-status" data-status="{}">x</b>'
    lab.run(f"state = ipywidgets.HTML({status.format('running')!r})\nstate")
    assert lab.wait_status(["done", "running"]) == "running"
    with pytest.raises(AssertionError, match=r"done not met.*\['running'\]"):
        lab.wait_status("done", timeout=0.5)
    lab.run(f"state.value = {status.format('done')!r}")
    assert lab.wait_status("done") == "done"
