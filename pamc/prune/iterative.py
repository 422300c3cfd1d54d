"""Iterative pruning: to a cost budget in one descent; to an accuracy budget by searches that start again and again."""

from __future__ import annotations

import math
from dataclasses import replace

from pamc.errors import GoalMissedError
from pamc.graph import MultitaskGraph
from pamc.prune.drops import excess
from pamc.prune.layers import dearest_layer
from pamc.prune.registry import Pruning
from pamc.prune.search import OutdoneError, Schedule, Search, Step
from pamc.prune.snapshots import Snapshot

__all__ = ["LAYER_FIRST", "prune_after_layer", "prune_iteratively", "prune_layer"]

LAYER_FIRST = 0.8
"""The part of the budgets within which a layer is pruned by itself, before the others are."""
LAYER_FIRST_ONE = 1
"""The restart that goes layer first; a single search does not."""


def prune_iteratively(
    net: MultitaskGraph, pruning: Pruning, schedule: Schedule, step: Step, finished: int = 0, *, early: bool = False
) -> MultitaskGraph:
    """Run the whole schedule. Raises GoalMissedError when the budget cannot be kept.

    Tasks in the mask ``finished``, which must keep their accuracy budgets, go on answering as they do. With ``early``,
    for a ``step`` that trains longer than a candidate, a descent ends where a candidate on the way breaks the budget.
    """
    if pruning.budget.macs is None:
        return _cheapest_of_restarts(net, pruning, schedule, step, finished, early)
    search = Search(pruning, schedule, step)
    snapshots = search.descend(search.warmed(search.start(net)), schedule.step).snapshots
    reached = pruning.macs(snapshots[-1].state.net)
    if reached > pruning.budget.macs * 1.001:
        raise GoalMissedError(
            f"pruning stopped at {reached / 1e6:.4g} M MACs, the budget is {pruning.budget.macs / 1e6:.4g} M",
            why="every task must keep some units of each layer",
            cure="allow more MACs, or start from smaller networks",
        )
    net, drops = search.candidate(len(snapshots) - 1, snapshots[-1])
    if excess(pruning, drops) > 0:
        allowed = pruning.budget.max_drop
        worst = ", ".join(f"{task} by {drops[task]:.2f} ({allowed[task]:.2f} allowed)" for task in allowed)
        raise GoalMissedError(
            "the network of this cost drops more than max_drop allows",
            why=f"after fine-tuning, the tasks drop: {worst}",
            cure="allow more MACs, raise max_drop, or train longer (train: {epochs: ...})",
        )
    return net


def prune_layer(
    net: MultitaskGraph, pruning: Pruning, schedule: Schedule, step: Step, layer: str, finished: int = 0
) -> Snapshot:
    """The network with a ``layer`` pruned by itself, within a part of the budgets, and the tasks that can lose no more
    of it. Raises GoalMissedError when the budget cannot be kept."""
    budget = pruning.budget
    parts = {
        task: drop if finished & net.task_set([task]) else LAYER_FIRST * drop for task, drop in budget.max_drop.items()
    }
    own = replace(pruning, budget=replace(budget, max_drop=parts, fraction=LAYER_FIRST * budget.fraction))
    search = Search(own, replace(schedule, detours=0), step, LAYER_FIRST_ONE, layer)
    return search.within(search.start(net, finished))


def prune_after_layer(
    lean: Snapshot, pruning: Pruning, schedule: Schedule, step: Step, finished: int = 0, beat: float = math.inf
) -> MultitaskGraph:
    """The search for an accuracy budget from a network of which a layer was pruned before the others.

    They make up for what it lost, so it ends with fewer units than where all are pruned at once. Raises OutdoneError
    where a task by itself has no candidate that costs less than ``beat``.
    """
    search = Search(pruning, schedule, step, LAYER_FIRST_ONE, beat=beat)
    return search.within(replace(search.start(lean.state.net, finished), path=f"{lean.path}a")).state.net


def _cheapest_of_restarts(
    net: MultitaskGraph, pruning: Pruning, schedule: Schedule, step: Step, finished: int, early: bool
) -> MultitaskGraph:
    best: MultitaskGraph | None = None
    count = schedule.restarts
    # Layer first mostly ends lower, and what is cheap already spares the later ones most of their time. It takes long
    # each time, so there is one.
    for place, restart in enumerate(sorted(range(count), key=lambda restart: restart != LAYER_FIRST_ONE), 1):
        before = math.inf if best is None else pruning.macs(best)
        try:
            if restart == LAYER_FIRST_ONE:
                layer = dearest_layer(net, pruning.workload)
                lean = prune_layer(net, pruning, schedule, step, layer, finished)
                found = prune_after_layer(lean, pruning, schedule, step, finished, before)
            else:
                search = Search(pruning, schedule, step, restart, beat=before, early=early)
                found = search.within(search.start(net, finished)).state.net
        except OutdoneError:
            pruning.progress.note(f"search {place} of {count}: nothing below {before / 1e6:.4g} M MACs")
            continue
        except GoalMissedError:
            # What a search of all layers cannot heal hardly depends on the order of mini-batches.
            if best is None and restart != LAYER_FIRST_ONE:
                raise
            continue
        now = pruning.macs(found)
        if best is not None:
            pruning.progress.note(f"search {place} of {count}: {now / 1e6:.4g} M MACs, before {before / 1e6:.4g}")
        best = found if now < before else best
    assert best is not None
    return best
