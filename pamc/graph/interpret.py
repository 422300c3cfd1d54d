"""Running a graph in PyTorch: the reference that every artefact is compared with."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from pamc.graph.cost import graph_macs
from pamc.graph.ir import Graph, MultitaskGraph, Node
from pamc.graph.ops import (
    IN,
    Activation,
    Add,
    AvgPool,
    BatchNorm,
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
from pamc.graph.threads import threads_for

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Reading", "Storing", "evaluate", "parts", "read_values", "run", "step", "tensors"]

Params = Callable[[Node, str], Tensor]
Reading = Callable[[str, Tensor], Tensor]
"""``(name of a value, value) -> the value as its readers see it``."""
Storing = Callable[[Node, Tensor], Tensor]
"""``(node, what it computed) -> its value``."""

MOMENTUM = 0.1
MOST_VALUES = 2**27
PART = 64

_ACTIVATIONS: Mapping[str, Callable[[Tensor, float], Tensor]] = {
    "relu": lambda x, _: F.relu(x),
    "relu6": lambda x, _: F.relu6(x),
    "sigmoid": lambda x, _: torch.sigmoid(x),
    "tanh": lambda x, _: torch.tanh(x),
    "silu": lambda x, _: F.silu(x),
    "hardswish": lambda x, _: F.hardswish(x),
    "hardsigmoid": lambda x, _: F.hardsigmoid(x),
    "leaky_relu": lambda x, alpha: F.leaky_relu(x, alpha),
    "elu": lambda x, alpha: F.elu(x, alpha),
    "gelu": lambda x, _: F.gelu(x),
}


def _per_channel(vector: Tensor, like: Tensor) -> Tensor:
    return vector.reshape(1, -1, *(1,) * (like.dim() - 2))


def _weights(node: Node, params: Params, x: Tensor, training: bool) -> Tensor:
    op = node.op
    bias = params(node, "bias") if "bias" in node.params else None
    if isinstance(op, Linear):
        return F.linear(x, params(node, "weight"), bias)
    if isinstance(op, Conv | DepthwiseConv):
        groups = x.shape[1] if isinstance(op, DepthwiseConv) else 1
        return F.conv2d(x, params(node, "weight"), bias, op.stride, op.padding, op.dilation, groups)
    if isinstance(op, PRelu):
        return F.prelu(x, params(node, "slope"))
    if isinstance(op, ChannelAffine):
        return x * _per_channel(params(node, "scale"), x) + _per_channel(params(node, "shift"), x)
    assert isinstance(op, BatchNorm)
    gamma, beta, mean, var = (params(node, role) for role in ("gamma", "beta", "mean", "var"))
    return F.batch_norm(x, mean, var, gamma, beta, training, MOMENTUM, op.eps)


def step(node: Node, params: Params, xs: list[Tensor], training: bool = False) -> Tensor:
    """What one node computes from its inputs ``(n, *shape)``; see :func:`run`."""
    op = node.op
    match op:
        case Conv() | DepthwiseConv() | Linear() | BatchNorm() | ChannelAffine() | PRelu():
            return _weights(node, params, xs[0], training)
        case Activation():
            return _ACTIVATIONS[op.function](xs[0], op.alpha)
        case MaxPool():
            return F.max_pool2d(xs[0], op.kernel, op.stride, op.padding, 1, op.ceil)
        case AvgPool():
            return F.avg_pool2d(xs[0], op.kernel, op.stride, op.padding, False, op.count_include_pad)
        case GlobalAvgPool():
            return xs[0].mean((2, 3), keepdim=True)
        case Flatten():
            return xs[0].flatten(1)
        case Unflatten():
            return xs[0][:, :, None, None]
        case Add():
            return xs[0] + xs[1]
        case Mul():
            return xs[0] * xs[1]
        case Concat():
            return torch.cat(xs, 1)
        case Softmax():
            return (torch.log_softmax if op.log else torch.softmax)(xs[0], 1)
    raise TypeError(f"cannot run {op!r}")


def run(
    graph: Graph,
    x: Tensor,
    params: Params,
    *,
    training: bool = False,
    reading: Reading | None = None,
    storing: Storing | None = None,
) -> dict[str, Tensor]:
    """Every value of the graph for a batch ``x`` of shape ``(n, *input shape)``.

    A uint8 input is divided by 255. ``params(node, role)`` yields tensors; in training mode batch norms use the
    batch's statistics and update ``mean`` and ``var`` in place. ``reading`` changes what weights that join two spaces
    (Conv and Linear) read; it is called once for each value that one of them reads. ``storing`` changes every value as
    it is computed, before anything reads it.
    """
    values: dict[str, Tensor] = {}
    seen: dict[str, Tensor] = {}
    for node in graph.nodes:
        if isinstance(node.op, Input):
            raw = node.op.dtype == "uint8"
            dtype = next((params(other, role).dtype for other in graph.nodes for role in other.params), torch.float32)
            values[node.name] = x.to(dtype) / 255.0 if raw else x.to(dtype)
        else:
            inputs = values
            if reading is not None and IN in node.op.param_axes.get("weight", ()):
                (source,) = node.inputs
                if source not in seen:
                    seen[source] = reading(source, values[source])
                inputs = seen
            values[node.name] = step(node, params, [inputs[name] for name in node.inputs], training)
        if storing is not None:
            values[node.name] = storing(node, values[node.name])
    return values


def tensors(graph: Graph, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu") -> dict[str, Tensor]:
    """The graph's parameters as tensors that share no memory with it."""
    return {
        name: torch.tensor(array, dtype=dtype, device=device)  # a copy: parameters are read-only
        for name, array in graph.params.items()
    }


