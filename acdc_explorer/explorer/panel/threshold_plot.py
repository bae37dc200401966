"""The plot under the slider: which circuit every threshold gives, as HTML with inline SVG.

Above, the threshold axis: known intervals, the one that holds now as a band. Below, how faithful
circuits of so many edges are: ACDC's, and for comparison those of attribution.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.steps import EdgeStep
from acdc_explorer.circuits.threshold_path import ThresholdPath
from acdc_explorer.explorer.style import CURVE_COLOURS
from acdc_explorer.explorer.words import counted, with_unit
from acdc_explorer.options import METHOD_NAMES
from acdc_explorer.runner.session import CurvePoint
from acdc_explorer.runner.state import Snapshot

_WIDTH, _HEIGHT = 340, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 10, 8, 30
_RULER_HEIGHT = 34
# In per cent, as the slider's.
_RULER = 0.01, 100.0


def path_html(snapshot: Snapshot, *, live: bool = True) -> str:
    """Everything known about other thresholds; empty before the first circuit.

    Args:
        snapshot: of the search.
        live: whether there is a search behind the page, which goes where one clicks.
    """
    circuit = snapshot.circuit
    if circuit is None or snapshot.status not in ("done", "stopped") or not circuit.full_metric:
        return ""
    sentence = f"<p>{sensitivity(circuit)}</p>" if circuit.complete else ""
    doing = snapshot.activity or "finding the circuits of other thresholds …"
    note = f" {escape(doing[0].upper() + doing[1:])}" if live and snapshot.exploring else ""
    if snapshot.path_gave_up:
        note += " The search for more was given up for lack of time; a threshold in a gap is found"
        note += " when it is chosen."
    n_known = len(snapshot.path.circuits)
    known = f"{counted(n_known, 'interval')} known{'; click one to go there' if live else ''}"
    legend = _legend(circuit.settings.method, snapshot.path, snapshot.curves)
    return (
        f'<div class="acdc-path" data-intervals="{n_known}">{sentence}'
        f"{_ruler(circuit, snapshot.path, live)}"
        f"{_plot(circuit, snapshot.path, snapshot.curves, live)}"
        f'<p class="acdc-muted">{legend}. {known}.{note}'
        f"{_dropped(snapshot.path)}</p></div>"
    )


def sensitivity(circuit: Circuit) -> str:
    """For which thresholds a circuit holds, and what changes at either end."""
    low, high = circuit.valid_interval

    def size(step: EdgeStep) -> float:
        return circuit.change_of(step)

    removed = [step for step in circuit.decisions if not step.kept]
    kept = [step for step in circuit.decisions if step.kept]
    this = "As searched, this" if circuit.by_hand else "This"
    end = "and above" if math.isinf(high) else f"to {high:.3g}"
    text = (
        f"{this} circuit holds from {_interval(circuit, '<b>', '</b>')} "
        f"({with_unit(f'{low:.3g} {end}', circuit.metric_unit)})"
    )
    if removed and low > 0:
        text += f"; below that <code>{escape(max(removed, key=size).edge.id)}</code> joins"
    if kept:
        text += f"; above it <code>{escape(min(kept, key=size).edge.id)}</code> goes"
    return text + "."


def _interval(circuit: Circuit, before: str = "", after: str = "") -> str:
    """For which thresholds a circuit holds, in shares of the clean metric, with marks around."""
    low, high = (
        f"{before}{100 * value / abs(circuit.full_metric):.3g}%{after}"
        for value in circuit.valid_interval
    )
    return f"{low} upwards" if math.isinf(circuit.valid_interval[1]) else f"{low} to {high}"


def _dropped(path: ThresholdPath) -> str:
    if not path.dropped:
        return ""
    n, example = len(path.dropped), next(iter(path.dropped))
    return (
        f" Not monotone: {counted(n, 'edge')} kept at a higher threshold "
        f"{'are' if n > 1 else 'is'} gone at a lower one (<code>{escape(example)}</code>"
        f"{', …' if n > 1 else ''})."
    )


def _short(power_of_ten: int) -> str:
    """1, 10, 100, 1k, 10k, ..., as little room as there is on a deep model's axis."""
    for unit, name in ((1_000_000, "M"), (1000, "k")):
        if power_of_ten >= unit:
            return f"{power_of_ten // unit}{name}"
    return str(power_of_ten)


def _ruler(circuit: Circuit, path: ThresholdPath, live: bool) -> str:
    """The threshold axis with the known intervals on it."""
    full = abs(circuit.full_metric)
    span = _WIDTH - _LEFT - _RIGHT

    def x(value: float) -> float:
        percent = min(max(100 * value / full, _RULER[0]), _RULER[1])
        return _LEFT + span * math.log(percent / _RULER[0]) / math.log(_RULER[1] / _RULER[0])

    parts = []
    for number, known in enumerate(path.circuits):
        low, high = known.valid_interval
        width = max(x(high) - x(low), 0.8)
        parts.append(
            f'<rect class="known" x="{x(low):.1f}" y="6" width="{width:.1f}" height="10" '
            f'fill-opacity="{0.7 if number % 2 else 1.0}"{_goes_to(known) if live else ""}>'
            f"<title>{_title(known)}</title></rect>"
        )
    low, high = circuit.valid_interval
    parts.append(
        f'<rect class="band" x="{x(low):.1f}" y="3" width="{max(x(high) - x(low), 2):.1f}" '
        'height="16"/>'
    )
    at = x(circuit.threshold)
    parts.append(f'<line class="now" x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="21"/>')
    for percent in (0.01, 0.1, 1, 10, 100):
        label = f"{percent:g}%"
        anchor = "end" if percent == 100 else "middle"
        parts.append(
            f'<text x="{x(percent * full / 100):.1f}" y="32" text-anchor="{anchor}">{label}</text>'
        )
    return (
        f'<svg width="{_WIDTH}" height="{_RULER_HEIGHT}" role="img" '
        f'aria-label="known intervals of the threshold">{"".join(parts)}</svg>'
    )


