"""Robust statistics of latency samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Interval", "Ratio", "Summary", "block_interval", "block_variation", "numbers", "ratio", "summarize"]

CHUNK = 1_000_000


@dataclass(frozen=True, slots=True)
class Summary:
    """Quantiles (linear between samples) and the median absolute deviation, in the unit of the samples."""

    n: int
    median: float
    p10: float
    p90: float
    p99: float
    mad: float
    least: float
    mean: float


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median of per-round ratios with the bounds of its bootstrap interval."""

    value: float
    low: float
    high: float
    rounds: int


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and the bounds within which it lies with a probability of about ``confidence``."""

    value: float
    low: float
    high: float
    confidence: float

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2


def numbers(values: Sequence[float], what: str) -> NDArray[np.float64]:
    """``values`` as an array. Raises ValueError when there are none, or one is not finite."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"{what} should be at least one finite number")
    return array


def summarize(values: Sequence[float]) -> Summary:
    """The statistics of all ``values``; none is treated as an outlier."""
    array = numbers(values, "values")
    p10, middle, p90, p99 = (float(q) for q in np.quantile(array, (0.1, 0.5, 0.9, 0.99)))
    mad = float(np.median(np.abs(array - middle)))
    return Summary(array.size, middle, p10, p90, p99, mad, float(array.min()), float(array.mean()))


def block_variation(medians: Sequence[float]) -> float:
    """The coefficient of variation of the blocks: standard deviation (n - 1) over mean; 0 for one block."""
    array = numbers(medians, "medians")
    return float(array.std(ddof=1) / array.mean()) if array.size > 1 else 0.0


def _bootstrap_medians(values: NDArray[np.float64], resamples: int, seed: int) -> NDArray[np.float64]:
    generator = np.random.default_rng(seed)
    medians: list[NDArray[np.float64]] = []
    rows = max(1, CHUNK // values.size)
    for start in range(0, resamples, rows):
        picks = generator.integers(values.size, size=(min(rows, resamples - start), values.size))
        medians.append(np.median(values[picks], axis=1))
    return np.concatenate(medians)


def _percentiles(values: NDArray[np.float64], confidence: float, resamples: int, seed: int) -> tuple[float, float]:
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(_bootstrap_medians(values, resamples, seed), (tail, 1.0 - tail))
    return float(low), float(high)


def block_interval(
    medians: Sequence[float], *, confidence: float = 0.95, resamples: int = 4000, seed: int = 0
) -> Interval:
    """The median of the medians of the blocks, with the percentile bootstrap over blocks.

    Runs of one block share what the process got at its start, such as where its memory lies, so they are no
    independent measurements; blocks are (cluster bootstrap: Davison and Hinkley 1997, section 3.8). With five blocks
    the interval is their whole range.
    """
    array = numbers(medians, "medians")
    return Interval(float(np.median(array)), *_percentiles(array, confidence, resamples, seed), confidence)


def ratio(
    variant: Sequence[float],
    reference: Sequence[float],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Ratio:
    """How many times as long ``variant`` takes as ``reference``; item ``i`` of both is of the same round.

    The interval is the percentile bootstrap over rounds.
    """
    above, below = numbers(variant, "variant"), numbers(reference, "reference")
    if above.size != below.size:
        raise ValueError(f"{above.size} rounds of the variant but {below.size} of the reference")
    if (below <= 0).any():
        raise ValueError("the reference should be positive")
    ratios = above / below
    low, high = _percentiles(ratios, confidence, resamples, seed)
    return Ratio(float(np.median(ratios)), low, high, ratios.size)
