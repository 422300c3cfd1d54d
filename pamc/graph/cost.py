"""Exact costs of every task set: multiply-accumulates, parameters, bytes.

cost(R) = sum over the units that run of (units read x kernel x positions): design, section 1. Biases, norms,
activations and poolings count nothing, as in the paper's convention.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pamc.graph.ir import Graph, MultitaskGraph, Node
from pamc.graph.owners import all_task_sets, runs

__all__ = ["Cost", "cost", "costs", "expected_macs", "graph_macs", "graph_params", "links_per_unit"]

BYTES_PER_PARAM = 4


@dataclass(frozen=True, slots=True)
class Cost:
    """What one inference of a task set takes. ``bytes`` are its parameters in float32."""

    macs: int
    params: int

    @property
    def bytes(self) -> int:
        """Size of the parameters in float32."""
        return self.params * BYTES_PER_PARAM


def links_per_unit(net: MultitaskGraph, node: Node) -> np.ndarray | None:
    """Channels that each unit of a conv or linear node reads; 1 for depthwise; None for nodes without weights."""
    if "weight" not in node.op.param_axes:
        return None
    mask = net.mask(node)
    if mask is None:
        return np.ones(len(net.owners_out(node)), dtype=np.int64)
    count: np.ndarray = mask.sum(axis=1).astype(np.int64)
    return count


def cost(net: MultitaskGraph, request: int) -> Cost:
    """Cost of the task set ``request`` (a mask)."""
    macs = params = 0
    for node in net.graph.nodes:
        if not node.op.param_axes:
            continue
        running = runs(net.owners_out(node), request)
        links = links_per_unit(net, node)
        if links is None:
            params += int(running.sum()) * len(node.params)
            continue
        read = int(links[running].sum())
        macs += read * node.op.macs_per_link(net.graph.shapes[node.name])
        taps = int(np.prod(net.graph.array(node, "weight").shape[2:]))
        params += read * taps + (int(running.sum()) if "bias" in node.params else 0)
    return Cost(macs, params)


def costs(net: MultitaskGraph) -> Mapping[int, Cost]:
    """Cost of every task set."""
    return {request: cost(net, request) for request in all_task_sets(len(net.tasks))}


def expected_macs(net: MultitaskGraph, workload: Mapping[int, float]) -> float:
    """sum_R P(R) macs(R)."""
    return sum(chance * cost(net, request).macs for request, chance in workload.items() if chance)


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
