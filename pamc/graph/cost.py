"""Exact costs of every task set: multiply-accumulates, FLOPs, parameters, bytes.

cost(R) = sum over the units that run of (units read x kernel x positions): design, section 1. Biases, norms,
activations and poolings count nothing, as in the paper's convention.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pamc.graph.ir import Graph, MultitaskGraph, Node
from pamc.graph.ops import IN
from pamc.graph.owners import DTYPE, Owners, all_task_sets, may_read

__all__ = ["Cost", "cost", "costs", "costs_by_tasks", "expected_macs", "graph_macs", "graph_params"]

BYTES_PER_PARAM = 4


@dataclass(frozen=True, slots=True)
class Cost:
    """What one inference of a task set takes: multiply-accumulates, and the values that layers with weights yield.

    ``params`` counts parameters, ``bytes`` are those in float32.
    """

    macs: int
    params: int
    outputs: int

    @property
    def flops(self) -> int:
        """Multiplications and additions as the PAM paper's published code counts them.

        A value that is a sum of n products takes n multiplications and n - 1 additions: (2 k k C_in - 1) H W C_out for
        a convolution, (2 n_in - 1) n_out for a linear layer.
        """
        return 2 * self.macs - self.outputs

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.macs + other.macs, self.params + other.params, self.outputs + other.outputs)

    @property
    def bytes(self) -> int:
        """Size of the parameters in float32."""
        return self.params * BYTES_PER_PARAM


NOTHING = Cost(0, 0, 0)


def _reads(net: MultitaskGraph, node: Node, readers: Owners) -> NDArray[np.int64]:
    """Channels that a unit of the node with each of these owners reads; 1 for depthwise convolutions."""
    if IN not in node.op.param_axes["weight"]:
        return np.ones(len(readers), dtype=np.int64)
    masks, channels = np.unique(net.owners_along(node.inputs[0]), return_counts=True)
    count: NDArray[np.int64] = may_read(readers, masks) @ channels
    served: NDArray[np.bool_] = (readers & DTYPE(net.serves[node.name])) != 0
    return np.where(served, count, 0)


def _costs_of(net: MultitaskGraph, node: Node) -> Iterator[tuple[int, Cost]]:
    """The cost of a node's units that have the same owners and run for the same tasks, with the mask of these tasks."""
    pairs = np.stack([net.owners_along(node.name), net.owners_out(node)])
    (owners, tasks), units = np.unique(pairs, axis=1, return_counts=True)
    if "weight" not in node.params:
        for mask, count in zip(map(int, tasks), map(int, units), strict=True):
            yield mask, Cost(0, count * len(node.params), 0)
        return
    shape = net.graph.shapes[node.name]
    taps = math.prod(net.graph.array(node, "weight").shape[2:])
    for mask, count, read in zip(map(int, tasks), map(int, units), map(int, _reads(net, node, owners)), strict=True):
        links = count * read
        params = links * taps + (count if "bias" in node.params else 0)
        yield mask, Cost(links * node.op.macs_per_link(shape), params, count * math.prod(shape[1:]))


def costs_by_tasks(net: MultitaskGraph) -> Mapping[int, Cost]:
    """The cost of all units that run for exactly the same tasks, by the mask of these tasks."""
    table: dict[int, Cost] = {}
    for node in net.graph.nodes:
        if node.op.param_axes:
            for mask, part in _costs_of(net, node):
                table[mask] = table.get(mask, NOTHING) + part
    return table


def _meeting(table: Mapping[int, Cost], request: int) -> Cost:
    return sum((cost for mask, cost in table.items() if mask & request), NOTHING)


def cost(net: MultitaskGraph, request: int) -> Cost:
    """Cost of the task set ``request`` (a mask)."""
    return _meeting(costs_by_tasks(net), request)


def costs(net: MultitaskGraph) -> Mapping[int, Cost]:
    """Cost of every task set."""
    table = costs_by_tasks(net)
    return {request: _meeting(table, request) for request in all_task_sets(len(net.tasks))}


def expected_macs(net: MultitaskGraph, workload: Mapping[int, float]) -> float:
    """sum_R P(R) macs(R)."""
    table = costs_by_tasks(net)
    return sum(chance * _meeting(table, request).macs for request, chance in workload.items() if chance)


def graph_macs(graph: Graph) -> int:
    """Multiply-accumulates of one inference of a plain graph."""
    total = 0
    for node in graph.nodes:
        if "weight" in node.op.param_axes:
            weight = graph.array(node, "weight")
            links = weight.shape[0] * weight.shape[1]
            total += links * node.op.macs_per_link(graph.shapes[node.name])
    return total


def graph_params(graph: Graph) -> int:
    """Number of parameters of a plain graph."""
    return sum(int(array.size) for array in graph.params.values())
