"""Statistics against closed forms and scipy."""

import math

import numpy as np
import pytest
from scipy import stats as reference

from pamc_bench.stats import ratio, summarize


def test_quantiles_of_a_ladder() -> None:
    found = summarize(range(101))
    assert (found.n, found.p10, found.median, found.p90, found.p99, found.mad) == (101, 10, 50, 90, 99, 25)


def test_quantiles_lie_between_samples() -> None:
    found = summarize([1.0, 2.0])
    assert (found.median, found.p10, found.p90) == (1.5, pytest.approx(1.1), pytest.approx(1.9))


@pytest.mark.parametrize("n", [1, 2, 7, 400])
def test_against_scipy(n: int) -> None:
    values = np.random.default_rng(n).lognormal(size=n)
    found = summarize(values.tolist())
    assert found.mad == pytest.approx(reference.median_abs_deviation(values))
    for ours, percent in ((found.p10, 10), (found.median, 50), (found.p90, 90), (found.p99, 99)):
        assert ours == pytest.approx(reference.scoreatpercentile(values, percent))


def test_an_outlier_counts() -> None:
    assert summarize([1.0] * 50 + [1000.0]).p99 > 400


def test_the_interval_has_the_order_statistics_of_a_median() -> None:
    # For odd n the bootstrap median is at most the k-th value iff (n+1)/2 draws fall on the k lowest: binomial.
    n = 101
    middle = (n + 1) // 2
    below = [float(reference.binom.sf(middle - 1, n, k / n)) for k in range(1, n + 1)]
    low = next(k for k, p in enumerate(below, 1) if p >= 0.025)
    high = next(k for k, p in enumerate(below, 1) if p >= 0.975)
    values = [float(k) for k in range(1, n + 1)]
    found = ratio(values, [1.0] * n, resamples=20_000)
    assert (found.value, found.rounds) == (51.0, n)
    assert abs(found.low - low) <= 1 and abs(found.high - high) <= 1
    # The normal approximation of the same: n/2 -+ 1.96 sqrt(n)/2.
    assert found.low == pytest.approx(n / 2 - 1.96 * math.sqrt(n) / 2, abs=2)


def test_the_interval_agrees_with_scipy() -> None:
    generator = np.random.default_rng(5)
    below = generator.lognormal(sigma=0.2, size=150)
    above = below * generator.normal(1.3, 0.1, size=150)
    found = ratio(above.tolist(), below.tolist(), resamples=8000)
    theirs = reference.bootstrap(
        (above / below,), np.median, method="percentile", n_resamples=8000, rng=np.random.default_rng(1)
    ).confidence_interval
    assert found.low == pytest.approx(theirs.low, abs=0.004)
    assert found.high == pytest.approx(theirs.high, abs=0.004)


def test_the_ratio_is_taken_round_by_round() -> None:
    # The medians of both are 4 and 4, but the variant takes twice as long in most rounds.
    assert ratio([2.0, 4.0, 8.0, 1.0, 8.0], [1.0, 2.0, 4.0, 4.0, 4.0]).value == 2.0


def test_long_series_are_cut_into_chunks_that_follow_the_seed() -> None:
    values = np.random.default_rng(0).normal(10, 1, size=30_000).tolist()
    first = ratio(values, [1.0] * len(values), resamples=200, seed=3)
    assert first == ratio(values, [1.0] * len(values), resamples=200, seed=3)
    assert first.low < first.value < first.high and first.high - first.low < 0.1
    assert first != ratio(values, [1.0] * len(values), resamples=200, seed=4)


@pytest.mark.parametrize(
    ("variant", "against"), [([], []), ([1.0], [1.0, 2.0]), ([1.0], [0.0]), ([float("nan")], [1.0])]
)
def test_nonsense_is_refused(variant: list[float], against: list[float]) -> None:
    with pytest.raises(ValueError, match=r"finite|rounds|positive"):
        ratio(variant, against)
