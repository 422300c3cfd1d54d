"""Zipping: networks side by side whose units are paired layer by layer and get equal weights.

Multi-Task Zipping (He, Zhou, Thiele, NeurIPS 2018) for the graphs of :mod:`pamc.graph`. Until the end every task keeps
its own units. Paired units have equal weights on paired inputs, zeros on all others, and stay equal in training. In a
residual stream, where a unit is complete only after several layers, paired units may still differ in value. At the end
each tuple of paired units becomes one unit of all their tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pamc.graph import MultitaskGraph
from pamc.graph.owners import members, serving
from pamc.graph.reshape import Index
from pamc.merge.clusters import Moments, Zipped, tasks_of
from pamc.merge.joining import join
from pamc.merge.layers import Layer
from pamc.merge.quadratic import Values, best_pairs, functional_difference, merged_weights

__all__ = ["start", "zip_space"]


def start(net: MultitaskGraph, x: NDArray[np.generic]) -> Zipped:
    """Networks that share nothing but the input. ``x`` are the samples ``(n, *input shape)`` to measure inputs on."""
    units = {}
    for space, owners in net.owners.items():
        units[space] = np.where(serving(owners, len(net.tasks)), np.arange(len(owners)), -1).astype(np.intp)
    return _settle(Zipped(net, x, units))


def zip_space(state: Zipped, space: str, share: float) -> Zipped:
    """Pair the units of one space, task after task, and merge all layers whose inputs and units are final now.

    Of every two sides ``share`` times the narrower one's units are paired, at least one. The layers that decide are
    those that produce the space from settled inputs.
    """
    names = [name for name in state.net.spaces.producers[space] if name in state.layers]
    ready = [state.layers[name] for name in names if state.layers[name].node.inputs[0] in state.settled]
    moments = [state.moments(layer) for layer in ready]
    table = state.units[space]
    present = [task for task in range(len(table)) if (table[task] >= 0).any()]
    for before, task in pairwise(present):
        masks, bit = tasks_of(table), 1 << task
        first, second = np.flatnonzero(masks & ((1 << before + 1) - 1)), np.flatnonzero(masks == bit)
        difference = np.full((len(first), len(second)), np.inf)
        for mask in map(int, np.unique(masks[first])):
            group = masks[first] == mask
            difference[group] = _difference(state, ready, moments, table[:, first[group]], table[:, second])
        count = max(1, round(share * min(difference.shape)))
        pairs = np.array(best_pairs(difference, count), dtype=np.intp).reshape(-1, 2)
        table = table.copy()
        table[task, first[pairs[:, 0]]] = table[task, second[pairs[:, 1]]]
        table = np.delete(table, second[pairs[:, 1]], axis=1)
    return _settle(replace(state, units={**state.units, space: table}, zipped=state.zipped | {space}))


def _difference(
    state: Zipped, ready: Sequence[Layer], moments: Sequence[Moments], first: Index, second: Index
) -> Values:
    """Functional differences of clusters that all have the same tasks and the units of another task."""
    found = np.full((first.shape[1], second.shape[1]), np.inf)
    for layer, seen in zip(ready, moments, strict=True):
        sides = []
        for table in (first, second):
            tasks = members(state.serves(layer, int(tasks_of(table)[0])))
            sides.append({task: table[task] for task in tasks})
        if not all(sides):
            continue
        tie = state.tie(layer, {**sides[0], **sides[1]})
        if not all(len(columns) for columns in tie.columns.values()):
            return np.full_like(found, np.inf)
        weight = layer.effective(state.net.graph)
        parts = []
        for side in sides:
            held = [seen.of(tie, task) for task in side]
            blocks = [tie.weights(*weight, task) for task in side]
            parts += [merged_weights(blocks, held), np.sum(np.stack(held), axis=0)]
        found = np.where(np.isfinite(found), found, 0.0) + functional_difference(*parts)
    return found


def _settle(state: Zipped) -> Zipped:
    """Merge every layer whose inputs are settled and whose units are paired, in graph order."""
    free = state.net.fixed
    for node in state.net.graph.nodes:
        if node.name in state.settled or not all(name in state.settled for name in node.inputs):
            continue
        if node.name in state.layers:
            spaces = {seg.space for seg in state.net.spaces.layouts[node.name]}
            if not spaces <= state.zipped | free:
                continue
            if not spaces <= free:
                state = join(state, state.layers[node.name])
        state = replace(state, settled=state.settled | {node.name})
    return state
