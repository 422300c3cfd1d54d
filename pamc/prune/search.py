"""Iterative pruning: train a little, prune a little, then find the smallest network inside the budget.

Every step leaves a snapshot. With a cost budget the last one is fine-tuned; with an accuracy budget a bisection over
the snapshots fine-tunes candidates until the smallest that keeps every task within its drop is found.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pamc.errors import GoalMissedError
from pamc.graph import MultitaskGraph, compact, expected_macs, verify_multitask
from pamc.prune.registry import Pruning
from pamc.train import Recipe, fit

__all__ = ["Schedule", "Step", "prune_iteratively"]

Step = Callable[[MultitaskGraph, Recipe, float], tuple[MultitaskGraph, MultitaskGraph]]
"""``(network, recipe, expected MACs wanted) -> (network trained by the recipe, the same pruned)``."""


@dataclass(frozen=True)
class Schedule:
    """``step`` is the fraction of the expected cost that one iteration removes after ``recover`` mini-batches;
    ``warmup`` epochs heal the merge first, ``epochs`` fine-tune a candidate. Pruning for an accuracy budget stops
    once the drop, not yet fine-tuned, exceeds the budget by ``slack`` (in the metric's units, per task)."""

    step: float = 0.12
    recover: int = 60
    warmup: float = 1.0
    epochs: float = 8.0
    slack: float = 3.0


BALANCE = 0.5
WIDEST_BALANCE = 8.0


def excess(pruning: Pruning, drops: Mapping[str, float]) -> float:
    """By how much the worst task exceeds its budget; at most 0 when all are inside."""
    return max((drops[task] - allowed for task, allowed in pruning.budget.max_drop.items()), default=0.0)


@dataclass(frozen=True)
class Snapshot:
    """A pruned network, not yet fine-tuned, and the loss weights of its tasks by then."""

    net: MultitaskGraph
    weights: Mapping[str, float]


def balanced(pruning: Pruning, weights: Mapping[str, float], drops: Mapping[str, float]) -> dict[str, float]:
    """New loss weights: tasks near or over their budget count more, so that all use theirs up together.

    Without it the task with the largest gradients keeps units that it does not need, at the cost of the others.
    """
    allowed = pruning.budget.max_drop
    used = {task: min(max(drops[task] / max(allowed[task], 1e-9), -1.0), 3.0) for task in weights if task in allowed}
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
            held = make()
            self.pruning.checkpoints.put(name, held)
        return held

    def warm(self, net: MultitaskGraph) -> MultitaskGraph:
        steps = round(self.schedule.warmup * self.pruning.steps_per_epoch())
        recipe = self.recipe(steps, 1)
        return self.stored(
            "warm",
            lambda: fit(
                net, self.pruning.train, self.pruning.targets, recipe, self.pruning.progress, label="healing the merge"
            ),
        )

    def tuned(self, index: int, snapshot: Snapshot) -> MultitaskGraph:
        epochs = self.pruning.settings.epochs
        steps = round((self.schedule.epochs if epochs is None else epochs) * self.pruning.steps_per_epoch())
        return self.stored(
            f"tuned-{index}",
            lambda: fit(
                snapshot.net,
                self.pruning.train,
                self.pruning.targets,
                self.recipe(steps, 2, weights=snapshot.weights),
                self.pruning.progress,
                label=f"fine-tuning candidate {index}",
            ),
        )

    def descend(self, net: MultitaskGraph) -> tuple[list[Snapshot], int]:
        """Snapshots from large to small, and the last whose drop without fine-tuning was inside the budget."""
        pruning, schedule = self.pruning, self.schedule
        weights = dict.fromkeys(net.tasks, 1.0)
        snapshots, inside = [Snapshot(net, weights)], 0
        start = current = expected_macs(net, pruning.workload)
        while True:
            if pruning.budget.macs is not None and current <= pruning.budget.macs:
                return snapshots, len(snapshots) - 1
            index = len(snapshots)
            wanted = max(current * (1 - schedule.step), pruning.budget.macs or 0.0)
            recipe = self.recipe(schedule.recover, 10 + index, weights=weights)
            pair = {name: pruning.checkpoints.get(f"{name}-{index}") for name in ("trained", "pruned")}
            trained, pruned = pair["trained"], pair["pruned"]
            if trained is None or pruned is None:
                trained, raw = self.step(snapshots[-1].net, recipe, wanted)
                pruned = verify_multitask(compact(raw), f"pruning step {index}")
                pruning.checkpoints.put(f"trained-{index}", trained)
                pruning.checkpoints.put(f"pruned-{index}", pruned)
            smaller = expected_macs(pruned, pruning.workload)
            drops = pruning.drops(trained)
            weights = balanced(pruning, weights, drops)
            if pruning.budget.macs is None:
                over = excess(pruning, drops)
                if over <= 0:
                    inside = index - 1
                if over > schedule.slack:
                    return snapshots, inside
            if smaller >= current * 0.999:
                return snapshots, inside
            pruning.progress.note(
                f"step {index}: {smaller / 1e6:.4g} M expected MACs, {100 * smaller / start:.1f} % of the start"
            )
            current = smaller
            snapshots.append(Snapshot(pruned, weights))

    def smallest(self, snapshots: list[Snapshot], guess: int) -> MultitaskGraph:
        """Bisect: a candidate that keeps the budget moves the lower end up, one that breaks it the upper end down."""
        low, high, best = -1, len(snapshots), None
        # Fine-tuning only helps, so the end of the range lies somewhere after the guess.
        probe = min((guess + len(snapshots)) // 2, len(snapshots) - 1)
        while high - low > 1:
            candidate = self.tuned(probe, snapshots[probe])
            over = excess(self.pruning, self.pruning.drops(candidate))
            verdict = "inside the budget" if over <= 0 else f"{over:.2f} over the budget"
            self.pruning.progress.note(f"candidate {probe}: {verdict}")
            if over <= 0:
                low, best = probe, candidate
            else:
                high = probe
            probe = (low + high) // 2
        if best is None:
            drops = self.pruning.drops(self.tuned(0, snapshots[0]))
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
    reached = expected_macs(snapshots[-1].net, pruning.workload)
    if reached > pruning.budget.macs * 1.001:
        raise GoalMissedError(
            f"pruning stopped at {reached / 1e6:.4g} M expected MACs, the budget is {pruning.budget.macs / 1e6:.4g} M",
            why="every task must keep some units of each layer",
            cure="allow more MACs, or start from smaller networks",
        )
    return search.tuned(len(snapshots) - 1, snapshots[-1])
