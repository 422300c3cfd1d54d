"""Robust statistics of latency samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Ratio", "Summary", "ratio", "summarize"]

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


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median of per-round ratios with the bounds of its bootstrap interval."""

    value: float
    low: float
    high: float
    rounds: int


def _array(values: Sequence[float], what: str) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"{what} should be at least one finite number")
    return array


def summarize(values: Sequence[float]) -> Summary:
    """The statistics of all ``values``; none is treated as an outlier."""
    array = _array(values, "values")
    p10, middle, p90, p99 = (float(q) for q in np.quantile(array, (0.1, 0.5, 0.9, 0.99)))
    return Summary(array.size, middle, p10, p90, p99, float(np.median(np.abs(array - middle))))


def _bootstrap_medians(values: NDArray[np.float64], resamples: int, seed: int) -> NDArray[np.float64]:
    generator = np.random.default_rng(seed)
    medians: list[NDArray[np.float64]] = []
    rows = max(1, CHUNK // values.size)
    for start in range(0, resamples, rows):
        picks = generator.integers(values.size, size=(min(rows, resamples - start), values.size))
        medians.append(np.median(values[picks], axis=1))
    return np.concatenate(medians)


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
    above, below = _array(variant, "variant"), _array(reference, "reference")
    if above.size != below.size:
        raise ValueError(f"{above.size} rounds of the variant but {below.size} of the reference")
    if (below <= 0).any():
        raise ValueError("the reference should be positive")
    ratios = above / below
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(_bootstrap_medians(ratios, resamples, seed), (tail, 1.0 - tail))
    return Ratio(float(np.median(ratios)), float(low), float(high), ratios.size)
