"""One network, every task set: the plan against dense networks, in one thread of one runtime."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.suites.lowering.nets import dense, grouped
from pamc.export import Exporter, Session, find_exporter
from pamc.graph import all_task_sets
from pamc.lower import Plan, lower
from pamc.lower.target import RUNTIMES, load_target
from pamc_bench.protocol import Warmup, measure
from pamc_bench.stats import ratio

__all__ = ["Row", "Setup", "rows"]

MS = 1e6
TARGET = "x86_64"


@dataclass(frozen=True, slots=True)
class Setup:
    """A network to time: groups by ``split``, images of ``size`` x ``size``."""

    network: str
    split: str
    tasks: int
    size: int


@dataclass(frozen=True, slots=True)
class Row:
    """One task set.

    ``macs`` are those of the plan over those of the dense network as wide as what runs; ``time`` the same of time, of
    the plan as lowered, and ``plain`` of the plan without folds and splits. ``alone_*`` compare the plan with the dense
    networks of the single tasks, run one after another. ``bytes`` are those of the weights for all task sets over those
    of all tasks.
    """

    setup: Setup
    runtime: str
    task_set: str
    macs: float
    time: float
    plain: float
    alone_macs: float
    alone_time: float
    ms: float
    estimated_ms: float
    folds: int
    bytes: float

    @property
    def factor(self) -> float:
        """Time over dense time, by MACs over dense MACs: 1 when time follows MACs."""
        return self.time / self.macs

    @property
    def plain_factor(self) -> float:
        """The same without folds and splits."""
        return self.plain / self.macs

    @property
    def shown(self) -> float:
        """The part of the MACs saved, against the single tasks' networks, that shows as time saved."""
        return (1 - self.alone_time) / (1 - self.alone_macs)

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "factor": self.factor, "plain_factor": self.plain_factor, "shown": self.shown}


def _open(exporter: Exporter, plan: Plan, folder: Path) -> Session:
    folder.mkdir()
    exporter.write({plan.task_set: plan}, folder, {})
    return exporter.open(folder, plan.task_set)


def _weights(plans: dict[int, Plan]) -> float:
    every = {name: array.nbytes for plan in plans.values() for name, array in plan.graph.params.items()}
    return sum(every.values()) / (4 * plans[max(plans)].params)


def rows(setup: Setup, format: str, runs: int) -> Iterator[Row]:
    """Every task set of a setup, one after another; the variants of one are interleaved."""
    runtime, exporter = RUNTIMES[format], find_exporter(format)
    target = load_target(TARGET, runtime)
    net = grouped(setup.network, setup.split, setup.tasks, setup.size)
    requests = list(all_task_sets(setup.tasks))
    plans, plain = lower(net, requests, target), lower(net, requests, replace(target, costs=None))
    size = _weights(plans)
    x = np.random.default_rng(0).standard_normal((1, 3, setup.size, setup.size)).astype(np.float32)

    def wide(request: int) -> Plan:
        rival = dense(setup.network, setup.split, setup.tasks, setup.size, request)
        return lower(rival, [1], replace(target, costs=None))[1]

    # All tasks have networks of one shape.
    alone = wide(1)
    for request in requests:
        variants = {"plan": plans[request], "plain": plain[request], "dense": wide(request), "alone": alone}
        with TemporaryDirectory(prefix="pamc-lowering-") as folder:
            sessions = {name: _open(exporter, plan, Path(folder) / name) for name, plan in variants.items()}
            samples = measure(
                {name: lambda held=held: held.run(x) for name, held in sessions.items()},  # type: ignore[misc]
                min_runs=runs,
                min_seconds=0,
                warmup=Warmup(min_seconds=0, max_seconds=1, window=2),
                clock=time.thread_time_ns,
            )
        ns = {name: item.ns for name, item in samples.items()}
        count = request.bit_count()
        yield Row(
            setup=setup,
            runtime=runtime,
            task_set=plans[request].task_set,
            macs=plans[request].macs / variants["dense"].macs,
            time=ratio(ns["plan"], ns["dense"]).value,
            plain=ratio(ns["plain"], ns["dense"]).value,
            alone_macs=plans[request].macs / (count * alone.macs),
            alone_time=ratio(ns["plan"], ns["alone"]).value / count,
            ms=float(np.median(ns["plan"])) / MS,
            estimated_ms=1000 * plans[request].estimated_seconds,
            folds=len(plans[request].folds),
            bytes=size,
        )
