"""Keys of something that has no elements to be focused one by one: arrows to go through it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import anywidget
import traitlets
from ipywidgets import Layout

from acdc_explorer.explorer.widgets.anywidget_private import HEARING
from acdc_explorer.explorer.widgets.on_page import ONCE_ON_PAGE

# Key -> which way it goes.
_WAYS = {"ArrowLeft": "left", "ArrowRight": "right", "ArrowUp": "up", "ArrowDown": "down"}


class ArrowKeys(anywidget.AnyWidget):
    """Makes the box that it is put into a stop of the Tab key, and hears its keys.

    Attributes:
        label: what the box is, for assistive technology, and what the keys do.
    """

    label: Any = traitlets.Unicode("").tag(sync=True)

    _ways: Any = traitlets.Dict().tag(sync=True)

    _esm = (
        HEARING
        + ONCE_ON_PAGE
        + """
    function render({ model, el }) {
      let box;
      const go = (event) => {
        const way = model.get("_ways")[event.key];
        if (event.target !== box || !way || event.ctrlKey || event.metaKey || event.altKey) return;
        // JupyterLab must not take it for its own.
        event.preventDefault();
        event.stopPropagation();
        model.send({ way });
      };
      const giveUp = onceOnPage(el, () => {
        box = el.parentElement;
        box.tabIndex = 0;
        box.setAttribute("role", "group");
        box.setAttribute("aria-label", model.get("label"));
        box.addEventListener("keydown", go);
      });
      return () => { giveUp(); box?.removeEventListener("keydown", go); };
    }
    export default { initialize: ({ model }) => { hearing(model); }, render };
    """
    )

    def __init__(
        self, label: str, go: Callable[[str], None], acts: Mapping[str, Callable[[], None]]
    ):
        """Makes the widget, of which nothing is seen.

        Args:
            label: what the box is, and what the keys do.
            go: called with "left", "right", "up" or "down".
            acts: other keys -> what they do.
        """
        ways = {**_WAYS, **{key: key for key in acts}}
        super().__init__(label=label, layout=Layout(display="none"), _ways=ways)
        self._acts = acts
        self.on_msg(lambda _, content, buffers: self._received(content, go))

    def _received(self, content: Any, go: Callable[[str], None]) -> None:
        way = str(content.get("way")) if isinstance(content, dict) else ""
        if way in _WAYS.values():
            go(way)
        elif way in self._acts:
            self._acts[way]()
