"""How the numbers of a network are stored and computed in its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["FLOAT32", "KINDS", "Numerics", "Range"]

KINDS = ("float32", "float16", "int8")

Range = tuple[float, float]


@dataclass(frozen=True)
class Numerics:
    """``kind`` is float32; float16 (weights stored so, computed in float32); or int8 (weights and values).

    ``ranges`` are for int8 alone: for each value of the multitask network, its batch norms folded, the smallest and
    the largest number that calibration saw; 0 lies inside. By the read rule a unit has the same value in every task
    set, so one range is right for all. Values that a Concat joins have one range, so that joining is copying.
    """

    kind: str = "float32"
    ranges: Mapping[str, Range] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"numbers are one of {', '.join(KINDS)}, not {self.kind!r}")


FLOAT32 = Numerics()
