"""What an operation takes: seconds as a sum of amounts times prices, which are measured once per runtime and machine.

A kernel computes ``tile`` output channels at once, and up to ``tiles`` of these in one pass over what it reads. A pass
of few tiles makes bad use of the registers, so every number of tiles has its own price. Borders make rows dearer. With
passes p of f(p) tiles each, a convolution of ``cin`` channels (from ``read_tile`` on in whole tiles) takes

    layer + sum over p of cin * taps * rows * (mac[f(p)] * columns + row[f(p)] when the kernel is wider than 1)

and, where a runtime copies each window of a kernel wider than 1 into a column of a matrix before it multiplies,

    unroll * cin * taps * rows * columns

and a price for every weight when the weights of all layers do not fit into the ``cache``, so that each inference reads
them from memory.
Other operations take a fixed price and one per value, and an inference a fixed price of its own. The form follows the
NCHWc kernels of ONNX Runtime and the GEMM kernels of XNNPACK; `pamc calibrate` fits the prices.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

from pamc.graph import Graph, Node
from pamc.graph.cost import graph_params
from pamc.graph.ops import (
    Activation,
    Add,
    AvgPool,
    Concat,
    Conv,
    DepthwiseConv,
    Flatten,
    GlobalAvgPool,
    Input,
    Linear,
    MaxPool,
    Op,
    Shape,
    Unflatten,
)

__all__ = [
    "Amounts",
    "Costs",
    "Kernels",
    "amounts",
    "free_nodes",
    "in_place_adds",
    "is_cold",
    "price_names",
    "seconds",
    "total_amounts",
]

Amounts = Mapping[str, float]
"""How much of each price an operation takes."""

BYTES = 4
NOTHING: Amounts = MappingProxyType({})
FUSED = frozenset({"relu", "relu6"})


@dataclass(frozen=True, slots=True)
class Kernels:
    """How a runtime's kernels divide the work.

    A last pass of fewer than ``tiles`` tiles is cheaper only when ``narrow_tail``, or when it is the only one.
    ``adds_in_place`` is for a runtime whose convolutions can add onto another value. ``cache`` is in bytes.
    ``unrolls`` is for one that makes a matrix of all windows of a convolution first, however many channels come out.
    """

    tile: int
    read_tile: int
    tiles: int
    narrow_tail: bool
    adds_in_place: bool
    cache: int
    unrolls: bool = False

    def __post_init__(self) -> None:
        if min(self.tile, self.read_tile, self.tiles) < 1:
            raise ValueError("tile, read_tile and tiles must be at least 1")

    def read_channels(self, channels: int) -> int:
        """As how many channels a kernel reads ``channels``: whole tiles, but less than a tile as it is."""
        if channels < self.read_tile:
            return channels
        return math.ceil(channels / self.read_tile) * self.read_tile

    def passes(self, channels: int) -> dict[int, int]:
        """How many passes of how many tiles compute ``channels`` output channels."""
        whole, rest = divmod(math.ceil(channels / self.tile), self.tiles)
        if rest and whole and not self.narrow_tail:
            whole, rest = whole + 1, 0
        return {**({self.tiles: whole} if whole else {}), **({rest: 1} if rest else {})}


def price_names(kernels: Kernels) -> tuple[str, ...]:
    """The prices that a runtime has."""
    tiles = range(1, kernels.tiles + 1)
    convolution = [*(f"mac{count}" for count in tiles), *(f"row{count}" for count in tiles)]
    convolution += ["unroll"] if kernels.unrolls else []
    return (
        "inference",
        "layer",
        "op",
        *convolution,
        "weight",
        "depthwise",
        "linear",
        "copy",
        "add",
        "pool",
        "elementwise",
    )


@dataclass(frozen=True)
class Costs:
    """The prices of one runtime on one kind of machine, in seconds; ``measured`` says how they came about."""

    runtime: str
    measured: str
    kernels: Kernels
    prices: Mapping[str, float]

    def __post_init__(self) -> None:
        if set(self.prices) != set(price_names(self.kernels)):
            raise ValueError(f"the prices must be exactly {', '.join(price_names(self.kernels))}")
        if bad := [name for name, price in self.prices.items() if not (math.isfinite(price) and price >= 0)]:
            raise ValueError(f"prices must be zero or more, not {', '.join(bad)}")
        object.__setattr__(self, "prices", MappingProxyType(dict(self.prices)))

    def of(self, taken: Amounts) -> float:
        """Seconds."""
        return sum(self.prices[name] * amount for name, amount in taken.items())

    def as_data(self) -> dict[str, Any]:
        """Plain data, as in the files."""
        kernels = {field.name: getattr(self.kernels, field.name) for field in fields(Kernels)}
        return {
            "runtime": self.runtime,
            "measured": self.measured,
            "kernels": kernels,
            "prices": {name: float(f"{self.prices[name]:.4g}") for name in price_names(self.kernels)},
        }

    @staticmethod
    def from_data(data: Any) -> Costs:
        """The inverse of :meth:`as_data`. Raises ValueError for anything else."""
        parts = {field.name for field in fields(Costs)}
        if not isinstance(data, dict) or set(data) != parts:
            raise ValueError(f"a file of costs holds {', '.join(sorted(parts))}, and nothing else")
        try:
            return Costs(
                str(data["runtime"]),
                str(data["measured"]),
                Kernels(**data["kernels"]),
                {str(name): float(price) for name, price in data["prices"].items()},
            )
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"kernels or prices are not what they should be: {error}") from error


def _convolution(op: Conv, read: int, out: Shape, kernels: Kernels, cold: bool) -> Amounts:
    channels = kernels.read_channels(read)
    lines = channels * math.prod(op.kernel) * out[1]
    taken: dict[str, float] = {"layer": 1.0}
    if cold:
        taken["weight"] = float(read * math.prod(op.kernel) * out[0])
    for tiles, count in kernels.passes(out[0]).items():
        taken[f"mac{tiles}"] = float(count * lines * out[2])
        if op.kernel != (1, 1):
            taken[f"row{tiles}"] = float(count * lines)
    if kernels.unrolls and op.kernel != (1, 1):
        taken["unroll"] = float(lines * out[2])
    return taken


def amounts(
    op: Op, read: Sequence[Shape], out: Shape, kernels: Kernels, *, in_place: bool = False, cold: bool = False
) -> Amounts:
    """What an operation that reads values of shapes ``read`` and yields ``out`` takes.

    ``in_place`` is an addition that a convolution does as it writes, ``cold`` says that weights come from memory.
    """
    values = float(math.prod(out))
    match op:
        case Input() | Flatten() | Unflatten():
            return NOTHING
        case Conv():
            return _convolution(op, read[0][0], out, kernels, cold)
        case DepthwiseConv():
            channels = math.ceil(out[0] / kernels.tile) * kernels.tile
            return {"layer": 1.0, "depthwise": float(channels * math.prod(op.kernel) * math.prod(out[1:]))}
        case Linear():
            return {"layer": 1.0, "linear": float(read[0][0] * out[0])}
        case Concat():
            return {"op": 1.0, "copy": values}
        case Add() if in_place:
            return {"add": values}
        case MaxPool() | AvgPool():
            return {"op": 1.0, "pool": values * math.prod(op.kernel)}
        case GlobalAvgPool():
            return {"op": 1.0, "pool": float(math.prod(read[0]))}
        case _:
            return {"op": 1.0, "elementwise": values}


def _lone_source(graph: Graph, node: Node, kinds: type | tuple[type, ...]) -> bool:
    """Whether some input of the node comes from one of ``kinds`` and is read by nothing else."""
    outputs = set(graph.outputs.values())
    return any(
        isinstance(graph.by_name[name].op, kinds) and len(graph.consumers[name]) == 1 and name not in outputs
        for name in node.inputs
    )


def free_nodes(graph: Graph) -> frozenset[str]:
    """Activations that the operation before them takes along."""
    layers: tuple[type, ...] = (Conv, DepthwiseConv, Linear, Add)
    return frozenset(
        node.name
        for node in graph.nodes
        if isinstance(node.op, Activation) and node.op.function in FUSED and _lone_source(graph, node, layers)
    )


def in_place_adds(graph: Graph, kernels: Kernels) -> frozenset[str]:
    """Additions that a convolution does as it writes."""
    if not kernels.adds_in_place:
        return frozenset()
    return frozenset(node.name for node in graph.nodes if isinstance(node.op, Add) and _lone_source(graph, node, Conv))


def is_cold(params: int, kernels: Kernels) -> bool:
    """Whether a network of so many parameters reads them from memory every time."""
    return BYTES * params > kernels.cache


def _taken(graph: Graph, kernels: Kernels) -> Iterator[tuple[str, Amounts]]:
    free, in_place = free_nodes(graph), in_place_adds(graph, kernels)
    cold = is_cold(graph_params(graph), kernels)
    for node in graph.nodes:
        read, out = [graph.shapes[name] for name in node.inputs], graph.shapes[node.name]
        taken = amounts(node.op, read, out, kernels, in_place=node.name in in_place, cold=cold)
        yield node.name, NOTHING if node.name in free else taken


def total_amounts(graph: Graph, kernels: Kernels) -> dict[str, float]:
    """What one inference of a graph takes in all."""
    total = {**dict.fromkeys(price_names(kernels), 0.0), "inference": 1.0}
    for _, taken in _taken(graph, kernels):
        for name, amount in taken.items():
            total[name] += amount
    return total


def seconds(graph: Graph, costs: Costs) -> dict[str, float]:
    """Seconds of every node of a graph."""
    return {name: costs.of(taken) for name, taken in _taken(graph, costs.kernels)}
