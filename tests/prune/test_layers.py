"""The layer of the dearest units, pruned while the others are whole, and made common to all tasks."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from pamc.graph import MultitaskGraph, cost, expected_macs, restrict, uniform_workload, verify_multitask
from pamc.graph.owners import serving
from pamc.prune import METHODS, Budget, Pruning
from pamc.prune.iterative import LAYER_FIRST, prune_after_layer, prune_layer
from pamc.prune.layers import common_layer, dearest_layer, layer_by_itself, one_unit_each
from pamc.prune.methods.taylor import taylor_step
from pamc.prune.moves import Rules, prune_to
from pamc.prune.options import prune_step
from pamc.prune.search import Schedule, Step
from pamc.prune.state import Cut, State
from pamc.train import Recipe
from tests.prune.nets import assert_only_others_shrank, assert_same_answers, pruning, separate, shared

QUICK = Schedule(step=0.1, recover=1, warmup=0, epochs=0, halvings=0, detours=0, restarts=1)


def stakes(net: MultitaskGraph, precious: str = "") -> Mapping[str, np.ndarray]:
    """Every unit matters as much as the others, those of a precious layer far more."""
    shape = {space: (len(net.tasks) + 1, net.spaces.sizes[space]) for space in net.prunable}
    return {space: np.full(size, 1e6 if space == precious else 1.0) for space, size in shape.items()}


def layer_first(
    net: MultitaskGraph, layer: str, given: Pruning, schedule: Schedule, step: Step, finished: int = 0
) -> MultitaskGraph:
    lean = prune_layer(net, given, schedule, step, layer, finished)
    return prune_after_layer(lean, given, schedule, step, finished)


@pytest.mark.parametrize("name", ["lenet", "small_resnet", "small_mobilenet"])
def test_the_dearest_layer_is_the_one_where_a_unit_saves_most(name: str) -> None:
    net, workload = separate(name), uniform_workload(3)

    def saved(space: str) -> float:
        owners = net.owners[space].copy()
        owners[0] = 0
        return expected_macs(net, workload) - expected_macs(net.with_owners({space: owners}), workload)

    assert dearest_layer(net, workload) == max(net.prunable, key=saved)


@pytest.mark.parametrize("name", ["lenet", "small_resnet", "small_mobilenet"])
def test_a_common_layer_changes_no_answer(name: str) -> None:
    net = separate(name)
    layer = net.prunable[0]
    common = verify_multitask(common_layer(net, layer, net.everyone), "common")
    assert (common.owners[layer] == net.everyone).all()
    # In a residual network a layer reads itself, by way of others.
    others = [space for space in net.prunable if (common.owners[space] != net.everyone).any()]
    assert others and all((common.owners[space] == net.owners[space]).all() for space in others)
    assert_same_answers(net, common, net.tasks)


@pytest.mark.parametrize("name", ["lenet", "small_resnet", "small_mobilenet"])
def test_a_layer_in_common_to_some_leaves_the_others_as_they_are(name: str) -> None:
    net = separate(name)
    layer = net.prunable[0]
    some = net.task_set(["a", "c"])
    common = verify_multitask(common_layer(net, layer, some), "common")
    assert set(common.owners[layer].tolist()) == {some, net.task_set(["b"])}
    assert_same_answers(net, common, net.tasks)
    assert cost(common, net.task_set(["b"])) == cost(net, net.task_set(["b"]))


def test_one_unit_is_left_for_every_task() -> None:
    net = shared(separate())
    for layer in net.prunable:
        left = one_unit_each(net, layer).owners[layer]
        assert serving(left, len(net.tasks)).sum(axis=1).tolist() == [1] * len(net.tasks)
        assert not (left & ~net.owners[layer]).any()


def test_a_layer_by_itself_keeps_its_units_and_one_of_each_other_layer() -> None:
    net = shared(separate())
    for layer in net.prunable:
        left = layer_by_itself(net, layer)
        np.testing.assert_array_equal(left.owners[layer], net.owners[layer])
        for space in set(net.prunable) - {layer}:
            assert serving(left.owners[space], len(net.tasks)).sum(axis=1).tolist() == [1] * len(net.tasks)


def test_a_cut_of_whole_units_releases_nobody() -> None:
    net = shared(separate())
    problem = pruning(net, Budget(None, dict.fromkeys(net.tasks, 1.0)))
    options = METHODS.parse_options("taylor", {})
    macs = 0.6 * problem.macs(net)
    # Each task loses less by a unit than all of them do together.
    dear = {space: stake * np.array([[1.0], [1.0], [1.0], [10.0]]) for space, stake in stakes(net).items()}

    def released(whole: bool) -> bool:
        small = prune_step(net, dear, problem, options, Cut(macs, whole=whole))
        return any(((small.owners[s] != net.owners[s]) & (small.owners[s] != 0)).any() for s in net.prunable)

    assert released(False) and not released(True)


def layers_cut(steps: list[tuple[MultitaskGraph, MultitaskGraph]]) -> list[set[str]]:
    return [{s for s in was.prunable if not np.array_equal(was.owners[s], now.owners[s])} for was, now in steps]


def test_one_layer_is_pruned_within_a_part_of_the_budgets_then_all_else() -> None:
    net = restrict(separate(), ["a"])
    layer = dearest_layer(net, {1: 1.0})
    whole = expected_macs(net, {1: 1.0})
    steps: list[tuple[MultitaskGraph, MultitaskGraph]] = []
    wholes: list[bool] = []

    def drops(candidate: MultitaskGraph) -> Mapping[str, float]:
        return {"a": 1.0 - expected_macs(candidate, {1: 1.0}) / whole}

    def step(state: State, recipe: Recipe, cut: Cut) -> tuple[State, MultitaskGraph]:
        pruned = prune_to(
            state.net, stakes(state.net, layer), {1: 1.0}, cut.macs, Rules(not cut.whole), spared=cut.spared
        )
        steps.append((state.net, pruned))
        wholes.append(cut.whole)
        return state, pruned

    given = pruning(net, Budget(None, {"a": 0.7}), workload={1: 1.0}, drops=drops)
    small = layer_first(net, layer, given, replace(QUICK, step=0.05), step)
    cut = layers_cut(steps)
    only = next(place for place, layers in enumerate(cut) if layers - {layer})
    assert only > 1 and all(layers <= {layer} for layers in cut[:only])
    assert wholes[0] and not wholes[only] and wholes == sorted(wholes, reverse=True)
    # The layer went down to a unit, or to the end of its part of the budget.
    turned = drops(steps[only][0])["a"]
    assert turned <= LAYER_FIRST * 0.7
    assert expected_macs(small, {1: 1.0}) == pytest.approx(0.3 * whole, rel=0.1)


def test_a_layer_of_one_unit_is_left_as_it_is() -> None:
    net = restrict(separate(), ["a"])
    layer = dearest_layer(net, {1: 1.0})
    net = one_unit_each(net, layer)
    given = pruning(net, Budget(None, {"a": 101.0}), workload={1: 1.0})
    options = METHODS.parse_options("taylor", {"recover": 1, "epochs": 0})
    small = layer_first(net, layer, given, options, taylor_step(given, options))
    assert small.spaces.sizes[layer] == 1
    assert expected_macs(small, {1: 1.0}) < 0.5 * expected_macs(net, {1: 1.0})


@pytest.mark.parametrize("finished", [1, 6])
def test_finished_tasks_keep_their_answers_and_their_whole_budgets(finished: int) -> None:
    net = shared(separate())

    def drops(candidate: MultitaskGraph) -> Mapping[str, float]:
        # Finished tasks are at the end of their budgets, as they are once they were pruned.
        return {task: 100.0 if finished >> bit & 1 else 0.0 for bit, task in enumerate(net.tasks)}

    given = pruning(net, Budget(None, dict.fromkeys(net.tasks, 100.0)), drops=drops)
    options = METHODS.parse_options("taylor", {"recover": 2, "epochs": 1})
    layer = dearest_layer(net, given.workload)
    small = layer_first(net, layer, given, options, taylor_step(given, options), finished)
    assert_only_others_shrank(net, small, finished)
