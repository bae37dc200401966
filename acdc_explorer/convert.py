"""The command `convert`: a circuit's file of one format is written in another."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_convert(parser: argparse.ArgumentParser) -> None:
    """Gives a parser the arguments of the command, and the function that runs it.

    Args:
        parser: of the command.
    """
    parser.description = (
        "Reads a circuit of acdc_explorer, EAP-IG (.json, .pt), MIB (a folder), auto-circuit "
        "(.pt), a CSV table of edges, GraphML or GEXF, told by the content, and writes it in the "
        "format that the ending of OUT means, or --format."
    )
    parser.add_argument("source", metavar="IN", type=Path, help="a file, or a folder of MIB")
    parser.add_argument("target", metavar="OUT", type=Path, help="the file to write")
    parser.add_argument(
        "--format",
        help="acdc_explorer, eap-ig, eap-ig-pt, mib, csv, prune-scores, graphml or gexf "
        "(default: by the ending: .json, .eap-ig.json, .pt, .csv, .prune-scores.pt, .graphml or "
        ".gexf)",
    )
    parser.add_argument(
        "--absolute",
        action="store_true",
        help="scores are sizes, without the sign of the effect; not for acdc_explorer",
    )
    parser.add_argument(
        "--threshold-path",
        type=Path,
        metavar="FILE",
        help="of the same search, as ThresholdPath.save writes it, for exact scores; not "
        "for acdc_explorer, which has none",
    )
    parser.add_argument(
        "--top-n",
        type=int,
        metavar="N",
        help="keep the N edges of the largest |score| instead of those that IN keeps",
    )
    parser.add_argument(
        "--like",
        type=Path,
        metavar="FILE",
        help="a circuit of the same model, where IN is a list of edges that does not say its shape",
    )
    parser.set_defaults(command=_convert)


def _convert(arguments: argparse.Namespace) -> int:
    # Both import pandas and torch, for which other commands need not wait.
    from acdc_explorer.circuits.circuit import Circuit
    from acdc_explorer.circuits.exchange.writing import FORMATS, export_circuit, format_of
    from acdc_explorer.circuits.threshold_path import ThresholdPath

    graph = Circuit.from_file(arguments.like).graph if arguments.like else None
    circuit = Circuit.from_file(arguments.source, graph, arguments.top_n)
    name = arguments.format or format_of(arguments.target)
    path = ThresholdPath.load(arguments.threshold_path) if arguments.threshold_path else None
    export_circuit(
        circuit, arguments.target, name, threshold_path=path, absolute=arguments.absolute
    )
    print(f"{circuit.summary()}\nwritten to {arguments.target}; lost: {FORMATS[name].lost}")
    return 0
