"""The page of its own that `snapshot_html` writes, opened in a real browser without a kernel."""

from __future__ import annotations

import base64
import os
import time
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

import acdc_explorer as ax
from acdc_explorer.explorer.style import KIND_COLOURS

# Counts the pixels of a picture that are a colour, or that colour let through to white.
COUNT_PIXELS = """
async ([picture, colours]) => {
  const image = new Image();
  image.src = `data:image/png;base64,${picture}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.width, image.height];
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const data = context.getImageData(0, 0, image.width, image.height).data;
  const counts = colours.map(() => 0);
  for (let at = 0; at < data.length; at += 4) {
    colours.forEach((colour, number) => {
      const full = colour.reduce((sum, part) => sum + 255 - part, 0);
      const seen = [0, 1, 2].reduce((sum, part) => sum + 255 - data[at + part], 0);
      const share = seen / full;
      const fits = colour.every((part, index) =>
        Math.abs(255 - share * (255 - part) - data[at + index]) < 8);
      if (fits && share > 0.4 && share < 1.05) counts[number] += 1;
    });
  }
  return counts;
}
"""


@pytest.fixture
def saved_page(browser: Browser, tmp_path: Path):
    """Opens the page that an explorer writes."""
    pages: list[Page] = []

    def open_page(explorer: ax.Explorer) -> Page:
        path = tmp_path / "saved.html"
        explorer.snapshot_html(path)
        page = browser.new_page(viewport={"width": 1300, "height": 1000})
        pages.append(page)
        page.goto(path.as_uri())
        page.wait_for_selector(".js-plotly-plot .main-svg")
        # Where edges lie is known once the graph has been fitted beside the panel.
        page.wait_for_function(
            "() => { const [plot, graph] = ['.main-svg', '.acdc-saved-graph']"
            ".map((name) => document.querySelector(name).getBoundingClientRect().width);"
            "return Math.abs(plot - graph) <= 2 }"
        )
        page.wait_for_timeout(300)
        return page

    yield open_page
    for page in pages:
        page.close()


