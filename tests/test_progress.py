"""What takes long says how far it has come, to whoever listens and to nobody else."""

from __future__ import annotations

import threading

import pytest
from conftest import bridge_of, random_gpt2, random_task

import acdc_explorer as ax
from acdc_explorer import progress
from acdc_explorer.models import Model
from acdc_explorer.progress import Progress, heard_by, working_on


@pytest.fixture(scope="module")
def model():
    return Model(bridge_of(random_gpt2("2x4")), "random 2x4")


@pytest.fixture
def bars(monkeypatch):
    monkeypatch.setattr(progress, "SHOWN_AFTER_SECONDS", 0.0)
    ax.show_progress()
    yield
    ax.show_progress(False)


def parts(heard: list[Progress], what: str) -> list[int]:
    """How many parts of something were said to be done, one after the other."""
    of_it = [each for each in heard if each.what == what]
    assert of_it[-1].ended
    assert not any(each.ended for each in of_it[:-1])
    assert {each.of for each in of_it} == {of_it[-1].done}
    return [each.done for each in of_it]


def test_a_search_says_how_many_edges_are_decided(model):
    heard: list[Progress] = []
    with heard_by(heard.append):
        ax.find_circuit(model, random_task(), 0.05)
    done = parts(heard, "searching: edges decided")
    assert done == sorted(done)
    assert done[0] == 0
    assert done[-2:] == [model.graph.n_edges] * 2


def test_attribution_says_how_many_runs_are_done(model):
    task, heard = random_task(), list[Progress]()
    with heard_by(heard.append):
        ax.attribute(model, task, "eap_ig", steps=3)
        ax.attribute(model, task)
    n = task.n_prompts
    done = parts(heard, "attributing every edge (EAP-IG)")
    # Between them, and in between after every block.
    assert done == sorted(done)
    assert {0, n, 2 * n, 3 * n} <= set(done)
    assert set(parts(heard, "attributing every edge (EAP)")) >= {0, n}


def test_a_threshold_path_says_how_much_of_its_time_is_spent(model):
    heard: list[Progress] = []
    with heard_by(heard.append):
        ax.threshold_path(model, random_task(), "30%", "50%", seconds=20)
    done = parts(heard, "finding circuits: seconds spent")
    assert done == sorted(done)
    assert done[-1] == 20


def test_a_threshold_path_with_all_the_time_that_it_takes(model):
    path = ax.threshold_path(model, random_task(), "45%", "50%", seconds=float("inf"))
    assert path.circuits


def test_it_ends_where_an_error_ends_it():
    heard: list[Progress] = []

    def fail():
        with working_on("a") as done, working_on("b", 4):
            done(0)
            raise KeyError

    with heard_by(heard.append), pytest.raises(KeyError):
        fail()
    assert [(each.what, each.ended) for each in heard] == [
        ("a", False), ("b", False), ("a", False), ("b", True), ("a", True),
    ]  # fmt: skip
    assert [str(heard[0]), str(heard[1])] == ["a …", "b … 0 of 4"]


def test_other_threads_are_not_heard():
    heard: list[Progress] = []

    def work() -> None:
        with working_on("elsewhere"):
            pass

    with heard_by(heard.append):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert not heard


def test_nothing_is_shown_unless_asked_for(model, capfd):
    ax.find_circuit(model, random_task(), 0.05, method="eap_ig")
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("bars")
def test_bars_are_shown_when_asked_for(model, capfd):
    ax.find_circuit(model, random_task(), 0.05, method="eap_ig")
    out, shown = capfd.readouterr()
    assert out == ""
    assert "attributing every edge (EAP-IG)" in shown
    assert f"/{model.graph.n_edges}" in shown
    # They are gone when it is over.
    assert shown.split("\r")[-1].strip() == ""


@pytest.mark.usefixtures("bars")
def test_a_bar_of_what_has_no_parts_ends(capfd):
    with working_on("waiting for a long time"):
        pass
    assert "waiting for a long time" in capfd.readouterr().err


@pytest.mark.usefixtures("bars")
def test_looking_for_a_faithful_circuit_starts_again_at_every_threshold(model, capfd):
    ax.find_circuit(model, random_task(seed=5), faithfulness="60%")
    assert "looking for 60% faithfulness" in capfd.readouterr().err


def test_what_is_quick_shows_no_bar(model, capfd):
    ax.show_progress()
    try:
        ax.find_circuit(model, random_task(), 0.05)
    finally:
        ax.show_progress(False)
    assert capfd.readouterr() == ("", "")
