"""Iterative pruning: train a little, prune a little, then find the smallest network inside the budget.

Every step leaves a snapshot. With a cost budget the last one is fine-tuned; with an accuracy budget a bisection over
the snapshots fine-tunes candidates until the smallest that keeps every task within its drop is found.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from pamc.errors import GoalMissedError
from pamc.graph import MultitaskGraph, verify_multitask
from pamc.prune.registry import Pruning
from pamc.prune.state import State, compacted
from pamc.train import Recipe, fit

__all__ = ["Schedule", "Step", "prune_iteratively"]

Step = Callable[[State, Recipe, float], tuple[State, MultitaskGraph]]
"""``(state, recipe, MACs wanted) -> (the same trained by the recipe, its network pruned with dead units still in it)``.

MACs are those that the budget measures (``Pruning.macs``). What the trained state remembers goes on with the units that
are left.
"""


@dataclass(frozen=True)
class Schedule:
    """``step`` is the fraction of the cost that one iteration removes after ``recover`` mini-batches;
    ``warmup`` epochs heal the merge first, ``epochs`` fine-tune a candidate. Pruning for an accuracy budget stops
    once a task's drop, not yet fine-tuned, exceeds its budget by ``slack`` times the budget, and ``retries`` smaller
    steps instead of the last one did so too (before the first cut: when ``retries`` fine-tunings did not help).
    A candidate that misses by little is fine-tuned up to ``attempts`` times."""

    step: float = 0.12
    recover: int = 60
    warmup: float = 1.0
    epochs: float = 8.0
    slack: float = 3.0
    retries: int = 3
    attempts: int = 3


ROUNDING = 1e-9
STALLED = 0.1
BALANCE = 0.5
NEAR_MISS = 1.5
WIDEST_BALANCE = 8.0


def excess(pruning: Pruning, drops: Mapping[str, float]) -> float:
    """By how much the worst task exceeds its budget; 0 when all are inside, but for rounding."""
    over = max((drops[task] - allowed for task, allowed in pruning.budget.max_drop.items()), default=0.0)
    return over if over > ROUNDING else 0.0


def used_up(pruning: Pruning, drops: Mapping[str, float]) -> dict[str, float]:
    """Each task's drop as a multiple of what it is allowed."""
    return {task: drops[task] / max(allowed, 1e-9) for task, allowed in pruning.budget.max_drop.items()}


@dataclass(frozen=True)
class Snapshot:
    """A pruned network, not yet fine-tuned, with what its pruner remembers, and the loss weights of its tasks by then.

    ``path`` names the steps that led to it, so that a run with another budget finds the steps that both take.
    """

    state: State
    weights: Mapping[str, float]
    path: str


def balanced(pruning: Pruning, weights: Mapping[str, float], drops: Mapping[str, float]) -> dict[str, float]:
    """New loss weights: tasks near or over their budget count more, so that all use theirs up together.

    Without it the task with the largest gradients keeps units that it does not need, at the cost of the others.
    """
    used = {task: min(max(share, -1.0), 3.0) for task, share in used_up(pruning, drops).items()}
    if not used:
        return dict(weights)
    mean = sum(used.values()) / len(used)
    moved = {task: weight * math.exp(BALANCE * (used.get(task, mean) - mean)) for task, weight in weights.items()}
    return {task: min(max(weight, 1 / WIDEST_BALANCE), WIDEST_BALANCE) for task, weight in moved.items()}


