"""EAP-IG's tensors: the same as its JSON in a `.pt` file (`Graph.to_pt`), which MIB takes too.

`edges_scores` and `edges_in_graph` are [n_senders, n_receivers], in our order of both. The file is
read as tensors and plain values alone (`torch.load` with `weights_only`): nothing in it is run.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import torch

from acdc_explorer.checked_json import Value
from acdc_explorer.circuits.exchange.eap_ig_json import (
    by_neuron,
    cfg_of,
    check_eap_ig_has,
    graph_of_cfg,
)
from acdc_explorer.circuits.exchange.scores import EdgeScores
from acdc_explorer.circuits.imported import ImportedEdges, edges_of_matrices

if TYPE_CHECKING:
    from acdc_explorer.circuits.circuit import Circuit


def load_tensors(content: bytes, most_bytes: int) -> dict[Any, Any]:
    """What a `.pt` file holds, tensors and plain values alone.

    Args:
        content: of the file.
        most_bytes: that it may have when it is unpacked.

    Raises:
        ValueError: if it is damaged or too large, or holds anything else, which is not made.
    """
    if not content.startswith(b"PK"):
        raise ValueError(
            "it is a pickle, which could run anything when it is read; of .pt files those are read "
            "that torch.save writes of tensors alone"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            n_bytes = sum(each.file_size for each in packed.infolist())
        fits = n_bytes <= most_bytes
        data = torch.load(io.BytesIO(content), "cpu", weights_only=True) if fits else None
    except UnpicklingError:
        raise ValueError(
            "it holds Python objects, which could run anything when they are read; save tensors, "
            "numbers and texts alone"
        ) from None
    except Exception as error:
        # Reading damaged files fails in many ways.
        raise ValueError(f"it is no file that torch.save wrote, or is damaged ({error})") from None
    if not fits:
        raise ValueError(f"unpacked it has {n_bytes:,} bytes; at most {most_bytes:,} are read")
    if not isinstance(data, dict):
        raise ValueError(f"it must hold a dictionary; got a {type(data).__name__}")
    return data


def is_eap_ig_pt(data: Mapping[Any, Any]) -> bool:
    """Whether what a `.pt` file holds is of this format."""
    return "cfg" in data and "edges_scores" in data


def read_eap_ig_pt(data: Mapping[Any, Any], origin: str, **names: str) -> ImportedEdges:
    """Reads a graph from its tensors.

    Args:
        data: what the file holds.
        origin: the file, in words.
        names: `model_name` and `task_name`, where they are known.

    Raises:
        ValueError: naming the value that is wrong; or if the graph keeps edges at some positions
            alone, or some neurons of a node.
    """
    graph = graph_of_cfg(Value(data["cfg"], "cfg"))
    senders = [sender.id for sender in graph.senders]
    receivers = [receiver.id for receiver in graph.receivers]
    for name, ids in (("src_nodes", senders), ("dst_nodes", receivers)):
        found = data.get(name, ids)
        if not isinstance(found, list) or found != ids:
            raise ValueError(
                f"{name} must be {ids[0]}, {ids[1]}, …, {ids[-1]}, all {len(ids)} in the order of "
                "EAP-IG"
            )
    shape = [len(senders), len(receivers)]
    in_graph, scores = (
        numbers_of(name, data.get(name), shape).T for name in ("edges_in_graph", "edges_scores")
    )
    for name in ("positional_edges_in_graph", "positional_edges_in_graphs"):
        if data.get(name) is not None:
            raise ValueError(f"{name} must be missing or None: edges here are of all positions")
    edges = edges_of_matrices(origin, graph, in_graph != 0, scores, **names)
    neurons = data.get("neurons_in_graph")
    if neurons is not None:
        width = neurons.shape[-1] if is_plain(neurons) and neurons.ndim else 0
        whole = numbers_of("neurons_in_graph", neurons, [len(senders), width]).all(1)
        partial = np.flatnonzero(edges.kept_mask.any(0) & ~whole)
        if len(partial):
            raise by_neuron(senders[partial[0]])
    return edges


def numbers_of(name: str, tensor: object, *shapes: list[int]) -> np.ndarray:
    """A tensor of a file as float64.

    Args:
        name: of it, for the errors.
        tensor: what the file has there, maybe nothing.
        shapes: that are allowed.

    Raises:
        ValueError: if it is none, has another shape, or fewer numbers than its shape says.
    """
    if not is_plain(tensor) or list(tensor.shape) not in shapes:
        told = f"one {list(tensor.shape)}" if is_plain(tensor) else f"a {type(tensor).__name__}"
        raise ValueError(f"{name} must be a tensor of numbers {shapes[0]}; got {told}")
    if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
        raise ValueError(f"{name} stores fewer numbers than its shape {list(tensor.shape)} needs")
    return np.asarray(tensor.detach().resolve_neg().double().numpy())


def is_plain(tensor: object) -> TypeGuard[torch.Tensor]:
    """Whether something is a tensor of real numbers, one by one in memory."""
    return (
        isinstance(tensor, torch.Tensor)
        and tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and not (tensor.is_complex() or tensor.is_quantized)
    )


def write_eap_ig_pt(circuit: Circuit, scores: EdgeScores) -> bytes:
    """A circuit as a `.pt` file, which EAP-IG's `Graph.from_pt` reads.

    Args:
        circuit: as for `write_eap_ig`.
        scores: of its edges.

    Raises:
        ValueError: if EAP-IG has no such graphs.
    """
    graph, kept = circuit.graph, circuit.kept_mask
    check_eap_ig_has(graph)
    values = np.where(graph.edge_mask, scores.matrix, 0.0)
    data = {
        "cfg": cfg_of(graph),
        "src_nodes": [sender.id for sender in graph.senders],
        "dst_nodes": [receiver.id for receiver in graph.receivers],
        "edges_scores": torch.from_numpy(values.T.copy()).float(),
        "edges_in_graph": torch.from_numpy(kept.T.copy()),
        "nodes_in_graph": torch.from_numpy(kept.any(0)),
    }
    return saved(data)


def saved(data: Any) -> bytes:
    """What `torch.save` writes."""
    file = io.BytesIO()
    torch.save(data, file)
    return file.getvalue()
