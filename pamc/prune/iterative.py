"""Iterative pruning: to a cost budget in one descent; to an accuracy budget by searches that start again and again."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from pamc.errors import GoalMissedError
from pamc.graph import MultitaskGraph
from pamc.prune.drops import excess
from pamc.prune.layers import dearest_layer
from pamc.prune.registry import Pruning
from pamc.prune.search import OutdoneError, Schedule, Search, Step

__all__ = ["LAYER_FIRST", "prune_iteratively", "prune_layer_first"]

LAYER_FIRST = 0.8
"""The part of the budgets within which a layer is pruned by itself, before the others are."""
LAYER_FIRST_ONE = 1
"""The restart that goes layer first; a single search does not."""


def prune_iteratively(
    net: MultitaskGraph, pruning: Pruning, schedule: Schedule, step: Step, finished: int = 0
) -> MultitaskGraph:
    """Run the whole schedule. Raises GoalMissedError when the budget cannot be kept.

    Tasks in the mask ``finished``, which must keep their accuracy budgets, go on answering as they do.
    """
    if pruning.budget.macs is None:
        return _cheapest_of_restarts(net, pruning, schedule, step, finished)
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


def prune_layer_first(
    net: MultitaskGraph,
    pruning: Pruning,
    schedule: Schedule,
    step: Step,
    finished: int = 0,
    layer: str | None = None,
    beat: float = math.inf,
    worth: Callable[[MultitaskGraph], bool] | None = None,
) -> MultitaskGraph:
    """One search for an accuracy budget that prunes a ``layer`` first (None: that of the dearest units), while the
    others are whole.

    They make up for what it loses, so it ends with fewer units than where all are pruned at once. Raises
    GoalMissedError when the budget cannot be kept, and OutdoneError where the network with that layer pruned
    is not ``worth`` going on, or a task by itself has no candidate that costs less than ``beat``.
    """
    budget = pruning.budget
    parts = {
        task: drop if finished & net.task_set([task]) else LAYER_FIRST * drop for task, drop in budget.max_drop.items()
    }
    own = replace(pruning, budget=replace(budget, max_drop=parts, fraction=LAYER_FIRST * budget.fraction))
    layer = layer or dearest_layer(net, pruning.workload)
    alone = Search(own, replace(schedule, detours=0), step, LAYER_FIRST_ONE, layer)
    lean = alone.within(alone.start(net, finished))
    if worth is not None and not worth(lean.state.net):
        raise OutdoneError
    everything = Search(pruning, schedule, step, LAYER_FIRST_ONE, beat=beat)
    start = replace(everything.start(lean.state.net, finished), path=f"{lean.path}a")
    return everything.within(start).state.net


def _cheapest_of_restarts(
    net: MultitaskGraph, pruning: Pruning, schedule: Schedule, step: Step, finished: int
) -> MultitaskGraph:
    best: MultitaskGraph | None = None
    count = schedule.restarts
    # Layer first mostly ends lower, and what is cheap already spares the later ones most of their time. It takes long
    # each time, so there is one.
    for place, restart in enumerate(sorted(range(count), key=lambda restart: restart != LAYER_FIRST_ONE), 1):
        before = math.inf if best is None else pruning.macs(best)
        try:
            if restart == LAYER_FIRST_ONE:
                found = prune_layer_first(net, pruning, schedule, step, finished, beat=before)
            else:
                search = Search(pruning, schedule, step, restart, beat=before)
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