def _plot(
    circuit: Circuit,
    path: ThresholdPath,
    curves: Mapping[str, Sequence[CurvePoint]],
    live: bool,
) -> str:
    """Faithfulness against the number of edges."""
    n_edges = circuit.graph.n_edges
    known = [c for c in path.circuits if not math.isnan(c.faithfulness)]
    values = [c.faithfulness for c in known] + [p.faithfulness for c in curves.values() for p in c]
    top = min(max([1.1, *values]), 2.0)
    bottom = max(min([-0.1, *values]), -1.0)

    def x(edges: int) -> float:
        share = math.log(max(edges, 1)) / math.log(max(n_edges, 2))
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * share

    def y(faithfulness: float) -> float:
        inside = min(max(faithfulness, bottom), top)
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (top - inside) / (top - bottom)

    parts = []
    for value, name in ((0.0, "0%"), (0.5, "50%"), (1.0, "100%")):
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(value):.1f}" '
            f'y2="{y(value):.1f}"/><text x="{_LEFT - 5}" y="{y(value) + 4:.1f}" '
            f'text-anchor="end">{name}</text>'
        )
    edges = 1
    while edges <= n_edges:
        # The last one may stand at the very end.
        anchor = "end" if x(edges) > _WIDTH - 3 * _RIGHT else "middle"
        at = f'x="{x(edges):.1f}" y="{_HEIGHT - 16}" text-anchor="{anchor}"'
        parts.append(f"<text {at}>{_short(edges)}</text>")
        edges *= 10
    parts.append(f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 2}" text-anchor="middle">edges kept</text>')
    for method, points in curves.items():
        line = " ".join(f"{x(p.edges):.1f},{y(p.faithfulness):.1f}" for p in points)
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="{CURVE_COLOURS[method]}" '
            'stroke-width="1.3" stroke-dasharray="4 3"/>'
        )
    by_size = sorted(known, key=lambda each: len(each.kept))
    line = " ".join(f"{x(len(c.kept)):.1f},{y(c.faithfulness):.1f}" for c in by_size)
    parts.append(f'<polyline class="exact" points="{line}"/>')
    for c in by_size:
        parts.append(
            f'<circle class="{"screened" if c.n_screened else "exact"}" '
            f'cx="{x(len(c.kept)):.1f}" cy="{y(c.faithfulness):.1f}" r="4" '
            f"{_button(c, circuit) if live else ''}><title>{_title(c)}</title></circle>"
        )
    for count, share, name in ((0, 0.0, "corrupted"), (n_edges, 1.0, "full model")):
        parts.append(
            f'<rect class="end" x="{x(count) - 3:.1f}" y="{y(share) - 3:.1f}" width="6" height="6">'
            f"<title>{name}</title></rect>"
        )
    if not math.isnan(circuit.faithfulness):
        parts.append(
            f'<circle class="now" cx="{x(len(circuit.kept)):.1f}" '
            f'cy="{y(circuit.faithfulness):.1f}" r="6.5"/>'
        )
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="{"group" if live else "img"}" '
        f'aria-label="faithfulness against edges kept">{"".join(parts)}</svg>'
    )


def _goes_to(circuit: Circuit) -> str:
    return f' data-threshold="{circuit.threshold!r}"'


def _button(known: Circuit, circuit: Circuit) -> str:
    """The point of a known circuit, by mouse and by keyboard; the ruler is for the mouse alone."""
    is_current = known.valid_interval == circuit.valid_interval
    return (
        f'{_goes_to(known)} role="button" tabindex="-1" aria-label="{_title(known)}"'
        f"{' aria-current=true' if is_current else ''}"
    )


def _title(circuit: Circuit) -> str:
    screened = ", screened" if circuit.n_screened else ""
    faithfulness = circuit.faithfulness
    told = "" if math.isnan(faithfulness) else f", faithfulness {faithfulness:.1%}"
    return f"threshold {_interval(circuit)}: {counted(len(circuit.kept), 'edge')}{told}{screened}"


def _legend(method: str, path: ThresholdPath, curves: Mapping[str, Sequence[CurvePoint]]) -> str:
    name, colour = METHOD_NAMES[method], CURVE_COLOURS["exact"]
    kinds = {"●": name, "○": f"{name}, screened"}
    there = {"○" if circuit.n_screened else "●" for circuit in path.circuits} or {"●"}
    parts = [
        f'<span style="color:{colour}">{mark}</span> {kinds[mark]}'
        for mark in kinds
        if mark in there
    ]
    parts += [
        f'<span style="color:{CURVE_COLOURS[name]}">┄</span> {METHOD_NAMES[name]}'
        for name in curves
    ]
    return ", ".join(parts)
