"""The estimator against a naive double loop, and what Regroup makes of units whose owners are known."""

import math

import numpy as np
import pytest
import torch

from pamc.merge.information import Labels, encode_labels, information, irrelevant
from pamc.merge.regroup import RegroupOptions, regroup


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


@pytest.mark.parametrize(("variance", "rhos"), [(0.1, (0.3, 0.5)), (3.0, (0.05, 0.03))])
def test_each_task_gets_the_units_of_a_naive_greedy(variance: float, rhos: tuple[float, float]) -> None:
    rng = np.random.default_rng(2)
    labels = [encode_labels(rng.integers(0, 3, 24), "class"), encode_labels(rng.normal(size=(24, 2)) > 0, "binary")]
    units = 0.5 * rng.normal(size=(24, 9)) + labels[0].member[:, :1] * np.linspace(0, 4, 9)
    units[:, 4] = 7.0
    limits = [rho * known.entropy for rho, known in zip(rhos, labels, strict=True)]
    found = irrelevant(units, labels, variance, limits)
    for mask, known, limit in zip(found, labels, limits, strict=True):
        wanted = naive_greedy(units, known, variance, limit)
        assert 1 < len(wanted) < 9
        assert sorted(wanted) == np.flatnonzero(mask).tolist()


def test_thresholds_that_no_set_or_every_set_meets() -> None:
    rng = np.random.default_rng(3)
    units = rng.normal(size=(24, 5))
    one_class, labels = (encode_labels(values, "class") for values in (np.zeros(24), rng.integers(0, 3, 24)))
    found = irrelevant(units, [one_class, labels, labels], 0.1, [0.0, labels.entropy, -1.0])
    assert found.all(axis=1).tolist() == [True, True, False]
    assert not found[2].any()


def test_all_tasks_and_units_are_evaluated_by_one_product_per_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes networks of real width feasible; a loop over units or tasks would multiply the calls."""
    products: list[tuple[int, ...]] = []
    real = torch.bmm

    def counted(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        products.append(tuple(one.shape))
        return real(one, other)

    monkeypatch.setattr(torch, "bmm", counted)
    rng = np.random.default_rng(4)
    labels = [encode_labels(rng.integers(0, 4, 32), "class") for _ in range(4)]
    found = irrelevant(rng.normal(size=(32, 64)), labels, 3.0, [0.3 * known.entropy for known in labels])
    assert len(products) == found.sum(axis=1).max() + 1
    assert set(products) == {(32, 64, 32)}


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
        found = regroup(x, labels, RegroupOptions())
        for mask, hits in right.items():
            hits += (found[owners == mask] == mask).tolist()
    assert np.mean(right[1] + right[2]) >= 0.9
    assert np.mean(right[3]) >= 0.95
    assert all(right[0])


def test_the_robust_estimator_does_not_depend_on_the_scale_of_units() -> None:
    x, labels, _ = planted(3)
    scales = np.random.default_rng(0).uniform(0.01, 100, x.shape[1])
    wanted = regroup(x, labels, RegroupOptions())
    assert (regroup(x * scales, labels, RegroupOptions()) == wanted).all()


def test_the_papers_estimator_saturates_on_noise_where_the_robust_one_does_not() -> None:
    """Trap of the published code: a few units of noise already seem to say all about the labels."""
    rng = np.random.default_rng(0)
    labels = encode_labels(np.where(rng.normal(size=(128, 5)) > 0, 1, -1), "binary")
    noise = 4 * rng.normal(size=(128, 8))
    paper, robust = RegroupOptions(estimator="paper", alpha=0.3 * labels.entropy), RegroupOptions()
    assert (regroup(noise, [labels], paper) == 0).sum() <= 1
    assert (regroup(noise, [labels], robust) == 0).all()


def test_linear_layers_may_have_an_alpha_of_their_own() -> None:
    x, labels, _ = planted(4)
    options = RegroupOptions(estimator="paper", alpha=0.0, alpha_fc=1e3)
    assert (regroup(x, labels, options)[:48] == 3).all()
    assert (regroup(x, labels, options, linear=True) == 0).all()


def test_the_papers_estimator_is_absolute() -> None:
    x, labels, _ = planted(4)
    nothing = regroup(x, labels, RegroupOptions(estimator="paper", alpha=0.0))
    everything = regroup(x, labels, RegroupOptions(estimator="paper", alpha=1e3))
    assert (nothing[:48] == 3).all()
    assert (everything == 0).all()
