"""Putting single-task versions of one multitask graph side by side again, each with the units it still has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pamc.errors import InternalError
from pamc.graph.ir import Graph, MultitaskGraph, frozen_array
from pamc.graph.owners import DTYPE, Owners
from pamc.graph.reshape import Index, channel_index, grid
from pamc.graph.verify import verify_multitask

__all__ = ["stack"]


def _space_in(whole: MultitaskGraph, space: str, alone: MultitaskGraph) -> str | None:
    """The space of a single-task graph that is part of a space of the whole; None when it has none."""
    names = {node.name for node in alone.graph.nodes}
    found = {alone.spaces.space_of(name) for name in whole.spaces.producers[space] if name in names}
    if len({alone.spaces.sizes[name] for name in found}) > 1:
        raise InternalError(f"space {space} falls apart in the network of {alone.tasks[0]}")
    return min(found, default=None)


def stack(whole: MultitaskGraph, alone: Mapping[str, MultitaskGraph]) -> MultitaskGraph:
    """The graph of ``whole`` with the units and weights of the single-task graphs, every unit owned by its own task.

    ``alone[task]`` comes from ``restrict(whole, [task])``, possibly pruned and trained since.
    """
    image = whole.graph.input.name
    units: dict[str, dict[str, Index]] = {task: {} for task in whole.tasks}
    sizes: dict[str, int] = {}
    owners: dict[str, Owners] = {}
    for space in whole.spaces.sizes:
        if space == image:
            sizes[space], owners[space] = whole.spaces.sizes[space], whole.owners[space]
            continue
        parts = [np.zeros(0, dtype=DTYPE)]
        start = 0
        for bit, task in enumerate(whole.tasks):
            own = _space_in(whole, space, alone[task])
            count = 0 if own is None else alone[task].spaces.sizes[own]
            units[task][space] = np.arange(start, start + count)
            parts.append(np.full(count, 1 << bit, dtype=DTYPE))
            start += count
        sizes[space], owners[space] = start, np.concatenate(parts)

    params: dict[str, NDArray[np.floating]] = {}
    layouts = whole.spaces.layouts
    for node in whole.graph.nodes:
        for role, key in node.params.items():
            shape = list(whole.graph.params[key].shape)
            for axis, kind in enumerate(node.op.param_axes[role]):
                if kind != "free":
                    value = node.name if kind == "out" else node.inputs[0]
                    shape[axis] = sum(sizes[seg.space] * seg.block for seg in layouts[value])
            params[key] = np.full(shape, node.op.fill.get(role, 0.0), dtype=whole.graph.params[key].dtype)
            for task in whole.tasks:
                if node.name not in alone[task].graph.by_name:
                    continue
                out = channel_index(layouts[node.name], sizes, units[task])
                read = channel_index(layouts[node.inputs[0]], sizes, units[task])
                params[key][grid(node.op, role, out, read, shape)] = alone[task].graph.params[key]
    graph = Graph(whole.graph.nodes, whole.graph.outputs, {key: frozen_array(array) for key, array in params.items()})
    return verify_multitask(replace(whole, graph=graph, owners=owners).with_params({}), "stacking")
