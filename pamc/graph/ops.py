"""The closed set of operations: attributes, shapes, parameter axes and costs.

Shapes are per sample, without the batch axis: ``(C, H, W)`` for feature maps, ``(F,)`` for vectors. Every
operation yields one value. Each class says which of its parameters' axes run along the units it produces
(``OUT``) and along the units it reads (``IN``); slicing, merging and masking follow from that alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

__all__ = [
    "ACTIVATIONS",
    "FREE",
    "IN",
    "OPS",
    "OUT",
    "Activation",
    "Add",
    "AvgPool",
    "BatchNorm",
    "ChannelAffine",
    "Concat",
    "Conv",
    "DepthwiseConv",
    "Flatten",
    "GlobalAvgPool",
    "Input",
    "Linear",
    "MaxPool",
    "Mul",
    "Op",
    "PRelu",
    "Shape",
    "ShapeError",
    "Softmax",
    "Unflatten",
]

Shape = tuple[int, ...]
Pair = tuple[int, int]

OUT = "out"
IN = "in"
FREE = "free"

ACTIVATIONS = frozenset(
    {"relu", "relu6", "sigmoid", "tanh", "silu", "hardswish", "hardsigmoid", "leaky_relu", "elu", "gelu"}
)


class ShapeError(ValueError):
    """An operation does not accept the shapes of its inputs."""


@dataclass(frozen=True)
class Op:
    """One operation; subclasses hold its attributes."""

    kind: ClassVar[str]
    arity: ClassVar[int | None] = 1
    param_axes: ClassVar[dict[str, tuple[str, ...]]] = {}
    optional: ClassVar[frozenset[str]] = frozenset()
    fill: ClassVar[dict[str, float]] = {}

    def out_shape(self, shapes: Sequence[Shape], units: int | None) -> Shape:
        """Shape of the value, from the inputs' shapes and the number of units that the parameters produce."""
        return shapes[0]

    def macs_per_link(self, out_shape: Shape) -> int:
        """Multiply-accumulates of one (unit, unit read) pair; 0 for operations without weights."""
        return 0


@dataclass(frozen=True)
class Input(Op):
    """The network input. ``dtype`` is what the caller feeds: ``float32`` or ``uint8`` (raw pixels)."""

    shape: Shape
    dtype: str = "float32"
    kind: ClassVar[str] = "input"
    arity: ClassVar[int | None] = 0

    def out_shape(self, shapes: Sequence[Shape], units: int | None) -> Shape:
        return self.shape


