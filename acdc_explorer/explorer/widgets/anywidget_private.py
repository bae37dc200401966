"""Everything that leans on anywidget's private names, in one place, tested in `tests/browser`.

Measured with anywidget 0.11 in JupyterLab 4.6.
"""

from __future__ import annotations

# A page gives each widget two seconds to start; whatever the kernel says to one that took longer,
# as all do on a busy machine, is lost from then on, without a word: a graph would stay blank, a
# panel would never change. `hearing(model)`, called in `initialize`, has such a widget hear again,
# and asks the kernel for what it has missed. Its promise is kept once all has been heard, and tells
# whether the widget was late. Where these names are missing, the widget goes on as it is.
HEARING = """
const hearing = (model) => new Promise((heard) => {
  // The model itself is told of its changes; `initialize` is given but a part of it.
  const withItself = (itself) => {
    model.off("change:_acdc_probe", withItself);
    if (!itself?._handle_comm_msg || !itself.comm) return heard(false);
    const probe = { content: { data: { method: "probe" } } };
    // Fails where the start has been given up.
    itself._handle_comm_msg(probe).then(() => heard(false), () => {
      const handle = Object.getPrototypeOf(Object.getPrototypeOf(itself))._handle_comm_msg;
      itself.comm.on_msg(async (message) => {
        await handle.call(itself, message);
        if (message.content.data.method === "update") heard(true);
      });
      itself.comm.send({ method: "request_state" });
    });
  };
  model.on("change:_acdc_probe", withItself);
  model.set("_acdc_probe", Date.now());
});
"""
