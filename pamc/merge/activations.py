"""What units say: one number per unit and sample."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from pamc.graph import MultitaskGraph
from pamc.graph.interpret import read_values

__all__ = ["unit_activations"]


def unit_activations(net: MultitaskGraph, x: NDArray[np.generic]) -> Mapping[str, NDArray[np.float64]]:
    """``{space: (n, units)}`` for every prunable space: the spatial maximum of each unit as its readers see it.

    A space that is read at several places (a residual stream) gives the mean over these places.
    """
    found: dict[str, list[NDArray[np.float64]]] = {}
    for seen in read_values(net, x):
        for space, places in seen.items():
            if places:
                peaks = [place.amax(dim=2).to(torch.float64).numpy() for place in places]
                found.setdefault(space, []).append(np.mean(peaks, axis=0))
    return {space: np.concatenate(pieces) for space, pieces in found.items()}
