"""The exact flat graph of one task set: one operation per group.

A group of owners G reads the groups whose owners contain G (read rule), all of which run whenever G does (run
rule). So a group's weights are the same in every task set, which is what lets files share them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from pamc.graph.ir import Array, Graph, MultitaskGraph, Node, frozen_array
from pamc.graph.ops import Concat, Conv, Input, Linear
from pamc.graph.owners import groups, name_of
from pamc.graph.reshape import Index, channel_index, grid

__all__ = ["Block", "Selection", "select"]


@dataclass(frozen=True, slots=True)
class Block:
    """Where a group's parameter lies in the multitask graph's: ``params[key][index]``."""

    key: str
    index: tuple[Index, ...]


@dataclass(frozen=True)
class Selection:
    """The flat graph of a task set, the origin of each of its parameters, and the owners of each of its values.

    ``sources`` names for each value the multitask graph's value that it is a part of.
    """

    request: int
    graph: Graph
    blocks: Mapping[str, Block]
    owners: Mapping[str, int]
    sources: Mapping[str, str]


class _Builder:
    def __init__(self, net: MultitaskGraph) -> None:
        self.net = net
        self.nodes: dict[str, Node] = {}
        self.blocks: dict[str, Block] = {}
        self.params: dict[str, Array] = {}
        self.owners: dict[str, int] = {}
        self.sources: dict[str, str] = {}

    def add(self, node: Node, mask: int, source: str) -> None:
        """A node of the flat graph that serves ``mask`` and holds a part of ``source``."""
        self.nodes[node.name] = node
        self.owners[node.name] = mask
        self.sources[node.name] = source

    @cached_property
    def groups(self) -> dict[str, dict[int, Index]]:
        return {space: groups(vector) for space, vector in self.net.owners.items()}

    def piece(self, value: str, position: int, mask: int) -> str:
        """The value that holds group ``mask`` of segment ``position`` of ``value``."""
        node = self.net.graph.by_name[value]
        if isinstance(node.op, Concat):
            for name in node.inputs:
                count = len(self.net.spaces.layouts[name])
                if position < count:
                    return self.piece(name, position, mask)
                position -= count
        if isinstance(node.op, Input):
            self.add(node, mask, value)
            return value
        segments = self.net.spaces.layouts[value]
        name = f"{value}/{name_of(mask, self.net.tasks)}"
        if len(segments) > 1:
            name += f"@{position}"
        if name in self.nodes:
            return name
        if isinstance(node.op, Conv | Linear):
            inputs: tuple[str, ...] = (self.gather(node.inputs[0], mask),)
            read: Index | None = self._read_index(node.inputs[0], mask)
        else:
            inputs = tuple(self.piece(source, position, mask) for source in node.inputs)
            read = None
        space = segments[position].space
        before = sum(self.net.spaces.sizes[seg.space] * seg.block for seg in segments[:position])
        units = self.groups[space][mask]
        block = segments[position].block
        out = (before + units[:, None] * block + np.arange(block)).ravel().astype(np.intp)
        params = {}
        for role, key in node.params.items():
            array = self.net.graph.params[key]
            index = grid(node.op, role, out, read, array.shape)
            params[role] = f"{name}.{role}"
            self.blocks[params[role]] = Block(key, index)
            self.params[params[role]] = frozen_array(array[index])
        self.add(replace(node, name=name, inputs=inputs, params=params), mask, value)
        return name

    def _supersets(self, space: str, mask: int) -> list[int]:
        return [other for other in self.groups[space] if mask & ~other == 0]

    def _read_index(self, value: str, mask: int) -> Index:
        parts, start = [], 0
        spaces = self.net.spaces
        for seg in spaces.layouts[value]:
            for other in self._supersets(seg.space, mask):
                alone = {seg.space: self.groups[seg.space][other]}
                parts.append(start + channel_index([seg], spaces.sizes, alone))
            start += spaces.sizes[seg.space] * seg.block
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.intp)

    def gather(self, value: str, mask: int) -> str:
        """One value with everything that group ``mask`` reads of ``value``."""
        pieces = [
            self.piece(value, position, other)
            for position, seg in enumerate(self.net.spaces.layouts[value])
            for other in self._supersets(seg.space, mask)
        ]
        if len(pieces) == 1:
            return pieces[0]
        name = f"{value}/for:{name_of(mask, self.net.tasks)}"
        if name not in self.nodes:
            self.add(Node(name, Concat(), tuple(pieces)), mask, value)
        return name


def select(net: MultitaskGraph, requests: Iterable[int]) -> dict[int, Selection]:
    """The flat graphs of several task sets. Nodes that no requested output needs are not in them."""
    builder = _Builder(net)
    # In the order of execution, so that the recursion finds its inputs done: deep networks would exhaust the stack.
    for node in net.graph.nodes:
        for position, seg in enumerate(net.spaces.layouts[node.name]):
            for mask in builder.groups[seg.space]:
                if mask & net.serves[node.name]:
                    builder.piece(node.name, position, mask)
    ends = {task: builder.gather(net.graph.outputs[task], net.task_set([task])) for task in net.tasks}
    order = _topological(builder.nodes, net.graph.input.name)
    whole = Graph(order, ends, builder.params)
    chosen = {}
    for request in requests:
        outputs = {task: ends[task] for task in net.tasks if net.task_set([task]) & request}
        graph = replace(whole, outputs=outputs).pruned_to(outputs.values())
        chosen[request] = Selection(
            request,
            graph,
            {name: builder.blocks[name] for name in graph.params},
            {node.name: builder.owners[node.name] for node in graph.nodes},
            {node.name: builder.sources[node.name] for node in graph.nodes},
        )
    return chosen


def _topological(nodes: Mapping[str, Node], first: str) -> tuple[Node, ...]:
    ordered: dict[str, Node] = {first: nodes[first]}

    def visit(name: str) -> None:
        if name not in ordered:
            for source in nodes[name].inputs:
                visit(source)
            ordered[name] = nodes[name]

    for name in nodes:
        visit(name)
    return tuple(ordered.values())
