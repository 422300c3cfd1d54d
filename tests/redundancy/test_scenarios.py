"""Redundancy that was put into networks is found, at its place, and what the estimate promises is what it costs."""

import numpy as np
import pytest

from pamc.capture import align, capture
from pamc.graph import MultitaskGraph, costs, select, verify_multitask
from pamc.graph.cost import graph_macs
from pamc.merge import METHODS, Calibration
from pamc.redundancy import Redundancy, to_json
from pamc.redundancy.remedy import Changes, feasible, remedied
from tests.builds.sample import nets
from tests.redundancy.nets import found_in, samples, two_of_the_same
from tests.zoo.captured import aligned

A, B, BOTH = 1, 2, 3


def concat(net: MultitaskGraph) -> MultitaskGraph:
    return METHODS.get("concat").function(net, Calibration(samples(net).x, {}), None)


def applied(net: MultitaskGraph, found: Redundancy) -> MultitaskGraph:
    """The network after the feasible findings, by what a reader of the file knows."""
    changes = Changes(
        {
            (layer.space, part.unit): net.task_set([] if part.needed_by == "-" else part.needed_by.split("+"))
            for layer in found.layers
            for part in layer.partly_needed
            if part.feasible
        },
        {(layer.space, pair.unit): pair.twin for layer in found.layers for pair in layer.duplicates if pair.feasible},
    )
    return verify_multitask(remedied(net, changes), "applying the findings")


def macs_of_flat_graphs(net: MultitaskGraph) -> dict[int, int]:
    return {request: graph_macs(flat.graph) for request, flat in select(net, [A, B, BOTH]).items()}


@pytest.mark.parametrize("name", ["lenet", "small_resnet"])
def test_nothing_is_found_in_different_networks_side_by_side(name: str) -> None:
    found = found_in(aligned(name, 2))
    assert not any(layer.duplicates or layer.partly_needed for layer in found.layers)
    assert all(gain.now == gain.then for gain in found.gains.values())


@pytest.mark.parametrize("name", ["lenet", "small_resnet", "small_mobilenet"])
def test_units_shared_without_need_are_named_with_the_task_that_needs_them(name: str) -> None:
    """Scenario 1: unrelated networks, all units of both owned by both tasks."""
    alone = aligned(name, 2)
    net = concat(alone)
    found = found_in(net)
    for layer in found.layers:
        owners = alone.owners[layer.space]
        assert [part.unit for part in layer.partly_needed] == list(range(len(owners))), layer.space
        for part in layer.partly_needed:
            origin = alone.tasks[owners[part.unit] - 1]
            assert part.owners == "a+b"
            assert part.needed_by in (origin, "-")
            assert [part.influence[task] for task in "ab" if task != origin] == [0]
            assert part.feasible
        assert {part.needed_by for part in layer.partly_needed} >= {"a", "b"}
    after = macs_of_flat_graphs(applied(net, found))
    assert after == {net.task_set(text.split("+")): gain.then for text, gain in found.gains.items()}
    # Side by side again, but for the units that nobody needs.
    assert all(after[request] <= costs(alone)[request].macs for request in after)


def test_layers_that_only_some_tasks_have() -> None:
    """Heads of two layers for b and c, of one for a: nothing there matters to a."""
    heads = {"a": nets.conv_net, "b": nets.deep, "c": nets.deep}
    net = align({task: capture(task, head(3), (1, 8, 8)) for task, head in heads.items()})
    shared = concat(net)
    found = found_in(shared)
    (deep,) = set(net.prunable) - {"conv1", "conv2", "hidden"}
    for layer in found.layers:
        assert len(layer.partly_needed) == net.spaces.sizes[layer.space]
        assert {part.owners for part in layer.partly_needed} == {"b+c" if layer.space == deep else "a+b+c"}
        assert {part.needed_by for part in layer.partly_needed} <= set("bc-" if layer.space == deep else "abc-")
    for text, gain in found.gains.items():
        assert gain.then <= costs(net)[net.task_set(text.split("+"))].macs < gain.now


def test_a_single_shared_unit_that_one_task_does_not_need_is_named() -> None:
    net = aligned("lenet", 2)
    unit = 3
    owners = net.owners["conv1"].copy()
    assert owners[unit] == A
    owners[unit] = BOTH
    found = found_in(net.with_owners({"conv1": owners}))
    named = [(layer.space, part.unit, part.needed_by) for layer in found.layers for part in layer.partly_needed]
    assert named == [("conv1", unit, "a")]
    assert not any(layer.duplicates for layer in found.layers)
    assert found.gains["b"].then == costs(net)[B].macs < found.gains["b"].now


