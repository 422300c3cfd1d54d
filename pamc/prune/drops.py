"""How far tasks have used up their accuracy budgets, and the loss weights that follow from it."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pamc.prune.registry import Pruning

__all__ = ["balanced", "excess", "most_over", "used_up"]

ROUNDING = 1e-9
BALANCE = 0.5
WIDEST_BALANCE = 8.0


def excess(pruning: Pruning, drops: Mapping[str, float]) -> float:
    """By how much the worst task exceeds its budget; 0 when all are inside, but for rounding."""
    over = max((drops[task] - allowed for task, allowed in pruning.budget.max_drop.items()), default=0.0)
    return over if over > ROUNDING else 0.0


def used_up(pruning: Pruning, drops: Mapping[str, float]) -> dict[str, float]:
    """Each task's drop as a multiple of what it is allowed."""
    return {task: drops[task] / max(allowed, 1e-9) for task, allowed in pruning.budget.max_drop.items()}


def most_over(pruning: Pruning, drops: Mapping[str, float]) -> str | None:
    """The task that exceeds its budget by the largest part of it, if any does."""
    used = used_up(pruning, drops)
    allowed = pruning.budget.max_drop
    return max((task for task in used if drops[task] - allowed[task] > ROUNDING), key=used.__getitem__, default=None)


def balanced(
    pruning: Pruning, weights: Mapping[str, float], drops: Mapping[str, float], strength: float = BALANCE
) -> dict[str, float]:
    """New loss weights: tasks near or over their budget count more, so that all use theirs up together.

    Without it the task with the largest gradients keeps units that it does not need, at the cost of the others.
    """
    used = {task: min(max(share, -1.0), 3.0) for task, share in used_up(pruning, drops).items()}
    if not used:
        return dict(weights)
    mean = sum(used.values()) / len(used)
    moved = {task: weight * math.exp(strength * (used.get(task, mean) - mean)) for task, weight in weights.items()}
    return {task: min(max(weight, 1 / WIDEST_BALANCE), WIDEST_BALANCE) for task, weight in moved.items()}
