"""Owners in action: gradients, task sets, compaction, selection."""

import numpy as np
import pytest
import torch
from torch import Tensor

from pamc.graph import (
    MultitaskGraph,
    all_task_sets,
    compact,
    cost,
    costs,
    expected_macs,
    name_of,
    select,
    tighten,
    uniform_workload,
    verify_multitask,
)
from pamc.graph.cost import graph_macs, graph_params
from pamc.graph.interpret import evaluate, run, tensors
from pamc.graph.ir import Node
from pamc.graph.ops import OUT
from pamc.graph.owners import groups, may_read, runs
from tests.zoo.captured import aligned, images, random_owners, relative_error

SMALL = ("small_resnet", "se_resnet", "mobilefacenet", "small_mobilenet", "squeezenet", "densenet", "lenet")


def gated(net: MultitaskGraph) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Outputs with a gate of one on every unit of every space, and the gates."""
    held = tensors(net.graph, torch.float64)
    gates = {
        space: torch.ones(size, dtype=torch.float64, requires_grad=True) for space, size in net.spaces.sizes.items()
    }

    def params(node: Node, role: str) -> Tensor:
        value = held[node.params[role]]
        if node.op.param_axes[role][0] != OUT or role in ("mean", "var"):
            return value
        along = [gates[seg.space].repeat_interleave(seg.block) for seg in net.spaces.layouts[node.name]]
        return value * torch.cat(along).reshape(-1, *(1,) * (value.dim() - 1))

    values = run(net.graph, images(net.graph), params)
    return {task: values[value] for task, value in net.graph.outputs.items()}, gates


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("seed", [0, 1])
def test_no_gradient_from_a_unit_to_a_task_that_does_not_own_it(name: str, seed: int) -> None:
    net = random_owners(aligned(name, 3), seed, dead=True)
    outputs, gates = gated(net)
    reached = 0
    for bit, task in enumerate(net.tasks):
        weights = torch.randn(outputs[task].shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        found = torch.autograd.grad(
            (outputs[task] * weights).sum(), list(gates.values()), retain_graph=True, allow_unused=True
        )
        for (space, _), gradient in zip(gates.items(), found, strict=True):
            if gradient is None:
                continue
            foreign = (net.owners[space] >> bit & 1) == 0
            assert not gradient[torch.from_numpy(foreign)].any(), f"{space} reaches {task}"
            reached += int((gradient != 0).sum())
    assert reached > 20


@pytest.mark.parametrize("name", SMALL)
def test_flat_graphs_are_exact(name: str) -> None:
    net = random_owners(aligned(name, 3), 5, dead=True)
    x = images(net.graph)
    dense = evaluate(net.graph, x, dtype=torch.float64)
    requests = list(all_task_sets(3))
    flat = select(net, requests)
    assert list(flat) == requests
    everything = evaluate(flat[net.everyone].graph, x.float())
    for request, selection in flat.items():
        tasks = name_of(request, net.tasks).split("+")
        exact = evaluate(selection.graph, x, dtype=torch.float64)
        assert list(exact) == tasks
        assert all(relative_error(exact[task], dense[task]) < 1e-12 for task in tasks)
        # In float32 a subset is not merely close to the full run: it is the same numbers.
        some = evaluate(selection.graph, x.float())
        assert all(torch.equal(some[task], everything[task]) for task in tasks)
        assert graph_macs(selection.graph) == cost(net, request).macs
        assert graph_params(selection.graph) == cost(net, request).params
        for key, block in selection.blocks.items():
            assert np.array_equal(net.graph.params[block.key][block.index], selection.graph.params[key])
            assert np.array_equal(selection.graph.params[key], flat[net.everyone].graph.params[key])
        assert all(owners & request for owners in selection.owners.values())


@pytest.mark.parametrize("name", SMALL)
def test_compact_equals_masked(name: str) -> None:
    net = random_owners(aligned(name, 2), 3, dead=True)
    small = verify_multitask(compact(net), "compaction")
    assert sum(small.spaces.sizes.values()) < sum(net.spaces.sizes.values())
    assert all(vector.all() for vector in small.owners.values())
    x = images(net.graph)
    masked, compacted = (evaluate(item.graph, x, dtype=torch.float64) for item in (net, small))
    assert all(relative_error(compacted[task], masked[task]) < 1e-12 for task in net.tasks)
    for request in all_task_sets(2):
        assert cost(small, request).macs <= cost(net, request).macs


def test_tighten_drops_what_nobody_reads_for() -> None:
    net = aligned("lenet", 2)
    owners = {space: np.full(net.spaces.sizes[space], 3, dtype=np.uint32) for space in net.prunable}
    owners["fc2"] = np.where(np.arange(60) < 10, 1, 0).astype(np.uint32)
    tight = tighten(net.with_owners(owners))
    assert set(tight.owners["fc2"][:10]) == {1} and set(tight.owners["fc2"][10:]) == {0}
    assert set(tight.owners["conv1"]) == {1}


def test_costs_by_hand() -> None:
    net = aligned("lenet", 2)
    net = net.with_owners({"conv1": np.array([1] * 5 + [2] * 5 + [3] * 2, dtype=np.uint32)})
    # conv1 reads the image: 28*28*25 per unit. conv2's 12 units of each task read 5 + 2 of the 12 channels.
    rest = 12 * 25 * 48 + 48 * 30
    one = 7 * 28 * 28 * 25 + 12 * 7 * 25 * 100 + rest
    assert cost(net, 1).macs == one + 30 * 3
    assert cost(net, 2).macs == one + 30 * 4
    both = 12 * 28 * 28 * 25 + 2 * 12 * 7 * 25 * 100 + 2 * rest + 30 * 7
    assert cost(net, 3).macs == both
    assert expected_macs(net, uniform_workload(2)) == pytest.approx((2 * one + 210 + both) / 3)
    assert set(costs(net)) == {1, 2, 3}
    assert cost(net, 1).bytes == 4 * cost(net, 1).params


def test_sharing_everything_makes_every_trunk_full_price() -> None:
    net = aligned("small_resnet", 2)
    shared = net.with_owners({space: np.full(net.spaces.sizes[space], 3, dtype=np.uint32) for space in net.prunable})
    dense = graph_macs(net.graph)
    # A head reads the whole trunk for its own 3 or 4 units; the dense graph does nothing else.
    assert cost(shared, 3).macs == dense
    assert cost(shared, 1).macs == dense - 4 * 16


def test_rules() -> None:
    masks = np.array([0, 1, 2, 3], dtype=np.uint32)
    assert may_read(masks, masks).tolist() == [
        [False, False, False, False],
        [False, True, False, True],
        [False, False, True, True],
        [False, False, False, True],
    ]
    assert runs(masks, 2).tolist() == [False, False, True, True]
    assert {mask: units.tolist() for mask, units in groups(masks).items()} == {3: [3], 1: [1], 2: [2]}
    assert list(all_task_sets(3)) == [1, 2, 4, 3, 5, 6, 7]
    assert name_of(5, ("x", "y", "z")) == "x+z" and name_of(0, ("x",)) == "-"


def test_new_owners_zero_the_forbidden_links_only() -> None:
    net = aligned("lenet", 2)
    changed = net.with_owners({"conv1": np.full(12, 1, dtype=np.uint32)})
    weight, before = changed.graph.params["conv2.weight"], net.graph.params["conv2.weight"]
    assert np.array_equal(weight[:12], before[:12]) and not weight[12:].any()
    assert np.array_equal(changed.graph.params["conv1.weight"], net.graph.params["conv1.weight"])
    with pytest.raises(KeyError, match="no such parameters"):
        net.with_params({"nothing": np.zeros(1)})
