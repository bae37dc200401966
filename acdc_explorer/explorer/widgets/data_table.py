"""A table of thousands of rows: sorted and filtered on the page, rows drawn only where in view.

Data grids made for notebooks were looked at: ipydatagrid paints on a canvas, which assistive
technology cannot read; itables tells of clicked rows, but cannot be gone through by the keyboard,
nor scrolled to a row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import anywidget
import traitlets

from acdc_explorer.explorer.widgets.anywidget_private import HEARING
from acdc_explorer.explorer.widgets.data_table_rows import ROWS
from acdc_explorer.explorer.widgets.data_table_view import VIEW


@dataclass(frozen=True)
class Column:
    """A column of a `DataTable`.

    Attributes:
        name: by which it is called in what is copied.
        label: its heading.
        title: what it holds, in words.
        values: of the rows, in their order: texts or None; numbers (NaN: there is none); or, of
            kind "tags", a list of texts for each row.
        kind: of the values.
        width: as CSS has it for a column of a grid.
        facet: what the list is called by which it can be filtered, or nothing: there is none.
        signed: of numbers: whether they are written with their sign.
        percent: of numbers: whether they are shares, written in per cent.
        whole: of numbers: whether they are whole.
        smallest: of numbers: those below it are written as zero.
        bar: of numbers: the size that fills a bar beside them; 0: there are no bars.
        by_size: of numbers: whether they are sorted whatever their sign.
    """

    name: str
    label: str
    title: str
    values: Sequence[Any]
    kind: Literal["text", "number", "tags"] = "text"
    width: str = "minmax(80px, 1fr)"
    facet: str = ""
    signed: bool = False
    percent: bool = False
    whole: bool = False
    smallest: float = 0.0
    bar: float = 0.0
    by_size: bool = False

    def as_dict(self) -> dict[str, Any]:
        """As the page reads it."""
        values = list(self.values)
        if self.kind == "number":
            values = [None if math.isnan(value) else value for value in map(float, values)]
        return {**asdict(self), "values": values}


@dataclass(frozen=True)
class Groups:
    """How the rows of a `DataTable` can be grouped.

    Attributes:
        column: the name of the column by whose values they are.
        label: what the button says.
        headings: value -> what is said above its rows.
    """

    column: str
    label: str
    headings: Mapping[str, str]


@dataclass(frozen=True)
class Action:
    """A button that does something with the rows that are checked, or with the chosen one.

    Attributes:
        name: by which it is told.
        label: what the button says.
        title: what it does, in words.
        column: the name of a column; it is done with rows that have one of some values there.
        values: these values.
    """

    name: str
    label: str
    title: str
    column: str
    values: tuple[str, ...]


class DataTable(anywidget.AnyWidget):
    """Shows rows, each of which has a key; one of them may be the chosen one.

    Clicking a row, or going to it by the arrow keys, chooses it. A text filters the rows by words
    and numbers that begin with it. Where there are actions, rows can be checked: by their boxes, by
    the space bar, or by clicking with Ctrl or Shift.

    Attributes:
        table: what is shown; set by `show`.
        current: the key of the chosen row, or None; setting it scrolls there, and calls nothing.
        actions: what can be done with rows.
        label: what the table holds, for assistive technology.
        missing: what is said where the chosen row is not among those shown.
    """

    table: Any = traitlets.Dict().tag(sync=True)
    current: Any = traitlets.Unicode(None, allow_none=True).tag(sync=True)
    actions: Any = traitlets.List().tag(sync=True)
    label: Any = traitlets.Unicode("").tag(sync=True)
    missing: Any = traitlets.Unicode("").tag(sync=True)

    _esm = (
        HEARING + ROWS + VIEW + "export default { initialize: ({ model }) => { hearing(model); },"
        " render };"
    )

    def __init__(
        self,
        label: str,
        on_chosen: Callable[[str], None],
        *,
        missing: str = "the selected row is not among these",
        actions: Sequence[Action] = (),
        on_action: Callable[[str, list[str]], None] | None = None,
        on_text: Callable[[str], None] | None = None,
    ):
        """Makes an empty table.

        Args:
            label: what it holds, for assistive technology.
            on_chosen: called with the key of a row that is chosen on the page.
            missing: as above.
            actions: what can be done with rows.
            on_action: called with the name of an action and the keys of the rows it is meant for.
            on_text: called with the text to filter by, where the table does not hold all rows.
        """
        super().__init__(
            label=label,
            missing=missing,
            actions=[asdict(action) for action in actions],
            _dom_classes=("acdc-table",),
        )
        self._on_chosen, self._on_action, self._on_text = on_chosen, on_action, on_text
        self.on_msg(lambda _, content, buffers: self._received(content))

    def show(
        self,
        keys: Sequence[str],
        columns: Sequence[Column],
        *,
        key_name: str,
        search: Sequence[str],
        nouns: tuple[str, str],
        hint: str,
        empty: str,
        groups: Groups | None = None,
        incomplete: bool = False,
    ) -> None:
        """Shows other rows.

        Args:
            keys: of the rows, in the order in which they stand until they are sorted.
            columns: whose values are in that order.
            key_name: what the keys are called in what is copied.
            search: of each row, the text in which what is typed is looked for.
            nouns: what a row is called, and several rows.
            hint: what can be typed.
            empty: what is said where there are no rows.
            groups: how the rows can be grouped, if they can.
            incomplete: whether there are rows besides: `on_text` is then told what is typed.
        """
        self.table = {
            "keys": list(keys),
            "columns": [column.as_dict() for column in columns],
            "key_name": key_name,
            "search": list(search),
            "noun": list(nouns),
            "hint": hint,
            "empty": empty,
            "group": None if groups is None else asdict(groups),
            "incomplete": incomplete,
        }

    def _received(self, content: Any) -> None:
        if not isinstance(content, dict):
            return
        if "chosen" in content:
            self._on_chosen(str(content["chosen"]))
        elif "action" in content and self._on_action is not None:
            self._on_action(str(content["action"]), [str(key) for key in content["keys"]])
        elif "text" in content and self._on_text is not None:
            self._on_text(str(content["text"]))
