"""How good each task is, and how much it lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pamc.graph import Graph, MultitaskGraph
from pamc.graph.ops import Activation, Flatten, Softmax, Unflatten
from pamc.spec import TaskSpec
from pamc.train import Samples, Target, decided, drop, predict, score

__all__ = ["KINDS", "Answers", "Scorer", "targets_of", "truth_of"]

Answers = Callable[[NDArray[np.generic]], Mapping[str, NDArray[np.floating]]]
"""Raw outputs by task for inputs ``(n, *input shape)``."""

KINDS = {"cross_entropy": "class", "binary": "binary", "mse": "real"}
"""How the labels of a task with each loss are to be read."""


def targets_of(tasks: Sequence[TaskSpec], net: MultitaskGraph) -> tuple[Target, ...]:
    """What each task of ``net`` is trained for and measured by."""
    return tuple(
        Target(task.name, task.metric, task.loss, task.loss != "mse" and _probabilities(net.graph, task.name))
        for task in tasks
    )


def _probabilities(graph: Graph, task: str) -> bool:
    """Whether a task's outputs are those of a softmax or of sigmoids."""
    node = graph.by_name[graph.outputs[task]]
    while isinstance(node.op, Flatten | Unflatten):
        node = graph.by_name[node.inputs[0]]
    if isinstance(node.op, Softmax):
        # Logarithms of probabilities are logits.
        return not node.op.log
    return isinstance(node.op, Activation) and node.op.function == "sigmoid"


def truth_of(target: Target, samples: Samples) -> NDArray[np.generic]:
    """The labels of a task, or what its original network answers where there are none."""
    if target.task in samples.labels:
        return samples.labels[target.task]
    return decided(target, samples.teacher[target.task])


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
