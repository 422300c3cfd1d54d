"""Owners on the move, and what no move may break."""

from __future__ import annotations

import numpy as np

from pamc.graph import MultitaskGraph
from pamc.graph.owners import DTYPE, Owners, members, serving

__all__ = ["Draft"]


class Draft:
    """Owners that change unit by unit. Each task keeps ``floor`` units of each space, and each unit something to read.

    Weights are left alone: costs do not look at them, and they are masked once, at the end.
    """

    def __init__(self, net: MultitaskGraph, floor: int) -> None:
        self.net = net
        self.floor = floor
        self.owners: dict[str, Owners] = {space: vector.copy() for space, vector in net.owners.items()}
        self._left = {
            space: serving(vector, len(net.tasks)).sum(axis=1).tolist() for space, vector in self.owners.items()
        }

    def clear(self, space: str, unit: int, clear: int) -> bool:
        """Clear owners of one unit, unless that breaks something."""
        old = int(self.owners[space][unit])
        lost = list(members(old & clear))
        if not lost or any(self._left[space][task] <= self.floor for task in lost):
            return False
        self.assign(space, unit, old & ~clear)
        if self._starves(space, old, old & ~clear):
            self.assign(space, unit, old)
            return False
        return True

    def assign(self, space: str, unit: int, owners: int) -> None:
        """Give a unit owners, unguarded: for taking moves back."""
        old = int(self.owners[space][unit])
        self.owners[space][unit] = DTYPE(owners)
        for task in members(old ^ owners):
            self._left[space][task] += 1 if owners >> task & 1 else -1

    def _starves(self, space: str, old: int, new: int) -> bool:
        """Whether some unit could read only the one that changed."""
        spaces = self.net.spaces
        for link in spaces.readers[space]:
            inputs = {seg.space for seg in spaces.layouts[self.net.graph.by_name[link.reader].inputs[0]]}
            for mask in map(int, np.unique(self.owners[spaces.space_of(link.reader)])):
                if not mask or mask & ~old or not mask & ~new:
                    continue
                if not any(((self.owners[name] & DTYPE(mask)) == DTYPE(mask)).any() for name in inputs):
                    return True
        return False
