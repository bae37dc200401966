"""A thread that drives a search: start, pause, retarget, stop; and answers questions in between.

One worker thread owns the model and the engine. Whatever needs a computation is handed to it:
searches step by step, and urgent questions (a clicked edge), which it answers between two steps.
Callers on other threads only set what is wanted and read snapshots. No widget is known here.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from acdc_explorer.arithmetic import plain_arithmetic
from acdc_explorer.circuits.by_hand import HandChange
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.engine.engine import Engine
from acdc_explorer.models import Model
from acdc_explorer.progress import Progress, heard_by
from acdc_explorer.runner.activities import Activities
from acdc_explorer.runner.at_exit import close_at_exit
from acdc_explorer.runner.at_hand import AtHand
from acdc_explorer.runner.cores import use_cores
from acdc_explorer.runner.errands import Errand, Errands, GivenUpError, tell_given_up
from acdc_explorer.runner.notices import Notices
from acdc_explorer.runner.questions import Answer, Questions, answer_to, as_exception
from acdc_explorer.runner.state import Command, Edit, Request, Snapshot, Start, Status

# With nothing under way.
ENDED: tuple[Status, ...] = ("idle", "done", "stopped", "error")


class Runner:
    """Runs searches in a worker thread.

    One class, since one lock guards all of its state; what it works on lies in `at_hand.py`.

    `listener` is called with a snapshot from the worker thread when the status changes, and while a
    search runs at most every `interval` seconds, or every twice the time it takes if that is more.
    """

    def __init__(self, listener: Callable[[Snapshot], None] | None = None, interval: float = 0.2):
        """Starts the worker thread, idle."""
        self._notices = Notices(listener, interval)
        self._condition = threading.Condition()
        self._questions, self._errands = Questions(), Errands()
        # What was asked for and not yet done, in order.
        self._commands: deque[Command] = deque()
        # Whether a change by hand is being made.
        self._editing = False
        self._closed = False
        self._status: Status = "idle"
        self._error: Exception | None = None
        self._version = 0
        self._activities = Activities()
        self._at_hand = AtHand(self._condition)
        # Whether what is done once the search has ended waits.
        self._rests = False
        self._thread = threading.Thread(target=self._work, name="acdc-search", daemon=True)
        close_at_exit(self)
        self._thread.start()

    def start(
        self, request: Request, *, afresh: bool = False, changes: Sequence[HandChange] = ()
    ) -> None:
        """Begins a search, in place of the one that runs, if any.

        Args:
            request: what to search for.
            afresh: search even where the last search's decisions are known to hold.
            changes: edges to be switched off and on by hand in the circuit that is found; what is
                so in it already is no change.
        """
        with self._condition:
            self._check_open()
            self._commands.clear()
            self._ask_for(Start(request, afresh, tuple(changes)))
        # They are of the circuit that was.
        self.give_up_errands()

    def pause(self) -> None:
        """Halts the running search after the step at hand; `resume` goes on with it."""
        with self._condition:
            if self._status_seen() in ("running", "loading"):
                self._ask_for("pause")

    def resume(self) -> None:
        """Goes on with a paused search."""
        with self._condition:
            if self._status == "paused" or "pause" in self._commands:
                self._ask_for("resume")

    def stop(self) -> None:
        """Ends the search after the step at hand; what it found so far stays."""
        with self._condition:
            if self._status_seen() in ("running", "loading", "paused"):
                edits = [each for each in self._commands if isinstance(each, Edit)]
                self._commands.clear()
                self._commands.extend(edits)
                self._ask_for("stop")

    def edit(self, changes: Sequence[HandChange]) -> None:
        """Switches edges off and on by hand, at once or when the search has ended.

        Args:
            changes: all that there are to be, in place of those before, of edges that the model
                has; what is so in the circuit already is no change.
        """
        with self._condition:
            self._check_open()
            self._ask_for(Edit(tuple(changes)))
        # They are of the circuit that was.
        self.give_up_errands()

    def _ask_for(self, command: Command) -> None:
        self._commands.append(command)
        self._version += 1
        self._condition.notify_all()

    def _is_editing(self) -> bool:
        """Whether there are changes by hand to be made at once."""
        return self._editing or any(isinstance(each, Edit) for each in self._commands)

    def _status_seen(self) -> Status:
        """The status as others see it: a new search is loading from when it is asked for."""
        pending = any(isinstance(each, Start) or each == "stop" for each in self._commands)
        return "loading" if pending else self._status

    def wait(self, timeout: float | None = None) -> Status:
        """Waits until the search is done, stopped or failed (or was never begun).

        Changes by hand that were asked for before are made by then.

        Raises:
            TimeoutError: if that takes longer than `timeout` seconds.
        """
        with self._condition:
            ended = self._condition.wait_for(
                lambda: self._status_seen() in ENDED and not self._is_editing(), timeout
            )
            if not ended:
                raise TimeoutError(f"the search is still {self._status_seen()} after {timeout} s")
            return self._status

    def ask(self, question: Callable[[Model, Engine, Circuit], Any], answer: Answer) -> None:
        """Has something computed by the worker between two steps of the search.

        Args:
            question: called in the worker with model, engine and the circuit so far.
            answer: called in the worker with the result, or None and what was raised.
        """
        with self._condition:
            if self._closed and threading.current_thread() is self._thread:
                # What an answer leads to is of no use any more.
                return
            self._check_open()
            self._questions.add(partial(self._at_hand.ask, question), answer)
            self._condition.notify_all()

    def run_errand(self, errand: Callable[[Model, Engine, Circuit], Any], answer: Answer) -> None:
        """Has something computed that takes long, once the search has ended.

        Questions are answered meanwhile; a new search has it given up.

        Args:
            errand: called in the worker as a question is; it tells how far it is by `working_on`.
            answer: called with the result, or None and what was raised: in the worker, or where it
                is given up before it has begun, with `GivenUpError`.
        """
        with self._condition:
            self._check_open()
            self._errands.add(partial(self._at_hand.ask, errand), answer)
            self._condition.notify_all()

    def give_up_errands(self) -> None:
        """Ends the errand under way, and drops those that wait."""
        with self._condition:
            dropped = self._errands.give_up()
        tell_given_up(dropped)

    def rest(self, rests: bool) -> None:
        """Has the background wait, or go on; searches and questions never wait."""
        with self._condition:
            self._rests = rests
            self._condition.notify_all()

    def snapshot(self) -> Snapshot:
        """Where things stand now."""
        with self._condition:
            status = self._status_seen()
            return self._at_hand.snapshot(
                status,
                self._error if status == "error" else None,
                self._version,
                self._activities.told or self._at_hand.activity(self._status),
            )

    def close(self) -> None:
        """Ends the worker thread and lets go of the model."""
        with self._condition:
            self._closed = True
            dropped = self._errands.give_up()
            if self._status_seen() in ("running", "loading", "paused"):
                self._commands.clear()
                self._status = "stopped"
            self._condition.notify_all()
        tell_given_up(dropped)
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=10)

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("this runner has been closed")

    def _set_status(self, status: Status, error: Exception | None = None) -> None:
        with self._condition:
            self._status, self._error = status, error
            self._version += 1
            self._condition.notify_all()

    def _hear(self, progress: Progress) -> None:
        """Tells what takes long, and answers questions between the parts of it."""
        with self._condition:
            self._activities.hear(progress)
            self._version += 1
            told = self._activities.told
        # What has no parts begins and ends once: each is news.
        if told and (not progress.of or self._notices.due):
            self._notify()
        while self._questions:
            self._questions.answer_next()
        # In the errand itself, not in a question that is answered meanwhile.
        if self._errands.is_unwanted and not (progress.ended or self._questions.answering):
            raise GivenUpError("it was given up")

    def _work(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(self._has_work)
                if self._closed:
                    self._at_hand.forget()
                    return
                job = self._next_job()
            use_cores(in_background=job == self._explore)
            try:
                with plain_arithmetic(), heard_by(self._hear):
                    job()
            except BaseException as error:
                self._set_status("error", as_exception(error))
                # Where telling is what failed, it would fail again, and end the thread.
                with suppress(Exception):
                    self._notify()

    def _has_work(self) -> bool:
        return bool(
            self._closed
            or self._questions
            or self._commands
            or self._status == "running"
            or self._may_run_errands()
            or (self._status == "done" and self._at_hand.explores and not self._rests)
        )

    def _may_run_errands(self) -> bool:
        return bool(self._errands) and self._status in ENDED

    def _next_job(self) -> Callable[[], None]:
        """What comes first: a question, what was asked for, a step of the search, the path.

        A change by hand comes before questions, which are best answered of what is seen then.
        """
        if self._questions and not isinstance(next(iter(self._commands), None), Edit):
            return self._questions.answer_next
        if self._commands:
            command = self._commands.popleft()
            if isinstance(command, Start):
                # Before the lock is let go: who waits must not see the last search's end meanwhile.
                self._set_status("loading")
            self._editing = isinstance(command, Edit)
            return partial(self._obey, command)
        if self._status == "running":
            return self._advance
        if self._may_run_errands():
            return partial(self._do, *self._errands.begin())
        return self._explore

    def _do(self, errand: Errand, answer: Answer) -> None:
        """Does an errand."""

        def ended(result: Any, error: Exception | None) -> None:
            with self._condition:
                self._errands.end()
            answer(result, error)

        answer_to(errand, ended)
        # What was told of its progress is over.
        self._notify()

    def _obey(self, command: Command) -> None:
        """Carries out what was asked for."""
        if isinstance(command, Start):
            self._notify()
            ended = self._at_hand.begin(command)
            self._set_status("done" if ended else "running")
        elif isinstance(command, Edit):
            try:
                is_running = self._status in ("running", "paused")
                self._at_hand.edit(command.changes, is_running=is_running)
            finally:
                with self._condition:
                    self._editing = False
                    self._version += 1
                    self._condition.notify_all()
        elif command == "stop":
            self._at_hand.make_changes()
            self._set_status("stopped")
        elif command == "pause" and self._status == "running":
            self._set_status("paused")
        elif command == "resume" and self._status == "paused":
            self._set_status("running")
        self._notify()

    def _advance(self) -> None:
        if not self._at_hand.advance():
            self._set_status("done")
            self._notify()
        elif self._notices.due:
            self._notify()

    def _explore(self) -> None:
        """Does a bit of what is to be done in the background."""
        new = self._at_hand.explore()
        if not self._at_hand.explores or (new and self._notices.due):
            with self._condition:
                self._version += 1
            self._notify()

    def _notify(self) -> None:
        # Of a runner that has been closed nobody wants to hear; another may have its place.
        if not self._closed:
            self._notices.give(self.snapshot)
