"""A text with a button that copies it."""

from __future__ import annotations

from typing import Any

import anywidget
import traitlets

from acdc_explorer.explorer.widgets.anywidget_private import HEARING


class CopyText(anywidget.AnyWidget):
    """Shows a text as it is, and copies it to the clipboard.

    Attributes:
        title: what it is.
        value: the text.
        is_code: whether it is code, whose lines stay as they are.
    """

    title: Any = traitlets.Unicode("").tag(sync=True)
    value: Any = traitlets.Unicode("").tag(sync=True)
    is_code: Any = traitlets.Bool(False).tag(sync=True)

    _esm = (
        HEARING
        + """
    // Where a page may not use the clipboard, a selection is copied.
    async function copy(text, shown) {
      try { await navigator.clipboard.writeText(text); return true; } catch { /* below */ }
      const range = document.createRange();
      range.selectNodeContents(shown);
      const selection = document.getSelection();
      selection.removeAllRanges();
      selection.addRange(range);
      return document.execCommand("copy");
    }
    function render({ model, el }) {
      const head = document.createElement("div");
      const title = document.createElement("b");
      const button = document.createElement("button");
      const shown = document.createElement(model.get("is_code") ? "pre" : "p");
      Object.assign(button, { type: "button", textContent: "Copy" });
      button.className = "jupyter-button widget-button acdc-copy";
      head.append(title, button);
      el.append(head, shown);
      const show = () => {
        title.textContent = model.get("title");
        shown.textContent = model.get("value");
        button.disabled = !model.get("value");
      };
      button.addEventListener("click", async () => {
        button.textContent = (await copy(model.get("value"), shown)) ? "Copied" : "Press Ctrl+C";
        setTimeout(() => { button.textContent = "Copy"; }, 1500);
      });
      model.on("change", show);
      show();
    }
    export default { initialize: ({ model }) => { hearing(model); }, render };
    """
    )

    def __init__(self, title: str, *, is_code: bool = False):
        """Makes the widget, empty.

        Args:
            title: what the text is.
            is_code: whether it is code.
        """
        super().__init__(title=title, is_code=is_code, _dom_classes=("acdc-copy-text",))
