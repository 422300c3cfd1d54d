"""What a search goes through: networks on the way down, each with what the next step may not take from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pamc.graph import MultitaskGraph
from pamc.graph.owners import DTYPE, Owners
from pamc.graph.reshape import acting
from pamc.prune.state import State

__all__ = ["Descent", "Snapshot", "Spared", "Tried", "needed_by", "united"]

Spared = Mapping[str, Owners]
"""``{space: (units,)}``: the masks of tasks that a unit must go on serving."""

Tried = tuple[MultitaskGraph, Mapping[str, float]]
"""A fine-tuned network, and by how many points each task drops."""


@dataclass(frozen=True)
class Snapshot:
    """A pruned network, not yet fine-tuned, with what its pruner remembers, and the loss weights of its tasks by then.

    ``path`` names the steps that led to it, so that a run with another budget finds the steps that both take. What the
    step before took is ``lost``, by units of the network before; what later steps may not take is ``spared``. Tasks in
    the mask ``finished`` answer as they do for good.
    """

    state: State
    weights: Mapping[str, float]
    path: str
    spared: Spared = field(default_factory=dict)
    lost: Spared = field(default_factory=dict)
    finished: int = 0

    @property
    def fixed(self) -> Spared:
        """What the next step may not take: what is spared, and all that serves finished tasks."""
        return united(self.spared, needed_by(self.state.net, self.finished)) if self.finished else self.spared


def needed_by(net: MultitaskGraph, tasks: int) -> Spared:
    """What units must go on serving so that all that serves ``tasks``, a mask, stays as it is: these tasks, and
    all that is served by what reads them for these tasks."""
    return {space: (net.owners[space] & DTYPE(tasks)) | acting(net, net.owners, space, tasks) for space in net.prunable}


def united(one: Spared, other: Spared) -> Spared:
    """Spared by either."""
    return {space: vector | one[space] if space in one else vector for space, vector in other.items()}


@dataclass(frozen=True)
class Descent:
    """Snapshots from large to small; ``inside`` is the last whose drop without fine-tuning kept the budget. Some
    were ``tried`` on the way, by their places. ``ended``: hardly a move was left."""

    snapshots: list[Snapshot]
    inside: int
    tried: Mapping[int, Tried] = field(default_factory=dict)
    ended: bool = False

    @property
    def refused(self) -> bool:
        """Whether the budget was passed by too much before anything was cut."""
        return len(self.snapshots) == 1 and not self.ended
