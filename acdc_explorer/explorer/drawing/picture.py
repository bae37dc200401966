"""The graph as SVG: a picture that needs neither a kernel nor a script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

import numpy as np
import plotly.graph_objects as go

from acdc_explorer.explorer.drawing.curves import CURVE_POINTS
from acdc_explorer.explorer.drawing.key_parts import COMPARED, SIZES, parts_of
from acdc_explorer.explorer.drawing.layout import Layout
from acdc_explorer.explorer.drawing.shown import DrawnEdge

_WIDTH, _MARGIN = 820, 64
# Above the graph for the title and the key; below it for the names of the columns.
_HEAD, _FOOT = 80, 44
_KEY_ROWS = 38, 54, 70
_ABOVE = "top center"
_TEXT, _RULE = "#222222", "#d9d9d9"
_FONT = "font-family='sans-serif' font-size='11'"


def graph_svg(
    figure: go.FigureWidget, layout: Layout, title: str, drawn: Sequence[DrawnEdge]
) -> str:
    """Draws what a figure shows, on white.

    Args:
        figure: the graph, with the traces of `make_traces`.
        layout: by which it was drawn.
        title: stands above it.
        drawn: its edges, of which the key tells.
    """
    height = round(layout.height) + _HEAD + _FOOT
    (left, right), (low, high) = layout.x_range, layout.rows.range
    scale = np.array([(_WIDTH - _MARGIN - 12) / (right - left),
                      (height - _HEAD - _FOOT) / (low - high)])  # fmt: skip
    origin = np.array([_MARGIN, _HEAD]) - np.array([left, high]) * scale

    def place(trace: go.Scatter) -> np.ndarray:
        points = np.stack([np.asarray(axis, dtype=float) for axis in (trace.x, trace.y)], 1)
        return np.asarray(points * scale + origin)

    body = [*_axes(layout, scale, origin, height)]
    for trace in figure.data:
        if trace.mode == "lines":
            body += _lines(place(trace), trace)
        elif trace.name != "edge-hits":
            body += _markers(place(trace), trace)
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' id='acdc-picture' width='{_WIDTH}' "
        f"height='{height}' viewBox='0 0 {_WIDTH} {height}' role='img' {_FONT}>"
        f"<title>{escape(title)}</title><rect width='100%' height='100%' fill='#ffffff'/>"
        f"<text x='12' y='20' fill='{_TEXT}'>{escape(title)}</text>"
        f"{''.join(_key(drawn))}{''.join(body)}</svg>"
    )


def _axes(layout: Layout, scale: np.ndarray, origin: np.ndarray, height: float) -> Iterator[str]:
    """Names of rows and columns, and the lines of the rows and between columns."""
    top, bottom = _HEAD, height - _FOOT
    for y, name in zip(*layout.rows.ticks, strict=True):
        at = y * scale[1] + origin[1]
        yield _rule(_MARGIN, at, _WIDTH - 12, at)
        yield _label(_MARGIN - 6, at + 4, name, anchor="end")
    for x in layout.separators:
        at = x * scale[0] + origin[0]
        yield _rule(at, top, at, bottom)
    for x, name in zip(*layout.x_ticks, strict=True):
        at = x * scale[0] + origin[0]
        for number, part in enumerate(name.split("<br>")):
            text = part.removeprefix("<b>").removesuffix("</b>")
            # The names of positions are HTML already.
            yield _label(at, bottom + 16 + 13 * number, text, is_escaped=True)


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f"<line x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}' stroke='{_RULE}'/>"


def _label(
    x: float, y: float, text: str, anchor: str = "middle", *, is_escaped: bool = False
) -> str:
    shown = text if is_escaped else escape(text)
    return f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' fill='{_TEXT}'>{shown}</text>"


def _lines(points: np.ndarray, trace: go.Scatter) -> Iterator[str]:
    if len(points) < CURVE_POINTS:
        return
    curves = points.reshape(-1, CURVE_POINTS + 1, 2)[:, :-1]
    path = "".join(map(_smooth, curves))
    dash = "" if trace.line.dash == "solid" else f" stroke-dasharray='{trace.line.dash}'"
    yield (
        f"<path d='{path}' fill='none' stroke='{trace.line.color}' "
        f"stroke-width='{trace.line.width}' opacity='{trace.opacity}'{dash}/>"
    )


def _smooth(curve: np.ndarray) -> str:
    """A smooth line through points: cubic pieces whose slopes are those between neighbours."""
    slopes = np.gradient(curve, axis=0) / 3
    pieces = [f"M{curve[0, 0]:.1f},{curve[0, 1]:.1f}"]
    for i in range(len(curve) - 1):
        a, b, end = curve[i] + slopes[i], curve[i + 1] - slopes[i + 1], curve[i + 1]
        pieces.append(f"C{a[0]:.1f},{a[1]:.1f} {b[0]:.1f},{b[1]:.1f} {end[0]:.1f},{end[1]:.1f}")
    return "".join(pieces)


def _markers(points: np.ndarray, trace: go.Scatter) -> Iterator[str]:
    """Nodes with their names, folds, and rings."""
    marker, n = trace.marker, len(points)

    def each(value: object, default: object) -> Sequence[object]:
        if isinstance(value, (list, tuple, np.ndarray)):
            return list(value)
        return [default if value is None else value] * n

    sizes, symbols = each(marker.size, 10), each(marker.symbol, "circle")
    fills, rims = each(marker.color, "none"), each(marker.line.color, "none")
    texts, colours = each(trace.text, ""), each(trace.textfont.color, _TEXT)
    for row, (x, y) in enumerate(points):
        if not np.isfinite(x):
            continue
        is_ring = str(symbols[row]).endswith("-open")
        fill, rim = ("none", fills[row]) if is_ring else (fills[row], rims[row])
        style = f"fill='{fill}' stroke='{rim}' stroke-width='{marker.line.width or 1}'"
        yield _symbol(str(symbols[row]), x, y, float(str(sizes[row])) / 2, style)
        # A label that is not to be seen is written in a colour without any.
        if texts[row] and not str(colours[row]).endswith(",0)"):
            size = trace.textfont.size
            is_above = trace.textposition == _ABOVE
            down = -float(str(sizes[row])) / 2 - 0.3 * size if is_above else 0.35 * size
            yield (
                f"<text x='{x:.1f}' y='{y + down:.1f}' text-anchor='middle' "
                f"font-size='{size:.1f}' fill='{colours[row]}'>{escape(str(texts[row]))}</text>"
            )


def _symbol(symbol: str, x: float, y: float, radius: float, style: str) -> str:
    if symbol == "square":
        side = 2 * radius
        corner = f"x='{x - radius:.1f}' y='{y - radius:.1f}'"
        return f"<rect {corner} width='{side:.1f}' height='{side:.1f}' {style}/>"
    if "-thin" in symbol:
        turned = f" transform='rotate(45 {x:.1f} {y:.1f})'" if symbol.startswith("x") else ""
        left, top, side = x - radius, y - radius, 2 * radius
        way = f"M{left:.1f},{y:.1f}h{side:.1f}M{x:.1f},{top:.1f}v{side:.1f}"
        return f"<path d='{way}' {style}{turned}/>"
    if symbol == "diamond":
        r = 1.3 * radius
        corners = f"{x:.1f},{y - r:.1f} {x + r:.1f},{y:.1f} {x:.1f},{y + r:.1f} {x - r:.1f},{y:.1f}"
        return f"<polygon points='{corners}' {style}/>"
    return f"<circle cx='{x:.1f}' cy='{y:.1f}' r='{radius:.1f}' {style}/>"


def _key(drawn: Sequence[DrawnEdge]) -> Iterator[str]:
    """What the lines that occur mean: kinds, the other parts, and those of another circuit."""
    kinds, *others = parts_of(drawn) or [[]]
    parts = [part for group in others for part in group]
    own, compared = ([p for p in parts if (p in COMPARED) == of] for of in (False, True))
    rows = kinds, own, compared
    for y, row in zip(_KEY_ROWS, rows, strict=True):
        x = 12.0
        for part in row:
            name = part.name + (" of the clean metric" if part == SIZES[-1] else "")
            yield (
                f"<line x1='{x}' x2='{x + 22}' y1='{y}' y2='{y}' stroke='{part.colour or _TEXT}' "
                f"stroke-width='{part.width}' stroke-dasharray='{part.dash}' "
                f"opacity='{part.opacity}'/>"
                f"{_label(x + 27, y + 4, name, 'start')}"
            )
            x += 40 + 6.2 * len(name)
