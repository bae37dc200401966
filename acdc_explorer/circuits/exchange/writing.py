"""Writes a circuit as a file of another tool."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.exchange.eap_ig_json import write_eap_ig
from acdc_explorer.circuits.exchange.eap_ig_pt import write_eap_ig_pt
from acdc_explorer.circuits.exchange.edges_csv import write_edges_csv
from acdc_explorer.circuits.exchange.graph_files import write_gexf, write_graphml
from acdc_explorer.circuits.exchange.mib import write_folder
from acdc_explorer.circuits.exchange.prune_scores import write_prune_scores
from acdc_explorer.circuits.exchange.scores import EdgeScores, check_finished, scores_of
from acdc_explorer.circuits.threshold_path import ThresholdPath
from acdc_explorer.errors import unknown_name
from acdc_explorer.files import write_bytes, write_text


@dataclass(frozen=True)
class FileFormat:
    """A format that circuits are written in.

    Attributes:
        what: whose it is.
        endings: of file names that mean this format.
        write: makes the text or the bytes of a file.
        keeps: what of a circuit is in such a file.
        lost: what is not.
    """

    what: str
    endings: tuple[str, ...]
    write: Callable[[Circuit, EdgeScores], str | bytes]
    keeps: str
    lost: str


_NO_SEARCH = "decisions, settings, metric and faithfulness; changes by hand are merged"
_SHAPE_OF_EAP_IG = "positions, models without MLPs and heads with one input are refused"

FORMATS = {
    "acdc_explorer": FileFormat(
        "this package's JSON",
        (".json",),
        lambda circuit, scores: circuit.to_json(),
        "everything",
        "nothing",
    ),
    "eap-ig": FileFormat(
        "EAP-IG's JSON",
        (".eap-ig.json",),
        write_eap_ig,
        "kept edges, a score for every edge, the model's shape",
        f"{_NO_SEARCH}; names of model and task; {_SHAPE_OF_EAP_IG}",
    ),
    "eap-ig-pt": FileFormat(
        "EAP-IG's tensors",
        (".pt",),
        write_eap_ig_pt,
        "kept edges, a score for every edge (float32), the model's shape",
        f"{_NO_SEARCH}; names of model and task; {_SHAPE_OF_EAP_IG}",
    ),
    "mib": FileFormat(
        "a folder of the MIB benchmark",
        (),
        write_eap_ig,
        "kept edges, a score for every edge, the model's shape, and in the folder's name the names "
        "of task and model",
        f"{_NO_SEARCH}; {_SHAPE_OF_EAP_IG}",
    ),
    "csv": FileFormat(
        "a table of edges",
        (".csv",),
        write_edges_csv,
        "kept edges, a score for every edge, positions, the model's shape",
        f"{_NO_SEARCH}; names of model and task",
    ),
    "prune-scores": FileFormat(
        "auto-circuit's PruneScores",
        (".prune-scores.pt",),
        write_prune_scores,
        "kept edges and their scores (float32), the model's shape",
        f"{_NO_SEARCH}; scores of edges that are not kept; names of model and task; positions are "
        "refused",
    ),
    "graphml": FileFormat(
        "GraphML",
        (".graphml",),
        write_graphml,
        "kept edges and their scores, positions, the model's shape",
        f"{_NO_SEARCH}; scores of edges that are not kept; names of model and task but in words",
    ),
    "gexf": FileFormat(
        "GEXF",
        (".gexf",),
        write_gexf,
        "kept edges and their scores, positions, the model's shape",
        f"{_NO_SEARCH}; scores of edges that are not kept; names of model and task but in words",
    ),
}
# Has no scores.
_OURS = "acdc_explorer"
# Needs a prompt; see `export_to_neuronpedia`.
_NEURONPEDIA = "neuronpedia"


def list_formats() -> pd.DataFrame:
    """The formats of `export_circuit`, all of which `Circuit.from_file` reads.

    Returns:
        A row for each: format, what, endings (of file names that mean it), keeps and lost (what of
        a circuit is in such a file, and what is not).
    """
    rows = [
        {
            "format": name,
            "what": each.what,
            "endings": " ".join(each.endings),
            "keeps": each.keeps,
            "lost": each.lost,
        }
        for name, each in FORMATS.items()
    ]
    return pd.DataFrame(rows)


def export_circuit(
    circuit: Circuit,
    path: str | os.PathLike[str],
    format: str | None = None,
    *,
    threshold_path: ThresholdPath | None = None,
    absolute: bool = False,
) -> None:
    """Writes a circuit as a file of another tool; `Circuit.from_file` reads it again.

    Most formats have a score for each edge, whose place is taken by the largest threshold at which
    the edge is kept: exact with a threshold path, else told from the decisions of the one search,
    as the change that its test found. Edges that were removed untested score 0, and a circuit that
    came from such a file keeps that file's scores.

    Args:
        circuit: any, with changes by hand or without.
        path: of the file; of the folder for format "mib", which is made if it is not there.
        format: one of `list_formats`; None: by the ending of the path.
        threshold_path: `ax.threshold_path` of the same search, for exact scores. Neither for our
            own format, which has no scores, nor for circuits from other tools' files.
        absolute: whether scores are sizes, as MIB's CMD ranks edges; not for our own format. Else
            they are positive for edges that help and negative for those that hurt, as its CPR does.

    Raises:
        ValueError: naming what is wrong: a format that is not known or cannot hold the circuit, as
            one whose search has not come to its end; a threshold path of another search; an
            argument without effect; or a path that cannot be written to.
    """
    name = format or format_of(path)
    if name == _NEURONPEDIA:
        raise ValueError("Neuronpedia's graphs need a prompt: use export_to_neuronpedia")
    if name not in FORMATS:
        raise unknown_name("format", name, FORMATS)
    if name != _OURS:
        check_finished(circuit)
    elif absolute or threshold_path is not None:
        given = "absolute" if absolute else "threshold_path"
        raise ValueError(
            f"{given} is for scores in other tools' files; format {_OURS!r} keeps the circuit as "
            "it is"
        )
    scores = scores_of(circuit, threshold_path, absolute=absolute)
    content = FORMATS[name].write(circuit, scores)
    if name == "mib":
        write_folder(Path(path), str(content))
    elif isinstance(content, bytes):
        write_bytes(path, content)
    else:
        write_text(path, content)


def format_of(path: str | os.PathLike[str]) -> str:
    """The format that a path's ending means; the longest ending counts.

    Raises:
        ValueError: if it means none.
    """
    file = os.fspath(path).lower()
    endings = {ending: name for name, each in FORMATS.items() for ending in each.endings}
    fitting = [ending for ending in endings if file.endswith(ending)]
    if not fitting:
        raise ValueError(
            f"the ending of {os.fspath(path)!r} means no format; give one: {', '.join(FORMATS)}"
        )
    return endings[max(fitting, key=len)]
