"""Whether a task fits a model and its labels can have edges of their own."""

from __future__ import annotations

from itertools import combinations

from acdc_explorer.graph import REST
from acdc_explorer.metrics import NO_TOKEN
from acdc_explorer.models.weights import ModelWeights
from acdc_explorer.tasks.task import Task


def check_labels_apart(task: Task) -> None:
    """Raises a ValueError if two position labels share a token."""
    masks = {label: mask for label, mask in task.position_masks.items() if label != REST}
    for (one, at), (other, other_at) in combinations(masks.items(), 2):
        shared = (at & other_at).any(1)
        if shared.any():
            raise ValueError(
                f"task {task.name!r}: labels {one!r} and {other!r} share a token in prompt "
                f"{int(shared.nonzero()[0])}; with positions=True every token needs one label"
            )


def check_fits(weights: ModelWeights, task: Task) -> None:
    """Raises a ValueError if the prompts are too long or hold tokens that the model lacks.

    Prompts are read through the embedding and answers through the unembedding, which need not be of
    one size.
    """
    if task.n_positions > weights.n_ctx:
        raise ValueError(
            f"task {task.name!r} has prompts of {task.n_positions} tokens, but the model reads "
            f"{weights.n_ctx} at most"
        )
    n_read, n_said = weights.W_E.shape[0], weights.W_U.shape[1]
    for name, does, n_tokens in (
        ("clean_tokens", "reads", n_read),
        ("corrupted_tokens", "reads", n_read),
        ("answer_tokens", "gives logits for", n_said),
        ("wrong_tokens", "gives logits for", n_said),
    ):
        tokens = getattr(task, name)
        tokens = tokens[tokens != NO_TOKEN] if does != "reads" else tokens
        low, high = int(tokens.min()), int(tokens.max())
        if low < 0 or high >= n_tokens:
            raise ValueError(
                f"task {task.name!r}: {name} holds ids from {low} to {high}, but the model {does} "
                f"{n_tokens} tokens (ids 0 to {n_tokens - 1})"
            )
