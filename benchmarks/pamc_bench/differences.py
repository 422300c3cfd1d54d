"""By how much one measurement differs from another: Hodges-Lehmann estimates with exact rank intervals.

Ratios are compared by their logarithms, so that "A against B" and "B against A" say the same. The intervals hold for
any distribution of the times, with the few blocks that a measurement has, and need no random numbers:

* blocks of the same rounds are compared in pairs; the order within a round is drawn by lot, so without a difference
  the sign of each pair is a fair coin, which is all that the signed-rank interval needs (Hollander, Wolfe and Chicken,
  "Nonparametric Statistical Methods", 3rd edition, sections 3.2 and 3.3);
* blocks of separate measurements are compared each with each (the same, sections 4.2 and 4.3).

A block that another program disturbed moves them little: up to 29 % of the blocks may be arbitrarily wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from pamc_bench.stats import Interval, numbers

__all__ = ["Interval", "paired_change", "unpaired_change"]

# Beyond these sizes the normal approximation of the ranks' distribution is right to the third digit.
EXACT_PAIRS = 60
EXACT_BLOCKS = 30


@cache
def _signed_rank_tail(n: int) -> tuple[float, ...]:
    """P(W <= w) for w = 0, 1, ...: W is the sum of those of the ranks 1..n whose coin shows heads."""
    ways = np.zeros(n * (n + 1) // 2 + 1)
    ways[0] = 1.0
    for rank in range(1, n + 1):
        ways[rank:] += ways[:-rank].copy()
    return tuple(float(p) for p in np.cumsum(ways) / 2.0**n)


@cache
def _rank_sum_tail(n: int, m: int) -> tuple[float, ...]:
    """P(U <= u) for u = 0, 1, ...: of n + m places n are drawn, U counts the pairs (drawn, not drawn) in order.

    By the recurrence of Mann and Whitney (1947): the largest is drawn, or not.
    """
    table = [np.zeros((m + 1, n * m + 1)) for _ in range(n + 1)]
    for i in range(n + 1):
        for j in range(m + 1):
            if i == 0 or j == 0:
                table[i][j][0] = 1.0
                continue
            table[i][j][j:] += table[i - 1][j][: n * m + 1 - j]
            table[i][j] += table[i][j - 1]
    return tuple(float(p) for p in np.cumsum(table[n][m]) / math.comb(n + m, n))


def _cut(tail: Sequence[float], confidence: float) -> tuple[int, float]:
    """How many of the ordered averages lie outside on each side, and the confidence that this has; at least 0."""
    outside = 0
    while outside + 1 < len(tail) and 2 * tail[outside] <= 1 - confidence:
        outside += 1
    cut = max(outside - 1, 0)
    return cut, 1 - 2 * tail[cut]


def _normal_cut(mean: float, variance: float, confidence: float) -> tuple[int, float]:
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    return max(0, math.floor(mean - z * math.sqrt(variance) - 0.5)), confidence


def _ordered(averages: NDArray[np.float64], cut: int, confidence: float) -> Interval:
    averages.sort()
    low, high = float(averages[cut]), float(averages[-1 - cut])
    middle = float(np.median(averages))
    return Interval(math.expm1(middle), math.expm1(low), math.expm1(high), confidence)


def _logarithms(values: Sequence[float], what: str) -> NDArray[np.float64]:
    array = numbers(values, what)
    if (array <= 0).any():
        raise ValueError(f"{what} should be positive")
    logarithms: NDArray[np.float64] = np.log(array)
    return logarithms


def paired_change(after: Sequence[float], before: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """The relative change from ``before`` to ``after``, 0.05 for 5 % more; item ``i`` of both is of the same round.

    Fewer than six rounds cannot reach 95 %: the interval is then the range of the rounds, with the confidence that
    this has, 1 - 2^(1-n). Raises ValueError for unequal lengths and for values that are not positive.
    """
    above, below = _logarithms(after, "after"), _logarithms(before, "before")
    if above.size != below.size:
        raise ValueError(f"{above.size} rounds after but {below.size} before")
    n = above.size
    changes = above - below
    first, second = np.triu_indices(n)
    walsh = (changes[first] + changes[second]) / 2
    if n <= EXACT_PAIRS:
        cut, reached = _cut(_signed_rank_tail(n), confidence)
    else:
        cut, reached = _normal_cut(n * (n + 1) / 4, n * (n + 1) * (2 * n + 1) / 24, confidence)
    return _ordered(walsh, cut, reached)


def unpaired_change(after: Sequence[float], before: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """The relative change from ``before`` to ``after``, measured apart from each other.

    Four blocks of each are the fewest that reach 95 %. What the machine did differently between the two measurements
    counts as a difference. Raises ValueError for values that are not positive.
    """
    above, below = _logarithms(after, "after"), _logarithms(before, "before")
    n, m = above.size, below.size
    differences = np.subtract.outer(above, below).ravel()
    if max(n, m) <= EXACT_BLOCKS:
        cut, reached = _cut(_rank_sum_tail(n, m), confidence)
    else:
        cut, reached = _normal_cut(n * m / 2, n * m * (n + m + 1) / 12, confidence)
    return _ordered(differences, cut, reached)
