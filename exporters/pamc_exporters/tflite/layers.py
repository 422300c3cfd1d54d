"""Operations with weights: how their parameters are stored, and the operators that read them.

float32 and float16 store what the plan holds; half weights go through a DEQUANTIZE that runtimes apply once, at load.
int8 weights are symmetric with one scale per row, and biases have 32 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pamc.graph import Graph, Node
from pamc.graph.ops import Conv, DepthwiseConv
from pamc_exporters.tflite.draft import FUSED, PADDING, Constants, Draft, Held
from pamc_exporters.tflite.model import Quantization
from pamc_exporters.tflite.scales import Scale, bias_numbers, row_scales

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Layers"]


@dataclass(frozen=True)
class _Weight:
    """A weight ``(units, ...)`` and the ``shape`` that its operator reads, with the units along ``axis``.

    ``arranged`` brings an array of the weight's shape into that shape; ``key`` tells apart the orders in which one
    parameter may be stored.
    """

    param: str
    array: NDArray[np.floating]
    shape: tuple[int, ...]
    axis: int
    arranged: Callable[[NDArray[Any]], NDArray[Any]]
    key: Hashable = None


@dataclass(frozen=True)
class _Bias:
    """A bias ``(units,)``; without ``param`` it is the 0 of a layer that has none, which old kernels demand."""

    param: str | None
    array: NDArray[np.floating]
    key: Hashable = None


class Layers:
    """Writes the layers of a graph into a draft."""

    def __init__(self, draft: Draft, constants: Constants, graph: Graph, kind: str) -> None:
        self._draft = draft
        self._constants = constants
        self._graph = graph
        self._kind = kind

    def conv(self, node: Node, op: Conv | DepthwiseConv, x: Held, output: Held, padding: str, fused: str) -> Held:
        """A convolution of a feature map, which is padded already or which ``padding`` pads."""
        array = self._graph.array(node, "weight")
        units, links, height, width = array.shape
        deep = isinstance(op, DepthwiseConv)
        shape, axis = ((1, height, width, units), 3) if deep else ((units, height, width, links), 0)
        axes = (1, 2, 3, 0) if deep else (0, 2, 3, 1)
        weight = _Weight(node.params["weight"], array, shape, axis, lambda values: values.transpose(axes))
        places = self._parameters(weight, self._bias(node), x, output.scale)
        return self._convolve(places, x, output, padding, fused, deep, op.stride, op.dilation)

    def linear(self, node: Node, x: Held, scale: Scale | None, fused: str) -> Held:
        """A fully connected layer over a vector in whatever order it is: the columns of its weight follow."""
        array, order = self._graph.array(node, "weight"), x.order
        weight = _Weight(
            node.params["weight"],
            array,
            array.shape,
            0,
            lambda values: values if order is None else values[:, order],
            None if order is None else order.tobytes(),
        )
        return self._draft.add(
            "FULLY_CONNECTED",
            [x.tensor, *self._parameters(weight, self._bias(node), x, scale)],
            self._draft.value((1, len(array)), scale),
            "FullyConnectedOptions",
            fusedActivationFunction=FUSED[fused],
        )

    def affine(self, node: Node, x: Held, scale: Scale | None, fused: str) -> Held:
        """``x * scale + shift`` per channel of a map, or per feature of a vector in whatever order it is."""
        (factor, key), (shift, _) = (self._ordered(node, role, x) for role in ("scale", "shift"))
        if scale is not None:
            # As a convolution of each channel alone, the sum is rounded once.
            if x.shape[-1] != len(factor) or len(x.shape) != 4:
                x = self._draft.reshape(x, (1, 1, 1, len(factor)))
            shape = (1, 1, 1, len(factor))
            weight = _Weight(node.params["scale"], factor, shape, 3, lambda values: values.reshape(shape), key)
            places = self._parameters(weight, _Bias(node.params["shift"], shift, key), x, scale)
            return self._convolve(places, x, self._draft.like(x, scale), "VALID", fused, deep=True)
        along = (len(factor),) if x.shape[-1] == len(factor) else x.shape[1:]
        scaled, output = self._draft.like(x, None), self._draft.like(x, None)
        places = [self._stored(node, role, x, along) for role in ("scale", "shift")]
        self._draft.add("MUL", [x.tensor, places[0]], scaled, "MulOptions")
        return self._draft.add(
            "ADD", [scaled.tensor, places[1]], output, "AddOptions", fusedActivationFunction=FUSED[fused]
        )

    def prelu(self, node: Node, x: Held, scale: Scale | None) -> Held:
        """A slope per channel of a map, or per feature of a vector in whatever order it is; computed in float32."""
        count = len(self._graph.array(node, "slope"))
        along = (1, 1, count)[-max(len(x.shape) - 1, 1) :] if x.shape[-1] == count else x.shape[1:]
        given = self._draft.convert(x, None)
        places = [given.tensor, self._stored(node, "slope", x, along)]
        return self._draft.convert(self._draft.add("PRELU", places, self._draft.like(given, None)), scale)

    def _ordered(self, node: Node, role: str, x: Held) -> tuple[NDArray[np.floating], Hashable]:
        """A parameter per channel or feature in the order of a value, and what tells that order from others."""
        array = self._graph.array(node, role)
        return (array, None) if x.order is None else (array[x.order], x.order.tobytes())

    def _stored(self, node: Node, role: str, x: Held, along: Sequence[int]) -> int:
        """The float32 tensor of such a parameter, of the shape ``along``."""
        values, key = self._ordered(node, role, x)
        return self._draft.stored(
            self._constants.get(node.params[role], key, values.astype(np.float32).copy), along, "FLOAT32"
        )

    def _bias(self, node: Node) -> _Bias:
        if "bias" in node.params:
            return _Bias(node.params["bias"], self._graph.array(node, "bias"))
        return _Bias(None, np.zeros(len(self._graph.array(node, "weight")), np.float32))

    def _parameters(self, weight: _Weight, bias: _Bias, x: Held, scale: Scale | None) -> list[int]:
        """The tensors of a weight and its bias."""
        if x.scale is not None and scale is not None:
            return self._int8(weight, bias, x.scale.step, scale.step)
        half = self._kind == "float16"
        form = np.float16 if half else np.float32
        data = self._constants.get(weight.param, weight.key, lambda: weight.arranged(weight.array.astype(form)))
        place = self._draft.stored(data, weight.shape, "FLOAT16" if half else "FLOAT32")
        if half:
            place = self._draft.add("DEQUANTIZE", [place], self._draft.value(weight.shape)).tensor
        return [place, self._vector(bias, None, lambda: bias.array.astype(np.float32), None)]

    def _int8(self, weight: _Weight, bias: _Bias, given: float, wanted: float) -> list[int]:
        steps = row_scales(weight.array, bias.array, given, wanted)
        products = steps * np.float32(given)
        zeros = (0,) * len(steps)
        each = steps.reshape(-1, *(1,) * (weight.array.ndim - 1))
        data = self._constants.get(
            weight.param,
            (weight.key, given, wanted),
            lambda: weight.arranged(np.rint(weight.array / each).astype(np.int8)),
        )
        scales = Quantization(tuple(steps.tolist()), zeros, weight.axis)
        return [
            self._draft.stored(data, weight.shape, "INT8", scales),
            self._vector(
                bias,
                (given, wanted),
                lambda: bias_numbers(bias.array, products),
                Quantization(tuple(products.tolist()), zeros),
            ),
        ]

    def _vector(self, bias: _Bias, key: Hashable, make: Callable[[], NDArray[Any]], scales: Quantization | None) -> int:
        if bias.param is None:
            return self._draft.constant(make(), scales)
        data = self._constants.get(bias.param, (bias.key, key), make)
        return self._draft.stored(data, bias.array.shape, "FLOAT32" if scales is None else "INT32", scales)

    def _convolve(
        self,
        weights: list[int],
        x: Held,
        output: Held,
        padding: str,
        fused: str,
        deep: bool = False,
        stride: tuple[int, int] = (1, 1),
        dilation: tuple[int, int] = (1, 1),
    ) -> Held:
        return self._draft.add(
            "DEPTHWISE_CONV_2D" if deep else "CONV_2D",
            [x.tensor, *weights],
            output,
            "DepthwiseConv2DOptions" if deep else "Conv2DOptions",
            **({"depthMultiplier": 1} if deep else {}),
            padding=PADDING[padding],
            strideH=stride[0],
            strideW=stride[1],
            dilationHFactor=dilation[0],
            dilationWFactor=dilation[1],
            fusedActivationFunction=FUSED[fused],
        )
