"""A thread that drives a search: start, pause, retarget, stop; and answers questions in between.

One worker thread owns the model and the engine. Whatever needs a computation is handed to it:
searches step by step, and urgent questions (a clicked edge), which it answers between two steps.
Callers on other threads only set what is wanted and read snapshots. No widget is known here.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from acdc_explorer.arithmetic import plain_arithmetic
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.threshold_path import ThresholdPath
from acdc_explorer.engine.engine import Engine
from acdc_explorer.models import Model
from acdc_explorer.progress import Progress, heard_by
from acdc_explorer.runner.activities import Activities
from acdc_explorer.runner.at_exit import close_at_exit
from acdc_explorer.runner.background import Background
from acdc_explorer.runner.cores import use_cores
from acdc_explorer.runner.loaded import Loaded
from acdc_explorer.runner.notices import Notices
from acdc_explorer.runner.questions import Answer, Questions, as_exception
from acdc_explorer.runner.session import PathSession, SearchSession
from acdc_explorer.runner.state import Command, Request, Snapshot, Start, Status
from acdc_explorer.searches.methods import SEARCH_METHODS


class Runner:
    """Runs searches in a worker thread.

    One class, since one lock guards all of its state; what is computed lies in `session.py`.

    `listener` is called with a snapshot from the worker thread when the status changes, and while a
    search runs at most every `interval` seconds, or every twice the time it takes if that is more.
    """

    def __init__(self, listener: Callable[[Snapshot], None] | None = None, interval: float = 0.2):
        """Starts the worker thread, idle."""
        self._notices = Notices(listener, interval)
        self._condition = threading.Condition()
        self._questions = Questions()
        # What was asked for and not yet done, in order.
        self._commands: deque[Command] = deque()
        self._closed = False
        self._status: Status = "idle"
        self._error: Exception | None = None
        self._version = 0
        self._activities = Activities()
        self._loaded = Loaded()
        self._request: Request | None = None
        self._search: SearchSession | None = None
        self._path: PathSession | None = None
        # What is done once the search has ended; and whether that waits.
        self._background: Background | None = None
        self._rests = False
        self._thread = threading.Thread(target=self._work, name="acdc-search", daemon=True)
        close_at_exit(self)
        self._thread.start()

    def start(self, request: Request, *, afresh: bool = False) -> None:
        """Begins a search, in place of the one that runs, if any.

        Args:
            request: what to search for.
            afresh: search even where the last search's decisions are known to hold.
        """
        with self._condition:
            self._check_open()
            self._commands.clear()
            self._ask_for(Start(request, afresh))

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
                self._commands.clear()
                self._ask_for("stop")

    def _ask_for(self, command: Command) -> None:
        self._commands.append(command)
        self._version += 1
        self._condition.notify_all()

    def _status_seen(self) -> Status:
        """The status as others see it: a new search is loading from when it is asked for."""
        pending = any(isinstance(each, Start) or each == "stop" for each in self._commands)
        return "loading" if pending else self._status

    def wait(self, timeout: float | None = None) -> Status:
        """Waits until the search is done, stopped or failed (or was never begun).

        Raises:
            TimeoutError: if that takes longer than `timeout` seconds.
        """
        with self._condition:
            ended = self._condition.wait_for(
                lambda: self._status_seen() in ("done", "stopped", "error", "idle"), timeout
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

        def on_the_search() -> Any:
            search = self._search
            if search is None:
                raise RuntimeError("no search has begun yet")
            return question(search.model, search.engine, search.circuit())

        with self._condition:
            self._check_open()
            self._questions.add(on_the_search, answer)
            self._condition.notify_all()

    def rest(self, rests: bool) -> None:
        """Has the background wait, or go on; searches and questions never wait."""
        with self._condition:
            self._rests = rests
            self._condition.notify_all()

    def snapshot(self) -> Snapshot:
        """Where things stand now."""
        with self._condition:
            search, path, status = self._search, self._path, self._status_seen()
            background = self._background if status == "done" else None
            return Snapshot(
                status=status,
                circuit=search.circuit() if search else None,
                receiver=search.receiver if search and status != "done" else None,
                n_done=search.n_done if search else 0,
                seconds=search.seconds if search else 0.0,
                error=self._error if status == "error" else None,
                version=self._version,
                task=search.engine.task if search else None,
                tokens=search.tokens if search else {},
                preview=search.preview if search and not search.complete else (),
                path=path.path if path else ThresholdPath(),
                curves=dict(path.curves) if path else {},
                exploring=self._is_exploring(),
                target=search.target if search else None,
                trust=background.trust if background else None,
                activity=self._activity(),
                path_gave_up=path.finding_path.gave_up if path else False,
                note=search.note if search else "",
                request=self._request if search else None,
                tasks=self._loaded.tasks,
            )

    def _activity(self) -> str:
        """What takes long just now, in words, or nothing."""
        under_way = {"running": self._search, "done": self._path}.get(self._status)
        return self._activities.told or (under_way.activity if under_way else "")

    def close(self) -> None:
        """Ends the worker thread and lets go of the model."""
        with self._condition:
            self._closed = True
            if self._status_seen() in ("running", "loading", "paused"):
                self._commands.clear()
                self._status = "stopped"
            self._condition.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=10)

    def _forget(self) -> None:
        """Lets go of all that holds the model; in the worker."""
        for each in (self._background, self._path):
            if each is not None:
                each.close()
        self._search = self._path = self._background = None

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

    def _work(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(self._has_work)
                if self._closed:
                    self._forget()
                    self._loaded.forget()
                    return
                job = self._next_job()
            use_cores(in_background=job == self._explore)
            try:
                with plain_arithmetic(), heard_by(self._hear):
                    job()
            except BaseException as error:
                self._set_status("error", as_exception(error))
                self._notify()

    def _has_work(self) -> bool:
        return bool(
            self._closed
            or self._questions
            or self._commands
            or self._status == "running"
            or (self._is_exploring() and not self._rests)
        )

    def _is_exploring(self) -> bool:
        """Whether there is something to do in the background."""
        background = self._background
        return self._status == "done" and background is not None and not background.finished

    def _next_job(self) -> Callable[[], None]:
        """What comes first: a question, what was asked for, a step of the search, the path."""
        if self._questions:
            return self._questions.answer_next
        if self._commands:
            command = self._commands.popleft()
            if isinstance(command, Start):
                # Before the lock is let go: who waits must not see the last search's end meanwhile.
                self._set_status("loading")
            return partial(self._obey, command)
        return self._advance if self._status == "running" else self._explore

    def _obey(self, command: Command) -> None:
        """Carries out what was asked for."""
        if isinstance(command, Start):
            self._notify()
            self._begin(command.request, afresh=command.afresh)
        elif command == "stop":
            self._set_status("stopped")
        elif command == "pause" and self._status == "running":
            self._set_status("paused")
        elif command == "resume" and self._status == "paused":
            self._set_status("running")
        self._notify()

    def _begin(self, request: Request, *, afresh: bool) -> None:
        if not self._loaded.has_model_of(request):
            self._forget()
        try:
            fitted, note = self._loaded.fitted(request)
            model, wanted = self._loaded.prepare(fitted)
        except BaseException:
            # What the last request led to must not stand for this one.
            self._forget()
            raise
        if self._search and not self._search.is_of(wanted.engine, wanted.settings):
            self._forget()
        before = self._search
        # Not under the lock: this computes, and tells how far it is.
        if before and self._path and not afresh:
            search = self._path.going_on(before, wanted)
        else:
            before, search = None, SearchSession(model, wanted)
        search.add_note(note)
        # What is known of other thresholds holds even where this one is searched afresh.
        path = self._path or PathSession(search)
        if before is None:
            search.attribute_first()
        with self._condition:
            self._request, self._search, self._path = request, search, path
            if search.complete:
                self._done()
            else:
                self._set_status("running")

    def _advance(self) -> None:
        assert self._search is not None
        if self._search.advance():
            if self._notices.due:
                self._notify()
        else:
            assert self._path is not None
            if SEARCH_METHODS[self._search.settings.method].is_exact:
                for circuit in (*self._search.found, self._search.circuit()):
                    self._path.add(circuit)
            self._done()
            self._notify()

    def _done(self) -> None:
        """The search has ended; what may be worth knowing besides is found in the background."""
        assert self._search is not None
        assert self._path is not None
        with self._condition:
            if self._background is not None:
                self._background.close()
            self._background = Background(self._search, self._path)
            self._set_status("done")

    def _explore(self) -> None:
        """Does a bit of what is to be done in the background."""
        background = self._background
        assert background is not None
        new = background.advance()
        if background.verified:
            self._put_right(background.verified)
        if background.finished or (new and self._notices.due):
            with self._condition:
                self._version += 1
            self._notify()

    def _put_right(self, verified: Circuit) -> None:
        """Shows a verified circuit in place of the screened one."""
        assert self._search is not None
        assert self._path is not None
        if self._search.circuit().n_screened:
            with self._condition:
                self._search = self._search.ended_in(verified)
                self._path.put_right(self._search.circuit())

    def _notify(self) -> None:
        self._notices.give(self.snapshot)
