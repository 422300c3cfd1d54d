"""How the numbers of a network are stored and computed in its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from pamc.errors import InternalError
from pamc.graph import MultitaskGraph, compact, fold_batch_norm

__all__ = ["FLOAT32", "KINDS", "Numerics", "Range", "folded", "stored"]

KINDS = ("float32", "float16", "int8")

Range = tuple[float, float]


@dataclass(frozen=True)
class Numerics:
    """``kind`` is float32; float16 (weights stored so, computed in float32); or int8 (weights and values).

    ``ranges`` and ``shifts`` are for int8 alone, and name values of the multitask network, its batch norms folded.
    A range has the smallest and the largest number that calibration saw; 0 lies inside. By the read rule a unit has the
    same value in every task set, so one range is right for all. Values that a Concat joins have one range, so that
    joining is copying. A shift, one number a channel, is what is added to the biases of the layer that yields the
    value (see :mod:`pamc.lower.calibration`).
    """

    kind: str = "float32"
    ranges: Mapping[str, Range] = field(default_factory=dict)
    shifts: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"numbers are one of {', '.join(KINDS)}, not {self.kind!r}")


FLOAT32 = Numerics()


def folded(net: MultitaskGraph) -> MultitaskGraph:
    """The network whose values numerics speak of: batch norms folded, dead units removed."""
    return compact(replace(net, graph=fold_batch_norm(net.graph)))


def stored(net: MultitaskGraph, numerics: Numerics) -> MultitaskGraph:
    """A :func:`folded` network with the parameters that files of these numerics are to hold.

    With float16 they are rounded to numbers that float16 can hold; with int8 the biases are shifted. Raises
    InternalError when the shifts are not those of this network.
    """
    params = net.graph.params
    if numerics.kind == "float16":
        return net.with_params({key: array.astype(np.float16).astype(array.dtype) for key, array in params.items()})
    shifted: dict[str, NDArray[np.floating]] = {}
    for value, shift in numerics.shifts.items():
        node = net.graph.by_name.get(value)
        key = node.params.get("bias") if node is not None else None
        if key is None or params[key].shape != (len(shift),):
            raise InternalError(f"the shift of {len(shift)} biases of {value} fits no layer of the network")
        shifted[key] = params[key] + np.array(shift, dtype=params[key].dtype)
    return replace(net, graph=net.graph.with_params(shifted)) if shifted else net
