"""Networks with a known redundancy, and samples to judge them by."""

from __future__ import annotations

from functools import cache

import numpy as np

from pamc.capture import align, capture
from pamc.graph import MultitaskGraph, all_task_sets
from pamc.redundancy import Redundancy, analyse
from pamc.train import Samples, Target, predict
from tests.zoo import NETWORKS, network

__all__ = ["found_in", "samples", "targets", "two_of_the_same"]


@cache
def two_of_the_same(name: str) -> MultitaskGraph:
    """The same network for two tasks, nothing shared."""
    module = network(name)
    return align({task: capture(task, module, NETWORKS[name].shape) for task in ("a", "b")})


def targets(net: MultitaskGraph) -> list[Target]:
    return [Target(task, "accuracy", "cross_entropy") for task in net.tasks]


def samples(net: MultitaskGraph, count: int = 96) -> Samples:
    """Random images, labelled by which third of its values the first output of each network is in."""
    shape = (count, *net.graph.shapes[net.graph.input.name])
    x = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    teacher = predict(net, x)
    labels = {}
    for task, answers in teacher.items():
        first = answers[:, 0]
        labels[task] = np.searchsorted(np.quantile(first, [1 / 3, 2 / 3]), first)
    return Samples(x, labels, teacher)


def found_in(net: MultitaskGraph, count: int = 96) -> Redundancy:
    return analyse(net, samples(net, count), targets(net), list(all_task_sets(len(net.tasks))), seed=0)
