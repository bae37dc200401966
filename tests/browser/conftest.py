"""Fixtures of the browser tests: one JupyterLab and one Chromium for all, one page for each.

They end with this folder's last test and not with the session: while Playwright runs, its event
loop counts as running in the main thread, and no other test there could use asyncio.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from .lab import CHROMIUM_FLAGS, LabPage, find_chromium
from .server import LabServer

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
SETUP = """
import warnings
warnings.filterwarnings("ignore")
import acdc_explorer as ax
"""
# Circuits of other thresholds, which the background looks for, would take a core all through a
# test, beside those of other tests.
NO_PATH = """
import acdc_explorer.runner.session as _session
_session.PATH_SECONDS = _session.CURVES_SECONDS = 1e-9
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks everything in this folder `browser`, puts it first, and lets each fail once.

    On a machine that is busy with other tests a page now and then swallows a click, or is moved
    just before one, as would happen to a reader, who clicks again. What fails twice in a row
    fails; pytest's summary counts what was run again.
    """
    ours = [item for item in items if HERE in item.path.parents]
    for item in ours:
        item.add_marker(pytest.mark.browser)
        item.add_marker(pytest.mark.flaky(reruns=1))
    items[:] = ours + [item for item in items if item not in set(ours)]


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """A headless Chromium; without one the tests are skipped, or fail under CI."""
    chromium = find_chromium()
    if chromium is None:
        reason = "no Chromium or Chrome found; on Debian: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield launched
        launched.close()


@pytest.fixture(scope="package")
def lab_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    """A JupyterLab on loopback whose kernels are this Python."""
    with LabServer(tmp_path_factory.mktemp("lab"), package_root=ROOT) as server:
        yield server


@pytest.fixture(scope="package")
def browser_context(browser: Browser) -> Iterator[BrowserContext]:
    """One context for all pages: JupyterLab's megabytes of scripts are then cached."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    yield context
    context.close()


@pytest.fixture
def lab(browser_context: BrowserContext, lab_server: LabServer) -> Iterator[LabPage]:
    """A fresh page and no kernels but those it starts."""
    screenshots = Path(os.environ.get("ACDC_SCREENSHOTS", ROOT / "screenshots"))
    page = LabPage(browser_context.new_page(), lab_server, screenshots)
    yield page
    page.close()
    lab_server.shut_down_kernels()


@pytest.fixture
def explorer(lab: LabPage, tmp_path: Path):
    """Opens an empty notebook and shows an explorer made with given arguments.

    Only with `path=True` are other thresholds' circuits found in the background.
    """
    empty = tmp_path / "empty.ipynb"
    empty.write_text(
        json.dumps({"cells": [], "metadata": KERNEL, "nbformat": 4, "nbformat_minor": 5}),
        encoding="utf-8",
    )
    lab.open(empty)

    def show(arguments: str = "", *, path: bool = False) -> LabPage:
        setup = SETUP if path else SETUP + NO_PATH
        lab.run(f"{setup}\nexplorer = ax.Explorer({arguments})\nexplorer", timeout=120)
        return lab

    return show
