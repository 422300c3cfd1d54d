"""Results with all that a result can hold, and ways to change their times."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from pamc_bench.results import (
    Block,
    BundleEntry,
    Conditions,
    Counts,
    DeviceEntry,
    Energy,
    Key,
    Memory,
    Protocol,
    Result,
    Variant,
)

SETS = ("digit", "stroke", "digit+stroke")
SIZES = {"digit": 0.2, "stroke": 0.3, "digit+stroke": 0.4}  # milliseconds


def block(round: int, median_ns: float, runs: int = 21, seed: int = 0) -> Block:
    """A block whose median is ``median_ns``, with a long tail."""
    generator = np.random.default_rng((seed, round))
    tail = np.sort(generator.exponential(0.03, size=runs))
    times = np.round(median_ns * (1 + tail - np.median(tail))).astype(int)
    generator.shuffle(times)
    starts = np.concatenate([[0], np.cumsum(times[:-1] + 700)])
    return Block(
        round=round,
        started=1.5 * round,
        load_ns=2_000_000 + 1000 * round,
        first_ns=900_000,
        warmup_runs=12,
        warmup_ns=1_000_000,
        steady=True,
        start_ns=tuple(int(v) for v in starts),
        ns=tuple(int(v) for v in times),
    )


def device(emulated: bool = False, model: str = "Raspberry Pi 4 Model B") -> DeviceEntry:
    """A board with four cores."""
    return DeviceEntry(
        model=model,
        machine="aarch64",
        emulated=emulated,
        system="Linux 6.6, glibc 2.36",
        cpus=4,
        details={"soc": "BCM2711", "memory_kib": 3_900_000, "cores": [{"cpu": 0, "mhz": 1800}]},
        conditions=(
            Conditions(0.0, load=0.1, celsius=41.0, governors=("performance",), megahertz=(1800,) * 4),
            Conditions(60.0, load=1.0, celsius=52.5, governors=("performance",), megahertz=(1800,) * 4),
        ),
        findings=("frequency governor ondemand (set the governor 'performance')",),
    )


def bundle(macs: float = 1.0) -> BundleEntry:
    """Two tasks, three task sets."""
    return BundleEntry(
        name="digits",
        target="arm64",
        tasks=("digit", "stroke"),
        manifest_sha256="ab" * 32,
        files={"onnx/digit.onnx": "cd" * 32},
        macs={name: round(1e6 * macs * SIZES[name]) for name in SETS},
    )


def result(
    bundles: Sequence[str] = ("digits",),
    *,
    slower: Callable[[str, str], float] = lambda bundle, task_set: 1.0,
    blocks: int = 6,
    noise: float = 0.01,
    seed: int = 0,
    emulated: bool = False,
    baseline: str | None = None,
) -> Result:
    """All task sets of ``bundles`` on one board; every round has its own speed, every block noise of its own."""
    generator = np.random.default_rng(seed)
    drift = np.exp(generator.normal(0, 0.05, size=blocks))
    variants = []
    for name in bundles:
        for task_set in SETS:
            times = 1e6 * SIZES[task_set] * slower(name, task_set) * drift * np.exp(generator.normal(0, noise, blocks))
            variants.append(
                Variant(
                    key=Key("ssh://pi@board", name, task_set, "onnxruntime", 1, "0-3"),
                    runtime_version="1.31.1",
                    blocks=tuple(block(i, ns, seed=seed) for i, ns in enumerate(times)),
                    memory=Memory(30_000 + len(task_set), 29_000),
                    counts=Counts({"fma": 1000, "load": 400}, "qemu 7.2", "cortex-a72", {"conv1": {"fma": 1000}}),
                )
            )
    return Result(
        created="2026-11-22T14:05:00+00:00",
        pamc="0.1.0",
        command=("pamc", "bench", "build/digits"),
        seed=seed,
        complete=True,
        protocol=Protocol(),
        bundles={name: bundle() for name in bundles},
        devices={"ssh://pi@board": device(emulated)},
        variants=tuple(variants),
        baseline=baseline,
    )


def with_energy(given: Result) -> Result:
    """The same with a meter's reading for every variant."""
    metered = (replace(v, energy=Energy(1.25, "INA219")) for v in given.variants)
    return replace(given, variants=tuple(metered))
