"""The layer of the dearest units: pruned before the others are, and shared by all tasks, it saves most."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pamc.graph import MultitaskGraph, tighten
from pamc.graph.owners import DTYPE, serving
from pamc.prune.moves import unit_price

__all__ = ["common_layer", "dearest_layer", "layer_by_itself", "one_unit_each"]


def dearest_layer(net: MultitaskGraph, workload: Mapping[int, float]) -> str:
    """The prunable space with the unit that costs the workload most, of equal ones the first."""
    price = unit_price(net, workload)

    def dearest(space: str) -> float:
        return max((price(space, int(mask)) for mask in np.unique(net.owners[space]) if mask), default=0.0)

    return max(net.prunable, key=dearest)


def common_layer(net: MultitaskGraph, layer: str, tasks: int) -> MultitaskGraph:
    """The network in which every unit of a space that one of the ``tasks``, a mask, owns, and all that it reads, is
    there for all of them; links that are new have weights of 0."""
    common, waiting = {layer}, [layer]
    while waiting:
        read = net.graph.read_by(waiting.pop()) & set(net.prunable) - common
        common |= read
        waiting += read
    mine, owners = DTYPE(tasks), {space: net.owners[space] for space in common}
    united = {space: np.where(vector & mine, vector | mine, vector) for space, vector in owners.items()}
    return tighten(net.with_owners(united))


def one_unit_each(net: MultitaskGraph, *layers: str) -> MultitaskGraph:
    """The network with one unit of each of these spaces for every task: the least that can be left of them."""
    owners = {layer: np.zeros(net.spaces.sizes[layer], DTYPE) for layer in layers}
    for layer, vector in owners.items():
        for task, served in enumerate(serving(net.owners[layer], len(net.tasks))):
            vector[np.flatnonzero(served)[:1]] |= DTYPE(1 << task)
    return net.with_owners(owners)


def layer_by_itself(net: MultitaskGraph, layer: str) -> MultitaskGraph:
    """The network with one unit of every other prunable space for every task, so that its cost is that of the layer."""
    return one_unit_each(net, *(space for space in net.prunable if space != layer))
