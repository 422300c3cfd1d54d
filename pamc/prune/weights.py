"""Importances that need no gradients: what lies in the weights themselves."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pamc.graph import MultitaskGraph
from pamc.graph.owners import serving
from pamc.prune.moves import Saliency

__all__ = ["incoming", "outgoing_shares", "with_releases"]


def _powers(weight: NDArray[np.floating], order: int) -> NDArray[np.float64]:
    """``sum |w|^order`` over the taps of every link, ``(out, in)``."""
    powers = np.abs(weight.astype(np.float64)) ** order
    total: NDArray[np.float64] = powers.reshape(*powers.shape[:2], -1).sum(axis=2)
    return total


def incoming(net: MultitaskGraph, order: int) -> Mapping[str, NDArray[np.float64]]:
    """The norm (1 or 2) of all weights that produce a unit, ``{space: (units,)}``.

    Tied layers produce a unit together, so their weights are one vector.
    """
    found = {}
    for space in net.prunable:
        nodes = [net.graph.by_name[name] for name in net.spaces.producers[space]]
        total = sum(_powers(net.graph.array(node, "weight"), order).sum(axis=1) for node in nodes)
        found[space] = np.asarray(total) ** (1 / order)
    return found


def outgoing_shares(net: MultitaskGraph, order: int) -> Mapping[str, NDArray[np.float64]]:
    """Per task the norm (1 or 2) of a unit's outgoing weights into units that serve the task, as a fraction of the norm
    of all of them: ``{space: (tasks, units)}``, from 0 to 1; 0 where a unit feeds nobody."""
    found = {}
    for space in net.prunable:
        size = net.spaces.sizes[space]
        served, total = np.zeros((len(net.tasks), size)), np.zeros(size)
        for link in net.spaces.readers[space]:
            weight = net.graph.array(net.graph.by_name[link.reader], "weight")
            columns = _powers(weight[:, link.start : link.start + size * link.block], order)
            columns = columns.reshape(len(columns), size, link.block).sum(axis=2)
            rows = serving(net.owners_along(link.reader), len(net.tasks))
            served += rows.astype(np.float64) @ columns
            total += columns.sum(axis=0)
        shares = np.divide(served, total, out=np.zeros_like(served), where=total > 0)
        found[space] = shares ** (1 / order)
    return found


def with_releases(net: MultitaskGraph, importance: Mapping[str, NDArray[np.float64]], order: int) -> Saliency:
    """Importances of units as the loss at stake in all moves; a release takes the part of a unit that its task sees."""
    shares = outgoing_shares(net, order)
    return {space: np.concatenate([shares[space] * vector, vector[None]]) for space, vector in importance.items()}
