"""Buttons that hand the page's reader files, and take one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import anywidget
import traitlets

from acdc_explorer.explorer.widgets.anywidget_private import HEARING

# Button -> what it says, and what it is for.
BUTTONS = {
    "png": ("PNG", "The graph as a picture, twice as sharp as on the page"),
    "svg": ("SVG", "The graph as a drawing"),
    "json": ("Save", "The circuit with all its decisions, as a file"),
    "session": (
        "Save session",
        "All that is shown, as a file to go on from: the circuit, changes by "
        "hand, groups, pinned circuits, the view and the script",
    ),
    "load": (
        "Load",
        "A circuit or a session from a file that was saved, or a circuit of another tool's: "
        "EAP-IG's JSON, a CSV table of edges, GraphML, GEXF, tensors (.pt)",
    ),
}


class FileButtons(anywidget.AnyWidget):
    """Files go through the browser, so that they land with the reader wherever the kernel runs."""

    _buttons = traitlets.Dict().tag(sync=True)

    _esm = (
        HEARING
        + """
    const offer = (name, blob) => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(blob);
      link.download = name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    };
    const asPng = (svg) => new Promise((done, failed) => {
      const image = new Image();
      image.onload = () => {
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [2 * image.width, 2 * image.height];
        canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
        canvas.toBlob(done, "image/png");
      };
      image.onerror = failed;
      image.src = "data:image/svg+xml," + encodeURIComponent(svg);
    });
    async function receive({ name, type, text }) {
      offer(name, type === "image/png" ? await asPng(text) : new Blob([text], { type }));
    }
    function render({ model, el }) {
      const input = document.createElement("input");
      input.type = "file";
      input.accept = ".json,.csv,.graphml,.gexf,.pt";
      input.hidden = true;
      input.addEventListener("change", async () => {
        const [file] = input.files;
        input.value = "";
        if (file) model.send({ loaded: file.name }, undefined, [await file.arrayBuffer()]);
      });
      el.append(input);
      for (const [wanted, [text, title]] of Object.entries(model.get("_buttons"))) {
        const button = document.createElement("button");
        Object.assign(button, { type: "button", textContent: text, title });
        button.className = "jupyter-button widget-button acdc-file";
        button.addEventListener("click", () =>
          wanted === "load" ? input.click() : model.send({ wanted }));
        el.append(button);
      }
      model.on("msg:custom", receive);
      return () => model.off("msg:custom", receive);
    }
    export default { initialize: ({ model }) => { hearing(model); }, render };
    """
    )

    def __init__(
        self,
        make: Callable[[str], tuple[str, str, str] | None],
        load: Callable[[str, bytes], None],
        buttons: Mapping[str, tuple[str, str]] = BUTTONS,
    ):
        """Makes the buttons.

        Args:
            make: from "png", "svg", "json" or "session" to a file's name, its type and its text,
                for a PNG the text of an SVG; None: there is nothing yet.
            load: called with the name and the content of a file that was chosen.
            buttons: of the kinds of `BUTTONS`: what each says, and what it is for.
        """
        super().__init__(_buttons=dict(buttons), _dom_classes=("acdc-files",))
        self._make, self._load = make, load
        self.on_msg(lambda _, content, buffers: self._received(content, buffers))

    def _received(self, content: Any, buffers: Sequence[Any]) -> None:
        if not isinstance(content, dict):
            return
        if "loaded" in content and buffers:
            self._load(str(content["loaded"]), bytes(buffers[0]))
        elif content.get("wanted") in self._buttons:
            made = self._make(content["wanted"])
            if made is not None:
                name, type_, text = made
                self.send({"name": name, "type": type_, "text": text})
