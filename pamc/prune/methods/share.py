"""Merge after prune: prune every network alone, then let near-equal units of different tasks become shared ones.

Sharing never raises the cost of any task set, so it can only gain over the networks that it starts from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pamc.errors import ConfigError, GoalMissedError
from pamc.graph import MultitaskGraph, compact, stack
from pamc.prune.methods.taylor import TaylorOptions, taylor, train_and_score
from pamc.prune.options import prune_step
from pamc.prune.registry import METHODS, Checkpoints, Pruning
from pamc.prune.search import prune_iteratively
from pamc.prune.sharing import share_to
from pamc.prune.state import Cut, State
from pamc.train import Recipe

__all__ = ["ShareOptions", "share"]

ENOUGH = 0.3
"""The part of a step that pairs must save; below it units are removed instead."""


@dataclass(frozen=True)
class ShareOptions(TaylorOptions):
    """Options of ``taylor`` for the networks alone, and for sharing: the fraction of its budget that a network alone
    may use up, so that something is left to pay for sharing; the fraction of the expected cost that one step saves
    and its mini-batches; the least correlation of two units that may become one, and the calibration samples it is
    measured on; whether sharing starts a second time, from the networks pruned alone within their whole budgets, whose
    cost no task set can exceed then. Of the two results the one of less expected cost counts."""

    alone: float = 0.5
    race: bool = True
    share_step: float = 0.06
    share_recover: int = 300
    similarity: float = 0.3
    samples: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.share_step < 1 or not (0 <= self.similarity <= 1 and 0 <= self.alone <= 1):
            raise ValueError("alone, share_step and similarity are fractions, between 0 and 1")
        if self.samples < 2 or self.share_recover < 1:
            raise ValueError("samples must be at least 2, and share_recover at least 1")


@METHODS.register("share", options=ShareOptions)
def share(net: MultitaskGraph, pruning: Pruning, options: ShareOptions) -> MultitaskGraph:
    """Prune every network alone within a part of its budget, then merge near-equal units for the rest of it, and when
    no such pairs are left prune the result."""
    if len(net.tasks) == 1:
        return taylor(net, pruning, options)
    if pruning.budget.macs is not None or pruning.alone is None:
        raise ConfigError(
            "pruner 'share' works to an accuracy budget", cure="budget: {max_drop: ...}, or another pruner"
        )
    if any((vector & (vector - 1)).any() for space, vector in net.owners.items() if space in net.prunable):
        raise ConfigError(
            "pruner 'share' merges by itself and starts from networks that share nothing",
            cure="merge: {method: separate}",
        )
    parts = dict.fromkeys((options.alone, *((1.0,) if options.race else ())))
    found = [
        _shared(net, replace(pruning, checkpoints=_Named(pruning.checkpoints, part)), options, part) for part in parts
    ]
    return min(found, key=pruning.macs)


@dataclass(frozen=True)
class _Named:
    """The checkpoints of one start: the same steps lead elsewhere from another."""

    held: Checkpoints
    part: float

    def get(self, name: str) -> State | None:
        return self.held.get(f"{name}-{self.part:g}")

    def put(self, name: str, state: State) -> None:
        self.held.put(f"{name}-{self.part:g}", state)


def _shared(net: MultitaskGraph, pruning: Pruning, options: ShareOptions, part: float) -> MultitaskGraph:
    """Networks pruned alone within a ``part`` of their budgets, then shared within the whole."""
    assert pruning.alone is not None
    start = stack(net, {task: pruning.alone(task, part) for task in net.tasks})
    order = np.random.default_rng(pruning.seed).permutation(len(pruning.train))[: options.samples]
    calibration = pruning.train.x[order]

    def step(state: State, recipe: Recipe, cut: Cut) -> tuple[State, MultitaskGraph]:
        trained, saliency = train_and_score(state, pruning, recipe, options, "sharing")
        merged = share_to(
            trained.net,
            calibration,
            saliency,
            pruning.workload,
            cut.macs,
            exponent=options.exponent,
            similarity=options.similarity,
            spared=cut.spared,
        )
        before, after = pruning.macs(trained.net), pruning.macs(merged)
        if before - after < ENOUGH * (before - cut.macs):
            # Similar pairs often run out before the budget does.
            return trained, prune_step(trained.net, saliency, pruning, options, cut)
        return trained, merged

    schedule = replace(options, step=options.share_step, recover=options.share_recover)
    try:
        return prune_iteratively(start, pruning, schedule, step)
    except GoalMissedError:
        # The networks pruned alone are inside the budget, so nothing is lost by sharing nothing.
        pruning.progress.note("no sharing keeps the budget; the networks stay as they were pruned alone")
        return compact(start)
