"""What a search takes in memory, and how many prompts' runs may be held at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from acdc_explorer.models.weights import ModelWeights
from acdc_explorer.options import Ablation
from acdc_explorer.tasks.task import Task

GIB = 2**30
_BYTES_PER_FLOAT = 4
# Of the memory that is free, what a search may take before runs are made slice by slice.
_SHARE = 0.75
# What is computed at once, in floats: past some megabytes a batch no longer fits in the caches of a
# CPU and takes longer than two smaller ones; a GPU wants more work at once, if it has room for it.
_BATCH_FLOATS = {"cpu": 4_000_000, "cuda": 64_000_000}
# Differences of senders' outputs that a search keeps, since many receivers ask for the same ones.
DELTA_FLOATS = {"cpu": 64_000_000, "cuda": 256_000_000}
# Gradients and sender differences of one batch of prompts, when edges are attributed.
ATTRIBUTION_FLOATS = 64_000_000


@dataclass(frozen=True)
class MemoryNeed:
    """What a search takes beside the model's weights, in bytes; rather too much than too little.

    Attributes:
        runs: clean and ablated runs that are held at once.
        float64: the same in float64, once an edge is at the threshold.
        state: what it keeps of every prompt.
        work: what one batch takes while it is computed.
    """

    runs: float
    float64: float
    state: float
    work: float

    @property
    def total(self) -> float:
        """All together."""
        return self.runs + self.float64 + self.state + self.work

    def __str__(self) -> str:
        return f"{self.total / GIB:.1f} GiB"


def memory_need(
    weights: ModelWeights, task: Task, ablation: Ablation, slice_size: int
) -> MemoryNeed:
    """What a search needs if so many prompts' runs are held at once.

    Args:
        weights: of the model.
        task: for the number of prompts and their length.
        ablation: two runs are held if it is "corrupted", else one.
        slice_size: how many prompts' runs are held at once.
    """
    block, n_layers = weights.blocks[0], len(weights.blocks)
    n_heads, d_head, d_model = block.W_O.shape
    d_mlp = block.mlp.W_in.shape[1] if block.mlp else 0
    of_heads, widest = n_heads * d_head, max(d_model, d_mlp)
    n_positions = task.n_positions

    n_runs = 2 if ablation == "corrupted" else 1
    of_one_run = n_layers * n_positions * ((3 + weights.norms_head_sums) * d_model + of_heads)
    runs = n_runs * of_one_run * slice_size
    # Slices in float64 hold half as many prompts.
    in_float64 = runs * (2 if slice_size >= task.n_prompts else 1)

    # Queries, keys and values, clean and by now, and changes of outputs.
    of_one_prompt = n_layers * n_positions * (7 * of_heads + d_model)
    all_deltas = len(weights.graph.senders) * task.n_prompts * n_positions * d_model
    kept_deltas = min(all_deltas, DELTA_FLOATS[device_kind(weights.device)])
    state = task.n_prompts * of_one_prompt + kept_deltas

    batch = max(batch_floats(weights), slice_size * n_positions * widest)
    # A run, and what autograd keeps of one block, for as many prompts as are attributed at once.
    attributed = min(task.n_prompts, prompts_attributed(weights, n_positions))
    of_blocks = n_layers * (5 * d_model + 4 * of_heads)
    graph = attributed * n_positions * (of_blocks + 12 * d_model + 4 * of_heads + 5 * d_mlp)
    largest_matrix = max(d_mlp, of_heads) * d_model
    work = max(batch * _beside_batch(weights), graph + ATTRIBUTION_FLOATS) + 4 * largest_matrix
    return MemoryNeed(*(_BYTES_PER_FLOAT * n for n in (runs, in_float64, state, work)))


def batch_floats(weights: ModelWeights) -> int:
    """How many floats of the widest activations to compute at once: on a GPU as fit in half of it.

    Args:
        weights: of the model, which lie where is computed.
    """
    most = _BATCH_FLOATS[device_kind(weights.device)]
    if weights.device.type != "cuda":
        return most
    fitting = 0.5 * free_bytes(weights.device) / (_BYTES_PER_FLOAT * _beside_batch(weights))
    return min(most, int(fitting))


def _beside_batch(weights: ModelWeights) -> float:
    """What a batch takes in all, in units of its widest activations; outputs of nodes are held."""
    block = weights.blocks[0]
    n_heads, d_head, d_model = block.W_O.shape
    widest = max(d_model, block.mlp.W_in.shape[1] if block.mlp else 0)
    return 4 + len(weights.blocks) * (n_heads * d_head + d_model) / widest


def device_kind(device: torch.device) -> str:
    """Which row of a table by device holds: "cuda" or "cpu"."""
    return "cuda" if device.type == "cuda" else "cpu"


def prompts_attributed(weights: ModelWeights, n_positions: int) -> int:
    """How many prompts' edges are attributed at once, where the runs differ at these positions."""
    graph = weights.graph
    n_deltas = len(graph.senders) * (2 if weights.norms_head_sums else 1)
    floats = n_positions * weights.d_model * (n_deltas + 6 * graph.n_heads)
    return max(1, ATTRIBUTION_FLOATS // floats)


def prompts_that_fit(
    weights: ModelWeights, task: Task, ablation: Ablation, memory_gib: float | None
) -> int:
    """How many prompts' clean and ablated runs may be held at once; at least one.

    Args:
        weights: of the model.
        task: for the prompts' number and length.
        ablation: two runs are held if it is "corrupted", else one.
        memory_gib: that the runs may take, or infinity; by default so much that a search takes
            three quarters of what is free.
    """
    whole, single = (memory_need(weights, task, ablation, n) for n in (task.n_prompts, 1))
    if memory_gib is not None:
        fits, available, of_one = whole.runs <= memory_gib * GIB, memory_gib * GIB, single.runs
    else:
        available = _SHARE * free_bytes(weights.device) - single.state - single.work
        fits = whole.runs + whole.float64 <= available
        of_one = single.runs + single.float64
    # Compared before it is rounded, since memory may be said to be infinite.
    return task.n_prompts if fits else max(1, int(available // of_one))


def check_memory(weights: ModelWeights, task: Task, ablation: Ablation, slice_size: int) -> None:
    """Refuses a search that needs more memory than is free.

    Args:
        weights: of the model.
        task: that is searched.
        ablation: what removed edges carry.
        slice_size: how many prompts' runs are held at once.

    Raises:
        ValueError: with the numbers and what to do.
    """
    need = memory_need(weights, task, ablation, slice_size)
    free = free_bytes(weights.device)
    if need.total <= free:
        return
    told = (
        f"a search on {task.n_prompts} prompts x {task.n_positions} tokens needs about {need} "
        f"beside this model's weights, with the runs of {slice_size} of them held at once; "
        f"{free / GIB:.1f} GiB are free on {weights.device}"
    )
    single = memory_need(weights, task, ablation, 1)
    if single.total <= free:
        # As much again for the runs in float64.
        room = (free - single.state - single.work) / 2 / GIB
        raise ValueError(f"{told}. Hold fewer at once, with load_model(..., memory_gib={room:.2g})")
    left = free - (single.total - single.state)
    n_fitting = int(left * task.n_prompts // single.state)
    advice = f"at most {n_fitting} prompts" if n_fitting >= 1 else "a smaller model"
    raise ValueError(f"{told}. Take {advice}, or shorter prompts")


def free_bytes(device: torch.device) -> int:
    """Memory that is free where a model's tensors are."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    import psutil

    return min([psutil.virtual_memory().available, *_free_in_container()])


def _free_in_container(folder: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """What the limit of a container leaves free, where there is one."""
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
        # Of what is counted as used, files that are kept in memory give way.
        for line in (folder / "memory.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            used -= int(value) if name == "inactive_file" else 0
    except (OSError, ValueError):
        return []
    return [] if limit == "max" else [max(0, int(limit) - used)]
