"""The tabs below the graph besides the first, in the order in which they stand."""

from __future__ import annotations

from acdc_explorer.explorer.part import Part
from acdc_explorer.explorer.prompts.prompts import Prompts
from acdc_explorer.explorer.table.edge_table import EdgeTable

PARTS: tuple[type[Part], ...] = (EdgeTable, Prompts)
