"""Prices are differences of the exact cost; moves keep their promises."""

import numpy as np
import pytest

from pamc.graph import compact, expected_macs, uniform_workload
from pamc.graph.owners import DTYPE, members
from pamc.prune.moves import Rules, prices, prune_to
from tests.prune.nets import separate, shared


@pytest.mark.parametrize("name", ["lenet", "small_mobilenet", "squeezenet", "se_resnet"])
def test_a_price_difference_is_what_the_exact_cost_falls_by(name: str) -> None:
    net = shared(separate(name))
    workload = {1: 0.5, 2: 0.1, 4: 0.1, 7: 0.3}
    table = prices(net, workload)
    before = expected_macs(net, workload)
    rng = np.random.default_rng(3)
    checked = 0
    for space in net.prunable:
        # A layer that reads and feeds the same space moves two terms of one product, which a price cannot see.
        loops = {net.spaces.space_of(link.reader) for link in net.spaces.readers[space]}
        if space in loops:
            continue
        unit = int(rng.integers(len(net.owners[space])))
        mask = int(net.owners[space][unit])
        for clear in (mask, *(1 << task for task in members(mask))):
            owners = net.owners[space].copy()
            owners[unit] &= ~DTYPE(clear)
            fall = before - expected_macs(net.with_owners({space: owners}), workload)
            assert table[space, mask] - table[space, mask & ~clear] == pytest.approx(fall, rel=1e-9, abs=1e-6)
            checked += 1
    assert checked >= 4


def stakes(net, seed=0):
    rng = np.random.default_rng(seed)
    return {space: rng.random((len(net.tasks) + 1, net.spaces.sizes[space])) for space in net.prunable}


@pytest.mark.parametrize("releases", [True, False])
def test_pruning_reaches_the_cost_asked_for_and_keeps_the_floor(releases: bool) -> None:
    net = shared(separate())
    workload = uniform_workload(3)
    wanted = 0.5 * expected_macs(net, workload)
    small = prune_to(net, stakes(net), workload, wanted, Rules(releases=releases, floor=2))
    assert 0.8 * wanted <= expected_macs(small, workload) <= wanted
    for space in net.prunable:
        counts = [int((small.owners[space] >> DTYPE(bit) & DTYPE(1)).sum()) for bit in range(3)]
        assert min(counts) >= 2, space


def test_without_releases_units_only_die() -> None:
    net = shared(separate())
    workload = uniform_workload(3)
    small = prune_to(net, stakes(net), workload, 0.6 * expected_macs(net, workload), Rules(releases=False))
    for space in net.prunable:
        after = small.owners[space]
        assert ((after == net.owners[space]) | (after == 0)).all()


def test_units_with_the_least_at_stake_go_first() -> None:
    net = separate()
    stake = {space: np.ones((4, net.spaces.sizes[space])) for space in net.prunable}
    space = net.prunable[1]
    stake[space][:, 5:9] = 1e-9
    small = prune_to(net, stake, uniform_workload(3), 0.999 * expected_macs(net, uniform_workload(3)))
    dead = np.flatnonzero(small.owners[space] == 0)
    assert len(dead) and set(dead) <= set(range(5, 9))


def test_the_workload_decides_what_is_spared() -> None:
    """A task that is never asked for costs nothing, so its exclusive units are not worth removing."""
    net = separate()
    workload = {1: 1.0}
    small = compact(prune_to(net, stakes(net), workload, 0.5 * expected_macs(net, workload)))
    for space in net.prunable:
        assert (small.owners[space] == 2).sum() == (net.owners[space] == 2).sum(), space


def test_a_cost_that_cannot_be_reached_stops_at_the_floor() -> None:
    net = separate()
    small = compact(prune_to(net, stakes(net), uniform_workload(3), 0.0))
    assert all(len(small.owners[space]) == 3 for space in small.prunable)


def test_a_budget_may_count_what_nobody_asks_for() -> None:
    """Moves are priced by what is asked for; what is left goes when the budget counts it."""
    net = separate()
    everyone = {7: 1.0}
    wanted = 0.4 * expected_macs(net, everyone)
    small = prune_to(net, stakes(net), {1: 1.0}, wanted, Rules(floor=2), measured=everyone)
    assert 0.8 * wanted <= expected_macs(small, everyone) <= wanted
    kept = {task: sum(int((small.owners[space] == task).sum()) for space in net.prunable) for task in (1, 2, 4)}
    assert kept[1] < min(kept[2], kept[4])


def test_releases_are_priced_by_the_workload_when_the_budget_counts_all_tasks() -> None:
    net = shared(separate())
    stake = stakes(net)
    for space in net.prunable:
        stake[space][:3] *= 1e-3
    everyone = {7: 1.0}
    wanted = 0.7 * expected_macs(net, everyone)
    small = prune_to(net, stake, {1: 0.5, 2: 0.25, 4: 0.25}, wanted, measured=everyone)
    assert expected_macs(small, everyone) <= wanted
    released = [(small.owners[space] != net.owners[space]) & (small.owners[space] != 0) for space in net.prunable]
    assert sum(int(mask.sum()) for mask in released) > 10


def test_units_of_too_few_owners_are_left_alone() -> None:
    net = shared(separate())
    workload = uniform_workload(3)
    small = prune_to(net, stakes(net), workload, 0.0, Rules(releases=False, least_owners=2))
    for space in net.prunable:
        gone = small.owners[space] != net.owners[space]
        assert all(int(mask).bit_count() > 1 for mask in net.owners[space][gone])
    assert expected_macs(small, workload) < expected_macs(net, workload)


def test_a_unit_goes_on_serving_the_tasks_that_it_is_spared_for() -> None:
    net = shared(separate())
    workload = uniform_workload(3)
    space = net.prunable[0]
    spared = np.zeros_like(net.owners[space])
    spared[:6] = net.owners[space][:6] & 5
    stake = stakes(net)
    stake[space][:, :6] = 0.0
    free = prune_to(net, stake, workload, 0.4 * expected_macs(net, workload))
    held = prune_to(net, stake, workload, 0.4 * expected_macs(net, workload), spared={space: spared})
    assert (free.owners[space][:6] & spared[:6] != spared[:6]).any()
    assert (held.owners[space][:6] & spared[:6] == spared[:6]).all()
    assert (held.owners[space][:6] != net.owners[space][:6]).any()
