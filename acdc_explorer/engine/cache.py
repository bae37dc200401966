"""The engine of a model and a task; the last few are kept, since making one runs all prompts."""

from __future__ import annotations

from collections import OrderedDict
from weakref import WeakKeyDictionary

from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.memory import check_memory, prompts_that_fit
from acdc_explorer.models.model import Model
from acdc_explorer.options import Ablation
from acdc_explorer.tasks.task import Task

# Each holds both runs' activations.
_ENGINES_KEPT = 2

# Engines by (positions, split_qkv), which share their runs.
_Variants = dict[tuple[bool, bool], Engine]
# By task and ablation, the least recently used first. An engine holds its task, so that its id is
# not given away.
_engines: WeakKeyDictionary[Model, OrderedDict[tuple[int, Ablation], _Variants]] = (
    WeakKeyDictionary()
)


def engine_for(
    model: Model,
    task: Task,
    ablation: Ablation = "corrupted",
    *,
    positions: bool = False,
    split_qkv: bool = True,
) -> Engine:
    """The engine of a model and a task, made or found again.

    Args:
        model: loaded; engines go when it does.
        task: prompts and metric.
        ablation: what removed edges carry.
        positions: whether each position label has edges of its own.
        split_qkv: whether a head's q, k and v inputs have.

    Raises:
        ValueError: as `Engine`; or if a search would need more memory than is free.
    """
    of_model = _engines.setdefault(model, OrderedDict())
    key = id(task), ablation
    variants = of_model.pop(key, None)
    if variants is None:
        variants = {(False, True): new_engine(model, task, ablation)}
    of_model[key] = variants
    while len(of_model) > _ENGINES_KEPT:
        of_model.popitem(last=False)
    wanted = positions, split_qkv
    if wanted not in variants:
        base = variants[False, True]
        variants[wanted] = base.with_graph(positions=positions, split_qkv=split_qkv)
    return variants[wanted]


def new_engine(
    model: Model,
    task: Task,
    ablation: Ablation = "corrupted",
    *,
    positions: bool = False,
    split_qkv: bool = True,
) -> Engine:
    """An engine for one use, which is not kept.

    Args:
        model: as for `engine_for`; so are the others.
        task: likewise.
        ablation: likewise.
        positions: likewise.
        split_qkv: likewise.

    Raises:
        ValueError: likewise.
    """
    fitting = prompts_that_fit(model.weights, task, ablation, model.memory_gib)
    check_memory(model.weights, task, ablation, fitting)
    return Engine(
        model.weights,
        task,
        ablation,
        positions=positions,
        split_qkv=split_qkv,
        slice_size=fitting,
    )
