"""Merge after prune: prune every network alone, then let near-equal units of different tasks become shared ones.

Sharing by itself raises the cost of no task set. What it starts from matters more than any single step, so it starts
several times, and each task is taken from the result where that is cheapest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice, takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pamc.errors import ConfigError, GoalMissedError
from pamc.graph import MultitaskGraph, compact, cost, name_of, restrict, stack
from pamc.jobs import Job
from pamc.progress import Progress, QuietProgress
from pamc.prune.assembly import cheapest_blocks, joined, macs_of_sets
from pamc.prune.drops import used_up
from pamc.prune.iterative import prune_after_layer, prune_iteratively, prune_layer
from pamc.prune.layers import common_layer, dearest_layer, layer_by_itself
from pamc.prune.methods.taylor import TaylorOptions, taylor, taylor_around, taylor_step, train_and_score
from pamc.prune.options import prune_step
from pamc.prune.registry import METHODS, Checkpoints, Pruning
from pamc.prune.sharing import share_to
from pamc.prune.snapshots import Snapshot
from pamc.prune.state import Cut, State
from pamc.registry import did_you_mean, method_names
from pamc.train import Recipe, fit

__all__ = ["ShareOptions", "share"]

ENOUGH = 0.3
"""The part of a step that pairs must save; below it units are removed instead."""
NOTABLY = 0.98
"""What the expected cost must fall to before another ceiling is worth a word."""
CLEARLY = 0.5
"""How much less a choice must strain the budgets than the one of the best rank: trials are noisy."""


@dataclass(frozen=True)
class ShareOptions(TaylorOptions):
    """Options of ``taylor`` for the networks alone, of which more searches cost little, and for sharing: the fraction
    of its budget that a network alone may use up, so that something is left to pay for sharing, and how many times the
    cost of the same network pruned within its whole budget that may take, or the whole budget is used up; the fraction
    of the expected cost that one step saves, its mini-batches, how many choices of pairs are tried in it, and for how
    many mini-batches each; the least correlation of two units that may become one, and the calibration samples it is
    measured on; whether sharing also starts from networks that all leave a part of their budgets, and from networks
    that all use up the whole; and the merge methods whose networks are pruned to take part in that race. Each task is
    taken from the result that makes the expected cost least, where no task set may cost more than ``ceiling`` times
    what its networks cost pruned alone; None: whatever it costs."""

    restarts: int = 4
    alone: float = 0.5
    alone_cost: float = 1.2
    race: bool = True
    merges: tuple[str, ...] = ()
    share_step: float = 0.06
    share_recover: int = 300
    trials: int = 4
    trial_recover: int = 100
    similarity: float = 0.3
    samples: int = 256
    ceiling: float | None = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.share_step < 1 or not (0 <= self.similarity <= 1 and 0 <= self.alone <= 1):
            raise ValueError("alone, share_step and similarity are fractions, between 0 and 1")
        if not self.alone_cost >= 0:
            raise ValueError("alone_cost is a factor, at least 0")
        if self.samples < 2:
            raise ValueError("samples must be at least 2")
        if min(self.share_recover, self.trials, self.trial_recover) < 1:
            raise ValueError("share_recover, trials and trial_recover must be at least 1")
        if self.ceiling is not None and not self.ceiling >= 1:
            raise ValueError("ceiling is a factor, at least 1, or null")
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
    within = pruning.alone(sorted({1.0, options.alone}, reverse=True))
    whole, part = within[0], within[-1]
    if options.alone < 1:
        # A search that may go further can end earlier.
        whole = {task: min(whole[task], part[task], key=_macs) for task in net.tasks}
    separate = compact(stack(net, whole.values()))
    alone = macs_of_sets(separate)
    searches = dict(_race(net, pruning, options, _starts(whole, part, options), separate))
    found = [separate, *chain.from_iterable(pruning.jobs.run(searches))]
    free = _best_of(net, found, pruning, None)
    if options.ceiling is None:
        return free
    best = _best_of(net, found, pruning, options.ceiling * alone)
    needed = math.ceil(100 * (macs_of_sets(free)[1:] / alone[1:]).max()) / 100
    if pruning.macs(free) < NOTABLY * pruning.macs(best):
        instead = f"{pruning.macs(free) / 1e6:.4g} instead of {pruning.macs(best) / 1e6:.4g} M MACs"
        pruning.progress.note(f"with options: {{ceiling: {needed}}} the expected cost would be {instead}")
    return best


def _race(
    net: MultitaskGraph,
    pruning: Pruning,
    options: ShareOptions,
    starts: Mapping[int, Mapping[str, MultitaskGraph]],
    separate: MultitaskGraph,
) -> Iterator[tuple[str, Job[list[MultitaskGraph]]]]:
    """The searches that each task is taken from, as jobs: none needs what another finds."""
    given, alone = pruning.for_job(QuietProgress()), macs_of_sets(separate)
    for number, (kept, parts) in enumerate(starts.items(), 1):
        own = replace(given, checkpoints=_Named(pruning.checkpoints, f"{kept}"))
        yield f"sharing, start {number}", partial(_search, _sharing, stack(net, parts.values()), own, options, alone)
    if options.race:
        yield "a layer in common", partial(_search, _common, net, given, options, separate)
        if pruning.merged is not None:
            for name in options.merges:
                merged = pruning.merged(name)
                yield f"merged by {name}", partial(_search, _after_merge, merged, given, options, name)


def _search(
    search: Callable[[MultitaskGraph, Pruning, ShareOptions, Any], Iterator[MultitaskGraph]],
    net: MultitaskGraph,
    pruning: Pruning,
    options: ShareOptions,
    given: object,
    progress: Progress,
) -> list[MultitaskGraph]:
    """One of the searches below, as a job."""
    return list(search(net, pruning.for_job(progress), options, given))


def _sharing(
    start: MultitaskGraph, pruning: Pruning, options: ShareOptions, alone: NDArray[np.float64]
) -> Iterator[MultitaskGraph]:
    """Networks pruned alone, shared, and the same with what became dearer than ``alone`` pruned on."""
    shared = _shared(start, pruning, options)
    yield shared
    yield from _trimmed(shared, pruning, options, alone)


def _best_of(
    net: MultitaskGraph, found: Sequence[MultitaskGraph], pruning: Pruning, most: NDArray[np.float64] | None
) -> MultitaskGraph:
    """Each task from one of the networks ``found``, where that makes the expected cost least."""
    blocks = cheapest_blocks(found, pruning.measured, most)
    return blocks[0].net if len(blocks) == 1 else joined(net, blocks)


def _trimmed(
    net: MultitaskGraph, pruning: Pruning, options: ShareOptions, alone: NDArray[np.float64]
) -> Iterator[MultitaskGraph]:
    """The network in which tasks that cost more than ``alone`` are pruned on, one after another, each by itself."""
    schedule = _schedule(options)
    start = net
    for bit, task in enumerate(net.tasks):
        mine = 1 << bit
        if cost(net, mine).macs > alone[mine]:
            named = _Named(pruning.checkpoints, task)
            own = replace(pruning, workload={mine: 1.0}, checkpoints=named)
            try:
                net = taylor_around(net, own, schedule, net.everyone ^ mine)
            except GoalMissedError:
                # As in sharing: what it started from is inside the budget.
                continue
    if net is not start:
        yield net


def _common(
    net: MultitaskGraph, pruning: Pruning, options: ShareOptions, separate: MultitaskGraph
) -> Iterator[MultitaskGraph]:
    """The networks as they came, of which the layer of the dearest units is made common and pruned first; nothing where
    what is left of it costs no less than that layer of the networks pruned alone."""
    layer = dearest_layer(net, pruning.workload)

    def macs(net: MultitaskGraph) -> float:
        return pruning.macs(layer_by_itself(net, layer))

    least, best = math.inf, None
    for together, lean in _fewer_in_common(net, pruning, options, separate, layer):
        now = macs(lean.state.net)
        if now >= least:
            break
        least, best = now, (together, lean)
    if best is None or least >= macs(separate):
        pruning.progress.note(f"a common layer {layer} would cost more than one for each task")
        return
    together, lean = best
    own = _together(pruning, together)
    try:
        pruned = prune_after_layer(lean, own, options, taylor_step(own, options), net.everyone & ~together)
    except GoalMissedError:
        pruning.progress.note(f"no network with that layer {layer} keeps the budget")
        return
    yield pruned
    yield from _trimmed(pruned, own, options, macs_of_sets(separate))


def _fewer_in_common(
    net: MultitaskGraph, pruning: Pruning, options: ShareOptions, separate: MultitaskGraph, layer: str
) -> Iterator[tuple[int, Snapshot]]:
    """The layer pruned in common to all tasks, then to those that could have lost more of it, and so on down to two;
    each with the mask of these tasks. The others have their networks pruned alone."""
    together = net.everyone
    while together.bit_count() > 1:
        parts = [restrict(net if together >> bit & 1 else separate, [task]) for bit, task in enumerate(net.tasks)]
        start = common_layer(stack(net, parts), layer, together)
        own = _together(pruning, together)
        names = name_of(together, net.tasks)
        try:
            lean = prune_layer(start, own, options, taylor_step(own, options), layer, net.everyone & ~together)
        except GoalMissedError:
            pruning.progress.note(f"no layer {layer} common to {names} keeps the budget")
            return
        units = np.count_nonzero(lean.state.net.owners[layer] & together)
        pruning.progress.note(f"{units} units of {layer} in common to {names}")
        yield together, lean
        leaving = lean.finished & together
        if not leaving:
            return
        together &= ~leaving


def _together(pruning: Pruning, tasks: int) -> Pruning:
    """The same with checkpoints of its own for a layer in common to ``tasks``, a mask."""
    return replace(pruning, checkpoints=_Named(pruning.checkpoints, f"common{tasks}"))


def _after_merge(
    merged: MultitaskGraph, pruning: Pruning, options: ShareOptions, name: str
) -> Iterator[MultitaskGraph]:
    """Prune after merge, of the network that a merge method made; nothing where that keeps no budget.

    Tasks that need the same features, in units that are no longer alike once each network was pruned by itself, end
    cheaper so; most of all where requests ask for many tasks at once.
    """
    # Of several tasks a later search takes as long as the first.
    fewer = replace(options, restarts=min(options.restarts, TaylorOptions.restarts))
    own = replace(pruning, checkpoints=_Named(pruning.checkpoints, name))
    try:
        yield taylor(merged, own, fewer)
    except GoalMissedError:
        pruning.progress.note(f"no network merged by '{name}' keeps the budget")


def _starts(
    whole: Mapping[str, MultitaskGraph], part: Mapping[str, MultitaskGraph], options: ShareOptions
) -> Mapping[int, Mapping[str, MultitaskGraph]]:
    """Where sharing starts from: of each task the network pruned within its ``whole`` budget, or a ``part`` of it.

    By the mask of the tasks that keep the rest: first those that do so for little, then all, then none; each once.
    Where the search within a part ended lowest there is nothing to choose.
    """
    two = {task for task in whole if part[task] is not whole[task]}
    cheap = {task for task in two if _macs(part[task]) <= options.alone_cost * _macs(whole[task])}
    keeping = [cheap, two, set[str]()] if options.race else [cheap]
    return {
        sum(1 << bit for bit, task in enumerate(whole) if task in kept): {
            task: (part if task in kept else whole)[task] for task in whole
        }
        for kept in keeping
    }


def _macs(alone: MultitaskGraph) -> int:
    """What the network of one task costs."""
    return cost(alone, 1).macs


@dataclass(frozen=True)
class _Named:
    """The checkpoints of one part of the search: the same steps lead elsewhere in another."""

    held: Checkpoints
    part: str

    def get(self, name: str) -> State | None:
        return self.held.get(f"{name}-{self.part}")

    def put(self, name: str, state: State) -> None:
        self.held.put(f"{name}-{self.part}", state)


def _schedule(options: ShareOptions) -> ShareOptions:
    """How networks are searched that were pruned alone before: each start is a restart of its own."""
    return replace(options, step=options.share_step, recover=options.share_recover, restarts=1)


def _shared(start: MultitaskGraph, pruning: Pruning, options: ShareOptions) -> MultitaskGraph:
    """Networks pruned alone, shared within their whole budgets."""
    order = np.random.default_rng(pruning.seed).permutation(len(pruning.train))[: options.samples]
    calibration = pruning.train.x[order]

    def step(state: State, recipe: Recipe, cut: Cut) -> tuple[State, MultitaskGraph]:
        trained, saliency = train_and_score(state, pruning, recipe, options, "sharing")
        shared = share_to(
            trained.net,
            calibration,
            saliency,
            pruning.workload,
            cut.macs,
            exponent=options.exponent,
            similarity=options.similarity,
            spared=cut.spared,
        )
        before = pruning.macs(trained.net)
        most = before - ENOUGH * (before - cut.macs)
        choices = list(takewhile(lambda choice: pruning.macs(choice) <= most, islice(shared, options.trials)))
        if not choices:
            # Similar pairs often run out before the budget does.
            return trained, prune_step(trained.net, saliency, pruning, options, cut)
        return trained, _best_tried(choices, pruning, replace(recipe, steps=options.trial_recover))

    try:
        return prune_iteratively(start, pruning, _schedule(options), step, early=True)
    except GoalMissedError:
        # The networks pruned alone are inside the budget, so nothing is lost by sharing nothing.
        pruning.progress.note("no sharing keeps the budget; the networks stay as they were pruned alone")
        return compact(start)


def _best_tried(choices: Sequence[MultitaskGraph], pruning: Pruning, recipe: Recipe) -> MultitaskGraph:
    """The first choice, or that which after a short training uses up clearly less of the budgets."""
    if len(choices) == 1:
        return choices[0]

    def strain(choice: MultitaskGraph) -> float:
        net = fit(compact(choice), pruning.train, pruning.targets, recipe, pruning.progress, label="trying a pair")
        return sum(max(used, 0.0) ** 2 for used in used_up(pruning, pruning.drops(net)).values())

    strains = [strain(choice) for choice in choices]
    best = min(range(len(choices)), key=strains.__getitem__)
    return choices[best if strains[best] < CLEARLY * strains[0] else 0]
