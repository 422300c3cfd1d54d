"""Trials of the comparison that `pamc bench --against` makes: of a network with itself, and with a slower one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from benchmarks.suites.noise.nets import TASK, chain_bundle
from pamc.bundle import Bundle
from pamc_bench.differences import Interval, paired_change
from pamc_bench.goals import judge
from pamc_bench.request import Request
from pamc_bench.results import Block, Conditions, Key, Protocol
from pamc_bench.rounds import measure_rounds
from pamc_bench.station import BoardStation, open_station
from pamc_devices.deployment import Program
from pamc_devices.info import DeviceInfo
from pamc_devices.runner import fetch_onnxruntime, find_runner, platform_of
from pamc_devices.runner.fetch import LIBRARY

__all__ = ["LIMIT", "PLANTED", "SAME", "Trial", "bound", "campaign", "prepared", "summary"]

LIMIT = 0.03
SAME = "same"
PLANTED = "planted"
LENGTHS = {"before": 20, SAME: 20, PLANTED: 21}


@dataclass(frozen=True, slots=True)
class Trial:
    """One comparison: the medians of the blocks in ms, round by round, and how long it took."""

    kind: str
    before: tuple[float, ...]
    after: tuple[float, ...]
    seconds: float

    @property
    def change(self) -> Interval:
        """What the comparison says."""
        return paired_change(self.after, self.before)

    @property
    def called_slower(self) -> bool:
        """Whether the goal ``slower=3%`` is missed."""
        return judge(self.change, LIMIT) == "missed"

    @property
    def called_different(self) -> bool:
        """Whether either would be called slower than the other by more than the limit."""
        return self.called_slower or judge(paired_change(self.before, self.after), LIMIT) == "missed"

    @property
    def significant(self) -> bool:
        """Whether the interval excludes that nothing changed."""
        return not self.change.low <= 0 <= self.change.high


def _in_c(info: DeviceInfo, runtime: str) -> Program:
    # As on boards: it starts four times as fast as the runner in Python.
    files = {
        "pamc-runner": find_runner(info.abi, info.libc),
        LIBRARY: fetch_onnxruntime(platform_of(info.abi, info.libc)),
    }
    return Program(runtime, files, ("program/pamc-runner",))


@contextmanager
def prepared(folder: Path, protocol: Protocol) -> Iterator[BoardStation]:
    """This machine with the three networks, built into ``folder``."""
    bundles: Mapping[str, Bundle] = {name: chain_bundle(folder / name, length) for name, length in LENGTHS.items()}
    request = Request(
        bundles=bundles,
        baseline="before",
        task_sets=(TASK,),
        runtimes=("onnxruntime",),
        threads=(1,),
        cores="all",
        protocol=protocol,
        seed=0,
        allow_unstable=True,
    )
    with open_station("local", request, _in_c) as station:
        yield station


def _trial(station: BoardStation, kind: str, protocol: Protocol, seed: int) -> Trial:
    start = time.monotonic()
    after = Key("local", kind, TASK, "onnxruntime", 1, None)
    before = replace(after, bundle="before")

    def run(key: Key, round: int) -> Block:
        return station.block(key, protocol, round, 0.0)

    found = measure_rounds(
        (before, after),
        run,
        lambda: Conditions(0.0),
        protocol,
        device="local",
        seed=seed,
        pairs=((after, before),),
        sleep=time.sleep,
    )
    if found.failure is not None:
        raise found.failure
    medians = {key: tuple(median(block.ns) / 1e6 for block in blocks) for key, blocks in found.blocks.items()}
    return Trial(kind, medians[before], medians[after], time.monotonic() - start)


def campaign(station: BoardStation, protocol: Protocol, pairs: int, planted: int, seed: int) -> Iterator[Trial]:
    """``pairs`` comparisons of the same network and ``planted`` of one with 5 % more work, spread over each other."""
    total = pairs + planted
    for number in range(total):
        # As evenly as whole numbers go.
        kind = PLANTED if (number + 1) * planted // total > number * planted // total else SAME
        yield _trial(station, kind, protocol, seed * total + number)


def bound(hits: int, trials: int) -> tuple[float, float]:
    """The exact 95 % interval of a probability of which ``hits`` of ``trials`` came out (Clopper and Pearson 1934)."""
    from scipy import stats

    found = stats.binomtest(hits, trials).proportion_ci(0.95, method="exact")
    return float(found.low), float(found.high)


def summary(trials: Sequence[Trial]) -> dict[str, object]:
    """The rates that count, with their intervals."""
    same = [trial for trial in trials if trial.kind == SAME]
    planted = [trial for trial in trials if trial.kind == PLANTED]

    def rate(hits: int, of: Sequence[Trial]) -> dict[str, object]:
        return {"hits": hits, "trials": len(of), "interval": bound(hits, len(of)) if of else None}

    return {
        "limit": LIMIT,
        "same called different": rate(sum(trial.called_different for trial in same), same),
        "same with an interval without 0": rate(sum(trial.significant for trial in same), same),
        "planted found": rate(sum(trial.called_slower for trial in planted), planted),
        "planted change, median": median(trial.change.value for trial in planted) if planted else None,
        "rounds, median": median(len(trial.after) for trial in trials),
        "rounds, most": max(len(trial.after) for trial in trials),
        "half width, median": median(trial.change.half_width for trial in trials),
        "seconds, median": median(trial.seconds for trial in trials),
    }
