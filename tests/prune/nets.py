"""A small merged network with random owners, and data for it."""

from collections.abc import Iterable, Mapping

import numpy as np
import torch

from pamc.graph import MultitaskGraph, compact, cost, uniform_workload
from pamc.graph.interpret import evaluate
from pamc.graph.owners import DTYPE, members
from pamc.prune import Budget, Pruning, Settings
from pamc.train import Samples, Target, predict
from tests.zoo.captured import aligned


def separate(name: str = "lenet", count: int = 3) -> MultitaskGraph:
    """The first ``count`` tasks of a zoo network, every unit owned by its own."""
    return aligned(name, count)


def shared(net: MultitaskGraph, seed: int = 0) -> MultitaskGraph:
    """Random owners; the first units of every space belong to everyone, so that all tasks stay alive."""
    rng = np.random.default_rng(seed)
    owners = {}
    for space in net.prunable:
        vector = rng.integers(1, net.everyone + 1, net.spaces.sizes[space]).astype(DTYPE)
        vector[:2] = net.everyone
        owners[space] = vector
    return compact(net.with_owners(owners))


def samples(net: MultitaskGraph, count: int = 96, seed: int = 0) -> Samples:
    """Random images, labelled by the networks themselves, so that there is something to keep."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, *net.graph.shapes[net.graph.input.name])).astype(np.float32)
    teacher = predict(net, x)
    return Samples(x, {task: output.argmax(axis=1) for task, output in teacher.items()}, teacher)


def pruning(net: MultitaskGraph, budget: Budget, **changes: object) -> Pruning:
    """A pruning problem whose drop is the disagreement with the original networks, in percent."""
    data = samples(net)
    held_out = samples(net, 64, seed=1)

    def drops(candidate: MultitaskGraph) -> Mapping[str, float]:
        answers = predict(candidate, held_out.x)
        return {
            task: 100.0 * float(np.mean(answers[task].argmax(axis=1) != held_out.labels[task]))
            for task in candidate.tasks
        }

    given: dict[str, object] = {
        "train": data,
        "targets": [Target(task, "accuracy", "cross_entropy") for task in net.tasks],
        "workload": uniform_workload(len(net.tasks)),
        "budget": budget,
        "drops": drops,
        "settings": Settings(batch_size=32),
    }
    return Pruning(**(given | changes))  # type: ignore[arg-type]


def assert_same_answers(before: MultitaskGraph, after: MultitaskGraph, tasks: Iterable[str]) -> None:
    """Some tasks answer in one network as in the other, but for rounding of float64."""
    x = np.random.default_rng(0).normal(size=(3, *before.graph.shapes[before.graph.input.name]))
    wanted, found = (evaluate(net.graph, x, dtype=torch.float64) for net in (before, after))
    for task in tasks:
        torch.testing.assert_close(found[task], wanted[task], rtol=1e-12, atol=1e-12)


def assert_only_others_shrank(before: MultitaskGraph, after: MultitaskGraph, finished: int) -> None:
    """Tasks in a mask answer as they did, and every other one costs less."""
    done = [before.tasks[bit] for bit in members(finished)]
    assert_same_answers(before, after, done)
    for bit, task in enumerate(before.tasks):
        assert task in done or cost(after, 1 << bit).macs < 0.9 * cost(before, 1 << bit).macs
