"""HTML whose marked elements can be clicked, which ipywidgets' own HTML cannot tell; and Esc."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anywidget
import traitlets
from ipywidgets import Layout

from acdc_explorer.explorer.widgets.anywidget_private import HEARING
from acdc_explorer.explorer.widgets.on_page import ONCE_ON_PAGE


class ClickableHTML(anywidget.AnyWidget):
    """Shows HTML; elements with a certain attribute act as buttons, by mouse and by keyboard.

    Those that have a tabindex are one stop of the Tab key; the arrow keys go from one to the next.
    When the HTML is replaced, the focus stays on the one with the same value, or the same button.

    Attributes:
        value: the HTML; whoever sets it has escaped what is not markup.
        attribute: of the elements that can be clicked, without "data-".
        announced: whether assistive technology reads out what is new.
    """

    value: Any = traitlets.Unicode("").tag(sync=True)
    attribute: Any = traitlets.Unicode("").tag(sync=True)
    announced: Any = traitlets.Bool(False).tag(sync=True)

    _esm = (
        HEARING
        + """
    function render({ model, el }) {
      el.classList.add("widget-html-content");
      if (model.get("announced")) el.setAttribute("aria-live", "polite");
      const name = `data-${model.get("attribute")}`;
      const stops = () => [...el.querySelectorAll(`[${name}][tabindex]`)];
      // The value of what has the focus; it is lost while the HTML is replaced.
      let focused = null, replacing = false, subject;

      const tabTo = (stop) =>
        stops().forEach((each) => each.setAttribute("tabindex", each === stop ? "0" : "-1"));
      const show = () => {
        replacing = true;
        el.innerHTML = model.get("value");
        replacing = false;
        const all = stops();
        const was = [...all, ...el.querySelectorAll(`button[${name}]`)]
          .find((each) => each.getAttribute(name) === focused);
        const stop = all.find((each) => each === was)
          ?? all.find((each) => each.matches("[aria-current=true], [aria-pressed=true]"))
          ?? all[0];
        tabTo(stop);
        if (focused !== null && document.activeElement === document.body)
          (was ?? stop)?.focus({ preventScroll: true });
        // What is said of another edge or node is read from its beginning.
        const shown = el.firstElementChild?.dataset;
        const now = shown?.edge ?? shown?.node;
        if (now !== subject && el.parentElement) el.parentElement.scrollTop = 0;
        subject = now;
      };
      el.addEventListener("focusin", (event) => {
        const stop = event.target.closest(`[${name}]`);
        if (!stop) return;
        focused = stop.getAttribute(name);
        tabTo(stop);
      });
      el.addEventListener("focusout", () => { if (!replacing) focused = null; });

      const choose = (event) => {
        const element = event.target.closest?.(`[${name}]`);
        if (!element) return;
        event.preventDefault();
        event.stopPropagation();
        model.send({ chosen: element.getAttribute(name) });
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
      const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
      // JupyterLab must not take the keys of a focused element for its own.
      el.addEventListener("keydown", (event) => {
        const all = stops(), place = all.indexOf(event.target);
        if (event.key === "Enter" || event.key === " ") choose(event);
        if (place < 0 || !(event.key in steps)) return;
        event.preventDefault();
        event.stopPropagation();
        all[place + steps[event.key]]?.focus();
      });
      model.on("change:value", show);
      show();
    }
    export default { initialize: ({ model }) => { hearing(model); }, render };
    """
    )

    def __init__(
        self,
        value: str,
        attribute: str,
        on_chosen: Callable[[str], None],
        css_class: str = "",
        *,
        announced: bool = False,
    ):
        """Makes the widget.

        Args:
            value: the HTML.
            attribute: of the elements that can be clicked, without "data-".
            on_chosen: called with the attribute's value of a clicked one.
            css_class: of the element around the HTML. Views do not hear of one added later.
            announced: whether assistive technology reads out what is new.
        """
        classes = (css_class,) if css_class else ()
        super().__init__(
            value=value, attribute=attribute, announced=announced, _dom_classes=classes
        )
        self.on_msg(lambda _, content, buffers: self._received(content, on_chosen))

    def _received(self, content: Any, on_chosen: Callable[[str], None]) -> None:
        if isinstance(content, dict) and "chosen" in content:
            on_chosen(str(content["chosen"]))


class EscapeKey(anywidget.AnyWidget):
    """Hears the Esc key in the explorer that it is put into; shows nothing.

    That is where the focus is or, since a graph takes none, where the mouse was last pressed.
    """

    _esm = """
    function render({ model, el }) {
      let inside = false;
      const within = (element) => Boolean(el.closest(".acdc-explorer")?.contains(element));
      const enter = (event) => { inside = within(event.target); };
      const key = (event) => {
        if (event.key === "Escape" && inside) model.send({ pressed: true });
      };
      const heard = { pointerdown: enter, focusin: enter, keydown: key };
      for (const name in heard) document.addEventListener(name, heard[name], true);
      return () => {
        for (const name in heard) document.removeEventListener(name, heard[name], true);
      };
    }
    export default { render };
    """

    def __init__(self, on_pressed: Callable[[], None]):
        """Makes the widget.

        Args:
            on_pressed: called when the key is pressed.
        """
        super().__init__(layout=Layout(display="none"))
        self.on_msg(lambda *_: on_pressed())


class ToggleStates(anywidget.AnyWidget):
    """Tells assistive technology which toggle buttons are pressed; shows nothing.

    Those of ipywidgets tell it by their colour alone.
    """

    _esm = (
        ONCE_ON_PAGE
        + """
    function render({ el }) {
      let changes;
      const giveUp = onceOnPage(el, () => {
        const explorer = el.closest(".acdc-explorer");
        const tell = () => {
          const toggles = ".widget-toggle-button, .widget-toggle-buttons button";
          for (const button of explorer.querySelectorAll(toggles))
            button.setAttribute("aria-pressed", button.classList.contains("mod-active"));
        };
        changes = new MutationObserver(tell);
        changes.observe(explorer, { subtree: true, childList: true, attributeFilter: ["class"] });
        tell();
      });
      return () => { giveUp(); changes?.disconnect(); };
    }
    export default { render };
    """
    )

    def __init__(self) -> None:
        """Makes the widget."""
        super().__init__(layout=Layout(display="none"))
