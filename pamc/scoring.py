"""How good each task is, and how much it lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pamc.graph import MultitaskGraph
from pamc.spec import TaskSpec
from pamc.train import Samples, Target, drop, predict, score

__all__ = ["KINDS", "Answers", "Scorer", "targets_of", "truth_of"]

Answers = Callable[[NDArray[np.generic]], Mapping[str, NDArray[np.floating]]]
"""Raw outputs by task for inputs ``(n, *input shape)``."""

KINDS = {"cross_entropy": "class", "binary": "binary", "mse": "real"}
"""How the labels of a task with each loss are to be read."""


def targets_of(tasks: Sequence[TaskSpec]) -> tuple[Target, ...]:
    """What each task is trained for and measured by."""
    return tuple(Target(task.name, task.metric, task.loss) for task in tasks)


def truth_of(target: Target, samples: Samples) -> NDArray[np.generic]:
    """The labels of a task, or what its original network answers where there are none."""
    if target.task in samples.labels:
        return samples.labels[target.task]
    answers = samples.teacher[target.task]
    return answers.argmax(axis=1) if target.loss == "cross_entropy" else answers


@dataclass(frozen=True)
class Scorer:
    """Measures networks on ``evaluation``; budgets must also hold on ``validation`` where there is one.

    Both carry the original networks' answers as their teacher.
    """

    targets: tuple[Target, ...]
    evaluation: Samples
    validation: Samples | None = None

    def scores(self, net: MultitaskGraph) -> Mapping[str, float]:
        """The metric of every task of ``net`` on the evaluation data."""
        return self._scores(predict(net, self.evaluation.x), self.evaluation)

    def drops(self, net: MultitaskGraph) -> Mapping[str, float]:
        """How much worse each task of ``net`` is than its original network, on the worse of the data sets."""
        return self.judge(partial(predict, net))[1]

    def judge(self, answers: Answers) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """The metric of every task that is answered, on the evaluation data, and its drop as in :meth:`drops`."""
        found: list[Mapping[str, float]] = []
        worst: dict[str, float] = {}
        for samples in (self.evaluation, self.validation):
            if samples is None:
                continue
            before = self._scores(samples.teacher, samples)
            after = self._scores(answers(samples.x), samples)
            found.append(after)
            for target in self.targets:
                if target.task in after:
                    lost = drop(target, before[target.task], after[target.task])
                    worst[target.task] = max(worst.get(target.task, lost), lost)
        return found[0], worst

    def _scores(self, outputs: Mapping[str, NDArray[np.floating]], samples: Samples) -> dict[str, float]:
        return {
            target.task: score(target, outputs[target.task], truth_of(target, samples))
            for target in self.targets
            if target.task in outputs
        }
