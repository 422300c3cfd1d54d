"""Options that all pruners by moves have, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pamc.graph import MultitaskGraph
from pamc.prune.moves import Rules, Saliency, prune_to
from pamc.prune.registry import Pruning
from pamc.prune.search import Schedule
from pamc.prune.state import Cut

__all__ = ["MoveOptions", "ReleaseOptions", "prune_step"]


@dataclass(frozen=True)
class MoveOptions(Schedule):
    """The schedule, plus: whether ``all`` units are candidates or only those ``shared`` by two tasks or more, as in the
    last runs of the PAM paper; the power of the saved cost that a unit's importance is divided by (0 ranks by
    importance alone); the least units a task keeps a layer (None: 1 where accuracies decide when to stop, 2 where a
    cost does, for then nothing else keeps a task alive); and the multiple that the units of a group are rounded to:
    ``none``, that of the ``target``, or a number. A network of a single task shares nothing: there all are candidates.
    """

    prune: Literal["all", "shared"] = "all"
    exponent: float = 0.5
    floor: int | None = None
    tile: str | int = "none"

    def __post_init__(self) -> None:
        if not 0 < self.step < 1:
            raise ValueError("step is a fraction, between 0 and 1")
        if min(self.recover, self.restarts, 1 if self.floor is None else self.floor) < 1:
            raise ValueError("recover, floor and restarts must be at least 1")
        if self.halvings < 0 or self.detours < 0:
            raise ValueError("halvings and detours must be at least 0")
        known = self.tile in ("none", "target") if isinstance(self.tile, str) else self.tile >= 1
        if not known:
            raise ValueError("tile is none, target, or a number of units, at least 1")

    def rules(self, net: MultitaskGraph, pruning: Pruning) -> Rules:
        """What these options mean for a network and a target: without releases."""
        tile = self.tile if isinstance(self.tile, int) else pruning.channel_tile if self.tile == "target" else 1
        least = 2 if self.prune == "shared" and len(net.tasks) > 1 else 1
        floor = (1 if pruning.budget.macs is None else 2) if self.floor is None else self.floor
        return Rules(False, self.exponent, floor, least, tile)


@dataclass(frozen=True)
class ReleaseOptions(MoveOptions):
    """The same, plus: whether tasks may be released from shared units."""

    releases: bool = True

    def rules(self, net: MultitaskGraph, pruning: Pruning) -> Rules:
        return replace(super().rules(net, pruning), releases=self.releases)


def prune_step(
    net: MultitaskGraph,
    saliency: Saliency,
    pruning: Pruning,
    options: MoveOptions,
    cut: Cut,
    first: Mapping[str, NDArray[np.bool_]] | None = None,
) -> MultitaskGraph:
    """The network with the moves that options allow applied, until the cut is made."""
    rules = options.rules(net, pruning)
    if cut.whole:
        rules = replace(rules, releases=False)
    return prune_to(
        net,
        saliency,
        pruning.workload,
        cut.macs,
        rules,
        measured=pruning.measured,
        first=first,
        spared=cut.spared,
    )
