from dataclasses import replace

import numpy as np
import pytest

from pamc.graph import all_task_sets, verify
from pamc.graph.interpret import evaluate
from pamc.graph.ops import Add, Concat, Conv, Flatten
from pamc.lower import Numerics, load_target, lower
from pamc.lower.numerics import KINDS
from pamc.lower.split import choose_splits, split
from tests.lower.costing import KERNELS, costs
from tests.lower.nets import Sketch, batch, random_net, three_task_net

COPIES = costs(replace(KERNELS, tile=1, tiles=1), copy=4.0, mac1=1.0, linear=1.0)
CALLS = costs(replace(KERNELS, tile=1, tiles=1), layer=1.0, copy=1e-3, mac1=1.0)


def on(prices):
    return replace(load_target("x86_64"), costs=prices)


def convs_of_concats(graph):
    return [n for n in graph.nodes if isinstance(n.op, Conv) and isinstance(graph.by_name[n.inputs[0]].op, Concat)]


@pytest.mark.parametrize("seed", range(8))
def test_sums_compute_what_concatenations_did(seed):
    net = random_net(seed)
    x = batch(net, 2)
    plans = lower(net, list(all_task_sets(len(net.tasks))), on(None))
    for plan in plans.values():
        graph, outputs = plan.graph, set(plan.graph.outputs.values())
        every = {node.inputs[0] for node in convs_of_concats(graph)} - outputs
        every = {name for name in every if all(isinstance(n.op, Conv) for n in graph.consumers[name])}
        made = split(graph, frozenset(every))
        verify(made.graph, "splitting")
        assert {node.name for node in graph.nodes} - {node.name for node in made.graph.nodes} == every
        wanted = evaluate(graph, x)
        for task, found in evaluate(made.graph, x).items():
            np.testing.assert_allclose(found, wanted[task], rtol=1e-4, atol=1e-5)


def test_dear_copies_are_avoided_and_dear_calls_are_not_made():
    net = three_task_net()
    for prices, joined in ((COPIES, False), (CALLS, True)):
        plan = lower(net, [7], on(prices))[7]
        assert bool(convs_of_concats(plan.graph)) == joined


def test_the_price_of_an_addition_decides():
    net = three_task_net()
    graph = lower(net, [7], on(None))[7].graph
    kernels = replace(KERNELS, tile=1, tiles=1)
    assert choose_splits(graph, costs(kernels, copy=1.0, add=0.01))
    assert not choose_splits(graph, costs(kernels, copy=1.0, add=100.0))
    # A runtime that does not add in place pays the price of other operations.
    assert not choose_splits(graph, costs(replace(kernels, adds_in_place=False), copy=1.0, elementwise=100.0))


def test_what_a_linear_layer_reads_is_joined():
    net = three_task_net()
    for plan in lower(net, [1, 7], on(COPIES)).values():
        assert any(isinstance(node.op, Concat) for node in plan.graph.nodes)


def test_weights_of_parts_are_the_same_in_all_task_sets():
    net, seen = three_task_net(), {}
    plans = lower(net, list(all_task_sets(3)), on(COPIES))
    for plan in plans.values():
        for key, array in plan.graph.params.items():
            np.testing.assert_array_equal(array, seen.setdefault(key, array))
    assert sum(array.size for array in seen.values()) == plans[7].params
    assert all(plan.computed_macs == plan.macs for plan in plans.values())


def test_new_values_know_where_they_come_from():
    plan = lower(three_task_net(), [7], on(COPIES))[7]
    new = [node.name for node in plan.graph.nodes if isinstance(node.op, Add)]
    assert new
    for name in new:
        assert plan.sources[name] == "conv1"
        for part in plan.graph.by_name[name].inputs:
            assert (plan.sources[part], plan.owners[part]) == ("conv1", plan.owners[name])


@pytest.mark.parametrize("kind", KINDS)
def test_int8_sums_nothing_since_partial_sums_have_no_range(kind):
    net = three_task_net()
    numerics = Numerics(kind, {node.name: (-1.0, 1.0) for node in net.graph.nodes} if kind == "int8" else {})
    plan = lower(net, [7], on(COPIES), numerics)[7]
    assert any(isinstance(node.op, Add) for node in plan.graph.nodes) == (kind != "int8")
    if kind == "int8":
        assert set(plan.ranges) == {node.name for node in plan.graph.nodes}


def test_a_residual_addition_behind_a_sum_is_paid_for():
    sketch = Sketch((2, 8, 8))
    first = sketch.act(sketch.conv("x", 6))
    inner = sketch.conv(first, 6)
    end = sketch.act(sketch.plain("add", Add(), inner, first))
    heads = {task: sketch.linear(sketch.plain("flat", Flatten(), end), 2) for task in ("a", "b")}
    graph = lower(sketch.finish(heads, {"conv0": [3, 3, 1, 1, 2, 2]}), [3], on(None))[3].graph
    kernels = replace(KERNELS, tile=1, tiles=1)
    assert choose_splits(graph, costs(kernels, copy=1.0, elementwise=0.1))
    assert not choose_splits(graph, costs(kernels, copy=1.0, elementwise=10.0))
