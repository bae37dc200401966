"""The page of its own that `snapshot_html` writes, opened in a real browser without a kernel."""

from __future__ import annotations

import base64
import os
import re
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


def test_a_saved_page_shows_its_graph_and_offers_nothing_to_click(saved_page):
    explorer = ax.Explorer("mini", "ioi", "3%", n_prompts=16)
    try:
        explorer.wait(60)
        page = saved_page(explorer)
        screenshot(page, "saved-page")
        box = page.locator(".js-plotly-plot").bounding_box()
        assert box["width"] > 800
        assert box["height"] > 500
        counts = pixels_of_kinds(page)
        assert all(counts[kind] > 300 for kind in ("q", "k", "v")), counts
        assert_offers_nothing(page)
        explorer.selected_edge = explorer.circuit.kept[0]
        explorer.shown_position = "S2"
        deadline = time.monotonic() + 30
        while not (explorer._graph_view.effects and "of full" in explorer._side_panel.panel.value):
            assert time.monotonic() < deadline, "the edge was not measured"
            time.sleep(0.05)
        page = saved_page(explorer)
    finally:
        explorer.close()
    screenshot(page, "saved-page-of-an-edge")
    text = page.locator("body").inner_text()
    assert "add at S2" in text
    assert "Effect on the metric" in text
    assert "intervals known" in text or "interval known" in text
    assert_offers_nothing(page)


def assert_offers_nothing(page: Page) -> None:
    """Nothing can be clicked, and nothing says so."""
    text = page.locator("body").inner_text()
    assert not re.search(r"\bclick\b", text, re.IGNORECASE)
    # But for Plotly's own.
    buttons = page.locator(":is([role=button], [tabindex], button):not(.js-plotly-plot *)")
    assert buttons.count() == 0
