"""Putting networks of some tasks each side by side again in one multitask graph, each with the units it still has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pamc.errors import InternalError
from pamc.graph.ir import Graph, MultitaskGraph, frozen_array
from pamc.graph.owners import DTYPE, Owners, renamed
from pamc.graph.reshape import Index, channel_index, grid
from pamc.graph.verify import verify_multitask

__all__ = ["stack"]


def stack(whole: MultitaskGraph, parts: Iterable[MultitaskGraph]) -> MultitaskGraph:
    """The graph of ``whole`` with the units and weights of the parts, every unit owned by the tasks that own it there.

    Each part comes from ``restrict(whole, some tasks)``, possibly pruned and trained since; every task is in one.
    """
    held = list(parts)
    image = whole.graph.input.name
    units: list[dict[str, Index]] = [{} for _ in held]
    sizes: dict[str, int] = {}
    owners: dict[str, Owners] = {}
    for space in whole.spaces.sizes:
        if space == image:
            sizes[space], owners[space] = whole.spaces.sizes[space], whole.owners[space]
            continue
        masks = [np.zeros(0, dtype=DTYPE)]
        start = 0
        for part, index in zip(held, units, strict=True):
            own = _owners_in(whole, space, part)
            index[space] = np.arange(start, start + len(own))
            masks.append(own)
            start += len(own)
        sizes[space], owners[space] = start, np.concatenate(masks)

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
            for part, index in zip(held, units, strict=True):
                if node.name in part.graph.by_name:
                    out = channel_index(layouts[node.name], sizes, index)
                    read = channel_index(layouts[node.inputs[0]], sizes, index)
                    params[key][grid(node.op, role, out, read, shape)] = part.graph.params[key]
    graph = Graph(whole.graph.nodes, whole.graph.outputs, {key: frozen_array(array) for key, array in params.items()})
    return verify_multitask(replace(whole, graph=graph, owners=owners).with_params({}), "stacking")


def _owners_in(whole: MultitaskGraph, space: str, part: MultitaskGraph) -> Owners:
    """The owners, as masks of the whole's tasks, of the units that a part has in a space of the whole."""
    names = {part.spaces.space_of(name) for name in whole.spaces.producers[space] if name in part.graph.by_name}
    if not names:
        return np.zeros(0, dtype=DTYPE)
    first, *others = (renamed(part.owners[name], part.tasks, whole.tasks) for name in sorted(names))
    if not all(np.array_equal(first, other) for other in others):
        raise InternalError(f"space {space} falls apart in the network of {'+'.join(part.tasks)}")
    return first
