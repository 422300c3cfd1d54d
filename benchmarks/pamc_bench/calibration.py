"""Measuring what operations take: small networks over a grid of shapes, and prices fitted to their times.

The clock is the thread's CPU time, so that other programs on the machine count little; the networks run in turn, in a
random order, and the median counts. The prices are the non-negative least squares of the relative errors.
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

from pamc.export import Exporter, Session
from pamc.graph import Graph
from pamc.graph.cost import graph_macs, graph_params
from pamc.lower import Plan
from pamc.lower.cost_model import Costs, Kernels, price_names, total_amounts
from pamc.progress import Progress
from pamc_bench.cost_grid import cost_grid
from pamc_bench.environment import cpu_name, describe_machine
from pamc_bench.protocol import Warmup, measure

__all__ = ["KERNELS", "PACKAGES", "Fit", "calibrate", "fit_prices", "identity"]

# Of one core, as most machines have it.
CACHE = 2 * 1024**2
KERNELS: Mapping[str, Mapping[str, Kernels]] = {
    "onnxruntime": {
        # NCHWc blocks: 16 channels with AVX-512.
        "x86_64": Kernels(tile=16, read_tile=16, tiles=4, narrow_tail=True, adds_in_place=True, cache=CACHE),
    },
    "litert": {
        # XNNPACK: 16 columns for narrow layers, else 32.
        "x86_64": Kernels(tile=16, read_tile=1, tiles=2, narrow_tail=False, adds_in_place=False, cache=CACHE),
    },
}
PACKAGES = {"onnxruntime": "onnxruntime", "litert": "ai-edge-litert"}
NS = 1e9
# In turn, but several times each: a network that has just run finds its weights in the cache, as in use.
REPEATS = 8


@dataclass(frozen=True, slots=True)
class Fit:
    """Prices, and the relative error of the times that they predict: its median and its 90th percentile."""

    costs: Costs
    median_error: float
    worst_tenth: float
    networks: int


def _repeatedly(session: Session, x: NDArray[np.float32]) -> None:
    for _ in range(REPEATS):
        session.run(x)


def _plan(graph: Graph, target: str) -> Plan:
    everything = dict.fromkeys(graph.by_name, 1)
    sources = {name: name for name in graph.by_name}
    return Plan("grid", 1, target, graph, everything, sources, graph_macs(graph), graph_params(graph))


def _times(
    exporter: Exporter, graphs: Mapping[str, Graph], target: str, folder: Path, runs: int, progress: Progress
) -> dict[str, float]:
    """Seconds of one inference of each network."""
    functions: dict[str, Callable[[], object]] = {}
    for number, (name, graph) in enumerate(graphs.items()):
        place = folder / str(number)
        place.mkdir()
        exporter.write({"grid": _plan(graph, target)}, place, {})
        session = exporter.open(place, "grid")
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


def identity(runtime: str) -> str:
    """This machine and the runtime's version, as the name of a file."""
    words = f"{runtime} {version(PACKAGES[runtime])} {cpu_name()}".lower()
    return "-".join("".join(c if c.isalnum() or c == "." else " " for c in words).split())


def calibrate(
    runtime: str,
    exporter: Exporter,
    target: str,
    kernels: Kernels,
    progress: Progress,
    *,
    runs: int,
    quick: bool = False,
) -> Fit:
    """Time the grid on this machine in one thread and fit the prices of ``runtime``."""
    graphs = dict(cost_grid(quick))
    with TemporaryDirectory(prefix="pamc-calibrate-") as folder:
        times = _times(exporter, graphs, target, Path(folder), runs, progress)
    names = price_names(kernels)
    taken = [total_amounts(graph, kernels) for graph in graphs.values()]
    prices, errors = fit_prices(taken, [times[name] for name in graphs], names)
    how = f"{describe_machine((PACKAGES[runtime],))}; thread CPU time, one thread, median of {runs} runs"
    costs = Costs(runtime, how, kernels, prices)
    return Fit(costs, float(np.median(errors)), float(np.quantile(errors, 0.9)), len(graphs))
