"""Full sharing: the union of all networks, owned by every task."""

from __future__ import annotations

from pamc.graph import MultitaskGraph, share_all
from pamc.merge.registry import METHODS, Calibration
from pamc.registry import NoOptions

__all__ = ["concat"]


@METHODS.register("concat", options=NoOptions)
def concat(net: MultitaskGraph, calibration: Calibration, options: NoOptions) -> MultitaskGraph:
    """Every unit is owned by all tasks that can use it; links between networks start at zero.

    The second baseline of the PAM paper's published code: the N-times wider network computes exactly what the
    single networks compute, until pruning trains it.
    """
    return share_all(net)
