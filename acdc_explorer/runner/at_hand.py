"""The search at hand, the threshold path it is on, and what is done once it has ended."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from acdc_explorer.circuits.by_hand import HandChange
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.threshold_path import ThresholdPath
from acdc_explorer.engine.by_hand import with_changes
from acdc_explorer.engine.engine import Engine
from acdc_explorer.models import Model
from acdc_explorer.runner.background import Background
from acdc_explorer.runner.loaded import Loaded
from acdc_explorer.runner.session import PathSession, SearchSession
from acdc_explorer.runner.state import Request, Snapshot, Start, Status
from acdc_explorer.searches.methods import SEARCH_METHODS


class AtHand:
    """Changed in the worker alone, under a lock; read on any thread under the same."""

    def __init__(self, lock: threading.Condition):
        """Begins with nothing.

        Args:
            lock: held while it changes.
        """
        self._lock, self._loaded = lock, Loaded()
        self._request: Request | None = None
        self._search: SearchSession | None = None
        self._path: PathSession | None = None
        self._background: Background | None = None
        # Edges to be switched off or on, and what they made of which circuit of the search.
        self._changes: tuple[HandChange, ...] = ()
        self._changed: tuple[Circuit, Circuit] | None = None
        self._shown: Circuit | None = None

    def begin(self, start: Start) -> bool:
        """Begins a search, or goes on with what is known of it.

        Args:
            start: what to search for.

        Returns:
            Whether it has ended already.
        """
        request = start.request
        if not self._loaded.has_model_of(request):
            self._let_go()
        try:
            fitted, note = self._loaded.fitted(request)
            model, wanted = self._loaded.prepare(fitted)
        except BaseException:
            # What the last request led to must not stand for this one.
            self._let_go()
            raise
        if self._search and not self._search.is_of(wanted.engine, wanted.settings):
            self._let_go()
        before = self._search
        # Not under the lock: this computes, and tells how far it is.
        if before and self._path and not start.afresh:
            search = self._path.going_on(before, wanted)
        else:
            before, search = None, SearchSession(model, wanted)
        search.add_note(note)
        # What is known of other thresholds holds even where this one is searched afresh.
        path = self._path or PathSession(search)
        if before is None:
            search.attribute_first()
        self._changes = start.changes
        changed = self._changed_of(search) if search.complete else None
        with self._lock:
            self._request, self._search, self._path = request, search, path
            self._changed = changed
            if search.complete:
                self._end()
        return search.complete

    def advance(self) -> bool:
        """Does a step of the search; False if it has ended."""
        assert self._search is not None
        assert self._path is not None
        if self._search.advance():
            return True
        with self._lock:
            if SEARCH_METHODS[self._search.settings.method].is_exact:
                for circuit in (*self._search.found, self._search.circuit()):
                    self._path.add(circuit)
            self._end()
        self.make_changes()
        return False

    def edit(self, changes: tuple[HandChange, ...], *, is_running: bool) -> None:
        """Switches edges off and on by hand.

        Args:
            changes: all that there are to be.
            is_running: whether a search is under way, which they wait for.
        """
        self._changes = changes
        if not is_running:
            self.make_changes()

    def make_changes(self) -> None:
        """Makes the changes by hand in the circuit of the search, and measures it."""
        if self._search is not None:
            changed = self._changed_of(self._search)
            with self._lock:
                self._changed = changed

    def _changed_of(self, search: SearchSession) -> tuple[Circuit, Circuit]:
        """The circuit of a search, and the same with changes by hand, measured."""
        searched = search.circuit()
        # Another object in any case, so that who shows it hears that the changes have been made.
        return searched, replace(with_changes(search.engine, searched, self._changes))

    def _circuit(self, search: SearchSession) -> Circuit:
        """The circuit so far, with changes by hand once it is complete."""
        circuit = search.circuit()
        if self._changed is not None and self._changed[0] is circuit:
            self._shown = self._changed[1]
        elif not (search.complete and self._changes and self._shown):
            self._shown = circuit
        # Else they are being measured: what was shown before is shown until then.
        return self._shown

    def _end(self) -> None:
        """What may be worth knowing besides is found in the background."""
        assert self._search is not None
        assert self._path is not None
        if self._background is not None:
            self._background.close()
        self._background = Background(self._search, self._path)

    @property
    def explores(self) -> bool:
        """Whether there is something left to do in the background."""
        return self._background is not None and not self._background.finished

    def explore(self) -> bool:
        """Does a bit of that; True if there is something new."""
        background = self._background
        assert background is not None
        new = background.advance()
        if background.verified:
            self._put_right(background.verified)
        return new

    def _put_right(self, verified: Circuit) -> None:
        """Shows a verified circuit in place of the screened one."""
        assert self._search is not None
        assert self._path is not None
        if self._search.circuit().n_screened:
            search = self._search.ended_in(verified)
            changed = self._changed_of(search)
            with self._lock:
                self._search, self._changed = search, changed
                self._path.put_right(search.circuit())

    def forget(self) -> None:
        """Lets go of the model and of all that holds it."""
        self._let_go()
        self._loaded.forget()

    def _let_go(self) -> None:
        with self._lock:
            for each in (self._background, self._path):
                if each is not None:
                    each.close()
            self._search = self._path = self._background = None
            self._changed = self._shown = None

    def ask(self, question: Callable[[Model, Engine, Circuit], Any]) -> Any:
        """What a function makes of model, engine and the circuit so far."""
        search = self._search
        if search is None:
            raise RuntimeError("no search has begun yet")
        return question(search.model, search.engine, self._circuit(search))

    def activity(self, status: Status) -> str:
        """What takes long in itself, in words, or nothing."""
        under_way = {"running": self._search, "done": self._path}.get(status)
        return under_way.activity if under_way else ""

    def snapshot(
        self, status: Status, error: Exception | None, version: int, activity: str
    ) -> Snapshot:
        """Where things stand.

        Args:
            status: of the runner.
            error: if that is "error".
            version: that it has.
            activity: what takes long just now, in words; or nothing.
        """
        search, path = self._search, self._path
        background = self._background if status == "done" else None
        return Snapshot(
            status=status,
            circuit=self._circuit(search) if search else None,
            receiver=search.receiver if search and status != "done" else None,
            n_done=search.n_done if search else 0,
            seconds=search.seconds if search else 0.0,
            error=error,
            version=version,
            task=search.engine.task if search else None,
            tokens=search.tokens if search else {},
            preview=search.preview if search and not search.complete else (),
            path=path.path if path else ThresholdPath(),
            curves=dict(path.curves) if path else {},
            exploring=status == "done" and self.explores,
            target=search.target if search else None,
            trust=background.trust if background else None,
            activity=activity,
            path_gave_up=path.finding_path.gave_up if path else False,
            note=search.note if search else "",
            request=self._request if search else None,
            tasks=self._loaded.tasks,
        )
