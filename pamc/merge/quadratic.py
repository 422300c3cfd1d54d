"""The arithmetic of Multi-Task Zipping (He, Zhou, Thiele, NeurIPS 2018) on plain arrays.

Changing the incoming weights of a unit from w_t to w changes its answers by about 1/2 (w - w_t)^T H_t (w - w_t), where
H_t = E[x x^T] is the second moment of what it reads in the network of task t. Weights are float64 arrays
``(units, inputs, taps)``; taps (positions of a kernel) count as independent. Moments are ``(inputs, inputs)``, common
to all units, or ``(units, inputs, inputs)``, and positive definite.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Values", "best_pairs", "conditioned", "functional_difference", "merged_weights"]

Values = NDArray[np.float64]

RIDGE = 1e-6
SILENCE = 1e-12


def conditioned(moment: Values) -> Values:
    """A moment ``(..., inputs, inputs)`` plus a small multiple of its mean diagonal, which makes it positive definite.

    Where inputs are silent or repeat each other the difference then decides by plain distance, and the merged weight
    is the mean.
    """
    size = moment.shape[-1]
    ridge = RIDGE * np.trace(moment, axis1=-2, axis2=-1) / max(1, size) + SILENCE
    answer: Values = moment + ridge[..., None, None] * np.eye(size)
    return answer


def functional_difference(first: Values, first_moment: Values, second: Values, second_moment: Values) -> Values:
    """What merging each unit of ``first`` with each of ``second`` costs at best: ``(units, units)``.

    d_ij = 1/2 sum over taps of (w_i - w_j)^T (H_A^-1 + H_B^-1)^-1 (w_i - w_j). The matrix in the middle is computed as
    H_A (H_A + H_B)^-1 H_B, which inverts one sum instead of two moments.
    """
    middle = first_moment @ np.linalg.solve(first_moment + second_moment, second_moment)
    values, vectors = np.linalg.eigh((middle + middle.T) / 2)
    root = vectors * np.sqrt(np.maximum(values, 0))
    one, other = ((root.T @ weights).reshape(len(weights), -1) for weights in (first, second))
    squares = np.square(one).sum(axis=1)[:, None] + np.square(other).sum(axis=1)
    answer: Values = np.maximum(squares - 2 * one @ other.T, 0) / 2
    return answer


def merged_weights(weights: Sequence[Values], moments: Sequence[Values]) -> Values:
    """The weights ``(units, inputs, taps)`` that cost all tasks together least: (sum H_t)^-1 sum H_t w_t.

    For two tasks that is w_A + H_A^-1 (H_A^-1 + H_B^-1)^-1 (w_B - w_A), as published. Merging one after another with
    the sum of the moments so far gives the same.
    """
    total = np.sum(np.stack(moments), axis=0)
    merged: Values = np.zeros_like(weights[0])
    for weight, moment in zip(weights, moments, strict=True):
        merged = merged + np.linalg.solve(total, moment) @ weight
    return merged


def best_pairs(difference: Values, count: int) -> list[tuple[int, int]]:
    """At most ``count`` pairs (row, column), each row and column once: the least differences first, never infinite."""
    pairs: list[tuple[int, int]] = []
    rows, columns = (np.zeros(size, dtype=bool) for size in difference.shape)
    for flat in np.argsort(difference, axis=None, kind="stable"):
        row, column = divmod(int(flat), difference.shape[1])
        if len(pairs) == count or not np.isfinite(difference[row, column]):
            break
        if not rows[row] and not columns[column]:
            rows[row] = columns[column] = True
            pairs.append((row, column))
    return pairs
