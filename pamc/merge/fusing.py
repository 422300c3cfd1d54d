"""From paired units to shared ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pamc.graph import MultitaskGraph, tighten
from pamc.graph.owners import DTYPE, Owners
from pamc.graph.reshape import channel_index
from pamc.merge.clusters import Zipped, tasks_of
from pamc.merge.feeding import feed

__all__ = ["fuse"]


def fuse(state: Zipped) -> MultitaskGraph:
    """Make every cluster one unit, owned by its tasks and read by all who read one of its units."""
    net, spaces = state.net, state.net.spaces
    params: dict[str, NDArray[np.floating]] = {}
    kept = {
        space: table[(table >= 0).argmax(axis=0), np.arange(table.shape[1])] for space, table in state.units.items()
    }
    target = {}
    for space, table in state.units.items():
        target[space] = np.arange(spaces.sizes[space])
        for row in table:
            target[space][row[row >= 0]] = kept[space][row >= 0]
    for node in net.graph.nodes:
        layout = spaces.layouts[node.name]
        source = {}
        for seg in layout:
            table = state.units[seg.space]
            served = np.array([[net.serves[node.name] >> task & 1] for task in range(len(table))])
            first = ((table >= 0) * (1 + served)).argmax(axis=0)
            source[seg.space] = table[first, np.arange(table.shape[1])]
        to, origin = channel_index(layout, spaces.sizes, kept), channel_index(layout, spaces.sizes, source)
        for role, key in node.params.items():
            old = net.graph.params[key]
            array = np.array(old)
            array[to] = old[origin]
            if "in" in node.op.param_axes[role]:
                columns = channel_index(spaces.layouts[node.inputs[0]], spaces.sizes, target)
                # A unit reads no more than one unit of each cluster, so nothing but zeros is added to a weight.
                moved = np.zeros_like(np.swapaxes(array, 0, 1))
                np.add.at(moved, columns, np.swapaxes(array, 0, 1))
                array = np.swapaxes(moved, 0, 1)
            params[key] = array
    owners = {space: np.zeros_like(vector) for space, vector in net.owners.items()}
    for space, table in state.units.items():
        owners[space][kept[space]] = tasks_of(table).astype(DTYPE)
    whole = replace(net, graph=net.graph.with_params(params), owners=_extended(net, owners))
    return tighten(whole.with_owners(feed(whole, whole.owners, lattice=True)))


def _extended(net: MultitaskGraph, owners: Mapping[str, Owners]) -> Mapping[str, Owners]:
    """Owners by the read rule for layers that only some tasks have: also the other tasks of the units they feed."""
    wider = dict(owners)
    for space in reversed(net.prunable):
        own = np.bitwise_or.reduce([DTYPE(net.serves[name]) for name in net.spaces.producers[space]])
        fed = DTYPE(0)
        for link in net.spaces.readers[space]:
            readers = wider[net.spaces.space_of(link.reader)]
            fed |= np.bitwise_or.reduce(readers[(readers & DTYPE(net.serves[link.reader])) != 0], initial=DTYPE(0))
        vector = wider[space]
        wider[space] = np.where(vector != 0, vector | (fed & ~own), vector).astype(DTYPE)
    return wider
