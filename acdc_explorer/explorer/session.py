"""A session: all that an explorer shows, as a file to go on from."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from acdc_explorer.checked_json import Value, parse_json
from acdc_explorer.circuits.circuit import Circuit, circuit_from
from acdc_explorer.circuits.exchange.reading import content_of
from acdc_explorer.graph import Graph

FORMAT = "acdc_explorer.session"
_VERSION = 1


@dataclass(frozen=True)
class View:
    """What is selected, and how the graph is drawn.

    Attributes:
        selected_edge: its id, or None.
        selected_node: likewise.
        columns: as the explorer's trait.
        shown_position: likewise.
        hidden: names of the parts of the graph that are not drawn.
        merged: whether q, k and v are drawn as one line.
        folded: whether empty layers are folded.
        tab: title of the one that is open, or None.
    """

    selected_edge: str | None = None
    selected_node: str | None = None
    columns: str = "heads"
    shown_position: str | None = None
    hidden: tuple[str, ...] = ()
    merged: bool = False
    folded: bool = True
    tab: str | None = None


@dataclass(frozen=True)
class Session:
    """What is saved.

    Attributes:
        circuit: with all its decisions and changes by hand.
        view: of it.
        kept: what the parts of the page keep, by their names.
        script: lines of Python that do the same.
    """

    circuit: Circuit
    view: View = field(default_factory=View)
    kept: Mapping[str, Any] = field(default_factory=dict)
    script: tuple[str, ...] = ()

    def to_json(self) -> str:
        """The session as JSON text."""
        data = {
            "format": FORMAT,
            "version": _VERSION,
            "view": asdict(self.view),
            "kept": dict(self.kept),
            "script": list(self.script),
        }
        return f'{json.dumps(data, indent=1)[:-2]},\n "circuit": {self.circuit.to_json()}}}\n'

    @staticmethod
    def from_file(path: str | os.PathLike[str], graph: Graph | None = None) -> Session:
        """Reads a session's file, or a circuit's of any format, other tools' included.

        Args:
            path: of the file, or of a folder as `Circuit.from_file` takes it.
            graph: as for `from_content`.

        Raises:
            ValueError: as `from_content`; or if there is no such file, or it is too large.
        """
        file = Path(path).expanduser()
        if not file.exists():
            raise ValueError(f"there is no session file {str(path)!r}")
        if file.is_dir():
            # Of MIB's.
            return Session(Circuit.from_file(file))
        return Session.from_content(content_of(file, str(path)), str(path), graph)

    @staticmethod
    def from_content(content: bytes, name: str, graph: Graph | None = None) -> Session:
        """Reads a session.

        Args:
            content: of a file of the text that `to_json` makes; or of a circuit's file of any
                format, whose session has no more.
            name: of where it comes from, for the errors.
            graph: of the model that a table or a graph of edges has to be of, which need not say
                so; None: whichever it says.

        Raises:
            ValueError: if it is neither, is damaged, or is of a newer version.
        """
        try:
            data = parse_json(content.decode("utf-8-sig"))
        except ValueError:
            # A table, a graph or tensors.
            data = None
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            of_model = graph if data is None else None
            return Session(Circuit.from_content(content, name, of_model))
        if data.get("version") != _VERSION:
            raise ValueError(
                f"{name!r} is a session file of version {data.get('version')!r}; this "
                f"acdc_explorer reads version {_VERSION}"
            )
        try:
            return _session_from(Value(data))
        except ValueError as error:
            raise ValueError(f"{name!r} is a damaged session file: {error}") from None


def _session_from(value: Value) -> Session:
    view = value["view"]

    def text_or_none(name: str) -> str | None:
        item = view.get(name, None)
        return None if item.data is None else item.text()

    columns = view.get("columns", "heads")
    if columns.data not in ("heads", "positions"):
        raise columns.error('"heads" or "positions"')
    return Session(
        circuit=circuit_from(value["circuit"]),
        view=View(
            selected_edge=text_or_none("selected_edge"),
            selected_node=text_or_none("selected_node"),
            columns=columns.text(),
            shown_position=text_or_none("shown_position"),
            hidden=tuple(item.text() for item in view.get("hidden", []).items()),
            merged=view.get("merged", False).truth(),
            folded=view.get("folded", True).truth(),
            tab=text_or_none("tab"),
        ),
        kept=value.get("kept", {}).mapping(),
        script=tuple(item.text() for item in value.get("script", []).items()),
    )
