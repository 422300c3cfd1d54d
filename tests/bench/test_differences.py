"""Changes between measurements, against scipy, closed forms and what the intervals promise."""

import math

import numpy as np
import pytest
from scipy import stats as reference

from pamc_bench.differences import paired_change, unpaired_change
from pamc_bench.stats import block_interval, block_variation, summarize


def test_the_whole_interval_of_few_rounds_has_the_confidence_of_the_sign_test() -> None:
    for n in (1, 2, 3, 5):
        found = paired_change([2.0 + k for k in range(n)], [1.0] * n)
        assert found.confidence == 1 - 2 ** (1 - n)
        assert (found.low, found.high) == (pytest.approx(1.0), pytest.approx(n))


@pytest.mark.parametrize("n", [6, 7, 12, 25, 40])
def test_the_signed_rank_interval_is_the_set_of_changes_that_the_test_does_not_reject(n: int) -> None:
    generator = np.random.default_rng(n)
    before = np.exp(generator.normal(size=n))
    after = before * np.exp(generator.normal(0.03, 0.05, size=n))
    found = paired_change(after.tolist(), before.tolist())
    assert found.confidence >= 0.95
    logs = np.log(after) - np.log(before)

    def p(change: float) -> float:
        return float(reference.wilcoxon(logs - math.log1p(change), method="exact").pvalue)

    for inside in (found.low + 1e-9, found.value, found.high - 1e-9):
        assert p(inside) > 1 - found.confidence + 1e-9
    for outside in (found.low - 1e-9, found.high + 1e-9):
        assert p(outside) <= 1 - found.confidence + 1e-9


@pytest.mark.parametrize(("n", "m"), [(4, 4), (5, 5), (5, 9), (20, 13)])
def test_the_rank_sum_interval_is_the_set_of_changes_that_the_test_does_not_reject(n: int, m: int) -> None:
    generator = np.random.default_rng(n * m)
    before, after = np.exp(generator.normal(0, 0.1, size=m)), np.exp(generator.normal(0.05, 0.1, size=n))
    found = unpaired_change(after.tolist(), before.tolist())
    assert found.confidence >= 0.95

    def p(change: float) -> float:
        moved = np.log(after) - math.log1p(change)
        return float(reference.mannwhitneyu(moved, np.log(before), method="exact").pvalue)

    for inside in (found.low + 1e-9, found.value, found.high - 1e-9):
        assert p(inside) > 1 - found.confidence + 1e-9
    for outside in (found.low - 1e-9, found.high + 1e-9):
        assert p(outside) <= 1 - found.confidence + 1e-9


def test_large_samples_agree_with_the_exact_ones() -> None:
    # One block more than the exact tables take: the interval hardly moves.
    generator = np.random.default_rng(3)
    before = np.exp(generator.normal(0, 0.1, size=61))
    after = before * np.exp(generator.normal(0.02, 0.05, size=61))
    exact, normal = (paired_change(after[:k].tolist(), before[:k].tolist()) for k in (60, 61))
    assert normal.half_width == pytest.approx(exact.half_width, rel=0.05)
    exact, normal = (unpaired_change(after[:k].tolist(), before[:k].tolist()) for k in (30, 31))
    assert normal.half_width == pytest.approx(exact.half_width, rel=0.1)


def test_the_direction_does_not_matter() -> None:
    generator = np.random.default_rng(1)
    a, b = (np.exp(generator.normal(size=9)).tolist() for _ in range(2))
    for change in (paired_change, unpaired_change):
        there, back = change(a, b), change(b, a)
        assert (1 + there.value) * (1 + back.value) == pytest.approx(1)
        assert (1 + there.low) * (1 + back.high) == pytest.approx(1)


def test_pairs_cancel_the_drift_that_both_see() -> None:
    generator = np.random.default_rng(5)
    drift = np.exp(generator.normal(0, 0.3, size=12))
    before = drift * np.exp(generator.normal(0, 0.005, size=12))
    after = 1.05 * drift * np.exp(generator.normal(0, 0.005, size=12))
    paired = paired_change(after.tolist(), before.tolist())
    assert 0.04 < paired.low < 0.05 < paired.high < 0.06
    assert unpaired_change(after.tolist(), before.tolist()).half_width > 20 * paired.half_width


def test_disturbed_blocks_hardly_count() -> None:
    generator = np.random.default_rng(6)
    before = np.exp(generator.normal(0, 0.005, size=20))
    after = np.exp(generator.normal(0, 0.005, size=20))
    after[:4] *= 10
    found = paired_change(after.tolist(), before.tolist())
    assert abs(found.value) < 0.01 and found.low < 0 < found.high


def test_without_a_change_95_percent_of_the_intervals_hold_none() -> None:
    # Heavy tails and unequal rounds: only the drawn order counts.
    generator = np.random.default_rng(7)
    wrong = 0
    for _ in range(1000):
        noise = generator.standard_t(2, size=(2, 10)) * 0.02
        found = paired_change(np.exp(noise[0]).tolist(), np.exp(noise[1]).tolist())
        wrong += not found.low <= 0 <= found.high
    # 4.9 % are expected; 1000 fair draws exceed 6.6 % once in two hundred.
    assert wrong <= 66


def test_a_planted_slow_down_is_found_in_95_percent() -> None:
    generator = np.random.default_rng(8)
    found = 0
    for _ in range(300):
        noise = generator.normal(0, 0.014, size=(2, 40))
        found += paired_change((1.05 * np.exp(noise[0])).tolist(), np.exp(noise[1]).tolist()).low > 0.03
    assert found >= 285


@pytest.mark.parametrize(("after", "before"), [([], []), ([1.0], [1.0, 2.0]), ([1.0], [0.0]), ([math.nan], [1.0])])
def test_nonsense_is_refused(after: list[float], before: list[float]) -> None:
    with pytest.raises(ValueError, match=r"finite|rounds|positive"):
        paired_change(after, before)


def test_the_interval_over_five_blocks_is_their_range() -> None:
    # P(the median of 5 draws of 5 is the least) = P(at least 3 draws are the least) = 0.058 > 0.025.
    found = block_interval([3.0, 1.0, 5.0, 2.0, 4.0])
    assert (found.low, found.value, found.high) == (1.0, 3.0, 5.0)


def test_the_interval_over_blocks_agrees_with_scipy() -> None:
    medians = np.random.default_rng(9).lognormal(sigma=0.1, size=40)
    found = block_interval(medians.tolist(), resamples=20_000)
    theirs = reference.bootstrap(
        (medians,), np.median, method="percentile", n_resamples=20_000, rng=np.random.default_rng(1)
    ).confidence_interval
    assert found.low == pytest.approx(theirs.low, rel=0.005) and found.high == pytest.approx(theirs.high, rel=0.005)


def test_variation_least_and_mean() -> None:
    values = [3.0, 1.0, 8.0]
    found = summarize(values)
    assert (found.least, found.mean) == (1.0, 4.0)
    assert block_variation(values) == pytest.approx(reference.variation(values, ddof=1))
    assert block_variation([2.0]) == 0.0
