"""The controls: networks that are trained from new weights, so that inherited ones can be judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pamc.graph import MultitaskGraph, compact, cost
from pamc.graph.ops import ChannelAffine
from pamc.graph.owners import DTYPE, Owners

__all__ = ["fresh", "hard_sharing"]

HALVINGS = 24


def hard_sharing(separate: MultitaskGraph, macs: int) -> MultitaskGraph:
    """One trunk for all tasks and a head each, scaled alike in all layers to cost ``macs`` or a little less.

    The weights mean nothing yet: see :func:`fresh`. A trunk of one unit per layer may cost more than ``macs``.
    """
    sizes = {space: separate.spaces.sizes[space] for space in separate.prunable}

    def owners(counts: Mapping[str, int]) -> dict[str, Owners]:
        kept = {space: np.arange(sizes[space]) < count for space, count in counts.items()}
        return {space: np.where(first, separate.everyone, 0).astype(DTYPE) for space, first in kept.items()}

    def fits(counts: Mapping[str, int]) -> bool:
        # Costs depend on owners alone, so the weights need no masks for each trial.
        trial = replace(separate, owners={**separate.owners, **owners(counts)})
        return cost(trial, trial.everyone).macs <= macs

    def scaled(share: float) -> dict[str, int]:
        return {space: max(1, int(share * size)) for space, size in sizes.items()}

    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(scaled(middle)) else (low, middle)
    counts = scaled(low)
    # Whole units make coarse steps: what is left goes, unit by unit, to the narrowest layer that it pays for.
    growing = sorted(space for space in sizes if counts[space] < sizes[space])
    while growing:
        space = min(growing, key=lambda name: counts[name] / sizes[name])
        wider = {**counts, space: counts[space] + 1}
        if wider[space] <= sizes[space] and fits(wider):
            counts = wider
        else:
            growing.remove(space)
    return compact(separate.with_owners(owners(counts)))


def fresh(net: MultitaskGraph, seed: int) -> MultitaskGraph:
    """The network with new weights: normal with variance 2 / fan-in (He et al. 2015, eq. 10), biases zero.

    The fan-in of a unit counts only what it may read. Norms start as the identity; constants of the input stay.
    """
    random = np.random.default_rng(seed)
    params: dict[str, NDArray[np.floating]] = {}
    for node in net.graph.nodes:
        if isinstance(node.op, ChannelAffine) and node.op.frozen:
            continue
        for role, key in node.params.items():
            shape = net.graph.params[key].shape
            if role != "weight":
                params[key] = np.full(shape, node.op.fill.get(role, 0.0), np.float32)
                continue
            mask = net.mask(node)
            taps = np.prod(shape[2:], dtype=np.int64)
            links = np.full(shape[0], shape[1]) if mask is None else mask.sum(axis=1)
            deviation = np.sqrt(2 / np.maximum(links * taps, 1)).reshape(-1, *(1,) * (len(shape) - 1))
            params[key] = (random.standard_normal(shape) * deviation).astype(np.float32)
    return net.with_params(params)
