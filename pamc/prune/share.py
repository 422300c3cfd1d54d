"""Merge after prune: prune every network alone, then let near-equal units of different tasks become shared ones.

No task set costs more than the networks pruned one by one, by construction: sharing never raises a cost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from pamc.errors import ConfigError, GoalMissedError
from pamc.graph import MultitaskGraph, compact, restrict, stack
from pamc.prune.registry import METHODS, Budget, Checkpoints, Pruning
from pamc.prune.search import prune_iteratively
from pamc.prune.sharing import share_to
from pamc.prune.taylor import TaylorOptions, TaylorSaliency, taylor
from pamc.train import Recipe, fit

__all__ = ["ShareOptions", "share"]


@dataclass(frozen=True)
class ShareOptions(TaylorOptions):
    """Options of ``taylor`` for the networks alone, and for sharing: the fraction of its budget that a network alone
    may use up, so that something is left to pay for sharing; the fraction of the expected cost that one step saves;
    the least correlation of two units that may become one, and the calibration samples it is measured on."""

    alone: float = 1.0
    share_step: float = 0.06
    similarity: float = 0.3
    samples: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.share_step < 1 or not (0 <= self.similarity <= 1 and 0 <= self.alone <= 1):
            raise ValueError("alone, share_step and similarity are fractions, between 0 and 1")
        if self.samples < 2:
            raise ValueError("samples must be at least 2")


@dataclass(frozen=True)
class _Prefixed:
    """Checkpoints of one part of the work."""

    inner: Checkpoints
    prefix: str

    def get(self, name: str) -> MultitaskGraph | None:
        return self.inner.get(f"{self.prefix}-{name}")

    def put(self, name: str, net: MultitaskGraph) -> None:
        self.inner.put(f"{self.prefix}-{name}", net)


def _alone(
    net: MultitaskGraph,
    task: str,
    pruning: Pruning,
    known: Callable[[str], MultitaskGraph],
    options: ShareOptions,
) -> MultitaskGraph:
    """One network pruned by itself within a part of its budget; within all of it, it is known already."""
    if options.alone == 1.0:
        return known(task)
    allowed = {task: options.alone * pruning.budget.max_drop[task]}
    given = replace(
        pruning,
        targets=tuple(target for target in pruning.targets if target.task == task),
        workload={1: 1.0},
        budget=Budget(None, allowed),
        checkpoints=_Prefixed(pruning.checkpoints, f"alone-{task}"),
    )
    return taylor(restrict(net, [task]), given, options)


@METHODS.register("share", options=ShareOptions)
def share(net: MultitaskGraph, pruning: Pruning, options: ShareOptions) -> MultitaskGraph:
    """Prune every network alone, then merge near-equal units: no task set costs more than pruned separately."""
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
    start = stack(net, {task: _alone(net, task, pruning, pruning.alone, options) for task in net.tasks})
    order = np.random.default_rng(pruning.seed).permutation(len(pruning.train))[: options.samples]
    calibration = pruning.train.x[order]

    def step(current: MultitaskGraph, recipe: Recipe, macs: float) -> tuple[MultitaskGraph, MultitaskGraph]:
        saliency = TaylorSaliency(current)
        trained = fit(
            current, pruning.train, pruning.targets, recipe, pruning.progress, label="sharing", on_gradient=saliency
        )
        merged = share_to(
            trained,
            calibration,
            saliency.result(),
            pruning.workload,
            macs,
            exponent=options.exponent,
            similarity=options.similarity,
        )
        return trained, merged

    schedule = replace(options, step=options.share_step)
    try:
        return prune_iteratively(start, pruning, schedule, step)
    except GoalMissedError:
        # The networks pruned alone are inside the budget, so nothing is lost by sharing nothing.
        pruning.progress.note("no sharing keeps the budget; the networks stay as they were pruned alone")
        return compact(start)
