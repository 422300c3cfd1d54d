"""Plans as PyTorch modules of PyTorch's own layers, for exporters other than ours to convert."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

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
from pamc.lower import Plan

__all__ = ["PlanModule"]


class _Affine(nn.Module):
    def __init__(self, scale: Tensor, shift: Tensor, rank: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(scale.reshape(1, -1, *(1,) * (rank - 1)))
        self.shift = nn.Parameter(shift.reshape(1, -1, *(1,) * (rank - 1)))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift


class _Function(nn.Module):
    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *xs: Tensor) -> Tensor:
        return self.function(*xs)


def _activation(op: Activation) -> nn.Module:
    layers: dict[str, Callable[[], nn.Module]] = {
        "relu": nn.ReLU,
        "relu6": nn.ReLU6,
        "sigmoid": nn.Sigmoid,
        "tanh": nn.Tanh,
        "silu": nn.SiLU,
        "hardswish": nn.Hardswish,
        "hardsigmoid": nn.Hardsigmoid,
        "leaky_relu": lambda: nn.LeakyReLU(op.alpha),
        "elu": lambda: nn.ELU(op.alpha),
        "gelu": nn.GELU,
    }
    return layers[op.function]()


def _layer(graph: Graph, node: Node) -> nn.Module:
    held = {role: torch.tensor(graph.array(node, role)) for role in node.params}
    read = graph.shapes[node.inputs[0]][0]
    match node.op:
        case Conv() | DepthwiseConv() as op:
            groups = read if isinstance(op, DepthwiseConv) else 1
            units = len(held["weight"])
            window = (op.kernel, op.stride, op.padding, op.dilation)
            layer: nn.Module = nn.Conv2d(read, units, *window, groups, "bias" in held)
        case Linear():
            layer = nn.Linear(read, len(held["weight"]), "bias" in held)
        case PRelu():
            slopes = nn.PReLU(len(held["slope"]))
            slopes.weight = nn.Parameter(held["slope"])
            return slopes
        case ChannelAffine():
            return _Affine(held["scale"], held["shift"], len(graph.shapes[node.name]))
        case Activation() as op:
            return _activation(op)
        case MaxPool() as op:
            return nn.MaxPool2d(op.kernel, op.stride, op.padding, ceil_mode=op.ceil)
        case AvgPool() as op:
            return nn.AvgPool2d(op.kernel, op.stride, op.padding, count_include_pad=op.count_include_pad)
        case GlobalAvgPool():
            return nn.AdaptiveAvgPool2d(1)
        case Flatten():
            return nn.Flatten()
        case Unflatten():
            return nn.Unflatten(1, (read, 1, 1))
        case Softmax() as op:
            return nn.LogSoftmax(1) if op.log else nn.Softmax(1)
        case Add():
            return _Function(torch.add)
        case Mul():
            return _Function(torch.mul)
        case Concat():
            return _Function(lambda *xs: torch.cat(xs, 1))
        case _:
            raise TypeError(f"a plan has no {node.op.kind}")
    layer.load_state_dict(held)
    return layer


class PlanModule(nn.Module):
    """The network of one task set: ``(n, *input shape)`` to a tuple of outputs in task order."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.graph = plan.graph
        self.layers = nn.ModuleList(
            _layer(plan.graph, node) for node in plan.graph.nodes if not isinstance(node.op, Input)
        )
        self.eval()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        source = self.graph.input
        assert isinstance(source.op, Input)
        values = {source.name: x.float() / 255.0 if source.op.dtype == "uint8" else x}
        nodes = [node for node in self.graph.nodes if node is not source]
        for node, layer in zip(nodes, self.layers, strict=True):
            values[node.name] = layer(*(values[name] for name in node.inputs))
        return tuple(values[value] for value in self.graph.outputs.values())
