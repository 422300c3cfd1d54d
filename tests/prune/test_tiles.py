"""Groups in whole tiles, without breaking a promise of the moves."""

from dataclasses import replace

import numpy as np
import pytest

from pamc.graph import MultitaskGraph, compact, expected_macs, tighten, uniform_workload, verify_multitask
from pamc.graph.owners import DTYPE, groups
from pamc.prune import METHODS, Budget
from pamc.prune.moves import Rules, prune_to
from pamc.prune.options import MoveOptions
from pamc.prune.tiles import round_to_tiles
from tests.prune.nets import pruning, separate, shared

WORKLOAD = uniform_workload(3)


def stakes(net: MultitaskGraph, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {space: rng.random((len(net.tasks) + 1, net.spaces.sizes[space])) for space in net.prunable}


def pruned(net: MultitaskGraph, fraction: float, **rules: object) -> MultitaskGraph:
    wanted = fraction * expected_macs(net, WORKLOAD)
    return prune_to(net, stakes(net), WORKLOAD, wanted, Rules(**rules))  # type: ignore[arg-type]


def sizes(net: MultitaskGraph) -> dict[tuple[str, int], int]:
    small = compact(net)
    return {
        (space, mask): len(units) for space in small.prunable for mask, units in groups(small.owners[space]).items()
    }


@pytest.mark.parametrize(
    ("name", "tile", "fraction"), [("lenet", 4, 0.35), ("small_resnet", 2, 0.6), ("small_mobilenet", 4, 0.6)]
)
def test_groups_end_in_whole_tiles_inside_the_cost(name: str, tile: int, fraction: float) -> None:
    net = shared(separate(name))
    plain, tiled = pruned(net, fraction, floor=2), pruned(net, fraction, floor=2, tile=tile)
    small = verify_multitask(compact(tiled), "tiles")
    wanted = max(fraction * expected_macs(net, WORKLOAD), expected_macs(compact(plain), WORKLOAD))
    assert expected_macs(small, WORKLOAD) <= wanted
    for space in net.prunable:
        for task in range(3):
            before, after = ((kept.owners[space] >> DTYPE(task) & DTYPE(1)).sum() for kept in (tighten(plain), tiled))
            assert after >= min(2, before)
    before, after = sizes(plain), sizes(tiled)

    def whole(found: dict[tuple[str, int], int]) -> float:
        return float(np.mean([count % tile == 0 for count in found.values() if count > tile]))

    # Floors and starving readers keep a few uneven.
    assert whole(after) >= max(0.85, whole(before))


def rounded(left: int, *, fits: bool = True, floor: int = 2, tile: int = 4) -> tuple[int, list[int]]:
    """Units that a group of 48 ends with, when moves left so many of it, and which of those they took came back."""
    net = separate()
    space = net.prunable[2]
    units = np.flatnonzero(net.owners[space] == 1)
    owners = net.owners[space].copy()
    owners[units[: len(units) - left]] = 0
    stake = {name: np.arange(1.0, 1 + net.spaces.sizes[name]) for name in net.prunable}
    small = round_to_tiles(net, net.with_owners({space: owners}), stake, tile, floor, lambda candidate: fits)
    kept = np.flatnonzero(small.owners[space] == 1)
    return len(kept), [int(unit) for unit in kept if owners[unit] == 0]


def test_a_group_goes_to_the_nearer_multiple() -> None:
    assert len(np.flatnonzero(separate().owners[separate().prunable[2]] == 1)) == 48
    assert rounded(41) == (40, [])
    assert rounded(43) == (44, [4])
    assert rounded(42) == (44, [4, 5])


def test_a_group_goes_to_the_other_multiple_where_the_nearer_one_is_barred() -> None:
    assert rounded(43, fits=False) == (40, [])
    assert rounded(41, floor=41) == (44, [4, 5, 6])
    assert rounded(41, floor=41, fits=False) == (41, [])


def test_a_group_of_less_than_a_tile_never_vanishes() -> None:
    assert rounded(3, fits=False) == (3, [])
    assert rounded(1, floor=1) == (4, [44, 45, 46])
    assert rounded(5, tile=64) == (5, [])


def test_a_small_group_is_kept_though_its_tasks_have_other_units() -> None:
    net = shared(separate())
    space = net.prunable[2]
    owners = net.owners[space].copy()
    owners[np.flatnonzero(owners == 3)[3:]] = 0
    stake = {name: np.ones(net.spaces.sizes[name]) for name in net.prunable}
    small = round_to_tiles(net, net.with_owners({space: owners}), stake, 4, 1, lambda candidate: False)
    assert (small.owners[space] == 3).sum() == 3


def test_a_group_shrinks_by_its_least_important_units() -> None:
    net = separate()
    space = net.prunable[2]
    stake = {name: np.random.default_rng(0).random(net.spaces.sizes[name]) for name in net.prunable}
    units = np.flatnonzero(net.owners[space] == 1)
    small = round_to_tiles(net, net, stake, 46, 1, lambda candidate: True)
    gone = np.flatnonzero(small.owners[space][units] == 0)
    assert sorted(gone) == sorted(np.argsort(stake[space][units])[:2])


def test_a_released_unit_comes_back_to_all_its_owners() -> None:
    net = shared(separate())
    space = net.prunable[2]
    owners = net.owners[space].copy()
    group = np.flatnonzero(owners == 7)
    owners[group[0]] = 1
    stake = {name: np.ones(net.spaces.sizes[name]) for name in net.prunable}
    alone = int((owners == 1).sum())
    tile = len(group)
    small = round_to_tiles(net, net.with_owners({space: owners}), stake, tile, 1, lambda candidate: True)
    assert small.owners[space][group[0]] == 7
    assert (small.owners[space] == 1).sum() in (alone - 1, (alone - 1) // tile * tile)


def test_the_target_decides_when_it_is_asked_to() -> None:
    net = separate()
    given = replace(pruning(net, Budget(1.0, {})), channel_tile=8)
    assert MoveOptions(tile="target").rules(net, given).tile == 8
    assert MoveOptions(tile=4).rules(net, given).tile == 4
    assert MoveOptions().rules(net, given).tile == 1
    for wrong in (0, "targets"):
        with pytest.raises(ValueError, match="tile is none, target, or a number"):
            MoveOptions(tile=wrong)


def test_a_pruner_rounds_to_the_targets_tiles() -> None:
    net = shared(separate())
    given = replace(pruning(net, Budget(0.5 * expected_macs(net, WORKLOAD), {})), channel_tile=4)
    options = METHODS.parse_options("magnitude", {"tile": "target", "recover": 1, "warmup": 0, "epochs": 0})
    found = METHODS.get("magnitude").function(net, given, options)
    assert expected_macs(found, WORKLOAD) <= 0.5 * expected_macs(net, WORKLOAD)
    counts = [count for count in sizes(found).values() if count > 4]
    assert np.mean([count % 4 == 0 for count in counts]) > 0.85
