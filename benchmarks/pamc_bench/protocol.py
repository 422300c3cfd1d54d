"""Interleaved latency measurement: a drift of the machine hits every variant alike."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

__all__ = ["Samples", "Warmup", "measure"]

Clock = Callable[[], int]
SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Warmup:
    """Rounds before anything counts: until two windows of rounds in a row take the same time, or ``max_seconds``.

    ``window`` rounds are compared by their median with the ``window`` rounds before them, to within ``tolerance``.
    """

    min_seconds: float = 0.1
    max_seconds: float = 2.0
    window: int = 10
    tolerance: float = 0.02


@dataclass(frozen=True, slots=True)
class Samples:
    """Every run of one variant in nanoseconds; item ``i`` of all variants is of the same round.

    ``steady`` is False when the warm-up, kept in ``warmup_ns``, ended at its cap.
    """

    ns: tuple[int, ...]
    warmup_ns: tuple[int, ...]
    steady: bool


class _Rounds:
    """Times every variant once per round in a fresh random order."""

    def __init__(self, variants: Mapping[str, Callable[[], object]], seed: int, clock: Clock) -> None:
        self._variants = list(variants.items())
        self._random = random.Random(seed)
        self._clock = clock
        self.times: dict[str, list[int]] = {}
        self.totals: list[int] = []
        self.restart()

    def restart(self) -> dict[str, list[int]]:
        """Forget the rounds so far and hand them over."""
        done, self.times, self.totals = self.times, {name: [] for name, _ in self._variants}, []
        return done

    def run(self) -> None:
        clock = self._clock
        self._random.shuffle(self._variants)
        total = 0
        for name, function in self._variants:
            # Else what shares a session with other variants finds it in the caches, and what has its own does not.
            function()
            start = clock()
            function()
            taken = clock() - start
            self.times[name].append(taken)
            total += taken
        self.totals.append(total)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    # A collection would fall into the time of whichever variant happens to run.
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _steady(totals: list[int], warmup: Warmup) -> bool:
    if len(totals) < 2 * warmup.window:
        return False
    before = median(totals[-2 * warmup.window : -warmup.window])
    return abs(median(totals[-warmup.window :]) - before) <= warmup.tolerance * before


def _warm_up(rounds: _Rounds, warmup: Warmup, cap: float, clock: Clock) -> bool:
    start = clock()
    while True:
        rounds.run()
        seconds = (clock() - start) / SECOND
        if seconds >= warmup.min_seconds and _steady(rounds.totals, warmup):
            return True
        if seconds >= cap:
            return False


def measure(
    variants: Mapping[str, Callable[[], object]],
    *,
    min_runs: int = 60,
    min_seconds: float = 0.3,
    max_seconds: float | None = None,
    warmup: Warmup | None = None,
    seed: int = 0,
    on_progress: Callable[[float], None] | None = None,
    clock: Clock = time.perf_counter_ns,
) -> Mapping[str, Samples]:
    """Time each of ``variants`` once per round, right after an untimed run of it; the order is drawn anew every round.

    Ends after ``min_runs`` rounds and ``min_seconds`` timed per variant on average, or at ``max_seconds`` in all, of
    which the warm-up takes a third at most; there is always one round. No sample is dropped. ``on_progress`` hears the
    fraction done, between rounds and at most once per percent.
    """
    if not variants:
        raise ValueError("there is nothing to measure")
    if min_runs < 1:
        raise ValueError(f"min_runs is {min_runs}, should be at least 1")
    warmup = warmup or Warmup()
    start = clock()
    rounds = _Rounds(variants, seed, clock)
    told = 0
    with _no_garbage_collection():
        cap = warmup.max_seconds if max_seconds is None else min(warmup.max_seconds, max_seconds / 3)
        steady = _warm_up(rounds, warmup, cap, clock)
        warm = rounds.restart()
        spent = 0
        while True:
            rounds.run()
            spent += rounds.totals[-1]
            done = len(rounds.totals) / min_runs
            if min_seconds > 0:
                done = min(done, spent / (min_seconds * SECOND * len(variants)))
            if max_seconds is not None:
                done = max(done, (clock() - start) / max(max_seconds * SECOND, 1.0))
            if on_progress is not None and int(100 * min(done, 1.0)) > told:
                told = int(100 * min(done, 1.0))
                on_progress(min(done, 1.0))
            if done >= 1.0:
                break
    return {name: Samples(tuple(rounds.times[name]), tuple(warm[name]), steady) for name in variants}
