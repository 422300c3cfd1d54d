"""Full sharing: the union of all networks, owned by every task."""

from __future__ import annotations

import numpy as np

from pamc.graph import MultitaskGraph, tighten
from pamc.graph.owners import DTYPE
from pamc.merge.registry import METHODS, Calibration
from pamc.registry import NoOptions

__all__ = ["concat"]


@METHODS.register("concat", options=NoOptions)
def concat(net: MultitaskGraph, calibration: Calibration, options: NoOptions) -> MultitaskGraph:
    """Every unit is owned by all tasks that can use it; links between networks start at zero.

    The second baseline of the PAM paper's published code: the N-times wider network computes exactly what the
    single networks compute, until pruning trains it.
    """
    return tighten(
        net.with_owners({space: np.full(net.spaces.sizes[space], net.everyone, DTYPE) for space in net.prunable})
    )
