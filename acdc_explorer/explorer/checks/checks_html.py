"""What the checks found, as HTML."""

from __future__ import annotations

import math
from html import escape

import pandas as pd

from acdc_explorer.explorer.style import STEADY_SHARE
from acdc_explorer.explorer.words import counted
from acdc_explorer.measures.another_circuit import AnotherCircuit
from acdc_explorer.measures.measurement import Measurement, percent
from acdc_explorer.measures.stability import Stability
from acdc_explorer.measures.uncertainty import Uncertainty

# Of uncertain edges.
_MOST_ROWS = 30
# For the answers to questions.
_MARKS = {True: "✓", False: "✗", None: "–"}


def waiting_html(activity: str) -> str:
    """That it is at work, and how far it is."""
    return f'<span class="acdc-muted" role="status">{escape(activity or "at work …")}</span>'


def measurement_html(found: Measurement) -> str:
    """How right the circuit is: the tests, what was noticed, and two tables."""
    tests = "".join(
        f"<tr><td>{_MARKS[test.passed]}</td><th>{escape(test.name)}</th>"
        f"<td>{escape(test.told)}</td></tr>"
        for test in found.tests
    )
    noticed = "".join(f"<li>{escape(line)}</li>" for line in found.observations)
    return (
        '<section class="acdc-check" data-check="measurement">'
        f"<h4>Measured on {escape(found.measured_on)}</h4>"
        f'<table class="acdc-tests">{tests}</table>'
        f"{f'<ul>{noticed}</ul>' if noticed else ''}"
        f"{_ablations(found)}{_random(found)}</section>"
    )


def _ablations(found: Measurement) -> str:
    heads = (
        ("removed edges carry", "What stands in for the activations of removed edges"),
        ("full model", "The metric with no edge removed"),
        ("all removed", "The metric with every edge removed"),
        ("circuit", "The metric of the circuit"),
        ("without it", "The metric of the full model without the circuit's edges"),
        ("faithfulness", "(circuit - all removed) / (full - all removed), 95% interval"),
        ("left without it", "The same of the model without the circuit: 0% if it is complete"),
        ("single prompts", "10th to 90th percentile of the prompts' own faithfulness"),
        ("KL", "Divergence of the circuit's next-token distribution from the full model's, nats"),
        ("accuracy", "Prompts on which the answer is above every wrong one: circuit of full model"),
    )
    rows = []
    for name, row in found.ablations.iterrows():
        cells = [
            *(f"{row[each]:.3f}" for each in ("full", "ablated", "circuit", "without")),
            f"<b>{percent(row.faithfulness)}</b> "
            f"({percent(row.faithfulness_low)} to {percent(row.faithfulness_high)})",
            percent(row.remainder),
            f"{percent(row.prompts_low)} to {percent(row.prompts_high)}",
            f"{row.kl:.3f}",
            f"{percent(row.accuracy)} of {percent(row.full_accuracy)}",
        ]
        mark = " (as in the search)" if name == found.ablation else ""
        rows.append(f"<th>{escape(str(name))}{mark}</th>{_cells(cells)}")
    return _table(heads, rows)


def _random(found: Measurement) -> str:
    heads = (
        (f"{found.random.n.iloc[0]} random circuits of", "As many edges as the circuit has"),
        ("as near to the full model", "How many of them do as well as the circuit or better"),
        ("edges in common", "With the circuit, on average"),
        ("median faithfulness", ""),
        ("of the nearest", "The faithfulness of the one that comes nearest to the full model"),
    )
    rows = []
    for kind, row in found.random.iterrows():
        cells = [
            f"{row.as_near:.0f}",
            f"{row.shared:.1f}",
            percent(row.faithfulness_median),
            percent(row.faithfulness_best),
        ]
        rows.append(f"<th>{escape(str(kind))}</th>{_cells(cells)}")
    return _table(heads, rows)


