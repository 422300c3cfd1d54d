"""No pruning: the merged network is only trained."""

from __future__ import annotations

from dataclasses import dataclass

from pamc.errors import GoalMissedError
from pamc.graph import MultitaskGraph, compact
from pamc.prune.drops import excess
from pamc.prune.registry import METHODS, Pruning
from pamc.train import Recipe, fit

__all__ = ["NoPruningOptions", "none"]


@dataclass(frozen=True)
class NoPruningOptions:
    """``epochs`` of fine-tuning, if merging cost any task more than its budget."""

    epochs: float = 20.0


@METHODS.register("none", options=NoPruningOptions)
def none(net: MultitaskGraph, pruning: Pruning, options: NoPruningOptions) -> MultitaskGraph:
    """Keep every unit that merging kept; fine-tune when merging lost accuracy, or when epochs are asked for."""
    small = compact(net)
    asked = pruning.settings.epochs
    if asked is None and excess(pruning, pruning.drops(small)) <= 0:
        return small
    settings = pruning.settings
    steps = round((options.epochs if asked is None else asked) * pruning.steps_per_epoch())
    recipe = Recipe(steps, settings.batch_size, settings.learning_rate, settings.distill, pruning.seed)
    tuned = fit(small, pruning.train, pruning.targets, recipe, pruning.progress)
    if (over := excess(pruning, pruning.drops(tuned))) > 0:
        raise GoalMissedError(
            f"after merging and fine-tuning a task is {over:.2f} over its accuracy budget",
            cure="raise max_drop, train longer (train: {epochs: ...}), or merge less (merge: {method: separate})",
        )
    return tuned
