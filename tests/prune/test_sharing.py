"""Stacking pruned networks and sharing their units: what is computed, what it costs, what is refused."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch

from pamc.errors import ConfigError
from pamc.graph import MultitaskGraph, compact, cost, expected_macs, restrict, stack, uniform_workload, verify_multitask
from pamc.graph.interpret import evaluate, parts, read_values
from pamc.graph.ops import Flatten
from pamc.graph.owners import DTYPE, all_task_sets
from pamc.merge import METHODS as MERGE_METHODS
from pamc.merge import Calibration
from pamc.prune import METHODS, Budget
from pamc.prune.assembly import Block, cheapest_blocks, macs_of_sets
from pamc.prune.layers import dearest_layer, one_unit_each
from pamc.prune.methods.share import _after_merge, _best_tried, _common, _shared, _starts, _trimmed
from pamc.prune.moves import prune_to
from pamc.prune.sharing import _pairs, responses, share_to
from pamc.train import Recipe
from tests.lower.nets import Sketch
from tests.prune.nets import assert_same_answers, pruning, samples, separate
from tests.prune.test_search import Memory

WORKLOAD = uniform_workload(3)


def alone(net: MultitaskGraph, fraction: float = 0.5) -> dict[str, MultitaskGraph]:
    """Every network by itself, with random units removed."""
    found = {}
    for seed, task in enumerate(net.tasks):
        one = restrict(net, [task])
        rng = np.random.default_rng(seed)
        stake = {space: rng.random((2, one.spaces.sizes[space])) for space in one.prunable}
        found[task] = compact(prune_to(one, stake, {1: 1.0}, fraction * cost(one, 1).macs))
    return found


def first_units(net: MultitaskGraph, layer: str, count: int) -> MultitaskGraph:
    """The network of one task with only the first units of a layer."""
    return compact(net.with_owners({layer: np.where(np.arange(net.spaces.sizes[layer]) < count, 1, 0).astype(DTYPE)}))


def stakes(net: MultitaskGraph) -> dict[str, np.ndarray]:
    return {space: np.ones((len(net.tasks) + 1, net.spaces.sizes[space])) for space in net.prunable}


@pytest.mark.parametrize("name", ["lenet", "small_resnet", "mobilefacenet", "small_mobilenet", "densenet", "se_resnet"])
def test_a_stack_computes_and_costs_what_its_networks_do(name: str) -> None:
    net = separate(name)
    parts = alone(net)
    stacked = stack(net, parts.values())
    for bit, (task, part) in enumerate(parts.items()):
        assert_same_answers(part, stacked, [task])
        assert cost(stacked, 1 << bit) == cost(part, 1)


@pytest.mark.parametrize("name", ["lenet", "small_resnet", "mobilefacenet", "small_mobilenet", "se_resnet", "densenet"])
def test_sharing_raises_the_cost_of_no_task_set(name: str) -> None:
    net = stack(separate(name), alone(separate(name)).values())
    x = samples(net, 32).x
    wanted = 0.8 * expected_macs(net, WORKLOAD)
    shared = verify_multitask(next(share_to(net, x, stakes(net), WORKLOAD, wanted, similarity=0.0)), "sharing")
    small = verify_multitask(compact(shared), "compaction")
    assert expected_macs(small, WORKLOAD) < 0.97 * expected_macs(net, WORKLOAD)
    for request in all_task_sets(3):
        assert cost(small, request).macs <= cost(net, request).macs


@pytest.mark.parametrize("name", ["lenet", "small_resnet"])
def test_equal_networks_become_one_without_a_change(name: str) -> None:
    """Two copies of a network have equal units everywhere: sharing them all is free and exact."""
    one = separate(name, 2)
    twins = {
        task: replace(
            restrict(one, ["a"]),
            tasks=(task,),
            graph=replace(restrict(one, ["a"]).graph, outputs={task: restrict(one, ["a"]).graph.outputs["a"]}),
        )
        for task in ("a", "b")
    }
    from pamc.capture import align

    net = align({task: twin.graph for task, twin in twins.items()})
    x = samples(net, 32).x
    before = evaluate(net.graph, x, dtype=torch.float64)
    shared = net
    for _ in range(8):
        shared = compact(next(share_to(shared, x, stakes(shared), {3: 1.0}, 0.0, similarity=0.999)))
    after = evaluate(shared.graph, x, dtype=torch.float64)
    for task in net.tasks:
        torch.testing.assert_close(after[task], before[task], rtol=1e-4, atol=1e-4)
    # Units that never fire on the samples cannot be paired.
    assert cost(shared, 3).macs < 0.75 * cost(net, 3).macs


def test_the_unit_that_stays_stands_in_for_the_other() -> None:
    net = stack(separate(), alone(separate()).values())
    space, x = net.prunable[0], samples(net, 32).x
    places = next(read_values(net, x))[space]
    first, second = (np.concatenate([place[:, unit].numpy().ravel() for place in places]) for unit in (0, 1))
    seen = responses(net, x)[space]
    best, offset = np.polyfit(first.astype(np.float64), second.astype(np.float64), 1)
    assert seen.slope(0, 1) == pytest.approx(best)
    assert seen.mean[1] - best * seen.mean[0] == pytest.approx(offset, abs=1e-6)
    assert seen.correlation[0, 1] == pytest.approx(np.corrcoef(first, second)[0, 1], abs=1e-6)


def test_responses_do_not_depend_on_how_many_samples_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = separate(), samples(separate(), 32).x
    whole = responses(net, x)
    monkeypatch.setattr("pamc.graph.interpret.MOST_VALUES", 5 * sum(map(math.prod, net.graph.shapes.values())))
    assert [len(part) for part in parts(net.graph, x)] == [5, 5, 5, 5, 5, 5, 2]
    for space, seen in responses(net, x).items():
        np.testing.assert_allclose(seen.mean, whole[space].mean, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(seen.correlation, whole[space].correlation, atol=1e-3)


def test_units_that_answer_against_each_other_are_not_alike() -> None:
    net = stack(separate(), alone(separate()).values())
    seen = responses(net, samples(net, 32).x)
    found = list(_pairs(net, seen, stakes(net), WORKLOAD, 0.0))
    assert found and all(pair.alike >= 0 for pair in found)
    assert len({(pair.space, frozenset((pair.kept, pair.gone))) for pair in found}) == len(found)


def test_units_that_are_not_alike_stay_apart() -> None:
    net = stack(separate(), alone(separate()).values())
    (shared,) = share_to(net, samples(net, 32).x, stakes(net), WORKLOAD, 0.0, similarity=1.0)
    assert all((shared.owners[space] == net.owners[space]).all() for space in net.prunable)


QUICK = {"recover": 2, "epochs": 1}


def merged(net: MultitaskGraph, method: str) -> MultitaskGraph:
    seen = Calibration(samples(net, 64).x, dict.fromkeys(net.tasks, "class"))
    return MERGE_METHODS.get(method).function(net, seen, MERGE_METHODS.parse_options(method, {}))


def run(net: MultitaskGraph, budget: Budget, **options: object) -> MultitaskGraph:
    entry = METHODS.get("share")
    parts = alone(net)
    given = replace(
        pruning(net, budget), alone=lambda parts_of: [parts] * len(parts_of), merged=lambda method: merged(net, method)
    )
    given_options = {**QUICK, "share_recover": 2, "merges": [], **options}
    return entry.function(net, given, METHODS.parse_options("share", given_options))


def test_share_never_costs_more_than_the_networks_pruned_alone() -> None:
    net = separate()
    budget = Budget(None, dict.fromkeys(net.tasks, 101.0))
    shared = verify_multitask(run(net, budget, similarity=0.0), "share")
    parts = alone(net)
    for request in all_task_sets(3):
        separately = sum(cost(parts[task], 1).macs for bit, task in enumerate(net.tasks) if request >> bit & 1)
        assert cost(shared, request).macs <= separately
    assert cost(shared, 7).macs < sum(cost(part, 1).macs for part in parts.values())


def test_where_no_units_are_alike_the_rest_of_the_budget_is_pruned_away() -> None:
    net = separate()
    small = run(net, Budget(None, dict.fromkeys(net.tasks, 101.0)), similarity=1.0, race=False)
    assert all(mask in (1, 2, 4) for space in small.prunable for mask in map(int, small.owners[space]))
    assert cost(small, 7).macs < 0.9 * sum(cost(part, 1).macs for part in alone(net).values())


@pytest.mark.parametrize("merges", [["concat"], ["separate", "concat"], ["pam"]])
def test_merged_networks_count_in_the_race_where_they_are_cheaper(merges: list[str]) -> None:
    """Without a limit each task ends with its least units: its own in networks apart, the same ones in one network."""
    net = separate()
    budget = Budget(None, dict.fromkeys(net.tasks, 101.0))
    apart = run(net, budget, similarity=1.0)
    both = verify_multitask(run(net, budget, similarity=1.0, merges=merges), "share")
    assert expected_macs(both, WORKLOAD) < expected_macs(apart, WORKLOAD)
    assert any(mask.bit_count() > 1 for space in both.prunable for mask in map(int, both.owners[space]))
    unraced, unmerged = (run(net, budget, similarity=1.0, merges=given, race=False) for given in (merges, []))
    assert expected_macs(unraced, WORKLOAD) == expected_macs(unmerged, WORKLOAD)


@pytest.mark.parametrize("method", ["concat", "pam"])
def test_share_never_costs_more_than_prune_after_a_merge_of_its_race(method: str) -> None:
    net = separate()
    budget = Budget(None, dict.fromkeys(net.tasks, 101.0))
    entry = METHODS.get("taylor")
    given = pruning(net, budget)
    rival = entry.function(merged(net, method), given, METHODS.parse_options("taylor", QUICK))
    shared = run(net, budget, similarity=1.0, merges=[method])
    assert expected_macs(shared, WORKLOAD) == expected_macs(rival, WORKLOAD)


def test_a_merged_network_that_keeps_no_budget_leaves_the_race() -> None:
    net = separate()
    shared = run(net, Budget(None, dict.fromkeys(net.tasks, -1.0)), merges=["concat", "pam"])
    assert cost(shared, 7).macs == sum(cost(part, 1).macs for part in alone(net).values())


def test_a_merge_method_that_does_not_exist_is_named() -> None:
    with pytest.raises(
        ConfigError, match=r"options of pruner 'share': there is no merge method 'pma', did you mean 'pam'\?"
    ):
        METHODS.parse_options("share", {"merges": ["pma"]})


def test_a_budget_that_no_sharing_keeps_leaves_the_networks_alone() -> None:
    net = separate()
    shared = run(net, Budget(None, dict.fromkeys(net.tasks, -1.0)))
    assert cost(shared, 7).macs == sum(cost(part, 1).macs for part in alone(net).values())


def test_sharing_ends_where_a_candidate_on_the_way_breaks_the_budget() -> None:
    net = separate()
    start = stack(net, alone(net).values())
    memory = Memory()

    def drops(candidate: MultitaskGraph) -> dict[str, float]:
        # Over the budget, though by less than what ends a descent by itself.
        return dict.fromkeys(net.tasks, 0.0 if cost(candidate, 7).macs == cost(start, 7).macs else 2.0)

    given = pruning(net, Budget(None, dict.fromkeys(net.tasks, 1.0)), drops=drops, checkpoints=memory)
    found = _shared(start, given, METHODS.parse_options("share", {**QUICK, "share_recover": 2, "trials": 1}))
    assert cost(found, 7) == cost(start, 7)
    way = "".join(name[0] for name in memory.puts if not name.startswith("trained-"))
    assert way.startswith("ppt")


def test_tasks_are_taken_from_the_start_where_they_are_cheaper() -> None:
    net = separate()
    parts = {part: alone(net, part) for part in (0.5, 0.6)}
    asked = []

    def start(fractions: Sequence[float]) -> Sequence[Mapping[str, MultitaskGraph]]:
        asked.extend(fractions)
        return [parts[0.6 if fraction == 0.5 else 0.5] for fraction in fractions]

    given = replace(pruning(net, Budget(None, dict.fromkeys(net.tasks, -1.0))), alone=start)
    entry, quick = METHODS.get("share"), {"recover": 2, "share_recover": 2, "epochs": 1}
    cheap = sum(cost(one, 1).macs for one in parts[0.5].values())
    # Nothing can be shared within these budgets, so the results are what they started from.
    bearing = {**quick, "alone_cost": 9.0}
    assert cost(entry.function(net, given, METHODS.parse_options("share", bearing)), 7).macs == cheap
    assert set(asked) == {0.5, 1.0}
    parts[0.6]["b"] = alone(net, 0.3)["b"]
    mixed = cost(entry.function(net, given, METHODS.parse_options("share", {**bearing, "race": False})), 7).macs
    assert mixed == sum(min(cost(parts[part][task], 1).macs for part in parts) for task in net.tasks) < cheap
    # The search within the part of the budget may end lower: then it stands for the whole as well.
    never = METHODS.parse_options("share", {**quick, "alone_cost": 0.0, "race": False})
    assert cost(entry.function(net, given, never), 7).macs == mixed
    parts[0.6]["b"] = alone(net, 0.6)["b"]
    asked.clear()
    alone_whole = METHODS.parse_options("share", {**quick, "alone": 1.0})
    assert cost(entry.function(net, given, alone_whole), 7).macs == cheap
    assert set(asked) == {1.0}


@pytest.mark.parametrize(("race", "keeping"), [(True, [4, 6, 0]), (False, [4])])
def test_sharing_starts_once_from_the_same_networks(race: bool, keeping: list[int]) -> None:
    net = separate()
    whole, part = alone(net, 0.4), alone(net, 0.6)
    # The first search within a part of the budget ended lower than that within the whole; the last costs little more.
    part["a"], part["c"] = whole["a"], first_units(whole["c"], dearest_layer(whole["c"], {1: 1.0}), 9)
    options = METHODS.parse_options("share", {"alone_cost": 1.2, "race": race})
    starts = _starts(whole, part, options)
    assert list(starts) == keeping
    for mask, found in starts.items():
        wanted = [(part if mask >> bit & 1 else whole)[task] for bit, task in enumerate(net.tasks)]
        assert list(map(id, found.values())) == list(map(id, wanted))


def test_a_network_keeps_a_part_of_its_budget_only_where_that_costs_little() -> None:
    net = separate()
    loose, tight = alone(net, 0.6), alone(net, 0.5)
    tight["b"] = alone(net, 0.2)["b"]
    given = replace(
        pruning(net, Budget(None, dict.fromkeys(net.tasks, -1.0))),
        alone=lambda fractions: [tight if fraction == 1.0 else loose for fraction in fractions],
    )
    options = METHODS.parse_options(
        "share", {"recover": 2, "share_recover": 2, "epochs": 1, "alone_cost": 1.5, "race": False}
    )
    found = METHODS.get("share").function(net, given, options)
    wanted = {"a": loose, "b": tight, "c": loose}
    assert [cost(found, 1 << bit).macs for bit in range(3)] == [cost(wanted[task][task], 1).macs for task in net.tasks]


@pytest.mark.parametrize("ceiling", [1.0, 1.5, None])
def test_the_ceiling_is_a_multiple_of_what_the_networks_cost_alone(
    ceiling: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, limits = separate(), []

    def cheapest(nets: object, workload: object, most: object) -> object:
        limits.append(most)
        return cheapest_blocks(nets, workload, most)  # type: ignore[arg-type]

    monkeypatch.setattr("pamc.prune.methods.share.cheapest_blocks", cheapest)
    run(net, Budget(None, dict.fromkeys(net.tasks, -1.0)), ceiling=ceiling)
    assert limits[0] is None
    if ceiling is not None:
        np.testing.assert_allclose(limits[1], ceiling * macs_of_sets(stack(net, alone(net).values())))


def test_a_task_that_costs_more_than_it_may_is_pruned_on_by_itself() -> None:
    net = stack(separate(), alone(separate()).values())
    net = compact(next(share_to(net, samples(net, 32).x, stakes(net), WORKLOAD, 0.9 * expected_macs(net, WORKLOAD))))
    most = macs_of_sets(net)
    most[2] *= 0.8
    options = METHODS.parse_options("share", {**QUICK, "share_recover": 2})
    given = pruning(net, Budget(None, dict.fromkeys(net.tasks, 101.0)))
    (small,) = _trimmed(net, given, options, most)
    assert cost(small, 2).macs <= most[2]
    assert_same_answers(net, small, ["a", "c"])
    assert not list(_trimmed(net, given, options, macs_of_sets(net)))


def test_a_layer_in_common_pruned_first_counts_in_the_race_where_it_is_cheaper(monkeypatch: pytest.MonkeyPatch) -> None:
    net = separate()
    layer = dearest_layer(net, WORKLOAD)
    found: dict[bool, Sequence[MultitaskGraph]] = {}

    def cheapest(nets: Sequence[MultitaskGraph], *rest: Any) -> Sequence[Block]:
        found.setdefault(race, nets)
        return cheapest_blocks(nets, *rest)

    monkeypatch.setattr("pamc.prune.methods.share.cheapest_blocks", cheapest)
    budget = Budget(None, dict.fromkeys(net.tasks, 101.0))
    for race in (True, False):
        small = verify_multitask(run(net, budget, similarity=1.0, race=race, ceiling=None), "share")
        assert (small.owners[layer] == net.everyone).any() == race
    # Nothing is lost, so the layer goes down to one unit, which everyone has.
    assert len(found[True]) > len(found[False])
    assert found[True][-1].owners[layer].tolist() == [net.everyone]


@pytest.mark.parametrize("units", [1, 5])
def test_a_layer_in_common_that_costs_more_than_one_for_each_task_is_not_gone_on_with(units: int) -> None:
    net = separate()
    layer = dearest_layer(net, WORKLOAD)
    pruned = stack(net, [one_unit_each(restrict(net, [task]), layer) for task in net.tasks])
    seen: list[MultitaskGraph] = []

    def drops(candidate: MultitaskGraph) -> dict[str, float]:
        seen.append(candidate)
        return dict.fromkeys(net.tasks, 0.0 if candidate.spaces.sizes[layer] >= units else 1e3)

    given = pruning(net, Budget(None, dict.fromkeys(net.tasks, 1.0)), drops=drops)
    options = METHODS.parse_options("share", {**QUICK, "share_recover": 2})
    found = list(_common(net, given, options, pruned))
    # Alone, sets of one, two and three tasks need as many units of the layer, and in common all sets need all.
    assert bool(found) is (units == 1)
    other = [space for space in net.prunable if space != layer]
    shrunk = any(candidate.spaces.sizes[space] < net.spaces.sizes[space] for candidate in seen for space in other)
    assert shrunk is (units == 1)


@pytest.mark.parametrize("units, leaves", [(1, True), (5, False)])
def test_who_needs_more_of_a_layer_leaves_it_where_that_is_cheaper(units: int, leaves: bool) -> None:
    net = separate()
    layer, c = dearest_layer(net, WORKLOAD), net.task_set(["c"])
    whole = {task: first_units(restrict(net, [task]), layer, units) for task in net.tasks}

    def drops(candidate: MultitaskGraph) -> dict[str, float]:
        owners = candidate.owners[layer]
        # With others it needs three units.
        enough = (owners == c).any() or np.count_nonzero(owners & c) >= 3
        return {"a": 0.0, "b": 0.0, "c": 0.0 if enough else 1e3}

    given = pruning(net, Budget(None, dict.fromkeys(net.tasks, 1.0)), drops=drops)
    found = next(
        _common(net, given, METHODS.parse_options("share", {**QUICK, "share_recover": 2}), stack(net, whole.values()))
    )
    owners = verify_multitask(found, "common").owners[layer]
    if leaves:
        assert sorted(owners) == [net.everyone ^ c, c]
        assert_same_answers(whole["c"], found, ["c"])
    else:
        # Others may be released from some of them later on.
        assert np.count_nonzero(owners & c) == 3 and (owners == net.everyone).any()


def test_networks_of_several_tasks_are_searched_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    net, seen = separate(), []
    monkeypatch.setattr("pamc.prune.methods.share.taylor", lambda net, _, options: seen.append(options.restarts) or net)
    given = pruning(net, Budget(None, dict.fromkeys(net.tasks, 1.0)))
    for restarts in (1, 4):
        list(_after_merge(net, given, METHODS.parse_options("share", {"restarts": restarts}), "concat"))
    assert seen == [1, 2]


def test_choices_leave_out_the_best_moves_one_after_another() -> None:
    net = stack(separate(), alone(separate()).values())
    x, whole = samples(net, 32).x, expected_macs(net, WORKLOAD)
    found = share_to(net, x, stakes(net), WORKLOAD, 0.999 * whole, similarity=0.0)
    first, second, third = (
        {(s, i) for s in n.prunable for i in np.flatnonzero(n.owners[s] != net.owners[s])} for n in islice(found, 3)
    )
    # One pair is enough for so small a saving.
    assert len(first) == len(second) == len(third) == 2
    assert first != second != third != first
    spared = {space: np.zeros_like(net.owners[space]) for space in net.prunable}
    for space, unit in first:
        spared[space][unit] = net.owners[space][unit]
    without = next(share_to(net, x, stakes(net), WORKLOAD, 0.999 * whole, similarity=0.0, spared=spared))
    assert all(without.owners[space][unit] == net.owners[space][unit] for space, unit in first)


@pytest.mark.parametrize(("strains", "taken"), [([4.0, 3.0, 2.1], 0), ([4.0, 3.0, 1.9], 2), ([4.0, 1.0, 1.9], 1)])
def test_another_choice_is_taken_only_where_it_is_clearly_better(
    strains: list[float], taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = separate()
    choices = [net.with_owners(dict(net.owners)) for _ in strains]
    left = iter(strains)
    monkeypatch.setattr("pamc.prune.methods.share.fit", lambda found, *_, **__: found)
    # One task uses up the root of the strain of its budget; a gain of another makes up for nothing.
    given = pruning(net, Budget(None, {"a": 2.0, "b": 1.0}), drops=lambda _: {"a": 2 * next(left) ** 0.5, "b": -9.0})
    assert _best_tried(choices, given, Recipe(1)) is choices[taken]


def test_share_says_what_it_needs() -> None:
    net = separate()
    with pytest.raises(ConfigError, match="accuracy budget"):
        run(net, Budget(1e5, {}))
    everyone = {space: np.full_like(net.owners[space], 7) for space in net.prunable}
    with pytest.raises(ConfigError, match="share nothing"):
        run(net.with_owners(everyone), Budget(None, dict.fromkeys(net.tasks, 90.0)))


def test_a_space_read_as_a_map_and_flattened_is_seen_whole_at_both_places() -> None:
    sketch = Sketch((1, 6, 6))
    features = sketch.conv("x", 3)
    flat = sketch.plain("flat", Flatten(), features)
    late = sketch.plain("late", Flatten(), sketch.conv(features, 2))
    net = sketch.finish({"a": sketch.linear(flat, 2), "b": sketch.linear(late, 2)}, {features: [1, 2, 3]})
    x = np.random.default_rng(0).normal(size=(5, 1, 6, 6)).astype(np.float32)
    seen = responses(net, x)[features]
    positions = int(np.prod(net.graph.shapes[features][1:]))
    (there, flattened), *_ = [values[features] for values in read_values(net, x)]
    assert there.shape == flattened.shape == (5, 3, positions)
    np.testing.assert_array_equal(there.numpy(), flattened.numpy())
    once = there.transpose(0, 1).flatten(1).to(torch.float64).numpy()
    np.testing.assert_allclose(seen.products, 2 * len(once[0]) * np.cov(once, bias=True), rtol=1e-6)
