"""Makes the README's pictures of the explorer: `python -m tests.browser.readme_pictures`."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from .conftest import KERNEL, ROOT, SETUP
from .lab import CHROMIUM_FLAGS, LabPage, find_chromium
from .server import LabServer

EXPLORER = 'explorer = ax.Explorer("mini", "ioi", "3%", positions=True)\nexplorer'
EDGE = "a2.h1->a3.h7<q>@END"
# GitHub shows the one that fits the reader's theme.
PICTURES = {"JupyterLab Light": "explorer.png", "JupyterLab Dark": "explorer-dark.png"}
# Of the page; and how much of the explorer is shown.
VIEWPORT, HEIGHT = {"width": 1412, "height": 1300}, 892


def main() -> None:
    """Drives JupyterLab and writes both pictures to `notebooks/`."""
    chromium = find_chromium()
    assert chromium is not None, "no Chromium found"
    with (
        tempfile.TemporaryDirectory() as temporary,
        LabServer(Path(temporary), package_root=ROOT) as server,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        lab = LabPage(browser.new_page(viewport=VIEWPORT), server, Path(temporary))
        notebook = Path(temporary) / "picture.ipynb"
        cells = {"cells": [], "metadata": KERNEL, "nbformat": 4, "nbformat_minor": 5}
        notebook.write_text(json.dumps(cells), encoding="utf-8")
        lab.open(notebook)
        lab.run(f"{SETUP}\n{EXPLORER}", timeout=120)
        lab.wait_status("done", timeout=120)
        lab.run(f"explorer.selected_edge = {EDGE!r}")
        lab.page.wait_for_selector(".acdc-edge-panel[data-effect]")
        options = lab.page.get_by_role("button", name="Options").last
        options.click()
        options.evaluate("(button) => button.blur()")
        lab.page.mouse.move(0, 0)
        # Once circuits of other thresholds have been found.
        lab.page.wait_for_function(
            "() => Number(document.querySelector('.acdc-path').dataset.intervals) >= 20",
            timeout=120_000,
        )
        for theme, name in PICTURES.items():
            lab.set_theme(theme)
            shown = lab.page.locator(".acdc-explorer").last
            shown.evaluate("(explorer) => explorer.scrollIntoView({ block: 'start' })")
            lab.page.wait_for_timeout(1000)
            box = shown.bounding_box()
            assert box is not None
            clip = {**box, "height": min(box["height"], HEIGHT)}
            lab.page.screenshot(path=ROOT / "notebooks" / name, clip=clip)
        browser.close()


if __name__ == "__main__":
    main()
