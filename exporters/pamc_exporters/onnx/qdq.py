"""int8 plans: values stored in 8 bits between QuantizeLinear and DequantizeLinear, as ONNX Runtime fuses them.

ONNX Runtime makes one integer kernel of DequantizeLinear -> operation -> QuantizeLinear. So

* each reader has a DequantizeLinear of its own;
* a ReLU that the range expresses is left out: storing the value already cuts it off at the ends of its range;
* Concat, MaxPool, Flatten and Unsqueeze work on the stored numbers, whose scales calibration made equal;
* what ends a network stays float32, unless a convolution yields it: a linear layer's integer kernel can give floats.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from pamc.graph.ops import (
    Activation,
    ChannelAffine,
    Concat,
    Conv,
    DepthwiseConv,
    Flatten,
    GlobalAvgPool,
    Input,
    MaxPool,
    Op,
    Softmax,
    Unflatten,
)
from pamc.lower import load_target
from pamc_exporters.interface import input_name
from pamc_exporters.onnx.emit import Emitter
from pamc_exporters.onnx.quantize import PIXEL, Scale, is_signed, scale_of
from pamc_exporters.onnx.tensors import WEIGHTED

if TYPE_CHECKING:
    from pamc.graph import Graph, Node
    from pamc.lower import Plan
    from pamc_exporters.onnx.weights import Stored

__all__ = ["QuantizedEmitter"]

MOVING = (Concat, MaxPool, Flatten, Unflatten)
# They compute in float32; rounding what they alone read would only lose accuracy.
FLOATING = (ChannelAffine, Softmax)
LEAST_RATIO, MOST_RATIO = 2.0**-32, 256.0
CUTS = {"relu": float("inf"), "relu6": 6.0}


def _stays_float(graph: Graph, node: Node) -> bool:
    if isinstance(node.op, Conv | DepthwiseConv) or (isinstance(node.op, Input) and node.op.dtype == "uint8"):
        return False
    return all(isinstance(reader.op, FLOATING) for reader in graph.consumers[node.name])


def _beyond_kernels(graph: Graph, node: Node, scales: Mapping[str, Scale]) -> bool:
    """Whether ONNX Runtime's integer kernel refuses the scales of a global average, as of channels that hardly live."""
    if not isinstance(node.op, GlobalAvgPool):
        return False
    (source,) = node.inputs
    positions = math.prod(graph.shapes[source][1:])
    ratio = scales[source].step / (scales[node.name].step * positions)
    return not LEAST_RATIO <= ratio < MOST_RATIO


def _cut_by_range(op: Op, bounds: tuple[float, float]) -> bool:
    """Whether storing a value over ``bounds`` is all that an activation does."""
    return isinstance(op, Activation) and bounds[0] == 0.0 and bounds[1] <= CUTS.get(op.function, -1.0)


class QuantizedEmitter(Emitter):
    """Emits an int8 plan. ``stored_as`` has the name and scale of every value that is stored in 8 bits."""

    def __init__(self, plan: Plan, stored: Mapping[str, Stored]) -> None:
        super().__init__(plan, stored)
        graph = plan.graph
        signed = is_signed(load_target(plan.target).arch)
        self.scales = {name: scale_of(bounds, signed) for name, bounds in plan.ranges.items()}
        self.floats = {
            node.name for node in graph.nodes if _stays_float(graph, node) or _beyond_kernels(graph, node, self.scales)
        }
        self.stored_as: dict[str, tuple[str, Scale]] = {}
        self.absorbed = {
            node.inputs[0]: node.name for node in graph.nodes if node.name not in self.floats and self._absorbs(node)
        }
        # The float32 number of a value that is stored: of its own, since a reader sees it rounded.
        self.names |= {name: self.inner(graph.by_name[name], "f") for name in self.names.keys() - self.floats}
        self.names |= {value: self.names[cut] for value, cut in self.absorbed.items()}

    def _absorbs(self, node: Node) -> bool:
        """Whether the value that an activation reads need not exist."""
        if not _cut_by_range(node.op, self.plan.ranges[node.name]):
            return False
        source = self.graph.by_name[node.inputs[0]]
        alone = len(self.graph.consumers[source.name]) == 1 and source.name not in self.graph.outputs.values()
        return alone and not isinstance(source.op, (Input, Activation, *MOVING))

    def emit(self, node: Node) -> None:
        """Append the ONNX nodes of one node and store its value."""
        name = node.name
        if self._moves_stored(node):
            self.stored_as[name] = (f"{self.number[name]}q", self.scales[name])
            self.move(node, self.stored_as[name][0], [self.stored_as[value][0] for value in node.inputs])
        elif not (node.inputs and node.inputs[0] in self.absorbed):
            super().emit(node)
        if name in self.absorbed or name in self.floats:
            return
        if name not in self.stored_as:
            self.store(node, self.names[name])
        for task, value in self.graph.outputs.items():
            if value == name:
                self._dequantize(task, *self.stored_as[name])

    def _moves_stored(self, node: Node) -> bool:
        if not isinstance(node.op, MOVING) or node.name in self.floats:
            return False
        return all(
            value in self.stored_as and self.stored_as[value][1] == self.scales[node.name] for value in node.inputs
        )

    def store(self, node: Node, number: str) -> None:
        """Store a float32 number as the value of a node."""
        scale = self.scales[node.name]
        self.stored_as[node.name] = (f"{self.number[node.name]}q", scale)
        self.node("QuantizeLinear", self.stored_as[node.name][0], [number, *self.scale_names(scale)])

    def scale_names(self, scale: Scale) -> list[str]:
        """Names of a scale's step and zero."""
        zero = np.array(scale.zero, dtype=np.int8 if scale.signed else np.uint8)
        return [self.scalar(scale.step), self.constant(f"{'i' if scale.signed else 'u'}{scale.zero}", zero)]

    def _dequantize(self, output: str, stored: str, scale: Scale) -> str:
        self.node("DequantizeLinear", output, [stored, *self.scale_names(scale)])
        return output

    def read(self, node: Node) -> list[str]:
        """What a node reads, as float32: stored values through a DequantizeLinear of its own."""
        return [
            self._dequantize(self.inner(node, str(position)), *self.stored_as[value])
            if value in self.stored_as
            else self.names[value]
            for position, value in enumerate(node.inputs)
        ]

    def param(self, node: Node, role: str, shape: tuple[int, ...] | None = None) -> str:
        """Name of the parameter in float32."""
        if not isinstance(node.op, WEIGHTED):
            return self.tensor(node, role, shape=shape)
        parts = [self.tensor(node, role, part) for part in ("", "step", "zero")]
        self.node("DequantizeLinear", f"{parts[0]}f", parts, axis=0)
        return f"{parts[0]}f"

    def input(self, node: Node, op: Input) -> None:
        """Pixels are stored numbers already; other scales and types need one more step."""
        given = input_name(self.graph)
        if op.dtype == "float32":
            self.names[node.name] = given
        elif self.scales[node.name] == PIXEL:
            self.stored_as[node.name] = (given, PIXEL)
        else:
            self._dequantize(self.names[node.name], given, PIXEL)
