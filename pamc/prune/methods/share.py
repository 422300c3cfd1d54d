"""Merge after prune: prune every network alone, then let near-equal units of different tasks become shared ones.

Sharing never raises the cost of any task set, so it can only gain over the networks that it starts from. Where hardly
two units are alike, prune after merge may do better, so that is tried too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from pamc.errors import ConfigError, GoalMissedError
from pamc.graph import MultitaskGraph, compact, cost, stack
from pamc.prune.methods.taylor import TaylorOptions, taylor, train_and_score
from pamc.prune.options import prune_step
from pamc.prune.registry import METHODS, Checkpoints, Pruning
from pamc.prune.search import prune_iteratively
from pamc.prune.sharing import share_to
from pamc.prune.state import Cut, State
from pamc.registry import did_you_mean, method_names
from pamc.train import Recipe

__all__ = ["ShareOptions", "share"]

Alone = Callable[[str, float], MultitaskGraph]

ENOUGH = 0.3
"""The part of a step that pairs must save; below it units are removed instead."""


@dataclass(frozen=True)
class ShareOptions(TaylorOptions):
    """Options of ``taylor`` for the networks alone, and for sharing: the fraction of its budget that a network alone
    may use up, so that something is left to pay for sharing, and how many times the cost of the same network pruned
    within its whole budget that may take, or the whole budget is used up; the fraction of the expected cost that one
    step saves and its mini-batches; the least correlation of two units that may become one, and the calibration
    samples it is measured on; whether sharing also starts from networks that all leave a part of their budgets, and
    from networks that all use up the whole, whose cost no task set can exceed then; and the merge methods whose
    networks are pruned to take part in that race. Of the results that of least expected cost counts."""

    alone: float = 0.5
    alone_cost: float = 1.2
    race: bool = True
    merges: tuple[str, ...] = ("concat", "pam")
    share_step: float = 0.06
    share_recover: int = 300
    similarity: float = 0.3
    samples: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.share_step < 1 or not (0 <= self.similarity <= 1 and 0 <= self.alone <= 1):
            raise ValueError("alone, share_step and similarity are fractions, between 0 and 1")
        if not self.alone_cost >= 0:
            raise ValueError("alone_cost is a factor, at least 0")
        if self.samples < 2 or self.share_recover < 1:
            raise ValueError("samples must be at least 2, and share_recover at least 1")
        known = method_names("merge")
        for name in self.merges:
            if name not in known:
                raise ValueError(f"there is no merge method '{name}'{did_you_mean(name, known)}")


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
    found = []
    for kept, parts in _starts(net, pruning.alone, options).items():
        own = replace(pruning, checkpoints=_Named(pruning.checkpoints, kept))
        found.append(_shared(stack(net, parts), own, options))
    if options.race:
        found += _merged(pruning, options)
    return min(found, key=pruning.macs)


def _merged(pruning: Pruning, options: ShareOptions) -> Iterator[MultitaskGraph]:
    """Prune after merge, of each merge method; nothing of one where that keeps no budget.

    Tasks that need the same features, in units that are no longer alike once each network was pruned by itself, end
    cheaper so; most of all where requests ask for many tasks at once.
    """
    if pruning.merged is None:
        return
    for name in options.merges:
        own = replace(pruning, checkpoints=_Named(pruning.checkpoints, name))
        try:
            yield taylor(pruning.merged(name), own, options)
        except GoalMissedError:
            pruning.progress.note(f"no network merged by '{name}' keeps the budget")


def _starts(net: MultitaskGraph, alone: Alone, options: ShareOptions) -> Mapping[int, Mapping[str, MultitaskGraph]]:
    """Where sharing starts from: of each task the network pruned within its whole budget or within a part of it.

    By the mask of the tasks that keep the rest: first those that do so for little, then all, then none; each once.
    """
    whole = {task: alone(task, 1.0) for task in net.tasks}
    part = {task: alone(task, options.alone) for task in net.tasks} if options.alone < 1 else whole
    cheap = {task for task in net.tasks if cost(part[task], 1).macs <= options.alone_cost * cost(whole[task], 1).macs}
    keeping = [cheap, set(net.tasks), set[str]()] if options.race else [cheap]
    if part is whole:
        keeping = [set()]
    return {
        sum(1 << bit for bit, task in enumerate(net.tasks) if task in kept): {
            task: (part if task in kept else whole)[task] for task in net.tasks
        }
        for kept in keeping
    }


@dataclass(frozen=True)
class _Named:
    """The checkpoints of one start: the same steps lead elsewhere from another."""

    held: Checkpoints
    start: int | str

    def get(self, name: str) -> State | None:
        return self.held.get(f"{name}-{self.start}")

    def put(self, name: str, state: State) -> None:
        self.held.put(f"{name}-{self.start}", state)


def _shared(start: MultitaskGraph, pruning: Pruning, options: ShareOptions) -> MultitaskGraph:
    """Networks pruned alone, shared within their whole budgets."""
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
