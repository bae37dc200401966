"""The explorer as its user meets it: JupyterLab in a real browser, on the bundled model."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import pytest

from acdc_explorer.explorer.widgets.anywidget_private import HEARING

from .lab import LabPage

NEXT_EDGE = "button[title='The edge with the next smaller effect']"
NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "ioi.ipynb"


def panel(lab: LabPage) -> dict[str, str]:
    """The data attributes of the edge panel."""
    return lab.page.locator(".acdc-edge-panel").last.evaluate("(element) => ({...element.dataset})")


def wait_panel(lab: LabPage, attribute: str = "effect", timeout: float = 60) -> dict[str, str]:
    """Waits until the panel holds a measured edge, and returns its data attributes."""
    lab.page.wait_for_selector(f".acdc-edge-panel[data-{attribute}]", timeout=timeout * 1000)
    return panel(lab)


def ask(lab: LabPage, expression: str):
    """Evaluates an expression in the kernel; it must be JSON."""
    text = lab.run(f"import json; print('>>' + json.dumps({expression}) + '<<')")
    return json.loads(text.split(">>")[1].split("<<")[0])


def wait_kernel(lab: LabPage, condition: str, seconds: float = 60) -> None:
    """Waits until something is so in the kernel that a mouse or a key on the page brings about."""
    deadline = time.monotonic() + seconds
    while not ask(lab, f"bool({condition})"):
        assert time.monotonic() < deadline, f"waited in vain for {condition}"
        time.sleep(0.3)


def assert_fits(lab: LabPage) -> None:
    """The figure is as wide as the box around it."""
    lab.page.wait_for_function(
        "() => { const box = [...document.querySelectorAll('.acdc-graph')].pop();"
        "const plot = box.querySelector('.main-svg');"
        "return Math.abs(box.clientWidth - plot.clientWidth) <= 2"
        " && Math.abs(box.clientHeight - plot.clientHeight) <= 2 }",
        timeout=10_000,
    )


# Widgets that there are, and threads that search.
LIVING = (
    "(lambda w, t: [len(w.Widget.widgets), sum(each.name == 'acdc-search' for each in "
    "t.enumerate())])(__import__('ipywidgets'), __import__('threading'))"
)


def wait_living(lab: LabPage, expected: list[int], seconds: float = 60) -> None:
    """Waits until there are so many widgets and threads again."""
    deadline = time.monotonic() + seconds
    while (living := ask(lab, LIVING)) != expected:
        assert time.monotonic() < deadline, f"{living} widgets and threads, not {expected}"
        time.sleep(1)


def clear_of_nodes(lab: LabPage, place: int) -> int:
    """The hit point of the place-th largest edge that is farthest from nodes, which lie on top."""
    figure = "explorer._graph_view.figure"
    far = " + ".join(f"abs({figure}._hits.{name}.ravel()[hit] - spot.{name})" for name in "xy")
    key = f"lambda hit: min({far} for spot in {figure}.layout.spots)"
    return ask(lab, f"max(range({5 * place}, {5 * place + 5}), key={key})")


def test_the_notebook_from_the_first_cell_to_a_clicked_edge(lab: LabPage):
    lab.open(NOTEBOOK)
    lab.run_all(timeout=180)
    lab.wait_status("done", timeout=60)
    state = lab.wait_figure("edge-hits")
    assert state.width > 500
    assert_fits(lab)
    clicked = lab.click_point("edge-hits", clear_of_nodes(lab, 0))
    shown = wait_panel(lab)
    assert shown["edge"] == clicked.customdata
    # A long panel scrolls and leaves the search box where it is.
    assert lab.page.locator(".acdc-finder input").last.bounding_box()["height"] > 20
    lab.screenshot("notebook-light")
    lab.page.set_viewport_size({"width": 1700, "height": 1000})
    assert_fits(lab)
    lab.page.set_viewport_size({"width": 1400, "height": 1000})
    assert_fits(lab)
    expected = ask(
        lab,
        f"ax.inspect_edge(model, task, explorer.circuit, {shown['edge']!r}).effect",
    )
    assert float(shown["effect"]) == pytest.approx(expected, abs=2e-6)
    assert ask(lab, "explorer.selected_edge") == shown["edge"]
    rows = ".acdc-edge-panel tr[data-position]"
    # Not the inner text, which is empty for what JupyterLab has scrolled away.
    labels, numbers = (
        lab.page.locator(f"{rows} {cell}").all_text_contents() for cell in ("th", "td.num")
    )
    by_position = ask(
        lab,
        f"ax.inspect_edge(model, task, explorer.circuit, {shown['edge']!r}).by_position.to_dict()",
    )
    assert labels == list(by_position)
    for number, value in zip(numbers, by_position.values(), strict=True):
        assert float(number) == pytest.approx(value, abs=6e-4)
    lab.set_theme("JupyterLab Dark")
    # Scrolls it into view; what is far away JupyterLab draws only some time after that.
    lab.page.locator(".acdc-graph").last.scroll_into_view_if_needed()
    lab.wait_figure("edge-hits")
    lab.point_pixel("edge-hits", 2)
    lab.screenshot("notebook-dark")
    lab.set_theme("JupyterLab Light")
    assert lab.offsite_requests == []


def test_dragging_the_threshold_changes_the_edges(explorer):
    lab = explorer(path=True)
    lab.wait_status("done", timeout=60)
    lab.wait_figure("edge-hits")
    before = ask(lab, "explorer.circuit.kept")
    slider = lab.page.locator(".acdc-threshold input[type=range]").last
    # The cell that has just run is below all that is shown.
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert box["width"] >= 300
    # From 0.01% to 100%; the handle is 16 pixels wide.
    x = box["x"] + 8 + (box["width"] - 16) * (math.log10(7) + 2) / 4
    y = box["y"] + box["height"] / 2
    lab.page.mouse.move(x, y)
    lab.page.mouse.down()
    lab.page.mouse.move(x - 30, y, steps=5)
    lab.page.wait_for_timeout(500)
    # While it is dragged nothing unknown is searched for; its place is told.
    told = slider.get_attribute("aria-valuetext")
    assert float(told.split("%")[0]) < 7
    lab.page.mouse.move(x - 45, y, steps=5)
    lab.page.mouse.up()
    wait_kernel(lab, "float(explorer.threshold.rstrip('%')) < 7")
    assert ask(lab, "explorer.wait(60)") == "done"
    percent = ask(lab, "explorer.threshold")
    after = ask(lab, "explorer.circuit.kept")
    assert len(after) > len(before)
    state = lab.wait_figure("edge-hits")
    assert state.points["edge-hits"] == 5 * min(500, len(after))
    kept = lab.page.locator(".acdc-status b").first.inner_text()
    assert int(kept.replace(",", "")) == len(after)
    fresh = ask(lab, f"ax.find_circuit('mini', 'ioi', {percent!r}).kept")
    assert after == fresh
    lab.screenshot("threshold-low")


def test_the_threshold_is_typed_and_stepped_and_nothing_is_set_that_nobody_chose(explorer):
    lab = explorer("'mini', 'ioi', '3%'")
    lab.wait_status("done", timeout=60)
    assert ask(lab, "explorer.threshold") == "3%"
    box = lab.page.locator(".acdc-threshold input[type=text]").last
    assert box.input_value() == "3"
    box.fill("12,5 %")
    box.press("Enter")
    lab.run("explorer.wait(60)")
    assert ask(lab, "explorer.threshold") == "12.5%"
    low, kept = ask(lab, "[explorer.circuit.valid_interval[0], explorer.circuit.kept]")
    lab.page.get_by_title("The circuit of the next lower thresholds").last.click()
    wait_kernel(lab, "explorer.threshold != '12.5%'")
    lab.run("explorer.wait(60)")
    assert ask(lab, "explorer.circuit.kept") != kept
    assert ask(lab, "explorer.circuit.valid_interval[1]") == pytest.approx(low, rel=1e-4)
    box.fill("many")
    box.press("Enter")
    assert float(box.input_value()) < 12.5


def test_files_are_saved_and_loaded_and_a_picture_outlasts_the_kernel(explorer, tmp_path):
    lab = explorer("'mini', 'ioi', '7%', n_prompts=16")
    lab.wait_status("done", timeout=60)
    lab.wait_figure("edge-hits")
    saved = {}
    for text, kind in (("Save", "json"), ("SVG", "svg"), ("PNG", "png")):
        with lab.page.expect_download() as download:
            lab.page.get_by_role("button", name=text, exact=True).last.click()
        assert download.value.suggested_filename == f"mini-ioi-7%.{kind}"
        saved[kind] = tmp_path / f"saved.{kind}"
        download.value.save_as(saved[kind])
    kept = ask(lab, "explorer.circuit.kept")
    circuit = json.loads(saved["json"].read_text(encoding="utf-8"))
    assert circuit["task"]["options"]["n_prompts"] == 16
    assert "3.7" in saved["svg"].read_text(encoding="utf-8")
    header = saved["png"].read_bytes()[:24]
    assert header.startswith(b"\x89PNG")
    # Twice the width of the drawing.
    assert int.from_bytes(header[16:20], "big") == 1640
    ask(lab, "setattr(explorer, 'threshold', '30%')")
    lab.run("explorer.wait(60)")
    with lab.page.expect_file_chooser() as chooser:
        lab.page.get_by_role("button", name="Load", exact=True).last.click()
    chooser.value.set_files(saved["json"])
    lab.page.wait_for_function(
        "(text) => document.querySelector('.acdc-status').textContent.includes(text)",
        arg=f"{len(kept)} kept",
    )
    assert ask(lab, "explorer.circuit.kept") == kept
    # Another tool's file: by changes by hand, which can be taken back.
    theirs = tmp_path / "theirs.eap-ig.pt"
    ask(lab, f"str(ax.export_circuit(ax.Circuit.load({str(saved['json'])!r}), {str(theirs)!r}))")
    ask(lab, "setattr(explorer, 'threshold', '5%')")
    lab.run("explorer.wait(60)")
    with lab.page.expect_file_chooser() as chooser:
        lab.page.get_by_role("button", name="Load", exact=True).last.click()
    chooser.value.set_files(theirs)
    wait_kernel(lab, f"set(explorer.circuit.kept) == set({kept!r})")
    assert ask(lab, "len(explorer.circuit.by_hand)") > 0
    lab.run("explorer.reset(); explorer.threshold = '7%'; explorer.wait(60)")
    # The picture is in the notebook, renewed, and not on view beside the widget.
    lab.page.wait_for_function(
        """(text) => {
          const pictures = acdcTest.cells().toJSON().cells[1].outputs
            .map((output) => output.data?.["image/svg+xml"]).filter(Boolean);
          return pictures.length === 1 && [pictures[0]].flat().join("").includes(text);
        }""",
        arg=f"{len(kept)} edges",
    )
    picture = lab.page.locator('img[src*="acdc-picture"]')
    assert picture.count() == 1
    assert not picture.is_visible()
    # When the kernel is restarted the page says so, and nothing in it can be pressed.
    lab.restart_kernel()
    explorer_box = lab.page.locator(".acdc-explorer").last
    lab.page.wait_for_selector(".acdc-explorer.jupyter-widgets-disconnected")
    said = explorer_box.evaluate("(box) => getComputedStyle(box, '::before').content")
    assert "Run the cell again" in said
    acting = "(box) => [...box.children].some((e) => getComputedStyle(e).pointerEvents !== 'none')"
    assert not explorer_box.evaluate(acting)
    explorer_box.scroll_into_view_if_needed()
    lab.screenshot("kernel-gone")
    # Without the kernel it is what is left to see.
    lab.restart_and_reload()
    picture.first.wait_for(state="visible")
    lab.screenshot("without-kernel")


def test_dragging_faithfulness_finds_the_threshold(explorer):
    lab = explorer("n_prompts=16")
    lab.wait_status("done", timeout=60)
    lab.wait_figure("edge-hits")
    # The other slider shows what the circuit reaches.
    reached = 100 * ask(lab, "explorer.circuit.faithfulness")
    shown = lab.page.locator(".acdc-faithfulness .widget-readout").last
    assert float(shown.inner_text()) == pytest.approx(min(max(reached, 0), 100), abs=0.6)
    base = lab.page.locator(".acdc-faithfulness .noUi-base").last
    track = base.bounding_box()
    base.click(position={"x": 0.8 * track["width"], "y": track["height"] / 2})
    wait_kernel(lab, "explorer.faithfulness")
    # The page's status may still be that of the search before.
    assert ask(lab, "explorer.wait(120)") == "done"
    lab.wait_status("done", timeout=120)
    asked = ask(lab, "explorer.faithfulness")
    assert 70 <= float(asked.rstrip("%")) <= 90
    assert ask(lab, "explorer.circuit.faithfulness") >= float(asked.rstrip("%")) / 100
    assert ask(lab, "explorer.threshold == explorer.circuit.threshold")
    task = "ax.load_task('ioi', 'mini', n_prompts=16)"
    expected = ask(lab, f"ax.find_circuit('mini', {task}, faithfulness={asked!r}).kept")
    assert ask(lab, "explorer.circuit.kept") == expected
    assert "rule signed" in lab.page.locator(".acdc-status").last.inner_text()
    assert_fits(lab)
    lab.screenshot("faithfulness")
    # Dragging the threshold is a threshold again.
    ask(lab, "setattr(explorer, 'threshold', '7%')")
    lab.wait_status("done", timeout=60)
    assert ask(lab, "explorer.faithfulness") is None


def test_pause_go_on_stop_and_clicks_meanwhile(explorer):
    """A search long enough to step in; clicks are answered while it runs."""
    lab = explorer('threshold="0.1%", n_prompts=256')
    lab.wait_status("running", timeout=60)
    lab.wait_figure("edge-hits", timeout=60)
    lab.page.wait_for_timeout(500)
    lab.screenshot("running")
    lab.click_point("edge-hits", 2)
    shown = wait_panel(lab, timeout=30)
    assert shown["edge"]
    lab.page.get_by_title("Pause the search").last.click()
    lab.wait_status("paused", timeout=30)
    tested = ask(lab, "explorer.circuit.n_tested")
    assert ask(lab, "explorer.circuit.n_tested") == tested
    lab.screenshot("paused")
    lab.page.get_by_title("Go on with the search").last.click()
    lab.wait_status(["running", "done"], timeout=30)
    lab.page.wait_for_function(
        "(n) => Number(document.querySelector('.acdc-status b + b, .acdc-status').innerText"
        ".match(/([\\d,]+) tested/)[1].replaceAll(',', '')) > n",
        arg=tested,
        timeout=60_000,
    )
    lab.page.get_by_title("Stop the search and keep what it found").last.click()
    lab.wait_status("stopped", timeout=30)
    assert ask(lab, "explorer.circuit.complete") is False
    assert ask(lab, "explorer.status") == "stopped"


def test_reloading_the_page_keeps_everything(explorer):
    lab = explorer(path=True)
    lab.wait_status("done", timeout=60)
    lab.wait_figure("edge-hits")
    lab.click_point("edge-hits", clear_of_nodes(lab, 1))
    shown = wait_panel(lab)
    before = lab.wait_figure("selected")
    after = lab.reload("edge-hits")
    assert after.points == before.points
    assert_fits(lab)
    assert panel(lab) == shown
    # An idle node lies over the middle of the strongest edge, and gives way to it.
    strongest = ask(lab, "explorer._graph_view.figure._hits.edges[0].edge.id")
    lab.click_point("edge-hits", 2)
    lab.page.wait_for_selector(f'.acdc-edge-panel[data-edge="{strongest}"]')
    lab.screenshot("reloaded")


def test_running_the_cell_again_leaves_one_explorer(explorer):
    lab = explorer("n_prompts=16")
    lab.wait_status("done", timeout=60)
    once = ask(lab, LIVING)
    assert once[1] == 1
    made = ask(lab, "id(explorer)")
    (cell,) = (n for n, source in enumerate(lab.sources()) if source.endswith("\nexplorer"))
    for _ in range(2):
        lab.run_again(cell, timeout=120)
        lab.wait_status("done", timeout=60)
    lab.wait_figure("edge-hits")
    assert ask(lab, "id(explorer)") != made
    wait_living(lab, once)
    # One more that is bound to a name, shown in two cells; cleared in both it is folded up.
    lab.run("other = ax.Explorer('or-gate', 'or-gate', 0.5); other.wait(60); other")
    lab.run("other")
    assert ask(lab, LIVING)[1] == 2
    cells = [n for n, source in enumerate(lab.sources()) if source.endswith("other")]
    assert len(cells) == 2
    lab.clear_output(cells[0])
    lab.page.wait_for_timeout(12_000)
    assert ask(lab, LIVING)[1] == 2
    lab.clear_output(cells[1])
    wait_living(lab, once)
    # Shown once more it is there as it was.
    kept = ask(lab, "other.circuit.kept")
    lab.run("other")
    lab.wait_figure("nodes")
    lab.page.wait_for_function(
        "() => [...document.querySelectorAll('.acdc-graph')].pop()"
        ".querySelectorAll('.points path.point').length >= 5"
    )
    assert ask(lab, "other.circuit.kept") == kept
    lab.screenshot("shown-once-more")


def test_keyboard_alone_finds_edges_and_nodes(explorer):
    lab = explorer()
    lab.wait_status("done", timeout=60)
    by_effect = ask(
        lab,
        "explorer.circuit.edges.query(\"state == 'kept'\").sort_values("
        "'effect', key=lambda e: -e.abs()).edge.tolist()",
    )
    finder = lab.page.locator(".acdc-finder input").last
    finder.fill(by_effect[1])
    finder.press("Enter")
    assert wait_panel(lab)["edge"] == by_effect[1]
    button = lab.page.locator(NEXT_EDGE).last
    button.focus()
    button.press("Enter")
    lab.page.wait_for_selector(f'.acdc-edge-panel[data-edge="{by_effect[2]}"]')
    finder.fill("logits")
    finder.press("Enter")
    assert wait_panel(lab, "node")["node"] == "logits"
    first = lab.page.locator(".acdc-chooser button:visible").first
    first.focus()
    first.press("Enter")
    assert wait_panel(lab)["edge"].endswith("->logits")
    finder.fill("a9.h9->logits")
    finder.press("Enter")
    lab.page.wait_for_selector(".acdc-edge-panel .acdc-error")
    assert "unknown edge" in lab.page.locator(".acdc-edge-panel").last.inner_text()
    lab.screenshot("unknown-edge")


def test_the_arrow_keys_go_through_the_nodes_of_the_graph(explorer):
    lab = explorer()
    lab.wait_status("done", timeout=60)
    lab.wait_figure("edge-hits")
    graph = lab.page.locator(".acdc-graph").last
    # From the last button above the graph, the Tab key comes to it.
    lab.page.locator(".acdc-key button").last.focus()
    lab.page.keyboard.press("Tab")
    assert graph.evaluate("(graph) => document.activeElement === graph")
    assert "arrow keys" in graph.get_attribute("aria-label")
    lab.page.keyboard.press("ArrowUp")
    assert wait_panel(lab, "node")["node"] == "logits"
    lab.page.keyboard.press("ArrowDown")
    lab.page.wait_for_selector('.acdc-edge-panel[data-node]:not([data-node="logits"])')
    assert panel(lab)["node"].startswith(("m3", "a3."))
    # The notebook has not taken the keys for its own, nor the graph the focus from the keyboard.
    assert graph.evaluate("(graph) => document.activeElement === graph")
    lab.wait_figure("selected-node")
    lab.screenshot("arrow-keys")
    lab.page.keyboard.press("Escape")
    lab.page.wait_for_selector(".acdc-edge-panel:not([data-node])")


def test_the_finder_says_what_is_selected_and_takes_the_names_on_the_page(explorer):
    lab = explorer()
    lab.wait_status("done", timeout=60)
    lab.wait_figure("edge-hits")
    # What the task is stands there before anything is chosen.
    task = lab.page.locator(".acdc-edge-panel .acdc-task").last
    pair = ask(lab, "vars(ax.load_task('ioi', 'mini').pairs[0])")
    assert pair["corrupted"] in task.inner_text()
    assert task.locator("mark").all_inner_texts()[-1].endswith("END")
    lab.screenshot("task")
    clicked = lab.click_point("edge-hits", clear_of_nodes(lab, 0))
    wait_panel(lab)
    finder = lab.page.locator(".acdc-finder input").last
    assert finder.input_value() == clicked.customdata
    label = ask(lab, "explorer.circuit.graph.parse_edge(explorer.circuit.kept[1]).label")
    for name in (label, label.lower()):
        finder.fill(name)
        finder.press("Enter")
        lab.page.wait_for_function(
            "(id) => [...document.querySelectorAll('.acdc-finder input')].pop().value === id",
            arg=ask(lab, "explorer.circuit.kept[1]"),
        )
    finder.fill("3.7")
    finder.press("Enter")
    assert wait_panel(lab, "node")["node"] == "a3.h7"
    lab.page.locator(NEXT_EDGE).last.click()
    wait_panel(lab)
    finder.fill("3.7")
    finder.press("Enter")
    assert wait_panel(lab, "node")["node"] == "a3.h7"
    lab.screenshot("finder")
    finder.fill("")
    finder.press("Enter")
    lab.page.wait_for_selector(".acdc-edge-panel .acdc-task")
    # After a click on the graph, Esc deselects.
    lab.click_point("edge-hits", clear_of_nodes(lab, 0))
    wait_panel(lab)
    lab.page.keyboard.press("Escape")
    lab.page.wait_for_selector(".acdc-edge-panel .acdc-task")
    assert ask(lab, "explorer.selected_edge") is None
    assert finder.input_value() == ""


def test_known_thresholds_are_one_stop_of_the_tab_key(explorer):
    """Arrow keys go from one to the next, and the focus stays where it is while more are found."""
    lab = explorer("'mini', 'ioi', '7%'", path=True)
    lab.wait_status("done", timeout=60)
    lab.page.wait_for_function(
        "() => +document.querySelector('.acdc-path')?.dataset.intervals >= 8", timeout=60_000
    )
    focus = "document.activeElement?.dataset.threshold"
    stops = lab.page.locator(".acdc-path [tabindex='0']")
    assert stops.count() == 1
    assert stops.get_attribute("aria-current") == "true"
    stops.focus()
    first = lab.page.evaluate(focus)
    lab.page.keyboard.press("ArrowRight")
    second = lab.page.evaluate(focus)
    lab.page.keyboard.press("ArrowLeft")
    assert lab.page.evaluate(focus) == first
    lab.page.keyboard.press("ArrowRight")
    lab.screenshot("path-keyboard")
    known = "+document.querySelector('.acdc-path').dataset.intervals"
    before = lab.page.evaluate(known)
    lab.page.wait_for_function(f"() => {known} > {before}", timeout=60_000)
    assert lab.page.evaluate(focus) == second
    assert stops.count() == 1
    n_edges = ask(
        lab,
        "next(len(c.kept) for c in explorer._runner.snapshot().path.circuits"
        f" if repr(c.threshold) == {second!r})",
    )
    stops.focus()
    assert f": {n_edges} edge" in stops.get_attribute("aria-label")
    lab.page.keyboard.press("Enter")
    lab.page.wait_for_function(
        "(threshold) => document.querySelector(`.acdc-path [aria-current]`)"
        "?.dataset.threshold === threshold",
        arg=second,
    )
    assert lab.page.evaluate(focus) == second
    assert ask(lab, "explorer.circuit.threshold") == float(second)


def test_a_toggle_keeps_the_focus_when_it_is_pressed(explorer):
    lab = explorer()
    lab.wait_status("done", timeout=60)
    lab.wait_figure("edge-hits")
    ask(lab, "setattr(explorer, 'selected_edge', explorer.circuit.kept[0])")
    wait_panel(lab)
    assert lab.page.locator(".acdc-edge-panel [tabindex='0']").count() == 1
    row = lab.page.locator('.acdc-edge-panel tr[data-position="IO"]').last
    row.focus()
    lab.page.keyboard.press("ArrowDown")
    assert lab.page.evaluate("document.activeElement.dataset.position") == "S1"
    for selector, of in (('tr[data-position="S1"]', "position"), ('button[data-part="v"]', "part")):
        toggle = lab.page.locator(selector).last
        toggle.focus()
        pressed = toggle.get_attribute("aria-pressed")
        lab.page.keyboard.press("Enter")
        lab.page.wait_for_function(
            "([selector, pressed]) => [...document.querySelectorAll(selector)].pop()"
            "?.getAttribute('aria-pressed') === pressed",
            arg=[selector, "false" if pressed == "true" else "true"],
        )
        value = toggle.get_attribute(f"data-{of}")
        assert lab.page.evaluate(f"document.activeElement.dataset.{of}") == value


def test_a_removed_edge_looks_removed_and_neighbours_are_offered_below(explorer):
    lab = explorer()
    lab.wait_status("done", timeout=60)
    lab.wait_figure("edge-hits")
    removed = ask(lab, "explorer.circuit.removed[0]")
    finder = lab.page.locator(".acdc-finder input").last
    finder.fill(removed)
    finder.press("Enter")
    wait_panel(lab)
    name = lab.page.locator(".acdc-edge-panel h3 .acdc-name").last
    assert name.evaluate("(element) => getComputedStyle(element).textDecorationLine") == (
        "line-through"
    )
    lab.screenshot("removed")
    ask(lab, "explorer._edges_clicked(explorer.circuit.kept[:4])")
    lab.page.wait_for_selector('.acdc-edge-panel[data-state="kept"][data-effect]')
    title = lab.page.locator(".acdc-chooser b").last
    assert "near the point clicked" in title.inner_text()
    panel_box = lab.page.locator(".acdc-edge-panel").last.bounding_box()
    assert title.bounding_box()["y"] >= panel_box["y"] + panel_box["height"]
    # Chosen from the end of what scrolls, the next edge is read from its beginning.
    lab.page.locator(".acdc-chooser button:visible").last.click()
    lab.page.wait_for_function(
        "(id) => [...document.querySelectorAll('.acdc-edge-panel')].pop().dataset.edge === id",
        arg=ask(lab, "explorer.circuit.kept[3]"),
    )
    wait_panel(lab)
    heading = lab.page.locator(".acdc-edge-panel h3").last.bounding_box()
    assert heading["y"] >= finder.bounding_box()["y"] + 20
    lab.screenshot("neighbours")


def test_a_node_is_clicked(explorer):
    lab = explorer()
    lab.wait_status("done", timeout=60)
    lab.wait_figure("nodes")
    last = ask(lab, "len(explorer.circuit.graph.nodes) - 1")
    clicked = lab.click_point("nodes", last)
    assert clicked.customdata == "logits"
    assert wait_panel(lab, "node")["node"] == "logits"
    lab.screenshot("node")


def shows_all(lab: LabPage) -> bool:
    """Whether the plot shows the whole picture."""
    (low, high), (seen_low, seen_high) = (
        ask(lab, "explorer._graph_view.figure.layout.x_range"),
        lab.page.evaluate(
            "() => [...document.querySelectorAll('.acdc-graph .js-plotly-plot')].pop()"
            "._fullLayout.xaxis.range"
        ),
    )
    return seen_low == pytest.approx(low) and seen_high == pytest.approx(high)


def test_a_click_on_nothing_deselects_and_resetting_the_axes_shows_all(explorer):
    lab = explorer()
    lab.wait_status("done", timeout=60)
    lab.wait_figure("edge-hits")
    assert shows_all(lab)
    lab.click_point("edge-hits", clear_of_nodes(lab, 1))
    wait_panel(lab)
    assert lab.wait_figure("selected").points["dimmed"] > 0
    # In the lower right corner there is no edge, and no node. Where it is, is asked at each try:
    # what is put out above the graph moves it; and a redraw just then makes Plotly forget a click.
    nothing_selected = "() => document.body.innerText.includes('Nothing selected')"
    for _ in range(5):
        plot = lab.page.locator(".acdc-graph .nsewdrag").last
        box = plot.bounding_box()
        corner = {"x": box["width"] - 6, "y": box["height"] - 6}
        plot.click(position=corner)
        lab.page.wait_for_timeout(2000)
        if lab.page.evaluate(nothing_selected):
            break
    lab.page.wait_for_function(nothing_selected)
    assert ask(lab, "explorer.selected_edge") is None
    assert lab.figure_state("edge-hits").points["dimmed"] == 0
    plot.hover(position=corner)
    lab.page.get_by_title("Zoom in").or_(lab.page.locator('[data-title="Zoom in"]')).last.click()
    lab.page.wait_for_timeout(500)
    assert not shows_all(lab)
    lab.screenshot("zoomed")
    lab.page.locator('[data-title="Reset axes"]').last.click()
    lab.page.wait_for_timeout(500)
    assert shows_all(lab)


def test_the_key_hides_edges(explorer):
    lab = explorer("'mini', 'ioi', '3%'")
    lab.wait_status("done", timeout=60)
    before = lab.wait_figure("edge-hits").points
    assert before["unconnected"] > 0
    for part in ("unconnected", "v"):
        lab.page.locator(f'.acdc-key [data-part="{part}"]').last.click()
        lab.page.wait_for_selector(f'.acdc-key [data-part="{part}"][aria-pressed="false"]')
    lab.page.wait_for_timeout(500)
    after = lab.figure_state("edge-hits").points
    assert after["unconnected"] == 0
    assert after["edge-hits"] < before["edge-hits"] - before["unconnected"] * 5 / 9
    assert all(n == 0 for name, n in after.items() if name.startswith("edges-v-"))
    lab.screenshot("key")


def test_a_page_too_busy_to_start_widgets_in_time_shows_all(explorer, lab):
    """Anywidget gives each two seconds, after which it would hear nothing any more: here none."""
    lab.page.add_init_script(
        "const timeout = AbortSignal.timeout.bind(AbortSignal);"
        "AbortSignal.timeout = (ms) => timeout(ms === 2000 ? 0 : ms);"
    )
    lab.reload_page()
    explorer("'mini', 'ioi', '3%'")
    lab.wait_status("done", timeout=60)
    lab.wait_figure("edge-hits")
    lab.click_point("edge-hits", clear_of_nodes(lab, 2))
    wait_panel(lab)
    lab.page.wait_for_selector('.acdc-key [data-part="q"]')
    assert_fits(lab)
    assert any("Failed to initialize" in error for error in lab.console_errors)


def test_errors_are_shown_and_the_widget_lives_on(explorer):
    lab = explorer('model="minni"')
    lab.wait_status("error", timeout=60)
    text = lab.page.locator(".acdc-error").last.inner_text()
    assert "Did you mean 'mini'" in text
    lab.screenshot("error")
    field = lab.page.get_by_label("Model").last
    field.fill("mini")
    field.press("Enter")
    lab.wait_status("done", timeout=60)
    assert lab.page.locator(".acdc-error").count() == 0
    lab.wait_figure("edge-hits")
    # A model that cannot do the task is given one that it can do.
    field.fill("five-heads")
    field.press("Enter")
    said = "task 'ioi' cannot be made for five-heads; this is 'five-heads'"
    lab.page.locator(".acdc-status", has_text=said).wait_for()
    task = lab.page.get_by_label("Task").last
    assert task.input_value() == "five-heads"
    lab.screenshot("fitting-task")
    # One that is asked for is not replaced; the graph of the other does not stand beside the error.
    task.fill("ioi")
    task.press("Enter")
    lab.wait_status("error", timeout=60)
    error = lab.page.locator(".acdc-error").last
    assert error.bounding_box()["height"] < 60
    assert not lab.page.locator(".acdc-graph").last.is_visible()
    lab.screenshot("error-in-one-line")
    error.locator("summary").click()
    assert "words that the model does not know" in error.locator("pre").inner_text()


def test_positions_from_the_button_to_an_edge_at_another_position(explorer):
    lab = explorer("'mini', 'ioi', '3%'")
    lab.wait_status("done", timeout=60)
    lab.page.get_by_role("button", name="Options").click()
    positions = lab.page.get_by_title("Search edges at each position label")
    assert positions.get_attribute("aria-pressed") == "false"
    positions.click()
    lab.page.wait_for_selector('[title^="Search edges at each"][aria-pressed="true"]')
    lab.page.get_by_role("button", name="by position").wait_for(state="visible")
    lab.wait_status("done", timeout=60)
    lab.page.wait_for_function(
        "() => [...document.querySelectorAll('.acdc-graph .xtick')].pop()?.textContent"
        ".startsWith('END')"
    )
    assert_fits(lab)
    clicked = lab.click_point("edge-hits", clear_of_nodes(lab, 4))
    shown = wait_panel(lab)
    assert shown["edge"] == clicked.customdata
    assert "@" in shown["edge"]
    lab.screenshot("positions")
    # By keyboard, to what the same edge does at another position.
    row = lab.page.locator('.acdc-edge-panel tr[data-position="S1"]').last
    row.focus()
    lab.page.keyboard.press("Enter")
    lab.page.wait_for_selector('.acdc-edge-panel[data-edge$="@S1"][data-effect]')
    moved = panel(lab)["edge"]
    assert moved.split("@")[0] == shown["edge"].split("@")[0]
    assert ask(lab, "explorer.selected_edge") == moved
    lab.page.get_by_role("button", name="by head").click()
    lab.page.wait_for_function(
        "() => [...document.querySelectorAll('.acdc-graph .xtick')].pop()?.textContent === 'MLP'"
    )
    kept = ask(lab, "explorer.circuit.kept")
    lab.page.get_by_role("button", name="path patching").click()
    lab.run("explorer.wait(60)")
    assert ask(lab, "explorer.circuit.settings.method") == "path_patching"
    assert ask(lab, "explorer.circuit.kept") != kept


def test_a_clicked_bar_draws_that_positions_share(explorer):
    lab = explorer("'mini', 'ioi', '7%'")
    lab.wait_status("done", timeout=60)
    lab.click_point("edge-hits", clear_of_nodes(lab, 2))
    wait_panel(lab)
    lab.page.locator('.acdc-edge-panel tr[data-position="S2"]').last.click()
    lab.page.wait_for_function(
        "() => document.querySelector('.acdc-status').textContent.includes('add at S2')"
    )
    lab.page.wait_for_selector('.acdc-edge-panel tr[data-position="S2"][aria-pressed="true"]')
    lab.screenshot("share-of-a-position")
    lab.page.locator('.acdc-edge-panel tr[data-position="S2"]').last.click()
    lab.page.wait_for_function(
        "() => !document.querySelector('.acdc-status').textContent.includes('add at')"
    )


def test_dragging_across_known_and_unknown_thresholds_while_the_path_is_found(explorer):
    """At every stop the graph, the status line and the plot agree with the kernel."""
    lab = explorer("'mini', 'ioi', '7%'", path=True)
    lab.wait_status("done", timeout=60)
    lab.page.wait_for_selector(".acdc-path[data-intervals]")
    lab.page.wait_for_function(
        "() => +document.querySelector('.acdc-path').dataset.intervals >= 4", timeout=60_000
    )
    slider = lab.page.locator(".acdc-threshold input[type=range]").first
    # A known interval's circle, then thresholds that may be known by now or not.
    points = lab.page.locator(".acdc-path circle.exact[data-threshold]")
    wanted = points.first.get_attribute("data-threshold")
    lab.page.locator(f'.acdc-path circle[data-threshold="{wanted}"]').click(force=True)
    wait_kernel(lab, f"explorer.circuit.threshold == {float(wanted)}")
    assert_agrees(lab)
    # A hundredth of a decade each: from 30%, where the path begins, to 7.5%, 13% and 4.7%.
    for keys in (["ArrowLeft"] * 60, ["ArrowRight"] * 25, ["ArrowLeft"] * 45):
        slider.focus()
        for key in keys:
            lab.page.keyboard.press(key)
        # Each key is a new threshold: until the last one has reached the kernel.
        lab.page.wait_for_timeout(2000)
        lab.run("explorer.wait(60)")
        assert_agrees(lab)
    lab.screenshot("path")


def assert_agrees(lab: LabPage) -> None:
    # One cell with little output, lest the explorer be scrolled out of the page.
    n_kept, as_fresh, complete, low, high = ask(
        lab,
        "(lambda c: [len(c.kept), c.kept == ax.find_circuit('mini', "
        "ax.load_task('ioi', ax.load_model('mini')), c.threshold).kept, c.complete, "
        "*c.valid_interval])"
        "(explorer.circuit)",
    )
    assert complete
    assert as_fresh
    assert n_kept > 0
    lab.page.wait_for_function(
        "(count) => document.querySelector('.acdc-status').textContent.includes(count + ' kept')",
        arg=f"{n_kept:,}",
    )
    lab.page.locator(".acdc-graph").last.scroll_into_view_if_needed()
    assert lab.wait_figure("edge-hits").points["edge-hits"] == 5 * n_kept
    assert f"{low:.3g} to {high:.3g}" in lab.page.locator(".acdc-path").last.text_content()


def test_an_explorer_shown_when_it_has_already_found_its_circuit(explorer):
    lab = explorer("'mini', 'months', '7%'")
    lab.run("late = ax.Explorer('or-gate', 'or-gate', 0.5); late.wait(60)")
    lab.run("late.selected_edge = late.circuit.kept[1]")
    lab.run("late")
    lab.page.wait_for_timeout(1500)
    points = lab.wait_figure("edge-hits").points
    assert points["nodes"] == 5
    assert points["edge-hits"] == 15
    lab.page.wait_for_function(
        "() => [...document.querySelectorAll('.acdc-graph')].pop()"
        ".querySelectorAll('.points path.point').length >= 5"
    )


def test_own_prompts_from_the_paste_to_the_circuit(explorer):
    lab = explorer("'mini', 'ioi', '7%', n_prompts=8")
    lab.wait_status("done", timeout=60)
    lab.page.get_by_role("button", name="Options").click()
    lab.page.get_by_title("Paste or upload prompts of your own").click()
    area = lab.page.locator(".acdc-own-prompts textarea")
    friend = "is a really great friend, isn't"
    area.fill(
        "clean,corrupted,answer,wrong_answer,name\n"
        f'"So John {friend}","So Mary {friend}",he,she,John\n'
        f'"So Laura {friend}","So Kevin is a friend, isn\'t",she,he,Laura\n'
    )
    check = lab.page.get_by_title("Read the prompts and run the model on them")
    check.click()
    lab.page.wait_for_selector(".acdc-own-prompts .acdc-error")
    assert "row 1" in lab.page.locator(".acdc-own-prompts .acdc-error").inner_text()
    lab.screenshot("own-prompts-faulty")
    area.fill(area.input_value().replace("is a friend", "is a really great friend"))
    check.click()
    lab.page.wait_for_selector(".acdc-own-prompts .acdc-preview table")
    lab.screenshot("own-prompts")
    lab.page.get_by_title("Search the circuit of these prompts").click()
    lab.run("explorer.wait(60)")
    assert ask(lab, "explorer.circuit.task_name") == "own prompts"
    assert ask(lab, "len(explorer.circuit.kept)") > 3


def test_a_widget_starts_where_anywidgets_private_names_are_missing(browser):
    """As they may be outside of JupyterLab: nothing is heard again there, and nothing waits."""
    page = browser.new_page()
    script = (
        "async () => {" + HEARING + "const model = {"
        "on(event, told) { this.told = told; }, off() {}, set() { this.told(model); } };"
        "return await hearing(model); }"
    )
    assert page.evaluate(script) is False
    page.close()
