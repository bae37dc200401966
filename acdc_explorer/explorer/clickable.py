"""HTML whose marked rows can be clicked, which ipywidgets' own HTML cannot tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anywidget
import traitlets

from acdc_explorer.explorer.anywidget_private import HEARING


class ClickableHTML(anywidget.AnyWidget):
    """Shows HTML; elements with a certain attribute act as buttons, by mouse and by keyboard.

    Attributes:
        value: the HTML; whoever sets it has escaped what is not markup.
        attribute: of the elements that can be clicked, without "data-".
    """

    value: Any = traitlets.Unicode("").tag(sync=True)
    attribute: Any = traitlets.Unicode("").tag(sync=True)

    _esm = (
        HEARING
        + """
    function render({ model, el }) {
      el.classList.add("widget-html-content");
      const show = () => { el.innerHTML = model.get("value"); };
      const choose = (event) => {
        const attribute = model.get("attribute");
        const element = event.target.closest?.(`[data-${attribute}]`);
        if (!element) return;
        event.preventDefault();
        event.stopPropagation();
        model.send({ chosen: element.getAttribute(`data-${attribute}`) });
      };
      // What is pressed may be replaced before the button is up again, and then there is no click;
      // a click without a press comes from assistive technology.
      let pressed = 0;
      el.addEventListener("pointerdown", (event) => {
        if (event.button !== 0) return;
        pressed = Date.now();
        choose(event);
      });
      el.addEventListener("click", (event) => {
        if (Date.now() - pressed > 1000) choose(event);
      });
      // JupyterLab must not take the keys of a focused row for its own.
      el.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") choose(event);
      });
      model.on("change:value", show);
      show();
    }
    export default { initialize: ({ model }) => { hearing(model); }, render };
    """
    )

    def __init__(
        self, value: str, attribute: str, on_chosen: Callable[[str], None], css_class: str = ""
    ):
        """Makes the widget.

        Args:
            value: the HTML.
            attribute: of the elements that can be clicked, without "data-".
            on_chosen: called with the attribute's value of a clicked one.
            css_class: of the element around the HTML. Views do not hear of one added later.
        """
        classes = (css_class,) if css_class else ()
        super().__init__(value=value, attribute=attribute, _dom_classes=classes)
        self.on_msg(lambda _, content, buffers: self._received(content, on_chosen))

    def _received(self, content: Any, on_chosen: Callable[[str], None]) -> None:
        if isinstance(content, dict) and "chosen" in content:
            on_chosen(str(content["chosen"]))
