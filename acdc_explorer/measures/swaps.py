"""From which other prompt a prompt gets outputs, and at which positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from acdc_explorer.engine.patched_runs import GivenOutput
from acdc_explorer.graph import REST
from acdc_explorer.tasks.task import Task


@dataclass(frozen=True)
class Sources:
    """For each position of each prompt, the position of another one that is aligned with it.

    Attributes:
        prompt: the source of each prompt; itself where it has none.
        position: in the source; -1: there is none, or the prompt has no source.
    """

    prompt: Int[np.ndarray, " prompt"]
    position: Int[np.ndarray, "prompt pos"]


def agreeing(columns: Sequence[Sequence[Any]], n_prompts: int) -> Bool[np.ndarray, "prompt prompt"]:
    """Which other prompts agree with each prompt.

    Args:
        columns: of what they must agree on, a value per prompt.
        n_prompts: how many there are.
    """
    agree = ~np.eye(n_prompts, dtype=bool)
    for values in columns:
        for row, value in enumerate(values):
            agree[row] &= [bool(value == other) for other in values]
    return agree


def drawn_sources(
    agree: Bool[np.ndarray, "prompt prompt"], task: Task, rng: np.random.Generator
) -> Sources:
    """Draws a source for each prompt from those that agree with it.

    Args:
        agree: as `agreeing` gives it.
        task: the prompts.
        rng: draws.
    """
    prompts = np.arange(len(agree))
    chosen = prompts.copy()
    for row in prompts:
        others = np.flatnonzero(agree[row])
        if len(others):
            chosen[row] = others[int(rng.integers(len(others)))]
    position = np.full((len(agree), task.n_positions), -1)
    for row in prompts[chosen != prompts]:
        position[row] = aligned(task, int(row), int(chosen[row]))
    return Sources(chosen, position)


def aligned(task: Task, prompt: int, source: int) -> Int[np.ndarray, " pos"]:
    """Which position of a source belongs to each position of a prompt; -1: none.

    Where all labels of the two stand at the same places, each up to END belongs to itself; else the
    tokens of each label to one another, in their order, and no others.

    Args:
        task: the prompts.
        prompt: number of the one.
        source: number of the other.
    """
    masks = {label: mask.numpy() for label, mask in task.position_masks.items() if label != REST}
    position = np.full(task.n_positions, -1)
    if all((mask[prompt] == mask[source]).all() for mask in masks.values()):
        end = int(task.end[prompt])
        position[: end + 1] = np.arange(end + 1)
        return position
    for mask in masks.values():
        here, there = (np.flatnonzero(mask[row]) for row in (prompt, source))
        n = min(len(here), len(there))
        position[here[:n]] = there[:n]
    return position


def given_from(outputs: Float[Tensor, "prompt pos feature"], sources: Sources) -> GivenOutput:
    """What a node is made to write: what it writes on each prompt's source, where they are aligned.

    Args:
        outputs: of the node, on all prompts.
        sources: of the prompts.
    """
    prompt, position = (
        torch.from_numpy(each).to(outputs.device) for each in (sources.prompt, sources.position)
    )
    values = outputs[prompt[:, None], position.clamp_min(0)]
    return GivenOutput(values, (position >= 0)[..., None])
