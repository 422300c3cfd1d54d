"""What every pruner promises: running some tasks computes nothing that only others need."""

import numpy as np
import pytest

from pamc.graph import MultitaskGraph, compact, expected_macs, select, uniform_workload, verify_multitask
from pamc.graph.ops import DepthwiseConv
from pamc.graph.owners import DTYPE, all_task_sets
from pamc.prune import METHODS, Budget
from pamc.prune.options import prune_step
from pamc.prune.state import Cut
from tests.prune.nets import pruning, separate
from tests.zoo.captured import random_owners

QUICK = {"recover": 2, "warmup": 0, "epochs": 0, "step": 0.25}
NORMED = ("small_resnet", "small_mobilenet")
CASES = [(name, method) for name in ("lenet", *NORMED) for method in ("taylor", "magnitude", "vib")] + [
    (name, "slimming") for name in NORMED
]


def pruned(net: MultitaskGraph, method: str, **options: object) -> MultitaskGraph:
    workload = uniform_workload(len(net.tasks))
    given = pruning(net, Budget(0.6 * expected_macs(net, workload), {}))
    chosen = METHODS.parse_options(method, QUICK | options)
    small = verify_multitask(METHODS.get(method).function(net, given, chosen), method)
    assert expected_macs(small, workload) <= 0.6 * expected_macs(net, workload)
    return small


@pytest.mark.parametrize(("name", "method"), CASES)
def test_a_task_set_runs_no_unit_that_only_others_need(name: str, method: str) -> None:
    net = compact(random_owners(separate(name), seed=5))
    small = pruned(net, method)
    masks = {int(mask) for space in small.prunable for mask in small.owners[space]}
    assert len(masks) > 3
    requests = list(all_task_sets(3))
    for request, selection in select(small, requests).items():
        assert all(mask & request for mask in selection.owners.values())
        if request.bit_count() == 1:
            assert any(not mask & request for mask in masks)


@pytest.mark.parametrize("method", ["taylor", "magnitude", "slimming", "vib"])
def test_residual_stages_and_depthwise_layers_are_pruned_as_one(method: str) -> None:
    net = compact(random_owners(separate("small_resnet"), seed=5))
    small = pruned(net, method, exponent=0.0)
    stages = [space for space in net.prunable if len(net.spaces.producers[space]) > 1]
    assert stages
    assert any(small.spaces.sizes[space] < net.spaces.sizes[space] for space in stages)
    for space in stages:
        widths = {small.graph.shapes[name][0] for name in small.spaces.producers[space]}
        assert widths == {small.spaces.sizes[space]} == {len(small.owners[space])}

    net = compact(random_owners(separate("small_mobilenet"), seed=5))
    small = pruned(net, method)
    filtered = [node for node in small.graph.nodes if isinstance(node.op, DepthwiseConv)]
    before = {node.name: net.graph.shapes[node.name][0] for node in filtered}
    assert any(small.graph.shapes[node.name][0] < before[node.name] for node in filtered)
    for node in filtered:
        assert small.spaces.space_of(node.name) == small.spaces.space_of(node.inputs[0])
        assert len(small.graph.array(node, "weight")) == small.spaces.sizes[small.spaces.space_of(node.name)]


@pytest.mark.parametrize("method", ["taylor", "vib"])
def test_exclusive_units_stay_when_only_shared_ones_are_candidates(method: str) -> None:
    net = compact(random_owners(separate("lenet"), seed=5))
    workload = uniform_workload(3)
    given = pruning(net, Budget(0.8 * expected_macs(net, workload), {}))
    chosen = METHODS.parse_options(
        method, QUICK | {"prune": "shared"} | ({"releases": False} if method != "vib" else {})
    )
    small = METHODS.get(method).function(net, given, chosen)
    for space in net.prunable:
        for task in range(3):
            alone = DTYPE(1 << task)
            # Tightening can drop owners that no reader is left for, which leaves more units to one task alone.
            assert (small.owners[space] == alone).sum() >= (net.owners[space] == alone).sum()
    assert np.sum([len(vector) for vector in small.owners.values()]) < np.sum([len(v) for v in net.owners.values()])


@pytest.mark.parametrize(("macs", "floor", "kept"), [(None, None, 1), (0.0, None, 2), (None, 3, 3), (0.0, 1, 1)])
def test_where_no_accuracy_is_asked_for_a_task_keeps_more_of_each_layer(
    macs: float | None, floor: int | None, kept: int
) -> None:
    net = separate(count=2)
    options = METHODS.parse_options("taylor", {"floor": floor, "exponent": 0.0})
    # Units without a stake go first, down to what a task may not lose.
    stakes = {space: np.zeros((3, net.spaces.sizes[space])) for space in net.prunable}
    small = compact(prune_step(net, stakes, pruning(net, Budget(macs, {})), options, Cut(0.0, {})))
    assert all(set(np.unique(small.owners[space], return_counts=True)[1]) == {kept} for space in small.prunable)
