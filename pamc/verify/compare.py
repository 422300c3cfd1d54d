"""How far two outputs are apart."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["errors", "within"]

TINY = 1e-12


def errors(found: NDArray[np.floating], wanted: NDArray[np.floating]) -> tuple[float, float]:
    """Largest absolute error, and that relative to the largest magnitude in ``wanted``.

    Both are infinite where the shapes differ or a value is not finite.
    """
    if found.shape != wanted.shape:
        return math.inf, math.inf
    ours, other = found.astype(np.float64), wanted.astype(np.float64)
    if not (np.isfinite(ours).all() and np.isfinite(other).all()):
        return math.inf, math.inf
    largest = float(np.abs(ours - other).max(initial=0.0))
    return largest, largest / max(float(np.abs(other).max(initial=0.0)), TINY)


def within(found: NDArray[np.floating], wanted: NDArray[np.floating], rtol: float) -> bool:
    """Whether the relative error is at most ``rtol``."""
    return errors(found, wanted)[1] <= rtol
