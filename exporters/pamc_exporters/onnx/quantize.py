"""Numbers as int8 holds them: the scales of values, and the weights and biases of layers.

A real number r is stored as q = round(r / step) + zero (Jacob et al. 2018, arXiv 1712.05877, equation 1). Values have
one scale each, weights one per output channel with zero = 0, biases the product of both steps (section 2.4), so that a
row's integers depend on the row and on the scale of what it reads alone, never on the task set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pamc.graph import Node
    from pamc.lower import Plan
    from pamc.lower.numerics import Range

__all__ = ["PIXEL", "Scale", "bias_steps", "is_signed", "quantized_params", "scale_of"]

LEVELS = 255
WEIGHT_LEVELS = 127
# A bias of a row of tiny weights must fit into int32 together with the sum that it starts.
BIAS_LEVELS = 2**30


@dataclass(frozen=True, slots=True)
class Scale:
    """``real = (stored - zero) * step``; stored as int8 when ``signed``, as uint8 otherwise."""

    step: float
    zero: int
    signed: bool

    @property
    def least(self) -> int:
        """The smallest number that can be stored."""
        return -128 if self.signed else 0


PIXEL = Scale(float(np.float32(1 / LEVELS)), 0, False)
"""Raw pixels are stored numbers as they stand: a pixel p is the real number p / 255."""


def is_signed(arch: str) -> bool:
    """Whether values are int8. x86 multiplies uint8 by int8 (VNNI, ``vpdpbusd``), ARM int8 by int8 (``sdot``)."""
    return arch != "x86_64"


def scale_of(bounds: Range, signed: bool) -> Scale:
    """The scale with 256 steps over the range, which holds 0; an empty range has steps of 1."""
    low, high = bounds
    step = (high - low) / LEVELS if high > low else 1.0
    zero = min(max(round(-low / step), 0), LEVELS)
    return Scale(float(np.float32(step)), zero - 128 if signed else zero, signed)


def _row_steps(rows: NDArray[np.float64], bias: NDArray[np.floating] | None, input_step: float) -> NDArray[np.float32]:
    steps = np.abs(rows).max(axis=1) / WEIGHT_LEVELS
    if bias is not None:
        steps = np.maximum(steps, np.abs(bias.astype(np.float64)) / (input_step * BIAS_LEVELS))
    return np.where(steps > 0, steps, 1.0).astype(np.float32)


def bias_steps(steps: NDArray[np.float32], input_step: float) -> NDArray[np.float32]:
    """The steps of a bias. ONNX Runtime compares them with its own product in float32 and refuses others."""
    return steps * np.float32(input_step)


def quantized_params(plan: Plan, node: Node) -> dict[str, NDArray[np.generic]]:
    """The stored parameters of a convolution or linear layer by role.

    ``weight`` int8 and ``weight_step`` float32 ``(out,)``; with a bias also ``bias`` int32 and ``bias_step`` float32.
    """
    weight = plan.graph.array(node, "weight").astype(np.float64)
    bias = plan.graph.array(node, "bias") if "bias" in node.params else None
    input_step = scale_of(plan.ranges[node.inputs[0]], signed=True).step
    steps = _row_steps(weight.reshape(len(weight), -1), bias, input_step)
    shaped = steps.astype(np.float64).reshape(-1, *(1,) * (weight.ndim - 1))
    levels = np.clip(np.rint(weight / shaped), -WEIGHT_LEVELS, WEIGHT_LEVELS)
    found: dict[str, NDArray[np.generic]] = {"weight": levels.astype(np.int8), "weight_step": steps}
    if bias is not None:
        found["bias_step"] = bias_steps(steps, input_step)
        found["bias"] = np.rint(bias / found["bias_step"].astype(np.float64)).astype(np.int32)
    return found
