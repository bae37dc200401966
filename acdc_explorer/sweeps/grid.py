"""From what a user gives as a grid to the rows of a sweep."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import yaml

from acdc_explorer.checked_json import parse_json
from acdc_explorer.errors import unknown_name
from acdc_explorer.sweeps.row import SETTINGS, SweepRow, whole_path

# What a sweep goes over; see `sweep`.
Grid: TypeAlias = Mapping[str, Any] | Sequence[Mapping[str, Any]] | pd.DataFrame

# A grid says "models", a row "model"; both are understood wherever a setting is named.
PLURALS = {
    "models": "model",
    "tasks": "task",
    "thresholds": "threshold",
    "methods": "method",
    "rules": "rule",
    "orders": "order",
    "order_seeds": "order_seed",
    "ablations": "ablation",
    "screens": "screen",
    "seeds": "seed",
}
_ALLOWED = [*PLURALS, *(name for name in SETTINGS if name not in PLURALS.values())]


def rows_of(grid: Grid) -> list[SweepRow]:
    """The rows of a grid, each once, in its order.

    Args:
        grid: see `sweep`. The last setting of a grid of lists varies fastest.

    Raises:
        ValueError: naming the row, and the setting that is unknown, missing or wrong.
    """
    rows: dict[str, SweepRow] = {}
    for number, settings in enumerate(_settings_of(grid)):
        try:
            row = SweepRow.of(settings)
            # Workers may run in another folder.
            row = replace(row, model=whole_path(row.model))
        except ValueError as error:
            raise ValueError(f"row {number} of the grid: {error}") from None
        rows.setdefault(row.key, row)
    if not rows:
        raise ValueError("the grid has no rows")
    return list(rows.values())


def read_grid(path: str | os.PathLike[str]) -> Any:
    """The grid in a file.

    Args:
        path: of a YAML file (*.yaml, *.yml), a JSON file (*.json), or a CSV file of rows (*.csv).

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is of no such kind, is damaged, or names something twice.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in {".yaml", ".yml", ".json", ".csv"}:
        raise ValueError(f"a grid's file must be .yaml, .yml, .json or .csv; got {str(path)!r}")
    try:
        if kind == ".csv":
            return pd.read_csv(path)
        text = path.read_text(encoding="utf-8")
        if kind == ".json":
            return parse_json(text, unique=True)
        return yaml.load(text, _UniqueNames)
    except RecursionError:
        raise ValueError(f"{str(path)!r} cannot be read: it nests too deep") from None
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{str(path)!r} cannot be read as {kind[1:].upper()}: {error}") from None


class _UniqueNames(yaml.SafeLoader):
    """Reads YAML in which no mapping has a name twice; else the last one alone would count."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        """A mapping as it stands in the file."""
        node = super().compose_mapping_node(anchor)
        names = [name.value for name, _ in node.value if isinstance(name, yaml.ScalarNode)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise yaml.YAMLError(f"{twice[0]!r} comes twice in one mapping{node.start_mark}")
        return node


def _settings_of(grid: Grid) -> Iterator[dict[str, Any]]:
    """The settings of each row, by name."""
    if isinstance(grid, pd.DataFrame):
        columns = [_setting_of(name) for name in grid.columns]
        _check_once(columns)
        for values in grid.itertuples(index=False, name=None):
            yield dict(zip(columns, values, strict=True))
    elif isinstance(grid, Mapping):
        yield from _product(grid)
    elif isinstance(grid, (list, tuple)):
        for part in grid:
            if not isinstance(part, Mapping):
                raise ValueError(
                    f"a list of grids must hold grids, as {{'models': ['mini']}}; got {part!r}"
                )
            yield from _product(part)
    else:
        raise ValueError(
            "grid must be a mapping of lists, as {'models': ['mini'], 'tasks': ['ioi']}, a list of "
            f"such mappings, or a DataFrame of rows; got {type(grid).__name__}"
        )


def _product(grid: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every combination of the values of a grid of lists."""
    names = [_setting_of(name) for name in grid]
    _check_once(names)
    values = [_values(value) for value in grid.values()]
    for name, several in zip(names, values, strict=True):
        if not several:
            raise ValueError(f"the grid has no values for {name}")
    for combination in itertools.product(*values):
        yield dict(zip(names, combination, strict=True))


def _values(value: Any) -> list[Any]:
    """The values of one setting: those of a list, or one that stands for itself."""
    is_many = isinstance(value, (list, tuple, range, set, np.ndarray, pd.Series, pd.Index))
    return list(value) if is_many else [value]


def _setting_of(name: Any) -> str:
    setting = PLURALS.get(name, name)
    if setting not in SETTINGS:
        raise unknown_name("setting of a grid", name, _ALLOWED)
    return str(setting)


def _check_once(names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the grid names {' and '.join(twice)} twice")
