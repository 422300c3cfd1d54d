"""Which channels of which nodes are needed, and for which tasks.

A unit's owners say which tasks its space serves; a single node of that space may serve fewer: a layer that only one of
two diverging networks has, or the last addition to a residual stream whose unit only earlier layers read.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from pamc.graph.ops import IN, Concat, Flatten, Softmax
from pamc.graph.owners import DTYPE, Owners, may_read

if TYPE_CHECKING:
    from pamc.graph.ir import MultitaskGraph, Node

__all__ = ["live_channels", "served_tasks"]


def served_tasks(net: MultitaskGraph) -> Mapping[str, int]:
    """For each node the mask of the tasks whose outputs depend on it, whatever the owners are."""
    tasks = dict.fromkeys(net.graph.by_name, 0)
    for task, value in net.graph.outputs.items():
        tasks[value] |= net.task_set([task])
    for node in reversed(net.graph.nodes):
        for name in node.inputs:
            tasks[name] |= tasks[node.name]
    return MappingProxyType(tasks)


def live_channels(net: MultitaskGraph) -> Mapping[str, Owners]:
    """For each value, channel by channel, the mask of the tasks that need it; a subset of its owners.

    A channel is needed for task t when an output of t depends on it through links that the read rule allows. These
    are the groups that the flat graphs of :func:`pamc.graph.select` hold.
    """
    live = {node.name: np.zeros(net.graph.shapes[node.name][0], dtype=DTYPE) for node in net.graph.nodes}
    for task, value in net.graph.outputs.items():
        live[value] |= DTYPE(net.task_set([task]))
    for node in reversed(net.graph.nodes):
        for name, needed in _read_by(net, node, live[node.name]):
            live[name] |= needed
    return MappingProxyType(live)


def _read_by(net: MultitaskGraph, node: Node, mine: Owners) -> list[tuple[str, Owners]]:
    """What a node needs of its inputs when its own channels are needed for the tasks ``mine``."""
    if IN in node.op.param_axes.get("weight", ()):
        owners, tasks = np.unique(np.stack([net.owners_along(node.name), mine]), axis=1)
        allowed = may_read(owners, net.owners_along(node.inputs[0]))
        return [(node.inputs[0], np.bitwise_or.reduce(np.where(allowed, tasks[:, None], DTYPE(0)), axis=0))]
    if isinstance(node.op, Concat):
        ends = np.cumsum([net.graph.shapes[name][0] for name in node.inputs])
        return list(zip(node.inputs, np.split(mine, ends[:-1]), strict=True))
    if isinstance(node.op, Flatten):
        channels = net.graph.shapes[node.inputs[0]][0]
        return [(node.inputs[0], np.bitwise_or.reduce(mine.reshape(channels, -1), axis=1))]
    if isinstance(node.op, Softmax):
        mine = np.full_like(mine, np.bitwise_or.reduce(mine))
    return [(name, mine) for name in node.inputs]
