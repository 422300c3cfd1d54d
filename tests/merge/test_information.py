"""The estimator against a naive double loop, and what Regroup makes of units whose owners are known."""

import math

import numpy as np
import pytest

from pamc.merge.information import Labels, encode_labels, greedy_irrelevant, information
from pamc.merge.pam import PamOptions, regroup, standardised


def naive_entropy(x: np.ndarray, variance: float) -> float:
    """Kolchinsky & Tracey's upper bound, term by term; x is (n, d)."""
    count, size = x.shape
    total = 0.0
    for i in range(count):
        inner = sum(math.exp(-float(((x[i] - x[j]) ** 2).sum()) / (2 * variance)) for j in range(count))
        total += math.log(inner / count)
    return size / 2 + size / 2 * math.log(2 * math.pi * variance) - total / count


def naive_information(x: np.ndarray, member: np.ndarray, components: int, variance: float) -> float:
    conditional = 0.0
    for column in member.T:
        inside = x[column > 0]
        if len(inside):
            # Entropies are scaled by the class's share; each component's shares sum to one.
            conditional += len(inside) / len(x) * naive_entropy(inside, variance)
    return components * naive_entropy(x, variance) - conditional


@pytest.mark.parametrize("kind", ["class", "binary", "real"])
def test_information_equals_a_naive_double_loop(kind: str) -> None:
    rng = np.random.default_rng(0)
    units = rng.normal(size=(40, 5))
    values = {
        "class": rng.integers(0, 4, 40),
        "binary": np.where(rng.normal(size=(40, 3)) > 0, 1, -1),
        "real": rng.normal(size=(40, 2)),
    }[kind]
    labels = encode_labels(values, kind)
    found = information(units, labels, 0.3)
    wanted = [naive_information(units[:, [u]], labels.member, labels.components, 0.3) for u in range(5)]
    np.testing.assert_allclose(found, wanted, atol=1e-10)


def test_a_class_that_is_absent_is_skipped() -> None:
    units = np.random.default_rng(1).normal(size=(30, 3))
    labels = encode_labels(np.ones((30, 1)), "binary")
    np.testing.assert_allclose(information(units, labels, 0.5), 0.0, atol=1e-12)


def test_the_ceiling_is_the_label_entropy() -> None:
    labels = encode_labels(np.repeat(np.arange(4), 25), "class")
    assert labels.entropy == pytest.approx(math.log(4))
    far_apart = np.arange(100.0)[:, None] * 100
    assert information(far_apart, labels, 0.1)[0] == pytest.approx(math.log(4), abs=1e-9)


def naive_greedy(units: np.ndarray, labels: Labels, variance: float, threshold: float) -> list[int]:
    taken: list[int] = []
    left = list(range(units.shape[1]))
    while left:
        gains = [naive_information(units[:, [*taken, u]], labels.member, labels.components, variance) for u in left]
        best = int(np.argmin(gains))
        if gains[best] > threshold:
            break
        taken.append(left.pop(best))
    return taken


def test_greedy_takes_the_units_of_a_naive_greedy() -> None:
    rng = np.random.default_rng(2)
    labels = encode_labels(rng.integers(0, 2, 24), "class")
    units = rng.normal(size=(24, 7)) + labels.member[:, :1] * np.linspace(0, 4, 7)
    wanted = naive_greedy(units, labels, 3.0, 0.3 * labels.entropy)
    found = np.flatnonzero(greedy_irrelevant(units, labels, 3.0, 0.3 * labels.entropy))
    assert 0 < len(wanted) < 7
    assert sorted(wanted) == found.tolist()


def planted(seed: int) -> tuple[np.ndarray, list[Labels], np.ndarray]:
    """Units that know of task A, of task B, of both, or of nothing, and their true owners."""
    rng = np.random.default_rng(seed)
    sources = {name: rng.normal(size=(128, 5)) for name in ("a", "b", "both")}
    targets = [np.where(sources[name] + sources["both"] > 0, 1, -1) for name in ("a", "b")]

    def units(source: np.ndarray, count: int) -> np.ndarray:
        mixed = 1.5 * source @ (rng.normal(size=(5, count)) / math.sqrt(5))
        return np.maximum(mixed + 0.5 * rng.normal(size=mixed.shape), 0)

    x = np.concatenate(
        [units(sources["a"], 16), units(sources["b"], 16), units(sources["both"], 16), np.zeros((128, 8))], axis=1
    )
    owners = np.array([1] * 16 + [2] * 16 + [3] * 16 + [0] * 8)
    return x, [encode_labels(values, "binary") for values in targets], owners


def test_regroup_recovers_planted_owners() -> None:
    right = {1: [], 2: [], 3: [], 0: []}
    for seed in range(3):
        x, labels, owners = planted(seed)
        found = regroup(standardised(x), labels, PamOptions())
        for mask, hits in right.items():
            hits += (found[owners == mask] == mask).tolist()
    assert np.mean(right[1] + right[2]) >= 0.9
    assert np.mean(right[3]) >= 0.95
    assert all(right[0])


def test_the_robust_estimator_does_not_depend_on_the_scale_of_units() -> None:
    x, labels, _ = planted(3)
    scales = np.random.default_rng(0).uniform(0.01, 100, x.shape[1])
    wanted = regroup(standardised(x), labels, PamOptions())
    assert (regroup(standardised(x * scales), labels, PamOptions()) == wanted).all()


def test_the_papers_estimator_is_absolute() -> None:
    x, labels, _ = planted(4)
    nothing = regroup(x, labels, PamOptions(estimator="paper", alpha=0.0))
    everything = regroup(x, labels, PamOptions(estimator="paper", alpha=1e3))
    assert (nothing[:48] == 3).all()
    assert (everything == 0).all()