class _Search:
    def __init__(self, pruning: Pruning, schedule: Schedule, step: Step) -> None:
        self.pruning = pruning
        self.schedule = schedule
        self.step = step

    def recipe(self, steps: int, seed: int, *, weights: Mapping[str, float] | None = None) -> Recipe:
        settings = self.pruning.settings
        seed += self.pruning.seed
        return Recipe(steps, settings.batch_size, settings.learning_rate, settings.distill, seed, weights or {})

    def stored(self, name: str, make: Callable[[], MultitaskGraph]) -> MultitaskGraph:
        held = self.pruning.checkpoints.get(name)
        if held is None:
            held = State(make())
            self.pruning.checkpoints.put(name, held)
        return held.net

    def warm(self, net: MultitaskGraph) -> MultitaskGraph:
        steps = round(self.schedule.warmup * self.pruning.steps_per_epoch())
        recipe = self.recipe(steps, 1)
        return self.stored(
            "warm",
            lambda: fit(
                net, self.pruning.train, self.pruning.targets, recipe, self.pruning.progress, label="healing the merge"
            ),
        )

    def tuned(self, index: int, snapshot: Snapshot, attempt: int = 1) -> MultitaskGraph:
        epochs = self.pruning.settings.epochs
        steps = round((self.schedule.epochs if epochs is None else epochs) * self.pruning.steps_per_epoch())
        return self.stored(
            f"tuned-{snapshot.path}-{attempt}",
            lambda: fit(
                snapshot.state.net,
                self.pruning.train,
                self.pruning.targets,
                self.recipe(steps, 1 + attempt, weights=snapshot.weights),
                self.pruning.progress,
                label=f"fine-tuning candidate {index}",
            ),
        )

    def descend(self, net: MultitaskGraph) -> tuple[list[Snapshot], int]:
        """Snapshots from large to small, and the last whose drop without fine-tuning was inside the budget."""
        pruning, schedule = self.pruning, self.schedule
        weights: Mapping[str, float] = dict.fromkeys(net.tasks, 1.0)
        snapshots, inside = [Snapshot(State(net), weights, "0")], 0
        start = pruning.macs(net)
        fraction, retries, count = schedule.step, schedule.retries, 0
        while True:
            last = snapshots[-1]
            current = pruning.macs(last.state.net)
            if pruning.budget.macs is not None and current <= pruning.budget.macs:
                return snapshots, len(snapshots) - 1
            count += 1
            wanted = max(current * (1 - fraction), pruning.budget.macs or 0.0)
            path = hashlib.sha256(f"{last.path} {count} {wanted:.9g}".encode()).hexdigest()[:16]
            trained, pruned = self.advance(count, Snapshot(last.state, weights, path), wanted)
            drops = pruning.drops(trained)
            weights = balanced(pruning, weights, drops)
            share = max(used_up(pruning, drops).values(), default=0.0)
            if share <= 1:
                inside = len(snapshots) - 1
            if share * pruning.budget.fraction > 1 + schedule.slack and pruning.budget.macs is None:
                if retries == 0:
                    return snapshots, inside
                retries -= 1
                if len(snapshots) == 1:
                    pruning.progress.note(f"step {count}: {share:.1f} times the budget before any cut, trained longer")
                    healed, _ = self.candidate(0, last)
                    snapshots = [Snapshot(State(healed), weights, path)]
                    continue
                # The last step cut something vital: take it back, cut less, and let the victim's loss weigh more.
                pruning.progress.note(f"step {count}: {share:.1f} times the budget, one step back")
                snapshots.pop()
                fraction /= 2
                continue
            smaller = pruning.macs(pruned.net)
            if smaller < current:
                left = 100 * smaller / start
                pruning.progress.note(f"step {count}: {smaller / 1e6:.4g} M MACs, {left:.1f} % of the start")
                snapshots.append(Snapshot(pruned, weights, path))
            if current - smaller < STALLED * (current - wanted):
                # Hardly a move is left, and every step takes as much training as one that saves something.
                return snapshots, inside

    def advance(self, count: int, snapshot: Snapshot, wanted: float) -> tuple[MultitaskGraph, State]:
        """One step: the network trained, and the same pruned and compact with what is remembered of it."""
        names = [f"{name}-{snapshot.path}" for name in ("trained", "pruned")]
        held = [self.pruning.checkpoints.get(name) for name in names]
        if held[0] is not None and held[1] is not None:
            return held[0].net, held[1]
        recipe = self.recipe(self.schedule.recover, 10 + count, weights=snapshot.weights)
        trained, raw = self.step(snapshot.state, recipe, wanted)
        pruned = compacted(State(raw, trained.memory))
        verify_multitask(pruned.net, f"pruning step {count}")
        for name, state in zip(names, (State(trained.net), pruned), strict=True):
            self.pruning.checkpoints.put(name, state)
        return trained.net, pruned

    def candidate(self, index: int, snapshot: Snapshot) -> tuple[MultitaskGraph, Mapping[str, float]]:
        """A snapshot fine-tuned, and its drops; a near miss is trained on, with the tasks that miss weighing more."""
        attempt = 1
        while True:
            net = self.tuned(index, snapshot, attempt)
            drops = self.pruning.drops(net)
            share = max(used_up(self.pruning, drops).values(), default=0.0)
            if attempt == self.schedule.attempts or not 1 < share <= NEAR_MISS:
                return net, drops
            snapshot = replace(snapshot, state=State(net), weights=balanced(self.pruning, snapshot.weights, drops))
            attempt += 1

    def smallest(self, snapshots: list[Snapshot], guess: int) -> MultitaskGraph:
        """Bisect: a candidate that keeps the budget moves the lower end up, one that breaks it the upper end down."""
        low, high, best = -1, len(snapshots), None
        # Fine-tuning only helps, so the end of the range lies somewhere after the guess.
        probe = min((guess + len(snapshots)) // 2, len(snapshots) - 1)
        while high - low > 1:
            candidate, drops = self.candidate(probe, snapshots[probe])
            over = excess(self.pruning, drops)
            verdict = "inside the budget" if over <= 0 else f"{over:.2f} over the budget"
            self.pruning.progress.note(f"candidate {probe}: {verdict}")
            if over <= 0:
                low, best = probe, candidate
            else:
                high = probe
            probe = (low + high) // 2
        if best is None:
            _, drops = self.candidate(0, snapshots[0])
            worst = ", ".join(f"{task} by {value:.2f}" for task, value in drops.items())
            raise GoalMissedError(
                "no network keeps every task inside its accuracy budget",
                why=f"even before pruning, after fine-tuning, the tasks drop: {worst}",
                cure="raise max_drop, train longer (train: {epochs: ...}), give more data, or merge less",
            )
        return best


def prune_iteratively(net: MultitaskGraph, pruning: Pruning, schedule: Schedule, step: Step) -> MultitaskGraph:
    """Run the whole schedule. Raises GoalMissedError when the budget cannot be kept."""
    search = _Search(pruning, schedule, step)
    snapshots, guess = search.descend(search.warm(net))
    if pruning.budget.macs is None:
        return search.smallest(snapshots, guess)
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
