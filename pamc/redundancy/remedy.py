"""The owners that a network would have without the redundancy that was found in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from pamc.graph import MultitaskGraph, tighten
from pamc.graph.owners import DTYPE

__all__ = ["Changes", "feasible", "remedied"]


@dataclass(frozen=True)
class Changes:
    """``release[space, unit]`` are the owners that a unit keeps, ``unite[space, unit]`` the twin that it takes over.

    Where a unit is in both, it is released first. Releases are in order, those that may cost most at the end.
    """

    release: Mapping[tuple[str, int], int] = field(default_factory=dict)
    unite: Mapping[tuple[str, int], int] = field(default_factory=dict)

    def without(self, others: Changes) -> Changes:
        """These changes but for those that are in ``others``."""
        return Changes(
            {key: kept for key, kept in self.release.items() if key not in others.release},
            {key: twin for key, twin in self.unite.items() if key not in others.unite},
        )


def remedied(net: MultitaskGraph, changes: Changes) -> MultitaskGraph:
    """The network with changed owners, tightened. Its weights are those that the read rule leaves.

    A unit that takes over its twin has the owners of both, the twin has none and is dead.
    """
    owners = {space: net.owners[space].copy() for space in net.prunable}
    for (space, unit), kept in changes.release.items():
        owners[space][unit] = kept
    for (space, unit), twin in changes.unite.items():
        owners[space][unit] |= owners[space][twin]
        owners[space][twin] = 0
    return tighten(net.with_owners(owners))


def feasible(net: MultitaskGraph, changes: Changes) -> Changes:
    """The changes without those that would leave a unit with nothing to read.

    Undone are first the pairs that want to read what no unit before them has all the owners for, then the last of the
    releases that took such units away; again until nothing starves.
    """
    while True:
        starving = list(_starving(remedied(net, changes)))
        if not starving:
            return changes
        undone = [_cause(net, changes, *found) for found in starving]
        changes = changes.without(
            Changes(
                {key: kept for cause in undone for key, kept in cause.release.items()},
                {key: twin for cause in undone for key, twin in cause.unite.items()},
            )
        )


def _starving(net: MultitaskGraph) -> Iterator[tuple[str, int, int]]:
    """(reader, unit, owners) of units that run and have nothing to read."""
    for node in net.graph.nodes:
        mask = net.mask(node)
        if mask is not None:
            owners = net.owners_along(node.name)
            for unit in np.flatnonzero((net.owners_out(node) != 0) & ~mask.any(axis=1)):
                yield node.name, int(unit), int(owners[unit])


def _cause(net: MultitaskGraph, changes: Changes, reader: str, unit: int, owners: int) -> Changes:
    """The changes that left a unit without anything to read."""
    space = net.spaces.space_of(reader)
    if (space, unit) in changes.unite:
        return Changes(unite={(space, unit): changes.unite[space, unit]})
    inputs = {seg.space for seg in net.spaces.layouts[net.graph.by_name[reader].inputs[0]]}
    taken = [
        (place, gone)
        for place, gone in changes.release
        if place in inputs and not DTYPE(owners) & ~net.owners[place][gone]
    ]
    assert taken, f"{reader}: unit {unit} had nothing to read before any change"
    return Changes(release={taken[-1]: changes.release[taken[-1]]})
