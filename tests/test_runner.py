"""The runner: a search in a thread that can be paused, retargeted, stopped and asked."""

from __future__ import annotations

import platform
import subprocess
import sys
import threading
import time

import psutil
import pytest
from conftest import bridge_of, random_gpt2, random_task

import acdc_explorer as ax
from acdc_explorer.explorer.panel.threshold_plot import path_html
from acdc_explorer.models import Model
from acdc_explorer.progress import working_on
from acdc_explorer.runner.errands import GivenUpError
from acdc_explorer.runner.freed_memory import give_back_freed_memory
from acdc_explorer.runner.runner import Runner
from acdc_explorer.runner.state import Request


@pytest.fixture(scope="module")
def model():
    return Model(bridge_of(random_gpt2("2x4")), "random 2x4")


@pytest.fixture
def runner():
    runner = Runner(interval=0.0)
    yield runner
    runner.close()
    assert not runner._thread.is_alive()


def slowly(monkeypatch, seconds=0.005):
    """Makes each step take long enough for a test to step in."""
    from acdc_explorer.searches.methods import search_steps

    def slow_steps(*args, **options):
        for step in search_steps(*args, **options):
            time.sleep(seconds)
            yield step

    monkeypatch.setattr("acdc_explorer.runner.session.search_steps", slow_steps)


def until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


def test_a_search_in_the_thread_is_the_search(model, runner):
    task = random_task()
    runner.start(Request(model, task, 0.05))
    assert runner.wait(30) == "done"
    circuit = runner.snapshot().circuit
    assert circuit.complete
    assert circuit.kept == ax.find_circuit(model, task, 0.05).kept
    assert runner.snapshot().n_done == model.graph.n_edges


@pytest.mark.slow
def test_who_waits_is_not_let_go_between_the_request_and_its_search(model, runner, monkeypatch):
    # The worker has taken the request, and not yet begun with it.
    monkeypatch.setattr(
        "acdc_explorer.runner.runner.use_cores", lambda in_background: time.sleep(0.05)
    )
    runner.start(Request(model, random_task(), 0.05))
    until(lambda: not runner._commands)
    assert runner.wait(30) == "done"
    assert runner.snapshot().circuit.complete


def test_pause_and_go_on_ends_in_the_same_circuit(model, runner, monkeypatch):
    slowly(monkeypatch)
    task = random_task()
    runner.start(Request(model, task, 0.05))
    until(lambda: runner.snapshot().n_done > 5)
    runner.pause()
    until(lambda: runner.snapshot().status == "paused")
    done = runner.snapshot().n_done
    time.sleep(0.1)
    assert runner.snapshot().n_done == done
    assert not runner.snapshot().circuit.complete
    runner.resume()
    assert runner.wait(30) == "done"
    assert runner.snapshot().circuit.kept == ax.find_circuit(model, task, 0.05).kept


def test_stop_keeps_what_was_found(model, runner, monkeypatch):
    slowly(monkeypatch)
    runner.start(Request(model, random_task(), 0.05))
    until(lambda: runner.snapshot().n_done > 5)
    runner.stop()
    assert runner.wait(10) == "stopped"
    snapshot = runner.snapshot()
    assert 5 < snapshot.n_done < model.graph.n_edges
    assert not snapshot.circuit.complete
    assert (snapshot.circuit.edges.state == "untested").any()


def test_a_new_request_takes_the_place_of_the_running_one(model, runner, monkeypatch):
    slowly(monkeypatch)
    task = random_task()
    runner.start(Request(model, task, 0.001))
    until(lambda: runner.snapshot().n_done > 3)
    for threshold in (0.3, 0.2, 0.5):
        runner.start(Request(model, task, threshold))
    assert runner.wait(30) == "done"
    assert runner.snapshot().circuit.threshold == 0.5
    assert runner.snapshot().circuit.kept == ax.find_circuit(model, task, 0.5).kept


