"""What keeps a merged network in working order: every group finds something to read."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pamc.graph import MultitaskGraph
from pamc.graph.owners import DTYPE, Owners

__all__ = ["feed", "flat"]


def flat(owners: Owners, everyone: int) -> Owners:
    """Units of several tasks belong to all: N+1 groups."""
    several = (owners & (owners - DTYPE(1))) != 0
    return np.where(several, DTYPE(everyone), owners).astype(DTYPE)


def feed(net: MultitaskGraph, owners: Mapping[str, Owners], *, lattice: bool) -> Mapping[str, Owners]:
    """Give every group something to read: where no unit before it has all of its owners, the nearest one gets them.

    From the outputs towards the input, since a unit that gains owners needs more to read itself; again until nothing
    changes, since the layers of a residual stage read each other. Unless ``lattice``, a unit that gets several owners
    gets all.
    """
    fed = {space: vector.copy() for space, vector in {**net.owners, **owners}.items()}
    readers = [node for node in reversed(net.graph.nodes) if "in" in node.op.param_axes.get("weight", ())]
    changed = True
    while changed:
        changed = False
        for node in readers:
            inputs = [seg.space for seg in net.spaces.layouts[node.inputs[0]]]
            for mask in map(int, np.unique(fed[net.spaces.space_of(node.name)])):
                fits = any(((fed[space] & DTYPE(mask)) == DTYPE(mask)).any() for space in inputs)
                if fits or not mask & net.serves[node.name]:
                    continue
                overlap = [np.bitwise_count(fed[space] & DTYPE(mask)) for space in inputs]
                nearest = max(range(len(inputs)), key=lambda at: int(overlap[at].max(initial=0)))
                vector = fed[inputs[nearest]]
                vector[overlap[nearest].argmax()] |= DTYPE(mask)
                fed[inputs[nearest]] = vector if lattice else flat(vector, net.everyone)
                changed = True
    return fed
