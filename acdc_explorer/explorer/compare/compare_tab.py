"""The tab in which the circuit is compared with another one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import ipywidgets as widgets

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.comparison import Comparable, compare
from acdc_explorer.circuits.pinned import PinnedCircuit
from acdc_explorer.circuits.published import PublishedCircuit, published_circuit
from acdc_explorer.explorer.compare.compare_html import (
    Choice,
    choices_html,
    comparison_html,
    threshold_name,
)
from acdc_explorer.explorer.compare.lines import line_of_comparison, pin_name
from acdc_explorer.explorer.part import Part
from acdc_explorer.explorer.selection import Selection
from acdc_explorer.explorer.session import Session
from acdc_explorer.explorer.state import State
from acdc_explorer.explorer.widgets.buttons import icon_button
from acdc_explorer.explorer.widgets.clickable import ClickableHTML
from acdc_explorer.explorer.widgets.file_buttons import FileButtons
from acdc_explorer.explorer.words import counted, error_html

_PINS = "pins"
_OPEN = {
    "load": (
        "Compare with a file",
        "A circuit or a session from a file that was saved, or another tool's: EAP-IG's JSON, a "
        "CSV table of edges, GraphML, GEXF",
    )
}


class CompareTab(Part):
    """Chooses another circuit, and tells both in numbers.

    Attributes:
        pin: keeps the circuit, to compare later ones with it.
        choices: what to compare with.
        html: how the two compare.
    """

    title: ClassVar[str] = "Compare"

    def __init__(self, state: State):
        """Makes the widgets.

        Args:
            state: that all parts share.
        """
        super().__init__(state)
        tooltip = "Keep this circuit, to compare later ones with it; sessions save it"
        self.pin = icon_button("Pin this circuit", "thumb-tack", tooltip, width="140px")
        self.pin.on_click(lambda _: self._acting(self._pin))
        files = FileButtons(lambda kind: None, self._load, _OPEN)
        self.choices = ClickableHTML("", "compare", self._chosen)
        self.html = ClickableHTML("", "compare", self._chosen)
        row = widgets.HBox([self.pin, files], layout=widgets.Layout(align_items="center"))
        self.box.children = [self.choices, row, self.html]
        # Of a file that was opened: its name, and the circuit in it.
        self._of_file: tuple[str, Circuit] | None = None
        self._known_pins: dict[int, tuple[dict[str, Any], PinnedCircuit]] = {}

    def circuit_changed(self) -> None:
        """Compares the circuit as it is now."""
        self._show()

    def comparison_changed(self) -> None:
        """Compares with something else."""
        other = self.state.compared.other
        if isinstance(other, Circuit) and other.imported and self._of_file_is_not(other):
            # Opened from Python.
            self._of_file = other.imported.origin, other
        self._show()

    def _of_file_is_not(self, other: Circuit) -> bool:
        return self._of_file is None or self._of_file[1] is not other

    def path_changed(self) -> None:
        """Offers the circuits of more thresholds."""
        self.choices.value = choices_html(self._groups(), self._key())

    def saved_html(self) -> str:
        """How the two compare, if there are two."""
        comparison, circuit = self.state.comparison, self.state.circuit
        if comparison is None or circuit is None:
            return ""
        return f"<h2>Compared</h2>{comparison_html(comparison, circuit, live=False)}"

    def say_error(self, error: Exception) -> None:
        """Shows what went wrong, in words."""
        self.html.value = error_html(error)

    def _show(self) -> None:
        circuit, compared = self.state.circuit, self.state.compared
        self.pin.disabled = circuit is None or not circuit.complete
        self.choices.value = choices_html(self._groups(), self._key())
        comparison = self.state.comparison
        if comparison is not None and circuit is not None:
            self.html.value = comparison_html(comparison, circuit)
        elif compared.error:
            self.say_error(ValueError(compared.error))
        else:
            self.html.value = f'<p class="acdc-compared acdc-muted">{self._why_nothing()}</p>'

    def _why_nothing(self) -> str:
        compared, circuit = self.state.compared, self.state.circuit
        if compared.other is None and not compared.follows:
            return ""
        if circuit is None or not circuit.complete:
            return "The two are compared once the search has ended."
        return "No other circuit has been shown yet: move the threshold, or switch an edge off."

    def _groups(self) -> list[tuple[str, list[Choice]]]:
        """What there is to compare with."""
        circuit = self.state.circuit
        general = [
            Choice("none", "nothing", "No other circuit"),
            Choice("last", "the last circuit", "Marks what changed since the one shown before"),
        ]
        pins = [
            Choice(f"pin-{number}", f"{number}: {pin.name}: {counted(len(pin.effects), 'edge')}",
                   "A circuit that was pinned", number)
            for number, pin in self._pins().items()
        ]  # fmt: skip
        others = [
            Choice(f"path-{each.threshold!r}", threshold_name(each))
            for each in self.state.snapshot.path.circuits if circuit is None
            or (each.kept_mask != circuit.kept_mask).any()
        ]  # fmt: skip
        more = []
        if (published := self._published()) is not None:
            more.append(Choice("published", f"{published.task} by hand", published.source))
        if self._of_file is not None:
            more.append(Choice("file", self._of_file[0], "The file that was opened"))
        return [("", general), ("pinned", pins), ("published and files", more),
                ("other thresholds", others)]  # fmt: skip

    def _key(self) -> str:
        """Of what is chosen; empty if it is none of the choices."""
        compared = self.state.compared
        if compared.follows:
            return "last"
        if compared.other is None:
            return "none"
        if isinstance(compared.other, PublishedCircuit):
            return "published"
        if self._of_file is not None and compared.other is self._of_file[1]:
            return "file"
        for number, pin in self._pins().items():
            if pin == compared.other:
                return f"pin-{number}"
        if isinstance(compared.other, Circuit):
            return f"path-{compared.other.threshold!r}"
        return ""

    def _published(self) -> PublishedCircuit | None:
        """The circuit from the literature for this task in this model, if there is one."""
        circuit = self.state.circuit
        if circuit is None:
            return None
        try:
            published = published_circuit(circuit.task_name)
            circuit.graph.mask_of(published.edge_ids)
        except ValueError:
            return None
        is_of_model = circuit.model_name in (published.model, f"{published.model}-small")
        return published if is_of_model else None

    def _pins(self) -> dict[int, PinnedCircuit]:
        """The pinned circuits by number; a session's that are damaged are left out."""
        saved = self._saved_pins()
        if [id(each) for each, _ in self._known_pins.values()] != [id(each) for each in saved]:
            self._known_pins = {}
            for each in saved:
                try:
                    pinned = PinnedCircuit.from_dict(each)
                    number = int(each["number"])
                except (KeyError, TypeError, ValueError):
                    continue
                self._known_pins[number] = each, pinned
        return {number: pinned for number, (_, pinned) in self._known_pins.items()}

    def _saved_pins(self) -> list[Any]:
        """What is kept of them; a session's file may hold anything."""
        saved = self.state.kept.get(_PINS, [])
        return saved if isinstance(saved, list) else []

    def _pin(self) -> None:
        circuit = self.state.circuit
        if circuit is None or not circuit.complete:
            raise ValueError("there is no circuit to pin yet")
        number = max(self._pins(), default=0) + 1
        values = {"number": number, **PinnedCircuit.of(circuit).to_dict()}
        self.state.kept[_PINS] = [*self._saved_pins(), values]
        self.state.did(f"{pin_name(number)} = ax.PinnedCircuit.of(circuit)")
        self._show()

    def _unpin(self, number: int) -> None:
        if self._pins().get(number) == self.state.compared.other:
            self.state.compare(None)
        gone = self._known_pins.get(number, (None, None))[0]
        self.state.kept[_PINS] = [each for each in self._saved_pins() if each is not gone]
        self._show()

    def _chosen(self, key: str) -> None:
        act, _, name = key.partition(":")
        if act == "edge":
            self.state.select(Selection("edge", name))
        elif act == "node":
            self.state.select(Selection("node", name))
        elif act == "unpin":
            self._acting(lambda: self._unpin(int(name)))
        else:
            self._acting(lambda: self._compare_with(name))

    def _compare_with(self, key: str) -> None:
        state, (kind, _, name) = self.state, key.partition("-")
        circuit = state.circuit
        if kind in ("none", "last"):
            state.compare(None, follows=kind == "last")
            return
        other: Comparable | None = None
        line = ""
        if kind == "pin":
            other = self._pins().get(int(name))
            if other is None:
                raise ValueError("this pinned circuit is not there any more")
            # A script that did not pin it, as after a session was loaded, has its edges.
            if any(each.startswith(f"{pin_name(int(name))} = ") for each in state.script.lines):
                line = f"comparison = ax.compare(circuit, {pin_name(int(name))})"
        elif kind == "path":
            other = state.snapshot.path.at(float(name))
        elif kind == "published":
            other = self._published()
        elif self._of_file is not None:
            other = self._of_file[1]
        if other is None or circuit is None:
            raise ValueError("that circuit is not there any more")
        # Says so, if they cannot be compared.
        compare(circuit, other)
        state.did(line or line_of_comparison(other, circuit))
        state.compare(other)

    def _load(self, name: str, content: bytes) -> None:
        """Compares with the circuit of a file."""

        def load() -> None:
            shown = self.state.circuit
            graph = shown.graph if shown else None
            self._of_file = name, Session.from_content(content, name, graph).circuit
            self._compare_with("file")

        self._acting(load)

    def _acting(self, act: Callable[[], None]) -> None:
        """Does something, and says so if it cannot be done."""
        with self.state.lock:
            try:
                act()
            except ValueError as error:
                self.say_error(error)
