from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pamc.graph import all_task_sets, compact, fold_batch_norm, select, verify
from pamc.graph.cost import graph_macs
from pamc.graph.interpret import evaluate
from pamc.graph.ops import Concat
from pamc.lower import fold, load_target, lower
from tests.lower.costing import KERNELS, costs
from tests.lower.nets import batch, random_net, three_task_net, two_task_net

X86 = load_target("x86_64")
CALLS = costs(layer=1.0, op=1.0)
LINKS = costs(replace(KERNELS, tile=1), mac1=1.0, mac2=2.0, linear=1.0)


def on(prices):
    return replace(X86, costs=prices)


def requests_of(net):
    return list(all_task_sets(len(net.tasks)))


@given(seed=st.integers(0, 10_000), draw=st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_any_folding_computes_the_same_and_names_tell_contents(seed, draw):
    net = random_net(seed)
    net = compact(replace(net, graph=fold_batch_norm(net.graph)))
    x = batch(net, 2)
    whole = evaluate(net.graph, x)
    foldings = {r: {space: draw.randint(0, net.everyone) for space in net.prunable} for r in requests_of(net)}
    seen = dict(select(net, [net.everyone])[net.everyone].graph.params)
    for request, selection in select(net, requests_of(net), foldings).items():
        graph = verify(selection.graph, "folding")
        for key, array in graph.params.items():
            np.testing.assert_array_equal(array, seen.setdefault(key, array))
        for task, found in evaluate(graph, x).items():
            np.testing.assert_allclose(found, whole[task], rtol=1e-4, atol=1e-5)
        assert set(selection.owners) == set(selection.sources) == {node.name for node in graph.nodes}
        assert all(mask & request for mask in selection.owners.values())
        assert set(selection.sources.values()) <= {node.name for node in net.graph.nodes}


@pytest.mark.parametrize("prices", [CALLS, LINKS, X86.costs], ids=["calls", "links", "measured"])
@pytest.mark.parametrize("seed", [3, 8, 14])
def test_plans_are_exact_under_any_costs(seed, prices):
    net = random_net(seed)
    x = batch(net, 2)
    whole = evaluate(net.graph, x)
    for plan in lower(net, requests_of(net), on(prices)).values():
        for task, found in evaluate(plan.graph, x).items():
            np.testing.assert_allclose(found, whole[task], rtol=1e-4, atol=1e-5)
        names = {node.name for node in plan.graph.nodes}
        assert set(plan.owners) == set(plan.sources) == set(plan.seconds) == names


def test_dear_calls_fold_every_layer_into_one_operation():
    net = two_task_net()
    for plan in lower(net, [1, 2, 3], on(CALLS)).values():
        assert not any(isinstance(node.op, Concat) for node in plan.graph.nodes)
        assert sum(node.op.kind == "conv" for node in plan.graph.nodes) == 2
        assert plan.folds
        assert plan.computed_macs > plan.macs


def test_dear_links_fold_nothing():
    net = three_task_net()
    plain = lower(net, requests_of(net), replace(X86, costs=None))
    for request, plan in lower(net, requests_of(net), on(LINKS)).items():
        assert plan.graph.nodes == plain[request].graph.nodes
        assert plan.folds == ()
        assert (plan.computed_macs, plan.computed_params) == (plan.macs, plan.params)


def test_the_choice_turns_with_the_price_of_a_call():
    net, found = three_task_net(), []
    for layer in (1e-9, 1e-6, 1e-3):
        prices = costs(layer=layer, mac1=1e-10, mac2=2e-10, linear=1e-10)
        found.append(sum(node.op.kind == "conv" for node in lower(net, [7], on(prices))[7].graph.nodes))
    assert found[0] > found[-1]
    assert found == sorted(found, reverse=True)


def test_macs_and_params_are_those_that_are_needed():
    net = two_task_net()
    plain = lower(net, [1, 3], replace(X86, costs=None))
    for request, plan in lower(net, [1, 3], on(CALLS)).items():
        assert (plan.macs, plan.params) == (plain[request].macs, plain[request].params)
        assert plan.computed_macs == graph_macs(plan.graph)


def unique_bytes(plans):
    return sum({name: array.nbytes for plan in plans.values() for name, array in plan.graph.params.items()}.values())


def test_folds_stay_within_the_allowance():
    net = three_task_net()
    plain = unique_bytes(lower(net, requests_of(net), replace(X86, costs=None)))
    free = unique_bytes(lower(net, requests_of(net), on(CALLS)))
    assert free > 1.05 * plain, "the allowance would not matter"
    assert unique_bytes(lower(net, requests_of(net), on(CALLS), fold_bytes=0)) <= (1 + fold.ALLOWANCE) * plain
    between = (plain + free) // 2
    assert 1.05 * plain < unique_bytes(lower(net, requests_of(net), on(CALLS), fold_bytes=between)) <= between


def test_frequent_task_sets_fold_first():
    net = three_task_net()
    fold_bytes = unique_bytes(lower(net, requests_of(net), replace(X86, costs=None))) + 12_000
    chosen = {}
    for often in (1, 4):
        workload = {request: 0.9 if request == often else 0.1 / 6 for request in requests_of(net)}
        chosen[often] = {
            r: len(plan.folds)
            for r, plan in lower(net, requests_of(net), on(CALLS), workload=workload, fold_bytes=fold_bytes).items()
        }
    assert chosen[1][1] > chosen[1][4]
    assert chosen[4][4] > chosen[4][1]


def test_small_savings_are_left(monkeypatch):
    net = two_task_net()
    assert lower(net, [3], on(CALLS))[3].folds
    monkeypatch.setattr(fold, "WORTH", 1.0)
    assert not lower(net, [3], on(CALLS))[3].folds


def test_the_same_input_gives_the_same_plans():
    first, second = (lower(random_net(6), [1], X86)[1] for _ in range(2))
    assert first.graph.nodes == second.graph.nodes
    assert list(first.graph.params) == list(second.graph.params)
