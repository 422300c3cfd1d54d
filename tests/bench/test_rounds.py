"""Rounds on one device: their order, their end, and what becomes of a round that breaks."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from pamc.errors import DeviceError
from pamc_bench.preflight import UnstableError, doubts_after, doubts_before, refuse_unstable
from pamc_bench.results import Block, Conditions, Key, Protocol
from pamc_bench.rounds import StopRequested, block_of, compared_pairs, draw_order, measure_rounds
from pamc_devices.messages import Loaded, Memory, Message, Samples, Warm
from pamc_devices.states import DamagedError, LostError
from tests.bench.results import block, result

KEYS = tuple(Key("local", bundle, name, "onnxruntime", 1, None) for bundle in ("a", "b") for name in ("x", "y", "x+y"))

FOUR = Protocol(blocks=4)


def measured(
    run: Callable[[Key, int], Block],
    protocol: Protocol = FOUR,
    *,
    celsius: Callable[[], float | None] = lambda: None,
    slept: list[float] | None = None,
    keys: tuple[Key, ...] = KEYS,
) -> object:
    return measure_rounds(
        keys,
        run,
        lambda: Conditions(0.0, celsius=celsius()),
        protocol,
        device="local",
        seed=0,
        pairs=compared_pairs(keys, "a"),
        sleep=(slept if slept is not None else []).append,
    )


def test_every_variant_has_one_block_in_every_round() -> None:
    log: list[tuple[int, Key]] = []

    def run(key: Key, round: int) -> Block:
        log.append((round, key))
        return replace(block(round, 1e6), started=20.0)

    found = measured(run)
    assert found.complete and found.failure is None and len(found.conditions) == 5  # type: ignore[attr-defined]
    assert set(Counter(key for _, key in log).values()) == {4}
    for round in range(4):
        assert sorted(repr(key) for number, key in log if number == round) == sorted(map(repr, KEYS))
    assert all([b.round for b in blocks] == [0, 1, 2, 3] for blocks in found.blocks.values())  # type: ignore[attr-defined]


def test_the_seed_draws_the_order() -> None:
    orders = [draw_order(KEYS, 1, "local", round) for round in range(40)]
    assert orders == [draw_order(KEYS, 1, "local", round) for round in range(40)]
    assert orders[0] != draw_order(KEYS, 2, "local", 0) or orders[1] != draw_order(KEYS, 2, "local", 1)
    firsts = Counter(order[0] for order in orders)
    assert len(firsts) == len(KEYS)


def test_rounds_go_on_until_the_pairs_are_known() -> None:
    def run(key: Key, round: int) -> Block:
        # Rounds differ much, the two of a pair by 1 %.
        noise = random.Random(f"{key.bundle}{round}").gauss(0, 0.007)
        return block(round, 1e6 * (1 + round / 10) * (1 + noise))

    coarse = measured(run, Protocol(blocks=5, precision=0.02, max_blocks=60))
    fine = measured(run, Protocol(blocks=5, precision=0.004, max_blocks=60))
    capped = measured(run, Protocol(blocks=5, precision=0.0001, max_blocks=9))
    counts = [len(found.blocks[KEYS[0]]) for found in (coarse, fine, capped)]  # type: ignore[attr-defined]
    assert 6 <= counts[0] < counts[1] < 60 and counts[2] == 9  # fewer than 6 rounds have no 95 %


@pytest.mark.parametrize("error", [LostError("gone"), StopRequested()])
def test_a_broken_round_is_forgotten_as_a_whole(error: Exception) -> None:
    count = 0

    def run(key: Key, round: int) -> Block:
        nonlocal count
        count += 1
        if count == 2 * len(KEYS) + 3:
            raise error
        return block(round, 1e6)

    found = measured(run)
    assert {len(blocks) for blocks in found.blocks.values()} == {2}  # type: ignore[attr-defined]
    assert not found.complete  # type: ignore[attr-defined]
    assert found.failure is (error if isinstance(error, DeviceError) else None)  # type: ignore[attr-defined]


def test_a_warm_device_is_left_to_cool_for_a_while() -> None:
    readings = iter([40.0, 45.0, 44.0, 41.0, 50.0, *[50.0] * 3, 40.0])
    slept: list[float] = []
    protocol = Protocol(blocks=3, gap_seconds=3.0)

    def run(key: Key, round: int) -> Block:
        return replace(block(round, 1e6), started=20.0)

    found = measured(run, protocol, celsius=lambda: next(readings), slept=slept)
    assert slept == [1.0] * 5  # until 41, then to the end of its patience
    assert [c.celsius for c in found.conditions] == [40.0, 41.0, 50.0, 40.0]  # type: ignore[attr-defined]


def test_the_state_is_read_at_most_every_ten_seconds_and_always_at_the_end() -> None:
    found = measured(lambda key, round: replace(block(round, 1e6), started=1.5 * round))
    assert len(found.conditions) == 2  # type: ignore[attr-defined]


def answer(**changes: Message | None) -> list[Message]:
    lines: dict[str, Message | None] = {
        "loaded": Loaded("x", 10, 20),
        "warm": Warm(5, 1000, True),
        "samples": Samples("x", (0, 8), (5, 6)),
        "more": Samples("x", (20,), (7,)),
        "memory": Memory(2, 1),
    }
    return [line for line in {**lines, **changes}.values() if line is not None]


def test_the_lines_of_a_runner_become_a_block() -> None:
    assert block_of(answer(), "x", 3, 1.5) == Block(3, 1.5, 10, 20, 5, 1000, True, (0, 8, 20), (5, 6, 7))


@pytest.mark.parametrize(
    "lines",
    [
        answer(loaded=None),
        answer(warm=None),
        answer(samples=None, more=None),
        answer(again=Loaded("x", 1, 2)),
        answer(loaded=Loaded("y", 10, 20)),
        answer(more=Samples("y", (0,), (7,))),
        answer(samples=Samples("x", (0,), (0,))),
    ],
)
def test_an_answer_that_lacks_something_is_no_block(lines: list[Message]) -> None:
    with pytest.raises(DamagedError):
        block_of(lines, "x", 0, 0.0)


def test_pairs_are_equal_in_all_but_the_bundle() -> None:
    pairs = compared_pairs(KEYS, "a")
    assert {(after.bundle, before.bundle) for after, before in pairs} == {("b", "a")}
    assert [after.task_set for after, _ in pairs] == [before.task_set for _, before in pairs]
    assert len(pairs) == 3 and compared_pairs(KEYS, None) == ()


CALM = Conditions(0.0, load=0.2, celsius=45.0, governors=("performance",), megahertz=(1800, 1800))


def changed(**values: object) -> Conditions:
    return Conditions(**{**{name: getattr(CALM, name) for name in CALM.__slots__}, **values})  # type: ignore[arg-type]


def test_a_calm_device_has_no_doubts() -> None:
    assert doubts_before(CALM, 4) == ()
    assert doubts_before(Conditions(0.0), 4) == ()
    assert doubts_after([block(i, 1e6) for i in range(5)], [CALM, CALM]) == ()


@pytest.mark.parametrize(
    ("change", "word", "grave"),
    [
        ({"throttled": ("under-voltage",)}, "under-voltage", True),
        ({"celsius": 78.0}, "78 °C", True),
        ({"load": 2.1}, "load 2.1 on 4 CPUs", False),
        ({"governors": ("ondemand", "performance")}, "governor ondemand", False),
        ({"battery": "Discharging 41 %"}, "battery", False),
    ],
)
def test_what_stands_against_measuring(change: dict[str, object], word: str, grave: bool) -> None:
    (doubt,) = doubts_before(changed(**change), 4)
    assert word in str(doubt) and doubt.cure and doubt.grave is grave
    if grave:
        with pytest.raises(UnstableError, match="not fit") as caught:
            refuse_unstable([doubt], "ssh://pi@board")
        assert caught.value.exit_code == 5 and "--allow-unstable" in str(caught.value)
    else:
        refuse_unstable([doubt], "ssh://pi@board")


def test_what_makes_times_doubtful_afterwards() -> None:
    calm = [block(i, 1e6) for i in range(5)]
    assert doubts_after([block(i, 1e6 * (1 + 0.1 * i)) for i in range(5)], [CALM]) == ("blocks vary by 13 %",)
    for end, word in (
        (changed(celsius=61.0), "16 °C warmer"),
        (changed(megahertz=(1800, 1200)), "frequency"),
        (changed(throttled=("soft limit",)), "soft limit"),
        (changed(throttled_before=("frequency capped",)), "frequency capped"),
    ):
        (found,) = doubts_after(calm, [CALM, end])
        assert word in found
    unsteady = [replace(calm[0], steady=False), *calm[1:]]
    assert doubts_after(unsteady, [CALM]) == ("not steady after the warm-up in 1 of 5 blocks",)


def test_the_state_before_is_no_reason_when_it_does_not_get_worse() -> None:
    old = changed(throttled_before=("under-voltage",))
    assert doubts_after(result().variants[0].blocks[:1], [old, old]) == ()
