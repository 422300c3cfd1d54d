"""What a pruner is: a function from a merged network to one that meets the budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from pamc.graph import MultitaskGraph, expected_macs
from pamc.jobs import InTurn, Jobs
from pamc.progress import Progress, QuietProgress
from pamc.prune.state import State
from pamc.registry import Registry
from pamc.train import Samples, Target

__all__ = ["METHODS", "Alone", "Budget", "Checkpoints", "Method", "NoCheckpoints", "Pruning", "Settings"]


@dataclass(frozen=True, slots=True)
class Budget:
    """When to stop: at ``macs`` multiply-accumulates, or, if None, at the smallest network that keeps every task's drop
    within ``max_drop`` (in the metric's units, by task).

    ``macs`` are those expected under ``workload`` (task-set masks to probabilities; None: the problem's own). All tasks
    at once are the workload ``{everyone: 1.0}``.

    ``fraction`` says what part of the user's budget this is: the steps are those of the whole budget, so that a run
    with a part of it finds them taken."""

    macs: float | None
    max_drop: Mapping[str, float]
    fraction: float = 1.0
    workload: Mapping[int, float] | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """Training settings that the user may give; None leaves the choice to the pruner."""

    epochs: int | None = None
    batch_size: int = 128
    learning_rate: float = 1e-3
    distill: float = 0.9


class Checkpoints(Protocol):
    """Intermediate states by name, so that an interrupted run resumes."""

    def get(self, name: str) -> State | None:
        """The state stored under a name, if any."""

    def put(self, name: str, state: State) -> None:
        """Store a state."""


class NoCheckpoints:
    """Keeps nothing."""

    def get(self, name: str) -> State | None:
        return None

    def put(self, name: str, state: State) -> None:
        return None


Alone = Callable[[Sequence[float]], Sequence[Mapping[str, MultitaskGraph]]]
"""``fractions -> for each {task: its network pruned by itself within that fraction of its accuracy budget}``."""


@dataclass(frozen=True)
class Pruning:
    """Everything a pruner works with.

    ``workload`` maps task-set masks to probabilities; moves are priced by it. ``drops(net)`` measures how much worse
    each task is than its original network, on data that training does not see; the budget holds for these figures.
    ``alone`` prunes every task's own network by the same method and settings; ``merged(method)`` is the network that a
    merge method makes of the original ones with its own options. ``jobs`` runs searches that do not depend on each
    other. ``channel_tile`` is the number of channels that the target's kernels work on at once.
    """

    train: Samples
    targets: Sequence[Target]
    workload: Mapping[int, float]
    budget: Budget
    drops: Callable[[MultitaskGraph], Mapping[str, float]]
    alone: Alone | None = None
    merged: Callable[[str], MultitaskGraph] | None = None
    settings: Settings = Settings()
    seed: int = 0
    progress: Progress = field(default_factory=QuietProgress)
    checkpoints: Checkpoints = field(default_factory=NoCheckpoints)
    jobs: Jobs = field(default_factory=lambda: InTurn(QuietProgress()))
    channel_tile: int = 1

    def for_job(self, progress: Progress) -> Pruning:
        """The same problem as a job's own, without what only the process of the whole search has."""
        return replace(self, alone=None, merged=None, jobs=InTurn(progress), progress=progress)

    @property
    def measured(self) -> Mapping[int, float]:
        """The workload under which the cost of a network is held against the budget."""
        return self.workload if self.budget.workload is None else self.budget.workload

    def narrowed(self, tasks: int) -> Mapping[int, float]:
        """The workload in which nothing but the tasks in a mask is asked for."""
        found: dict[int, float] = {}
        for request, chance in self.measured.items():
            found[request & tasks] = found.get(request & tasks, 0.0) + chance
        return found

    def macs(self, net: MultitaskGraph) -> float:
        """What a network costs, as the budget measures it."""
        return expected_macs(net, self.measured)

    def steps_per_epoch(self) -> int:
        """Mini-batches in one pass over the training samples."""
        return max(1, len(self.train) // self.settings.batch_size)


Method = Callable[[MultitaskGraph, Pruning, Any], MultitaskGraph]
"""``(merged network, pruning, options) -> pruned, compact, fine-tuned network``."""

METHODS: Registry[Method] = Registry("pruner")
