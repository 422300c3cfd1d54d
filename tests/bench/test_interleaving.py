"""The measuring protocol: order, number and fate of the samples."""

import gc
from collections import Counter
from collections.abc import Callable

import pytest

from pamc_bench.protocol import Warmup, measure
from pamc_bench.stats import ratio

NONE = Warmup(min_seconds=0, max_seconds=0)


class Machine:
    """A clock that only work moves; ``slowness`` is how long a unit of work takes at a time."""

    def __init__(self, slowness: Callable[[int], float] = lambda now: 1.0) -> None:
        self.now = 0
        self.slowness = slowness
        self.log: list[str] = []

    def clock(self) -> int:
        return self.now

    def variant(self, name: str, work: int) -> Callable[[], None]:
        def run() -> None:
            self.log.append(name)
            self.now += round(work * self.slowness(self.now))

        return run


def rounds_of(log: list[str], size: int) -> list[tuple[str, ...]]:
    """Rounds of ``size`` variants, each of which ran twice in a row."""
    assert log[::2] == log[1::2]
    return [tuple(log[i : i + 2 * size : 2]) for i in range(0, len(log), 2 * size)]


def test_every_variant_is_timed_once_per_round_in_varying_order() -> None:
    machine = Machine()
    variants = {name: machine.variant(name, 1_000) for name in "abcd"}
    samples = measure(variants, min_runs=50, min_seconds=0, warmup=NONE, clock=machine.clock)
    rounds = rounds_of(machine.log, 4)
    assert all(sorted(order) == list("abcd") for order in rounds)
    assert len(rounds) == 50 + 1  # one round of warm-up
    assert {len(item.ns) for item in samples.values()} == {50}
    firsts = Counter(order[0] for order in rounds)
    assert len(set(rounds)) > 12 and min(firsts.values()) > 4, firsts


def test_the_seed_decides_the_order() -> None:
    def order(seed: int) -> list[str]:
        machine = Machine()
        variants = {name: machine.variant(name, 1_000) for name in "abc"}
        measure(variants, min_runs=20, min_seconds=0, warmup=NONE, seed=seed, clock=machine.clock)
        return machine.log

    assert order(3) == order(3) != order(4)


def test_samples_of_a_round_stand_at_the_same_place_and_none_is_dropped() -> None:
    # Work takes longer as time goes by, with an outlier: both variants of a round must see the same machine.
    machine = Machine(lambda now: 1.0 + now / 1e6 + (900.0 if len(machine.log) == 100 else 0.0))
    variants = {"fast": machine.variant("fast", 1_000), "slow": machine.variant("slow", 1_300)}
    samples = measure(variants, min_runs=80, min_seconds=0, warmup=NONE, clock=machine.clock)
    assert {len(item.ns) for item in samples.values()} == {80}
    assert max(samples["fast"].ns + samples["slow"].ns) > 900_000
    found = ratio(samples["slow"].ns, samples["fast"].ns)
    assert found.value == pytest.approx(1.3, abs=0.02)
    assert found.low > 1.25 and found.high < 1.35


def test_what_ran_before_a_variant_does_not_matter() -> None:
    # A network that another variant has just run is in the caches: here it takes a tenth of the time.
    machine = Machine()
    cached = ""

    def run(network: str) -> None:
        nonlocal cached
        machine.now += 100 if network == cached else 1_000
        cached = network

    variants = {name: (lambda name=name: run(name.rstrip("0123456789"))) for name in ("own", "shared1", "shared2")}
    samples = measure(variants, min_runs=50, min_seconds=0, warmup=NONE, clock=machine.clock)
    assert {value for item in samples.values() for value in item.ns} == {100}


def test_rounds_go_on_until_the_time_is_up() -> None:
    machine = Machine()
    variants = {"a": machine.variant("a", 1_000_000), "b": machine.variant("b", 3_000_000)}
    samples = measure(variants, min_runs=10, min_seconds=0.4, warmup=NONE, clock=machine.clock)
    assert len(samples["a"].ns) == 200  # 4 ms a round, 2 x 0.4 s


def test_the_cap_holds_for_all_and_leaves_one_round() -> None:
    machine = Machine(lambda now: 1.0 + now / 1e8)  # never steady
    variants = {"a": machine.variant("a", 1_000_000), "b": machine.variant("b", 1_000_000)}
    samples = measure(variants, min_runs=10_000, max_seconds=0.3, clock=machine.clock)
    assert 0.3e9 <= machine.now < 0.32e9
    assert not samples["a"].steady and sum(map(sum, (s.warmup_ns for s in samples.values()))) < 0.12e9
    assert len(measure(variants, max_seconds=0, clock=machine.clock)["a"].ns) == 1


def test_warm_up_lasts_until_steady() -> None:
    machine = Machine(lambda now: max(1.0, 5.0 * 0.97 ** (len(machine.log) / 2)))  # cold for 53 rounds
    variants = {"a": machine.variant("a", 1_000_000)}
    samples = measure(variants, min_runs=50, min_seconds=0, warmup=Warmup(max_seconds=10), clock=machine.clock)["a"]
    assert samples.steady and set(samples.ns) == {1_000_000}
    assert 60 < len(samples.warmup_ns) < 75 and samples.warmup_ns[0] > 4_500_000


def test_progress_is_told_between_rounds_in_order() -> None:
    machine = Machine()
    told: list[float] = []
    variants = {"a": machine.variant("a", 1_000)}
    measure(variants, min_runs=500, min_seconds=0, warmup=NONE, on_progress=told.append, clock=machine.clock)
    assert told == sorted(told) and told[-1] == 1.0 and len(told) == 100


def test_garbage_collection_waits_and_comes_back() -> None:
    assert gc.isenabled()
    states: list[bool] = []

    def fail() -> None:
        states.append(gc.isenabled())
        raise RuntimeError("broken session")

    with pytest.raises(RuntimeError, match="broken session"):
        measure({"a": fail})
    assert states == [False] and gc.isenabled()


@pytest.mark.parametrize(("variants", "runs"), [({}, 10), ({"a": lambda: None}, 0)])
def test_nonsense_is_refused(variants: dict[str, Callable[[], object]], runs: int) -> None:
    with pytest.raises(ValueError, match=r"nothing to measure|min_runs"):
        measure(variants, min_runs=runs)


def test_a_variant_that_is_30_percent_slower_is_found_on_this_machine() -> None:
    variants = {"fast": lambda: sum(range(30_000)), "slow": lambda: sum(range(39_000))}
    samples = measure(variants, min_runs=100, min_seconds=0, max_seconds=10)
    found = ratio(samples["slow"].ns, samples["fast"].ns)
    assert found.low > 1.1 and found.high < 1.6 and found.value == pytest.approx(1.3, abs=0.12)
