"""The house stands: every room imports only from floors below it, and no modules go in circles."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "acdc_explorer"

# From the ground up. Rooms on one floor do not know one another.
FLOORS = [
    {"errors", "options", "files", "arithmetic", "progress"},
    {"checked_json", "metrics"},
    {"names", "unknown_ids"},
    {"graph"},
    {"circuits", "models"},
    {"tasks", "workers"},
    {"engine"},
    {"searches"},
    {"arguments", "testing"},
    {"api", "editing", "inspection", "measures", "neuronpedia", "task_check", "verification"},
    {"heads"},
    {"runner", "sweeps"},
    {"explorer", "training", "convert"},
    {"cli"},
]
# The explorer is a house of its own.
EXPLORER_FLOORS = [
    {"words", "style", "selection", "compared", "kept_groups", "edits", "script", "session"},
    {"widgets", "state", "task_html", "edge_names", "attention_html"},
    {"part"},
    {
        "checks",
        "compare",
        "drawing",
        "groups",
        "hand",
        "keep",
        "panel",
        "controls",
        "notebook",
        "circuit_files",
        "table",
        "prompts",
        "heads",
    },
    {"search_widget", "saved_page", "parts"},
    {"circuit_widget"},
    {"page"},
    {"explorer"},
]


def floors_of(house: str, floors: list[set[str]]) -> dict[str, int]:
    """Room -> floor, of the package (whose prefix is empty) or of a folder in it."""
    return {f"{house}{room}": number for number, rooms in enumerate(floors) for room in rooms}


# The prefix of its modules' names -> the floors of a house.
HOUSES = {"": floors_of("", FLOORS), "explorer.": floors_of("explorer.", EXPLORER_FLOORS)}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name: path for path in PACKAGE.rglob("*.py") if (name := module_name(path))}


class Imports(ast.NodeVisitor):
    """What a module imports of the package, inside functions too; not what only types need."""

    def __init__(self) -> None:
        self.found: set[str] = set()

    def visit_If(self, node: ast.If) -> None:
        if "TYPE_CHECKING" not in ast.unparse(node.test):
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        self.found |= {alias.name for alias in node.names}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        assert not node.level, "imports name the whole path"
        self.found |= {f"{node.module}.{alias.name}" for alias in node.names}


def imports_of(path: Path) -> set[str]:
    """The package's modules that a module imports."""
    visitor = Imports()
    visitor.visit(ast.parse(path.read_text(encoding="utf-8")))
    found = set()
    for name in visitor.found:
        package, _, inside = name.partition(".")
        if package != "acdc_explorer":
            continue
        # The longest part of the path that is a module; the rest is a name in it.
        while inside and inside not in MODULES:
            inside = inside.rpartition(".")[0]
        found.add(inside)
    return found


def room_of(name: str, house: str) -> str | None:
    """The room of a house in which a module lies, or None."""
    if not name.startswith(house):
        return None
    return house + name.removeprefix(house).partition(".")[0]


LIVING = [(name, house) for house in HOUSES for name in sorted(MODULES) if room_of(name, house)]


@pytest.mark.parametrize(("name", "house"), LIVING)
def test_a_module_looks_down_only(name, house):
    floors, room = HOUSES[house], room_of(name, house)
    for imported in imports_of(MODULES[name]) - {""}:
        other = room_of(imported, house)
        assert other in (None, room) or floors[other] < floors[room], (
            f"{name} imports {imported}, which is not on a floor below"
        )


@pytest.mark.parametrize("house", HOUSES)
def test_every_room_has_a_floor(house):
    rooms = {room_of(name, house) for name in MODULES} - {None}
    assert rooms == set(HOUSES[house])


def test_no_circles():
    graph = {name: imports_of(path) - {name} for name, path in MODULES.items()}
    TopologicalSorter(graph).prepare()


def test_only_the_top_of_the_package_is_imported_from_the_package_itself():
    """`import acdc_explorer` would hide which room is meant; the command line is its first user."""
    users = {name for name, path in MODULES.items() if "" in imports_of(path)}
    assert users <= {"cli"}
