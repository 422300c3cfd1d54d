"""A plan as a subgraph.

Feature maps are NHWC inside, as TFLite computes them; the input and the outputs are as in PyTorch. So the input is
transposed once (only reshaped with one channel), and an output only if it is a feature map. A flattened map stays as
it is: the columns of the layer that reads it are stored in its order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pamc.errors import InternalError
from pamc.graph import Graph, Node
from pamc.graph.ops import (
    Activation,
    Add,
    AvgPool,
    ChannelAffine,
    Concat,
    Conv,
    DepthwiseConv,
    Flatten,
    GlobalAvgPool,
    Input,
    Linear,
    MaxPool,
    Mul,
    PRelu,
    Softmax,
    Unflatten,
)
from pamc.lower.numerics import Range
from pamc_exporters.interface import input_name
from pamc_exporters.tflite.draft import FUSED, PADDING, Constants, Draft, Held, quantized
from pamc_exporters.tflite.functions import activation, softmax
from pamc_exporters.tflite.layers import Layers
from pamc_exporters.tflite.model import Subgraph
from pamc_exporters.tflite.scales import COPYING, LARGEST_WEIGHT, LOWEST, Scale, Scales, demanded
from pamc_exporters.tflite.windows import Placement, counts, explicit, placement

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pamc.lower import Plan

__all__ = ["Emitted", "emit", "logical"]

_RECTIFIES = (Conv, DepthwiseConv, Linear, ChannelAffine, Add, Mul)
_NEVER_NEGATIVE = frozenset({"relu", "relu6", "sigmoid", "hardsigmoid"})
# How many steps of its output an int8 kernel may take at once.
MOST_STEPS = 128
_TO_NHWC, _TO_NCHW = (0, 2, 3, 1), (0, 3, 1, 2)


@dataclass(frozen=True)
class Emitted:
    """The subgraph of a plan, and where the plan's values lie in it; values inside a fused operator are missing."""

    subgraph: Subgraph
    values: Mapping[str, Held]


def _rectified(graph: Graph) -> dict[str, Node]:
    """The rectifier that a node applies itself, by the node's name."""
    outputs = set(graph.outputs.values())
    found = {}
    for node in graph.nodes:
        readers = graph.consumers[node.name]
        if isinstance(node.op, _RECTIFIES) and len(readers) == 1 and node.name not in outputs:
            (reader,) = readers
            if isinstance(reader.op, Activation) and reader.op.function in FUSED:
                found[node.name] = reader
    return found


def _never_negative(graph: Graph) -> set[str]:
    """Values of which no number is below 0, by their operations alone."""
    found: set[str] = set()
    for node in graph.nodes:
        op = node.op
        match op:
            case Input():
                known = op.dtype == "uint8"
            case Activation():
                known = op.function in _NEVER_NEGATIVE
            case Softmax():
                known = not op.log
            case MaxPool() | AvgPool() | GlobalAvgPool() | Flatten() | Unflatten() | Concat() | Add() | Mul():
                known = all(name in found for name in node.inputs)
            case _:
                known = False
        if known:
            found.add(node.name)
    return found


