"""Channel spaces: which tensors' channels are tied together.

Residual additions, products, depthwise convolutions, norms, activations and poolings keep a channel's identity, so all
values that they connect share one space and one owners vector. A concatenation has several spaces one after another;
flattening repeats each unit over its positions. A value's *layout* is the tuple of its segments.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from pamc.graph.ops import Add, Concat, Conv, Flatten, Input, Linear, Mul, ShapeError, Softmax

if TYPE_CHECKING:
    from pamc.graph.ir import Graph, Node

__all__ = ["ChannelSpaces", "Link", "Segment", "channel_spaces"]


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of channels of a value: all units of ``space`` in order, each repeated ``block`` times."""

    space: str
    block: int = 1


@dataclass(frozen=True, slots=True)
class Link:
    """A weight that reads a space: columns ``start : start + size*block`` of the reader's input."""

    reader: str
    start: int
    block: int


@dataclass(frozen=True)
class ChannelSpaces:
    """Spaces of one graph. A space is named after the first node that produces it."""

    sizes: Mapping[str, int]
    layouts: Mapping[str, tuple[Segment, ...]]
    fixed: frozenset[str]
    producers: Mapping[str, tuple[str, ...]]
    readers: Mapping[str, tuple[Link, ...]]

    def space_of(self, value: str) -> str:
        """The space of a value that has only one."""
        (segment,) = self.layouts[value]
        return segment.space


class _Ties:
    """Union-find over provisional space names; the earliest name wins."""

    def __init__(self) -> None:
        self.parent: dict[str, str] = {}
        self.order: dict[str, int] = {}

    def add(self, name: str) -> None:
        self.parent[name] = name
        self.order[name] = len(self.order)

    def find(self, name: str) -> str:
        while self.parent[name] != name:
            self.parent[name] = self.parent[self.parent[name]]
            name = self.parent[name]
        return name

    def union(self, left: str, right: str) -> None:
        first, second = sorted((self.find(left), self.find(right)), key=self.order.__getitem__)
        self.parent[second] = first


def _tie(ties: _Ties, sizes: Mapping[str, int], node: Node, layouts: list[tuple[Segment, ...]]) -> None:
    left, right = layouts
    widths = [[(sizes[seg.space], seg.block) for seg in layout] for layout in layouts]
    if widths[0] != widths[1]:
        raise ShapeError(
            f"{node.op.kind} {node.name!r} ties a concatenation to channels that are split differently: "
            f"{widths[0]} against {widths[1]}"
        )
    for one, other in zip(left, right, strict=True):
        ties.union(one.space, other.space)


def channel_spaces(graph: Graph) -> ChannelSpaces:
    """Compute the spaces of a graph. Raises ShapeError where channels cannot be tied."""
    ties = _Ties()
    sizes: dict[str, int] = {}
    raw: dict[str, tuple[Segment, ...]] = {}
    coupled: set[str] = set()
    for node in graph.nodes:
        if isinstance(node.op, Input | Conv | Linear):
            ties.add(node.name)
            sizes[node.name] = graph.shapes[node.name][0]
            raw[node.name] = (Segment(node.name),)
            continue
        layouts = [raw[name] for name in node.inputs]
        if isinstance(node.op, Concat):
            raw[node.name] = tuple(seg for layout in layouts for seg in layout)
        elif isinstance(node.op, Flatten):
            positions = math.prod(graph.shapes[node.inputs[0]][1:])
            raw[node.name] = tuple(Segment(seg.space, seg.block * positions) for seg in layouts[0])
        else:
            if isinstance(node.op, Add | Mul):
                _tie(ties, sizes, node, layouts)
            raw[node.name] = layouts[0]
        if isinstance(node.op, Softmax):
            coupled.update(seg.space for seg in raw[node.name])

    layouts_by_value = {
        value: tuple(Segment(ties.find(seg.space), seg.block) for seg in layout) for value, layout in raw.items()
    }
    ends = coupled | {graph.input.name}
    ends.update(seg.space for value in graph.outputs.values() for seg in layouts_by_value[value])
    names = [name for name in sizes if ties.find(name) == name]
    producers: dict[str, list[str]] = {name: [] for name in names}
    readers: dict[str, list[Link]] = {name: [] for name in names}
    for node in graph.nodes:
        if isinstance(node.op, Input | Conv | Linear):
            producers[ties.find(node.name)].append(node.name)
        if isinstance(node.op, Conv | Linear):
            start = 0
            for seg in layouts_by_value[node.inputs[0]]:
                readers[seg.space].append(Link(node.name, start, seg.block))
                start += sizes[seg.space] * seg.block
    return ChannelSpaces(
        sizes=MappingProxyType({name: sizes[name] for name in names}),
        layouts=MappingProxyType(layouts_by_value),
        fixed=frozenset(ties.find(name) for name in ends),
        producers=MappingProxyType({name: tuple(nodes) for name, nodes in producers.items()}),
        readers=MappingProxyType({name: tuple(links) for name, links in readers.items()}),
    )
