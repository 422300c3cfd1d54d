"""Each task from the network where it is cheapest: what is chosen, what it costs, what it computes."""

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import product

import numpy as np
import pytest

from pamc.graph import (
    MultitaskGraph,
    compact,
    cost,
    costs,
    expected_macs,
    restrict,
    share_all,
    stack,
    uniform_workload,
    verify_multitask,
)
from pamc.graph.owners import all_task_sets, members
from pamc.prune.assembly import Block, cheapest_blocks, joined, macs_of_sets
from pamc.prune.moves import prune_to
from pamc.prune.sharing import share_to
from tests.prune.nets import assert_same_answers, samples, separate


def random_saliency(net: MultitaskGraph, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {space: rng.random((len(net.tasks) + 1, net.spaces.sizes[space])) for space in net.prunable}


def pruned(net: MultitaskGraph, seed: int, fraction: float) -> MultitaskGraph:
    """Random units removed, and random tasks released, until that fraction of the expected cost is left."""
    workload = uniform_workload(len(net.tasks))
    left = fraction * expected_macs(net, workload)
    return compact(prune_to(net, random_saliency(net, seed), workload, left))


@cache
def candidates(name: str = "lenet", tasks: int = 3) -> tuple[MultitaskGraph, list[MultitaskGraph]]:
    """Networks apart, the same partly shared, and two that share everything they did not release."""
    net = separate(name, tasks)
    apart = stack(net, [pruned(restrict(net, [task]), seed, 0.5) for seed, task in enumerate(net.tasks)])
    workload = uniform_workload(tasks)
    left = 0.85 * expected_macs(apart, workload)
    x = samples(apart, 32).x
    partly = compact(next(share_to(apart, x, random_saliency(apart, 9), workload, left, similarity=0.0)))
    return net, [compact(apart), partly, *(pruned(share_all(net), seed, 0.1) for seed in (4, 5))]


WORKLOADS = {
    "uniform": uniform_workload(3),
    "skewed": {1: 0.8, 6: 0.15, 7: 0.05},
    "pairs": {3: 0.5, 6: 0.5},
}


@cache
def all_ways() -> Sequence[Mapping[int, int]]:
    """MACs of every task set, for every way to take each task from one of the networks."""
    net, nets = candidates()
    found = []
    for chosen in product(range(len(nets)), repeat=3):
        mine = [sum(1 << task for task in range(3) if chosen[task] == index) for index in range(len(nets))]
        made = joined(net, [Block(net, tasks) for net, tasks in zip(nets, mine, strict=True) if tasks])
        found.append({request: cost.macs for request, cost in costs(made).items()})
    return found


def least(workload: Mapping[int, float], most: np.ndarray | None) -> float:
    """The least expected cost of all ways that keep what each task set may cost."""
    return min(
        sum(chance * way[request] for request, chance in workload.items())
        for way in all_ways()
        if most is None or all(macs <= most[request] for request, macs in way.items())
    )


@pytest.mark.parametrize("ceiling", [1.0, 1.6, None])
@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)
def test_no_other_way_to_take_tasks_from_the_networks_is_cheaper(
    workload: dict[int, float], ceiling: float | None
) -> None:
    net, nets = candidates()
    most = None if ceiling is None else ceiling * macs_of_sets(nets[0])
    found = joined(net, cheapest_blocks(nets, workload, most))
    assert expected_macs(found, workload) == pytest.approx(least(workload, most), rel=1e-9)


def test_the_ceiling_decides_which_networks_serve_which_tasks() -> None:
    net, nets = candidates()
    workload = WORKLOADS["pairs"]
    chosen, expected = [], []
    for ceiling in (1.0, 1.3, 1.6):
        most = ceiling * macs_of_sets(nets[0])
        blocks = cheapest_blocks(nets, workload, most)
        found = verify_multitask(joined(net, blocks), "assembly")
        assert all(cost(found, request).macs <= most[request] for request in all_task_sets(3))
        chosen.append([block.tasks for block in blocks])
        expected.append(expected_macs(found, workload))
    assert chosen == [[7], [3, 4], [7]]
    assert expected == sorted(expected, reverse=True) and len(set(expected)) == 3


@pytest.mark.parametrize("name", ["lenet", "small_resnet", "small_mobilenet", "densenet", "se_resnet"])
def test_blocks_compute_and_cost_what_their_networks_do(name: str) -> None:
    net, (_, partly, one, other) = candidates(name)
    for first, second in ((partly, one), (one, other)):
        blocks = [Block(first, 0b101), Block(second, 0b010)]
        found = verify_multitask(joined(net, blocks), "assembly")
        assert found.tasks == net.tasks
        for block in blocks:
            assert_same_answers(block.net, found, [net.tasks[bit] for bit in members(block.tasks)])
        for request in all_task_sets(3):
            assert cost(found, request).macs == sum(block.macs[request] for block in blocks)


def test_of_equal_networks_the_first_serves_all_tasks() -> None:
    _, (first, *_) = candidates()
    (block,) = cheapest_blocks([first, first], uniform_workload(3))
    assert block.net is first and block.tasks == 7


def test_blocks_come_in_task_order() -> None:
    _, nets = candidates()
    for workload in WORKLOADS.values():
        blocks = cheapest_blocks(nets, workload)
        firsts = [block.tasks & -block.tasks for block in blocks]
        assert firsts == sorted(firsts) and sum(block.tasks for block in blocks) == 7
