"""How many prompts' activations fit in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from acdc_explorer.models.weights import ModelWeights
    from acdc_explorer.options import Ablation
    from acdc_explorer.tasks.task import Task

GIB = 2**30
# Of the memory that is free; searches need some beside the two runs.
_SHARE = 0.5


def prompts_that_fit(
    weights: ModelWeights, task: Task, ablation: Ablation, memory_gib: float | None
) -> int:
    """How many prompts' clean and ablated runs fit, by the formula in `Engine`; at least one.

    Args:
        weights: of the model.
        task: for the prompts' length.
        ablation: two runs are held if it is "corrupted", else one.
        memory_gib: that they may take, or infinity; by default half of what is free.
    """
    available = free_bytes(weights.device) * _SHARE if memory_gib is None else memory_gib * GIB
    block = weights.blocks[0]
    n_heads, d_head, d_model = block.W_O.shape
    of_one_run = 3 * d_model + n_heads * d_head
    n_runs = 2 if ablation == "corrupted" else 1
    floats = n_runs * of_one_run * len(weights.blocks) * task.n_positions
    bytes_per_prompt = floats * block.W_O.element_size()
    # Compared before it is rounded, since memory may be said to be infinite.
    if available >= bytes_per_prompt * task.n_prompts:
        return task.n_prompts
    return max(1, int(available // bytes_per_prompt))


def free_bytes(device: torch.device) -> int:
    """Memory that is free where a model's tensors are."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    import psutil

    return psutil.virtual_memory().available
