"""How a circuit was found, as a paragraph for a paper."""

from __future__ import annotations

import math
from importlib.metadata import PackageNotFoundError, version

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.imported import check_searched
from acdc_explorer.circuits.summary import hand_changes_in_words

_METHODS = {
    "acdc": "ACDC (Conmy et al., 2023)",
    "path_patching": "path patching, grown from the logits (Conmy et al., 2023)",
    "eap": "edge attribution patching (Syed et al., 2023)",
    "eap_ig": "edge attribution patching with integrated gradients (Hanna et al., 2024)",
    "ceap": "edge attribution patching by conductance (Wu et al., 2026)",
    "relp": "relevance patching (Jafari et al., 2025)",
}
_ABLATIONS = {
    "corrupted": "their activations on the corrupted prompts",
    "zero": "zero",
    "mean": "their mean over the corrupted prompts",
}
_RULES = {
    "abs": "by which the metric changed in either direction",
    "signed": "by which the metric got worse",
    "cumulative": "by which the metric differed from the full model's",
}
_ORDERS = {
    "default": "from the logits backwards, the latest sender first",
    "ascending_heads": "from the logits backwards, heads in ascending order",
    "random": "from the logits backwards, senders in random order",
    "attribution": "from the logits backwards, the sender with the smallest attribution first",
}


def methods_paragraph(circuit: Circuit) -> str:
    """Says in words how a circuit was found, with all settings, for the methods of a paper.

    Args:
        circuit: finished or not, with changes by hand or without.

    Returns:
        A few sentences of plain text.

    Raises:
        ValueError: if it was found by no search, but came from another tool's file.
    """
    check_searched(circuit, "a paragraph on methods")
    sentences = [_subject(circuit), _edges(circuit), _test(circuit), _found(circuit.searched())]
    if circuit.n_screened:
        sentences.insert(
            3,
            f"Of the edges, {circuit.n_screened:,} went without a test of their own, by a "
            f"first-order prediction below {circuit.settings.screen:g} times the threshold; "
            f"{circuit.n_tested:,} were tested.",
        )
    if circuit.by_hand:
        edges = "; ".join(
            f"{each.edge.id} {'restored' if each.kept else 'removed'}" for each in circuit.by_hand
        )
        sentences.append(
            f"By hand, of the edges we had {hand_changes_in_words(circuit)} ({edges}); after that "
            f"the {_metric(circuit)} is {_value(circuit.metric_value, circuit)}"
            f"{_faithfulness(circuit)}."
        )
    return " ".join(sentences)


def _subject(circuit: Circuit) -> str:
    """Model, task and prompts."""
    graph, options = circuit.graph, circuit.task_options
    mlps = " and MLPs" if graph.has_mlps else ""
    prompts = f"{options['n_prompts']} prompts" if "n_prompts" in options else "its prompts"
    seed = f" (seed {options['seed']})" if "seed" in options else ""
    return (
        f"We searched {circuit.model_name} ({graph.n_layers} layers of {graph.n_heads} heads{mlps})"
        f" for the circuit of the task {circuit.task_name!r} with "
        f"{_METHODS[circuit.settings.method]}{_package()}, on {prompts}{seed}."
    )


def _edges(circuit: Circuit) -> str:
    """What nodes and edges are, and what removed edges carry."""
    graph = circuit.graph
    inputs = "the heads' queries, keys and values" if graph.split_qkv else "the heads"
    mlps = ", MLPs" if graph.has_mlps else ""
    at = f", at each of the positions {', '.join(graph.labels)}" if graph.labels else ""
    return (
        f"Nodes are the embedding, heads{mlps} and the logits; edges lead into {inputs}"
        f"{mlps} and the logits{at}, {graph.n_edges:,} in all. The clean prompts were run; what "
        f"removed edges carry was replaced by {_ABLATIONS[circuit.settings.ablation]}."
    )


def _test(circuit: Circuit) -> str:
    """When an edge was kept."""
    settings, metric = circuit.settings, _metric(circuit)
    threshold = _value(circuit.threshold, circuit)
    if settings.threshold_text.endswith("%"):
        threshold += f" ({settings.threshold_text} of the full model's {metric})"
    if settings.method != "acdc":
        size = "size" if settings.rule == "abs" else "damage"
        return (
            f"An edge was kept if the {size} of its effect on the {metric}, averaged over prompts, "
            f"was {threshold} or more."
        )
    order = _ORDERS[settings.order]
    if settings.order == "random":
        order += f" (seed {settings.order_seed})"
    return (
        f"Edges were tested one after the other, {order}; an edge was removed for good if the "
        f"amount {_RULES[settings.rule]}, the {metric} averaged over prompts, was below "
        f"{threshold}."
    )


def _found(circuit: Circuit) -> str:
    """What was kept, and what it does."""
    connected = int(circuit.connected_mask.sum())
    standing = (
        f"of which {connected:,} lie on a path from the input to the logits"
        if circuit.complete
        else "as far as the search has come"
    )
    values = {
        "in the full model": circuit.full_metric,
        "in the circuit": circuit.metric_value,
        "with all edges removed": circuit.corrupted_metric,
    }
    told = [f"{_value(v, circuit)} {where}" for where, v in values.items() if not math.isnan(v)]
    return (
        f"{len(circuit.kept):,} edges were kept, {standing}; the {_metric(circuit)} is "
        f"{', '.join(told[:-1])} and {told[-1]}{_faithfulness(circuit)}."
    )


def _metric(circuit: Circuit) -> str:
    return circuit.metric_name.replace("_", " ")


def _value(value: float, circuit: Circuit) -> str:
    return f"{value:.4g} {circuit.metric_unit}".rstrip()


def _package() -> str:
    try:
        return f" as implemented in acdc_explorer {version('acdc_explorer')}"
    except PackageNotFoundError:
        # Run from a copy of the source that was not installed.
        return " as implemented in acdc_explorer"


def _faithfulness(circuit: Circuit) -> str:
    share = circuit.faithfulness
    return "" if math.isnan(share) else f" (faithfulness {share:.1%})"
