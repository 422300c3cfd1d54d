"""A plan as an ONNX model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pamc import __version__
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
    Shape,
    Softmax,
    Unflatten,
)
from pamc.lower import Plan, load_target
from pamc_exporters.onnx.weights import WEIGHTS, Stored, as_stored

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto, TensorProto

__all__ = ["input_name", "to_model", "value_names"]

Window = Conv | DepthwiseConv | MaxPool | AvgPool


def input_name(graph: Graph) -> str:
    """Name of the ONNX input."""
    return "input" if "input" not in graph.outputs else "network_input"


def value_names(graph: Graph) -> dict[str, str]:
    """ONNX name of every value: outputs are called as their tasks, the others as in the plan."""
    tasks = {value: task for task, value in graph.outputs.items()}
    names = {node.name: tasks.get(node.name, node.name) for node in graph.nodes}
    raw = graph.input.op.dtype == "uint8"  # type: ignore[attr-defined]
    names[graph.input.name] = f"{input_name(graph)}:unit" if raw else input_name(graph)
    return names


def _max_pool_ends(op: MaxPool, size: Shape, out: Shape) -> tuple[int, ...]:
    # Explicit padding instead of ceil_mode: runtimes disagree about a last window that starts in the padding, and
    # padded places never win a maximum.
    return tuple(
        max(op.padding[axis], (out[axis] - 1) * op.stride[axis] + op.kernel[axis] - size[axis] - op.padding[axis])
        for axis in (0, 1)
    )


def _window(op: Window, ends: Shape | None = None, **others: tuple[int, int]) -> dict[str, Any]:
    # What ONNX assumes anyhow is left out: attributes are a good part of the small files.
    pads = (*op.padding, *(op.padding if ends is None else ends))
    wanted = {"strides": op.stride, **others}
    kept = {name: list(value) for name, value in wanted.items() if value != (1, 1)}
    return {"kernel_shape": list(op.kernel), **kept, **({"pads": list(pads)} if any(pads) else {})}


class _Emitter:
    def __init__(self, graph: Graph, stored: Mapping[str, Stored]) -> None:
        self.graph = graph
        self.stored = stored
        self.names = value_names(graph)
        self.nodes: list[NodeProto] = []
        self.initializers: dict[str, TensorProto] = {}

    def emit(self, node: Node) -> None:
        """Append the ONNX nodes of one node."""
        op, name = node.op, node.name
        rank = len(self.graph.shapes[name])
        match op:
            case Input():
                self._input(node, op)
            case Conv() | DepthwiseConv():
                attributes = _window(op, dilations=op.dilation)
                if isinstance(op, DepthwiseConv):
                    attributes["group"] = self.graph.shapes[node.inputs[0]][0]
                self._add(node, "Conv", self._params(node, "weight", "bias"), **attributes)
            case Linear():
                self._add(node, "Gemm", self._params(node, "weight", "bias"), transB=1)
            case ChannelAffine():
                scale, shift = (self._param(node, role, (-1, *(1,) * (rank - 1))) for role in ("scale", "shift"))
                self._node("Mul", f"{name}:scaled", [*self._inputs(node), scale])
                self._node("Add", self.names[name], [f"{name}:scaled", shift], name)
            case Activation():
                self._activation(node, op)
            case MaxPool():
                ends = _max_pool_ends(op, self.graph.shapes[node.inputs[0]][1:], self.graph.shapes[name][1:])
                self._add(node, "MaxPool", **_window(op, ends))
            case AvgPool():
                self._add(node, "AveragePool", **_window(op), count_include_pad=int(op.count_include_pad))
            case GlobalAvgPool():
                self._add(node, "GlobalAveragePool")
            case Flatten():
                self._add(node, "Flatten", axis=1)
            case Unflatten():
                self._add(node, "Unsqueeze", [self._constant("const/axes", np.array([2, 3], dtype=np.int64))])
            case Add():
                self._add(node, "Add")
            case Mul():
                self._add(node, "Mul")
            case Concat():
                self._add(node, "Concat", axis=1)
            case Softmax():
                self._add(node, "Softmax", axis=1)
            case _:
                raise InternalError(f"{op.kind} {name!r} cannot be written as ONNX", why="lowering should remove it")

    def _inputs(self, node: Node) -> list[str]:
        return [self.names[value] for value in node.inputs]

    def _node(self, kind: str, output: str, inputs: list[str], name: str = "", **attributes: Any) -> None:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], name=name or output, **attributes))

    def _add(self, node: Node, kind: str, more: Sequence[str] = (), **attributes: Any) -> None:
        self._node(kind, self.names[node.name], [*self._inputs(node), *more], node.name, **attributes)

    def _constant(self, name: str, array: NDArray[Any]) -> str:
        from onnx import numpy_helper

        self.initializers.setdefault(name, numpy_helper.from_array(array, name))
        return name

    def _scalar(self, value: float) -> str:
        return self._constant(f"const/{value:.9g}", np.array(value, dtype=np.float32))

    def _params(self, node: Node, *roles: str) -> list[str]:
        return [self._param(node, role) for role in roles if role in node.params]

    def _param(self, node: Node, role: str, shape: tuple[int, ...] | None = None) -> str:
        from onnx import TensorProto

        key = node.params[role]
        array = as_stored(self.graph.params[key])
        if shape is not None:
            array = array.reshape(shape)
        place = self.stored.get(key)
        if place is None:
            return self._constant(key, array)
        tensor = TensorProto(
            name=key, data_type=TensorProto.FLOAT, dims=array.shape, data_location=TensorProto.EXTERNAL
        )
        for field, value in (("location", WEIGHTS), ("offset", place.offset), ("length", place.length)):
            tensor.external_data.add(key=field, value=str(value))
        self.initializers[key] = tensor
        return key

    def _input(self, node: Node, op: Input) -> None:
        if op.dtype == "float32":
            return
        from onnx import TensorProto

        self._node("Cast", f"{node.name}:float", [input_name(self.graph)], to=TensorProto.FLOAT)
        # A division, as PyTorch does: a product with 1/255 rounds differently.
        self._node("Div", self.names[node.name], [f"{node.name}:float", self._scalar(255.0)])

    def _activation(self, node: Node, op: Activation) -> None:
        (x,) = self._inputs(node)
        name, y = node.name, self.names[node.name]
        simple: Mapping[str, tuple[str, dict[str, float]]] = {
            "relu": ("Relu", {}),
            "sigmoid": ("Sigmoid", {}),
            "tanh": ("Tanh", {}),
            "hardswish": ("HardSwish", {}),
            "hardsigmoid": ("HardSigmoid", {"alpha": 1.0 / 6.0, "beta": 0.5}),
            "leaky_relu": ("LeakyRelu", {"alpha": op.alpha}),
            "elu": ("Elu", {"alpha": op.alpha}),
        }
        composed: Mapping[str, Callable[[], None]] = {
            "relu6": lambda: self._node("Clip", y, [x, self._scalar(0.0), self._scalar(6.0)], name),
            "silu": lambda: self._silu(name, x, y),
            "gelu": lambda: self._gelu(name, x, y),
        }
        if op.function in simple:
            kind, attributes = simple[op.function]
            self._node(kind, y, [x], name, **attributes)
        else:
            composed[op.function]()

    def _silu(self, name: str, x: str, y: str) -> None:
        self._node("Sigmoid", f"{name}:sigmoid", [x])
        self._node("Mul", y, [x, f"{name}:sigmoid"], name)

    def _gelu(self, name: str, x: str, y: str) -> None:
        # Gelu itself needs opset 20; runtimes fuse these five.
        self._node("Div", f"{name}:div", [x, self._scalar(math.sqrt(2.0))])
        self._node("Erf", f"{name}:erf", [f"{name}:div"])
        self._node("Add", f"{name}:add", [f"{name}:erf", self._scalar(1.0)])
        self._node("Mul", f"{name}:mul", [x, f"{name}:add"])
        self._node("Mul", y, [f"{name}:mul", self._scalar(0.5)], name)


def to_model(plan: Plan, stored: Mapping[str, Stored], metadata: Mapping[str, str]) -> ModelProto:
    """The model of a plan, with the parameters in ``stored`` as references to weights.bin and the others inside.

    One input ``(n, *shape)``, one output ``(n, *shape)`` per task, named as the task. ``metadata`` becomes
    ``metadata_props`` beside pamc's own.
    """
    from onnx import TensorProto, helper

    graph, target = plan.graph, load_target(plan.target)
    emitter = _Emitter(graph, stored)
    for node in graph.nodes:
        emitter.emit(node)
    source = graph.input.op
    assert isinstance(source, Input)
    kind = TensorProto.UINT8 if source.dtype == "uint8" else TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info(input_name(graph), kind, ["n", *source.shape])]
    outputs = [
        helper.make_tensor_value_info(task, TensorProto.FLOAT, ["n", *graph.shapes[value]])
        for task, value in graph.outputs.items()
    ]
    body = helper.make_graph(emitter.nodes, plan.task_set, inputs, outputs, [*emitter.initializers.values()])
    model = helper.make_model(
        body,
        opset_imports=[helper.make_opsetid("", target.onnx_opset)],
        ir_version=target.onnx_ir_version,
        producer_name="pamc",
        producer_version=__version__,
    )
    own = {
        "pamc.task_set": plan.task_set,
        "pamc.tasks": ",".join(graph.outputs),
        "pamc.target": plan.target,
        "pamc.version": __version__,
    }
    helper.set_model_props(model, dict(sorted({**metadata, **own}.items())))
    return model
