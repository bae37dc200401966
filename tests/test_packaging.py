"""What holds for the package as a whole: its requirements, its boundaries, its contents, its style.

The core (everything outside `acdc_explorer/explorer`) must work where no widget can: on a cluster,
in a script. So no module of it may import ipywidgets, plotly or IPython, and `import acdc_explorer`
itself must cost next to nothing.
"""

from __future__ import annotations

import ast
import configparser
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import acdc_explorer

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "acdc_explorer"
LONGEST_MODULE = 350
UI_LIBRARIES = {"ipywidgets", "anywidget", "plotly", "IPython"}
# What only a script needs whose output is in the repository.
NEVER_REQUIRED = {"acdc_explorer.training.compile_rasp": {"tracr"}}
# What an extra brings, without which the module says how to install it.
OF_AN_EXTRA = {"acdc_explorer.models.gguf_file": "gguf"}
NAMES_ON_CONDA = {"pytorch": "torch"}


def module_name(path: Path) -> str:
    """Returns the dotted name of a file of the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
CORE = [name for name in MODULES if not name.startswith("acdc_explorer.explorer")]


def run_python(code: str) -> str:
    """Returns what `code` prints in a fresh interpreter that sees this checkout."""
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def setup_cfg() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config


def requirements(lines: str) -> list[Requirement]:
    return [Requirement(line) for line in lines.splitlines() if line.strip()]


def by_name(listed: list[Requirement]) -> dict[str, str]:
    """Returns the version bounds of each requirement by its one canonical name."""
    bounds = {
        canonicalize_name(NAMES_ON_CONDA.get(r.name, r.name)): str(r.specifier) for r in listed
    }
    assert len(bounds) == len(listed), "a package is required twice"
    return bounds


class TestRequirements:
    def test_environment_yml_asks_for_what_setup_cfg_asks_for(self) -> None:
        config = setup_cfg()
        listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
        (from_pip,) = (entry["pip"] for entry in listed if isinstance(entry, dict))
        from_conda = [Requirement(entry) for entry in listed if isinstance(entry, str)]
        environment = by_name(from_conda + [Requirement(e) for e in from_pip if e != "-e ."])
        assert "-e ." in from_pip
        assert environment.pop("pip") == ""
        assert environment.pop("python") == config["options"]["python_requires"]

        run = requirements(config["options"]["install_requires"])
        lab = requirements(config["options.extras_require"]["lab"])
        assert environment == by_name(run + lab)

    def test_everything_imported_is_required(self) -> None:
        config = setup_cfg()
        owners = importlib.metadata.packages_distributions()
        for name, path in MODULES.items():
            given = requirements(config["options"]["install_requires"])
            if name in OF_AN_EXTRA:
                given += requirements(config["options.extras_require"][OF_AN_EXTRA[name]])
            required = by_name(given)
            for imported in imports(path):
                top = imported.partition(".")[0]
                if top in sys.stdlib_module_names or top == "acdc_explorer":
                    continue
                if top in NEVER_REQUIRED.get(name, ()):
                    continue
                distributions = {canonicalize_name(owner) for owner in owners.get(top, [top])}
                assert distributions & required.keys(), f"{name} imports {top}: not in setup.cfg"


class TestBoundaries:
    def test_importing_the_package_imports_nothing_heavy(self) -> None:
        code = "import sys, json, acdc_explorer; print(json.dumps(sorted(sys.modules)))"
        loaded = set(json.loads(run_python(code)))
        assert not loaded & {"torch", "transformer_lens", "transformers", "pandas", *UI_LIBRARIES}

    @pytest.mark.parametrize("name", CORE)
    def test_core_module_names_no_widget_library(self, name: str) -> None:
        """By its own imports, those inside its functions too."""
        for imported in imports(MODULES[name]):
            assert imported.partition(".")[0] not in UI_LIBRARIES, imported
            if name != "acdc_explorer":  # which offers Explorer, lazily
                assert not imported.startswith("acdc_explorer.explorer"), imported

    @pytest.mark.slow
    def test_core_modules_load_no_widget_library(self) -> None:
        """By what is loaded once they are imported, whoever imports it in the end.

        What transformer_lens loads is not ours to choose: the modules that need it are imported
        after it, and only what they add counts.
        """
        light = [name for name in CORE if "transformer_lens" not in reachable(name)]
        rest = [name for name in CORE if name not in light]
        assert "acdc_explorer.graph" in light
        code = f"""
