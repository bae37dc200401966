"""Which edges a search may remove without a test of their own, by what is predicted for them.

The prediction is to first order (`engine/predictions.py`), so it is never relied on unmeasured:
what a run of edges does together is measured, and compared with what was predicted for them.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.engine.engine import Engine

# A screen that lets less than this through tests nearly every edge, and predicts in vain.
_LEAST_SHARE = 0.02
# From this many wrong predictions on, and this many of all kept edges, the share is halved.
_MANY_WRONG, _OFTEN_WRONG = 2, 0.1
# How many thresholds of predicted change may go in one run. The longer a run, the more easily the
# errors of its predictions cancel one another.
_MOST_PER_RUN = 3.0
# Predictions of a run are believed if its change differs from theirs by less than this share of
# what would keep an edge.
_BELIEVED = 0.8
# Predicted changes within this factor of the threshold leave it open how a test will end.
_UNCERTAIN = 1.5


class Screen:
    """Compares predicted changes of the metric with the threshold.

    Attributes:
        share: edges with a predicted change below this share of the threshold go untested; 0: none.
    """

    def __init__(self, engine: Engine, settings: SearchSettings):
        """Begins with the share that the settings ask for."""
        self._settings = settings
        self._full, self._direction = engine.full_metric, engine.metric.higher_is_better
        self.share = settings.screen
        self._n_kept = self._n_wrong = 0

    def may_go(self, before: float, predicted: float) -> bool:
        """Whether an edge's predicted change is so small that it need not be tested.

        Under rules "abs" and "signed", below the share of the threshold; in general, so small
        beside what is left to the threshold.

        Args:
            before: the metric before, about.
            predicted: what the removal should add to it.
        """
        if not self.share:
            return False
        left = self._settings.threshold - self._change(before, predicted)
        return abs(predicted) * (1 / self.share - 1) < left

    def is_uncertain(self, before: float, predicted: float) -> bool:
        """Whether a test may well end otherwise than expected.

        Args:
            before: as above, and so is the next.
            predicted: likewise.
        """
        change = self._change(before, predicted) / self._settings.threshold
        return 1 / _UNCERTAIN < change < _UNCERTAIN

    def should_stay(self, before: float, predicted: float) -> bool:
        """Whether a test is likely to end in keeping the edge."""
        return self._change(before, predicted) >= self._settings.threshold

    def run_length(self, predicted: Float[np.ndarray, " edge"]) -> int:
        """How many of some edges may go in one run; at least one."""
        total = np.abs(predicted).cumsum()
        most = _MOST_PER_RUN * self._settings.threshold
        return max(1, int(np.searchsorted(total, most, side="right")))

    def believes(self, before: float, after: float, predicted: Float[np.ndarray, " edge"]) -> bool:
        """Whether what a run of edges did together bears out what was predicted for each.

        Not if a single one of them, with all of the difference, came near to staying.
        """
        before_each = before + predicted.cumsum() - predicted
        changes = map(self._change, before_each, predicted)
        left = self._settings.threshold - max(changes)
        return abs(after - before - predicted.sum()) < _BELIEVED * left

    def kept(self, *, screened: bool) -> None:
        """Hears that an edge stays; and whether that was found by halving a run of screened ones.

        Where that happens often, predictions are poor, and less is left to them.
        """
        self._n_kept += 1
        self._n_wrong += screened
        if self._n_wrong >= _MANY_WRONG and self._n_wrong > _OFTEN_WRONG * self._n_kept:
            self._n_kept = self._n_wrong = 0
            self.share /= 2
            if self.share < _LEAST_SHARE:
                self.share = 0.0

    def _change(self, before: float, predicted: float) -> float:
        return self._settings.change(before, before + predicted, self._full, self._direction)
