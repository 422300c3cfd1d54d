"""How far a file's values may be from the reference: what rounding explains, and no more.

Floats: 1e-4 of the largest magnitude, and eight times the largest change when the network is computed again with all
parameters and values off by up to the rounding of float32 (:mod:`pamc.verify.rounding`). That is next to nothing, but
for a network of which float32 itself knows no more.

int8: the reference follows the integers number for number, and files agree with it to half a step of their outputs,
which some runtimes round and others do not. They may differ by more where a kernel keeps an inner value in more bits,
rounds a half the other way, reads a table, or does not cut off what lies outside of a range. How much of that reaches
an output depends on the network, and is measured: the reference is computed again with every value off by up to half a
step. So for each channel of an output, in steps of its range (a 255th),

    root mean square of (file - reference)  <=  2 + 3 x the largest of those of (draw - reference)
    largest |file - reference|              <=  3 + 3 x largest |draw - reference|

The right sides are the largest of the output's channels: a few draws may miss what rounding does to one of them, where
all samples are alike. A wrong channel is found by :mod:`pamc.verify.inside`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pamc.verify.compare import errors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pamc.lower import Plan

    Array = NDArray[np.floating]

__all__ = ["RTOL", "Floats", "Limit", "Steps", "limit_of"]

RTOL = 1e-4
TIMES_ROUNDING = 8.0
LEVELS = 255
RMS_STEPS, LARGEST_STEPS, DRAWN = 2.0, 3.0, 3.0


@dataclass(frozen=True)
class Floats:
    """``rtol`` of the largest magnitude; ``near`` ``(draws, n, channels, ...)``, if there are any, as wide as that."""

    rtol: float = RTOL
    near: Array | None = None

    def allowed(self, wanted: Array) -> float:
        """The largest error, relative to the largest magnitude in ``wanted``."""
        drawn = (errors(draw, wanted)[1] for draw in (() if self.near is None else self.near))
        return self.rtol + TIMES_ROUNDING * max(drawn, default=0.0)

    def holds(self, found: Array, wanted: Array) -> bool:
        """Whether ``found`` ``(n, channels, ...)`` is finite, of the shape of ``wanted`` and near enough to it."""
        relative = errors(found, wanted)[1]
        return bool(np.isfinite(relative)) and relative <= self.allowed(wanted)

    def __str__(self) -> str:
        return f"{self.rtol:.3g}" + ("" if self.near is None else " and what the rounding of float32 explains")


@dataclass(frozen=True)
class Steps:
    """Steps of an int8 value whose range is ``bounds``; ``near`` ``(draws, n, channels, ...)``, if there are any."""

    bounds: tuple[float, float]
    near: Array | None = None

    def _apart(self, one: Array, other: Array) -> NDArray[np.float64]:
        """For each channel the root mean square, and the largest, of differences in steps: ``(2, channels)``.

        What lies outside of the range may or may not be cut off: here it is.
        """
        step = (self.bounds[1] - self.bounds[0] or 1.0) / LEVELS
        ends = [np.clip(side.astype(np.float64), *self.bounds) for side in (one, other)]
        apart = np.abs(np.moveaxis((ends[0] - ends[1]) / step, 1, 0).reshape(one.shape[1], -1))
        return np.stack([np.sqrt(np.mean(apart**2, axis=1)), apart.max(axis=1, initial=0.0)])

    def holds(self, found: Array, wanted: Array) -> bool:
        """Whether ``found`` ``(n, channels, ...)`` is finite, of the shape of ``wanted`` and near enough to it."""
        if not np.isfinite(errors(found, wanted)[0]):
            return False
        drawn = [self._apart(draw, wanted) for draw in (() if self.near is None else self.near)]
        most = [[max((draw[row].max() for draw in drawn), default=0.0)] for row in (0, 1)]
        allowed = np.array([[RMS_STEPS], [LARGEST_STEPS]]) + DRAWN * np.array(most)
        return bool(np.all(self._apart(found, wanted) <= allowed))

    def __str__(self) -> str:
        step = (self.bounds[1] - self.bounds[0]) / LEVELS
        return f"what int8 explains in steps of {step:.3g}"


Limit = Floats | Steps


def limit_of(plan: Plan, value: str, rtol: float, near: Array | None = None) -> Limit:
    """The limit for a value of a plan; ``near`` ``(draws, n, *shape)`` is what rounding may yield as well."""
    return Steps(plan.ranges[value], near) if plan.kind == "int8" else Floats(rtol, near)
