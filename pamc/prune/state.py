"""What passes from one pruning step to the next: a network, and what a pruner remembers of its units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pamc.graph import MultitaskGraph, compact, tighten
from pamc.graph.owners import Owners

__all__ = ["Cut", "Memory", "State", "compacted"]

Memory = Mapping[str, NDArray[np.float64]]
"""``{space: (k, units)}``: figures of every unit, as many as the pruner wants."""


@dataclass(frozen=True)
class State:
    """A network and the memory of its units; empty when there is none."""

    net: MultitaskGraph
    memory: Memory = field(default_factory=dict)


@dataclass(frozen=True)
class Cut:
    """What one step is to take away: down to ``macs`` as the budget measures them, and nothing from ``spared``,
    ``{space: (units,)}``, the masks of tasks that a unit must go on serving. ``whole``: no unit goes on without one of
    its tasks."""

    macs: float
    spared: Mapping[str, Owners] = field(default_factory=dict)
    whole: bool = False


def compacted(state: State) -> State:
    """Without dead units, and without what was remembered of them."""
    tight = tighten(state.net)
    alive = {space: np.flatnonzero(tight.owners[space]) for space in state.memory}
    return State(compact(tight), {space: state.memory[space][:, kept] for space, kept in alive.items()})