def test_questions_are_answered_between_steps(model, runner, monkeypatch):
    slowly(monkeypatch)
    runner.start(Request(model, random_task(), 0.05))
    until(lambda: runner.snapshot().n_done > 3)
    answers = []
    answered = threading.Event()

    def answer(result, error):
        answers.append((result, error, runner.snapshot().status))
        answered.set()

    runner.ask(lambda model, engine, circuit: (engine.full_metric, circuit.n_tested), answer)
    assert answered.wait(5)
    (full_metric, n_tested), error, status = answers[0]
    assert error is None
    assert status == "running"
    assert n_tested > 3
    assert full_metric == runner.snapshot().circuit.full_metric


def busy_errand(begun, parts=2000):
    """Takes some seconds, and tells how far it is."""

    def errand(model, engine, circuit):
        with working_on("being busy", parts) as done:
            for part in range(parts):
                begun.set()
                time.sleep(0.005)
                done(part + 1)
        return circuit

    return errand


def test_errands_wait_for_the_search_and_questions_do_not_wait_for_them(model, runner, monkeypatch):
    slowly(monkeypatch)
    begun, answers = threading.Event(), []
    runner.start(Request(model, random_task(), 0.05))
    until(lambda: runner.snapshot().n_done > 5)
    runner.run_errand(busy_errand(begun, parts=100), lambda *answer: answers.append(answer))
    assert not begun.is_set()
    assert runner.wait(30) == "done"
    assert begun.wait(10)
    asked = threading.Event()
    runner.ask(lambda *_: None, lambda *_: asked.set())
    assert asked.wait(5)
    assert not answers
    until(lambda: answers)
    ((circuit, error),) = answers
    assert error is None
    assert circuit.complete
    assert runner.snapshot().status == "done"
    assert runner.snapshot().activity != "being busy"


@pytest.mark.parametrize("how", ["give up", "another search", "close"])
def test_errands_are_given_up(model, runner, how):
    begun, answers = threading.Event(), []
    task = random_task()
    runner.start(Request(model, task, 0.05))
    for _ in range(2):
        runner.run_errand(busy_errand(begun), lambda *answer: answers.append(answer))
    assert begun.wait(30)
    if how == "give up":
        runner.give_up_errands()
    elif how == "another search":
        runner.start(Request(model, task, 0.1))
        assert runner.wait(30) == "done"
    else:
        runner.close()
    until(lambda: len(answers) == 2)
    assert all(isinstance(error, GivenUpError) for _, error in answers)
    assert runner.snapshot().status == "done"


def test_a_question_answered_while_an_errand_is_given_up_has_its_answer(model, runner):
    begun, asked, answers, errands = threading.Event(), threading.Event(), [], []
    runner.start(Request(model, random_task(), 0.05))
    runner.run_errand(busy_errand(begun), lambda *answer: errands.append(answer))
    assert begun.wait(30)

    def question(model, engine, circuit):
        asked.set()
        with working_on("answering", 3) as done:
            for part in range(3):
                time.sleep(0.1)
                done(part + 1)
        return "answered"

    runner.ask(question, lambda *answer: answers.append(answer))
    assert asked.wait(10)
    runner.give_up_errands()
    until(lambda: answers)
    assert answers == [("answered", None)]
    until(lambda: errands)
    assert isinstance(errands[0][1], GivenUpError)


