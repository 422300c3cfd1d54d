"""Padding of sliding windows: PyTorch's in the words of TFLite."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pamc.graph.ops import AvgPool, Conv, DepthwiseConv, MaxPool, Shape

__all__ = ["Placement", "counts", "explicit", "placement"]

Window = Conv | DepthwiseConv | MaxPool | AvgPool


@dataclass(frozen=True, slots=True)
class Placement:
    """``padding`` is SAME or VALID; ``pads`` are (before, after) for height and width, to add before the window runs.

    ``pads`` is None where none are needed.
    """

    padding: str
    pads: tuple[tuple[int, int], tuple[int, int]] | None = None


def _span(op: Window, axis: int) -> int:
    dilation = op.dilation[axis] if isinstance(op, Conv | DepthwiseConv) else 1
    return dilation * (op.kernel[axis] - 1) + 1


def _totals(op: Window, size: Shape, out: Shape) -> tuple[int, int]:
    """Places that the windows need beyond the input, on both sides together, for height and width."""
    height, width = (max((out[axis] - 1) * op.stride[axis] + _span(op, axis) - size[axis], 0) for axis in (0, 1))
    return height, width


def placement(op: Window, size: Shape, out: Shape) -> Placement:
    """How TFLite covers an input of height and width ``size`` with windows that yield ``out``.

    TFLite's own padding SAME means ceil(size / stride) windows and, of the places that they need beyond the input,
    the smaller half before it. PyTorch's padding is that in most layers of stride 1 and in few others.
    """
    total = _totals(op, size, out)
    same = all(
        out[axis] == -(-size[axis] // op.stride[axis]) and op.padding[axis] == total[axis] // 2 for axis in (0, 1)
    )
    return Placement("SAME") if same and any(total) else explicit(op, size, out)


def explicit(op: Window, size: Shape, out: Shape) -> Placement:
    """The same without TFLite's own padding."""
    total = _totals(op, size, out)
    if not any(op.padding) and not any(total):
        return Placement("VALID")
    height, width = ((op.padding[axis], max(total[axis] - op.padding[axis], 0)) for axis in (0, 1))
    return Placement("VALID", (height, width))


def counts(op: AvgPool, size: Shape, out: Shape) -> NDArray[np.float32]:
    """For each window ``(out height, out width)`` the places that it has inside of the input."""
    inside = []
    for axis in (0, 1):
        start = np.arange(out[axis]) * op.stride[axis] - op.padding[axis]
        end = np.minimum(start + op.kernel[axis], size[axis])
        inside.append(end - np.maximum(start, 0))
    return np.outer(*inside).astype(np.float32)
