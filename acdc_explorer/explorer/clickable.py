"""HTML whose marked rows can be clicked, which ipywidgets' own HTML cannot tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anywidget
import traitlets as T


class ClickableHTML(anywidget.AnyWidget):
    """Shows HTML; rows with a `data-position` attribute act as buttons, by mouse and by keyboard.

    Attributes:
        value: the HTML; whoever sets it has escaped what is not markup.
    """

    value: Any = T.Unicode("").tag(sync=True)

    _esm = """
    function render({ model, el }) {
      el.classList.add("widget-html-content");
      const show = () => { el.innerHTML = model.get("value"); };
      const choose = (event) => {
        const row = event.target.closest?.("[data-position]");
        if (!row) return;
        event.preventDefault();
        event.stopPropagation();
        model.send({ position: row.dataset.position });
      };
      el.addEventListener("click", choose);
      // JupyterLab must not take the keys of a focused row for its own.
      el.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") choose(event);
      });
      model.on("change:value", show);
      show();
    }
    export default { render };
    """

    def __init__(self, value: str, on_position: Callable[[str], None]):
        """Makes the widget.

        Args:
            value: the HTML.
            on_position: called with the position label of a clicked row.
        """
        super().__init__(value=value)
        self.on_msg(lambda _, content, buffers: self._received(content, on_position))

    def _received(self, content: Any, on_position: Callable[[str], None]) -> None:
        if isinstance(content, dict) and "position" in content:
            on_position(str(content["position"]))