def test_an_errand_that_fails_tells_who_asked(model, runner):
    answers = []
    runner.run_errand(lambda *_: 1, lambda *answer: answers.append(answer))
    until(lambda: answers)
    assert str(answers[0][1]) == "no search has begun yet"
    runner.start(Request(model, random_task(), 0.05))
    runner.run_errand(lambda *_: 1 // 0, lambda *answer: answers.append(answer))
    until(lambda: len(answers) == 2)
    assert isinstance(answers[1][1], ZeroDivisionError)
    assert runner.wait(10) == "done"


def test_a_question_that_fails_tells_its_asker_and_no_one_else(model, runner):
    task = random_task()
    runner.start(Request(model, task, 0.05))
    runner.wait(30)
    answered = threading.Event()
    errors = []

    def answer(result, error):
        errors.append(error)
        answered.set()

    runner.ask(lambda *_: 1 / 0, answer)
    assert answered.wait(5)
    assert isinstance(errors[0], ZeroDivisionError)
    assert runner.snapshot().status == "done"


def test_what_another_request_led_to_is_gone_when_the_next_one_fails(model, runner):
    for wrong in (
        Request("no-such-model", random_task(), 0.05),
        Request(model, "ioj", 0.05),
        Request(model, random_task(), 0.05, options={"rule": "both"}),
    ):
        runner.start(Request(model, random_task(), 0.05))
        assert runner.wait(30) == "done"
        runner.start(wrong)
        assert runner.wait(30) == "error"
        snapshot = runner.snapshot()
        assert snapshot.circuit is None
        assert snapshot.task is None
        assert not snapshot.path.circuits


def test_another_task_is_taken_where_the_one_named_cannot_be_made(runner):
    runner.start(Request("five-heads", "ioi", 0.5))
    assert runner.wait(30) == "error"
    assert runner.snapshot().tasks == ("five-heads", "or-gate")
    runner.start(Request("five-heads", "ioi", 0.5, other_task=True))
    assert runner.wait(30) == "done"
    snapshot = runner.snapshot()
    assert snapshot.task.name == "five-heads"
    assert snapshot.request.task == "ioi"
    assert snapshot.note == "task 'ioi' cannot be made for five-heads; this is 'five-heads'"
    # One that can be made stays.
    runner.start(Request("mini", "months", "30%", 4, other_task=True))
    assert runner.wait(60) == "done"
    assert runner.snapshot().task.name == "months"
    assert "cannot be made" not in runner.snapshot().note
    runner.start(Request("mini", "five-heads", "30%", 4, other_task=True))
    assert runner.wait(60) == "done"
    assert runner.snapshot().task.name == "ioi"


def test_a_search_from_the_start_keeps_what_is_known_of_other_thresholds(model, runner):
    task = random_task()
    runner.start(Request(model, task, 0.3))
    assert runner.wait(30) == "done"
    until(lambda: len(runner.snapshot().path.circuits) > 3, 60)
    runner.rest(True)
    known = {circuit.threshold for circuit in runner.snapshot().path.circuits}
    runner.start(Request(model, task, 0.3), afresh=True)
    assert runner.wait(30) == "done"
    assert runner.snapshot().seconds > 0
    assert known <= {circuit.threshold for circuit in runner.snapshot().path.circuits}
    # Of other prompts nothing is known.
    runner.start(Request(model, random_task(seed=1), 0.3), afresh=True)
    assert runner.wait(30) == "done"
    assert len(runner.snapshot().path.circuits) == 1


def test_who_waits_for_a_runner_that_is_closed_is_told(model, monkeypatch):
    slowly(monkeypatch, 0.05)
    runner = Runner()
    runner.start(Request(model, random_task(), 0.05))
    until(lambda: runner.snapshot().status == "running")
    runner.close()
    assert runner.wait(1) == "stopped"


def test_an_error_in_the_search_is_reported_and_the_runner_lives_on(model, runner, monkeypatch):
    def broken(*_, **__):
        raise ArithmeticError("the engine broke")
        yield

    with monkeypatch.context() as patch:
        patch.setattr("acdc_explorer.runner.session.search_steps", broken)
        runner.start(Request(model, random_task(), 0.05))
        assert runner.wait(10) == "error"
        assert str(runner.snapshot().error) == "the engine broke"
    runner.start(Request(model, random_task(), 0.05))
    assert runner.wait(30) == "done"
    assert runner.snapshot().error is None


def test_bad_requests_end_in_an_error_with_the_message(model, runner):
    runner.start(Request(model, random_task(), "abc"))
    assert runner.wait(10) == "error"
    assert "threshold must be a positive number" in str(runner.snapshot().error)


def test_the_listener_hears_every_status_and_sees_growth(model, monkeypatch):
    slowly(monkeypatch, 0.002)
    heard = []
    runner = Runner(heard.append, interval=0.01)
    runner.start(Request(model, random_task(), 0.05))
    runner.wait(30)
    until(lambda: heard and heard[-1].status == "done")
    runner.close()
    statuses = [snapshot.status for snapshot in heard]
    assert list(dict.fromkeys(statuses)) == ["loading", "running", "done"]
    counts = [snapshot.n_done for snapshot in heard]
    assert counts == sorted(counts)
    assert len(set(counts)) > 3
    assert heard[-1].circuit.complete


def test_waiting_too_long_raises(model, runner, monkeypatch):
    slowly(monkeypatch, 0.05)
    runner.start(Request(model, random_task(), 0.05))
    with pytest.raises(TimeoutError):
        runner.wait(0.05)


def test_inside_the_valid_interval_nothing_is_searched_again(model, runner, monkeypatch):
    task = random_task()
    runner.start(Request(model, task, 0.05))
    runner.wait(30)
    first = runner.snapshot().circuit
    low, high = first.valid_interval

    def must_not_run(*_, **__):
        raise AssertionError("searched again")
        yield

    inside = (low + high) / 2
    with monkeypatch.context() as patch:
        patch.setattr("acdc_explorer.runner.session.search_steps", must_not_run)
        runner.start(Request(model, task, inside))
        assert runner.wait(10) == "done"
    again = runner.snapshot().circuit
    assert again.threshold == inside
    assert again.kept == first.kept == ax.find_circuit(model, task, inside).kept
    runner.start(Request(model, task, high * 1.5))
    assert runner.wait(30) == "done"
    assert runner.snapshot().circuit.kept != first.kept


def test_a_new_threshold_starts_from_the_decisions_that_hold(model, runner, monkeypatch):
    """Only what the new threshold changes is tested again, and the result is a fresh search's."""
    task = random_task()
    runner.start(Request(model, task, 0.05))
    runner.wait(30)
    low, _ = runner.snapshot().circuit.valid_interval
    tested = []
    from acdc_explorer.engine.edge_trials import EdgeTrials

    original = EdgeTrials.try_removing

    def counted(self, senders):
        tested.extend(senders)
        return original(self, senders)

    monkeypatch.setattr(EdgeTrials, "try_removing", counted)
    below = low - 1e-4
    runner.start(Request(model, task, below))
    runner.wait(30)
    replayed = len(tested)
    tested.clear()
    fresh = ax.find_circuit(model, task, below)
    assert runner.snapshot().circuit.kept == fresh.kept
    assert replayed < len(tested)
    tested.clear()
    # Run is from the start.
    runner.start(Request(model, task, below), afresh=True)
    runner.wait(30)
    assert len(tested) > replayed


@pytest.mark.slow
def test_neighbouring_thresholds_are_found_in_the_background(model, runner):
    task = random_task()
    runner.start(Request(model, task, 0.2))
    runner.wait(30)
    until(lambda: not runner.snapshot().exploring, 60)
    path, curves = runner.snapshot().path, runner.snapshot().curves
    assert len(path.circuits) > 10
    # Up to 30% of the clean metric, above which this threshold may be.
    within = path.table[path.table.low < 0.3 * abs(path.circuits[0].full_metric)]
    assert within.meets_next.iloc[:-1].all()
    assert len(within) > 10
    assert set(curves) == {"eap", "eap_ig"}
    for points in curves.values():
        assert [point.edges for point in points] == sorted(point.edges for point in points)
    scores = ax.attribute(model, task).set_index("edge").score.abs()
    for point in curves["eap"][::4]:
        removed = scores.index[point.edges :]
        value = ax.evaluate(model, task, removed)
        span = path.circuits[0].full_metric - path.circuits[0].corrupted_metric
        share = (value - path.circuits[0].corrupted_metric) / span
        assert point.faithfulness == pytest.approx(share, abs=1e-4)
    # A threshold inside a known interval: its exact circuit, without a single test.
    for known in path.circuits[1:6]:
        runner.start(Request(model, task, known.threshold))
        assert runner.wait(5) == "done"
        assert runner.snapshot().seconds == 0
        fresh = ax.find_circuit(model, task, known.threshold)
        assert runner.snapshot().circuit.kept == fresh.kept
        assert runner.snapshot().circuit.threshold == known.threshold


def test_the_background_stops_for_a_new_search_and_for_questions(model, runner):
    task = random_task()
    runner.start(Request(model, task, 0.2))
    runner.wait(30)
    answers = []
    runner.ask(lambda m, e, c: len(c.kept), lambda result, error: answers.append(result))
    until(lambda: answers)
    other = random_task(seed=1)
    runner.start(Request(model, other, 0.2))
    runner.wait(30)
    assert runner.snapshot().circuit.kept == ax.find_circuit(model, other, 0.2).kept
    # What was known of the other prompts' thresholds is gone with them.
    for circuit in runner.snapshot().path.circuits:
        assert circuit.full_metric == runner.snapshot().circuit.full_metric


@pytest.mark.parametrize(("large_from", "method"), [(10_000, "eap_ig"), (10, "relp")])
def test_attribution_shows_before_the_search(model, monkeypatch, large_from, method):
    from acdc_explorer.searches.methods import search_steps

    def slow_steps(*args, **options):
        for step in search_steps(*args, **options):
            time.sleep(0.005)
            yield step

    monkeypatch.setattr("acdc_explorer.runner.session.search_steps", slow_steps)
    monkeypatch.setattr("acdc_explorer.searches.attribution.LARGE_GRAPH", large_from)
    task = random_task()
    # As many prompts as are attributed ahead of the search.
    expected = ax.find_circuit(model, task.take(range(4)), 0.2, method=method)
    runner = Runner()
    runner.start(Request(model, task, 0.2))
    until(lambda: runner.snapshot().preview)
    preview = runner.snapshot().preview
    assert [edge.id for edge, _ in preview] == expected.kept
    runner.wait(60)
    assert runner.snapshot().preview == ()
    runner.close()


@pytest.mark.slow
def test_a_program_may_end_while_it_searches():
    """The worker would be stopped inside PyTorch, which ends in SIGABRT."""
    program = """
import time
import acdc_explorer as ax
from acdc_explorer.runner.state import Request
from acdc_explorer.runner.runner import Runner
runner = Runner()
runner.start(Request("mini", "ioi", 1e-6))
while runner.snapshot().n_done < 50:
    time.sleep(0.05)
print("tested", runner.snapshot().status)
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
    )
    assert result.stdout.strip() == "tested running"
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("options", [{"method": "eap_ig"}, {"order": "attribution"}])
def test_questions_are_answered_between_the_parts_of_an_attribution(
    model, runner, monkeypatch, options
):
    from acdc_explorer.engine.gradients import Linearized

    runner.rest(True)
    runner.start(Request(model, random_task(), 0.05))
    assert runner.wait(30) == "done"
    begun, asked, answered, waited = *(threading.Event() for _ in range(3)), []
    through_block = Linearized._through_block

    def slow_part(*args):
        if begun.is_set():
            waited.append(answered.wait(10))
        begun.set()
        asked.wait(10)
        return through_block(*args)

    monkeypatch.setattr(Linearized, "_through_block", slow_part)
    runner.start(Request(model, random_task(), 0.05, options=options))
    assert begun.wait(30)
    runner.ask(lambda *_: 1, lambda result, error: answered.set())
    asked.set()
    assert runner.wait(60) == "done"
    assert waited
    assert all(waited)


def test_a_new_search_does_not_wait_for_an_attribution_to_end(model, runner, monkeypatch):
    from acdc_explorer.engine.gradients import Linearized

    runner.rest(True)
    calls, through_block = [], Linearized._through_block

    def slow_part(*args):
        calls.append(args)
        time.sleep(0.2)
        return through_block(*args)

    monkeypatch.setattr(Linearized, "_through_block", slow_part)
    # Two blocks at each of five points, were it to end.
    runner.start(Request(model, random_task(), 0.05, options={"method": "eap_ig"}))
    until(lambda: calls)
    assert runner.snapshot().activity.startswith("attributing every edge (EAP-IG)")
    runner.start(Request(model, random_task(seed=1), 0.05, options={"method": "eap"}))
    assert runner.wait(30) == "done"
    assert len(calls) < 10
    assert runner.snapshot().circuit.settings.method == "eap"


@pytest.mark.slow
def test_what_was_attributed_is_not_attributed_again(model, runner, monkeypatch):
    """Neither for the curve in the background nor for another search of the same prompts."""
    from acdc_explorer.engine.gradients import Linearized

    points, input_gradients = [], Linearized.input_gradients

    def counted(linearized):
        points.append(linearized)
        return input_gradients(linearized)

    monkeypatch.setattr(Linearized, "input_gradients", counted)
    task = random_task()
    runner.start(Request(model, task, 0.3))
    assert runner.wait(30) == "done"
    # Five, of some of the prompts.
    assert len(points) == 5
    until(lambda: not runner.snapshot().exploring, 60)
    assert set(runner.snapshot().curves) == {"eap", "eap_ig"}
    # Of all prompts one by EAP, and five.
    assert len(points) == 11
    for options in ({"method": "eap"}, {"method": "path_patching"}, {"method": "eap_ig"}):
        runner.start(Request(model, task, 0.3, options=options))
        assert runner.wait(30) == "done"
    assert len(points) == 11


@pytest.mark.slow
def test_the_path_has_its_own_time_and_says_when_it_is_spent(model, runner, monkeypatch):
    monkeypatch.setattr("acdc_explorer.runner.session.PATH_SECONDS", 1e-9)
    runner.rest(True)
    runner.start(Request(model, random_task(), 0.3))
    assert runner.wait(30) == "done"
    assert not runner.snapshot().path_gave_up
    runner.rest(False)
    until(lambda: not runner.snapshot().exploring, 60)
    snapshot = runner.snapshot()
    assert snapshot.path_gave_up
    assert len(snapshot.path.circuits) == 1
    assert set(snapshot.curves) == {"eap", "eap_ig"}
    assert "given up for lack of time" in path_html(snapshot)
    monkeypatch.setattr("acdc_explorer.runner.session.PATH_SECONDS", 60.0)
    monkeypatch.setattr("acdc_explorer.runner.session.CURVES_SECONDS", 1e-9)
    runner.start(Request(model, random_task(seed=1), 0.3))
    assert runner.wait(30) == "done"
    until(lambda: not runner.snapshot().exploring, 60)
    snapshot = runner.snapshot()
    assert not snapshot.path_gave_up
    assert len(snapshot.path.circuits) > 5
    assert not snapshot.curves
    assert "given up" not in path_html(snapshot)


class TestTrust:
    """What the background finds out about a screened circuit."""

    @pytest.fixture
    def screened(self, model, runner):
        runner.start(Request(model, random_task(), 0.3, options={"screen": 0.3}))
        runner.wait(30)
        return runner

    @pytest.mark.slow
    def test_it_is_audited_then_verified_and_ends_in_the_exact_circuit(self, model, screened):
        assert screened.snapshot().trust is not None
        until(lambda: not screened.snapshot().exploring, 60)
        snapshot = screened.snapshot()
        exact = ax.find_circuit(model, random_task(), 0.3)
        assert snapshot.trust.share_verified == 1
        assert snapshot.trust.audit.tests
        assert snapshot.circuit.n_screened == 0
        assert snapshot.circuit.kept == exact.kept
        assert [step.kept for step in snapshot.circuit.decisions] == [
            step.kept for step in exact.decisions
        ]
        # The path holds it, too, so that coming back to this threshold is free.
        assert snapshot.path.at(0.3).n_screened == 0

    def test_a_wrong_edge_is_named(self, model, runner, monkeypatch):
        from acdc_explorer.engine.prompt_slices import SlicedTrials

        monkeypatch.setattr("acdc_explorer.searches.screening._BELIEVED", 1e9)
        original = SlicedTrials.predicted_changes
        monkeypatch.setattr(SlicedTrials, "predicted_changes", lambda trials: 0 * original(trials))
        task = random_task()
        runner.start(Request(model, task, 0.05, options={"screen": 0.9}))
        runner.wait(30)
        assert not runner.snapshot().circuit.kept
        until(lambda: not runner.snapshot().exploring, 60)
        exact = ax.find_circuit(model, task, 0.05)
        assert set(runner.snapshot().trust.corrected) <= set(exact.kept)
        assert runner.snapshot().trust.corrected
        assert runner.snapshot().circuit.kept == exact.kept

    def test_an_exact_search_has_nothing_to_trust(self, model, runner):
        runner.start(Request(model, random_task(), 0.3))
        runner.wait(30)
        assert runner.snapshot().trust is None

    def test_large_graphs_are_screened_unless_one_says_otherwise(self, model, runner, monkeypatch):
        monkeypatch.setattr("acdc_explorer.runner.loaded.LARGE_GRAPH", 10)
        for options, screen in (({}, 0.5), ({"screen": 0.0}, 0.0), ({"method": "eap"}, 0.0)):
            runner.start(Request(model, random_task(), 0.3, options=options))
            runner.wait(30)
            assert runner.snapshot().circuit.settings.screen == screen

    @pytest.mark.slow
    def test_the_background_waits_while_it_is_told_to(self, model, runner):
        runner.rest(True)
        runner.start(Request(model, random_task(), 0.3, options={"screen": 0.3}))
        assert runner.wait(30) == "done"
        time.sleep(0.3)
        assert runner.snapshot().exploring
        assert runner.snapshot().trust.audit is None
        assert len(runner.snapshot().path.circuits) == 1
        # Questions and searches do not wait.
        answers = []
        runner.ask(lambda model, engine, circuit: 1, lambda answer, error: answers.append(answer))
        until(lambda: answers == [1])
        runner.start(Request(model, random_task(), 0.2, options={"screen": 0.3}))
        assert runner.wait(30) == "done"
        runner.rest(False)
        until(lambda: not runner.snapshot().exploring, 60)


class TestFaithfulness:
    def test_it_ends_in_the_circuit_that_find_circuit_finds(self, model, runner):
        task = random_task(seed=5)
        options = {"rule": "signed"}
        runner.start(Request(model, task, options=options, faithfulness="80%"))
        assert runner.wait(60) == "done"
        snapshot = runner.snapshot()
        expected = ax.find_circuit(model, task, faithfulness="80%")
        assert snapshot.target == 0.8
        assert snapshot.circuit.kept == expected.kept
        assert snapshot.circuit.threshold == expected.threshold
        # What was found on the way is known of the path.
        assert len(snapshot.path.circuits) > 3
        # From there, a threshold; and another target, which goes on from what is known.
        runner.start(Request(model, task, 0.3, options=options))
        assert runner.wait(30) == "done"
        assert (
            runner.snapshot().circuit.kept == ax.find_circuit(model, task, 0.3, rule="signed").kept
        )
        assert runner.snapshot().target is None
        runner.start(Request(model, task, options=options, faithfulness="50%"))
        assert runner.wait(60) == "done"
        assert runner.snapshot().circuit.faithfulness >= 0.5

    def test_falling_short_is_said(self, model, runner, monkeypatch):
        monkeypatch.setattr("acdc_explorer.searches.faithful._LOWEST_EXACT", 0.5)
        runner.start(Request(model, random_task(seed=5), faithfulness=1.0))
        assert runner.wait(60) == "done"
        assert "is 100% faithful; the most faithful" in runner.snapshot().note


def test_freed_memory_is_given_back_where_the_c_library_can():
    process = psutil.Process()
    chunks = [bytearray(64_000) for _ in range(2000)]
    # Some stay, in between, so that the rest is not given back by itself.
    kept = chunks[::40]
    del chunks
    before = process.memory_info().rss
    give_back_freed_memory()
    freed = before - process.memory_info().rss
    assert len(kept) == 50
    if platform.libc_ver()[0] == "glibc":
        assert freed > 60_000_000
