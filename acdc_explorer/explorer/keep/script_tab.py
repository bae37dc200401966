"""The tab with what was done as a script, and how the circuit was found in words."""

from __future__ import annotations

from typing import ClassVar

from acdc_explorer.circuits.methods_paragraph import methods_paragraph
from acdc_explorer.explorer.part import Part
from acdc_explorer.explorer.state import State
from acdc_explorer.explorer.widgets.copy_text import CopyText

_EMPTY = "# Each search and each action by hand will stand here as a line of Python."


class ScriptTab(Part):
    """Lines of Python and a paragraph, to be copied.

    Attributes:
        script: what was done.
        methods: how the circuit was found.
    """

    title: ClassVar[str] = "Script"

    def __init__(self, state: State):
        """Makes the widgets.

        Args:
            state: that all parts share.
        """
        super().__init__(state)
        self.script = CopyText("What was done here, as a script", is_code=True)
        self.methods = CopyText("How this circuit was found, for the methods of a paper")
        self.box.children = [self.script, self.methods]

    def circuit_changed(self) -> None:
        """Shows the script so far, and the paragraph of the circuit."""
        self.script.value = str(self.state.script) or _EMPTY
        circuit = self.state.circuit
        self.methods.value = methods_paragraph(circuit) if circuit is not None else ""

    def script_changed(self) -> None:
        """Shows the script so far."""
        self.script.value = str(self.state.script) or _EMPTY
