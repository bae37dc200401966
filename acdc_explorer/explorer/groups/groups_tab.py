"""The tab in which nodes are taken together, and what they are claimed to do is checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import ipywidgets as widgets

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.groups import Group, Groups
from acdc_explorer.engine.engine import Engine
from acdc_explorer.errors import unknown_name
from acdc_explorer.explorer.groups.groups_html import (
    CHECKING,
    INTRO,
    NOT_YET,
    alike_html,
    checked_html,
    groups_html,
    members_of,
    name_for,
    saved_html,
)
from acdc_explorer.explorer.groups.lines import BY_SIMILARITY, CHECK, line_of_groups
from acdc_explorer.explorer.kept_groups import KEPT_AS, KeptGroups
from acdc_explorer.explorer.part import Part
from acdc_explorer.explorer.selection import Selection
from acdc_explorer.explorer.state import State
from acdc_explorer.explorer.widgets.buttons import icon_button
from acdc_explorer.explorer.widgets.clickable import ClickableHTML
from acdc_explorer.explorer.words import error_html
from acdc_explorer.graph import REST
from acdc_explorer.measures.grouping import SIMILARITY, HeadSimilarity, head_similarity
from acdc_explorer.measures.scrubbed import Scrubbing
from acdc_explorer.measures.scrubbing import scrub
from acdc_explorer.models.model import Model
from acdc_explorer.runner.errands import GivenUpError

# Fewer than a script's, since somebody waits.
_DRAWS = 5
_ENDED = ("done", "stopped")


class GroupsTab(Part):
    """Makes groups by similarity and by hand, names and dissolves them, and checks them.

    Attributes:
        similarity: how alike the heads of a group are at least.
        by_similarity: makes groups of them.
        nodes: names of nodes for a group by hand.
        name: of that group, or of the one that is changed.
        inputs: what its output is claimed to depend on.
        add: puts the selected node to the others.
        make: makes the group, or changes it.
        check: has all groups checked.
        table: the groups.
        found: what came of the check.
    """

    title: ClassVar[str] = "Groups"

    def __init__(self, state: State):
        """Makes the widgets.

        Args:
            state: that all parts share.
        """
        super().__init__(state)
        self.intro, self.error, self.found = widgets.HTML(INTRO), widgets.HTML(), widgets.HTML()
        self.alike = widgets.HTML()
        self.similarity = widgets.FloatSlider(
            SIMILARITY, min=0, max=1, step=0.01, description="similarity", readout_format=".2f",
            layout=widgets.Layout(width="330px"),
        )  # fmt: skip
        self.by_similarity = _button(
            "Group by similarity", "object-group", "Heads that are so alike become groups; groups "
            "that you made or changed stay. Then the slider makes them anew.", "170px",
        )  # fmt: skip
        self.nodes = _text("nodes", "a2.h1, L3H0, MLP 1", "340px")
        self.name = _text("name", "of the group", "250px")
        self.inputs = _text("inputs", "position labels, as IO, S2", "300px")
        self.add = _button(
            "Add selected node", "plus", "Puts the node that is selected to the others", "175px"
        )
        self.make = _button("Make a group", "check", "Groups these nodes by hand", "130px")
        self.cancel = _button("Cancel", "times", "Leaves the group as it is", "90px")
        self.check = _button(
            "Check all groups", "flask", "Exchanges outputs between prompts that agree on the "
            "inputs of each group: how much of the metric stays?", "150px",
        )  # fmt: skip
        self.table = ClickableHTML("", "group", self._chosen)
        for button, act in (
            (self.by_similarity, self._group_alike),
            (self.add, self._add_selected),
            (self.make, self._make_or_change),
            (self.cancel, self._stop_changing),
            (self.check, self._check),
        ):
            button.on_click(lambda _, act=act: self._acting(act))
        self.similarity.observe(lambda _: self._acting(self._slid), "value")
        rows = (
            [self.similarity, self.by_similarity, self.alike],
            [self.nodes, self.add],
            [self.name, self.inputs, self.make, self.cancel],
        )
        self.controls = widgets.VBox([_row(row) for row in rows])
        below = _row([self.check])
        self.box.children = (self.intro, self.controls, self.error, self.table, below, self.found)
        # How alike the heads are, and in which circuit; the number of the group that is changed.
        self._of: Circuit | None = None
        self._alike: HeadSimilarity | None = None
        self._changed_group: str | None = None
        self._checked: tuple[Circuit, Groups, Scrubbing] | None = None
        self._stop_changing()

    @property
    def kept(self) -> KeptGroups:
        """The groups whose nodes the circuit's model has."""
        circuit = self.state.circuit
        return KeptGroups.of(self.state.kept, None if circuit is None else circuit.graph)

    def circuit_changed(self) -> None:
        """Has it measured how alike the heads are, once the circuit is found."""
        circuit = self.state.circuit if self.state.snapshot.status in _ENDED else None
        if circuit is not None and circuit is not self._of:
            self._of, self._alike = circuit, None

            def question(model: Model, engine: Engine, circuit: Circuit) -> Any:
                return head_similarity(model, engine.task, circuit)

            self.measure(question, self._take_in, about="similarity")
        self._show()

    def drawing_changed(self) -> None:
        """Shows which groups there are, and which are closed."""
        self._show()

    def selection_changed(self) -> None:
        """Offers to add the selected node."""
        selection = self.state.selection
        self.add.disabled = selection is None or selection.kind != "node"

    def saved_html(self) -> str:
        """The groups, and what came of checking them."""
        return saved_html(self.kept, self._result())

    def say_error(self, error: Exception) -> None:
        """Says above the table what went wrong."""
        # A new search has what is measured given up.
        if not isinstance(error, GivenUpError):
            self.error.value = error_html(error)
        self._show()

    def _acting(self, act: Callable[[], None]) -> None:
        with self.state.lock:
            self.error.value = ""
            try:
                act()
            except ValueError as error:
                self.say_error(error)

    def _take_in(self, alike: HeadSimilarity) -> None:
        self._alike = alike
        kept = self.kept
        if kept.similarity is not None:
            # As the slider stands: another circuit has other heads.
            self._keep(kept.with_alike(alike.groups(kept.similarity), kept.similarity), told=False)
        self._show()

    def _keep(self, kept: KeptGroups, *, told: bool = True) -> None:
        self.state.keep(KEPT_AS, kept.as_kept())
        if told:
            lines = self.state.script.lines
            if lines and lines[-1].startswith(BY_SIMILARITY):
                # Of a slider that goes on, the last groups are those that count.
                del lines[-1]
            self.state.did(line_of_groups(kept))
        # While its tab is open, a part hears of it by itself.
        if not self.is_open:
            self._show()

    def _show(self) -> None:
        circuit, kept = self.state.circuit, self.kept
        is_there = circuit is not None
        self.controls.layout.display = "" if is_there else "none"
        self.check.layout.display = "" if is_there and len(kept.groups) else "none"
        self.alike.value = alike_html(self._alike, self.similarity.value) if self._of else ""
        self.by_similarity.disabled = self._alike is None
        self.table.value = NOT_YET if circuit is None else groups_html(kept, circuit)
        is_checking = "check" in self._latest
        self.check.disabled = is_checking or self.state.snapshot.status not in _ENDED
        result = self._result()
        if is_checking:
            self.found.value = CHECKING
        else:
            self.found.value = "" if result is None else checked_html(result)

    def _result(self) -> Scrubbing | None:
        """What came of the check, as long as it is of this circuit and these groups."""
        if self._checked is None:
            return None
        circuit, groups, found = self._checked
        return found if circuit is self.state.circuit and groups == self.kept.groups else None

    def _group_alike(self) -> None:
        if self._alike is not None:
            least = round(self.similarity.value, 2)
            self._keep(self.kept.with_alike(self._alike.groups(least), least))

    def _slid(self) -> None:
        if self.kept.similarity is not None:
            self._group_alike()
        else:
            self._show()

    def _add_selected(self) -> None:
        selection = self.state.selection
        if selection is not None and selection.kind == "node":
            names = members_of(self.nodes.value)
            if selection.id not in names:
                self.nodes.value = ", ".join([*names, selection.id])

    def _make_or_change(self) -> None:
        circuit, task, kept = self.state.circuit, self.state.task, self.kept
        if circuit is None or task is None:
            return
        inputs = members_of(self.inputs.value)
        labels = [label for label in task.position_masks if label != REST]
        for name in inputs:
            if name not in labels:
                raise unknown_name("position label", name, labels)
        if self._changed_group is not None:
            kept = kept.changed(self._changed_group, self.name.value or self._changed_group, inputs)
        else:
            names = members_of(self.nodes.value)
            nodes = tuple(circuit.graph.parse_node(name).id for name in names)
            name = self.name.value.strip() or name_for(kept.groups)
            kept = kept.with_group(Group(name, nodes, tuple(inputs)))
        self._stop_changing()
        self._keep(kept)

    def _begin_changing(self, group: Group) -> None:
        self._changed_group = group.name
        self.nodes.value, self.name.value = ", ".join(group.nodes), group.name
        self.inputs.value = ", ".join(group.inputs)
        self.nodes.disabled, self.make.description = True, "Change group"
        self.cancel.layout.display = ""

    def _stop_changing(self) -> None:
        self._changed_group = None
        self.nodes.value = self.name.value = self.inputs.value = ""
        self.nodes.disabled, self.make.description = False, "Make a group"
        self.cancel.layout.display = "none"

    def _chosen(self, value: str) -> None:
        self._acting(lambda: self._do(*value.split(" ", 1)))

    def _do(self, action: str, what: str) -> None:
        if action == "select":
            self.state.select(Selection("node", what))
            return
        kept = self.kept
        group = kept.groups.groups[int(what)]
        if action == "edit":
            self._begin_changing(group)
        elif action == "dissolve":
            if self._changed_group == group.name:
                self._stop_changing()
            self._keep(kept.without(group.name))
        else:
            self.state.toggle_group(group.name)

    def _check(self) -> None:
        kept, of = self.kept, self.state.circuit
        if of is None:
            return
        self.state.did(line_of_groups(kept))
        self.state.did(CHECK.format(draws=_DRAWS))

        def question(model: Model, engine: Engine, circuit: Circuit) -> Any:
            return circuit, scrub(model, engine.task, circuit, kept.groups, draws=_DRAWS)

        def show(answer: tuple[Circuit, Scrubbing]) -> None:
            self._checked = answer[0], kept.groups, answer[1]
            self._show()

        self.measure(question, show, takes_long=True, about="check")
        self._show()


def _button(text: str, icon: str, tooltip: str, width: str) -> widgets.Button:
    return icon_button(text, icon, tooltip, width=width)


def _text(name: str, placeholder: str, width: str) -> widgets.Text:
    return widgets.Text(
        description=name, placeholder=placeholder, layout=widgets.Layout(width=width),
        style={"description_width": "52px"},
    )  # fmt: skip


def _row(parts: list[widgets.Widget]) -> widgets.HBox:
    return widgets.HBox(parts, layout=widgets.Layout(flex_flow="row wrap", align_items="center"))
