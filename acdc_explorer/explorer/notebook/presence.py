"""Hears whether an explorer is on view anywhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import anywidget

from acdc_explorer.explorer.widgets.anywidget_private import HEARING
from acdc_explorer.explorer.widgets.on_page import ONCE_ON_PAGE

# A cell that is moved or cut and pasted takes its output off the page and puts it back.
GRACE_SECONDS = 10.0
# How often it is looked whether the page is still there.
LOOK_SECONDS = 60.0


class Presence(anywidget.AnyWidget):
    """Put beside what is shown, tells when that leaves the page; nothing of it is seen.

    Where an output is cleared or replaced, its view says so. A page that is closed says nothing,
    and may be opened again; one that is reloaded says nothing either, and its views are there again
    afterwards. So what is on view is never counted: views are asked, and answer.
    """

    _esm = (
        HEARING
        + ONCE_ON_PAGE
        + """
    function render({ model, el }) {
      let page;
      const giveUp = onceOnPage(el, () => {
        page = el.closest(".jp-Notebook") ?? document.body;
      });
      const here = () => model.send({ view: "here" });
      model.on("msg:custom", here);
      here();
      return () => {
        giveUp();
        model.off("msg:custom", here);
        try {
          model.send({ view: "gone", cleared: Boolean(page?.isConnected) });
        } catch {
          // Nobody is there to be told any more.
        }
      };
    }
    export default { initialize: ({ model }) => { hearing(model); }, render };
    """
    )

    def __init__(
        self,
        is_busy: Callable[[], bool],
        on_view: Callable[[bool], None],
        discarded: Callable[[], None],
    ):
        """Makes the widget.

        Args:
            is_busy: whether the kernel may be too busy to hear answers.
            on_view: called with whether it is on view somewhere.
            discarded: called, on a thread of its own, when the output with the last view has been
                cleared or replaced, and none has come back.
        """
        super().__init__(layout={"display": "none"})
        self._is_busy, self._on_view, self._discarded = is_busy, on_view, discarded
        # When a view was last heard of, asked for, and gone.
        self._heard_at = self._asked_at = self._gone_at = 0.0
        self._timers: dict[Callable[[], None], threading.Timer] = {}
        self.on_msg(lambda _, content, buffers: self._received(content))

    def close(self) -> None:
        """Hears nothing any more."""
        for timer in self._timers.values():
            timer.cancel()
        super().close()

    def _received(self, content: Any) -> None:
        view = content.get("view") if isinstance(content, dict) else None
        if view == "here":
            self._heard_at = time.monotonic()
            self._on_view(True)
            if self._look not in self._timers:
                self._do_later(LOOK_SECONDS, self._look)
        elif view == "gone":
            self._gone_at = time.monotonic()
            self._on_view(False)
            self.send({})
            if content.get("cleared"):
                self._do_later(GRACE_SECONDS, self._conclude)

    def _do_later(self, seconds: float, what: Callable[[], None]) -> None:
        """Does something on a thread of its own, once, however often it is asked for meanwhile."""
        if self.comm is None:
            # Closed meanwhile.
            return
        if what in self._timers:
            self._timers[what].cancel()
        self._timers[what] = threading.Timer(seconds, what)
        self._timers[what].daemon = True
        self._timers[what].start()

    def _conclude(self) -> None:
        if self._heard_at > self._gone_at:
            return
        if self._is_busy():
            self._do_later(GRACE_SECONDS, self._conclude)
        else:
            self._discarded()

    def _look(self) -> None:
        """Asks whether a view is there, after a look at what came of asking before."""
        if self._heard_at < self._asked_at and not self._is_busy():
            self._on_view(False)
        self._asked_at = time.monotonic()
        self.send({})
        self._do_later(LOOK_SECONDS, self._look)
