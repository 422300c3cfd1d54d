"""What units say: one number per unit and sample."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from pamc.graph import MultitaskGraph
from pamc.graph.interpret import run, tensors

__all__ = ["unit_activations"]


def unit_activations(net: MultitaskGraph, x: NDArray[np.generic]) -> Mapping[str, NDArray[np.float64]]:
    """``{space: (n, units)}`` for every prunable space: the spatial maximum of each unit as its readers see it.

    A space that is read at several places (a residual stream) gives the mean over these places.
    """
    held = tensors(net.graph)
    with torch.no_grad():
        values = run(net.graph, torch.as_tensor(x), lambda node, role: held[node.params[role]])
    seen: dict[str, dict[tuple[str, int], NDArray[np.float64]]] = {space: {} for space in net.prunable}
    for space in net.prunable:
        size = net.spaces.sizes[space]
        for link in net.spaces.readers[space]:
            value = net.graph.by_name[link.reader].inputs[0]
            channels = values[value][:, link.start : link.start + size * link.block]
            seen[space][value, link.start] = channels.reshape(len(x), size, -1).amax(dim=2).to(torch.float64).numpy()
    return {space: np.mean(list(parts.values()), axis=0) for space, parts in seen.items() if parts}
