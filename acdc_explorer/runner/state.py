"""What a runner is asked for, and where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from acdc_explorer.circuits.by_hand import HandChange
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.threshold_path import ThresholdPath
from acdc_explorer.graph import Edge, Receiver
from acdc_explorer.runner.session import CurvePoint
from acdc_explorer.searches.audit import Audit
from acdc_explorer.tasks import Task

Status = Literal["idle", "loading", "running", "paused", "done", "stopped", "error"]
STATUSES: tuple[Status, ...] = (
    "idle", "loading", "running", "paused", "done", "stopped", "error",
)  # fmt: skip


@dataclass(frozen=True)
class Request:
    """What is to be searched.

    Attributes:
        model: anything that `load_model` takes.
        task: a `Task`, or the name of one.
        threshold: as `find_circuit` takes it.
        n_prompts: for a task given by name.
        seed: likewise.
        options: other arguments of `find_circuit`.
        faithfulness: to look for instead of the threshold's circuit, as `find_circuit` takes it.
        device: for a model given by name.
        other_task: whether to take another task where the one that is named cannot be made for the
            model.
    """

    model: Any
    task: Task | str
    threshold: float | str = "7%"
    n_prompts: int = 64
    seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    device: str = "auto"
    faithfulness: float | str | None = None
    other_task: bool = False


@dataclass(frozen=True)
class Start:
    """Asks for a search.

    Attributes:
        request: what to search for.
        afresh: whether to search even where decisions are known to hold.
        changes: edges to be switched off and on by hand in the circuit that is found.
    """

    request: Request
    afresh: bool
    changes: tuple[HandChange, ...] = ()


@dataclass(frozen=True)
class Edit:
    """Asks for edges to be switched off or on by hand.

    Attributes:
        changes: all that there are to be, in place of those before.
    """

    changes: tuple[HandChange, ...]


# What a runner can be asked for.
Command = Start | Edit | Literal["pause", "resume", "stop"]


@dataclass(frozen=True)
class Trust:
    """How far a screened circuit can be trusted.

    Attributes:
        audit: tests of a sample of its screened edges; None until they are done.
        share_verified: the share of all edges up to which each screened one has been tested.
        corrected: ids of the screened edges that stay after all, as far as it has been verified.
    """

    audit: Audit | None = None
    share_verified: float = 0.0
    corrected: tuple[str, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """Where a runner stands; never changes once taken.

    Attributes:
        status: of the runner.
        circuit: as far as the search has come, and once it has ended with the changes by hand; None
            before one has begun.
        receiver: under test, or None.
        n_done: edges decided so far, tested or not.
        seconds: of computing spent on this search.
        error: what went wrong, if status is "error".
        version: grows with every change.
        task: that is searched; None before a search has begun.
        tokens: position label -> the tokens there in the first prompt, in words.
        preview: edges that attribution would keep, with their approximate effects.
        path: circuits of other thresholds found so far.
        curves: attribution method -> its circuits by size.
        path_gave_up: whether the time for these was spent before all were found.
        exploring: whether the background is at work on these, or on trust.
        target: the faithfulness that is looked for, as a share, or None.
        trust: in a circuit that was screened; None if no edge was.
        activity: what takes long just now, in words; or nothing.
        note: what is to be known of the task, the model's weights, or the memory that a search
            takes.
        request: that led to the circuit; None before one has.
        tasks: names of those that can be made for the model that is loaded.
    """

    status: Status
    circuit: Circuit | None = None
    receiver: Receiver | None = None
    n_done: int = 0
    seconds: float = 0.0
    error: Exception | None = None
    version: int = 0
    task: Task | None = None
    tokens: Mapping[str, str] = field(default_factory=dict)
    preview: tuple[tuple[Edge, float], ...] = ()
    path: ThresholdPath = field(default_factory=ThresholdPath)
    curves: Mapping[str, tuple[CurvePoint, ...]] = field(default_factory=dict)
    path_gave_up: bool = False
    exploring: bool = False
    target: float | None = None
    trust: Trust | None = None
    activity: str = ""
    note: str = ""
    request: Request | None = None
    tasks: tuple[str, ...] = ()

    @property
    def rate(self) -> float:
        """Edges tested per second."""
        tested = self.circuit.n_tested if self.circuit else 0
        return tested / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        """A guess at the time left: as long for the edges ahead as for those behind."""
        if not self.circuit or not self.n_done:
            return None
        return self.seconds * (self.circuit.graph.n_edges - self.n_done) / self.n_done
