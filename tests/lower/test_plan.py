from dataclasses import replace

import numpy as np
import pytest

from pamc.errors import InternalError
from pamc.graph import all_task_sets, compact, cost, fold_batch_norm
from pamc.graph.interpret import evaluate
from pamc.graph.ops import BatchNorm, Flatten
from pamc.lower import describe, lower
from tests.lower.nets import Sketch, batch, random_net, two_task_net
from tests.targets import ARM64


def plans_of(net):
    return lower(net, list(all_task_sets(len(net.tasks))), ARM64)


@pytest.mark.parametrize("seed", range(12))
def test_every_plan_computes_what_the_multitask_network_computes(seed):
    net = random_net(seed)
    x = batch(net, 3)
    whole = evaluate(net.graph, x)
    for plan in plans_of(net).values():
        for task, found in evaluate(plan.graph, x).items():
            np.testing.assert_allclose(found, whole[task], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(12))
def test_a_plan_costs_what_the_cost_model_says(seed):
    net = random_net(seed)
    folded = compact(replace(net, graph=fold_batch_norm(net.graph)))
    for request, plan in plans_of(net).items():
        assert (plan.macs, plan.params) == (cost(folded, request).macs, cost(folded, request).params)


def test_parameters_of_one_name_are_the_same_in_every_plan():
    plans = plans_of(random_net(5))
    whole = plans[max(plans)].graph.params
    for plan in plans.values():
        assert set(plan.graph.params) <= set(whole)
        for name, array in plan.graph.params.items():
            np.testing.assert_array_equal(array, whole[name])


def test_batch_norms_are_gone_and_every_value_has_owners():
    net = next(net for net in map(random_net, range(20)) if any(isinstance(n.op, BatchNorm) for n in net.graph.nodes))
    for request, plan in plans_of(net).items():
        assert not any(isinstance(node.op, BatchNorm) for node in plan.graph.nodes)
        assert set(plan.owners) == {node.name for node in plan.graph.nodes}
        assert all(mask & request for mask in plan.owners.values())


def test_plans_come_in_the_order_of_the_requests_with_their_names():
    assert [plan.task_set for plan in lower(two_task_net(), [3, 1, 2], ARM64).values()] == ["age+smile", "age", "smile"]


@pytest.mark.parametrize("request_mask", [0, 4, -1])
def test_a_task_set_that_does_not_exist_is_refused(request_mask):
    with pytest.raises(InternalError, match="do not exist in a network of 2 tasks"):
        lower(two_task_net(), [request_mask], ARM64)


def test_a_very_deep_network_does_not_exhaust_the_stack():
    sketch = Sketch((1, 4, 4))
    for _ in range(400):
        sketch.conv(sketch.last, 2, kernel=1)
    flat = sketch.plain("flat", Flatten(), sketch.last)
    net = sketch.finish({"a": sketch.linear(flat, 2)}, {})
    assert len(lower(net, [1], ARM64)[1].graph.nodes) == 403


def test_the_text_shows_layer_group_shape_and_macs():
    text = describe(lower(two_task_net(), [1], ARM64)[1])
    assert text.splitlines()[:5] == [
        "task set age on arm64",
        "layer/group      operation  shape     MACs  params",
        "x                input      1x12x12      0       0",
        "conv0/age+smile  conv       2x12x12  2,592      20",
        "conv0/age        conv       2x12x12  2,592      20",
    ]
    assert text.splitlines()[-3:] == [
        "fc1/age          linear     4           24      28",
        "total                                9,258     348",
        "output age = fc1/age",
    ]
