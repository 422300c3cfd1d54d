"""The intermediate representation: networks as immutable values.

A :class:`Graph` is a list of nodes in execution order plus named parameters. A :class:`MultitaskGraph` is a graph
whose every unit has owners (see :mod:`pamc.graph.owners`). Both are values: a pass returns a new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from pamc.graph import owners as own
from pamc.graph.liveness import live_channels, served_tasks
from pamc.graph.ops import Input, Op, Shape
from pamc.graph.spaces import ChannelSpaces, channel_spaces

__all__ = ["Array", "Graph", "MultitaskGraph", "Node", "Origin", "frozen_array"]

Array = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a node comes from in the user's code; empty strings when unknown."""

    module: str = ""
    location: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """One operation. ``name`` is also the name of the value it yields; ``params`` maps roles to parameter names."""

    name: str
    op: Op
    inputs: tuple[str, ...] = ()
    params: Mapping[str, str] = field(default_factory=dict)
    origin: Origin = Origin()


def frozen_array(array: NDArray[np.floating]) -> Array:
    """A contiguous read-only copy, so that a parameter cannot change under a graph that holds it."""
    copy = np.array(array, order="C", copy=True)
    copy.setflags(write=False)
    return copy


@dataclass(frozen=True)
class Graph:
    """A network: nodes in topological order, outputs by name, parameters by name (read-only float arrays)."""

    nodes: tuple[Node, ...]
    outputs: Mapping[str, str]
    params: Mapping[str, Array]

    def __post_init__(self) -> None:
        object.__setattr__(self, "outputs", MappingProxyType(dict(self.outputs)))
        object.__setattr__(self, "params", MappingProxyType(dict(self.params)))

    @cached_property
    def by_name(self) -> Mapping[str, Node]:
        """Nodes by name."""
        return MappingProxyType({node.name: node for node in self.nodes})

    @cached_property
    def input(self) -> Node:
        """The one input node."""
        (node,) = (node for node in self.nodes if isinstance(node.op, Input))
        return node

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """Shape of every value, per sample."""
        shapes: dict[str, Shape] = {}
        for node in self.nodes:
            shapes[node.name] = node.op.out_shape([shapes[name] for name in node.inputs], self.units_of(node))
        return MappingProxyType(shapes)

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Node, ...]]:
        """The nodes that read each value."""
        readers: dict[str, list[Node]] = {node.name: [] for node in self.nodes}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                readers[name].append(node)
        return MappingProxyType({name: tuple(nodes) for name, nodes in readers.items()})

    @cached_property
    def spaces(self) -> ChannelSpaces:
        """The channel spaces, computed from the wiring."""
        return channel_spaces(self)

    def read_by(self, space: str) -> frozenset[str]:
        """The spaces that the units of a space read."""
        read = (self.spaces.layouts[self.by_name[name].inputs[0]] for name in self.spaces.producers[space])
        return frozenset(segment.space for layout in read for segment in layout)

    def units_of(self, node: Node) -> int | None:
        """Units that a node's parameters produce; None for nodes without parameters."""
        for role in node.op.param_axes:
            if role in node.params:
                return int(self.params[node.params[role]].shape[0])
        return None

    def array(self, node: Node, role: str) -> Array:
        """The parameter of a node by role."""
        return self.params[node.params[role]]

    def with_params(self, params: Mapping[str, NDArray[np.floating]]) -> Graph:
        """The same network with some parameters replaced."""
        unknown = set(params) - set(self.params)
        if unknown:
            raise KeyError(f"no such parameters: {sorted(unknown)}")
        merged = {name: frozen_array(params[name]) if name in params else old for name, old in self.params.items()}
        return replace(self, params=merged)

    def pruned_to(self, values: Iterable[str]) -> Graph:
        """Only what the given values need (they stay in the outputs if they were)."""
        needed: set[str] = set()
        stack = list(values)
        while stack:
            name = stack.pop()
            if name not in needed:
                needed.add(name)
                stack.extend(self.by_name[name].inputs)
        nodes = tuple(node for node in self.nodes if node.name in needed)
        used = {param for node in nodes for param in node.params.values()}
        return Graph(
            nodes,
            {name: value for name, value in self.outputs.items() if value in needed},
            {name: array for name, array in self.params.items() if name in used},
        )


