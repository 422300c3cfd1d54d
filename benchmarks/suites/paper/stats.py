"""Means over seeds with their confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Mean", "mean_of", "t_quantile"]

CONFIDENCE = 0.95
TOLERANCE = 1e-12


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean with the half-width of its 95 % t-interval; None for a single value."""

    value: float
    half: float | None
    count: int

    @property
    def low(self) -> float:
        """Lower end; the value itself when there is no interval."""
        return self.value - (self.half or 0.0)

    @property
    def high(self) -> float:
        """Upper end; the value itself when there is no interval."""
        return self.value + (self.half or 0.0)


def mean_of(values: Sequence[float]) -> Mean:
    """mean +- t s / sqrt(n), with t of n - 1 degrees of freedom and s the sample standard deviation."""
    if not values:
        raise ValueError("no values")
    count = len(values)
    mean = float(np.mean(values))
    if count == 1:
        return Mean(mean, None, 1)
    spread = float(np.std(values, ddof=1)) / math.sqrt(count)
    return Mean(mean, t_quantile((1 + CONFIDENCE) / 2, count - 1) * spread, count)


def t_quantile(probability: float, freedom: int) -> float:
    """The value that Student's t stays below with ``probability`` (0.5 to 1), by bisection."""
    if freedom < 1 or not 0.5 <= probability < 1:
        raise ValueError("needs at least one degree of freedom and a probability from 0.5 to 1")
    low, high = 0.0, 1.0
    while _cdf(high, freedom) < probability:
        high *= 2
    while high - low > TOLERANCE * max(1.0, high):
        middle = (low + high) / 2
        low, high = (middle, high) if _cdf(middle, freedom) < probability else (low, middle)
    return (low + high) / 2


def _cdf(t: float, freedom: int) -> float:
    """P(T <= t) for whole degrees of freedom: Abramowitz and Stegun 26.7.3 and 26.7.4."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine, sine = math.cos(angle), math.sin(angle)
    total, term = 0.0, cosine if freedom % 2 else 1.0
    for step in range(2 + freedom % 2, freedom + 1, 2):
        total += term
        term *= cosine * cosine * (step - 1) / step
    inside = sine * total if freedom % 2 == 0 else 2 / math.pi * (angle + sine * total)
    return 0.5 + inside / 2
