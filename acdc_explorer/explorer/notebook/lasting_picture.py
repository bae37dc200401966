"""A picture in the outputs of the explorer's cell, for a notebook that is read without a kernel."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

from IPython.display import DisplayHandle, display

# Before there is anything to see.
EMPTY = (
    "<svg xmlns='http://www.w3.org/2000/svg' id='acdc-picture' width='320' height='24'>"
    "<text x='4' y='16' font-family='sans-serif' font-size='12' fill='#767676'>no circuit yet"
    "</text></svg>"
)
# While a slider is dragged, circuit follows circuit: the last one is drawn, after so long.
REST_SECONDS = 1.0


class LastingPicture:
    """The last picture of the graph, beside the widget in the outputs of its cell.

    It is saved with the notebook, and shown by whatever shows the notebook: JupyterLab without a
    kernel, GitHub, nbviewer. On a page with the live widget, the explorer's styles hide it.
    """

    def __init__(self) -> None:
        """Makes none yet."""
        self._handles: list[DisplayHandle] = []
        # What is still to take its place, once nothing newer has come for a moment.
        self._next: Callable[[], tuple[str, str]] | None = None
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()

    def show(self, svg: str, text: str) -> None:
        """Puts it into the outputs of the cell that runs.

        Args:
            svg: the picture.
            text: in words, for what shows no pictures.
        """
        # Their outputs are frames of their own, where styles could not hide it.
        if "VSCODE_PID" in os.environ or "google.colab" in sys.modules:
            return
        handle = display(_bundle(svg, text), raw=True, display_id=True)
        if handle is not None:
            self._handles.append(handle)

    def renew_soon(self, make: Callable[[], tuple[str, str]]) -> None:
        """Puts another one in its place, wherever it is shown, unless a newer one comes at once.

        Args:
            make: gives the picture, and what it shows in words; called on a thread of its own.
        """
        if not self._handles:
            return
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._next = make
            self._timer = threading.Timer(REST_SECONDS, self.finish)
            self._timer.daemon = True
            self._timer.start()

    def finish(self) -> None:
        """Renews it now, if that is still to be done."""
        with self._lock:
            make, self._next = self._next, None
        if make is not None:
            bundle = _bundle(*make())
            for handle in self._handles:
                handle.update(bundle, raw=True)


def _bundle(svg: str, text: str) -> dict[str, str]:
    return {"image/svg+xml": svg, "text/plain": text}
