"""Where layers stand, from bottom to top; layers without a kept node can be folded away."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

# In rows: what a folded run of layers takes, and where input and logits stand beyond the blocks.
_FOLD_HEIGHT = 0.7
_INPUT_Y = -1.0
_LOGITS_ABOVE = 0.2
# Beyond the input and the logits, as a share of what lies between.
_MARGIN = 0.05
# The MLP of a block stands above its heads, which feed it.
MLP_RISE = 0.5


@dataclass(frozen=True)
class Fold:
    """A run of layers that is drawn as one.

    Attributes:
        layers: of the run.
        y: where it stands.
    """

    layers: range
    y: float

    @property
    def name(self) -> str:
        """`L0–L7`."""
        return f"L{self.layers[0]}–L{self.layers[-1]}"


class Rows:
    """The places of layers, on the y axis, with one row a layer.

    Attributes:
        folds: runs of layers that are folded, the lowest first.
        logits_y: of the logits.
    """

    def __init__(self, n_layers: int, shown: Collection[int] | None = None):
        """Places the layers.

        Args:
            n_layers: of the model.
            shown: layers that must not be folded; the others are, where two or more lie together.
                None: all.
        """
        self.n_layers = n_layers
        self.folds: list[Fold] = []
        self._y: list[float] = []
        y, layer = 0.0, 0
        while layer < n_layers:
            end = layer
            while shown is not None and end < n_layers and end not in shown:
                end += 1
            if end - layer >= 2:
                self.folds.append(Fold(range(layer, end), y))
                self._y += [y] * (end - layer)
                y, layer = y + _FOLD_HEIGHT, end
            else:
                self._y.append(y)
                y, layer = y + 1.0, layer + 1
        self.logits_y = y + _LOGITS_ABOVE

    def y(self, layer: int) -> float:
        """Of a layer's heads; of the input, whose layer is -1."""
        return self._y[layer] if layer >= 0 else _INPUT_Y

    @property
    def height(self) -> float:
        """From the lower to the upper end, in rows."""
        low, high = self.range
        return high - low

    @property
    def range(self) -> tuple[float, float]:
        """The part of the y axis to show."""
        margin = _MARGIN * (self.logits_y - _INPUT_Y)
        return _INPUT_Y - margin, self.logits_y + margin

    @property
    def ticks(self) -> tuple[list[float], list[str]]:
        """Where rows are and what they are called."""
        folded = {layer for fold in self.folds for layer in fold.layers}
        layers = [layer for layer in range(self.n_layers) if layer not in folded]
        named = [(self._y[layer], f"L{layer}") for layer in layers]
        named += [(fold.y, fold.name) for fold in self.folds]
        named = [(_INPUT_Y, "input"), *sorted(named), (self.logits_y, "logits")]
        return [y for y, _ in named], [name for _, name in named]
