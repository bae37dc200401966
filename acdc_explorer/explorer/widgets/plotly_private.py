"""Everything that leans on Plotly's private names, in one place, each with a test of its own.

Measured with plotly 7.1 in JupyterLab 4.6 (`tests/browser`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import anywidget
import ipywidgets as widgets
import plotly
import plotly.graph_objects as go
import traitlets

from acdc_explorer.explorer.widgets.anywidget_private import HEARING
from acdc_explorer.explorer.widgets.on_page import ONCE_ON_PAGE

CONFIG = {
    "responsive": True,
    "displaylogo": False,
    "scrollZoom": False,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "sendChartToCloud", "sendDataToCloud"],
}


# Carries Plotly's own script of a figure to the page.
_script: widgets.HTML | None = None


def _plotly_script() -> widgets.HTML:
    """One for all figures, since it is of 5 MB."""
    global _script
    if _script is None or _script.comm is None:
        _script = widgets.HTML(str(go.FigureWidget._esm))
    return _script


class SyncedFigureWidget(go.FigureWidget):
    """A FigureWidget that can stand in a box, and starts on a page however busy it is.

    Plotly keeps the state that it sends to a new page in copies which it renews only when the
    figure displays itself. In a box it never does, so after a reload the figure would be blank.

    A busy page takes longer to read Plotly's 5 MB than it gives a widget to start. So what starts
    is a few lines, which then wait for Plotly, one copy for all figures of a page.
    """

    _plotly_script = traitlets.Instance(widgets.Widget).tag(
        sync=True, **widgets.widget_serialization
    )
    _plotly_version = traitlets.Unicode(plotly.__version__).tag(sync=True)

    _esm = (
        HEARING
        + """
    const load = async (model) => {
      const id = model.get("_plotly_script").slice("IPY_MODEL_".length);
      const script = (await model.widget_manager.get_model(id)).get("value");
      const url = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
      try {
        return (await import(url)).default;
      } finally {
        URL.revokeObjectURL(url);
      }
    };
    const loadOnce = (model) => {
      const loaded = (window.acdcPlotly ??= new Map());
      const version = model.get("_plotly_version");
      if (!loaded.has(version)) {
        loaded.set(version, load(model));
        // To be tried again.
        loaded.get(version).catch(() => loaded.delete(version));
      }
      return loaded.get(version);
    };
    const MESSAGES = ["addTraces", "deleteTraces", "moveTraces", "restyle", "relayout", "update",
      "animate", "removeLayoutProps", "removeTraceProps"].map((name) => `_py2js_${name}`);
    export default () => {
      let figure, ready;
      return {
        initialize({ model }) {
          // What the kernel says of the figure meanwhile is heard once Plotly is there.
          const early = [];
          const listeners = MESSAGES.map((name) => [`change:${name}`, () => {
            if (model.get(name) !== null) early.push([name, model.get(name)]);
          }]);
          for (const [event, listener] of listeners) model.on(event, listener);
          const heard = hearing(model).then((wasLate) => {
            // All that came before is in what came now.
            if (wasLate) early.length = 0;
          });
          ready = Promise.all([loadOnce(model), heard]).then(([makeFigure]) => {
            for (const [event, listener] of listeners) model.off(event, listener);
            figure = makeFigure();
            figure.initialize({ model });
            for (const [name, message] of early) {
              model.set(name, message);
              model.set(name, null);
            }
          });
        },
        async render(context) {
          await ready;
          return figure.render(context);
        },
      };
    };
    """
    )

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._config = dict(CONFIG)

    @traitlets.default("_plotly_script")
    def _default_script(self) -> widgets.HTML:
        return _plotly_script()

    def on_empty_click(self, callback: Callable[[], None]) -> None:
        """Has a click on the plot that meets no point told; the layout has `clickanywhere`."""

        def clicked(change: Any) -> None:
            event = change.new
            is_click = event is not None and event["event_type"] == "plotly_click"
            if is_click and not event["points"]["point_indexes"]:
                callback()

        self.observe(clicked, "_js2py_pointsCallback")

    def on_zoom(self, callback: Callable[[tuple[float, float] | None], None]) -> None:
        """Has it told which part of the x axis the user has chosen to see; None: all again."""

        def zoomed(change: Any) -> None:
            data = change.new["relayout_data"] if change.new is not None else {}
            if data.get("xaxis.autorange"):
                callback(None)
            elif "xaxis.range[0]" in data and "xaxis.range[1]" in data:
                callback((data["xaxis.range[0]"], data["xaxis.range[1]"]))

        self.observe(zoomed, "_js2py_relayout")

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

    _esm = (
        ONCE_ON_PAGE
        + """
    const LATE = 20000;
    function render({ el }) {
      let resizes, changes, seen = "";
      // Never blank without a word.
      const late = setTimeout(() => {
        const box = el.parentElement;
        if (!box || box.querySelector(".main-svg")) return;
        const message = document.createElement("div");
        message.className = "acdc-no-graph acdc-error";
        message.textContent = "The graph has not started on this page. Reload the page: the kernel "
          + "keeps the circuit. If the kernel is gone, run the cell again.";
        box.appendChild(message);
      }, LATE);
      const giveUp = onceOnPage(el, () => {
        const box = el.parentElement;
        const fit = () => {
          if (box.querySelector(".main-svg")) box.querySelector(".acdc-no-graph")?.remove();
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
      });
      return () => {
        clearTimeout(late);
        giveUp();
        resizes?.disconnect();
        changes?.disconnect();
      };
    }
    export default { render };
    """
    )


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
