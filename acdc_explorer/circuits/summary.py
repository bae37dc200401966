"""Where a circuit stands, in one line."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from acdc_explorer.circuits.circuit import Circuit


def summary_of(circuit: Circuit) -> str:
    """See `Circuit.summary`."""
    if circuit.imported:
        return _summary_of_imported(circuit)
    low, high = circuit.valid_interval
    n_kept = len(circuit.kept)
    same = f"{'as searched, ' if circuit.by_hand else ''}the same for thresholds"
    screened = f" and {circuit.n_screened} screened" if circuit.n_screened else ""
    return (
        f"{circuit.model_name} · {circuit.task_name}: {n_kept} edge{'s' * (n_kept != 1)} kept"
        f"{_connected_note(circuit)}{_hand_note(circuit)}, {circuit.n_tested} tested{screened} of "
        f"{circuit.graph.n_edges}; {circuit.metric_name} {circuit.metric_value:.3f} (full "
        f"{circuit.full_metric:.3f}, corrupted {circuit.corrupted_metric:.3f}, faithfulness "
        f"{circuit.faithfulness:.1%}); {same} from {low:.4g} to {high:.4g}"
        + ("" if circuit.complete else "; search not finished")
    )


def _summary_of_imported(circuit: Circuit) -> str:
    n_kept = len(circuit.kept)
    metric = "no metric yet"
    if not math.isnan(circuit.metric_value):
        metric = (
            f"{circuit.metric_name} {circuit.metric_value:.3f} on {circuit.task_name}, "
            f"faithfulness {circuit.faithfulness:.1%}"
        )
    return (
        f"{named(circuit)}: {n_kept:,} edge{'s' * (n_kept != 1)} of {circuit.graph.n_edges:,} kept"
        f"{_connected_note(circuit)}; {metric}; no decisions of a search, no threshold"
    )


def named(circuit: Circuit) -> str:
    """What a circuit is: model, task, method and threshold; or the file that it is from."""
    words = hand_changes_in_words(circuit)
    changed = f", {words} by hand" if words else ""
    if circuit.imported:
        return f"{circuit.imported.origin}{changed}"
    how = f"{circuit.settings.method} at {circuit.settings.threshold_text}"
    return f"{circuit.model_name} · {circuit.task_name}, {how}{changed}"


def _connected_note(circuit: Circuit) -> str:
    """How many kept edges are connected, where that is known and not all of them are."""
    if not circuit.complete:
        return ""
    n_connected = int(circuit.connected_mask.sum())
    return f" ({n_connected} connected to the input)" if n_connected < len(circuit.kept) else ""


def _hand_note(circuit: Circuit) -> str:
    words = hand_changes_in_words(circuit)
    return f" ({words} by hand)" if words else ""


def hand_changes_in_words(circuit: Circuit) -> str:
    """How many edges were removed and restored by hand; empty if none were."""
    n_restored = sum(change.kept for change in circuit.by_hand)
    counts = {"removed": len(circuit.by_hand) - n_restored, "restored": n_restored}
    return " and ".join(f"{count} {what}" for what, count in counts.items() if count)
