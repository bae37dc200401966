"""acdc_explorer: find and explore a transformer's circuits by exact activation patching.

The public names are loaded when first used, so that `import acdc_explorer` is quick and does not
import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from acdc_explorer.api import attribute, evaluate, find_circuit, search, threshold_path
    from acdc_explorer.circuits.circuit import Circuit
    from acdc_explorer.circuits.comparison import Comparison, compare
    from acdc_explorer.circuits.exchange.writing import export_circuit, list_formats
    from acdc_explorer.circuits.groups import Group, Groups
    from acdc_explorer.circuits.methods_paragraph import methods_paragraph
    from acdc_explorer.circuits.pinned import PinnedCircuit
    from acdc_explorer.circuits.published import PublishedCircuit, published_circuit
    from acdc_explorer.circuits.threshold_path import ThresholdPath
    from acdc_explorer.editing import edit
    from acdc_explorer.explorer import Explorer
    from acdc_explorer.heads.attribution import DirectLogitAttribution, direct_logit_attribution
    from acdc_explorer.heads.describe import HeadDescriptions, describe_heads
    from acdc_explorer.heads.inspect import HeadInspection, inspect_head
    from acdc_explorer.heads.scores import head_scores
    from acdc_explorer.inspection import edge_effects, inspect_edge, inspect_node
    from acdc_explorer.measures.another_circuit import AnotherCircuit, another_circuit
    from acdc_explorer.measures.by_prompt import ByPrompt, by_prompt, prompt_effects, top_tokens
    from acdc_explorer.measures.certified import CertifiedCircuit, certify
    from acdc_explorer.measures.edge_scoring import score_edges
    from acdc_explorer.measures.faithfulness_curve import FaithfulnessCurve, faithfulness_curve
    from acdc_explorer.measures.grouping import HeadSimilarity, group_heads, head_similarity
    from acdc_explorer.measures.measure import measure
    from acdc_explorer.measures.measurement import Measurement
    from acdc_explorer.measures.recovery import Recovery, recovery
    from acdc_explorer.measures.scrubbed import Scrubbing
    from acdc_explorer.measures.scrubbing import scrub
    from acdc_explorer.measures.stability import Stability, stability
    from acdc_explorer.measures.uncertainty import Uncertainty, uncertainty
    from acdc_explorer.metrics import Metric
    from acdc_explorer.models import Model, list_models, load_model
    from acdc_explorer.neuronpedia import export_to_neuronpedia
    from acdc_explorer.progress import show_progress
    from acdc_explorer.sweeps.sweep import sweep
    from acdc_explorer.sweeps.table import read_sweep
    from acdc_explorer.task_check import check_task, preview_task
    from acdc_explorer.tasks import PromptPair, Task, list_tasks, load_task
    from acdc_explorer.verification import audit, verify
    from acdc_explorer.workers.executor import local_executor

__version__ = "0.1.0"

# Public name -> the module that it comes from.
_HOMES = {
    "AnotherCircuit": "measures.another_circuit",
    "ByPrompt": "measures.by_prompt",
    "CertifiedCircuit": "measures.certified",
    "Circuit": "circuits.circuit",
    "Comparison": "circuits.comparison",
    "DirectLogitAttribution": "heads.attribution",
    "Explorer": "explorer",
    "FaithfulnessCurve": "measures.faithfulness_curve",
    "Group": "circuits.groups",
    "Groups": "circuits.groups",
    "HeadDescriptions": "heads.describe",
    "HeadInspection": "heads.inspect",
    "HeadSimilarity": "measures.grouping",
    "Measurement": "measures.measurement",
    "Metric": "metrics",
    "Model": "models",
    "PinnedCircuit": "circuits.pinned",
    "PromptPair": "tasks",
    "PublishedCircuit": "circuits.published",
    "Recovery": "measures.recovery",
    "Scrubbing": "measures.scrubbed",
    "Stability": "measures.stability",
    "Task": "tasks",
    "ThresholdPath": "circuits.threshold_path",
    "Uncertainty": "measures.uncertainty",
    "another_circuit": "measures.another_circuit",
    "attribute": "api",
    "audit": "verification",
    "by_prompt": "measures.by_prompt",
    "certify": "measures.certified",
    "check_task": "task_check",
    "compare": "circuits.comparison",
    "describe_heads": "heads.describe",
    "direct_logit_attribution": "heads.attribution",
    "edge_effects": "inspection",
    "edit": "editing",
    "evaluate": "api",
    "export_circuit": "circuits.exchange.writing",
    "export_to_neuronpedia": "neuronpedia",
    "faithfulness_curve": "measures.faithfulness_curve",
    "find_circuit": "api",
    "group_heads": "measures.grouping",
    "head_scores": "heads.scores",
    "head_similarity": "measures.grouping",
    "inspect_edge": "inspection",
    "inspect_head": "heads.inspect",
    "inspect_node": "inspection",
    "list_formats": "circuits.exchange.writing",
    "list_models": "models",
    "list_tasks": "tasks",
    "load_model": "models",
    "load_task": "tasks",
    "local_executor": "workers.executor",
    "measure": "measures.measure",
    "methods_paragraph": "circuits.methods_paragraph",
    "preview_task": "task_check",
    "prompt_effects": "measures.by_prompt",
    "published_circuit": "circuits.published",
    "read_sweep": "sweeps.table",
    "recovery": "measures.recovery",
    "score_edges": "measures.edge_scoring",
    "scrub": "measures.scrubbing",
    "search": "api",
    "show_progress": "progress",
    "stability": "measures.stability",
    "sweep": "sweeps.sweep",
    "threshold_path": "api",
    "top_tokens": "measures.by_prompt",
    "uncertainty": "measures.uncertainty",
    "verify": "verification",
}

__all__ = [
    "AnotherCircuit",
    "ByPrompt",
    "CertifiedCircuit",
    "Circuit",
    "Comparison",
    "DirectLogitAttribution",
    "Explorer",
    "FaithfulnessCurve",
    "Group",
    "Groups",
    "HeadDescriptions",
    "HeadInspection",
    "HeadSimilarity",
    "Measurement",
    "Metric",
    "Model",
    "PinnedCircuit",
    "PromptPair",
    "PublishedCircuit",
    "Recovery",
    "Scrubbing",
    "Stability",
    "Task",
    "ThresholdPath",
    "Uncertainty",
    "another_circuit",
    "attribute",
    "audit",
    "by_prompt",
    "certify",
    "check_task",
    "compare",
    "describe_heads",
    "direct_logit_attribution",
    "edge_effects",
    "edit",
    "evaluate",
    "export_circuit",
    "export_to_neuronpedia",
    "faithfulness_curve",
    "find_circuit",
    "group_heads",
    "head_scores",
    "head_similarity",
    "inspect_edge",
    "inspect_head",
    "inspect_node",
    "list_formats",
    "list_models",
    "list_tasks",
    "load_model",
    "load_task",
    "local_executor",
    "measure",
    "methods_paragraph",
    "preview_task",
    "prompt_effects",
    "published_circuit",
    "read_sweep",
    "recovery",
    "score_edges",
    "scrub",
    "search",
    "show_progress",
    "stability",
    "sweep",
    "threshold_path",
    "top_tokens",
    "uncertainty",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'acdc_explorer' has no attribute {name!r}")
    value = getattr(import_module(f"acdc_explorer.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
