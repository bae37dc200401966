"""What a search takes in memory is told before it starts, and refused if it is not there."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from conftest import bridge_of, random_gpt2, random_task

import acdc_explorer as ax
from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.engine import memory
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.memory import GIB, _free_in_container, memory_need, prompts_that_fit
from acdc_explorer.models import Model
from acdc_explorer.searches.acdc import _AcdcSearch


@pytest.fixture
def model():
    return Model(bridge_of(random_gpt2("2x4")), "random 2x4")


def free(monkeypatch, gib: float) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda _: gib * GIB)


def n_bytes(value, seen: set[int]) -> int:
    """All memory of tensors that an object holds, however deep, each counted once."""
    if id(value) in seen:
        return 0
    seen.add(id(value))
    if isinstance(value, torch.Tensor):
        storage = value.untyped_storage()
        is_new = storage.data_ptr() not in seen
        seen.add(storage.data_ptr())
        return storage.nbytes() if is_new else 0
    if isinstance(value, dict):
        return sum(n_bytes(each, seen) for pair in value.items() for each in pair)
    if isinstance(value, list | tuple | set):
        return sum(n_bytes(each, seen) for each in value)
    if dataclasses.is_dataclass(value) or type(value).__module__.startswith("acdc_explorer"):
        names = getattr(value, "__dict__", {})
        return sum(n_bytes(each, seen) for each in names.values())
    return 0


@pytest.mark.parametrize("ablation", ["corrupted", "zero"])
def test_what_is_said_is_what_a_search_keeps(model, ablation):
    """At a threshold at which everything is kept, so that all is live."""
    weights, task = model.weights, random_task()
    need = memory_need(weights, task, ablation, task.n_prompts)
    engine = Engine(weights, task, ablation)
    runs = n_bytes([weights, engine.slices], set()) - n_bytes(weights, set())
    # Position sets and the final stream come on top.
    assert need.runs <= runs <= need.runs * 1.3
    in_float64 = n_bytes(engine.in_float64.slices, set()) - n_bytes(weights, set())
    assert in_float64 <= need.float64 * 1.3
    before = n_bytes(engine, set())
    search = _AcdcSearch(engine, SearchSettings(1e-9, "1e-9"), None, ())
    for _ in search.steps():
        pass
    state = n_bytes([engine, search], set()) - before
    assert need.state * 0.5 <= state <= need.state * 1.3


def test_slices_are_chosen_so_that_the_whole_search_fits(model, monkeypatch):
    weights, task = model.weights, random_task()
    whole = memory_need(weights, task, "corrupted", task.n_prompts)
    single = memory_need(weights, task, "corrupted", 1)
    sizes = []
    for share in (1.0, 0.5, 0.0):
        total = single.total + share * (whole.total - single.total)
        free(monkeypatch, total / 0.75 / GIB * 1.0001)
        sizes.append(prompts_that_fit(weights, task, "corrupted", None))
        assert memory_need(weights, task, "corrupted", sizes[-1]).total <= total * 1.01
    assert sizes[0] == task.n_prompts > sizes[1] > sizes[2] == 1


def test_what_cannot_fit_is_refused_with_the_numbers(model, monkeypatch):
    task = random_task()
    single = memory_need(model.weights, task, "corrupted", 1)
    half = (single.total - single.state / 2) / GIB
    free(monkeypatch, half)
    said = f"needs about 0.. GiB beside this model's weights.*{half:.1f} GiB are free on cpu"
    n_fitting = task.n_prompts // 2
    with pytest.raises(ValueError, match=rf"{said}\. Take at most {n_fitting} prompts, or shorter"):
        ax.find_circuit(model, task, 0.1)
    free(monkeypatch, 1e-6)
    with pytest.raises(ValueError, match=r"9 tokens.*0\.0 GiB are free.*Take a smaller model"):
        ax.find_circuit(model, task, 0.1)


def test_where_fewer_at_once_would_do_that_is_said(model, monkeypatch):
    task = random_task()
    whole = memory_need(model.weights, task, "corrupted", task.n_prompts)
    single = memory_need(model.weights, task, "corrupted", 1)
    free(monkeypatch, (whole.total + single.total) / 2 / GIB)
    model.memory_gib = 1000.0
    with pytest.raises(
        ValueError, match=r"Hold fewer at once, with load_model\(\.\.\., memory_gib="
    ) as told:
        ax.find_circuit(model, task, 0.1)
    model.memory_gib = float(str(told.value).split("memory_gib=")[1].rstrip(")"))
    assert ax.find_circuit(model, task, 0.1).complete


def test_a_task_check_tells(model):
    check = ax.check_task(model, random_task())
    assert 0 < check.memory_need < 1 < check.memory_free
    assert f"memory     {check.memory_need:.1f} GiB for a search; " in str(check)


def test_the_limit_of_a_container_counts(tmp_path):
    assert _free_in_container(tmp_path / "none") == []
    files = {
        "memory.max": "1000\n",
        "memory.current": "700\n",
        "memory.stat": "anon 5\ninactive_file 100\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert _free_in_container(tmp_path) == [400]
    (tmp_path / "memory.max").write_text("max\n")
    assert _free_in_container(tmp_path) == []
