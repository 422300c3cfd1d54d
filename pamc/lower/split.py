"""Convolutions that read several values: joined by a concatenation, or one convolution a value and a sum.

A convolution of a concatenation is the sum of convolutions of its parts. That saves the copy, and costs a call and an
addition for every part but the first; some runtimes add as they write. Small maps are better joined, large ones split.
The weights of a part are columns of the whole, the same wherever the whole would be the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from pamc.graph import Graph, Node
from pamc.graph.cost import graph_params
from pamc.graph.ir import Array, frozen_array
from pamc.graph.ops import Add, Concat, Conv
from pamc.lower.cost_model import Costs, amounts, in_place_adds, is_cold

__all__ = ["Split", "choose_splits", "split"]

WORTH = 0.03
"""A split must save this part of the time of what it replaces: less is within the error of the estimate."""


@dataclass(frozen=True)
class Split:
    """A graph, and for each value that is new the value that it is a part of."""

    graph: Graph
    parts: Mapping[str, str]


def _saves(graph: Graph, concat: Node, costs: Costs, in_place: frozenset[str]) -> bool:
    """Whether splitting the readers of a concatenation saves enough."""
    kernels, cold = costs.kernels, is_cold(graph_params(graph), costs.kernels)
    pieces = [graph.shapes[name] for name in concat.inputs]
    whole = graph.shapes[concat.name]
    joined = costs.of(amounts(concat.op, pieces, whole, kernels))
    split_up = 0.0
    for reader in graph.consumers[concat.name]:
        out = graph.shapes[reader.name]
        apart, onto = (
            costs.of(amounts(Add(), [out, out], out, kernels, in_place=held)) for held in (False, kernels.adds_in_place)
        )
        joined += costs.of(amounts(reader.op, [whole], out, kernels, cold=cold))
        split_up += sum(costs.of(amounts(reader.op, [piece], out, kernels, cold=cold)) for piece in pieces)
        split_up += onto * (len(pieces) - 1)
        # A convolution adds onto one value only: a residual addition behind a sum is an operation of its own.
        if any(node.name in in_place for node in graph.consumers[reader.name]):
            split_up += apart - onto
    return split_up < (1 - WORTH) * joined


def choose_splits(graph: Graph, costs: Costs) -> frozenset[str]:
    """The concatenations that only convolutions read and that take longer than what they save."""
    outputs = set(graph.outputs.values())
    in_place = in_place_adds(graph, costs.kernels)
    return frozenset(
        node.name
        for node in graph.nodes
        if isinstance(node.op, Concat)
        and node.name not in outputs
        and all(isinstance(reader.op, Conv) for reader in graph.consumers[node.name])
        and _saves(graph, node, costs, in_place)
    )


def split(graph: Graph, concats: frozenset[str]) -> Split:
    """The graph without the concatenations called so; the function computed stays the same."""
    nodes: list[Node] = []
    params: dict[str, Array] = {}
    parts: dict[str, str] = {}
    for node in graph.nodes:
        if node.name in concats:
            continue
        if isinstance(node.op, Conv) and node.inputs[0] in concats:
            for made in _summed(graph, node, graph.by_name[node.inputs[0]], params):
                nodes.append(made)
                if made.name != node.name:
                    parts[made.name] = node.name
        else:
            nodes.append(node)
            params |= {key: graph.params[key] for key in node.params.values()}
    return Split(Graph(tuple(nodes), graph.outputs, params), parts)


def _summed(graph: Graph, node: Node, concat: Node, params: dict[str, Array]) -> Iterator[Node]:
    """A convolution of each input of ``concat``, and their running sums; the last is called as ``node``."""
    weight = node.params["weight"]
    ends = np.cumsum([graph.shapes[name][0] for name in concat.inputs])
    blocks = np.split(graph.params[weight], ends[:-1], axis=1)
    total = ""
    for number, (source, block) in enumerate(zip(concat.inputs, blocks, strict=True)):
        keys = {"weight": f"{weight}<{source}"}
        params[keys["weight"]] = frozen_array(block)
        if number == 0 and "bias" in node.params:
            keys["bias"] = node.params["bias"]
            params[keys["bias"]] = graph.params[keys["bias"]]
        part = f"{node.name}<{source}"
        yield Node(part, node.op, (source,), keys, node.origin)
        if number == 0:
            total = part
            continue
        last = number == len(concat.inputs) - 1
        added = node.name if last else f"{part}:sum"
        yield Node(added, Add(), (total, part), {}, node.origin)
        total = added