def pixels_of_kinds(page: Page) -> dict[str, int]:
    """How many pixels of the graph have the colour of each kind of edge."""
    picture = page.locator(".js-plotly-plot").first.screenshot()
    colours = [[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in KIND_COLOURS.values()]
    counts = page.evaluate(COUNT_PIXELS, [base64.b64encode(picture).decode(), colours])
    return dict(zip(KIND_COLOURS, counts, strict=True))


def screenshot(page: Page, name: str) -> None:
    """Writes the page to NAME.png where the environment asks for it."""
    if folder := os.environ.get("ACDC_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def wait_measured(explorer: ax.Explorer, text: str) -> None:
    """Waits until the panel tells of a selection."""
    deadline = time.monotonic() + 30
    while text not in explorer._side_panel.panel.value:
        assert time.monotonic() < deadline, "the selection was not measured"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def explorer():
    """One whose threshold path is known."""
    explorer = ax.Explorer("mini", "ioi", "3%", n_prompts=16)
    explorer.wait(60)
    deadline = time.monotonic() + 60
    while len(explorer._state.snapshot.path.circuits) < 5:
        assert time.monotonic() < deadline, "other thresholds were not found"
        time.sleep(0.1)
    explorer._runner.rest(True)
    yield explorer
    explorer.close()


def drawn(page: Page) -> dict[str, list]:
    """Of every trace with something in it, its x."""
    # Those that the script does not fill are still as Python packed them.
    return page.evaluate(
        "() => Object.fromEntries(document.getElementById('acdc-plot').data"
        ".filter((trace) => Array.isArray(trace.x) && trace.x.some(Number.isFinite))"
        ".map((trace) => [trace.name, trace.x]))"
    )


def edges_drawn(page: Page) -> set[str]:
    return set(
        page.evaluate(
            "() => document.getElementById('acdc-plot').data"
            ".find((trace) => trace.name === 'edge-hits').customdata"
        )
    )


def settle(page: Page) -> None:
    """Waits until what was asked for is drawn."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))")


def panel(page: Page) -> str:
    return page.locator("#acdc-panel").inner_text()


def test_a_saved_page_shows_its_graph_and_what_was_measured(saved_page, explorer):
    explorer.selected_edge = explorer.selected_node = None
    page = saved_page(explorer)
    screenshot(page, "saved-page")
    box = page.locator(".js-plotly-plot").bounding_box()
    assert box["width"] > 700
    assert box["height"] > 400
    plot = page.locator(".js-plotly-plot .main-svg").first.bounding_box()
    assert plot["x"] + plot["width"] <= page.locator("#acdc-panel").bounding_box()["x"]
    counts = pixels_of_kinds(page)
    assert all(counts[kind] > 300 for kind in ("q", "k", "v")), counts
    assert edges_drawn(page) == set(explorer.circuit.kept)
    assert "Nothing on this page runs the model" in page.locator("body").inner_text()
    assert "Nothing selected" in panel(page)
    assert "clean" in panel(page)
    edge = explorer.circuit.kept[0]
    explorer.selected_edge, explorer.shown_position = edge, "S2"
    wait_measured(explorer, "of full")
    deadline = time.monotonic() + 30
    while not explorer._graph_view.effects:
        assert time.monotonic() < deadline, "the edges were not measured"
        time.sleep(0.05)
    page = saved_page(explorer)
    screenshot(page, "saved-page-of-an-edge")
    text = page.locator("body").inner_text()
    assert "add at S2" in text
    assert "By position" in panel(page)
    assert "intervals known" in text or "interval known" in text
    assert "selected" in drawn(page)
    explorer.shown_position = explorer.selected_edge = None


def test_clicks_and_keys_tell_of_edges_and_nodes(saved_page, explorer):
    page = saved_page(explorer)
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    # The hit point in the middle of an edge.
    x, y, edge = page.evaluate(
        """() => {
          const gd = document.getElementById("acdc-plot");
          const hits = gd.data.find((trace) => trace.name === "edge-hits"), at = 2;
          const box = gd.getBoundingClientRect(), { xaxis, yaxis, _size } = gd._fullLayout;
          return [box.left + _size.l + xaxis.l2p(hits.x[at]),
                  box.top + _size.t + yaxis.l2p(hits.y[at]), hits.customdata[at]];
        }"""
    )
    page.mouse.move(x - 2, y)
    page.mouse.move(x, y)
    page.wait_for_selector(".hoverlayer .hovertext")
    page.mouse.click(x, y)
    settle(page)
    step = next(each for each in explorer.circuit.decisions if each.edge.id == edge)
    assert step.edge.label in panel(page)
    assert f"{step.effect:+.3f}" in panel(page)
    number = explorer.circuit.decisions.index(step) + 1
    assert f"Decision {number} of the search" in panel(page)
    assert "selected" in drawn(page)
    # On to one of its ends, and from there to another edge, by keyboard.
    page.locator("#acdc-panel [data-goto^='node:']").first.focus()
    page.keyboard.press("Enter")
    settle(page)
    node = step.edge.sender
    kept = explorer.circuit.kept_effects
    into = [each for each in kept if each.receiver.node == node]
    out_of = [each for each in kept if each.sender == node]
    assert f"Edges into it ({len(into)})" in panel(page)
    assert f"Edges out of it ({len(out_of)})" in panel(page)
    assert {"selected-node", "dimmed"} <= drawn(page).keys()
    largest = max(out_of, key=lambda each: abs(kept[each]))
    page.locator(f"#acdc-panel [data-goto='edge:{largest.id}']").first.focus()
    page.keyboard.press("Enter")
    settle(page)
    assert largest.label in panel(page)
    page.keyboard.press("Escape")
    settle(page)
    assert "Nothing selected" in panel(page)
    page.locator(f"#acdc-table [data-goto='edge:{edge}']").click()
    settle(page)
    assert step.edge.label in panel(page)
    assert not errors


def test_the_slider_goes_over_the_circuits_that_were_found(saved_page, explorer):
    page = saved_page(explorer)
    circuits = sorted(explorer._state.snapshot.path.circuits, key=lambda c: c.threshold)
    slider = page.locator("#acdc-slider")
    assert slider.get_attribute("max") == str(len(circuits) - 1)
    slider.focus()
    page.keyboard.press("Home")
    for circuit in circuits:
        settle(page)
        assert edges_drawn(page) == set(circuit.kept)
        standing = page.locator("#acdc-standing").inner_text()
        assert f"{len(circuit.kept):,} of" in standing
        assert f"faithfulness {circuit.faithfulness:.1%}" in standing
        assert page.locator("#acdc-table [data-goto]").count() == len(circuit.kept)
        page.keyboard.press("ArrowRight")
    # What the sparsest circuit does without is said to be removed there.
    gone = next(each for each in circuits[0].kept if each not in circuits[-1].kept)
    page.locator("[data-step='-1']").click()
    page.locator("[data-step='1']").click()
    settle(page)
    assert edges_drawn(page) == set(circuits[-1].kept)
    page.keyboard.press("Shift+Tab")
    slider.focus()
    page.keyboard.press("Home")
    settle(page)
    page.locator(f"#acdc-table [data-goto='edge:{gone}']").click()
    slider.focus()
    page.keyboard.press("End")
    settle(page)
    assert "removed" in panel(page)
    assert "selected-removed" in drawn(page)
    screenshot(page, "saved-page-slider")


@pytest.mark.parametrize("width", [1300, 420])
def test_it_is_dark_where_the_reader_wants_it_and_fits_narrow_windows(saved_page, explorer, width):
    page = saved_page(explorer)
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_timeout(300)
    screenshot(page, f"saved-page-dark-{width}")
    assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") == (
        "rgb(17, 17, 17)"
    )
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width


def test_a_page_of_a_comparison_and_of_changes_by_hand(saved_page, explorer):
    removed = explorer.circuit.kept[-1]
    try:
        explorer.edit(remove=[removed])
        deadline = time.monotonic() + 30
        while not explorer.circuit.by_hand or explorer._graph_view._snapshot.circuit.by_hand == ():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        explorer.compare(["a0.h0->a1.h0<q>", explorer.circuit.kept[0]])
        page = saved_page(explorer)
    finally:
        explorer.compare(None)
        explorer.reset()
    names = drawn(page)
    assert {"only-here", "only-there", "hand-marks", "removed-by-hand"} <= names.keys()
    assert "Compared" in page.locator("body").inner_text()
    screenshot(page, "saved-page-compared")
