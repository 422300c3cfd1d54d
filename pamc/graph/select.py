"""The exact flat graph of one task set: one operation per group, or per several groups folded into one.

A group of owners G reads the groups whose owners contain G (read rule), all of which run whenever G does (run
rule). So a group's weights are the same in every task set, which is what lets files share them.

Folding runs several groups of a space as one. The fold reads everything that one of them reads, by weights that hold
zeros where the read rule forbids a link; who reads one of its groups reads the whole, by zeros too. The function
computed stays the same, and the weights of a fold belong to the task sets that fold alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pamc.errors import InternalError
from pamc.graph.ir import Array, Graph, MultitaskGraph, Node, frozen_array
from pamc.graph.ops import IN, Concat, Conv, Input, Linear, Softmax
from pamc.graph.owners import Owners, groups, name_of
from pamc.graph.reshape import Index, channel_index, grid
from pamc.graph.spaces import Segment

__all__ = ["Block", "Fold", "Folding", "Selection", "fold_groups", "reads", "select"]

Fold = tuple[int, ...]
"""The owners of the groups that run as one."""
Folding = Mapping[str, int]
"""By space the mask of the tasks that stay told apart: groups that differ in no owner among these run as one."""

NAMED = 2
DIGITS = 6


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


def fold_groups(masks: Iterable[int], kept: int) -> tuple[Fold, ...]:
    """The folds of the groups ``masks`` when only the tasks ``kept`` are told apart, in the order of their first."""
    folds: dict[int, list[int]] = {}
    for mask in masks:
        folds.setdefault(mask & kept, []).append(mask)
    return tuple(map(tuple, folds.values()))


def reads(reader: Fold, read: Fold) -> bool:
    """Whether some group of a fold reads some group of another."""
    return any(mask & ~other == 0 for mask in reader for other in read)


def _digest(words: Iterable[object]) -> str:
    return hashlib.sha256(repr(list(words)).encode()).hexdigest()[:DIGITS]


@dataclass
class _Pool:
    """Parameters by name. Those of one name have one content, so all task sets hold the same array."""

    blocks: dict[str, Block] = field(default_factory=dict)
    params: dict[str, Array] = field(default_factory=dict)

    def add(self, name: str, key: str, index: tuple[Index, ...], array: Array) -> None:
        if name not in self.params:
            self.blocks[name] = Block(key, index)
            self.params[name] = frozen_array(array[index])


class _Builder:
    """The flat graph of ``request``; with ``folding`` its groups run in folds, in spaces that are named there."""

    def __init__(self, net: MultitaskGraph, pool: _Pool, request: int, folding: Folding) -> None:
        self.net = net
        self.pool = pool
        self.nodes: dict[str, Node] = {}
        self.owners: dict[str, int] = {}
        self.sources: dict[str, str] = {}
        self.units: dict[str, dict[Fold, Index]] = {}
        for space, vector in net.owners.items():
            self.units[space] = _folded(vector, request, folding.get(space, net.everyone))

    def add(self, node: Node, mask: int, source: str) -> None:
        """A node of the flat graph that serves ``mask`` and holds a part of ``source``."""
        self.nodes[node.name] = node
        self.owners[node.name] = mask
        self.sources[node.name] = source

    def label(self, fold: Fold) -> str:
        names = [name_of(mask, self.net.tasks) for mask in fold]
        # Long names would make a good part of a small file.
        return "|".join(names) if len(fold) <= NAMED else f"{names[0]}|+{len(fold) - 1}~{_digest(names)}"

    def piece(self, value: str, position: int, fold: Fold) -> str:
        """The value that holds the groups ``fold`` of segment ``position`` of ``value``."""
        node = self.net.graph.by_name[value]
        if isinstance(node.op, Concat):
            for name in node.inputs:
                count = len(self.net.spaces.layouts[name])
                if position < count:
                    return self.piece(name, position, fold)
                position -= count
        if isinstance(node.op, Input):
            self.add(node, self.net.everyone, value)
            return value
        segments = self.net.spaces.layouts[value]
        name = f"{value}/{self.label(fold)}"
        if len(segments) > 1:
            name += f"@{position}"
        if isinstance(node.op, Softmax):
            return self._softmax(node, position, fold)
        if name in self.nodes:
            return name
        space = segments[position].space
        before = sum(self.net.spaces.sizes[seg.space] * seg.block for seg in segments[:position])
        units = self.units[space][fold]
        block = segments[position].block
        out = (before + units[:, None] * block + np.arange(block)).ravel().astype(np.intp)
        if isinstance(node.op, Conv | Linear):
            # A layer that only one network has may share a space with layers of others.
            served = tuple(mask for mask in fold if mask & self.net.serves[value])
            inputs: tuple[str, ...] = (self.gather(node.inputs[0], served),)
            read: Index | None = self._read_index(node.inputs[0], served)
            reading = self._reading(node.inputs[0], served)
        else:
            inputs = tuple(self.piece(source, position, fold) for source in node.inputs)
            read, reading = None, ""
        params = {}
        for role, key in node.params.items():
            array = self.net.graph.params[key]
            params[role] = f"{name}.{role}" + (reading if IN in node.op.param_axes[role] else "")
            self.pool.add(params[role], key, grid(node.op, role, out, read, array.shape), array)
        self.add(replace(node, name=name, inputs=inputs, params=params), _owners_of(fold), value)
        return name

    def _softmax(self, node: Node, position: int, fold: Fold) -> str:
        """The whole of a softmax: its channels depend on each other, so no segment can stand alone."""
        if position > 0:
            raise InternalError(
                f"a part of softmax {node.name!r} over a concatenation is read, which cannot be lowered"
            )
        name = f"{node.name}/{self.label(fold)}"
        if name not in self.nodes:
            whole = replace(node, name=name, inputs=(self.gather(node.inputs[0], fold),))
            self.add(whole, _owners_of(fold), node.name)
        return name

    def segments(self, value: str) -> tuple[Segment, ...]:
        """The segments that have values of their own."""
        layout = self.net.spaces.layouts[value]
        return layout[:1] if isinstance(self.net.graph.by_name[value].op, Softmax) else layout

    def _read_folds(self, space: str, fold: Fold) -> list[Fold]:
        return [other for other in self.units[space] if reads(fold, other)]

    def _reading(self, value: str, fold: Fold) -> str:
        """What sets a parameter apart from that of the same units reading other folds; "" where nothing is folded."""
        read = [other for seg in self.net.spaces.layouts[value] for other in self._read_folds(seg.space, fold)]
        plain = len(fold) == 1 and all(len(other) == 1 for other in read)
        return "" if plain else f"~{_digest(map(self.label, read))}"

    def _read_index(self, value: str, fold: Fold) -> Index:
        parts, start = [], 0
        spaces = self.net.spaces
        for seg in spaces.layouts[value]:
            for other in self._read_folds(seg.space, fold):
                alone = {seg.space: self.units[seg.space][other]}
                parts.append(start + channel_index([seg], spaces.sizes, alone))
            start += spaces.sizes[seg.space] * seg.block
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.intp)

    def gather(self, value: str, fold: Fold) -> str:
        """One value with everything that the groups ``fold`` read of ``value``."""
        pieces = [
            self.piece(value, position, other)
            for position, seg in enumerate(self.segments(value))
            for other in self._read_folds(seg.space, fold)
        ]
        if len(pieces) == 1:
            return pieces[0]
        name = f"{value}/for:{self.label(fold)}"
        if self._reading(value, fold):
            # Folds that read the same pieces share one.
            name = f"{value}/of:{_digest(pieces)}"
        if name not in self.nodes:
            self.add(Node(name, Concat(), tuple(pieces)), _owners_of(fold), value)
        return name

    def build(self, request: int) -> Graph:
        """The graph of all outputs that ``request`` names."""
        net = self.net
        # In the order of execution, so that the recursion finds its inputs done: deep networks would exhaust the stack.
        for node in net.graph.nodes:
            for position, seg in enumerate(self.segments(node.name)):
                for fold in self.units[seg.space]:
                    if _owners_of(fold) & net.serves[node.name]:
                        self.piece(node.name, position, fold)
        wanted = [task for task in net.tasks if net.task_set([task]) & request]
        ends = {task: self.gather(net.graph.outputs[task], (net.task_set([task]),)) for task in wanted}
        order = _topological(self.nodes, net.graph.input.name)
        used = {key for node in order for key in node.params.values()}
        return Graph(order, ends, {key: array for key, array in self.pool.params.items() if key in used})


def _owners_of(fold: Collection[int]) -> int:
    """The tasks that one of the groups serves."""
    tasks = 0
    for mask in fold:
        tasks |= mask
    return tasks


def _folded(owners: Owners, request: int, kept: int) -> dict[Fold, Index]:
    found = {mask: units for mask, units in groups(owners).items() if mask & request}
    return {fold: np.concatenate([found[mask] for mask in fold]) for fold in fold_groups(found, kept)}


def select(
    net: MultitaskGraph, requests: Sequence[int], foldings: Mapping[int, Folding] | None = None
) -> dict[int, Selection]:
    """The flat graphs of several task sets. Nodes that no requested output needs are not in them.

    ``foldings`` say by request what is folded; for others nothing is. Fixed spaces are never folded.
    """
    pool = _Pool()
    common = _Builder(net, pool, net.everyone, {})
    plain = common.build(net.everyone)
    chosen = {}
    for request in requests:
        folding = {space: kept for space, kept in (foldings or {}).get(request, {}).items() if space not in net.fixed}
        builder = _Builder(net, pool, request, folding) if folding else common
        whole = builder.build(request) if folding else plain
        outputs = {task: whole.outputs[task] for task in net.tasks if net.task_set([task]) & request}
        graph = replace(whole, outputs=outputs).pruned_to(outputs.values())
        chosen[request] = Selection(
            request,
            graph,
            {name: pool.blocks[name] for name in graph.params},
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
