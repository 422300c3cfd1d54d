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
    return {
        space: np.mean([part.amax(dim=2).to(torch.float64).numpy() for part in parts], axis=0)
        for space, parts in read_values(net, x).items()
        if parts
    }