import importlib, json, sys
UI = {sorted(UI_LIBRARIES)!r}
def load(names, tolerated):
    for name in names:
        importlib.import_module(name)
        for library in UI:
            if library in sys.modules and library not in tolerated:
                found.append(f"{{name}} loads {{library}}")
                tolerated.add(library)
found = []
load({light!r}, set())
if "transformer_lens" in sys.modules:
    found.append("transformer_lens is loaded by a module that was thought to do without")
import transformer_lens
load({rest!r}, {{library for library in UI if library in sys.modules}})
print(json.dumps(found))
"""
        assert json.loads(run_python(code)) == []


class TestContents:
    @pytest.mark.parametrize("name", MODULES)
    def test_module_is_short(self, name: str) -> None:
        assert len(MODULES[name].read_text().splitlines()) <= LONGEST_MODULE

    def test_every_folder_of_modules_is_a_package(self) -> None:
        folders = {path.parent for path in MODULES.values()}
        assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []

    def test_wheel_holds_the_package_the_model_and_the_notebooks(self, tmp_path: Path) -> None:
        source = tmp_path / "source"
        source.mkdir()
        for name in ("acdc_explorer", "notebooks"):
            ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
            shutil.copytree(ROOT / name, source / name, ignore=ignored)
        for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, source)
        packaged = [p for p in (source / "acdc_explorer").rglob("*") if p.is_file()]
        expected = {str(path.relative_to(source)) for path in packaged}
        notebooks = {path.name for path in (source / "notebooks").glob("*.ipynb")}
        assert "acdc_explorer/py.typed" in expected
        assert any(name.startswith("acdc_explorer/models/mini/") for name in expected)
        assert "acdc_explorer/models/rasp/reverse.safetensors" in expected
        assert "ioi.ipynb" in notebooks

        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
        command += ["--no-build-isolation", "--wheel-dir", str(tmp_path), str(source)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
        (wheel,) = tmp_path.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            held = set(archive.namelist())
            (entry_points,) = (n for n in held if n.endswith(".dist-info/entry_points.txt"))
            scripts = archive.read(entry_points).decode()
        assert expected <= held
        assert wheel.name.startswith(f"acdc_explorer-{acdc_explorer.__version__}-")
        data = f"{wheel.name.rsplit('-', 3)[0]}.data/data/share/acdc_explorer/notebooks/"
        assert {name.removeprefix(data) for name in held if name.startswith(data)} == notebooks
        assert "acdc-explorer = acdc_explorer.cli:main" in scripts
        tops = {re.split(r"[/]", name)[0] for name in held}
        assert {top for top in tops if not re.search(r"\.(dist-info|data)$", top)} == {
            "acdc_explorer"
        }


class TestStyle:
    @pytest.mark.parametrize(
        "command",
        [
            ["ruff", "check", "."],
            ["ruff", "format", "--check", "."],
            pytest.param(["mypy", "acdc_explorer"], marks=pytest.mark.slow),
        ],
        ids=["ruff-check", "ruff-format", "mypy"],
    )
    def test_tool_finds_nothing(self, command: list[str]) -> None:
        result = subprocess.run(
            [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stdout + result.stderr


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Returns the dotted name of everything a module imports, at its top or inside a function.

    Imports under `if TYPE_CHECKING:` never run, and do not count. A relative import is given in
    full; `from package import name` gives `package.name`, for `name` may be a module.
    """
    own = module_name(path).split(".")
    package = own if path.name == "__init__.py" else own[:-1]
    found: list[str] = []
    for node in running_nodes(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            found += [f"{source}.{alias.name}" for alias in node.names]
    return tuple(found)


def running_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Yields the nodes of a module, less the bodies of `if TYPE_CHECKING:`."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for statement in child.orelse:
                yield from running_nodes(statement)
            continue
        yield child
        yield from running_nodes(child)


def reachable(name: str) -> set[str]:
    """Returns the top-level names of all libraries that importing a module may lead to."""
    waiting, seen, libraries = [name], set[str](), set[str]()
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        # Importing a.b.c runs a and a.b too; the root is lazy and imports nothing by itself.
        parent = module.rpartition(".")[0]
        if parent and parent != "acdc_explorer":
            waiting.append(parent)
        for imported in imports(MODULES[module]):
            if not imported.startswith("acdc_explorer"):
                libraries.add(imported.partition(".")[0])
                continue
            # "package.module.name" stands for "package.module" unless it is a module itself.
            found = imported if imported in MODULES else imported.rpartition(".")[0]
            if found in MODULES and found != "acdc_explorer":
                waiting.append(found)
    return libraries
