"""One row of a sweep: the settings of one search, checked, and the name that they give its file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from acdc_explorer.arguments import THRESHOLD, check_options, parse_target
from acdc_explorer.checked_json import shown
from acdc_explorer.circuits.settings import parse_threshold
from acdc_explorer.errors import check_whole_number, unknown_name
from acdc_explorer.metrics import METRICS
from acdc_explorer.models.from_pip import FROM_PIP
from acdc_explorer.models.loading import BUNDLED
from acdc_explorer.models.toys import HANDMADE
from acdc_explorer.options import ATTRIBUTIONS, Ablation, Method, Order, Rule
from acdc_explorer.tasks.builtin.registry import TASKS

# So many hexadecimal digits of its settings' SHA-256 name a row's file.
KEY_LENGTH = 16
_OPTIONS = (
    "method",
    "rule",
    "order",
    "order_seed",
    "ablation",
    "positions",
    "split_qkv",
    "screen",
    "top_n",
)


@dataclass(frozen=True)
class SweepRow:
    """The settings of one search. All but `model` and `task` may be left out.

    Attributes:
        model: a name, a folder or a file, as `load_model` takes it.
        task: the name of a task, see `list_tasks`.
        threshold: as `find_circuit` takes it; 7% unless it, `faithfulness` or `top_n` is given.
        faithfulness: likewise.
        method: likewise; so are those below, up to `top_n`.
        rule: None: the metric's own.
        order: of the tests.
        order_seed: for order "random"; the row's `seed` unless given. 0 in any other order.
        ablation: what removed edges carry.
        positions: whether edges are by token position.
        split_qkv: whether a head's q, k and v inputs have edges of their own.
        screen: share of the threshold below which edges go untested.
        top_n: for the attribution methods, instead of a threshold.
        n_prompts: of the task.
        seed: of the prompts, and of whatever else is drawn by chance.
    """

    model: str
    task: str
    threshold: float | str | None = None
    faithfulness: float | str | None = None
    method: Method = "acdc"
    rule: Rule | None = None
    order: Order = "default"
    order_seed: int = 0
    ablation: Ablation = "corrupted"
    positions: bool = False
    split_qkv: bool = True
    screen: float = 0.0
    top_n: int | None = None
    n_prompts: int = 64
    seed: int = 0

    @staticmethod
    def of(given: Mapping[str, Any]) -> SweepRow:
        """A row from its settings by name.

        Args:
            given: model, task and any of the other attributes. None, or what pandas has for a
                missing value, stands for one that is left out.

        Raises:
            ValueError: naming the setting that is unknown, missing or wrong.
        """
        settings = {str(name): _plain(value) for name, value in given.items()}
        for name in settings:
            if name not in SETTINGS:
                raise unknown_name("setting", name, SETTINGS)
        settings = {name: value for name, value in settings.items() if value is not None}
        for name in ("model", "task"):
            if name not in settings:
                raise ValueError(f"{name} is missing")
        settings["model"] = _model_reference(settings["model"])
        for name, value in settings.items():
            if not isinstance(value, (str, int, float)):
                raise ValueError(
                    f"{name} must be one text, number, True or False; got {shown(value)}"
                )
        if settings["task"] not in TASKS:
            raise unknown_name("task", settings["task"], TASKS)
        for name in ("threshold", "faithfulness"):
            if name in settings:
                settings[name] = _number_or_text(settings[name])
        row = SweepRow(**settings)
        if row.order != "random":
            row = replace(row, order_seed=0)
        elif "order_seed" not in settings:
            row = replace(row, order_seed=row.seed)
        if row.threshold is row.faithfulness is row.top_n is None:
            row = replace(row, threshold=THRESHOLD)
        row._check()
        return row

    def _check(self) -> None:
        """Raises a ValueError for what can be known to be wrong before a model is loaded."""
        options = self.options()
        check_whole_number("n_prompts", self.n_prompts, 1)
        check_whole_number("seed", self.seed, 0)
        check_options(options)
        if self.top_n is not None:
            self._check_top_n()
        if self.faithfulness is not None:
            parse_target(self.faithfulness, self.threshold, options)
        elif self.threshold is not None:
            # Of a clean metric of 1, since a per cent of some other one is not known to be wrong.
            parse_threshold(self.threshold, 1.0, METRICS[TASKS[self.task].metric])

    def _check_top_n(self) -> None:
        check_whole_number("top_n", self.top_n, 1)
        if self.method not in ATTRIBUTIONS:
            allowed = ", ".join(ATTRIBUTIONS)
            raise ValueError(f"top_n goes with the methods {allowed}; got {self.method!r}")
        if self.threshold is not None:
            raise ValueError(
                f"give either top_n or threshold; got {self.top_n} and {self.threshold!r}"
            )

    def options(self) -> dict[str, Any]:
        """The options of `find_circuit`, but for `threshold` and `faithfulness`."""
        return {name: getattr(self, name) for name in _OPTIONS}

    def as_dict(self) -> dict[str, Any]:
        """All settings by name, as JSON holds them."""
        return asdict(self)

    @property
    def key(self) -> str:
        """The beginning of the SHA-256 of the settings, which names the row's file.

        What is as by default does not count, so that it stays what it is when an option is added.
        """
        told = {name: value for name, value in self.as_dict().items() if value != _DEFAULTS[name]}
        text = json.dumps(told, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


SETTINGS = tuple(field.name for field in fields(SweepRow))
# Of the two that have no default, a value that is none of theirs.
_DEFAULTS = asdict(SweepRow("", ""))


def _plain(value: Any) -> Any:
    """A value as JSON holds it; None where it is missing."""
    if isinstance(value, np.generic):
        value = value.item()
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return None
    # Pandas turns whole numbers into others where some are missing.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _model_reference(model: Any) -> str:
    """A model's name, or the path of its folder or file, as text.

    Raises:
        ValueError: if it is a model object, which cannot be named in a file or sent to a cluster.
    """
    if not isinstance(model, (str, os.PathLike)):
        raise ValueError(
            "model must be a name, a folder or a file here, which every worker can load; got a "
            f"{type(model).__name__}. Save it to a folder first (save_pretrained)"
        )
    return os.fspath(model)


def whole_path(model: str) -> str:
    """The absolute path of a model's folder or file; its name, if there is no such file here.

    Args:
        model: a row's.
    """
    if model in BUNDLED or model in FROM_PIP or model in HANDMADE:
        return model
    try:
        path = Path(model).expanduser()
        return os.path.abspath(path) if path.exists() else model
    except (OSError, RuntimeError, ValueError):
        # Too long for a path, say, or of a user who is not known.
        return model


def _number_or_text(value: Any) -> Any:
    """A number where it is one or the text of one, so that 0.5 and "0.5" are the same row."""
    if isinstance(value, str):
        value = value.strip()
        try:
            if value.endswith("%"):
                number = float(value.removesuffix("%"))
                short = f"{number:g}"
                # So are "7%", "7.0%" and "7 %".
                return f"{short if float(short) == number else number}%"
            value = float(value)
        except ValueError:
            return value
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number else value
