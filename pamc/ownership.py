"""A picture of who owns what, in characters: for each channel space a row per task, a column per unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pamc.graph import MultitaskGraph
from pamc.views import View, owner_counts

__all__ = ["FREE", "OWNED", "WIDTH", "ownership_picture", "ownership_view"]

WIDTH = 64
"""The most columns that a space takes; a wider one has several units in a column."""
OWNED, FREE = "█", "·"


def _columns(units: Mapping[str, int]) -> Mapping[str, int]:
    """Columns by owners: one for each unit, or in proportion, with at least one, in spaces that are too wide."""
    total = sum(units.values())
    if total <= WIDTH:
        return units
    return {owners: max(1, round(WIDTH * count / total)) for owners, count in units.items()}


def ownership_picture(tasks: Sequence[str], counts: Mapping[str, Mapping[str, int]]) -> str:
    """The picture of ``counts``, ``{space: {owners, as a+b: units}}``, whose groups stand in the given order."""
    width = max(map(len, tasks))
    lines = []
    for space, units in counts.items():
        columns = _columns(units)
        total = sum(units.values())
        scale = "" if total <= WIDTH else f", about {total / WIDTH:.1f} in a column"
        lines.append(f"{space}: {total} units{scale}")
        for task in tasks:
            mine = {owners: task in owners.split("+") for owners in units}
            row = "".join((OWNED if mine[owners] else FREE) * count for owners, count in columns.items())
            owned = sum(count for owners, count in units.items() if mine[owners])
            lines.append(f"  {task:<{width}}  {row}  {owned}")
    return "\n".join(lines)


def ownership_view(net: MultitaskGraph) -> View:
    """The picture of all spaces that can be pruned; units with the same owners stand together, shared ones first."""
    counts = owner_counts(net)
    head = f"{OWNED} the task owns the unit; units owned by most tasks first; the number counts a task's units\n\n"
    return View(head + ownership_picture(net.tasks, counts), {"tasks": list(net.tasks), "owners": counts})
