"""The widgets' scripts and styles need nothing that a notebook other than JupyterLab lacks."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import anywidget
import plotly.graph_objects as go
import pytest

import acdc_explorer.explorer

FOLDER = Path(acdc_explorer.explorer.__file__).parent
SOURCES = {
    str(path.relative_to(FOLDER)): path.read_text(encoding="utf-8")
    for path in sorted(FOLDER.rglob("*.py"))
}


def widgets_with_scripts() -> dict[str, str]:
    """Class name -> its script, of all widgets in the explorer that have one."""
    found = {}
    for name in SOURCES:
        module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        module = importlib.import_module(
            f"acdc_explorer.explorer.{module}".removesuffix(".__init__")
        )
        for _, kind in inspect.getmembers(module, inspect.isclass):
            ours = kind.__module__ == module.__name__
            if ours and issubclass(kind, (anywidget.AnyWidget, go.FigureWidget)):
                found[kind.__name__] = str(kind._esm)
    return found


SCRIPTS = widgets_with_scripts()


def test_all_widgets_with_scripts_are_looked_at():
    n_scripts = sum(len(re.findall(r"^    _esm = ", text, re.M)) for text in SOURCES.values())
    assert len(SCRIPTS) == n_scripts >= 7


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_whole_in_itself(name):
    script = SCRIPTS[name]
    assert "export default" in script, "the script itself, not the path of one"
    imports = re.findall(r"\bimport\b[^\n]*", script)
    # Plotly comes in a widget's state and is read from there, as a blob of the page's own.
    assert imports == (["import(url)).default;"] if name == "SyncedFigureWidget" else [])
    assert not re.search(r"https?:|\brequire\b|\bfetch\b|jupyterapp|\bJupyter\b", script)


@pytest.mark.parametrize("name", SOURCES)
def test_every_variable_of_jupyterlabs_styles_has_a_fallback(name):
    assert re.findall(r"var\(--[\w-]+\s*\)", SOURCES[name]) == []


@pytest.mark.parametrize("name", SOURCES)
def test_nothing_is_printed_where_only_jupyterlab_shows_it(name):
    """Text from a worker thread or a callback gets lost, or lands in some other cell."""
    assert not re.search(r"\bOutput\(|\bprint\(", SOURCES[name])
