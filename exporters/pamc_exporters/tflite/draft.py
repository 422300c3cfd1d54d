"""A subgraph while it is being written."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pamc_exporters.tflite.model import TYPES, Data, Operator, Options, Quantization, Tensor
from pamc_exporters.tflite.scales import PIXELS, Scale

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FUSED", "PADDING", "Constants", "Draft", "Held", "quantized"]

PADDING = {"SAME": 0, "VALID": 1}
FUSED = {"": 0, "relu": 1, "relu6": 3}
# The versions that TensorFlow's converter writes; any other operator is of version 1, or of version 2 on int8.
INT8_VERSIONS = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4} | dict.fromkeys(
    ["RESHAPE", "HARD_SWISH", "LOGISTIC", "TANH"], 1
)
FLOAT16_DEQUANTIZE = 3
DILATED_DEPTHWISE = 2
COARSE_MUL = 3


@dataclass(frozen=True)
class Held:
    """Where a value lies: a tensor of ``shape``, batch axis included; int8 with ``scale``, float32 without.

    Feature maps are (1, height, width, channels). A vector may still have the shape of the map that it was flattened
    from: the tensor's number ``i`` is then its feature ``order[i]``. None stands for the features' own order.
    """

    tensor: int
    shape: tuple[int, ...]
    scale: Scale | None = None
    order: NDArray[np.intp] | None = field(default=None, compare=False)


class Constants:
    """What is stored of parameters, made once for all task sets."""

    def __init__(self) -> None:
        self._made: dict[Hashable, Data] = {}
        self.weights: dict[str, Data] = {}

    def get(self, param: str, key: Hashable, make: Callable[[], NDArray[Any]]) -> Data:
        """What is stored of a parameter, in the form ``key`` that ``make`` makes."""
        if (param, key) not in self._made:
            self._made[param, key] = Data.of(make())
        self.weights[param] = self._made[param, key]
        return self._made[param, key]


class Draft:
    """Tensors and operators so far, and the operators that a value may need on its way from one to another."""

    def __init__(self) -> None:
        self.tensors: list[Tensor] = []
        self.operators: list[Operator] = []
        self._constants: dict[Tensor, int] = {}
        self._reshaped: dict[tuple[int, tuple[int, ...]], Held] = {}
        self._converted: dict[tuple[int, Scale | None], Held] = {}

    def value(self, shape: Sequence[int], scale: Scale | None = None) -> Held:
        """A new tensor that an operator, or the caller, will fill."""
        held = Held(len(self.tensors), tuple(shape), scale)
        self.tensors.append(Tensor(held.shape, "FLOAT32" if scale is None else "INT8", None, quantized(scale)))
        return held

    def like(self, x: Held, scale: Scale | None) -> Held:
        """A new tensor of the shape and order of another."""
        return replace(self.value(x.shape, scale), order=x.order)

    def pixels(self, shape: Sequence[int]) -> Held:
        """A new tensor of raw pixels: uint8, where 255 stands for 1."""
        held = Held(len(self.tensors), tuple(shape))
        self.tensors.append(Tensor(held.shape, "UINT8", None, Quantization((PIXELS.step,), (0,))))
        return held

    def stored(self, data: Data, shape: Sequence[int], kind: str, quantization: Quantization | None = None) -> int:
        """The tensor of a constant."""
        tensor = Tensor(tuple(shape), kind, data, quantization)
        if tensor not in self._constants:
            self._constants[tensor] = len(self.tensors)
            self.tensors.append(tensor)
        return self._constants[tensor]

    def constant(self, array: NDArray[Any], quantization: Quantization | None = None) -> int:
        """The tensor of a constant that is no parameter."""
        return self.stored(Data.of(array), array.shape, TYPES[array.dtype.name], quantization)

    def add(self, code: str, inputs: Sequence[int], output: Held, table: str = "", **fields: Any) -> Held:
        """Append an operator, with the table of the schema that holds its options; return ``output``."""
        options = Options.of(table, fields) if table else None
        version = self._version(code, [*inputs, output.tensor], fields)
        self.operators.append(Operator(code, version, tuple(inputs), (output.tensor,), options))
        return output

    def _version(self, code: str, places: Sequence[int], fields: Mapping[str, Any]) -> int:
        tensors = [self.tensors[place] for place in places]
        types = {tensor.type for tensor in tensors}
        if code == "DEQUANTIZE" and "FLOAT16" in types:
            return FLOAT16_DEQUANTIZE
        if code == "DEPTHWISE_CONV_2D" and "INT8" not in types:
            dilated = (fields["dilationHFactor"], fields["dilationWFactor"]) != (1, 1)
            return DILATED_DEPTHWISE if dilated else 1
        if code == "QUANTIZE" or "INT8" not in types:
            return 1
        if code == "MUL":
            left, right, out = (tensor.quantization.scales[0] for tensor in tensors if tensor.quantization)
            return COARSE_MUL if left * right >= out else 2
        return INT8_VERSIONS.get(code, 2)

    def reshape(self, x: Held, shape: Sequence[int]) -> Held:
        """The same numbers as a tensor of another shape."""
        if x.shape == tuple(shape):
            return x
        key = (x.tensor, tuple(shape))
        if key not in self._reshaped:
            output = Held(len(self.tensors), tuple(shape), x.scale)
            self.tensors.append(replace(self.tensors[x.tensor], shape=output.shape))
            self._reshaped[key] = self.add("RESHAPE", [x.tensor], output, "ReshapeOptions", newShape=output.shape)
        return replace(self._reshaped[key], order=x.order)

    def ordered(self, outputs: Iterable[int]) -> tuple[Operator, ...]:
        """The operators in order; a tensor that is read again after it was reshaped is copied for reshaping.

        tflite-runtime 2.14 lays a reshaped tensor over the one it comes from, and lets an operator that reads the one
        overwrite both in place.
        """
        last = {place: index for index, operator in enumerate(self.operators) for place in operator.inputs}
        last |= dict.fromkeys(outputs, len(self.operators))
        ordered: list[Operator] = []
        for index, operator in enumerate(self.operators):
            if operator.code == "RESHAPE" and last[operator.inputs[0]] > index:
                (source,) = operator.inputs
                copy = len(self.tensors)
                self.tensors.append(self.tensors[source])
                options = Options.of("ConcatenationOptions", {})
                ordered.append(
                    Operator("CONCATENATION", self._version("CONCATENATION", [source], {}), (source,), (copy,), options)
                )
                operator = replace(operator, inputs=(copy,))
            ordered.append(operator)
        return tuple(ordered)

    def transpose(self, x: Held, axes: Sequence[int]) -> Held:
        """The numbers in the order of other axes, in the type they have."""
        output = Held(len(self.tensors), tuple(x.shape[axis] for axis in axes), x.scale)
        self.tensors.append(replace(self.tensors[x.tensor], shape=output.shape))
        return self.add("TRANSPOSE", [x.tensor, self.constant(np.array(axes, np.int32))], output)

    def convert(self, x: Held, scale: Scale | None) -> Held:
        """The value as int8 of a scale, or as float32 for None."""
        if x.scale == scale and self.tensors[x.tensor].type != "UINT8":
            return x
        key = (x.tensor, scale)
        if key not in self._converted:
            code = "DEQUANTIZE" if scale is None else "QUANTIZE"
            self._converted[key] = self.add(code, [x.tensor], self.like(x, scale))
        return replace(self._converted[key], order=x.order)

    def in_order(self, x: Held) -> Held:
        """A vector with its features in their own order."""
        if x.order is None:
            return x
        flat = self.reshape(x, (1, x.order.size))
        places = self.constant(np.argsort(x.order).astype(np.int32))
        return self.add("GATHER", [flat.tensor, places], self.value(flat.shape, x.scale), "GatherOptions", axis=1)


def quantized(scale: Scale | None) -> Quantization | None:
    """What a tensor says of its scale."""
    return None if scale is None else Quantization((scale.step,), (scale.zero,))
