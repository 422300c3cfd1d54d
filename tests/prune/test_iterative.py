"""Searches that start again: which of them run first, which are kept, and which give up."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from pamc.errors import GoalMissedError
from pamc.graph import MultitaskGraph, expected_macs, restrict
from pamc.prune import Budget
from pamc.prune.iterative import prune_iteratively
from pamc.prune.moves import prune_to
from pamc.prune.search import SEEDS
from pamc.prune.state import Cut, State
from pamc.train import Recipe
from tests.prune.nets import pruning, separate
from tests.prune.test_search import QUICK, Memory, drop_units, problem


def test_the_cheapest_of_several_searches_is_kept() -> None:
    net = separate()
    threshold = 0.5 * expected_macs(net, {7: 1.0})
    seeds: set[int] = set()

    def lucky(state: State, recipe: Recipe, cut: Cut) -> tuple[State, MultitaskGraph]:
        # Only the search that prunes a layer first finds anything to take.
        seeds.add(recipe.seed // SEEDS)
        return drop_units(state, recipe, cut) if recipe.seed // SEEDS == 1 else (state, state.net)

    given = problem(threshold, net, checkpoints=Memory())
    once, thrice = (prune_iteratively(net, given, replace(QUICK, restarts=count), lucky) for count in (1, 3))
    assert expected_macs(once, {7: 1.0}) == 2 * threshold
    assert expected_macs(thrice, {7: 1.0}) < 1.1 * threshold
    assert seeds == {0, 1, 2}


def searches(memory: Memory) -> list[int]:
    """The searches that healed a merge, by restart, in their order."""
    return [int(name.split("-")[1]) for name in memory.puts if name.startswith("warm-")]


@pytest.mark.parametrize("heals", [1, 0])
def test_a_search_that_heals_nothing_loses_nothing(heals: int) -> None:
    net = separate()
    memory = Memory()
    healing = problem(0.5 * expected_macs(net, {7: 1.0}), net, checkpoints=memory)

    def drops(candidate: MultitaskGraph) -> Mapping[str, float]:
        # The merge broke the budget, and only what one of the searches does heals it.
        healed = candidate is not net and searches(memory)[-1] == heals
        return healing.drops(candidate) if healed else dict.fromkeys(net.tasks, 3.0)

    schedule = replace(QUICK, warmup=1, restarts=2)
    found = prune_iteratively(net, replace(healing, drops=drops), schedule, drop_units)
    assert searches(memory) == [1, 0]
    assert expected_macs(found, {7: 1.0}) < 0.6 * expected_macs(net, {7: 1.0})


def test_a_merge_that_no_search_heals_is_given_up_after_one_of_all_layers() -> None:
    net = separate()
    memory = Memory()
    given = replace(problem(0.0, net, checkpoints=memory), drops=lambda net: dict.fromkeys(net.tasks, 3.0))
    with pytest.raises(GoalMissedError):
        prune_iteratively(net, given, replace(QUICK, warmup=1, restarts=4), drop_units)
    assert searches(memory) == [1, 0]


@pytest.mark.parametrize("tasks", [["a"], ["a", "b", "c"]])
@pytest.mark.parametrize("least, tried", [(0.6, False), (0.0, True)])
def test_a_later_search_fine_tunes_only_what_costs_less_than_what_is_found(
    tasks: list[str], least: float, tried: bool
) -> None:
    net = restrict(separate(), tasks)
    whole = expected_macs(net, {net.everyone: 1.0})
    memory = Memory()
    later: list[str] = []
    descents: list[float] = []

    def macs(net: MultitaskGraph) -> float:
        return expected_macs(net, {net.everyone: 1.0}) / whole

    def step(state: State, recipe: Recipe, cut: Cut) -> tuple[State, MultitaskGraph]:
        plain = recipe.seed // SEEDS == 0
        # Layer first cannot go below 0.4, and all layers at once not below the least.
        wanted = max(cut.macs, (least if plain else 0.4) * whole)
        stakes = {s: np.ones((len(tasks) + 1, net.spaces.sizes[s])) for s in net.prunable}
        if plain:
            later.extend([] if later else memory.held)
            descents.extend([macs(state.net)] if macs(state.net) == 1.0 else [])
        return state, prune_to(state.net, stakes, {net.everyone: 1.0}, wanted, spared=cut.spared)

    def drops(candidate: MultitaskGraph) -> Mapping[str, float]:
        return dict.fromkeys(tasks, 1 - macs(candidate))

    given = pruning(
        net,
        Budget(None, dict.fromkeys(tasks, 0.8)),
        workload={net.everyone: 1.0},
        drops=drops,
        checkpoints=memory,
    )
    found = macs(prune_iteratively(net, given, replace(QUICK, restarts=2), step))
    assert found == pytest.approx(0.2 if tried else 0.4, abs=0.05)
    tuned = [macs(held.net) for name, held in memory.held.items() if name.startswith("tuned-") and name not in later]
    if len(tasks) > 1:
        # One of several tasks may end a descent, and the others go on after it.
        assert tuned
    else:
        assert bool(tuned) is tried and max(tuned, default=0) < 0.4
        assert len(descents) == 1


@pytest.mark.parametrize("restarts, first", [(1, False), (2, True), (4, True)])
def test_of_several_searches_the_first_prunes_a_layer_first(restarts: int, first: bool) -> None:
    net = restrict(separate(), ["a"])
    given = pruning(net, Budget(None, {"a": 101.0}), workload={1: 1.0})
    wholes: dict[int, bool] = {}

    def step(state: State, recipe: Recipe, cut: Cut) -> tuple[State, MultitaskGraph]:
        wholes.setdefault(recipe.seed // SEEDS, cut.whole)
        return state, state.net

    prune_iteratively(net, given, replace(QUICK, restarts=restarts), step)
    assert list(wholes.values()) == [first] + [False] * (restarts - 1)
