"""What a search was asked to do."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from acdc_explorer.errors import check_whole_number, unknown_name
from acdc_explorer.metrics import Metric
from acdc_explorer.options import ABLATIONS, METHODS, ORDERS, RULES, Ablation, Method, Order, Rule

_Floats = TypeVar("_Floats", float, NDArray[np.float64])


@dataclass(frozen=True)
class SearchSettings:
    """How a circuit was searched for; saved with it.

    Attributes:
        threshold: in the metric's units.
        threshold_text: as the user gave it, "7%" or "0.3".
        method: "acdc" or "path_patching", exact; "eap", "eap_ig", "ceap" or "relp", approximate.
        rule: "abs", "signed" or "cumulative"; see `change`.
        order: of the tests, see `Graph.search_receivers`.
        order_seed: for order "random".
        ablation: what removed edges carry.
        screen: edges whose predicted change is below this share of the threshold go without a test
            of their own (`searches/screening.py`); 0: every edge is tested.
    """

    threshold: float
    threshold_text: str
    method: Method = "acdc"
    rule: Rule = "abs"
    order: Order = "default"
    order_seed: int = 0
    ablation: Ablation = "corrupted"
    screen: float = 0.0

    def __post_init__(self) -> None:
        for what, given, allowed in (
            ("method", self.method, METHODS),
            ("rule", self.rule, RULES),
            ("order", self.order, ORDERS),
            ("ablation", self.ablation, ABLATIONS),
        ):
            if given not in allowed:
                raise unknown_name(what, given, allowed)

        check_whole_number("order_seed", self.order_seed, 0)
        # Of numpy's whole numbers, JSON knows none.
        object.__setattr__(self, "order_seed", int(self.order_seed))

        is_share = isinstance(self.screen, (int, float)) and not isinstance(self.screen, bool)
        if not (is_share and 0 <= self.screen < 1):
            raise ValueError(
                "screen must be a share of the threshold, from 0 (every edge is tested) to below "
                f"1; got {self.screen!r}"
            )

        if self.method != "acdc" and self.screen:
            raise ValueError(
                f"screen is for method 'acdc', which tests edge after edge; got method "
                f"{self.method!r}"
            )

        if self.method != "acdc" and self.rule == "cumulative":
            raise ValueError(
                f"rule 'cumulative' is for method 'acdc'; {self.method!r} changes one edge of the "
                "full model at a time, so nothing adds up"
            )

        if self.method != "acdc" and self.order == "attribution":
            raise ValueError(
                f"order 'attribution' is for method 'acdc'; what {self.method!r} finds does not "
                "depend on the order"
            )

    def change(
        self, before: _Floats, after: _Floats, full: float, higher_is_better: bool
    ) -> _Floats:
        """The number that is compared with the threshold; an edge stays if it is not smaller.

        Args:
            before: the metric of the circuit with the edge; or that of many edges, as an array.
            after: without it.
            full: of the full model.
            higher_is_better: the metric's direction: whether a fall does damage.
        """
        if self.rule == "cumulative":
            return abs(full - after)
        if self.rule == "abs":
            return abs(before - after)
        return before - after if higher_is_better else after - before

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain values, for JSON."""
        return asdict(self)


def parse_threshold(threshold: float | str, full_metric: float, metric: Metric) -> float:
    """Turns a threshold as the user gives it into the metric's units.

    Args:
        threshold: a number in the metric's units, or text: a number, or a per cent of
            |full_metric| such as "7%".
        full_metric: the metric of the clean run.
        metric: for its name and unit in messages.

    Raises:
        ValueError: if it is no number, not positive, not finite, or a per cent of zero.
    """
    text = str(threshold).strip()
    relative = text.endswith("%")
    try:
        if isinstance(threshold, bool):
            raise ValueError
        value = float(text.removesuffix("%"))
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise ValueError(
            f"threshold must be a positive number in {metric.unit or 'the metric'}, as 0.3, or a "
            f"per cent of the clean {metric.label}, as '7%'; got {threshold!r}"
        )
    if not relative:
        return value
    scale = abs(full_metric)
    if scale < 1e-6:
        raise ValueError(
            f"threshold {text!r} is a per cent of the clean {metric.label}, which is "
            f"{full_metric:.2g} here; give a number in {metric.unit or 'its units'} instead"
        )
    return value / 100 * scale
