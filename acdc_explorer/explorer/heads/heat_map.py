"""Attention on one prompt as a heat map, in SVG; all foreign text is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from jaxtyping import Float

# Cells are as wide as so many tokens allow, in pixels; what is longer scrolls.
_CELLS = ((14, 18), (24, 14), (45, 12))
_LEAST_CELL = 11
# Weights below it are not drawn; those above are no paler than this.
_LEAST_WEIGHT, _LEAST_OPACITY = 0.01, 0.05
# Of a token, in characters; and what a character takes, in pixels.
_SHOWN, _CHARACTER, _PAD = 13, 6.2, 6


def heat_map(
    title: str,
    weights: Float[np.ndarray, "query key"],
    queries: Sequence[str],
    keys: Sequence[str],
    labels: Mapping[int, str],
    *,
    signed: bool = False,
) -> str:
    """Attention from each token (rows) to each (columns), with the number where one points.

    Args:
        title: above it; also says to assistive technology what it is.
        weights: attention, or a difference of two.
        queries: the tokens of the rows.
        keys: of the columns.
        labels: token number -> the labels that it has.
        signed: whether these are differences: blue is more, vermillion less.
    """
    n = len(queries)
    cell = next((size for most, size in _CELLS if n <= most), _LEAST_CELL)
    names = [[_shown(token, labels.get(at, "")) for at, token in enumerate(each)]
             for each in (queries, keys)]  # fmt: skip
    left, top = (_PAD + _CHARACTER * max(map(len, each)) for each in names)
    width, height = left + n * cell + 2, top + n * cell + 2
    parts = [
        f'<path class="frame" d="M{left:.0f} {top:.0f}'
        + "".join(f"h{cell}v{cell}" for _ in range(n))
        + f'h{-n * cell}z"/>'
    ]
    for at in range(n):
        row_y, column_x = top + (at + 0.72) * cell, left + (at + 0.72) * cell
        bold = ' class="labelled"' if at in labels else ""
        parts.append(
            f'<text x="{left - 4:.1f}" y="{row_y:.1f}" text-anchor="end"{bold}>'
            f"{escape(names[0][at])}</text>"
            f'<text transform="translate({column_x:.1f} {top - 4:.1f}) rotate(-90)"{bold}>'
            f"{escape(names[1][at])}</text>"
        )
    for query, key in np.argwhere(np.abs(weights) >= _LEAST_WEIGHT).tolist():
        weight = float(weights[query, key])
        told = f"from {queries[query]!r} [{query}] to {keys[key]!r} [{key}]: " + (
            f"{weight:+.3f}" if signed else f"{weight:.3f}"
        )
        x, y, opacity = left + key * cell, top + query * cell, min(1.0, abs(weight))
        parts.append(
            f'<rect class="{"more" if weight > 0 else "less"}" x="{x:.1f}" y="{y:.1f}" '
            f'width="{cell}" height="{cell}" fill-opacity="{max(_LEAST_OPACITY, opacity):.2f}">'
            f"<title>{escape(told)}</title></rect>"
        )
    return (
        f'<figure class="acdc-heat"><figcaption>{escape(title)}</figcaption><div>'
        f'<svg width="{width:.0f}" height="{height:.0f}" role="img" '
        f'aria-label="{escape(title, quote=True)}">{"".join(parts)}</svg></div></figure>'
    )


def token_shown(token: str) -> str:
    """A token as it can be read: blanks and ends of lines have a sign, and long ones an ellipsis.

    Args:
        token: as the tokenizer writes it.
    """
    text = token.replace("\n", "↵").replace("\t", "⇥").strip() or "␣"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _shown(token: str, label: str) -> str:
    return f"{token_shown(token)} ({label})" if label else token_shown(token)
