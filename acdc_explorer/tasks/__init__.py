"""Tasks: what a circuit is searched for."""

from acdc_explorer.tasks.check import TaskCheck
from acdc_explorer.tasks.prompts import PromptPair, TokenSpan
from acdc_explorer.tasks.published import PublishedCircuit, published_circuit
from acdc_explorer.tasks.registry import list_tasks, load_task
from acdc_explorer.tasks.task import Task

__all__ = [
    "PromptPair",
    "PublishedCircuit",
    "Task",
    "TaskCheck",
    "TokenSpan",
    "list_tasks",
    "load_task",
    "published_circuit",
]
