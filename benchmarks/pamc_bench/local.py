"""Latency of task sets on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pamc.bundle.manifest import Latency, Timing
from pamc_bench.environment import describe_machine, load_average
from pamc_bench.protocol import Samples, Warmup, measure
from pamc_bench.stats import summarize

if TYPE_CHECKING:
    from pamc.export import Session

__all__ = ["measure_sessions", "time_sessions", "to_latency"]

Sessions = Mapping[str, Mapping[str, Sequence["Session"]]]
NS_PER_MS = 1e6


def _run_all(sessions: Sequence[Session], x: NDArray[np.generic]) -> None:
    for session in sessions:
        session.run(x)


def time_sessions(
    sessions: Sessions,
    x: NDArray[np.generic],
    *,
    min_runs: int = 60,
    min_seconds: float = 0.3,
    max_seconds: float | None = None,
    warmup: Warmup | None = None,
    seed: int = 0,
    on_progress: Callable[[float], None] | None = None,
) -> Mapping[str, Mapping[str, Samples]]:
    """Samples by task set and variant; the sessions of a variant run one after another and count as one run.

    All task sets are interleaved with each other, so that they compare as well as the variants of one of them do.
    The options are those of :func:`pamc_bench.protocol.measure`.
    """
    if empty := [f"{task_set}/{name}" for task_set, row in sessions.items() for name in row if not row[name]]:
        raise ValueError(f"no sessions for {', '.join(empty)}")
    keys = [(task_set, variant) for task_set, row in sessions.items() for variant in row]
    samples = measure(
        {str(i): partial(_run_all, tuple(sessions[a][b]), x) for i, (a, b) in enumerate(keys)},
        min_runs=min_runs,
        min_seconds=min_seconds,
        max_seconds=max_seconds,
        warmup=warmup,
        seed=seed,
        on_progress=on_progress,
    )
    table: dict[str, dict[str, Samples]] = {task_set: {} for task_set in sessions}
    for i, (task_set, variant) in enumerate(keys):
        table[task_set][variant] = samples[str(i)]
    return table


def _timing(samples: Samples) -> Timing:
    summary = summarize(samples.ns)
    return Timing(
        p50_ms=summary.median / NS_PER_MS,
        p10_ms=summary.p10 / NS_PER_MS,
        p90_ms=summary.p90 / NS_PER_MS,
        runs=summary.n,
    )


def to_latency(samples: Mapping[str, Mapping[str, Samples]], environment: str) -> Latency:
    """The manifest's form of the samples."""
    sets = {task_set: {name: _timing(item) for name, item in row.items()} for task_set, row in samples.items()}
    return Latency(environment=environment, sets=sets)


def measure_sessions(
    sessions: Sessions,
    x: NDArray[np.generic],
    *,
    threads: int = 1,
    packages: Sequence[str] = ("onnxruntime",),
    min_runs: int = 60,
    min_seconds: float = 0.3,
    max_seconds: float | None = None,
    warmup: Warmup | None = None,
    seed: int = 0,
    on_progress: Callable[[float], None] | None = None,
) -> Latency:
    """Latency of one inference on ``x``, a batch of one, by task set and variant, with the environment in words.

    ``threads`` is what the sessions were opened with, ``packages`` are those whose versions matter.
    """
    if x.shape[:1] != (1,):
        raise ValueError(f"the input has shape {x.shape}, should be a batch of one")
    load = load_average()
    samples = time_sessions(
        sessions,
        x,
        min_runs=min_runs,
        min_seconds=min_seconds,
        max_seconds=max_seconds,
        warmup=warmup,
        seed=seed,
        on_progress=on_progress,
    )
    steady = all(item.steady for row in samples.values() for item in row.values())
    notes = [describe_machine(packages, load=load), f"{threads} thread{'s' if threads != 1 else ''}", "interleaved"]
    if not steady:
        notes.append("not steady after the warm-up")
    return to_latency(samples, ", ".join(notes))
