"""Measuring what operations take: small networks over a grid of shapes, and prices fitted to their times.

On this machine the clock is the thread's CPU time, so that other programs count little; the networks run in turn, in a
random order, and the median counts. `calibration_device` measures the same networks elsewhere. The prices are the
non-negative least squares of the relative errors.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from pamc.errors import ConfigError
from pamc.export import Exporter, Session
from pamc.graph import Graph
from pamc.lower import bare_plan, load_target, target_names
from pamc.lower.cost_model import Costs, Kernels, price_names, total_amounts
from pamc.progress import Progress
from pamc_bench.cost_grid import cost_grid
from pamc_bench.environment import cpu_name, describe_machine
from pamc_bench.protocol import Warmup, measure

__all__ = [
    "KERNELS",
    "PACKAGES",
    "Fit",
    "calibrate",
    "file_stem",
    "fit_costs",
    "fit_prices",
    "identity",
    "kernels_of",
    "task_set_of",
    "write_network",
]

# In bytes: of one core, as most machines have it; the L2 of a Raspberry Pi 4 (BCM2711), which its cores share.
CACHES = {"x86_64": 2 * 1024**2, "aarch64": 1024**2}
KERNELS: Mapping[str, Mapping[str, Kernels]] = {
    "onnxruntime": {
        # NCHWc blocks: 16 channels with AVX-512.
        "x86_64": Kernels(tile=16, read_tile=16, tiles=4, narrow_tail=True, adds_in_place=True, cache=CACHES["x86_64"]),
        # No NCHWc blocks in the published builds (microsoft/onnxruntime#26171), but a matrix of all windows, times 4
        # rows of weights at once. `pamc bench --counts --per-layer` on emulated://rpi4 shows it: 3x3 on 64x14x14 takes
        # 636,000 instructions and 146,000 for every 4 channels that come out; 1x1 has hardly such a fixed part.
        # Additions are part of the FusedConv before them.
        "aarch64": Kernels(
            tile=4,
            read_tile=1,
            tiles=1,
            narrow_tail=False,
            adds_in_place=True,
            cache=CACHES["aarch64"],
            unrolls=True,
        ),
    },
    "litert": {
        # XNNPACK: 16 columns for narrow layers, else 32.
        "x86_64": Kernels(
            tile=16, read_tile=1, tiles=2, narrow_tail=False, adds_in_place=False, cache=CACHES["x86_64"]
        ),
        # XNNPACK: 8 columns for float32 (nr on arm64 in src/configs/gemm-config.c), as channel_tile of arm64.yaml.
        # Counted as well: 12 channels take no fewer instructions than 16, and there is no fixed part.
        "aarch64": Kernels(
            tile=8, read_tile=1, tiles=1, narrow_tail=False, adds_in_place=False, cache=CACHES["aarch64"]
        ),
    },
}
PACKAGES = {"onnxruntime": "onnxruntime", "litert": "ai-edge-litert"}
NS = 1e9
# In turn, but several times each: a network that has just run finds its weights in the cache, as in use.
REPEATS = 8
LONGEST_STEM = 160


@dataclass(frozen=True, slots=True)
class Fit:
    """Prices, and the relative error of the times that they predict: its median and its 90th percentile."""

    costs: Costs
    median_error: float
    worst_tenth: float
    networks: int


def kernels_of(runtime: str, machine: str) -> Kernels:
    """The kernels of a runtime on a processor such as aarch64. Raises ConfigError where they are not known."""
    known = KERNELS[runtime]
    if machine not in known:
        raise ConfigError(
            f"the kernels of {runtime} on {machine} are not known", cure=f"use one of: {', '.join(known)}"
        )
    return known[machine]


def task_set_of(graph: Graph) -> str:
    """The task set that a network of the grid is written as: all of its outputs."""
    return "+".join(graph.outputs)


def write_network(exporter: Exporter, graph: Graph, machine: str, folder: Path) -> None:
    """Write a network of the grid for a processor such as aarch64 into the new ``folder``."""
    # Targets of one processor differ in nothing that these networks have.
    target = next(name for name in target_names() if load_target(name).arch == machine)
    folder.mkdir(parents=True)
    exporter.write({task_set_of(graph): bare_plan(graph, target)}, folder, {})


def _repeatedly(session: Session, x: NDArray[np.float32]) -> None:
    for _ in range(REPEATS):
        session.run(x)


def _times(
    exporter: Exporter, graphs: Mapping[str, Graph], machine: str, folder: Path, runs: int, progress: Progress
) -> dict[str, float]:
    """Seconds of one inference of each network."""
    functions: dict[str, Callable[[], object]] = {}
    for number, (name, graph) in enumerate(graphs.items()):
        place = folder / str(number)
        write_network(exporter, graph, machine, place)
        session = exporter.open(place, task_set_of(graph))
        x = np.random.default_rng(number).standard_normal((1, *graph.shapes["x"])).astype(np.float32)
        functions[name] = partial(_repeatedly, session, x)
    with progress.track(100, "calibration") as bar:
        told = 0

        def advance(done: float) -> None:
            nonlocal told
            bar.advance(int(100 * done) - told)
            told = int(100 * done)

        samples = measure(
            functions,
            min_runs=runs,
            min_seconds=0,
            warmup=Warmup(min_seconds=0, max_seconds=0),
            on_progress=advance,
            clock=time.thread_time_ns,
        )
    return {name: float(np.median(item.ns)) / NS / REPEATS for name, item in samples.items()}


def _non_negative(matrix: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """argmin |matrix x - wanted| over x >= 0 (Lawson and Hanson 1974, chapter 23)."""
    found = np.zeros(matrix.shape[1])
    free = np.zeros(matrix.shape[1], dtype=bool)
    scale = 1e-10 * max(1.0, float(np.abs(matrix.T @ wanted).max()))
    while not free.all():
        slope = matrix.T @ (wanted - matrix @ found)
        slope[free] = -np.inf
        if slope.max() <= scale:
            break
        free[int(slope.argmax())] = True
        while True:
            trial = np.zeros_like(found)
            trial[free] = np.linalg.lstsq(matrix[:, free], wanted, rcond=None)[0]
            if trial[free].min() > 0:
                break
            low = free & (trial <= 0)
            step = float(np.min(found[low] / np.maximum(found[low] - trial[low], 1e-300)))
            found += step * (trial - found)
            free &= found > 1e-300
            found[~free] = 0.0
        found = trial
    return found


def fit_prices(
    taken: Sequence[Mapping[str, float]], times: Sequence[float], names: Sequence[str]
) -> tuple[dict[str, float], NDArray[np.float64]]:
    """Prices ``>= 0`` of least squared relative error, and these errors; ``times`` are positive seconds."""
    seconds = np.asarray(times, dtype=np.float64)
    matrix = np.array([[amounts[name] for name in names] for amounts in taken], dtype=np.float64) / seconds[:, None]
    # Columns of one size: amounts run from one operation to millions of multiplications.
    sizes = np.maximum(np.linalg.norm(matrix, axis=0), 1e-300)
    prices = _non_negative(matrix / sizes, np.ones(len(seconds))) / sizes
    return dict(zip(names, map(float, prices), strict=True)), np.abs(matrix @ prices - 1.0)


def fit_costs(runtime: str, how: str, kernels: Kernels, graphs: Mapping[str, Graph], times: Mapping[str, float]) -> Fit:
    """Fit the prices of ``runtime`` to the seconds that each of ``graphs`` took.

    The costs say ``how`` that was measured, on how many networks, and how well the prices fit.
    """
    names = price_names(kernels)
    taken = [total_amounts(graph, kernels) for graph in graphs.values()]
    prices, errors = fit_prices(taken, [times[name] for name in graphs], names)
    middle, tenth = float(np.median(errors)), float(np.quantile(errors, 0.9))
    measured = f"{how}; {len(graphs)} networks, fitted to {middle:.0%} (median) and {tenth:.0%} (p90)"
    return Fit(Costs(runtime, measured, kernels, prices), middle, tenth, len(graphs))


def file_stem(*words: str | None) -> str:
    """``words``, each once, as the name of a file without its ending: lower case, letters and digits of ASCII and dots.

    Whatever they hold, it leads to no other folder.
    """
    text = " ".join(filter(None, dict.fromkeys(words))).lower()
    parts = "".join(c if c.isascii() and (c.isalnum() or c == ".") else " " for c in text).split()
    return "-".join(parts).strip(".-")[:LONGEST_STEM]


def identity(runtime: str) -> str:
    """This machine and the runtime's version, as the name of a file."""
    return file_stem(runtime, version(PACKAGES[runtime]), cpu_name())


def calibrate(
    runtime: str,
    exporter: Exporter,
    machine: str,
    progress: Progress,
    *,
    runs: int,
    quick: bool = False,
) -> Fit:
    """Time the grid on this machine, a ``machine`` such as x86_64, in one thread and fit the prices of ``runtime``.

    Raises ConfigError where the kernels are not known.
    """
    kernels = kernels_of(runtime, machine)
    graphs = dict(cost_grid(quick))
    with TemporaryDirectory(prefix="pamc-calibrate-") as folder:
        times = _times(exporter, graphs, machine, Path(folder), runs, progress)
    how = f"{describe_machine((PACKAGES[runtime],))}; thread CPU time, one thread, median of {runs} runs"
    return fit_costs(runtime, how, kernels, graphs, times)
