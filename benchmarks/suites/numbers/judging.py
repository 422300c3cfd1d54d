"""Files of one network in several kinds of numbers: what they answer, how large they are, how long they take."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pamc.export import Session, find_exporter
from pamc.graph import MultitaskGraph, all_task_sets
from pamc.lower import load_target, lower, numerics_of
from pamc.lower.target import RUNTIMES
from pamc.progress import QuietProgress
from pamc.train import Samples, Target
from pamc.train.metrics import score
from pamc_bench.protocol import Warmup, measure

__all__ = ["KINDS", "Judged", "Timed", "judge", "time_kinds"]

KINDS = ("float32", "float16", "int8")
TARGET = "x86_64"
NS = 1e6


@dataclass(frozen=True, slots=True)
class Judged:
    """Accuracies in percent by task, the least over all task sets, and bytes of the files of all task sets."""

    format: str
    kind: str
    accuracies: Mapping[str, float]
    bytes: int

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Timed:
    """Milliseconds of one inference of all tasks, the median."""

    format: str
    kind: str
    ms: float

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def _open(
    net: MultitaskGraph, format: str, kind: str, calibration: NDArray[np.generic], folder: Path
) -> dict[str, Session]:
    """Files of all task sets in the new ``folder``, opened, by task set."""
    numerics = numerics_of(kind, net, calibration, QuietProgress())
    plans = lower(net, list(all_task_sets(len(net.tasks))), load_target(TARGET, RUNTIMES[format]), numerics)
    exporter = find_exporter(format)
    folder.mkdir(parents=True)
    exporter.write({plan.task_set: plan for plan in plans.values()}, folder, {})
    return {plan.task_set: exporter.open(folder, plan.task_set) for plan in plans.values()}


def judge(
    net: MultitaskGraph,
    targets: Mapping[str, Target],
    calibration: NDArray[np.generic],
    test: Samples,
    format: str,
    kind: str,
) -> Judged:
    """The files of ``net`` on ``test``, in which every task counts where it is worst. ``calibration`` are inputs."""
    with TemporaryDirectory(prefix="pamc-numbers-") as name:
        folder = Path(name) / "files"
        found: dict[str, list[float]] = {}
        for session in _open(net, format, kind, calibration, folder).values():
            for task, output in session.run(test.x).items():
                found.setdefault(task, []).append(score(targets[task], output, test.labels[task]))
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Judged(format, kind, {task: min(values) for task, values in found.items()}, size)


def time_kinds(net: MultitaskGraph, calibration: NDArray[np.generic], format: str, runs: int) -> list[Timed]:
    """All tasks at once in every kind of numbers, run in turn, one thread; the clock is the thread's CPU time."""
    everyone = "+".join(net.tasks)
    with TemporaryDirectory(prefix="pamc-numbers-") as folder:
        sessions = {kind: _open(net, format, kind, calibration, Path(folder) / kind)[everyone] for kind in KINDS}
        samples = measure(
            {kind: partial(session.run, calibration[:1]) for kind, session in sessions.items()},
            min_runs=runs,
            min_seconds=0,
            warmup=Warmup(min_seconds=0, max_seconds=1, window=2),
            clock=time.thread_time_ns,
        )
    return [Timed(format, kind, float(np.median(samples[kind].ns)) / NS) for kind in KINDS]
