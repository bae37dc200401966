"""Prompts that a circuit was not found on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from acdc_explorer.models.model import Model
from acdc_explorer.tasks.builtin.registry import TASKS, load_task
from acdc_explorer.tasks.task import Task

# Up to so many times the prompts are drawn, with another seed, to find as many new ones as the
# circuit was found on; with fewer than this share of them, there are none to speak of.
_MOST_TIMES, _LEAST_SHARE = 8, 0.25


@dataclass(frozen=True)
class MeasuredOn:
    """The prompts that a circuit is measured on.

    Attributes:
        task: the prompts.
        held_out: whether the circuit was found on none of them.
        told: which prompts they are, in words.
        why: why there are no held-out ones, in words; empty if these are, or none were wanted.
    """

    task: Task
    held_out: bool
    told: str
    why: str = ""


def prompts_to_measure_on(model: Model, task: Task, held_out: Task | bool | None) -> MeasuredOn:
    """Finds prompts for a measurement.

    Args:
        model: that the circuit is of.
        task: that it was found on.
        held_out: prompts to take; False: those of `task`; None or True: prompts of another seed,
            without those that occur in `task`. Prompts of one's own have no seed, and some tasks
            have no other prompts: with None `task` itself is taken.

    Raises:
        ValueError: with True, if there are no held-out prompts; for prompts that have another
            metric; or if it is none of these.
    """
    if isinstance(held_out, Task):
        return _given(task, held_out)
    if held_out is not None and not isinstance(held_out, bool):
        raise ValueError(
            f"held_out must be a Task, True, False or None; got {type(held_out).__name__}"
        )
    own = f"{_counted(task.n_prompts)} that the circuit was found on"
    if held_out is False:
        return MeasuredOn(task, False, own)
    if task.metric.of_these_prompts:  # type: ignore[union-attr]
        why = (
            "its metric is a function of these prompts' logits; give held_out= a Task with a "
            "metric of its own"
        )
    elif "rows" in task.options:
        why = "these are some of a task's prompts; give held_out= others of them"
    elif not is_drawn(model, task):
        why = (
            "part prompts of your own before the search, `first, second = task.split()`, and give "
            "held_out=second"
        )
    else:
        new = _new_prompts(model, task)
        if new is not None:
            told = f"{_counted(new.n_prompts, 'held-out')} (seed {new.options['seed']})"
            return MeasuredOn(new, True, told)
        why = f"{task.name!r} has hardly any other prompts"
    if held_out:
        raise ValueError(f"there are no held-out prompts: {why}")
    return MeasuredOn(task, False, own, why)


def _given(task: Task, held_out: Task) -> MeasuredOn:
    """Prompts that somebody gives, of which it is seen whether they are held out."""
    names = [each.metric.name for each in (task, held_out)]  # type: ignore[union-attr]
    if names[0] != names[1]:
        raise ValueError(f"held_out has metric {names[1]!r}; the circuit was found by {names[0]!r}")
    known = {*_texts(task)}
    n_known = sum(text in known for text in _texts(held_out))
    if not n_known:
        return MeasuredOn(held_out, True, _counted(held_out.n_prompts, "held-out"))
    told = f"{_counted(held_out.n_prompts)}, {n_known} of which the circuit was found on"
    return MeasuredOn(held_out, False, told)


def is_drawn(model: Model, task: Task) -> bool:
    """Whether prompts, answers and labels are those of a built-in task as its seed gives them."""
    seed = task.options.get("seed")
    if task.name not in TASKS or not isinstance(seed, int) or "rows" in task.options:
        return False
    drawn = load_task(task.name, model, task.n_prompts, seed)
    parts = ("clean_tokens", "corrupted_tokens", "answer_tokens", "wrong_tokens")
    pairs = [(getattr(task, part), getattr(drawn, part)) for part in parts]
    if [*task.positions] != [*drawn.positions]:
        return False
    pairs += zip(task.positions.values(), drawn.positions.values(), strict=True)
    return all(torch.equal(*pair) for pair in pairs)


def _new_prompts(model: Model, task: Task) -> Task | None:
    """As many prompts as in a task, or nearly, none of which is among them."""
    seed, known = int(task.options["seed"]) + 1, {*_texts(task)}
    for times in range(1, _MOST_TIMES + 1):
        drawn = load_task(task.name, model, times * task.n_prompts, seed)
        rows = [row for row, text in enumerate(_texts(drawn)) if text not in known]
        if len(rows) >= task.n_prompts:
            break
    if len(rows) < max(1, _LEAST_SHARE * task.n_prompts):
        return None
    # The metric may not be the built-in task's own.
    return replace(drawn.take(rows[: task.n_prompts]), metric=task.metric)


def _texts(task: Task) -> list[tuple[int, ...]]:
    """Each clean prompt's tokens up to END."""
    rows = zip(task.clean_tokens.tolist(), task.end.tolist(), strict=True)
    return [tuple(tokens[: end + 1]) for tokens, end in rows]


def _counted(n_prompts: int, kind: str = "") -> str:
    kind = f"{kind} " if kind else ""
    return f"{n_prompts:,} {kind}prompt{'s' * (n_prompts != 1)}"
