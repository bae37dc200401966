"""Prompts that a circuit was not found on."""

from __future__ import annotations

from dataclasses import dataclass, replace

from acdc_explorer.models.model import Model
from acdc_explorer.tasks.builtin.registry import TASKS, load_task
from acdc_explorer.tasks.task import Task

# So many other seeds are tried to find as many new prompts as the circuit was found on; with fewer
# than this share of them, there are none to speak of.
_N_SEEDS, _LEAST_SHARE = 8, 0.25


@dataclass(frozen=True)
class MeasuredOn:
    """The prompts that a circuit is measured on.

    Attributes:
        task: the prompts.
        held_out: whether the circuit was found on other ones.
        told: which prompts they are, in words.
    """

    task: Task
    held_out: bool
    told: str


def prompts_to_measure_on(model: Model, task: Task, held_out: Task | bool | None) -> MeasuredOn:
    """Finds prompts for a measurement.

    Args:
        model: that the circuit is of.
        task: that it was found on.
        held_out: prompts to take; False: those of `task`; None or True: prompts of another seed,
            without those that occur in `task`. Prompts of one's own have no seed, and some tasks
            have no other prompts: with None `task` itself is taken.

    Raises:
        ValueError: with True, if there are no held-out prompts; or if it is none of these.
    """
    if isinstance(held_out, Task):
        return MeasuredOn(held_out, True, f"{held_out.n_prompts} held-out prompts")
    if held_out not in (True, False, None):
        raise ValueError(
            f"held_out must be a Task, True, False or None; got {type(held_out).__name__}"
        )
    n = task.n_prompts
    own = f"the {n} prompts that" if n != 1 else "the one prompt that"
    own += " the circuit was found on"
    if held_out is False:
        return MeasuredOn(task, False, own)
    if not is_drawn(model, task):
        why = (
            "part prompts of your own before the search, `first, second = task.split()`, and give "
            "held_out=second"
        )
    else:
        new = _new_prompts(model, task)
        if new is not None:
            told = f"{new.n_prompts} held-out prompts (seed {new.options['seed']})"
            return MeasuredOn(new, True, told)
        why = f"{task.name!r} has hardly any other prompts"
    if held_out:
        raise ValueError(f"there are no held-out prompts: {why}")
    return MeasuredOn(task, False, f"{own}; {why}")


def is_drawn(model: Model, task: Task) -> bool:
    """Whether these are prompts of a built-in task just as its seed gives them."""
    seed = task.options.get("seed")
    if task.name not in TASKS or not isinstance(seed, int) or "rows" in task.options:
        return False
    return _texts(load_task(task.name, model, task.n_prompts, seed)) == _texts(task)


def _new_prompts(model: Model, task: Task) -> Task | None:
    """As many prompts as in a task, or nearly, none of which is among them."""
    first, known = int(task.options["seed"]) + 1, set(_texts(task))
    for n_seeds in range(1, _N_SEEDS + 1):
        drawn = load_task(task.name, model, n_seeds * task.n_prompts, first)
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
