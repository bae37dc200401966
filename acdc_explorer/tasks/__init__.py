"""Tasks: what a circuit is searched for."""

from acdc_explorer.tasks.builtin.registry import list_tasks, load_task
from acdc_explorer.tasks.prompts import PromptPair, TokenSpan
from acdc_explorer.tasks.task import Task

__all__ = ["PromptPair", "Task", "TokenSpan", "list_tasks", "load_task"]
