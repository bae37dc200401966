"""The accidents of a search: what might as well have been otherwise, drawn several times."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from acdc_explorer.errors import unknown_name
from acdc_explorer.measures.held_out import is_drawn
from acdc_explorer.measures.repeated_search import RepeatedSearch
from acdc_explorer.measures.templates import prompts_by_template
from acdc_explorer.options import VARIATIONS, VariationKind
from acdc_explorer.tasks.builtin.registry import load_task
from acdc_explorer.tasks.task import Task

# Thresholds are varied by up to this factor, down and up.
_FACTOR = 2.0


@dataclass(frozen=True)
class Variation:
    """One way in which a search is made again.

    Attributes:
        kind: what is otherwise.
        name: of this one, as "order 3" or "seed 7".
        task: makes the prompts; None: the task's own.
        order_seed: of a random order of the tests; None: the order that was asked for.
        factor: by which the threshold is multiplied.
    """

    kind: VariationKind
    name: str
    task: Callable[[], Task] | None = None
    order_seed: int | None = None
    factor: float = 1.0


def variations_of(
    search: RepeatedSearch, kinds: Sequence[VariationKind], n: int, seed: int
) -> tuple[list[Variation], list[str]]:
    """All variations of some kinds.

    Args:
        search: that is made again.
        kinds: which.
        n: how many of each kind; of templates there are as many as the task has.
        seed: of all that is drawn.

    Returns:
        The variations, kind by kind, and why there are none of some kinds, in sentences.

    Raises:
        ValueError: if there is no such kind, or none is named.
    """
    if isinstance(kinds, str) or not kinds:
        raise ValueError(f"kinds must be a list of some of {', '.join(VARIATIONS)}; got {kinds!r}")
    for kind in kinds:
        if kind not in VARIATIONS:
            raise unknown_name("kind", kind, VARIATIONS)
    found, notes = list[Variation](), list[str]()
    for kind in dict.fromkeys(kinds):
        reason = _why_none(search, kind)
        if reason:
            notes.append(reason)
        else:
            found += _MAKERS[kind](search, n, seed)
    return found, notes


def _why_none(search: RepeatedSearch, kind: VariationKind) -> str | None:
    """Why a search cannot be varied in this way; None if it can."""
    task, method = search.task, search.settings.method
    if kind in ("prompts", "seeds", "templates") and task.metric.of_these_prompts:  # type: ignore[union-attr]
        return f"no {kind}: the metric is a function of the logits of just these prompts"
    if kind == "orders" and method != "acdc":
        return f"no orders: what method {method!r} finds does not depend on the order"
    if kind == "prompts" and task.n_prompts < 2:
        return "no draws of the prompts: there is one alone"
    if kind == "templates" and not prompts_by_template(task):
        return "no templates: the prompts are of one, or of too many to tell"
    if kind == "seeds" and not is_drawn(search.model, task):
        return "no seeds: these are not the prompts of a built-in task as a seed gives them"
    return None


def _orders(search: RepeatedSearch, n: int, seed: int) -> Iterator[Variation]:
    """Each receiver's edges in a random order."""
    for number in range(seed * n, (seed + 1) * n):
        yield Variation("orders", f"order {number}", order_seed=number)


def _prompts(search: RepeatedSearch, n: int, seed: int) -> Iterator[Variation]:
    """The bootstrap: as many of the prompts, drawn with replacement."""
    n_prompts = search.task.n_prompts
    for number in range(seed * n, (seed + 1) * n):
        rows = np.random.default_rng(number).integers(n_prompts, size=n_prompts)
        task = partial(search.task.take, np.sort(rows).tolist())
        yield Variation("prompts", f"draw {number}", task)


def _seeds(search: RepeatedSearch, n: int, seed: int) -> Iterator[Variation]:
    """As many other prompts of the same task."""
    task = search.task

    def drawn(task_seed: int) -> Task:
        other = load_task(task.name, search.model, task.n_prompts, task_seed)
        # The metric may not be the built-in task's own.
        return replace(other, metric=task.metric)

    first = int(task.options["seed"]) + 1 + seed * n
    for number in range(first, first + n):
        yield Variation("seeds", f"seed {number}", partial(drawn, number))


def _thresholds(search: RepeatedSearch, n: int, seed: int) -> Iterator[Variation]:
    """From half to twice the threshold, evenly on a log scale, the highest first."""
    for factor in np.geomspace(_FACTOR, 1 / _FACTOR, n).tolist():
        yield Variation(
            "thresholds", f"threshold {search.settings.threshold * factor:.4g}", factor=factor
        )


def _templates(search: RepeatedSearch, n: int, seed: int) -> Iterator[Variation]:
    """The prompts of each template by themselves."""
    for template, rows in prompts_by_template(search.task).items():
        yield Variation("templates", template, partial(search.task.take, rows))


_MAKERS: dict[VariationKind, Callable[[RepeatedSearch, int, int], Iterator[Variation]]] = {
    "orders": _orders,
    "prompts": _prompts,
    "seeds": _seeds,
    "thresholds": _thresholds,
    "templates": _templates,
}
