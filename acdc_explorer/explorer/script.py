"""What was done in an explorer as a script: lines of Python, in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from itertools import takewhile

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.runner.state import Request

_IMPORT = "import acdc_explorer as ax"
_SEARCH = "circuit = ax.find_circuit("


class Script:
    """Each search that has ended and each action by hand is a line.

    Attributes:
        lines: with the names `ax`, `model`, `task` and `circuit`.
    """

    def __init__(self, lines: Sequence[str] = ()):
        """Begins with lines of a saved session, or with none."""
        self.lines = list(lines)

    def __str__(self) -> str:
        """A script that does the same."""
        return "".join(f"{line}\n" for line in self.lines)

    def did(self, line: str) -> None:
        """Notes what was done by hand.

        Args:
            line: of Python.
        """
        if not self.lines:
            self.lines.append(_IMPORT)
        if line.startswith("ax."):
            # Of looking at one thing after the other, the last is the one that counts.
            call = line.partition("(")[0]
            looks = takewhile(lambda each: each.startswith("ax."), reversed(self.lines))
            for each in [each for each in looks if each.partition("(")[0] == call]:
                self.lines.remove(each)
        if self.lines[-1:] != [line]:
            self.lines.append(line)

    def found(self, circuit: Circuit, request: Request) -> bool:
        """Notes a search that has ended.

        Args:
            circuit: that it found.
            request: that led to it.

        Returns:
            Whether it is another one than the last.
        """
        before = list(self.lines)
        if not self.lines:
            self.lines.append(_IMPORT)
        for line in (model_line(request), task_line(circuit, request), search_line(circuit)):
            name = line.partition(" = ")[0]
            # What is made of what has changed is made anew.
            if len(self.lines) > len(before) or self._latest(name) != line:
                self.lines.append(line)
        if self.lines == before:
            return False
        if before[-1:] and before[-1].startswith(_SEARCH) and len(self.lines) == len(before) + 1:
            # Of a slider that goes on, the last search is the one that counts.
            del self.lines[-2]
        return True

    def _latest(self, name: str) -> str:
        """The line that gave a name its value, but for what was changed by hand since."""
        start = _SEARCH if name == "circuit" else f"{name} = "
        return next((line for line in reversed(self.lines) if line.startswith(start)), "")


def model_line(request: Request) -> str:
    """How the model of a request is loaded."""
    if not isinstance(request.model, str):
        return "model = ...  # the one that was given to the explorer"
    return f"model = ax.load_model({request.model!r})"


def task_line(circuit: Circuit, request: Request) -> str:
    """How the task of a request is made."""
    options = circuit.task_options
    if not isinstance(request.task, str) or not {"n_prompts", "seed"} <= options.keys():
        return f"task = ...  # {circuit.task_name!r}, the one that was given to the explorer"
    named = f"n_prompts={options['n_prompts']!r}, seed={options['seed']!r}"
    return f"task = ax.load_task({circuit.task_name!r}, model, {named})"


def search_line(circuit: Circuit) -> str:
    """How a circuit is found."""
    settings, graph = circuit.settings, circuit.graph
    named: dict[str, object] = {"threshold": settings.threshold_text, "rule": settings.rule}
    for field in fields(SearchSettings):
        value = getattr(settings, field.name)
        if field.name not in ("threshold", "threshold_text", "rule") and value != field.default:
            named[field.name] = value
    if graph.labels:
        named["positions"] = True
    if not graph.split_qkv:
        named["split_qkv"] = False
    given = "".join(f", {name}={value!r}" for name, value in named.items())
    return f"circuit = ax.find_circuit(model, task{given})"
