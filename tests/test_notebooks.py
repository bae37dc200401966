"""Every notebook that is shipped runs from top to bottom, as its reader would run it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from real_model import require_smollm2

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CELL_SECONDS = 600
# It is run in the browser, cell by cell (tests/browser/test_explorer.py).
RUN_ELSEWHERE = "ioi"
ON_A_REAL_MODEL = "real_model", "how_good"


class ThisPython(KernelSpecManager):
    """Knows one kernel, whatever its name: the Python that runs the tests."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name=kernel_name, language="python")


@pytest.fixture
def kernel_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel imports this checkout, reaches no hub, and leaves nothing behind."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))


def test_there_are_notebooks() -> None:
    assert "ioi.ipynb" in [path.name for path in NOTEBOOKS]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("kernel_environment")
@pytest.mark.parametrize(
    "path", [path for path in NOTEBOOKS if path.stem != RUN_ELSEWHERE], ids=lambda path: path.stem
)
def test_notebook_runs(path: Path, tmp_path: Path) -> None:
    if path.stem in ON_A_REAL_MODEL:
        require_smollm2()
    notebook = nbformat.read(path, as_version=4)
    manager = AsyncKernelManager(kernel_spec_manager=ThisPython())
    folder = tmp_path / "cwd"
    folder.mkdir()
    NotebookClient(
        notebook,
        km=manager,
        timeout=CELL_SECONDS,
        resources={"metadata": {"path": str(folder)}},
    ).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    assert code
    for cell in code:
        assert cell.execution_count is not None
        failed = [output for output in cell.outputs if output.output_type == "error"]
        assert failed == [], cell.source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_opens_anywhere_and_is_stored_clean(path: Path) -> None:
    """It names the kernel that every machine has, and holds no output of one machine."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.execution_count is None
            assert cell.outputs == []
