"""The threshold slider: a log scale that tells of every move while it is dragged.

ipywidgets' own one announces the logarithm to a screen reader, and where it tells of every move it
also tells of values that nobody chose, rounded to its steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anywidget
import traitlets

from acdc_explorer.explorer.widgets.anywidget_private import HEARING

# In per cent of the clean metric.
LOWEST, HIGHEST = 0.01, 100.0


class ThresholdSlider(anywidget.AnyWidget):
    """Chooses a threshold in per cent, by dragging, by the arrow keys, or by typing.

    Attributes:
        value: what it shows, in per cent; setting it calls nothing.
        text: the threshold in words, which is announced.
    """

    value: Any = traitlets.Float(7.0).tag(sync=True)
    text: Any = traitlets.Unicode("").tag(sync=True)
    _ends = traitlets.List([LOWEST, HIGHEST]).tag(sync=True)

    _esm = (
        HEARING
        + """
    const rounded = (percent) => Number(percent.toPrecision(3));
    function render({ model, el }) {
      const [lowest, highest] = model.get("_ends");
      const title = "Edges that change the metric by less than this share of its clean value go";
      const label = document.createElement("label");
      label.textContent = "Threshold %";
      const slider = Object.assign(document.createElement("input"), { type: "range", title,
        min: Math.log10(lowest), max: Math.log10(highest), step: 0.01 });
      const box = Object.assign(document.createElement("input"), { type: "text", title,
        inputMode: "decimal", size: 5 });
      slider.setAttribute("aria-label", "Threshold");
      label.append(box);
      el.append(label, slider);
      // What the kernel says of an earlier move must not pull at the handle.
      let held = false;
      const show = (percent) => {
        if (held) return;
        slider.value = Math.log10(percent);
        if (document.activeElement !== box) box.value = rounded(percent);
      };
      const tell = () => {
        const said = model.get("text") || `${rounded(10 ** slider.value)}%`;
        slider.setAttribute("aria-valuetext", said);
      };
      const moved = (percent, rests) => {
        box.value = percent;
        model.send({ percent, rests });
      };
      slider.addEventListener("input", () => {
        held = true;
        moved(rounded(10 ** slider.value), false);
      });
      slider.addEventListener("change", () => {
        held = false;
        moved(rounded(10 ** slider.value), true);
      });
      const typed = () => {
        const percent = Number(box.value.replace("%", "").replace(",", "."));
        if (percent > 0 && Number.isFinite(percent)) moved(percent, true);
        else box.value = rounded(model.get("value"));
      };
      box.addEventListener("change", typed);
      // Enter changes nothing where the text was not typed, but pasted or filled in.
      box.addEventListener("keydown", (event) => { if (event.key === "Enter") typed(); });
      const renew = () => { show(model.get("value")); tell(); };
      model.on("change:value", renew);
      model.on("change:text", renew);
      renew();
      return () => { model.off("change:value", renew); model.off("change:text", renew); };
    }
    export default { initialize: ({ model }) => { hearing(model); }, render };
    """
    )

    def __init__(self, on_moved: Callable[[float, bool], None]):
        """Makes the slider.

        Args:
            on_moved: called with the per cent that the user has moved it to, and with whether it
                rests there, or is still being dragged.
        """
        super().__init__(_dom_classes=("acdc-threshold",))
        self.on_msg(lambda _, content, buffers: self._received(content, on_moved))

    def _received(self, content: Any, on_moved: Callable[[float, bool], None]) -> None:
        if isinstance(content, dict) and isinstance(content.get("percent"), (int, float)):
            on_moved(float(content["percent"]), bool(content.get("rests")))
