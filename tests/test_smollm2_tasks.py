"""The table of tasks of the real language model is what its snippet measures, and tells no more."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest
from real_model import require_smollm2

import acdc_explorer as ax
from acdc_explorer.tasks.builtin.registry import STANDARD_TASKS

CARD = files("acdc_explorer").joinpath("models", "smollm2.md").read_text(encoding="utf-8")
ROWS = {
    cells[0]: cells[1:]
    for cells in (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in CARD.splitlines()
        if line.startswith("| ")
    )
    if cells[0] in STANDARD_TASKS
}
# Their searches take seconds.
SEARCHED_AGAIN = ("days", "capital_country")


@pytest.fixture(scope="module")
def model():
    require_smollm2()
    return ax.load_model("smollm2", device="cpu")


def test_every_task_is_in_the_table_once():
    assert list(ROWS) == list(STANDARD_TASKS) == list(ax.list_tasks().task[:15])
    assert len(re.findall(r"^\| ", CARD, re.MULTILINE)) == len(STANDARD_TASKS) + 1
    assert all(len(cells) == 8 for cells in ROWS.values())


def test_the_snippet_is_python_that_names_what_the_table_was_made_with():
    (snippet,) = re.findall(r"```python\n(.*?)```", CARD, re.DOTALL)
    compile(snippet, "smollm2.md", "exec")
    assert "n_prompts=16, seed=0" in snippet
    assert '"10%"' in snippet


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.xdist_group("smollm2")
@pytest.mark.parametrize("name", STANDARD_TASKS)
def test_the_table_is_what_is_measured(model, name):
    accuracy, clean, corrupted, kept, connected, faithfulness, _, does = ROWS[name]
    task = ax.load_task(name, model, n_prompts=16, seed=0)
    check = ax.check_task(model, task)
    assert accuracy == f"{check.accuracy:.0%}"
    assert float(clean) == pytest.approx(check.clean, abs=0.006)
    assert float(corrupted) == pytest.approx(check.corrupted, abs=0.006)
    assert does.startswith("no") == bool(check.warnings)
    if check.warnings:
        assert {kept, connected, faithfulness} == {"–"}
    elif name in SEARCHED_AGAIN:
        circuit = ax.find_circuit(model, task, "10%")
        assert [kept, connected] == [f"{len(circuit.kept)}", f"{len(circuit.connected())}"]
        assert float(faithfulness.strip("%")) == pytest.approx(100 * circuit.faithfulness, abs=0.6)