@dataclass(frozen=True)
class _Window(Op):
    """Attributes that sliding windows share; ``padding`` is symmetric per axis."""

    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)

    def _spatial(self, size: int, axis: int, dilation: int = 1, ceil: bool = False) -> int:
        span = size + 2 * self.padding[axis] - dilation * (self.kernel[axis] - 1) - 1
        steps = -(-span // self.stride[axis]) if ceil else span // self.stride[axis]
        # PyTorch drops a last window that would start in the right padding.
        if ceil and steps * self.stride[axis] >= size + self.padding[axis]:
            steps -= 1
        if steps < 0:
            raise ShapeError(f"a window of {self.kernel} does not fit an input of size {size}")
        return steps + 1


@dataclass(frozen=True)
class Conv(_Window):
    """2-D convolution over all input channels. weight ``(out, in, kh, kw)``, bias ``(out,)``."""

    dilation: Pair = (1, 1)
    kind: ClassVar[str] = "conv"
    param_axes: ClassVar[dict[str, tuple[str, ...]]] = {"weight": (OUT, IN, FREE, FREE), "bias": (OUT,)}
    optional: ClassVar[frozenset[str]] = frozenset({"bias"})

    def out_shape(self, shapes: Sequence[Shape], units: int | None) -> Shape:
        if len(shapes[0]) != 3 or units is None:
            raise ShapeError(f"conv needs a (C, H, W) input, got {shapes[0]}")
        _, height, width = shapes[0]
        return (
            units,
            self._spatial(height, 0, self.dilation[0]),
            self._spatial(width, 1, self.dilation[1]),
        )

    def macs_per_link(self, out_shape: Shape) -> int:
        return math.prod(self.kernel) * out_shape[1] * out_shape[2]


@dataclass(frozen=True)
class DepthwiseConv(_Window):
    """One filter per channel; its output channels are tied to its input channels. weight ``(C, 1, kh, kw)``."""

    dilation: Pair = (1, 1)
    kind: ClassVar[str] = "depthwise_conv"
    param_axes: ClassVar[dict[str, tuple[str, ...]]] = {"weight": (OUT, FREE, FREE, FREE), "bias": (OUT,)}
    optional: ClassVar[frozenset[str]] = frozenset({"bias"})

    def out_shape(self, shapes: Sequence[Shape], units: int | None) -> Shape:
        if len(shapes[0]) != 3 or units != shapes[0][0]:
            raise ShapeError(f"depthwise conv with {units} filters cannot read {shapes[0]}")
        channels, height, width = shapes[0]
        return (
            channels,
            self._spatial(height, 0, self.dilation[0]),
            self._spatial(width, 1, self.dilation[1]),
        )

    def macs_per_link(self, out_shape: Shape) -> int:
        return math.prod(self.kernel) * out_shape[1] * out_shape[2]


@dataclass(frozen=True)
class Linear(Op):
    """Fully connected layer. weight ``(out, in)``, bias ``(out,)``."""

    kind: ClassVar[str] = "linear"
    param_axes: ClassVar[dict[str, tuple[str, ...]]] = {"weight": (OUT, IN), "bias": (OUT,)}
    optional: ClassVar[frozenset[str]] = frozenset({"bias"})

    def out_shape(self, shapes: Sequence[Shape], units: int | None) -> Shape:
        if len(shapes[0]) != 1 or units is None:
            raise ShapeError(f"linear needs a (F,) input, got {shapes[0]}")
        return (units,)

    def macs_per_link(self, out_shape: Shape) -> int:
        return 1


@dataclass(frozen=True)
class BatchNorm(Op):
    """Per-channel normalisation with running statistics, as in training; folded away before export."""

    eps: float = 1e-5
    kind: ClassVar[str] = "batch_norm"
    param_axes: ClassVar[dict[str, tuple[str, ...]]] = {
        "gamma": (OUT,),
        "beta": (OUT,),
        "mean": (OUT,),
        "var": (OUT,),
    }
    fill: ClassVar[dict[str, float]] = {"gamma": 1.0, "var": 1.0}


@dataclass(frozen=True)
class ChannelAffine(Op):
    """``x * scale + shift`` per channel: input normalisation, or a batch norm that no layer can absorb.

    ``frozen`` marks constants of the user's input pipeline, which training must not move.
    """

    frozen: bool = False
    kind: ClassVar[str] = "channel_affine"
    param_axes: ClassVar[dict[str, tuple[str, ...]]] = {"scale": (OUT,), "shift": (OUT,)}
    fill: ClassVar[dict[str, float]] = {"scale": 1.0}


@dataclass(frozen=True)
class Activation(Op):
    """Elementwise nonlinearity; ``alpha`` is the slope of leaky_relu and the scale of elu."""

    function: str
    alpha: float = 0.0
    kind: ClassVar[str] = "activation"

    def __post_init__(self) -> None:
        if self.function not in ACTIVATIONS:
            raise ValueError(f"unknown activation {self.function!r}")


@dataclass(frozen=True)
class PRelu(Op):
    """``max(x, 0) + slope * min(x, 0)`` with a slope per channel (He et al. 2015, eq. 1)."""

    kind: ClassVar[str] = "prelu"
    param_axes: ClassVar[dict[str, tuple[str, ...]]] = {"slope": (OUT,)}


@dataclass(frozen=True)
class MaxPool(_Window):
    """Max pooling; ``ceil`` rounds the output size up as PyTorch's ``ceil_mode`` does."""

    ceil: bool = False
    kind: ClassVar[str] = "max_pool"

    def out_shape(self, shapes: Sequence[Shape], units: int | None) -> Shape:
        channels, height, width = shapes[0]
        return (
            channels,
            self._spatial(height, 0, ceil=self.ceil),
            self._spatial(width, 1, ceil=self.ceil),
        )


@dataclass(frozen=True)
class AvgPool(_Window):
    """Average pooling; padded zeros count when ``count_include_pad``."""

    count_include_pad: bool = True
    kind: ClassVar[str] = "avg_pool"

    def out_shape(self, shapes: Sequence[Shape], units: int | None) -> Shape:
        channels, height, width = shapes[0]
        return (channels, self._spatial(height, 0), self._spatial(width, 1))


@dataclass(frozen=True)
class GlobalAvgPool(Op):
    """Mean over all positions: ``(C, H, W) -> (C, 1, 1)``."""

    kind: ClassVar[str] = "global_avg_pool"

    def out_shape(self, shapes: Sequence[Shape], units: int | None) -> Shape:
        return (shapes[0][0], 1, 1)


@dataclass(frozen=True)
class Flatten(Op):
    """``(C, H, W) -> (C*H*W,)``, channel-major: a unit becomes H*W neighbouring features."""

    kind: ClassVar[str] = "flatten"

    def out_shape(self, shapes: Sequence[Shape], units: int | None) -> Shape:
        return (math.prod(shapes[0]),)


@dataclass(frozen=True)
class Unflatten(Op):
    """``(C,) -> (C, 1, 1)``, so that a vector can scale a feature map."""

    kind: ClassVar[str] = "unflatten"

    def out_shape(self, shapes: Sequence[Shape], units: int | None) -> Shape:
        return (*shapes[0], 1, 1)


@dataclass(frozen=True)
class _Elementwise(Op):
    arity: ClassVar[int | None] = 2

    def out_shape(self, shapes: Sequence[Shape], units: int | None) -> Shape:
        left, right = shapes
        if len(left) != len(right) or left[0] != right[0]:
            raise ShapeError(f"{self.kind} needs equal channels, got {left} and {right}")
        for ours, other in ((left, right), (right, left)):
            if other == ours or all(size == 1 for size in other[1:]):
                return ours
        raise ShapeError(f"{self.kind} cannot broadcast {left} with {right}")


@dataclass(frozen=True)
class Add(_Elementwise):
    """Sum of two values; ties their channels."""

    kind: ClassVar[str] = "add"


@dataclass(frozen=True)
class Mul(_Elementwise):
    """Product of two values (a ``(C, 1, 1)`` factor scales a feature map); ties their channels."""

    kind: ClassVar[str] = "mul"


@dataclass(frozen=True)
class Concat(Op):
    """Channels of several values one after another."""

    kind: ClassVar[str] = "concat"
    arity: ClassVar[int | None] = None

    def out_shape(self, shapes: Sequence[Shape], units: int | None) -> Shape:
        if len({shape[1:] for shape in shapes}) != 1:
            raise ShapeError(f"concat needs equal sizes besides channels, got {list(shapes)}")
        return (sum(shape[0] for shape in shapes), *shapes[0][1:])


@dataclass(frozen=True)
class Softmax(Op):
    """Softmax over channels, or its logarithm; couples all of them, so its channels are never pruned."""

    log: bool = False
    kind: ClassVar[str] = "softmax"


OPS: dict[str, type[Op]] = {
    cls.kind: cls
    for cls in (
        Input,
        Conv,
        DepthwiseConv,
        Linear,
        BatchNorm,
        ChannelAffine,
        Activation,
        PRelu,
        MaxPool,
        AvgPool,
        GlobalAvgPool,
        Flatten,
        Unflatten,
        Add,
        Mul,
        Concat,
        Softmax,
    )
}
