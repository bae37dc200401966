"""Drives JupyterLab in Chromium as a user would: opens notebooks, runs cells, clicks on plots.

Everything waits for what it needs to see and for nothing else; what fails says what it saw.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from playwright.sync_api import ConsoleMessage, Dialog, Page, Request
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from .server import LabServer

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM_FLAGS = [
    "--no-sandbox",  # as root, where CI runs, there is none
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
PAGE_SCRIPT = Path(__file__).with_name("page.js")
# Plotly looks for the point under a resting mouse only after the mouse has moved there.
HOVER_MS = 80
CLICK_TRIES = 5
RELOADS = 4
# For what has no limit of its own: on a busy machine a search of a second takes half a minute.
WAIT_MS = 90_000


def find_chromium() -> str | None:
    """Returns the path of a Chromium or Chrome on this machine, or None."""
    return next((path for name in CHROMIUM_NAMES if (path := shutil.which(name))), None)


@dataclass(frozen=True)
class FigureState:
    """What a figure shows: by trace the number of points that are not gaps, and its size in px."""

    points: dict[str, int]
    width: float
    height: float


@dataclass(frozen=True)
class ClickedPoint:
    """The point that Plotly says was clicked; on a dense figure it may be a neighbour."""

    trace: str
    index: int
    customdata: Any


class LabPage:
    """One browser page with JupyterLab in it, and one notebook open.

    Args:
        page: the page to drive.
        server: the JupyterLab it opens.
        screenshots: the folder that `screenshot` writes to.

    Attributes:
        page: the Playwright page, for whatever has no method here.
        console_errors: errors that the page logged or threw.
        offsite_requests: addresses of everything asked of another machine.
    """

    def __init__(self, page: Page, server: LabServer, screenshots: Path) -> None:
        self.page = page
        self.console_errors: list[str] = []
        self.offsite_requests: list[str] = []
        self._server = server
        self._screenshots = screenshots
        page.set_default_timeout(WAIT_MS)
        page.add_init_script(path=PAGE_SCRIPT)
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.console_errors.append(str(error)))
        page.on("request", self._on_request)
        page.on("dialog", _accept)

    def open(self, notebook_path: Path, timeout: float = 60.0) -> None:
        """Opens a copy of a notebook and waits for its kernel; the notebook itself stays as it is.

        Args:
            notebook_path: any notebook on this machine.
            timeout: in seconds.
        """
        served = self._server.add_notebook(notebook_path)
        # Without "reset" JupyterLab would open the last page's notebooks too.
        self.page.goto(f"{self._server.url}/lab/tree/{quote(served)}?reset")
        self._wait_for_notebook(timeout)

    def reload(self, trace_name: str, timeout: float = 60.0) -> FigureState:
        """Saves the notebook, reloads the page and waits until its figure is there again.

        The kernel goes on running. On a busy machine it takes a few tries, as it does a reader: a
        page gives the kernel four seconds to tell of its widgets (ipywidgets), and each widget two
        to start (anywidget), and then shows none.

        Args:
            trace_name: as in `wait_figure`.
            timeout: of each try, in seconds.
        """
        self._execute("docmanager:save", timeout=timeout)
        n_errors = len(self.console_errors)
        for _ in range(RELOADS):
            del self.console_errors[n_errors:]
            self.page.reload()
            self._wait_for_notebook(timeout)
            drawn_or_failed = "(trace) => acdcTest.hasDrawn(trace) || acdcTest.hasLostWidgets()"
            failure = f"after a reload, no visible figure shows a point of trace {trace_name}"
            self._wait_for(drawn_or_failed, trace_name, timeout, failure)
            if not self.page.evaluate("() => acdcTest.hasLostWidgets()"):
                break
        return self.wait_figure(trace_name, timeout)

    def reload_page(self, timeout: float = 60.0) -> None:
        """Reloads the page, with an empty notebook in it; scripts added to the page run anew."""
        self.page.reload()
        self._wait_for_notebook(timeout)

    def restart_kernel(self, timeout: float = 60.0) -> None:
        """Restarts the notebook's kernel; the page stays as it is."""
        self.page.evaluate("() => acdcTest.restartKernel()")
        self._wait_for_notebook(timeout)

    def restart_and_reload(self, timeout: float = 60.0) -> None:
        """Saves the notebook, ends what its kernel knows, and opens the page anew."""
        self._execute("docmanager:save", timeout=timeout)
        self._server.shut_down_kernels()
        self.reload_page(timeout)

    def close(self) -> None:
        """Closes the page."""
        self.page.close()

    def run_all(self, timeout: float = 120.0) -> None:
        """Runs every cell and waits until they have finished.

        Raises:
            AssertionError: a cell failed; with its traceback.
        """
        self._execute("notebook:run-all-cells", timeout=timeout)
        for cell in self._cells():
            _output_text(cell)

    def run(self, code: str, timeout: float = 60.0) -> str:
        """Appends a cell, runs it and waits until it has finished.

        Args:
            code: the cell's source.
            timeout: in seconds.

        Returns:
            What it printed, and the text of its last expression.

        Raises:
            AssertionError: the cell failed; with its traceback.
        """
        self.page.evaluate("(source) => acdcTest.appendCell(source)", code)
        self._execute("notebook:run-cell", timeout=timeout)
        return _output_text(self._cells()[-1])

    def run_again(self, index: int, timeout: float = 60.0) -> None:
        """Runs a cell that is there once more and waits until it has finished.

        Args:
            index: of the cell, from 0 on.
            timeout: in seconds.
        """
        self.page.evaluate("(index) => acdcTest.chooseCell(index)", index)
        self._execute("notebook:run-cell", timeout=timeout)
        _output_text(self._cells()[index])

    def sources(self) -> list[str]:
        """What stands in the cells."""
        return [_joined(cell["source"]) for cell in self._cells()]

    def clear_output(self, index: int, timeout: float = 60.0) -> None:
        """Clears what a cell put out."""
        self.page.evaluate("(index) => acdcTest.chooseCell(index)", index)
        self._execute("notebook:clear-cell-output", timeout=timeout)

    def wait_status(self, status: str | Iterable[str], timeout: float = 60.0) -> str:
        """Waits until an explorer on the page has the status given, or one of those given.

        Args:
            status: idle, loading, running, paused, done, stopped or error; or several of them.
            timeout: in seconds.

        Returns:
            The status met.
        """
        wanted = [status] if isinstance(status, str) else list(status)
        try:
            met = self.page.wait_for_function(
                "(wanted) => acdcTest.statuses().find((status) => wanted.includes(status))",
                arg=wanted,
                timeout=timeout * 1000,
            )
        except PlaywrightTimeout:
            seen = self.page.evaluate("() => acdcTest.statuses()")
            errors = self.page.locator(".acdc-error").all_inner_texts()
            raise AssertionError(
                f"status {' or '.join(wanted)} not met in {timeout:g} s; "
                f"statuses on the page: {seen}; errors shown: {errors}"
            ) from None
        return str(met.json_value())

    def wait_figure(self, trace_name: str, timeout: float = 60.0) -> FigureState:
        """Waits until a visible figure has drawn at least one point of a trace."""
        failure = f"no visible figure shows a point of trace {trace_name}"
        self._wait_for("(trace) => acdcTest.hasDrawn(trace)", trace_name, timeout, failure)
        return self.figure_state(trace_name)

    def figure_state(self, trace_name: str | None = None) -> FigureState:
        """Returns what the visible figure shows.

        Args:
            trace_name: a trace the figure must hold, where the page has several figures; the last
                that fits is taken.
        """
        state = self.page.evaluate("(trace) => acdcTest.figureState(trace)", trace_name)
        assert state is not None, f"no visible figure (with trace {trace_name})"
        return FigureState(**state)

    def point_pixel(self, trace_name: str, index: int) -> tuple[float, float]:
        """Scrolls a point of the visible figure into view and returns where it is on the page.

        Args:
            trace_name: the trace's name; the last figure that has it is taken.
            index: the point's index in the trace.

        Raises:
            AssertionError: there is no such point, or something else covers it.
        """
        arguments = [trace_name, index]
        found = self.page.evaluate("(given) => acdcTest.pointPixel(...given)", arguments)
        assert "error" not in found, found["error"]
        return found["x"], found["y"]

    def click_point(self, trace_name: str, index: int) -> ClickedPoint:
        """Clicks a point of the visible figure with the mouse.

        Returns:
            The point that Plotly reports as clicked, with its customdata. Where points lie close
            together it need not be the one asked for.

        Raises:
            AssertionError: Plotly reports no click. A redraw just then makes it forget the point
                under the mouse, so the click is tried a few times.
        """
        for _ in range(CLICK_TRIES):
            x, y = self.point_pixel(trace_name, index)
            self.page.evaluate("(trace) => acdcTest.listenForClick(trace)", trace_name)
            self.page.mouse.move(x - 2, y)
            self.page.mouse.move(x, y)
            self.page.wait_for_timeout(HOVER_MS)
            self.page.mouse.click(x, y)
            try:
                clicked = self.page.wait_for_function("() => acdcTest.clicked", timeout=3000)
                return ClickedPoint(**clicked.json_value())
            except PlaywrightTimeout:
                continue
        raise AssertionError(f"no click on point {index} of trace {trace_name} reached the figure")

    def set_theme(self, name: str, timeout: float = 30.0) -> None:
        """Changes JupyterLab's theme: "JupyterLab Light", "JupyterLab Dark", ..."""
        self._execute("apputils:change-theme", {"theme": name}, timeout=timeout)
        self._wait_for(
            "(name) => acdcTest.showsTheme(name)", name, timeout, f"the theme is not {name}"
        )

    def screenshot(self, name: str) -> Path:
        """Writes what the page shows to NAME.png in the screenshots folder; returns its path."""
        self._screenshots.mkdir(parents=True, exist_ok=True)
        path = self._screenshots / f"{name}.png"
        self.page.screenshot(path=path)
        return path

    def _execute(
        self, command: str, options: dict[str, Any] | None = None, *, timeout: float
    ) -> None:
        """Runs a JupyterLab command and waits until it has finished."""
        self.page.evaluate("(given) => acdcTest.execute(...given)", [command, options or {}])
        failure = f"{command} has not finished"
        self._wait_for("() => acdcTest.outcome !== null", None, timeout, failure)
        outcome = self.page.evaluate("() => acdcTest.outcome")
        assert outcome == "done", f"{command}: {outcome}"

    def _wait_for_notebook(self, timeout: float) -> None:
        ready = "() => acdcTest.notebookIsReady()"
        self._wait_for(ready, None, timeout, "the notebook has no idle kernel")

    def _wait_for(self, condition: str, argument: Any, timeout: float, failure: str) -> None:
        try:
            self.page.wait_for_function(condition, arg=argument, timeout=timeout * 1000)
        except PlaywrightTimeout:
            raise AssertionError(
                f"{failure} after {timeout:g} s; on the page: {self._shown()}; the console's last "
                f"errors: {self.console_errors[-3:]}"
            ) from None

    def _shown(self) -> str:
        """The end of what a reader of the page sees, in words."""
        return str(self.page.evaluate("() => document.body.innerText")).strip()[-1500:]

    def _cells(self) -> list[dict[str, Any]]:
        cells: list[dict[str, Any]] = self.page.evaluate("() => acdcTest.cells().toJSON().cells")
        return cells

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.console_errors.append(message.text)

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith((self._server.url, "data:", "blob:", "about:")):
            self.offsite_requests.append(request.url)


def _accept(dialog: Dialog) -> None:
    """Leaves a page with unsaved changes."""
    dialog.accept()


def _output_text(cell: dict[str, Any]) -> str:
    """Returns the text a code cell put out; raises AssertionError if it failed."""
    parts = []
    for output in cell.get("outputs", []):
        if output["output_type"] == "error":
            traceback = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(output["traceback"]))
            raise AssertionError(f"the cell failed:\n{_joined(cell['source'])}\n{traceback}")
        if output["output_type"] == "stream":
            parts.append(_joined(output["text"]))
        elif output["output_type"] == "execute_result":
            parts.append(_joined(output["data"].get("text/plain", "")))
    return "".join(parts)


def _joined(text: str | list[str]) -> str:
    """Returns a notebook's multi-line text, which may be stored in lines, as one string."""
    return text if isinstance(text, str) else "".join(text)
