"""Taking units out of a graph: every parameter sliced along the channels that it belongs to.

Removing dead units (compaction), reordering and selecting are all one function of an index per space.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pamc.graph.ir import Graph, MultitaskGraph, Node
from pamc.graph.ops import IN, OUT, Op
from pamc.graph.owners import DTYPE, Owners, may_read, renamed
from pamc.graph.spaces import Segment

__all__ = ["Index", "acting", "channel_index", "compact", "grid", "restrict", "share_all", "take", "tighten"]

Index = NDArray[np.intp]


def channel_index(layout: Sequence[Segment], sizes: Mapping[str, int], keep: Mapping[str, Index]) -> Index:
    """Positions along a value's first axis of the kept units; spaces absent from ``keep`` stay whole."""
    parts, start = [], 0
    for seg in layout:
        units = keep.get(seg.space, np.arange(sizes[seg.space]))
        parts.append((start + units[:, None] * seg.block + np.arange(seg.block)).ravel())
        start += sizes[seg.space] * seg.block
    return np.concatenate(parts).astype(np.intp)


def grid(op: Op, role: str, out: Index, read: Index | None, shape: Sequence[int]) -> tuple[Index, ...]:
    """Open-mesh index of a parameter's block that joins the channels ``out`` and ``read``."""
    axes = []
    for axis, kind in enumerate(op.param_axes[role]):
        if kind == OUT:
            axes.append(out)
        elif kind == IN and read is not None:
            axes.append(read)
        else:
            axes.append(np.arange(shape[axis]))
    return np.ix_(*axes)


def take(graph: Graph, keep: Mapping[str, Index]) -> Graph:
    """The graph with only the kept units of each space, in the given order."""
    spaces = graph.spaces
    index = {value: channel_index(layout, spaces.sizes, keep) for value, layout in spaces.layouts.items()}
    params = dict(graph.params)

    def sliced(node: Node, role: str) -> NDArray[np.floating]:
        array = graph.array(node, role)
        read = index[node.inputs[0]] if node.inputs else None
        return array[grid(node.op, role, index[node.name], read, array.shape)]

    for node in graph.nodes:
        for role, key in node.params.items():
            params[key] = sliced(node, role)
    for key, array in params.items():
        array.setflags(write=False)
        params[key] = array
    return Graph(graph.nodes, graph.outputs, params)


def acting(net: MultitaskGraph, owners: Mapping[str, Owners], space: str, tasks: int | None = None) -> Owners:
    """Per unit, the tasks on whose behalf some unit reads it; given ``tasks``, a mask, one that serves any of them."""
    found = np.zeros_like(owners[space])
    for link in net.spaces.readers[space]:
        readers = np.unique(owners[net.spaces.space_of(link.reader)])
        if tasks is not None:
            readers = readers[(readers & DTYPE(tasks)) != 0]
        allowed = may_read(readers, owners[space])
        found |= np.bitwise_or.reduce(np.where(allowed, readers[:, None], DTYPE(0)), axis=0)
    return found


def tighten(net: MultitaskGraph) -> MultitaskGraph:
    """Drop owners that no reader acts for, until nothing changes. Costs can only fall; the outputs stay."""
    owners = dict(net.owners)
    changed = True
    while changed:
        changed = False
        for space in reversed(net.prunable):
            kept = owners[space] & acting(net, owners, space)
            if (kept != owners[space]).any():
                owners[space], changed = kept, True
    return net.with_owners(owners)


def share_all(net: MultitaskGraph) -> MultitaskGraph:
    """Every unit owned by all tasks that can use it; links that no task had before keep the weights that they have."""
    everybody = {space: np.full(net.spaces.sizes[space], net.everyone, DTYPE) for space in net.prunable}
    return tighten(net.with_owners(everybody))


def _without_empty(graph: Graph) -> Graph:
    """The graph without values that have no channels left; concatenations go on with what remains."""
    empty = {name for name, shape in graph.shapes.items() if shape[0] == 0}
    nodes = tuple(
        replace(node, inputs=tuple(name for name in node.inputs if name not in empty))
        for node in graph.nodes
        if node.name not in empty
    )
    used = {key for node in nodes for key in node.params.values()}
    return Graph(nodes, graph.outputs, {key: array for key, array in graph.params.items() if key in used})


def compact(net: MultitaskGraph) -> MultitaskGraph:
    """Remove dead units, and layers that have no others. The function computed does not change."""
    tight = tighten(net)
    keep = {space: np.flatnonzero(vector) for space, vector in tight.owners.items()}
    graph = _without_empty(take(tight.graph, keep))
    return MultitaskGraph(tight.tasks, graph, {space: tight.owners[space][keep[space]] for space in graph.spaces.sizes})


def restrict(net: MultitaskGraph, tasks: Iterable[str]) -> MultitaskGraph:
    """The network of some of the tasks alone (kept in task order), without the units that only others need."""
    wanted = set(tasks)
    kept = tuple(task for task in net.tasks if task in wanted)
    graph = replace(net.graph, outputs={task: net.graph.outputs[task] for task in kept})
    graph = graph.pruned_to(graph.outputs.values())
    owners = {}
    for space in graph.spaces.sizes:
        # Fewer nodes can untie a space, so its owners come from the old space of the node that names it.
        owners[space] = renamed(net.owners[net.spaces.space_of(space)], net.tasks, kept)
    return compact(MultitaskGraph(kept, graph, owners).with_params({}))