@dataclass(frozen=True)
class MultitaskGraph:
    """One graph for several tasks: ``owners[space][u]`` is the bit mask of the tasks that unit ``u`` serves.

    Bit ``t`` stands for ``tasks[t]``. The graph's outputs are named by task. Links that the read rule forbids
    hold zeros, so running the graph densely is running the multitask network.
    """

    tasks: tuple[str, ...]
    graph: Graph
    owners: Mapping[str, own.Owners]

    def __post_init__(self) -> None:
        held = {}
        for name, vector in self.owners.items():
            copy = np.array(vector, dtype=own.DTYPE, copy=True)
            copy.setflags(write=False)
            held[name] = copy
        object.__setattr__(self, "owners", MappingProxyType(held))

    @property
    def everyone(self) -> int:
        """The mask of all tasks."""
        return (1 << len(self.tasks)) - 1

    @property
    def spaces(self) -> ChannelSpaces:
        """Channel spaces of the graph."""
        return self.graph.spaces

    @cached_property
    def fixed(self) -> frozenset[str]:
        """Spaces whose units may be neither removed nor re-owned: the input's and the outputs'."""
        return self.spaces.fixed

    @cached_property
    def prunable(self) -> tuple[str, ...]:
        """Spaces that merging and pruning may change, in graph order."""
        return tuple(name for name in self.spaces.sizes if name not in self.fixed)

    def task_set(self, names: Iterable[str]) -> int:
        """The mask of the given task names."""
        mask = 0
        for name in names:
            mask |= 1 << self.tasks.index(name)
        return mask

    @cached_property
    def serves(self) -> Mapping[str, int]:
        """For each node the mask of the tasks whose outputs depend on it."""
        return served_tasks(self)

    @cached_property
    def live(self) -> Mapping[str, own.Owners]:
        """For each value, channel by channel, the tasks that need it (see :mod:`pamc.graph.liveness`)."""
        return live_channels(self)

    def owners_out(self, node: Node) -> own.Owners:
        """The tasks for which a node computes each of its channels: some of the channel's owners."""
        return self.live[node.name]

    def owners_along(self, value: str) -> own.Owners:
        """Owners along the first axis of a value (a flattened unit repeats its owners)."""
        return np.concatenate(
            [np.repeat(self.owners[seg.space], seg.block) for seg in self.spaces.layouts[value]]
        ).astype(own.DTYPE)

    def mask(self, node: Node) -> NDArray[np.bool_] | None:
        """Allowed links ``(out, in)`` of a node whose weight joins two spaces; None for other nodes.

        Units that serve none of the tasks that depend on the node have no links: where networks diverge, a layer of
        one network may share a space with layers of others.
        """
        if "in" not in node.op.param_axes.get("weight", ()):
            return None
        readers = self.owners_along(node.name)
        served: NDArray[np.bool_] = (readers & own.DTYPE(self.serves[node.name])) != 0
        return own.may_read(readers, self.owners_along(node.inputs[0])) & served[:, None]

    def with_owners(self, owners: Mapping[str, own.Owners]) -> MultitaskGraph:
        """New owners for some spaces; weights of links that they forbid become zero."""
        changed = replace(self, owners={**self.owners, **owners})
        return changed.with_params({})

    def with_params(self, params: Mapping[str, NDArray[np.floating]]) -> MultitaskGraph:
        """New parameters; weights of forbidden links are set to zero."""
        masked: dict[str, NDArray[np.floating]] = dict(params)
        for node in self.graph.nodes:
            mask = self.mask(node)
            if mask is not None:
                key = node.params["weight"]
                weight = masked.get(key, self.graph.params[key])
                masked[key] = weight * mask.reshape(*mask.shape, *(1,) * (weight.ndim - 2))
        return replace(self, graph=self.graph.with_params(masked))
