"""auto-circuit's PruneScores: a tensor of scores for each module that reads the residual stream.

auto-circuit (github.com/UFO-101/auto-circuit) keeps them in pickles, which can run anything when
they are read, and are never read here. Where it is installed, these lines write its tensors alone:

    import torch
    torch.save({name: scores.detach().cpu() for name, scores in prune_scores.items()}, "scores.pt")

Modules are named as in TransformerLens; a tensor is [n_heads, n_senders before the block], or
[n_senders] for MLPs and the logits. Such a file does not say which edges are kept. Those are taken
whose score is infinite, as its ACDC scores edges that no threshold removed; if there are none,
those whose score is not 0, as in its published circuits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from acdc_explorer.checked_json import Value, shown
from acdc_explorer.circuits.exchange.eap_ig_pt import is_plain, numbers_of, saved
from acdc_explorer.circuits.exchange.scores import EdgeScores
from acdc_explorer.circuits.files import graph_from
from acdc_explorer.circuits.imported import ImportedEdges, edges_of_matrices
from acdc_explorer.graph import Graph

if TYPE_CHECKING:
    from acdc_explorer.circuits.circuit import Circuit

_MODULE = re.compile(r"blocks\.(\d{1,4})\.hook_(q_input|k_input|v_input|attn_in|mlp_in|resid_post)")
_INPUTS = {"q": "q_input", "k": "k_input", "v": "v_input", None: "attn_in"}


def is_prune_scores(data: Mapping[Any, Any]) -> bool:
    """Whether what a `.pt` file holds is of this format."""
    return any(isinstance(name, str) and _MODULE.fullmatch(name) for name in data)


def read_prune_scores(data: Mapping[Any, Any], origin: str) -> ImportedEdges:
    """Reads the scores; infinite ones as twice the largest other one, so that these rank first.

    Args:
        data: what the file holds.
        origin: the file, in words.

    Raises:
        ValueError: naming the module that is wrong; or if the scores are by position, since
            auto-circuit counts tokens, which say nothing about labels.
    """
    tensors = {}
    for name, tensor in data.items():
        if not isinstance(name, str) or not _MODULE.fullmatch(name):
            raise ValueError(f"{shown(name)} is no module whose input auto-circuit patches")
        if not is_plain(tensor):
            raise ValueError(f"{name} must be a tensor of numbers; got a {type(tensor).__name__}")
        tensors[name] = tensor
    graph = _graph_of(tensors)
    scores = np.zeros(graph.edge_mask.shape)
    rows = _rows_of(graph)
    if missing := sorted(rows.keys() ^ tensors.keys()):
        raise ValueError(f"{missing[0]} is missing, or should not be there")
    for name, numbers in rows.items():
        n_senders = int(graph.edge_mask[numbers[0]].sum())
        shapes = [_shape_of(name, len(numbers), n_senders)]
        if len(numbers) == 1:
            # Older versions have no dimension for a single head.
            shapes.append([n_senders])
        values = numbers_of(name, tensors[name], *shapes)
        scores[numbers, :n_senders] = values.reshape(len(numbers), n_senders)
    infinite = np.isinf(scores)
    kept = infinite if infinite.any() else scores != 0
    largest = np.abs(scores[np.isfinite(scores)]).max(initial=0.0)
    scores[infinite] = np.copysign(2 * largest or 1.0, scores[infinite])
    return edges_of_matrices(origin, graph, kept, scores)


def write_prune_scores(circuit: Circuit, scores: EdgeScores) -> bytes:
    """A circuit as a `.pt` file of PruneScores: 0 for all edges that are not kept.

    Args:
        circuit: without positions.
        scores: of its edges; a kept edge of a score that is 0 in float32, or nearly, gets the
            smallest that is not, of the same sign.

    Raises:
        ValueError: if the circuit is by position.
    """
    graph, kept = circuit.graph, circuit.kept_mask
    if graph.labels:
        raise ValueError("auto-circuit counts tokens, and this circuit's positions have labels")
    # So that it is told from those that are not kept.
    smallest = float(np.finfo(np.float32).tiny)
    lifted = np.copysign(np.maximum(abs(scores.matrix), smallest), scores.matrix)
    values = lifted * kept
    tensors = {}
    for name, numbers in _rows_of(graph).items():
        n_senders = int(graph.edge_mask[numbers[0]].sum())
        tensor = torch.from_numpy(values[numbers, :n_senders].copy()).float()
        tensors[name] = tensor.reshape(_shape_of(name, len(numbers), n_senders))
    return saved(tensors)


def _graph_of(tensors: Mapping[str, torch.Tensor]) -> Graph:
    """The graph whose edges these tensors can score."""
    if any(tensor.ndim > 2 for tensor in tensors.values()) or any(
        tensor.ndim > 1
        for name, tensor in tensors.items()
        if name.endswith(("mlp_in", "resid_post"))
    ):
        raise ValueError(
            "its scores are by token position, of which this program has labels; add them up over "
            "positions first, as by `scores.sum(0)`"
        )
    split = "blocks.0.hook_q_input" in tensors
    heads = tensors.get("blocks.0.hook_q_input" if split else "blocks.0.hook_attn_in")
    mlp = tensors.get("blocks.0.hook_mlp_in")
    if heads is None:
        raise ValueError("blocks.0.hook_q_input is missing, and blocks.0.hook_attn_in is too")
    shape = {
        "n_layers": 1 + max(int(name.split(".")[1]) for name in tensors),
        # The first block's heads read the embedding alone.
        "n_heads": heads.numel(),
        "has_mlps": mlp is not None,
        "parallel": mlp is not None and mlp.numel() == 1,
        "split_qkv": split,
    }
    return graph_from(Value(shape, "the model"))


def _shape_of(name: str, n_heads: int, n_senders: int) -> list[int]:
    """The shape of a module's tensor."""
    return [n_senders] if name.endswith(("mlp_in", "resid_post")) else [n_heads, n_senders]


def _rows_of(graph: Graph) -> dict[str, list[int]]:
    """Module -> the rows of an edge matrix that it reads through, heads in ascending order."""
    rows: dict[str, list[int]] = {}
    for number, receiver in enumerate(graph.receivers):
        kind, layer = receiver.node.kind, receiver.node.layer
        if kind == "logits":
            name = f"blocks.{graph.n_layers - 1}.hook_resid_post"
        else:
            name = f"blocks.{layer}.hook_{'mlp_in' if kind == 'mlp' else _INPUTS[receiver.qkv]}"
        rows.setdefault(name, []).append(number)
    return rows
