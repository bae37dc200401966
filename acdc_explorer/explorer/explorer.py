"""The explorer: a search running in the background, and a live graph to look into.

The worker thread of a `Runner` computes; callbacks only say what is wanted. Every write to the page
happens under one lock, since it can come from the worker or from a callback.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Unpack

import ipywidgets as widgets
from IPython.display import display

from acdc_explorer.arguments import SearchOptions, check_options, parse_target
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.errors import check_whole_number
from acdc_explorer.explorer.checks.checks import Checks
from acdc_explorer.explorer.circuit_files import made_file, read_session, request_of
from acdc_explorer.explorer.circuit_widget import CircuitWidget
from acdc_explorer.explorer.controls.controls import Controls
from acdc_explorer.explorer.controls.own_prompts import OwnPrompts
from acdc_explorer.explorer.drawing.graph_view import GraphView
from acdc_explorer.explorer.drawing.shown import Shown
from acdc_explorer.explorer.hand.what_if import WhatIf
from acdc_explorer.explorer.kept_groups import KeptGroups
from acdc_explorer.explorer.notebook.lasting_picture import EMPTY, LastingPicture
from acdc_explorer.explorer.page import Page
from acdc_explorer.explorer.panel.side_panel import SidePanel
from acdc_explorer.explorer.parts import PARTS
from acdc_explorer.explorer.search_widget import check_threshold
from acdc_explorer.explorer.selection import Selection
from acdc_explorer.explorer.session import Session
from acdc_explorer.explorer.state import State
from acdc_explorer.explorer.widgets.file_buttons import FileButtons
from acdc_explorer.models import list_models
from acdc_explorer.models.model import ModelLike
from acdc_explorer.runner.state import Request, Snapshot
from acdc_explorer.tasks import Task, list_tasks

_ENDED = ("done", "stopped", "error")


class Explorer(CircuitWidget):
    """Searches for a circuit and shows it while it grows; displays itself in a notebook.

    One class, since a widget's traits and what observes them belong together; what it shows lies in
    objects of their own (`Controls`, `GraphView`, `SidePanel`, `OwnPrompts`).

    The traits are observable, and setting one from Python does what the page does.

    Once its output is cleared or replaced, as by running the cell again, it lets go of the worker
    thread, the model and the page; the circuit stays. Displayed again, or told to search, it has
    them anew and goes on from there. While the notebook's page is closed, only the work in the
    background rests, since the page may be opened again. `close` is for good.

    The attributes to be set and observed are those of `SearchWidget` and `CircuitWidget`.
    """

    def __init__(
        self,
        model: ModelLike = "mini",
        task: Task | str = "ioi",
        threshold: float | str = "7%",
        *,
        faithfulness: float | str | None = None,
        n_prompts: int = 64,
        seed: int = 0,
        device: str = "auto",
        **options: Unpack[SearchOptions],
    ):
        """Builds the widget and starts the search.

        Args:
            model: anything that `load_model` takes. It is loaded in the background; if that fails,
                the widget says so.
            task: a `Task`, or the name of one.
            threshold: as `find_circuit` takes it.
            faithfulness: instead of it, as `find_circuit` takes it.
            n_prompts: for a task given by name.
            seed: likewise.
            device: for a model given by name.
            options: other arguments of `find_circuit` but `top_n`. Graphs of 10,000 edges and more
                are searched with `screen=0.5` unless it is given; the circuit is audited, and
                verified edge by edge, in the background.

        Raises:
            ValueError: naming the argument that is wrong and what is allowed; what only the model
                or the task can tell is said on the page.
        """
        self._ui, self._lifetime = threading.RLock(), threading.RLock()
        self._syncing = False
        self._found: dict[str, tuple[Circuit, Any]] = {}
        self._state = State(
            self._ui,
            lambda question, answer: self._runner.ask(question, answer),
            lambda errand, answer: self._runner.run_errand(errand, answer),
            self._select,
            self._make_changes,
        )
        self._picture = LastingPicture()
        self._last_view: tuple[Shown, str | None] | None = None
        check_threshold(threshold)
        check_options(options, refused={"top_n": "give a threshold, which can be dragged"})
        parse_target(faithfulness, None, options)
        for name, value, least in (("n_prompts", n_prompts, 1), ("seed", seed, 0)):
            check_whole_number(name, value, least)
        self._request = Request(
            model, task, threshold, n_prompts, seed, dict(options), device, faithfulness
        )
        super().__init__(self._make_page())
        self.add_class("acdc-explorer")
        self.set_trait("threshold", threshold)
        self.set_trait("faithfulness", faithfulness)
        self.columns = "positions" if options.get("positions") else "heads"
        self._connect_traits()
        self.run()

    def _make_page(self) -> Sequence[widgets.Widget]:
        self._state.forget_watchers()
        self._shown_version = -1
        self._drawn: tuple[Any, ...] = ()
        self._controls = Controls(list(list_models().model), list(list_tasks().task))
        self._make_runner()
        ask = self._runner.ask
        self._what_if = WhatIf(self._state)
        self._graph_view = GraphView(
            ask, self._ui, self._edges_clicked, self._select, self._what_if.keys,
            self._mark_changes, self._state.toggle_group,
        )  # fmt: skip
        self._state.watch(self._redraw_after)
        self._side_panel = SidePanel(ask, self._ui, self._select, self._position_clicked)
        self._side_panel.selection = Selection.of(self.selected_edge, self.selected_node)
        self._own_prompts = OwnPrompts(lambda: self._runner, self._ui, self._use_task)
        self._checks = Checks(self._runner, self._ui, self._found, self._redraw)
        self._page = Page(
            self._controls,
            self._own_prompts,
            self._graph_view,
            self._side_panel,
            self._what_if,
            self._checks,
            [part(self._state) for part in PARTS],
            lambda threshold: self.set_trait("threshold", float(threshold)),
            FileButtons(self._file, self._load),
            self._presence,
        )
        self._tabs = self._page.tabs
        if self._last_view is not None:
            self._show_view(*self._last_view)
        self._sync_controls()
        self._controls.connect(
            set_request=self._control_set,
            set_option=self._option_set,
            set_columns=lambda columns: setattr(self, "columns", columns),
            show_own_prompts=self._own_prompts.show,
            slide=self._slider_set,
            step=self._step_circuit,
            slide_faithfulness=self._faithfulness_slid,
            run=self.run,
            pause=self._pause_clicked,
            stop=self.stop,
        )
        return self._page.parts

    def _close_page(self) -> None:
        self._last_view = self._graph_view.shown, self._open_tab()
        self._page.close()

    def snapshot_html(self, path: str | os.PathLike[str]) -> None:
        """Writes what is on the page as a file that opens in any browser, without a kernel."""
        with self._ui:
            self._page.save(path, self.shown_position)

    def _ipython_display_(self) -> None:
        """Shows the widget, and beside it a picture for when there is no kernel any more."""
        if self._closed:
            display({"text/plain": repr(self)}, raw=True)
            return
        self._unfold()
        display(self._repr_mimebundle_(), raw=True)
        self._picture.show(*self._drawn_picture())

    def _drawn_picture(self) -> tuple[str, str]:
        with self._ui:
            return self._graph_view.svg() or EMPTY, repr(self)

    def _file(self, kind: str) -> tuple[str, str, str] | None:
        """Name, type and text of a file to save, if there is something to save."""
        with self._ui:
            session = self._session() if kind == "session" and self.circuit else None
            return made_file(kind, self.circuit, self._graph_view.svg(), session)

    def _load(self, name: str, content: bytes) -> None:
        """Goes on from a circuit or a session that was saved."""
        try:
            graph = self.circuit.graph if self.circuit else None
            session = Session.from_content(content, name, graph)
            if session.circuit.imported:
                self._open_imported(session)
                return
        except ValueError as error:
            with self._ui:
                self._page.say_error(error)
            return
        with self._ui:
            circuit = session.circuit
            self._request = request_of(circuit, self._request, self.circuit)
            self._syncing = True
            self.threshold, self.faithfulness = circuit.settings.threshold_text, None
            self._sync_controls()
        self._take_over(session)
        self._start()

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        model: ModelLike | None = None,
        task: Task | str | None = None,
        device: str = "auto",
    ) -> Explorer:
        """An explorer that goes on from a file; nothing is tested again.

        Another tool's circuit, which needs `model` and `task`, is made by hand of one searched for.

        Args:
            path: of a file that `save` wrote, or of a circuit's of any format.
            model: that the circuit was found in; by default the one of its name.
            task: that it was found for; by default the one of its name, with its prompts.
            device: for a model given by name.

        Raises:
            ValueError: if there is no such file, it is no session or circuit, is damaged, or is of
                a newer version. What does not fit the circuit is said on the page.
        """
        session, model = read_session(path, model, task, device)
        asked = request_of(session.circuit, Request("", ""), None)
        explorer = cls(
            asked.model if model is None else model,
            asked.task if task is None else task,
            asked.threshold,
            n_prompts=asked.n_prompts,
            seed=asked.seed,
            device=device,
            **asked.options,
        )
        explorer._take_over(session)
        explorer._make_changes(session.circuit.by_hand)
        return explorer

    @property
    def found(self) -> dict[str, Any]:
        """What was found when somebody asked whether the circuit is right, by name of the check."""
        return {name: result for name, (_, result) in self._found.items()}

    def __repr__(self) -> str:
        standing = self.circuit.summary() if self.circuit else "no circuit yet"
        return f"Explorer({'closed' if self._closed else self.status}; {standing})"

    def _option_set(self, name: str, value: Any) -> None:
        with self._ui:
            if self._syncing:
                return
            self._request = replace(self._request, options=self._options(**{name: value}))
            self._state.forget_edits()
            if name == "positions":
                self.selected_edge = self.shown_position = None
                self.columns = "positions" if value else "heads"
        self._start()

    def _use_task(self, task: Task) -> None:
        """Searches prompts that were pasted or uploaded."""
        with self._ui:
            self._request = replace(
                self._request, task=task, other_task=False, options=self._options()
            )
            self._state.forget_edits()
            self.selected_edge = self.shown_position = None
            self._sync_controls()
        self._start()

    def _show(self, snapshot: Snapshot) -> None:
        """Brings the page in line with the search; called from the worker and from callbacks."""
        with self._ui:
            if snapshot.version < self._shown_version:
                return
            self._shown_version = snapshot.version
            circuit = snapshot.circuit
            # Verification tests what was screened, and changes nothing else that is seen here.
            decided = circuit and (circuit.settings, circuit.n_screened, circuit.by_hand)
            drawn = snapshot.status, snapshot.n_done, decided
            new_circuit = circuit is not None and drawn != self._drawn
            if circuit is not None and new_circuit:
                self._drawn = drawn
                self.circuit = circuit
                self._side_panel.circuit_changed(circuit, snapshot.task)
                self._graph_view.effects = None
                if self._side_panel.is_foreign_to(circuit):
                    self.selected_edge = self.selected_node = None
                self._draw(snapshot)
                if snapshot.target is not None and self._request.faithfulness is not None:
                    self._target_found(circuit)
                self._sync_slider()
            elif circuit is None and snapshot.status == "error":
                self._void()
            self._sync_tasks(snapshot)
            self._page.show(snapshot, self.shown_position)
            self._tell_state(snapshot)
            ended = snapshot.status in _ENDED and self.status != snapshot.status
            if circuit is not None and ended:
                self._side_panel.offer_kept_edges()
            self.status = snapshot.status
            if circuit is not None and new_circuit and snapshot.status in _ENDED:
                self._picture.renew_soon(self._drawn_picture)
                self._select_saved()
                self._position_set()

    def _void(self) -> None:
        """Shows no circuit, since the last one is of another request."""
        self.circuit, self._drawn = None, ()
        self._side_panel.circuit_changed(None, None)
        self.selected_edge = self.selected_node = self.shown_position = None

    def _draw(self, snapshot: Snapshot) -> None:
        selected = self.selected_edge or self.selected_node
        if snapshot.circuit is not None:
            if self._side_panel.is_foreign_to(snapshot.circuit):
                selected = None
            has_positions = bool(snapshot.circuit.graph.labels)
            self._controls.show_columns(self.columns if has_positions else None)
        view, checks = self._graph_view, self._checks
        view.steadiness, view.notes = checks.steadiness, checks.notes
        compared = self._state.compared
        view.comparison = compared.comparison(snapshot.circuit)
        view.marks_changes = compared.follows
        view.drawn_by = self._state.drawn_by
        if snapshot.circuit is not None:
            view.groups = KeptGroups.of(self._state.kept, snapshot.circuit.graph).drawn_closed
        view.draw(snapshot, selected, self.columns)

    def _redraw(self) -> None:
        with self._ui:
            snapshot = self._runner.snapshot()
            self._draw(snapshot)
            self._page.write_status(snapshot, self.shown_position)
