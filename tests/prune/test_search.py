"""The search over snapshots: finds the smallest inside the budget, resumes, and says when there is none."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from pamc.errors import GoalMissedError
from pamc.graph import MultitaskGraph, cost, expected_macs, restrict
from pamc.graph.owners import DTYPE
from pamc.graph.serial import dump
from pamc.prune import METHODS, Budget, Pruning
from pamc.prune.drops import balanced
from pamc.prune.iterative import prune_iteratively
from pamc.prune.methods.taylor import taylor_around
from pamc.prune.moves import prune_to
from pamc.prune.search import Schedule
from pamc.prune.state import Cut, State
from pamc.train import Recipe
from tests.prune.nets import assert_only_others_shrank, assert_same_answers, pruning, separate, shared

QUICK = Schedule(step=0.1, recover=1, warmup=0, epochs=0, slack=5.0, restarts=1)


def drop_units(state: State, recipe: Recipe, cut: Cut) -> tuple[State, MultitaskGraph]:
    """Kill one unit of every task in the widest space until the cost is met."""
    net = state.net
    owners = {space: vector.copy() for space, vector in net.owners.items() if space in net.prunable}
    small, workload = net, {7: 1.0}
    while expected_macs(small, workload) > cut.macs:
        space = max(owners, key=lambda name: int((owners[name] > 0).sum()))
        if (owners[space] > 0).sum() <= 3:
            break
        for task in (1, 2, 4):
            owners[space][np.flatnonzero(owners[space] == task)[-1]] = DTYPE(0)
        small = net.with_owners(owners)
    return state, small


class Memory:
    def __init__(self) -> None:
        self.held: dict[str, State] = {}
        self.puts: list[str] = []
        self.hits: list[str] = []

    def get(self, name: str) -> State | None:
        self.hits += [name] if name in self.held else []
        return self.held.get(name)

    def put(self, name: str, state: State) -> None:
        self.held[name] = state
        self.puts.append(name)


def problem(threshold: float, net: MultitaskGraph, **changes: object) -> Pruning:
    """A drop of 0 while the network costs more than ``threshold``, rising linearly below."""

    def drops(candidate: MultitaskGraph) -> Mapping[str, float]:
        short = max(0.0, 1 - expected_macs(candidate, {7: 1.0}) / threshold)
        return dict.fromkeys(candidate.tasks, 20 * short)

    given = pruning(net, Budget(None, dict.fromkeys(net.tasks, 1.0)), workload={7: 1.0}, drops=drops)
    return replace(given, **changes)  # type: ignore[arg-type]


def test_the_smallest_network_inside_the_budget_is_found() -> None:
    net = separate()
    threshold = 0.5 * expected_macs(net, {7: 1.0})
    memory = Memory()
    given = problem(threshold, net, checkpoints=memory)
    found = expected_macs(prune_iteratively(net, given, QUICK, drop_units), {7: 1.0})
    costs = [expected_macs(held.net, {7: 1.0}) for name, held in memory.held.items() if name.startswith("pruned-")]
    # Drops reach the allowed 1.0 at 95 % of the threshold.
    assert found == min(cost for cost in costs if cost >= 0.95 * threshold)
    assert min(costs) < 0.95 * threshold


def tuned(memory: Memory) -> list[str]:
    return [name for name in memory.puts if name.startswith("tuned-")]


def test_an_early_descent_ends_where_a_candidate_breaks_the_budget() -> None:
    net = separate()
    whole = expected_macs(net, {7: 1.0})

    def drops(candidate: MultitaskGraph) -> dict[str, float]:
        # Over the budget, though by less than what ends a descent by itself.
        return dict.fromkeys(net.tasks, 0.0 if expected_macs(candidate, {7: 1.0}) == whole else 2.5)

    def steps(early: bool) -> tuple[int, int]:
        memory = Memory()
        given = replace(problem(1.0, net, checkpoints=memory), drops=drops)
        found = prune_iteratively(net, given, replace(QUICK, halvings=0, detours=0), drop_units, early=early)
        assert dump(found) == dump(net)
        return len([name for name in memory.puts if name.startswith("pruned-")]), len(tuned(memory))

    # Two descents, with all tasks and without the worst. Each ends with the second candidate; the first is no better.
    assert steps(early=True) == (4, 4)
    assert steps(early=False)[0] > 10


@pytest.mark.parametrize(
    ("most", "way"),
    [
        # After a step inside the budget, candidates 2, 4 and 8 steps on; the last breaks it, two more lie in between.
        (2.5, "p" + "ppt" + "ppt" + "ppppt" + "tt" + "ppt"),
        # A descent that ends by itself: only what comes after the candidates inside the budget is left to be tried.
        (10.0, "p" + "ppt" + "ppt" + "ppp" + "t" + "p"),
    ],
)
def test_the_candidates_of_an_early_descent_lie_ever_farther_apart(most: float, way: str) -> None:
    net = separate()
    whole = expected_macs(net, {7: 1.0})
    memory = Memory()
    given = problem(0.4 * whole, net, checkpoints=memory)

    def drops(candidate: MultitaskGraph) -> Mapping[str, float]:
        if memory.puts and memory.puts[-1].startswith("tuned-"):
            return given.drops(candidate)
        left = expected_macs(candidate, {7: 1.0}) / whole
        return dict.fromkeys(net.tasks, 0.0 if left > 0.85 else 2.5 if left > 0.2 else most)

    found = prune_iteratively(net, replace(given, drops=drops), replace(QUICK, detours=0), drop_units, early=True)
    assert 0.38 * whole <= expected_macs(found, {7: 1.0}) < 0.42 * whole
    assert "".join(name[0] for name in memory.puts if not name.startswith("trained-")).startswith(way)


def test_a_merge_that_warming_up_does_not_heal_is_trained_longer_before_it_is_cut() -> None:
    net = separate()
    whole = expected_macs(net, {7: 1.0})
    memory = Memory()
    given = problem(0.5 * whole, net, checkpoints=memory)

    def drops(candidate: MultitaskGraph) -> dict[str, float]:
        healed = any(name.startswith("tuned-") for name in memory.held)
        return dict(given.drops(candidate)) if healed else dict.fromkeys(candidate.tasks, 10.0)

    found = prune_iteratively(net, replace(given, drops=drops), QUICK, drop_units)
    assert expected_macs(found, {7: 1.0}) < 0.6 * whole


def test_training_that_breaks_the_budget_before_any_cut_is_cut_from_where_it_ends() -> None:
    net = separate()
    whole = expected_macs(net, {7: 1.0})
    memory = Memory()
    given = problem(0.5 * whole, net, checkpoints=memory)

    def drops(candidate: MultitaskGraph) -> dict[str, float]:
        intact = dump(candidate) == dump(net) and not any(name.startswith("trained-") for name in memory.held)
        return dict(given.drops(candidate)) if intact or "warm-0" in memory.held else dict.fromkeys(net.tasks, 10.0)

    def step(state: State, recipe: Recipe, cut: Cut) -> tuple[State, MultitaskGraph]:
        memory.put("trained-now", state)
        return drop_units(state, recipe, cut)

    found = prune_iteratively(net, replace(given, drops=drops), QUICK, step)
    assert expected_macs(found, {7: 1.0}) < 0.6 * whole


def test_a_network_that_keeps_its_budget_and_bears_no_training_stays_as_it_is() -> None:
    net = separate()
    asked: list[int] = []

    def drops(candidate: MultitaskGraph) -> dict[str, float]:
        asked.append(1)
        return dict.fromkeys(net.tasks, 0.0 if len(asked) == 1 else 10.0)

    found = prune_iteratively(net, replace(problem(1.0, net), drops=drops), QUICK, drop_units)
    assert dump(found) == dump(net)


def test_a_run_resumes_from_its_checkpoints() -> None:
    net = separate()
    memory = Memory()
    given = problem(0.5 * expected_macs(net, {7: 1.0}), net, checkpoints=memory)
    whole = dump(prune_iteratively(net, given, QUICK, drop_units))
    for name in list(memory.held)[4:]:
        del memory.held[name]
    kept = set(memory.held)
    memory.puts.clear()
    assert dump(prune_iteratively(net, given, QUICK, drop_units)) == whole
    assert memory.puts and not kept & set(memory.puts)


def test_a_budget_that_nothing_meets_is_said() -> None:
    net = separate()
    given = replace(problem(1.0, net), drops=lambda candidate: dict.fromkeys(candidate.tasks, 2.5))
    with pytest.raises(GoalMissedError, match="no network keeps") as error:
        prune_iteratively(net, given, QUICK, drop_units)
    assert "max_drop" in str(error.value)


def test_a_cost_that_cannot_be_reached_is_said() -> None:
    net = separate()
    given = pruning(net, Budget(1.0, {}), workload={7: 1.0})
    with pytest.raises(GoalMissedError, match="pruning stopped at"):
        prune_iteratively(net, given, QUICK, lambda state, recipe, cut: (state, state.net))


def test_loss_weights_follow_what_tasks_have_used_of_their_budgets() -> None:
    net = separate()
    given = pruning(net, Budget(None, {"a": 1.0, "b": 1.0, "c": 2.0}))
    weights = balanced(given, {"a": 1.0, "b": 1.0, "c": 1.0}, {"a": 1.5, "b": 0.0, "c": 3.0})
    assert weights["a"] == pytest.approx(weights["c"])
    assert weights["b"] < 1.0 < weights["a"]
    for _ in range(50):
        weights = balanced(given, weights, {"a": 1.5, "b": 0.0, "c": 3.0})
    assert max(weights.values()) <= 8.0 and min(weights.values()) >= 1 / 8


def test_a_near_miss_is_trained_on_with_the_task_that_misses_weighing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    net = separate()
    recipes: list[Recipe] = []

    def fit(current: MultitaskGraph, *rest: object, **options: object) -> MultitaskGraph:
        recipes.append(next(item for item in rest if isinstance(item, Recipe)))
        return current

    monkeypatch.setattr("pamc.prune.search.fit", fit)
    given = replace(
        problem(1.0, net), drops=lambda candidate: {"a": 1.2 if len(recipes) < 4 else 0.9, "b": 0.1, "c": 0.1}
    )
    prune_iteratively(net, given, QUICK, lambda state, recipe, cut: (state, state.net))
    healing, first, second, third = recipes
    assert third.weights["a"] > second.weights["a"] > first.weights["a"]
    assert third.weights["b"] < second.weights["b"] < first.weights["b"]
    assert len({healing.seed, first.seed, second.seed, third.seed}) == 4


def test_a_cost_budget_does_not_override_what_a_task_may_drop() -> None:
    net = separate()
    given = replace(problem(1.0, net), drops=lambda candidate: dict.fromkeys(candidate.tasks, 2.5))
    given = replace(given, budget=Budget(0.9 * expected_macs(net, {7: 1.0}), {"b": 1.0}))
    with pytest.raises(GoalMissedError, match="more than max_drop allows"):
        prune_iteratively(net, given, QUICK, drop_units)


def test_a_tighter_budget_takes_the_steps_that_a_looser_one_took() -> None:
    net = restrict(separate(), ["a"])
    memory = Memory()
    threshold = 0.5 * expected_macs(net, {1: 1.0})

    def drops(candidate: MultitaskGraph) -> Mapping[str, float]:
        return {"a": 20 * max(0.0, 1 - expected_macs(candidate, {1: 1.0}) / threshold)}

    def step(state: State, recipe: Recipe, cut: Cut) -> tuple[State, MultitaskGraph]:
        current = state.net
        stake = {space: np.arange(2.0 * len(net.owners[space])).reshape(2, -1) for space in net.prunable}
        stake = {space: stake[space][:, : current.spaces.sizes[space]] for space in current.prunable}
        return state, prune_to(current, stake, {1: 1.0}, cut.macs)

    given = replace(pruning(net, Budget(None, {"a": 8.0}), workload={1: 1.0}, drops=drops), checkpoints=memory)
    first = replace(QUICK, halvings=0, detours=0)
    loose = prune_iteratively(net, given, first, step)
    taken = set(memory.held)
    memory.puts.clear()
    memory.hits.clear()
    tight = prune_iteratively(net, replace(given, budget=Budget(None, {"a": 0.8}, 0.1)), first, step)
    assert expected_macs(tight, {1: 1.0}) > expected_macs(loose, {1: 1.0})
    assert len([name for name in memory.hits if name.startswith("trained")]) > 4
    assert not taken & set(memory.puts)


def test_steps_that_hardly_save_anything_are_the_last() -> None:
    net = separate()
    taken = []

    def step(state: State, recipe: Recipe, cut: Cut) -> tuple[State, MultitaskGraph]:
        taken.append(cut.macs)
        if len(taken) < 3:
            return drop_units(state, recipe, cut)
        # One small unit, far less than what was asked for.
        space = state.net.prunable[-1]
        owners = state.net.owners[space].copy()
        owners[-1] = 0
        return state, state.net.with_owners({space: owners})

    given = problem(1.0, net, checkpoints=(memory := Memory()))
    found = prune_iteratively(net, given, replace(QUICK, halvings=0, detours=0), step)
    assert len(taken) == 3
    costs = [expected_macs(held.net, {7: 1.0}) for name, held in memory.held.items() if name.startswith("pruned-")]
    assert expected_macs(found, {7: 1.0}) == min(costs)
    assert len(set(costs)) == 3


def test_a_budget_of_macs_has_its_own_workload() -> None:
    net = separate()
    everyone = {7: 1.0}
    budget = Budget(0.6 * expected_macs(net, everyone), {}, workload=everyone)
    given = pruning(net, budget, workload={1: 0.9, 7: 0.1})
    seen = []

    def step(state: State, recipe: Recipe, cut: Cut) -> tuple[State, MultitaskGraph]:
        seen.append(cut.macs)
        return drop_units(state, recipe, cut)

    small = prune_iteratively(net, given, QUICK, step)
    assert 0.5 * expected_macs(net, everyone) < expected_macs(small, everyone) <= 0.6 * expected_macs(net, everyone)
    assert seen[0] == pytest.approx(0.9 * expected_macs(net, everyone))
    assert seen[-1] >= 0.6 * expected_macs(net, everyone) * (1 - 1e-9)


@pytest.mark.parametrize("early", [False, True])
def test_from_the_smallest_network_found_the_descent_goes_on(early: bool) -> None:
    net = separate()
    whole = expected_macs(net, {7: 1.0})
    memory = Memory()
    given = problem(0.3 * whole, net, checkpoints=memory)

    def drops(candidate: MultitaskGraph) -> dict[str, float]:
        # Unlike QUICK's fine-tuning, a real one heals: what was cut since the last one costs a lot until then.
        tuned = [held.net for name, held in memory.held.items() if name.startswith("tuned-")]
        here = expected_macs(candidate, {7: 1.0})
        healed = min((cost for cost in (expected_macs(one, {7: 1.0}) for one in tuned) if cost >= here), default=whole)
        return {task: drop + 20 * (1 - here / healed) for task, drop in given.drops(candidate).items()}

    small = prune_iteratively(net, replace(given, drops=drops), QUICK, drop_units, early=early)
    found = expected_macs(small, {7: 1.0})
    assert 0.28 * whole < found < 0.4 * whole
    # What was fine-tuned on the way down is not once more when the smallest is looked for.
    assert not [name for name in memory.hits if name.startswith("tuned-")]


def test_what_a_step_too_far_took_is_spared_and_other_units_go() -> None:
    net = restrict(separate(), ["a"])
    space = net.prunable[0]
    (name,) = net.spaces.producers[space]
    key = net.graph.by_name[name].params["bias"]
    marked = net.graph.params[key].copy()
    marked[0] = 77.0
    net = net.with_params({key: marked})
    whole = expected_macs(net, {1: 1.0})

    def vital(candidate: MultitaskGraph) -> np.ndarray:
        return np.asarray(candidate.graph.params[key] == 77.0)

    def drops(candidate: MultitaskGraph) -> Mapping[str, float]:
        return {"a": 0.0 if vital(candidate).any() else 50.0}

    def step(state: State, recipe: Recipe, cut: Cut) -> tuple[State, MultitaskGraph]:
        # The vital unit looks like the one that matters least.
        current = state.net
        stake = {name: np.ones((2, current.spaces.sizes[name])) for name in current.prunable}
        stake[space][:, vital(current)] = 0.0
        return state, prune_to(current, stake, {1: 1.0}, cut.macs, spared=cut.spared)

    given = pruning(net, Budget(None, {"a": 1.0}), workload={1: 1.0}, drops=drops)
    stuck = prune_iteratively(net, given, replace(QUICK, detours=0), step)
    free = prune_iteratively(net, given, replace(QUICK, detours=1), step)
    assert expected_macs(stuck, {1: 1.0}) == whole
    assert expected_macs(free, {1: 1.0}) < 0.5 * whole
    assert vital(free).any()


def test_a_task_that_can_lose_no_more_does_not_stop_the_others() -> None:
    net = separate()
    whole = {task: expected_macs(restrict(net, [task]), {1: 1.0}) for task in net.tasks}

    def left(candidate: MultitaskGraph, task: str) -> float:
        return expected_macs(restrict(candidate, [task]), {1: 1.0}) / whole[task]

    def drops(candidate: MultitaskGraph) -> Mapping[str, float]:
        return {task: 50.0 if left(candidate, task) < (0.9 if task == "a" else 0.4) else 0.0 for task in net.tasks}

    def step(state: State, recipe: Recipe, cut: Cut) -> tuple[State, MultitaskGraph]:
        # The units of task a look like those that matter least.
        current = state.net
        stakes = {name: (current.owners[name] != 1) + 0.01 for name in current.prunable}
        rows = {name: np.repeat(stake[None], 4, axis=0) for name, stake in stakes.items()}
        return state, prune_to(current, rows, {7: 1.0}, cut.macs, spared=cut.spared)

    given = pruning(net, Budget(None, dict.fromkeys(net.tasks, 1.0)), workload={7: 1.0}, drops=drops)
    small = prune_iteratively(net, given, replace(QUICK, detours=0), step)
    assert left(small, "a") >= 0.9
    assert left(small, "b") < 0.7 and left(small, "c") < 0.7


def test_of_tasks_that_fail_together_the_worst_alone_is_finished_and_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    net = separate()
    whole = {task: expected_macs(restrict(net, [task]), {1: 1.0}) for task in net.tasks}
    frozen: list[int] = []

    def fit(current: MultitaskGraph, *rest: object, **options: object) -> MultitaskGraph:
        frozen.append(next(item for item in rest if isinstance(item, Recipe)).frozen)
        return current

    def drops(candidate: MultitaskGraph) -> Mapping[str, float]:
        left = {task: expected_macs(restrict(candidate, [task]), {1: 1.0}) / whole[task] for task in net.tasks}
        # Whatever is cut breaks a, and b with it; once a is left alone, b bears far more.
        touched = left["a"] < 1
        return {
            "a": 9.0 if touched else 0.0,
            "b": 2.0 if touched or left["b"] < 0.4 else 0.0,
            "c": 2.0 if left["c"] < 0.9 else 0.0,
        }

    monkeypatch.setattr("pamc.prune.search.fit", fit)
    given = pruning(net, Budget(None, dict.fromkeys(net.tasks, 1.0)), workload={7: 1.0}, drops=drops)

    def step(state: State, recipe: Recipe, cut: Cut) -> tuple[State, MultitaskGraph]:
        stakes = {name: np.ones((4, state.net.spaces.sizes[name])) for name in state.net.prunable}
        return state, prune_to(state.net, stakes, {7: 1.0}, cut.macs, spared=cut.spared)

    small = prune_iteratively(net, given, replace(QUICK, epochs=1, detours=0), step)
    assert expected_macs(restrict(small, ["a"]), {1: 1.0}) == whole["a"]
    assert expected_macs(restrict(small, ["b"]), {1: 1.0}) < 0.7 * whole["b"]
    assert {0, 1} <= set(frozen) and frozen == sorted(frozen)


def test_steps_are_parts_of_what_the_tasks_that_are_not_finished_add() -> None:
    net = separate()
    workload = {1: 0.25, 2: 0.25, 7: 0.5}
    asked: list[float] = []

    def step(state: State, recipe: Recipe, cut: Cut) -> tuple[State, MultitaskGraph]:
        asked.append(cut.macs)
        return state, state.net

    given = pruning(net, Budget(None, dict.fromkeys(net.tasks, 1.0)), workload=workload)
    for finished in (0, 2, 6):
        prune_iteratively(net, given, replace(QUICK, step=0.1, detours=0), step, finished)
        kept = (
            0.25 * cost(net, 1 & finished).macs + 0.25 * cost(net, 2 & finished).macs + 0.5 * cost(net, finished).macs
        )
        whole = expected_macs(net, workload)
        assert asked[0] == pytest.approx(whole - 0.1 * (whole - kept))
        asked.clear()


@pytest.mark.parametrize("finished", [1, 2, 5])
def test_finished_tasks_answer_as_they_did_while_others_go_on(finished: int) -> None:
    net = shared(separate())
    given = pruning(net, Budget(None, dict.fromkeys(net.tasks, 101.0)))
    options = METHODS.parse_options("taylor", {"recover": 2, "epochs": 1})
    small = taylor_around(net, given, options, finished)
    assert_only_others_shrank(net, small, finished)
    # Units that a finished task does not need by itself may lose the others.
    released = [mask for space in small.prunable for mask in map(int, np.unique(small.owners[space]))]
    assert finished in released


def test_units_that_finished_tasks_need_are_released_from_the_last_layer_on() -> None:
    net = separate(count=2)
    # Task b reads all that serves a, layer by layer, and may stop doing so only once no layer after it does.
    net = net.with_owners({space: np.where(net.owners[space] == 1, 3, 2).astype(DTYPE) for space in net.prunable})
    given = pruning(net, Budget(None, dict.fromkeys(net.tasks, 101.0)))
    options = METHODS.parse_options("taylor", {"recover": 1, "epochs": 0, "halvings": 0, "detours": 0})
    small = taylor_around(net, given, options, 1)
    assert cost(small, 1).macs == cost(net, 1).macs
    assert cost(small, 2).macs < 0.1 * cost(net, 2).macs


def test_finished_tasks_answer_as_they_did_where_training_must_go_before_cuts() -> None:
    net = shared(separate())
    memory = Memory()

    def drops(candidate: MultitaskGraph) -> Mapping[str, float]:
        # One mini-batch does harm, and an epoch mends it.
        return dict.fromkeys(net.tasks, 0.0 if candidate is net or "warm-0" in memory.held else 500.0)

    given = pruning(net, Budget(None, dict.fromkeys(net.tasks, 101.0)), drops=drops, checkpoints=memory)
    options = METHODS.parse_options("taylor", {"recover": 2, "epochs": 1, "restarts": 1})
    small = taylor_around(net, given, options, 1)
    assert "warm-0" in memory.held
    assert_same_answers(net, small, ["a"])


def test_a_network_that_keeps_its_budget_is_not_trained_before_it_is_cut() -> None:
    net = separate()
    memory = Memory()
    given = problem(0.5 * expected_macs(net, {7: 1.0}), net, checkpoints=memory)
    prune_iteratively(net, given, replace(QUICK, warmup=1), drop_units)
    assert memory.held and "warm-0" not in memory.held