def parts(graph: Graph, x: NDArray[np.generic] | Tensor, most: int | None = None) -> list[Tensor]:
    """``x`` in parts of at most ``most`` samples, and so few that all values of the graph fit into memory."""
    values = sum(math.prod(shape) for shape in graph.shapes.values())
    return list(torch.split(torch.as_tensor(x), max(1, min(most or len(x), MOST_VALUES // values))))


def evaluate(
    graph: Graph,
    x: NDArray[np.generic] | Tensor,
    *,
    dtype: torch.dtype = torch.float32,
    batch: int = PART,
    storing: Storing | None = None,
) -> dict[str, Tensor]:
    """The graph's outputs by name, in inference mode on the CPU, in the given precision; ``storing`` as for
    :func:`run`."""
    held, macs = tensors(graph, dtype), graph_macs(graph)
    pieces: list[dict[str, Tensor]] = []
    with torch.no_grad():
        for part in parts(graph, x, batch):
            with threads_for(macs * len(part)):
                values = run(graph, part, lambda node, role: held[node.params[role]], storing=storing)
            pieces.append({name: values[value] for name, value in graph.outputs.items()})
    return {name: torch.cat([piece[name] for piece in pieces]) for name in graph.outputs}


def read_values(net: MultitaskGraph, x: NDArray[np.generic]) -> Iterator[dict[str, list[Tensor]]]:
    """What readers see of every prunable space: ``(n, units, positions)`` at each place where it is read.

    One part of ``x`` after another, since all of a large network's values do not fit into memory.
    """
    held, macs = tensors(net.graph), graph_macs(net.graph)
    places = {
        space: dict.fromkeys(
            (net.graph.by_name[link.reader].inputs[0], link.start, link.block) for link in net.spaces.readers[space]
        )
        for space in net.prunable
    }
    for part in parts(net.graph, x, PART):
        with torch.no_grad(), threads_for(macs * len(part)):
            values = run(net.graph, part, lambda node, role: held[node.params[role]])
        yield {
            space: [
                values[value][:, start : start + net.spaces.sizes[space] * block].reshape(
                    len(part), net.spaces.sizes[space], -1
                )
                for value, start, block in found
            ]
            for space, found in places.items()
        }
