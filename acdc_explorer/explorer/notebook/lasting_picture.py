"""A picture in the outputs of the explorer's cell, for a notebook that is read without a kernel."""

from __future__ import annotations

import os
import sys

from IPython.display import DisplayHandle, display

# Before there is anything to see.
EMPTY = (
    "<svg xmlns='http://www.w3.org/2000/svg' id='acdc-picture' width='320' height='24'>"
    "<text x='4' y='16' font-family='sans-serif' font-size='12' fill='#767676'>no circuit yet"
    "</text></svg>"
)


class LastingPicture:
    """The last picture of the graph, beside the widget in the outputs of its cell.

    It is saved with the notebook, and shown by whatever shows the notebook: JupyterLab without a
    kernel, GitHub, nbviewer. On a page with the live widget, the explorer's styles hide it.
    """

    def __init__(self) -> None:
        """Makes none yet."""
        self._handles: list[DisplayHandle] = []

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

    @property
    def is_shown(self) -> bool:
        """Whether it is in some output."""
        return bool(self._handles)

    def renew(self, svg: str, text: str) -> None:
        """Puts another one in its place, wherever it is shown."""
        for handle in self._handles:
            handle.update(_bundle(svg, text), raw=True)


def _bundle(svg: str, text: str) -> dict[str, str]:
    return {"image/svg+xml": svg, "text/plain": text}
