"""What a pruner is: a function from a merged network to one that meets the budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pamc.graph import MultitaskGraph
from pamc.progress import Progress, QuietProgress
from pamc.registry import Registry
from pamc.train import Samples, Target

__all__ = ["METHODS", "Budget", "Checkpoints", "Method", "NoCheckpoints", "Pruning", "Settings"]


@dataclass(frozen=True, slots=True)
class Budget:
    """When to stop: at ``macs`` expected multiply-accumulates, or, if None, at the smallest network that keeps
    every task's drop within ``max_drop`` (in the metric's units, by task).

    ``fraction`` says what part of the user's budget this is: the steps are those of the whole budget, so that a run
    with a part of it finds them taken."""

    macs: float | None
    max_drop: Mapping[str, float]
    fraction: float = 1.0


@dataclass(frozen=True, slots=True)
class Settings:
    """Training settings that the user may give; None leaves the choice to the pruner."""

    epochs: int | None = None
    batch_size: int = 128
    learning_rate: float = 1e-3
    distill: float = 0.9


class Checkpoints(Protocol):
    """Intermediate networks by name, so that an interrupted run resumes."""

    def get(self, name: str) -> MultitaskGraph | None:
        """The network stored under a name, if any."""

    def put(self, name: str, net: MultitaskGraph) -> None:
        """Store a network."""


class NoCheckpoints:
    """Keeps nothing."""

    def get(self, name: str) -> MultitaskGraph | None:
        return None

    def put(self, name: str, net: MultitaskGraph) -> None:
        return None


@dataclass(frozen=True)
class Pruning:
    """Everything a pruner works with.

    ``workload`` maps task-set masks to probabilities. ``drops(net)`` measures how much worse each task is than its
    original network, on data that training does not see; the budget holds for these figures.
    ``alone(task, fraction)`` is the task's own network pruned by the same method and settings within a fraction of its
    accuracy budget.
    """

    train: Samples
    targets: Sequence[Target]
    workload: Mapping[int, float]
    budget: Budget
    drops: Callable[[MultitaskGraph], Mapping[str, float]]
    alone: Callable[[str, float], MultitaskGraph] | None = None
    settings: Settings = Settings()
    seed: int = 0
    progress: Progress = field(default_factory=QuietProgress)
    checkpoints: Checkpoints = field(default_factory=NoCheckpoints)

    def steps_per_epoch(self) -> int:
        """Mini-batches in one pass over the training samples."""
        return max(1, len(self.train) // self.settings.batch_size)


Method = Callable[[MultitaskGraph, Pruning, Any], MultitaskGraph]
"""``(merged network, pruning, options) -> pruned, compact, fine-tuned network``."""

METHODS: Registry[Method] = Registry("pruner")
