"""The HTML of the lines above the graph: where the circuit stands, how far the search has come."""

from __future__ import annotations

import math
from html import escape

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.summary import hand_changes_in_words
from acdc_explorer.explorer.words import plain, with_unit
from acdc_explorer.runner.state import Snapshot, Trust
from acdc_explorer.searches.audit import CONFIDENCE

# Of edges that verification puts right.
_NAMED = 3
# Of an error's first line, so many letters are shown at once.
_LINE = 120


def status_html(
    snapshot: Snapshot, n_drawn: int, shown_position: str | None = None, *, live: bool = True
) -> str:
    """Where the circuit stands, in one line that is always there.

    Args:
        snapshot: of the search.
        n_drawn: how many edges the graph draws.
        shown_position: the position label by which it draws them, or None.
        live: whether there is a search behind the page.
    """
    circuit = snapshot.circuit
    text = _standing(circuit, n_drawn) if circuit else "no circuit yet"
    if snapshot.trust:
        text += f" &nbsp;·&nbsp; {_trust(snapshot.trust, snapshot.exploring and live)}"
    if snapshot.note:
        text += f" &nbsp;·&nbsp; {escape(snapshot.note)}"
    if circuit and shown_position is not None and not circuit.graph.labels:
        text += (
            f" &nbsp;·&nbsp; <b>edges drawn by what they add at {escape(shown_position)}</b>"
            + (" (click the bar again for all positions)" if live else "")
        )
    return (
        f'<div class="acdc-status" role="status" data-status="{snapshot.status}">'
        f'<span class="acdc-badge">{snapshot.status}</span>{text}</div>'
    )


def _standing(circuit: Circuit, n_drawn: int) -> str:
    n_kept = len(circuit.kept)
    faithfulness = circuit.faithfulness
    screened = f"<b>{circuit.n_screened:,}</b> screened / " if circuit.n_screened else ""
    parts = [
        f"<b>{n_kept:,}</b> kept{_connected(circuit)} / <b>{circuit.n_tested:,}</b> tested / "
        f"{screened}<b>{circuit.graph.n_edges:,}</b> edges"
        + (f" (the {n_drawn} largest drawn)" if n_drawn < n_kept else ""),
        f"{escape(circuit.metric_name.replace('_', ' '))}: full <b>{circuit.full_metric:.3f}</b>, "
        f"circuit <b>{plain(circuit.metric_value)}</b>, corrupted "
        + with_unit(f"<b>{circuit.corrupted_metric:.3f}</b>", circuit.metric_unit),
        *([f"rule {circuit.settings.rule}"] if circuit.settings.rule != "abs" else []),
        *([f"by hand: <b>{words}</b>"] if (words := hand_changes_in_words(circuit)) else []),
        f"faithfulness <b>{'–' if math.isnan(faithfulness) else f'{faithfulness:.1%}'}</b>",
    ]
    return " &nbsp;·&nbsp; ".join(parts)


def _connected(circuit: Circuit) -> str:
    """How many kept edges are connected, where that is known and not all of them are."""
    if not circuit.complete:
        return ""
    n_connected = int(circuit.connected_mask.sum())
    n_loose = len(circuit.kept) - n_connected
    if not n_loose:
        return ""
    return f" ({n_connected:,} connected, {n_loose:,} lead{'s' * (n_loose == 1)} from nothing)"


def _trust(trust: Trust, exploring: bool) -> str:
    """How far a screened circuit can be trusted, by what the background has found out."""
    verified = trust.share_verified
    parts = ["<b>screened</b>" if verified < 1 else "<b>verified</b>: every edge tested"]
    if trust.audit is None:
        parts.append("audit …" if exploring else "not audited")
    elif verified < 1:
        audit = trust.audit
        parts.append(
            f"audit <b>{len(audit.wrong)} of {len(audit.tests)}</b> wrong "
            f"(&lt; {audit.most_wrong:.1%} at {CONFIDENCE:.0%})"
        )
    if 0 < verified < 1:
        # Rounded down: 100% is when it is done.
        parts.append(f"<b>{int(100 * verified)}%</b> verified")
    if trust.corrected:
        ids = ", ".join(f"<code>{escape(each)}</code>" for each in trust.corrected[:_NAMED])
        more = len(trust.corrected) - _NAMED
        parts.append(f"put right, stays: {ids}" + (f" and {more} more" if more > 0 else ""))
    return f'<span class="acdc-trust">{" · ".join(parts)}</span>'


def progress_html(snapshot: Snapshot) -> str:
    """How far the search has come: a bar, and words on it."""
    circuit = snapshot.circuit
    percent = 100 * snapshot.n_done / circuit.graph.n_edges if circuit else 0.0
    return (
        f'<div class="acdc-progress" data-search="{snapshot.status}" role="progressbar" '
        f'aria-label="progress of the search" aria-valuenow="{percent:.0f}" '
        f'style="--done: {percent:.1f}%">{progress_text(snapshot)}</div>'
    )


def progress_text(snapshot: Snapshot) -> str:
    """How far the search has come, how fast it is, how long it will take."""
    circuit, activity = snapshot.circuit, escape(snapshot.activity)
    if circuit is None:
        return (activity or "loading the model …") if snapshot.status == "loading" else ""
    if activity and snapshot.status in ("loading", "running"):
        return activity
    looking = ""
    if snapshot.target is not None and snapshot.status in ("running", "paused"):
        looking = f"for {snapshot.target:.0%}: threshold {circuit.threshold:.3g} · "
    share = f"{looking}{snapshot.n_done:,} of {circuit.graph.n_edges:,} decided"
    # Where most edges go without a test, the number of tests says little.
    rate = "" if circuit.settings.screen else f" · {snapshot.rate:,.0f} tests/s"
    if snapshot.status in ("running", "paused") and snapshot.seconds_left is not None:
        return f"{share}{rate} · {_duration(snapshot.seconds_left)} left"
    return f"{share}{rate} · took {_duration(snapshot.seconds)}"


def _duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def error_html(error: Exception | str | None) -> str:
    """An error, in words, or nothing: one line, and what follows it when that is opened."""
    if error is None:
        return ""
    text = error if isinstance(error, str) else f"{error}" or type(error).__name__
    first, _, rest = text.strip().partition("\n")
    if len(first) > _LINE:
        cut = first[:_LINE].rfind(" ") if " " in first[:_LINE] else _LINE
        first, rest = f"{first[:cut]} …", text
    told = escape(first)
    if rest:
        told = f"<details><summary>{told}</summary><pre>{escape(rest)}</pre></details>"
    return f'<div class="acdc-error" role="alert">{told}</div>'