def stability_html(found: Stability) -> str:
    """How much the circuit depends on accidents: by kind of run, and edge by edge."""
    heads = (
        ("runs with other", ""),
        ("runs", ""),
        ("alike among themselves", "Mean Jaccard index: shared edges over edges in either"),
        ("alike to this circuit", "The same with the circuit that is shown"),
        ("edges", "Smallest, median and largest circuit"),
    )
    rows = []
    for row in found.kinds.to_dict("records"):
        interval = "" if math.isnan(row["low"]) else f" ({row['low']:.2f} to {row['high']:.2f})"
        cells = [
            str(row["runs"]),
            f"{row['jaccard']:.2f}{interval}",
            f"{row['with_circuit']:.2f}",
            f"{row['smallest']:.0f}, {row['median']:.0f}, {row['largest']:.0f}",
        ]
        rows.append(f"<th>{escape(row['kind'])}</th>{_cells(cells)}")
    always, sometimes = _kept_always(found.edges)
    n_shared = len({*found.consensus} & {*found.circuit.kept})
    return (
        '<section class="acdc-check" data-check="stability">'
        f"<h4>Searched again {counted(len(found.runs), 'time')}</h4>"
        f"<p>{counted(always, 'edge')} of this circuit {'is' if always == 1 else 'are'} kept in "
        f"every run, {sometimes} in some. At least half of the runs keep "
        f"{counted(len(found.consensus), 'edge')}, {n_shared} of which are in it; the faithfulness "
        f"of just these is {percent(found.consensus_faithfulness)}, the circuit's "
        f"{percent(found.circuit.faithfulness)}. In the graph, edges that under "
        f"{STEADY_SHARE:.0%} of the runs keep are faint.</p>"
        f"{_table(heads, rows)}"
        f"{''.join(f'<p>{escape(note)}</p>' for note in found.notes)}</section>"
    )


def uncertainty_html(found: Uncertainty) -> str:
    """Which tests might have ended the other way with other prompts."""
    heads = (
        ("edge", ""),
        ("change", "What was compared with the threshold, and its standard error over prompts"),
        ("decision", ""),
        ("prompts to settle it", "With so many the same change would be certain"),
    )
    uncertain = found.edges[found.edges["uncertain"]]
    rows = []
    for row in uncertain[:_MOST_ROWS].to_dict("records"):
        prompts = row["prompts_to_settle"]
        cells = [
            f"{row['change']:.3g} ± {row['standard_error']:.2g}",
            escape(row["decision"]),
            "–" if pd.isna(prompts) else f"{prompts:,.0f}",
        ]
        rows.append(f"<th><code>{escape(row['edge'])}</code></th>{_cells(cells)}")
    more = len(uncertain) - len(rows)
    return (
        '<section class="acdc-check" data-check="uncertainty">'
        f"<h4>Certain at {counted(found.n_prompts, 'prompt')}?</h4><p>{escape(str(found))} "
        f"The threshold is {found.circuit.threshold:.3g}.</p>"
        f"{_table(heads, rows) if rows else ''}"
        f"{f'<p>and {more:,} more</p>' if more else ''}</section>"
    )


def uncertain_notes(found: Uncertainty) -> dict[str, str]:
    """For every uncertain edge what is to be said of it."""
    uncertain = found.edges[found.edges["uncertain"]]
    notes = {}
    for edge, prompts in zip(uncertain["edge"], uncertain["prompts_to_settle"], strict=True):
        settled = "" if pd.isna(prompts) else f"; {prompts:,.0f} would settle it"
        notes[edge] = f"uncertain at {counted(found.n_prompts, 'prompt')}{settled}"
    return notes


def another_circuit_html(found: AnotherCircuit) -> str:
    """Whether the task has another circuit, and which edges it has."""
    shared = {*found.shared}
    edges = "".join(
        f"<li><code>{escape(edge)}</code>{' (shared)' if edge in shared else ''}</li>"
        for edge in found.kept
    )
    title = "It has another circuit" if found.found else "No other circuit found"
    return (
        f'<section class="acdc-check" data-check="another"><h4>{title}</h4>'
        f"<p>{escape(str(found))}</p>"
        f"<details><summary>Its {counted(len(found.kept), 'edge')}</summary>"
        f"<ul>{edges}</ul></details></section>"
    )


def _kept_always(edges: pd.DataFrame) -> tuple[int, int]:
    """How many edges of the circuit all runs keep, and how many not all."""
    shares = edges["all"][edges["kept"]]
    return int((shares == 1).sum()), int((shares < 1).sum())


def _cells(cells: list[str]) -> str:
    return "".join(f'<td class="num">{cell}</td>' for cell in cells)


def _table(heads: tuple[tuple[str, str], ...], rows: list[str]) -> str:
    first = "".join(
        f'<th scope="col" title="{escape(title)}">{escape(name)}</th>' for name, title in heads
    )
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table><thead><tr>{first}</tr></thead><tbody>{body}</tbody></table>"
