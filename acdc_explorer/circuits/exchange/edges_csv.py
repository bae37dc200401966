"""A table of edges as CSV: one row for each edge of the model.

Written are the columns edge, sender, receiver, qkv, position, kept, score. Read are edge; `kept`
(true or false), or `state` ("kept" or another, but not "untested"), as in `Circuit.edges`, without
which every edge of the file is kept; and `score`, or `effect`. Others are passed over.
"""

from __future__ import annotations

import io
import warnings
from itertools import islice
from typing import TYPE_CHECKING, Any

import pandas as pd

from acdc_explorer.checked_json import Value, shown
from acdc_explorer.circuits.exchange.scores import EdgeScores
from acdc_explorer.circuits.exchange.shapes import graph_of_all_edges
from acdc_explorer.circuits.imported import EdgeCollector, ImportedEdges
from acdc_explorer.circuits.tables import UNTESTED, edge_columns
from acdc_explorer.graph import Graph

if TYPE_CHECKING:
    from acdc_explorer.circuits.circuit import Circuit

# The columns that say something.
_READ = "edge", "kept", "state", "score", "effect"
_TRUTHS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def is_edges_csv(text: str) -> bool:
    """Whether a text is of this format: whether its first line names a column `edge`."""
    return "edge" in [name.strip(' "') for name in text.partition("\n")[0].strip().split(",")]


def read_edges_csv(text: str, origin: str, graph: Graph | None) -> ImportedEdges:
    """Reads a table of edges.

    Args:
        text: of the file.
        origin: the file, in words.
        graph: of the model; None: the one whose edges, all of them, are in the table.

    Raises:
        ValueError: naming the row that is wrong; or if the table has not all edges of a model, and
            no graph is given.
    """
    try:
        with warnings.catch_warnings():
            # Cells too many, which pandas would drop, or else take for names of rows.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                io.StringIO(text), header=None, dtype=str, keep_default_na=False, index_col=False
            )
    except (ValueError, pd.errors.ParserWarning) as error:
        raise ValueError(f"it is no table of comma-separated values ({error})") from None
    # With `header=0` pandas would give repeated names new ones.
    columns = [str(name).strip() for name in table.iloc[0]]
    if columns.count("edge") != 1:
        raise ValueError(f"it must have one column 'edge'; got {', '.join(columns)}")
    for name in columns:
        if name in _READ and columns.count(name) > 1:
            raise ValueError(f"it must have one column {name!r}; got {', '.join(columns)}")
    table = table.iloc[1:].set_axis(columns, axis=1)
    names = table["edge"].tolist()
    graph = graph or graph_of_all_edges(names)
    collector = EdgeCollector(graph)
    kept = _kept(table, text)
    score_column = next((name for name in ("score", "effect") if name in table), None)
    scores: list[str] = [""] * len(table) if score_column is None else table[score_column].tolist()
    for number, (name, score) in enumerate(zip(names, scores, strict=True)):
        try:
            collector.add(name, _number(score), kept=kept[number])
        except ValueError as error:
            raise ValueError(f"{_line_of(number, text)}: {error}") from None
    return ImportedEdges(origin, graph, tuple(collector.kept), collector.scores)


def write_edges_csv(circuit: Circuit, scores: EdgeScores) -> str:
    """A table of all edges of a circuit's model, as CSV.

    Args:
        circuit: any.
        scores: of its edges.
    """
    graph = circuit.graph
    columns: dict[str, Any] = {
        **edge_columns(graph),
        "kept": circuit.kept_mask[graph.edge_mask],
        "score": scores.matrix[graph.edge_mask],
    }
    return pd.DataFrame(columns).to_csv(index=False, lineterminator="\n")


def _kept(table: pd.DataFrame, text: str) -> list[bool]:
    """Which rows' edges are kept."""
    if "kept" not in table and "state" not in table:
        return [True] * len(table)
    if "kept" not in table:
        states = [state.strip() for state in table["state"]]
        if UNTESTED in states:
            raise ValueError(
                f"{_line_of(states.index(UNTESTED), text)}: state must be 'kept' or 'removed'; got "
                f"{UNTESTED!r}, as of a search that has not come to its end"
            )
        return [state == "kept" for state in states]
    kept = []
    for number, cell in enumerate(table["kept"]):
        truth = _TRUTHS.get(cell.strip().lower())
        if truth is None:
            raise ValueError(
                f"{_line_of(number, text)}: kept must be true or false; got {shown(cell)}"
            )
        kept.append(truth)
    return kept


def _line_of(row: int, text: str) -> str:
    """The line in which a row stands, counted from 0 without the columns' names, in words."""
    lines = (number for number, line in enumerate(io.StringIO(text, None), 1) if line.strip())
    return f"line {next(islice(lines, row + 1, None))}"


def _number(text: str) -> Value | None:
    """The score in a cell; None: it is empty."""
    if not text.strip():
        return None
    try:
        return Value(float(text), "score")
    except ValueError:
        raise ValueError(f"score must be a number; got {shown(text)}") from None
