"""Hears whether an explorer is on view anywhere."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import anywidget

# A cell that is moved or cut and pasted takes its output off the page and puts it back.
GRACE_SECONDS = 10.0


class Presence(anywidget.AnyWidget):
    """Put beside what is shown, tells when that leaves the page; nothing of it is seen.

    A page that is reloaded says nothing: its views are there again afterwards. One that is closed,
    but not by clearing the output, may be opened again. So what is on view is never counted: when a
    view goes, those that are left are asked, and answer.
    """

    _esm = """
    function render({ model, el }) {
      let page, frame;
      const look = () => {
        if (!el.isConnected) frame = requestAnimationFrame(look);
        else page = el.closest(".jp-Notebook") ?? document.body;
      };
      const here = () => model.send({ view: "here" });
      model.on("msg:custom", here);
      look();
      here();
      return () => {
        cancelAnimationFrame(frame);
        model.off("msg:custom", here);
        try {
          model.send({ view: "gone", cleared: Boolean(page?.isConnected) });
        } catch {
          // Nobody is there to be told any more.
        }
      };
    }
    export default { render };
    """

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
        self._answered = False
        self._timer: threading.Timer | None = None
        self.on_msg(lambda _, content, buffers: self._received(content))

    def close(self) -> None:
        """Hears nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
        super().close()

    def _received(self, content: Any) -> None:
        view = content.get("view") if isinstance(content, dict) else None
        if view == "here":
            self._answered = True
            self._on_view(True)
        elif view == "gone":
            self._answered = False
            self._on_view(False)
            self.send({})
            if content.get("cleared"):
                self._conclude_later()

    def _conclude_later(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(GRACE_SECONDS, self._conclude)
        self._timer.daemon = True
        self._timer.start()

    def _conclude(self) -> None:
        if self._answered:
            return
        if self._is_busy():
            self._conclude_later()
        else:
            self._discarded()
