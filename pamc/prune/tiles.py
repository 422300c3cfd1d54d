"""Whole tiles: kernels work on several channels at once, and a part of a tile takes the time of a whole one.

The units that one operation computes are those of a group, the units of a space with the same owners. After the moves
of a step each group is brought to a multiple of the tile: it gets units back that this step took, or loses its least
important ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pamc.graph import MultitaskGraph, tighten
from pamc.graph.owners import groups
from pamc.prune.draft import Draft

__all__ = ["round_to_tiles"]

Stake = NDArray[np.float64]


def _lose(draft: Draft, space: str, mask: int, stake: Stake, count: int) -> bool:
    """Remove the ``count`` least important units of a group, all of them or none."""
    units = np.flatnonzero(draft.owners[space] == mask)
    gone: list[int] = []
    for unit in map(int, units[np.argsort(stake[units], kind="stable")]):
        if len(gone) < count and draft.clear(space, unit, mask):
            gone.append(unit)
    if len(gone) < count:
        for unit in gone:
            draft.assign(space, unit, mask)
    return len(gone) == count


def _regain(draft: Draft, space: str, mask: int, units: NDArray[np.intp], fits: Callable[[], bool]) -> bool:
    """Give units back to a group while the network still fits, all of them or none."""
    held = [int(draft.owners[space][unit]) for unit in units]
    for unit in map(int, units):
        # They have something to read, since the others of the group have.
        draft.assign(space, unit, mask)
    if fits():
        return True
    for unit, owners in zip(map(int, units), held, strict=True):
        draft.assign(space, unit, owners)
    return False


def round_to_tiles(
    net: MultitaskGraph,
    pruned: MultitaskGraph,
    stakes: Mapping[str, Stake],
    tile: int,
    floor: int,
    fits: Callable[[MultitaskGraph], bool],
) -> MultitaskGraph:
    """Round the groups of ``pruned``, which moves made of ``net``, to multiples of ``tile`` units.

    A group goes to the nearer multiple, or else to the other one. It grows by units that the moves took from it, the
    most important ones first, as long as the network ``fits``; it shrinks by its least important ones, but never to
    nothing, so one of less than a tile can only grow. ``stakes`` are ``{space: (units,)}``, the loss at stake when a
    unit goes. Where neither way is open a group stays uneven: every task keeps ``floor`` units of a space, and every
    unit something to read. (Tightening may drop further owners later, when a whole group of readers is gone.)
    """
    draft = Draft(tighten(pruned), floor)
    # Readers before what they read, and many owners before few: a released unit that comes back leaves a smaller group.
    found = [(space, mask) for space in reversed(net.prunable) for mask in groups(draft.owners[space])]

    def count(space: str, mask: int) -> int:
        return int((draft.owners[space] == mask).sum())

    def shrink(space: str, mask: int) -> bool:
        units = count(space, mask)
        return units > tile and _lose(draft, space, mask, stakes[space], units % tile)

    def grow(space: str, mask: int) -> bool:
        missing = -count(space, mask) % tile
        taken = np.flatnonzero((net.owners[space] == mask) & (draft.owners[space] != mask))
        best = taken[np.argsort(-stakes[space][taken], kind="stable")][:missing]
        return len(best) == missing and _regain(
            draft, space, mask, best, lambda: fits(replace(draft.net, owners=draft.owners))
        )

    # What shrinks makes room for what grows.
    for group in found:
        if 0 < count(*group) % tile < tile / 2:
            shrink(*group)
    for group in found:
        if count(*group) % tile and not grow(*group):
            shrink(*group)
    return net.with_owners(draft.owners)