class _Emitter:
    def __init__(self, plan: Plan, constants: Constants, wider: Mapping[str, Range]) -> None:
        self.graph = plan.graph
        self.name = plan.task_set
        self.scales = Scales(plan, wider) if plan.kind == "int8" else None
        self.draft = Draft()
        self.layers = Layers(self.draft, constants, plan.graph, plan.kind)
        self.values: dict[str, Held] = {}
        self.padded: dict[tuple[int, Placement, bool], Held] = {}
        self.rectified = _rectified(plan.graph)
        self.positive = _never_negative(plan.graph)

    def run(self) -> Emitted:
        source = self.graph.input.op
        assert isinstance(source, Input)
        shape = (1, *source.shape)
        given = self.draft.pixels(shape) if source.dtype == "uint8" else self.draft.value(shape)
        self.values[self.graph.input.name] = self._input(given, self._scale(self.graph.input.name))
        for node in self.graph.nodes:
            if node.name not in self.values:
                reader = self.rectified.get(node.name)
                value = node.name if reader is None else reader.name
                fused = reader.op.function if reader is not None and isinstance(reader.op, Activation) else ""
                self.values[value] = self._emit(node, self._scale(value), fused)
        outputs = {task: self._output(value) for task, value in self.graph.outputs.items()}
        inputs = {input_name(self.graph): given.tensor}
        operators = self.draft.ordered(outputs.values())
        tensors = list(self.draft.tensors)
        for label, place in {**inputs, **outputs}.items():
            tensors[place] = replace(tensors[place], name=f"{self.name}/{label}")
        return Emitted(Subgraph(self.name, tuple(tensors), operators, inputs, outputs), self.values)

    def _scale(self, value: str) -> Scale | None:
        return None if self.scales is None else self.scales[value]

    def _shape(self, value: str) -> tuple[int, ...]:
        """The shape of a value's tensor: NHWC for a map."""
        channels, *places = self.graph.shapes[value]
        return (1, *places, channels)

    def _emit(self, node: Node, scale: Scale | None, fused: str) -> Held:
        xs = [self.values[name] for name in node.inputs]
        if scale is None or self._increment(node, xs) < MOST_STEPS * scale.step:
            return self._operator(node, xs, scale, fused)
        # Kernels cannot multiply by so much, as the values of a layer that hardly answers would need: some runtimes
        # refuse the file, others stop the process.
        exact = self._operator(node, [self.draft.convert(x, None) for x in xs], None, fused)
        return self.draft.convert(exact, scale)

    def _increment(self, node: Node, xs: Sequence[Held]) -> float:
        """The step in which an int8 kernel sums; 0 where it has no choice of the scale that it yields."""
        if isinstance(node.op, COPYING) or demanded(node):
            return 0.0
        steps = [x.scale.step for x in xs if x.scale is not None]
        weights = [self.graph.array(node, role) for role in ("weight", "scale") if role in node.params]
        steps += [float(np.abs(weight).max(initial=0.0)) / LARGEST_WEIGHT for weight in weights]
        return math.prod(steps) if weights or isinstance(node.op, Mul) else max(steps)

    def _operator(self, node: Node, xs: Sequence[Held], scale: Scale | None, fused: str) -> Held:
        op, draft = node.op, self.draft
        match op:
            case Conv() | DepthwiseConv():
                x, padding = self._windows(node, op, xs[0])
                return self.layers.conv(node, op, x, draft.value(self._shape(node.name), scale), padding, fused)
            case Linear():
                return self.layers.linear(node, xs[0], scale, fused)
            case ChannelAffine():
                return self.layers.affine(node, xs[0], scale, fused)
            case PRelu():
                return self.layers.prelu(node, xs[0], scale)
            case Activation():
                return activation(draft, op, xs[0], scale)
            case Softmax():
                features = math.prod(self.graph.shapes[node.name])
                vector = len(self.graph.shapes[node.name]) == 1 and xs[0].shape[-1] != features
                return softmax(draft, op, draft.reshape(xs[0], (1, features)) if vector else xs[0], scale)
            case MaxPool():
                x, padding = self._windows(node, op, xs[0], lowest=node.inputs[0] not in self.positive)
                return self._pool("MAX_POOL_2D", node, op, x, padding)
            case AvgPool():
                return self._avg_pool(node, op, xs[0], scale)
            case GlobalAvgPool():
                axes = draft.constant(np.array([1, 2], np.int32))
                output = draft.value(self._shape(node.name), scale)
                return draft.add("MEAN", [xs[0].tensor, axes], output, "ReducerOptions", keepDims=True)
            case Flatten():
                return self._flatten(node, xs[0])
            case Unflatten():
                return draft.reshape(draft.in_order(xs[0]), self._shape(node.name))
            case Add() | Mul():
                return self._pair("ADD" if isinstance(op, Add) else "MUL", xs[0], xs[1], scale, fused)
            case Concat():
                return self._concat(node, [draft.convert(x, scale) for x in xs])
        raise InternalError(f"{op.kind} {node.name!r} cannot be written as TFLite", why="lowering should remove it")

    def _input(self, given: Held, scale: Scale | None) -> Held:
        draft, pixels = self.draft, self.draft.tensors[given.tensor].type == "UINT8"
        # Fewer bytes are to be transposed before DEQUANTIZE and after QUANTIZE.
        x = given if pixels else draft.convert(given, scale)
        if len(x.shape) == 4:
            _, channels, height, width = x.shape
            moved = channels > 1 and height * width > 1
            x = draft.transpose(x, _TO_NHWC) if moved else draft.reshape(x, (1, height, width, channels))
        return draft.convert(x, scale)

    def _output(self, value: str) -> int:
        draft, shape = self.draft, self.graph.shapes[value]
        x = draft.in_order(self.values[value])
        if len(shape) == 3 and shape[0] > 1 and shape[1] * shape[2] > 1:
            x = draft.transpose(x, _TO_NCHW)
        return draft.convert(draft.reshape(x, (1, *shape)), None).tensor

    def _windows(
        self, node: Node, op: Conv | DepthwiseConv | MaxPool, x: Held, lowest: bool = False
    ) -> tuple[Held, str]:
        size, out = self.graph.shapes[node.inputs[0]][1:], self.graph.shapes[node.name][1:]
        place = placement(op, size, out)
        return self._pad(x, place, lowest), place.padding

    def _pad(self, x: Held, place: Placement, lowest: bool = False) -> Held:
        """``x`` with zeros around it, or with the lowest number."""
        if place.pads is None:
            return x
        key = (x.tensor, place, lowest)
        if key not in self.padded:
            draft, pads = self.draft, ((0, 0), *place.pads, (0, 0))
            shape = tuple(size + sum(more) for size, more in zip(x.shape, pads, strict=True))
            inputs = [x.tensor, draft.constant(np.array(pads, np.int32))]
            if lowest:
                least = np.finfo(np.float32).min if x.scale is None else np.int8(LOWEST)
                inputs.append(draft.constant(np.array([least]), quantized(x.scale)))
            code = "PADV2" if lowest else "PAD"
            self.padded[key] = draft.add(code, inputs, draft.value(shape, x.scale))
        return self.padded[key]

    def _pool(self, code: str, node: Node, op: MaxPool | AvgPool, x: Held, padding: str) -> Held:
        return self.draft.add(
            code,
            [x.tensor],
            self.draft.value(self._shape(node.name), x.scale),
            "Pool2DOptions",
            padding=PADDING[padding],
            strideH=op.stride[0],
            strideW=op.stride[1],
            filterHeight=op.kernel[0],
            filterWidth=op.kernel[1],
        )

    def _avg_pool(self, node: Node, op: AvgPool, x: Held, scale: Scale | None) -> Held:
        size, out = self.graph.shapes[node.inputs[0]][1:], self.graph.shapes[node.name][1:]
        place = explicit(op, size, out) if op.count_include_pad else placement(op, size, out)
        if op.count_include_pad or place.pads is None:
            return self._pool("AVERAGE_POOL_2D", node, op, self._pad(x, place), place.padding)
        # TFLite counts the places inside for its own padding only. The correction has no int8 kernel exact enough.
        whole = self._pad(self.draft.convert(x, None), place)
        mean = self._pool("AVERAGE_POOL_2D", node, op, whole, place.padding)
        factor = (math.prod(op.kernel) / counts(op, size, out)).astype(np.float32)[None, :, :, None]
        output = self.draft.value(mean.shape)
        self.draft.add("MUL", [mean.tensor, self.draft.constant(factor)], output, "MulOptions")
        return self.draft.convert(output, scale)

    def _flatten(self, node: Node, x: Held) -> Held:
        channels, height, width = self.graph.shapes[node.inputs[0]]
        if channels == 1 or height * width == 1:
            return x
        order = np.arange(channels * height * width, dtype=np.intp).reshape(channels, height, width)
        return replace(x, order=order.transpose(1, 2, 0).ravel())

    def _pair(self, code: str, left: Held, right: Held, scale: Scale | None, fused: str) -> Held:
        draft = self.draft
        if not (left.order is right.order or np.array_equal(left.order, right.order)):  # type: ignore[arg-type]
            left, right = draft.in_order(left), draft.in_order(right)
        if math.prod(left.shape) == math.prod(right.shape):
            right = draft.reshape(right, left.shape)
        larger = left if math.prod(left.shape) >= math.prod(right.shape) else right
        table = "AddOptions" if code == "ADD" else "MulOptions"
        return draft.add(
            code,
            [left.tensor, right.tensor],
            draft.like(larger, scale),
            table,
            fusedActivationFunction=FUSED[fused],
        )

    def _concat(self, node: Node, xs: Sequence[Held]) -> Held:
        if len(xs) == 1:
            return xs[0]
        vector = len(self.graph.shapes[node.name]) == 1
        if len({x.shape[:-1] for x in xs}) > 1:
            xs = [self.draft.reshape(x, (1, math.prod(x.shape))) for x in xs]
        shape = (*xs[0].shape[:-1], sum(x.shape[-1] for x in xs))
        output = replace(self.draft.value(shape, xs[0].scale), order=_joined_order(vector, xs))
        return self.draft.add(
            "CONCATENATION", [x.tensor for x in xs], output, "ConcatenationOptions", axis=len(shape) - 1
        )


