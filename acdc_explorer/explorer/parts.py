"""The tabs below the graph besides the first, in the order in which they stand."""

from __future__ import annotations

from acdc_explorer.explorer.compare.compare_tab import CompareTab
from acdc_explorer.explorer.groups.groups_tab import GroupsTab
from acdc_explorer.explorer.heads.heads import Heads
from acdc_explorer.explorer.keep.script_tab import ScriptTab
from acdc_explorer.explorer.part import Part
from acdc_explorer.explorer.prompts.prompts import Prompts
from acdc_explorer.explorer.table.edge_table import EdgeTable

# Which tabs there are, and in which order.
PARTS: tuple[type[Part], ...] = (
    EdgeTable,
    Prompts,
    Heads,
    GroupsTab,
    CompareTab,
    ScriptTab,
)
