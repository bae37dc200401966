"""Reads a circuit's file, of whatever format, which is told by the content."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from acdc_explorer.checked_json import Value, parse_json
from acdc_explorer.circuits.exchange.eap_ig_json import is_eap_ig, read_eap_ig
from acdc_explorer.circuits.exchange.eap_ig_pt import is_eap_ig_pt, load_tensors, read_eap_ig_pt
from acdc_explorer.circuits.exchange.edges_csv import is_edges_csv, read_edges_csv
from acdc_explorer.circuits.exchange.graph_files import (
    is_gexf,
    is_graphml,
    read_gexf,
    read_graphml,
)
from acdc_explorer.circuits.exchange.mib import file_in_folder, names_of_folder
from acdc_explorer.circuits.exchange.neuronpedia import is_neuronpedia, read_neuronpedia
from acdc_explorer.circuits.exchange.prune_scores import is_prune_scores, read_prune_scores
from acdc_explorer.circuits.exchange.shapes import UntoldModelError
from acdc_explorer.circuits.files import FORMAT, graph_from
from acdc_explorer.circuits.imported import ImportedEdges, best_scored
from acdc_explorer.errors import check_whole_number
from acdc_explorer.graph import Graph

# A model of a million edges has files of some 100 MB; ours have more to say of each.
_MOST_BYTES = 400_000_000
# What an explorer saves has a circuit in it.
_SESSION = "acdc_explorer.session"
_FORMATS = (
    "acdc_explorer's and EAP-IG's JSON, EAP-IG's and auto-circuit's tensors (.pt), a folder of "
    "MIB, a CSV table of edges, GraphML, GEXF, and Neuronpedia's JSON as written here"
)


def read_file(
    path: str | os.PathLike[str], graph: Graph | None = None, top_n: int | None = None
) -> ImportedEdges | dict[str, Any]:
    """Reads a circuit's file; arguments and errors as `Circuit.from_file`.

    Returns:
        Its edges; of our own format the JSON, whose decisions are still to be checked.
    """
    file, names = Path(path), dict[str, str]()
    if file.is_dir():
        names = names_of_folder(file)
        try:
            file = file_in_folder(file)
        except ValueError as error:
            raise ValueError(f"{str(path)!r} is no circuit: {error}") from None
    found = read_content(content_of(file, str(path)), str(path), graph, **names)
    if top_n is None:
        return found
    if not isinstance(found, ImportedEdges):
        raise ValueError("top_n is for files of other tools; a search has decided what is kept")
    check_whole_number("top_n", top_n, 1)
    return best_scored(found, top_n)


def content_of(file: Path, name: str) -> bytes:
    """What is in a file.

    Args:
        file: of a circuit.
        name: of it, for the errors.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is none that has an end, or too large.
    """
    n_bytes = file.stat().st_size
    if not file.is_file():
        raise ValueError(f"{name!r} is no file that could be read as a whole")
    if n_bytes > _MOST_BYTES:
        raise ValueError(
            f"{name!r} has {n_bytes:,} bytes; circuits of at most {_MOST_BYTES:,} are read"
        )
    return file.read_bytes()


def read_content(
    content: bytes, name: str, graph: Graph | None = None, **names: str
) -> ImportedEdges | dict[str, Any]:
    """As `read_file`, of what is in a file.

    Args:
        content: of the file.
        name: of the file, for the errors.
        graph: as for `Circuit.from_file`.
        names: `model_name` and `task_name`, where they are known.
    """
    try:
        found = _read(content, name, graph, names)
        if graph is not None:
            of_file = graph_from(Value(found)["model"]) if isinstance(found, dict) else found.graph
            if of_file != graph:
                raise ValueError(f"it is of a model of {of_file.shape}; this one has {graph.shape}")
    except ValueError as error:
        kind = UntoldModelError if isinstance(error, UntoldModelError) else ValueError
        raise kind(f"{name!r} is no circuit that can be read here: {error}") from None
    return found


def _read(
    content: bytes, name: str, graph: Graph | None, names: dict[str, str]
) -> ImportedEdges | dict[str, Any]:
    # A zip archive, as torch.save writes it, or a pickle.
    if content.startswith((b"PK\x03\x04", b"\x80")):
        data = load_tensors(content, _MOST_BYTES)
        if is_eap_ig_pt(data):
            return read_eap_ig_pt(data, f"the EAP-IG file {name!r}", **names)
        if is_prune_scores(data):
            return read_prune_scores(data, f"the auto-circuit file {name!r}")
        raise ValueError(f"its format is unknown; known are {_FORMATS}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no text ({error})") from None
    if is_graphml(text):
        return read_graphml(text, f"the GraphML file {name!r}", graph)
    if is_gexf(text):
        return read_gexf(text, f"the GEXF file {name!r}", graph)
    if text.lstrip()[:1] == "{":
        return _of_json(parse_json(text, unique=True), name, names)
    if is_edges_csv(text):
        return read_edges_csv(text, f"the table {name!r}", graph)
    raise ValueError(f"its format is unknown; known are {_FORMATS}")


def _of_json(data: Any, name: str, names: dict[str, str]) -> ImportedEdges | dict[str, Any]:
    if is_eap_ig(data):
        return read_eap_ig(data, f"the EAP-IG file {name!r}", **names)
    if is_neuronpedia(data):
        return read_neuronpedia(data, f"the Neuronpedia file {name!r}")
    if data.get("format") == FORMAT:
        return dict(data)
    if data.get("format") == _SESSION:
        return Value(data)["circuit"].mapping()
    raise ValueError(f"its format is unknown; known are {_FORMATS}")
