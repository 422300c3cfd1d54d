"""Rounds of blocks on one device: every variant once a round, in an order drawn by lot, until enough is known."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from pamc.errors import DeviceError
from pamc_bench.differences import paired_change
from pamc_bench.results import Block, Conditions, Key, Protocol
from pamc_devices.messages import Loaded, Message, Samples, Warm
from pamc_devices.states import DamagedError

__all__ = ["Measured", "StopRequested", "block_of", "compared_pairs", "draw_order", "measure_rounds", "precise"]

COOL = 2.0  # °C above the start at which the next round begins
PAUSE = 1.0  # seconds between two looks at the temperature
LOOK = 10.0  # seconds after which the state of the device is read again, before a round


class StopRequested(Exception):
    """Somebody asked for the measurement to end: raised inside of the round that is given up."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Blocks by variant, of the rounds that were finished; ``conditions`` at the start, in between and at the end.

    ``failure`` is the error of the device that ended it early. ``complete`` is False then, and after a stop.
    """

    blocks: Mapping[Key, tuple[Block, ...]]
    conditions: tuple[Conditions, ...]
    complete: bool
    failure: DeviceError | None = None


def block_of(messages: Sequence[Message], task_set: str, round: int, started: float) -> Block:
    """What a runner's complete and successful answer says about one block.

    Raises DamagedError when lines are missing, are those of another task set, or a time is 0.
    """

    def one(kind: type[Loaded] | type[Warm]) -> Loaded | Warm:
        found = [line for line in messages if isinstance(line, kind)]
        if len(found) != 1:
            raise _damaged(f"it has {len(found)} lines '{kind.KIND}', should have one")
        return found[0]

    loaded, warm = one(Loaded), one(Warm)
    samples = [line for line in messages if isinstance(line, Samples)]
    assert isinstance(loaded, Loaded) and isinstance(warm, Warm)
    if {loaded.task_set, *(line.task_set for line in samples)} != {task_set} or not samples:
        raise _damaged(f"it has no times of the task set {task_set} alone")
    starts = tuple(value for line in samples for value in line.start_ns)
    times = tuple(value for line in samples for value in line.ns)
    if min(times) <= 0:
        raise _damaged("an inference took no time")
    return Block(round, started, loaded.load_ns, loaded.first_ns, warm.runs, warm.ns, warm.steady, starts, times)


def _damaged(why: str) -> DamagedError:
    return DamagedError("the runner's answer is not that of a benchmark", why=why, cure="run it again")


def draw_order(keys: Sequence[Key], seed: int, device: str, round: int) -> list[Key]:
    """The order of one round; the same seed, device and round give the same order."""
    order = list(keys)
    random.Random(f"{seed}/{device}/{round}").shuffle(order)
    return order


def compared_pairs(keys: Iterable[Key], baseline: str | None) -> tuple[tuple[Key, Key], ...]:
    """Each variant of another bundle with the one of the baseline that is equal in all else."""
    known = set(keys)
    others = sorted((key for key in known if key.bundle != baseline), key=repr)
    return tuple(
        (key, same) for key in others if baseline is not None and (same := replace(key, bundle=baseline)) in known
    )


def precise(blocks: Mapping[Key, Sequence[Block]], pairs: Sequence[tuple[Key, Key]], half_width: float) -> bool:
    """Whether the change of every pair is known to ``half_width``, a fraction.

    It looks at the width alone, never at the change, so that stopping by it does not favour any answer (Chow and
    Robbins 1965).
    """

    def medians(key: Key) -> list[float]:
        return [median(block.ns) for block in blocks[key]]

    found = (paired_change(medians(key), medians(other)) for key, other in pairs)
    return all(interval.half_width <= half_width and interval.confidence >= 0.95 for interval in found)


def _cool_down(
    probe: Callable[[], Conditions], start: Conditions, limit: float, sleep: Callable[[float], None]
) -> Conditions:
    """The conditions once the device is about as cool as at the start, or after ``limit`` seconds."""
    now = probe()
    waited = 0.0
    while start.celsius is not None and now.celsius is not None and now.celsius > start.celsius + COOL:
        if waited >= limit:
            break
        sleep(PAUSE)
        waited += PAUSE
        now = probe()
    return now


def measure_rounds(
    keys: Sequence[Key],
    run: Callable[[Key, int], Block],
    probe: Callable[[], Conditions],
    protocol: Protocol,
    *,
    device: str,
    seed: int,
    pairs: Sequence[tuple[Key, Key]],
    sleep: Callable[[float], None],
    on_block: Callable[[Key, Block], None] = lambda key, block: None,
) -> Measured:
    """Measure all ``keys`` on one device. ``run`` measures one block of a variant in the round given.

    A DeviceError of ``run`` or ``probe`` ends it, as StopRequested does; the round that it came in is forgotten, so
    that every variant has the same rounds. ``sleep`` may raise StopRequested as well.
    """
    done: dict[Key, list[Block]] = {key: [] for key in keys}
    conditions: list[Conditions] = []
    failure: DeviceError | None = None
    complete = False
    try:
        conditions.append(probe())
        started = conditions[0].seconds
        for number in range(protocol.max_blocks):
            if started - conditions[-1].seconds >= LOOK:
                conditions.append(_cool_down(probe, conditions[0], protocol.gap_seconds, sleep))
            fresh: dict[Key, Block] = {}
            for key in draw_order(keys, seed, device, number):
                fresh[key] = run(key, number)
                started = fresh[key].started
                on_block(key, fresh[key])
            for key, block in fresh.items():
                done[key].append(block)
            enough = number + 1 >= protocol.blocks
            if enough and (protocol.precision is None or not pairs or precise(done, pairs, protocol.precision)):
                break
        conditions.append(probe())
        complete = True
    except StopRequested:
        pass
    except DeviceError as error:
        failure = error
    return Measured({key: tuple(blocks) for key, blocks in done.items()}, tuple(conditions), complete, failure)