def _joined_order(vector: bool, xs: Sequence[Held]) -> NDArray[np.intp] | None:
    """The order of a vector that is joined of others along the last axis of their tensors."""
    if not vector:
        return None
    parts, start = [], 0
    for x in xs:
        count = math.prod(x.shape)
        order = np.arange(count, dtype=np.intp) if x.order is None else x.order
        parts.append(start + order.reshape(x.shape))
        start += count
    joined = np.concatenate(parts, axis=-1).ravel()
    return None if np.array_equal(joined, np.arange(start)) else joined


def emit(plan: Plan, constants: Constants, wider: Mapping[str, Range]) -> Emitted:
    """The subgraph of a plan: input ``(1, *shape)``, one float32 output ``(1, *shape)`` per task, named as the task.

    ``wider`` are the ranges of :func:`pamc_exporters.tflite.scales.widened`. Raises InternalError for an operation
    that lowering should have removed.
    """
    return _Emitter(plan, constants, wider).run()


def logical(x: Held, array: NDArray[np.generic], shape: Sequence[int]) -> NDArray[np.float32]:
    """The content of a value's tensor, for ``n`` samples, as the plan's value: ``(n, *shape)`` in float32."""
    real = array.astype(np.float32).reshape(-1, *x.shape[1:])
    if x.scale is not None:
        real = (real - np.float32(x.scale.zero)) * np.float32(x.scale.step)
    if len(shape) == 3:
        return np.ascontiguousarray(real.transpose(_TO_NCHW))
    flat = real.reshape(len(real), -1)
    if x.order is None:
        return flat
    ordered = np.empty_like(flat)
    ordered[:, x.order] = flat
    return ordered