@pytest.mark.parametrize("name", ["lenet", "small_resnet"])
def test_units_held_twice_are_paired(name: str) -> None:
    """Scenario 2: the same network for both tasks."""
    net = two_of_the_same(name)
    found = found_in(net)
    for layer in found.layers:
        half = net.spaces.sizes[layer.space] // 2
        seen = {(pair.unit, pair.twin) for pair in layer.duplicates}
        # Units that never change on the samples are like nothing.
        assert seen <= {(unit, unit + half) for unit in range(half)}
        assert len(seen) >= half / 2
        assert all(pair.correlation == 1 and pair.feasible for pair in layer.duplicates)
        assert {(pair.owners, pair.twin_owners) for pair in layer.duplicates} == {("a", "b")}
        assert not layer.partly_needed
    after = macs_of_flat_graphs(applied(net, found))
    assert after == {net.task_set(text.split("+")): gain.then for text, gain in found.gains.items()}
    assert after[A] <= found.gains["a"].now
    assert after[BOTH] < 0.8 * found.gains["a+b"].now


def test_a_copied_unit_is_paired_with_its_copy_alone() -> None:
    net = aligned("lenet", 2)
    node = net.graph.by_name["conv1"]
    params = {key: net.graph.params[key].copy() for key in node.params.values()}
    (one, twin) = 2, 9
    assert (net.owners["conv1"][one], net.owners["conv1"][twin]) == (A, B)
    for array in params.values():
        array[twin] = -0.5 * array[one] if array is params[node.params["bias"]] else array[one]
    found = found_in(net.with_params(params))
    pairs = {layer.space: [(pair.unit, pair.twin) for pair in layer.duplicates] for layer in found.layers}
    assert pairs == {"conv1": [(one, twin)], "conv2": [], "fc1": [], "fc2": []}
    saved = {text: gain.now - gain.then for text, gain in found.gains.items()}
    # Five by five taps on one channel at 28 x 28 positions: one unit less when both run.
    assert saved == {"a": 0, "b": 0, "a+b": 25 * 28 * 28}


def test_what_would_leave_a_unit_without_input_is_not_counted() -> None:
    net = aligned("lenet", 2)
    pair = Changes(unite={("fc2", 0): len(net.owners["fc2"]) // 2})
    assert feasible(net, pair) == Changes()
    # With one shared unit in each layer before, there is something to read.
    width = {space: len(net.owners[space]) // 2 for space in net.prunable}
    chain = Changes(unite={(space, 0): half for space, half in width.items()})
    assert feasible(net, chain) == chain

    net = concat(net)
    units = range(net.spaces.sizes["conv2"])
    releases = Changes({("conv2", unit): A for unit in reversed(units)})
    # fc1 still serves both tasks, and keeps the unit that comes last.
    assert feasible(net, releases) == Changes({("conv2", unit): A for unit in reversed(units) if unit})


def test_the_same_seed_gives_the_same_bytes() -> None:
    net = concat(aligned("small_mobilenet", 2))
    assert to_json(found_in(net)) == to_json(found_in(net))


def test_groups_of_several_tasks_and_their_knowledge_of_the_others() -> None:
    net = aligned("lenet", 3)
    owners = net.owners["fc2"].copy()
    owners[:2] = 3
    found = found_in(net.with_owners({"fc1": np.full(net.spaces.sizes["fc1"], 7), "fc2": owners}))
    groups = {layer.space: {group.owners: group for group in layer.groups} for layer in found.layers}
    assert {text: group.units for text, group in groups["fc2"].items()} == {
        "a+b": 2,
        "a": net.spaces.sizes["fc2"] // 3 - 2,
        "b": net.spaces.sizes["fc2"] // 3,
        "c": net.spaces.sizes["fc2"] // 3,
    }
    assert [known.task for known in groups["fc2"]["a+b"].knows] == ["c"]
    assert [known.task for known in groups["conv1"]["b"].knows] == ["a", "c"]
    assert groups["fc1"]["a+b+c"].knows == ()


def test_a_group_that_knows_another_task_stands_out() -> None:
    """The same task twice: each group knows the other's labels; another network's know less."""

    def excess(net: MultitaskGraph) -> float:
        layer = found_in(net, 256).layers[-1]
        (known,) = next(group for group in layer.groups if group.owners == "b").knows
        assert known.task == "a"
        return (known.nats - known.shuffled) / known.spread

    assert excess(two_of_the_same("lenet")) > 2 * max(3, excess(aligned("lenet", 2)))
