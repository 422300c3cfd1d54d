"""Units of several networks that belong together, and what the layers that produce them read.

A *cluster* is a tuple of units of one space, at most one per task. A *tie* are channels of a layer whose clusters have
the same tasks, with the inputs that these tasks have in common.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from pamc.graph import MultitaskGraph
from pamc.graph.owners import members
from pamc.graph.reshape import Index, channel_index
from pamc.graph.spaces import Segment
from pamc.merge.layers import Layer, layers, measured, values_of
from pamc.merge.quadratic import Values, conditioned

__all__ = ["Masks", "Moments", "Tie", "Zipped", "tasks_of"]

Masks = NDArray[np.int64]


@dataclass(frozen=True)
class Tie:
    """Channels ``rows`` of a layer, by task, that have equal weights on its inputs ``columns``, and no others."""

    layer: Layer
    rows: Mapping[int, Index]
    columns: Mapping[int, Index]

    def weights(self, weight: Values, bias: Values, task: int) -> Values:
        """One task's part ``(units, inputs, taps)`` of the weights and bias of all channels of the layer.

        The bias is the last input: the weight, in every tap, of a constant 1.
        """
        rows = self.rows[task]
        block = weight[rows][:, self.columns[task]] if self.layer.mixes else weight[rows]
        if not self.layer.biased:
            return block
        constant = np.repeat(bias[rows][:, None, None], block.shape[2], axis=2)
        return np.concatenate([block, constant], axis=1)


@dataclass(frozen=True)
class Moments:
    """``E[x x^T]`` of what a layer reads, with the constant 1 last, by task: ``gram[t]`` over the inputs ``own[t]``.

    For a layer that does not mix, ``own`` is empty and ``gram`` holds one ``(2, 2)`` moment per channel.
    """

    own: Mapping[int, Index]
    gram: Mapping[int, Values]

    def of(self, tie: Tie, task: int) -> Values:
        """The moment for the inputs of a tie."""
        if not tie.layer.mixes:
            return conditioned(self.gram[task][tie.rows[task]])
        index = np.searchsorted(self.own[task], tie.columns[task])
        if tie.layer.biased:
            index = np.append(index, len(self.own[task]))
        return conditioned(self.gram[task][np.ix_(index, index)])


@dataclass(frozen=True)
class Zipped:
    """Separate networks in the course of zipping.

    ``units[space]`` is ``(tasks, clusters)``: the unit of each task in a cluster, -1 where it has none. ``settled``
    values are computed by layers whose clusters are final and merged.
    """

    net: MultitaskGraph
    x: NDArray[np.generic]
    units: Mapping[str, Index]
    zipped: frozenset[str] = frozenset()
    settled: frozenset[str] = frozenset()
    ties: tuple[Tie, ...] = ()

    @cached_property
    def layers(self) -> Mapping[str, Layer]:
        """Layers of the graph."""
        return layers(self.net.graph)

    def serves(self, layer: Layer, tasks: int) -> int:
        """Those of the tasks whose networks have a layer."""
        return tasks & self.net.serves[layer.node.name]

    def channels(self, layout: Sequence[Segment], task: int, wanted: int, *, exact: bool = False) -> Index:
        """A task's channels of the clusters that have all wanted tasks, or exactly these, in the clusters' order."""
        keep = {}
        for seg in layout:
            masks = tasks_of(self.units[seg.space])
            keep[seg.space] = self.units[seg.space][task, (masks if exact else masks & wanted) == wanted]
        return channel_index(layout, self.net.spaces.sizes, keep)

    def tie(self, layer: Layer, rows: Mapping[int, Index]) -> Tie:
        """Rows by task with the inputs that their tasks have in common."""
        common = sum(1 << task for task in rows)
        columns = {}
        if layer.mixes:
            layout = layer.segments(self.net.spaces.layouts[layer.node.inputs[0]])
            columns = {task: self.channels(layout, task, common) for task in rows}
        return Tie(layer, rows, columns)

    def moments(self, layer: Layer) -> Moments:
        """Second moments of what a layer reads, each task's in its own network as zipped so far."""
        source, tasks = layer.node.inputs[0], list(members(self.net.serves[layer.node.name]))
        graph = self.net.graph
        if not layer.mixes:
            mean, variance = measured(graph, source, self.x)
            pairs = np.stack([variance + mean**2, mean, mean, np.ones_like(mean)], axis=1).reshape(-1, 2, 2)
            return Moments({}, dict.fromkeys(tasks, pairs))
        layout = layer.segments(self.net.spaces.layouts[source])
        own = {task: np.sort(self.channels(layout, task, 1 << task)) for task in tasks}
        gram = {task: np.zeros((len(index) + 1, len(index) + 1)) for task, index in own.items()}
        positions = 0
        for value in values_of(graph, source, self.x):
            read = layer.inputs(value)
            positions += read.shape[0] * read.shape[2]
            for task in tasks:
                rows = read[:, own[task]].transpose(0, 1).flatten(1).to(torch.float64)
                rows = torch.cat([rows, torch.ones((1, rows.shape[1]), dtype=torch.float64)])
                gram[task] += (rows @ rows.T).numpy()
        return Moments(own, {task: total / positions for task, total in gram.items()})


def tasks_of(table: Index) -> Masks:
    """The mask of the tasks of every cluster."""
    bits = 1 << np.arange(len(table), dtype=np.int64)
    mask: Masks = ((table >= 0) * bits[:, None]).sum(axis=0)
    return mask
