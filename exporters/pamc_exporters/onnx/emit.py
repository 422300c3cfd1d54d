"""A plan's operations as ONNX nodes, with numbers in float32; other kinds of numbers change how values are read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pamc.errors import InternalError
from pamc.graph import Node
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
    Shape,
    Softmax,
    Unflatten,
)
from pamc_exporters.interface import input_name
from pamc_exporters.onnx.tensors import param_key, stored_tensors
from pamc_exporters.onnx.weights import WEIGHTS, Stored

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import NodeProto, TensorProto

    from pamc.lower import Plan

__all__ = ["Emitter", "HalfEmitter"]

Window = Conv | DepthwiseConv | MaxPool | AvgPool


def _max_pool_ends(op: MaxPool, size: Shape, out: Shape) -> tuple[int, ...]:
    # Explicit padding instead of ceil_mode: runtimes disagree about a last window that starts in the padding, and
    # padded places never win a maximum.
    return tuple(
        max(op.padding[axis], (out[axis] - 1) * op.stride[axis] + op.kernel[axis] - size[axis] - op.padding[axis])
        for axis in (0, 1)
    )


def _window(op: Window, ends: Shape | None = None, **others: tuple[int, int]) -> dict[str, Any]:
    # What ONNX assumes or infers anyhow is left out: attributes are a good part of the small files.
    pads = (*op.padding, *(op.padding if ends is None else ends))
    wanted = {"strides": op.stride, **others}
    kept = {name: list(value) for name, value in wanted.items() if value != (1, 1)}
    kernel = {} if isinstance(op, Conv | DepthwiseConv) else {"kernel_shape": list(op.kernel)}
    return {**kernel, **kept, **({"pads": list(pads)} if any(pads) else {})}


class Emitter:
    """Appends ONNX nodes and tensors for one node of a plan after another.

    ``names`` has the ONNX name of every value: outputs are called as their tasks, the others by their number in the
    plan, since names are a good part of the small files. Nodes with parameters keep the names of the plan.
    """

    def __init__(self, plan: Plan, stored: Mapping[str, Stored]) -> None:
        self.plan = plan
        self.graph = plan.graph
        self.stored = stored
        self.arrays = stored_tensors(plan)
        self.number = {node.name: position for position, node in enumerate(plan.graph.nodes)}
        tasks = {value: task for task, value in plan.graph.outputs.items()}
        self.names = {name: tasks.get(name, str(position)) for name, position in self.number.items()}
        if plan.graph.input.op.dtype == "float32":  # type: ignore[attr-defined]
            self.names[plan.graph.input.name] = input_name(plan.graph)
        self.nodes: list[NodeProto] = []
        self.initializers: dict[str, TensorProto] = {}

    def emit(self, node: Node) -> None:
        """Append the ONNX nodes of one node."""
        op = node.op
        match op:
            case Input():
                self.input(node, op)
            case Conv() | DepthwiseConv():
                attributes = _window(op, dilations=op.dilation)
                if isinstance(op, DepthwiseConv):
                    attributes["group"] = self.graph.shapes[node.inputs[0]][0]
                self._add(node, "Conv", self._params(node, "weight", "bias"), **attributes)
            case Linear():
                self._add(node, "Gemm", self._params(node, "weight", "bias"), transB=1)
            case ChannelAffine():
                scale, shift = (self._per_channel(node, role) for role in ("scale", "shift"))
                scaled = self.inner(node, "scaled")
                self.node("Mul", scaled, [*self.read(node), scale])
                self.node("Add", self.names[node.name], [scaled, shift], node.name)
            case PRelu():
                self._add(node, "PRelu", [self._per_channel(node, "slope")])
            case Activation():
                self._activation(node, op)
            case AvgPool():
                self._add(node, "AveragePool", **_window(op), count_include_pad=int(op.count_include_pad))
            case GlobalAvgPool():
                self._add(node, "GlobalAveragePool")
            case Add():
                self._add(node, "Add")
            case Mul():
                self._add(node, "Mul")
            case Softmax():
                self._add(node, "LogSoftmax" if op.log else "Softmax", axis=1)
            case MaxPool() | Flatten() | Unflatten() | Concat():
                self.move(node, self.names[node.name], self.read(node))
            case _:
                raise InternalError(f"{op.kind} {node.name!r} cannot be written as ONNX", why="lowering removes it")

    def read(self, node: Node) -> list[str]:
        """Names under which a node reads its inputs."""
        return [self.names[value] for value in node.inputs]

    def param(self, node: Node, role: str, shape: tuple[int, ...] | None = None) -> str:
        """Name under which a node reads a parameter, which may be reshaped."""
        return self.tensor(node, role, shape=shape)

    def input(self, node: Node, op: Input) -> None:
        """Append what makes float32 numbers of the caller's."""
        if op.dtype == "float32":
            return
        from onnx import TensorProto

        numbers = self.inner(node, "float")
        self.node("Cast", numbers, [input_name(self.graph)], to=TensorProto.FLOAT)
        # A division, as PyTorch does: a product with 1/255 rounds differently.
        self.node("Div", self.names[node.name], [numbers, self.scalar(255.0)])

    def move(self, node: Node, output: str, inputs: list[str]) -> None:
        """Append an operation that only hands numbers on, whatever their type."""
        op = node.op
        match op:
            case MaxPool():
                ends = _max_pool_ends(op, self.graph.shapes[node.inputs[0]][1:], self.graph.shapes[node.name][1:])
                self.node("MaxPool", output, inputs, **_window(op, ends))
            case Concat():
                self.node("Concat", output, inputs, axis=1)
            case Flatten():
                self.node("Flatten", output, inputs, axis=1)
            case Unflatten():
                axes = self.constant("axes", np.array([2, 3], dtype=np.int64))
                self.node("Unsqueeze", output, [*inputs, axes])

    def inner(self, node: Node, part: str) -> str:
        """Name of a value inside the ONNX nodes of one node."""
        return f"{self.number[node.name]}:{part}"

    def node(self, kind: str, output: str, inputs: list[str], name: str = "", **attributes: Any) -> None:
        """Append an ONNX node with one output."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], name=name, **attributes))

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """Name of a tensor inside the model."""
        from onnx import numpy_helper

        self.initializers.setdefault(name, numpy_helper.from_array(array, name))
        return name

    def scalar(self, value: float) -> str:
        """Name of a float32 number."""
        return self.constant(f"={value:.9g}", np.array(value, dtype=np.float32))

    def tensor(self, node: Node, role: str, part: str = "", *, shape: tuple[int, ...] | None = None) -> str:
        """Name of a stored tensor of a node: in weights.bin if it has a place there, inside the model otherwise."""
        from onnx import TensorProto, helper

        key = param_key(node.params[role], part)
        name = f"{self.number[node.name]}{role[:2]}{part[:1]}"
        array = self.arrays[key] if shape is None else self.arrays[key].reshape(shape)
        place = self.stored.get(key)
        if place is None:
            return self.constant(name, array)
        tensor = TensorProto(
            name=name,
            data_type=helper.np_dtype_to_tensor_dtype(array.dtype),
            dims=array.shape,
            data_location=TensorProto.EXTERNAL,
        )
        for field, value in (("location", WEIGHTS), ("offset", place.offset), ("length", place.length)):
            tensor.external_data.add(key=field, value=str(value))
        self.initializers[name] = tensor
        return name

    def _per_channel(self, node: Node, role: str) -> str:
        """Name of a parameter with one number per channel of the value."""
        rank = len(self.graph.shapes[node.name])
        return self.param(node, role, (-1, *(1,) * (rank - 1)))

    def _params(self, node: Node, *roles: str) -> list[str]:
        return [self.param(node, role) for role in roles if role in node.params]

    def _add(self, node: Node, kind: str, more: Sequence[str] = (), **attributes: Any) -> None:
        name = node.name if node.params else ""
        self.node(kind, self.names[node.name], [*self.read(node), *more], name, **attributes)

    def _activation(self, node: Node, op: Activation) -> None:
        (x,) = self.read(node)
        y = self.names[node.name]
        simple: Mapping[str, tuple[str, dict[str, Any]]] = {
            "relu": ("Relu", {}),
            "sigmoid": ("Sigmoid", {}),
            "tanh": ("Tanh", {}),
            "hardswish": ("HardSwish", {}),
            "hardsigmoid": ("HardSigmoid", {"alpha": 1.0 / 6.0, "beta": 0.5}),
            "leaky_relu": ("LeakyRelu", {"alpha": op.alpha}),
            "elu": ("Elu", {"alpha": op.alpha}),
        }
        composed: Mapping[str, Callable[[], None]] = {
            "relu6": lambda: self.node("Clip", y, [x, self.scalar(0.0), self.scalar(6.0)]),
            "silu": lambda: self._silu(node, x),
            "gelu": lambda: self._gelu(node, x),
        }
        if op.function in simple:
            kind, attributes = simple[op.function]
            self.node(kind, y, [x], **attributes)
        else:
            composed[op.function]()

    def _silu(self, node: Node, x: str) -> None:
        share = self.inner(node, "sigmoid")
        self.node("Sigmoid", share, [x])
        self.node("Mul", self.names[node.name], [x, share])

    def _gelu(self, node: Node, x: str) -> None:
        # Gelu itself needs opset 20; runtimes fuse these five.
        div, erf, add, mul = (self.inner(node, part) for part in ("div", "erf", "add", "mul"))
        self.node("Div", div, [x, self.scalar(math.sqrt(2.0))])
        self.node("Erf", erf, [div])
        self.node("Add", add, [erf, self.scalar(1.0)])
        self.node("Mul", mul, [x, add])
        self.node("Mul", self.names[node.name], [mul, self.scalar(0.5)])


class HalfEmitter(Emitter):
    """Parameters stored as half, cast to float32 behind; a runtime folds the cast when it loads the model."""

    def param(self, node: Node, role: str, shape: tuple[int, ...] | None = None) -> str:
        """Name of the parameter in float32."""
        from onnx import TensorProto

        half = self.tensor(node, role, shape=shape)
        self.node("Cast", f"{half}f", [half], to=TensorProto.FLOAT)
        return f"{half}f"
