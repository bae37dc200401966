"""What is done with groups as a line of Python."""

from __future__ import annotations

from acdc_explorer.circuits.groups import Group
from acdc_explorer.explorer.kept_groups import KeptGroups

BY_SIMILARITY = "groups = ax.group_heads("
CHECK = "ax.scrub(model, task, circuit, groups, draws={draws})"


def line_of_groups(kept: KeptGroups) -> str:
    """How these groups are made.

    Args:
        kept: the groups.
    """
    if len(kept.groups) and len(kept.alike) == len(kept.groups):
        return f"{BY_SIMILARITY}model, task, circuit, {kept.similarity!r})"
    return f"groups = ax.Groups([{', '.join(map(_group, kept.groups))}])"


def _group(group: Group) -> str:
    inputs = f", {list(group.inputs)!r}" if group.inputs else ""
    return f"ax.Group({group.name!r}, {list(group.nodes)!r}{inputs})"
