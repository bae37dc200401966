"""Tasks: what a circuit is searched for."""

from acdc_explorer.tasks.prompts import PromptPair
from acdc_explorer.tasks.published import PublishedCircuit, published_circuit
from acdc_explorer.tasks.registry import list_tasks, load_task
from acdc_explorer.tasks.task import Task

__all__ = [
    "PromptPair",
    "PublishedCircuit",
    "Task",
    "list_tasks",
    "load_task",
    "published_circuit",
]
