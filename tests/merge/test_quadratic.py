"""The arithmetic of zipping against a numeric optimiser and against the published formulas term by term."""

import numpy as np
import pytest
from scipy.optimize import minimize

from pamc.merge.quadratic import best_pairs, conditioned, functional_difference, merged_weights


def moment(rng: np.random.Generator, size: int) -> np.ndarray:
    factor = rng.normal(size=(size, size + 2)) * rng.uniform(0.2, 3, (size, 1))
    return factor @ factor.T


def cost(w: np.ndarray, weights: list[np.ndarray], moments: list[np.ndarray]) -> float:
    """Sum over tasks and taps of 1/2 (w - w_t)^T H_t (w - w_t); w is (inputs, taps)."""
    return sum(
        0.5 * float(((w - weight) * (held @ (w - weight))).sum()) for weight, held in zip(weights, moments, strict=True)
    )


@pytest.mark.parametrize("tasks", [2, 3])
def test_merged_weights_are_those_of_a_numeric_optimiser(tasks: int) -> None:
    rng = np.random.default_rng(tasks)
    weights = [rng.normal(size=(3, 4, 2)) for _ in range(tasks)]
    moments = [moment(rng, 4) for _ in range(tasks)]
    found = merged_weights(weights, moments)
    for unit in range(3):
        parts = [weight[unit] for weight in weights]
        best = minimize(lambda flat, parts=parts: cost(flat.reshape(4, 2), parts, moments), np.zeros(8), tol=1e-12)
        np.testing.assert_allclose(found[unit], best.x.reshape(4, 2), atol=1e-5)


def test_one_after_another_is_all_at_once() -> None:
    rng = np.random.default_rng(0)
    weights, moments = [rng.normal(size=(2, 3, 1)) for _ in range(3)], [moment(rng, 3) for _ in range(3)]
    two = merged_weights(weights[:2], moments[:2])
    np.testing.assert_allclose(
        merged_weights([two, weights[2]], [moments[0] + moments[1], moments[2]]), merged_weights(weights, moments)
    )


def test_each_unit_may_have_a_moment_of_its_own() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(2, 5, 2, 3))
    first, second = (np.stack([moment(rng, 2) for _ in range(5)]) for _ in range(2))
    together = merged_weights([one, other], [first, second])
    for unit in range(5):
        rows = [one[unit : unit + 1], other[unit : unit + 1]]
        np.testing.assert_allclose(together[unit], merged_weights(rows, [first[unit], second[unit]])[0])


def test_the_functional_difference_is_the_published_one_and_the_cost_of_the_best_merge() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.normal(size=(4, 3, 2)), rng.normal(size=(5, 3, 2))
    one, other = moment(rng, 3), moment(rng, 3)
    found = functional_difference(first, one, second, other)
    middle = np.linalg.inv(np.linalg.inv(one) + np.linalg.inv(other))
    for i in range(4):
        for j in range(5):
            gap = first[i] - second[j]
            assert found[i, j] == pytest.approx(0.5 * float((gap * (middle @ gap)).sum()))
            merged = merged_weights([first[i : i + 1], second[j : j + 1]], [one, other])[0]
            assert found[i, j] == pytest.approx(cost(merged, [first[i], second[j]], [one, other]))


def test_inputs_that_say_nothing_are_averaged() -> None:
    silent = conditioned(np.diag([1.0, 0.0]))
    merged = merged_weights([np.array([[[1.0], [2.0]]]), np.array([[[3.0], [6.0]]])], [silent, silent])
    np.testing.assert_allclose(merged[0, :, 0], [2.0, 4.0])


def test_pairs_are_taken_from_the_best_on_and_once_each() -> None:
    difference = np.array([[1.0, 0.5, 9.0], [0.4, 0.3, np.inf]])
    assert best_pairs(difference, 2) == [(1, 1), (0, 0)]
    assert best_pairs(difference, 1) == [(1, 1)]
    assert best_pairs(np.full((2, 2), np.inf), 2) == []
