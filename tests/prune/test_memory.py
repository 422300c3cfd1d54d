"""What pruners remember of units: it follows them, it is kept, and an interrupted run does not notice."""

from pathlib import Path

import numpy as np
import pytest

from pamc.bundle import StageCache
from pamc.graph import MultitaskGraph, expected_macs
from pamc.graph.owners import DTYPE
from pamc.graph.serial import dump
from pamc.progress import QuietProgress
from pamc.prune import METHODS, Budget, NoCheckpoints
from pamc.prune.methods.taylor import TaylorSaliency
from pamc.prune.state import State, compacted
from pamc.stages import StageRunner
from tests.prune.nets import pruning, separate, shared

QUICK = {"recover": 4, "warmup": 0, "epochs": 1, "step": 0.3}


def numbered(net: MultitaskGraph) -> dict[str, np.ndarray]:
    return {space: np.arange(2.0 * net.spaces.sizes[space]).reshape(2, -1) for space in net.prunable}


def test_memory_follows_the_units_that_stay() -> None:
    net = shared(separate())
    rng = np.random.default_rng(1)
    owners = {space: net.owners[space].copy() for space in net.prunable}
    for vector in owners.values():
        vector[rng.permutation(np.arange(2, len(vector)))[: len(vector) // 3]] = 0
    dead = net.with_owners(owners)
    small = compacted(State(dead, numbered(net)))
    for space, held in small.memory.items():
        assert held.shape == (2, small.net.spaces.sizes[space])
        # A unit is known by its bias, in every layer of this network.
        (name,) = net.spaces.producers[space]
        before, after = (graph.array(graph.by_name[name], "bias") for graph in (net.graph, small.net.graph))
        np.testing.assert_array_equal(before[held[0].astype(int)], after)


class Interrupted(Exception):
    """Stands for a killed build."""


class Dying:
    """Checkpoints of a stage that ends the run after so many."""

    def __init__(self, kept, left: int) -> None:  # type: ignore[no-untyped-def]
        self.kept, self.left = kept, left

    def get(self, name: str) -> State | None:
        return self.kept.get(name)

    def put(self, name: str, state: State) -> None:
        if self.left == 0:
            raise Interrupted
        self.left -= 1
        self.kept.put(name, state)


@pytest.mark.parametrize(("method", "options"), [("taylor", {"momentum": 0.9}), ("vib", {})])
def test_an_interrupted_run_ends_as_one_that_was_not(method: str, options: dict[str, object], tmp_path: Path) -> None:
    net = shared(separate(count=2))
    workload = {1: 0.5, 3: 0.5}
    budget = Budget(0.3 * expected_macs(net, workload), {})
    chosen = METHODS.parse_options(method, QUICK | options)
    function = METHODS.get(method).function

    def run(checkpoints) -> tuple[str, bytes]:  # type: ignore[no-untyped-def]
        return dump(function(net, pruning(net, budget, workload=workload, checkpoints=checkpoints), chosen))

    whole = run(NoCheckpoints())
    kept = StageRunner(StageCache(tmp_path), QuietProgress()).checkpoints("prune", "key")
    with pytest.raises(Interrupted):
        run(Dying(kept, 5))
    assert run(kept) == whole


def test_momentum_averages_over_steps_and_forgets_released_tasks() -> None:
    net = shared(separate())
    space = net.prunable[1]
    owners = net.owners[space].copy()
    owners[0], owners[1] = 7, 1
    net = net.with_owners({space: owners})
    saliency = TaylorSaliency(net)
    saliency.batches = 1
    size = net.spaces.sizes[space]
    saliency.sums[space] += 2.0
    blended = saliency.averages({space: np.full((3, size), 10.0)}, 0.75)[space]
    assert blended[:, 0].tolist() == [8.0, 8.0, 8.0]
    assert blended[:, 1].tolist() == [8.0, 0.5, 0.5]
    assert (owners[1] & DTYPE(6)) == 0
    assert (saliency.averages({}, 0.75)[space] == 2.0).all()


def test_momentum_changes_what_is_pruned() -> None:
    net = separate(count=2)
    budget = Budget(0.3 * expected_macs(net, {1: 1 / 3, 2: 1 / 3, 3: 1 / 3}), {})
    found = []
    for momentum in (0.0, 0.9):
        chosen = METHODS.parse_options("taylor", QUICK | {"momentum": momentum})
        found.append(dump(METHODS.get("taylor").function(net, pruning(net, budget), chosen)))
    assert found[0] != found[1]
