"""Everything that leans on Plotly's private names, in one place, each with a test of its own.

Measured with plotly 7.1 in JupyterLab 4.6 (`tests/browser`).
"""

from __future__ import annotations

import copy
from typing import Any

import anywidget
import plotly.graph_objects as go

CONFIG = {
    "responsive": True,
    "displaylogo": False,
    "scrollZoom": False,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "sendChartToCloud", "sendDataToCloud"],
}


class SyncedFigureWidget(go.FigureWidget):
    """A FigureWidget that can stand in a box.

    Plotly keeps the state that it sends to a new page in copies which it renews only when the
    figure displays itself. In a box it never does, so after a reload the figure would be blank.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._config = dict(CONFIG)

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> dict[str, Any]:
        """The state for a page, with the figure as it is now."""
        if key is None and hasattr(self, "_layout_obj") and "_widget_data" in self._trait_values:
            self._trait_values["_widget_data"] = copy.deepcopy(self._data)
            self._trait_values["_widget_layout"] = copy.deepcopy(self._layout_obj._props)
        return super().get_state(key, drop_defaults)

    def _build_update_params_from_batch(self) -> tuple[dict[str, list[Any]], Any, list[int]]:
        """One update of all traces in a batch, with a value for each wherever there is one.

        Plotly marks what does not change as undefined, which the page's copy of a figure that is
        not on view yet takes for a value: the trace would lose it.
        """
        restyle, relayout, indexes = super()._build_update_params_from_batch()
        for prop, values in restyle.items():
            for place, index in enumerate(indexes):
                if prop not in self._batch_trace_edits[index]:
                    present = self._data[index]
                    for key in prop.split("."):
                        present = present.get(key) if isinstance(present, dict) else None
                    if present is not None:
                        values[place] = present
        return restyle, relayout, indexes


class FigureFitter(anywidget.AnyWidget):
    """Put beside a figure in a box, keeps the figure as large as the box.

    Plotly paints first at 700 px whatever its container, and then looks at its size again only when
    the window's changes; so the page is told that it did. This runs in the page and not in the
    kernel, which may be busy with a cell. The figure's layout must leave width and height open.
    """

    _esm = """
    function render({ el }) {
      let resizes, changes, seen = "";
      const watch = () => {
        const box = el.parentElement;
        if (!el.isConnected) return requestAnimationFrame(watch);
        const fit = () => {
          const plot = box.querySelector(".main-svg");
          const sizes = plot && [box, plot].map((e) => [e.clientWidth, e.clientHeight]).join();
          // Once for every state of things, lest a plot that will not fit be drawn for ever.
          if (!sizes || sizes === seen || !box.clientWidth) return;
          seen = sizes;
          if (Math.abs(plot.clientWidth - box.clientWidth) > 2
              || Math.abs(plot.clientHeight - box.clientHeight) > 2)
            window.dispatchEvent(new Event("resize"));
        };
        resizes = new ResizeObserver(fit);
        resizes.observe(box);
        changes = new MutationObserver(fit);
        changes.observe(box, { childList: true, subtree: true });
        fit();
      };
      watch();
      return () => { resizes?.disconnect(); changes?.disconnect(); };
    }
    export default { render };
    """


def click(figure: go.FigureWidget, trace: int, point: int) -> None:
    """Does what the page does when the user clicks a point; for use without a page."""
    x, y = (figure.data[trace][axis][point] for axis in ("x", "y"))
    figure._js2py_pointsCallback = {
        "event_type": "plotly_click",
        "points": {
            "trace_indexes": [trace],
            "point_indexes": [point],
            "xs": [float(x)],
            "ys": [float(y)],
        },
        "device_state": None,
        "selector": None,
    }
