"""A picture of who owns what, in characters: for each channel space a row per task, a column per unit."""

from __future__ import annotations

from collections.abc import Mapping

from pamc.graph import MultitaskGraph
from pamc.graph.owners import groups
from pamc.views import View, owner_counts

__all__ = ["OWNED", "WIDTH", "ownership_view"]

WIDTH = 64
"""The most columns that a space takes; a wider one has several units in a column."""
OWNED, FREE = "█", "·"


def _columns(units: Mapping[int, int]) -> dict[int, int]:
    """Columns by owners: one for each unit, or in proportion, with at least one, in spaces that are too wide."""
    total = sum(units.values())
    if total <= WIDTH:
        return dict(units)
    return {mask: max(1, round(WIDTH * count / total)) for mask, count in units.items()}


def _rows(net: MultitaskGraph, space: str) -> list[str]:
    units = {mask: len(found) for mask, found in groups(net.owners[space]).items()}
    columns = _columns(units)
    return [
        "".join((OWNED if mask >> bit & 1 else FREE) * count for mask, count in columns.items())
        + f"  {sum(count for mask, count in units.items() if mask >> bit & 1)}"
        for bit in range(len(net.tasks))
    ]


def ownership_view(net: MultitaskGraph) -> View:
    """The picture of all spaces that can be pruned; units with the same owners stand together, shared ones first."""
    width = max(map(len, net.tasks))
    lines = [f"{OWNED} the task owns the unit; units owned by most tasks first; the number counts a task's units", ""]
    for space in net.prunable:
        units = int((net.owners[space] > 0).sum())
        scale = "" if units <= WIDTH else f", about {units / WIDTH:.1f} in a column"
        lines.append(f"{space}: {units} units{scale}")
        lines += [f"  {task:<{width}}  {row}" for task, row in zip(net.tasks, _rows(net, space), strict=True)]
    return View("\n".join(lines), {"tasks": list(net.tasks), "owners": owner_counts(net)})
