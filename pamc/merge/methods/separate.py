"""No merging: every network keeps its own units."""

from __future__ import annotations

from pamc.graph import MultitaskGraph
from pamc.merge.registry import METHODS, Calibration
from pamc.registry import NoOptions

__all__ = ["separate"]


@METHODS.register("separate", options=NoOptions)
def separate(net: MultitaskGraph, calibration: Calibration, options: NoOptions) -> MultitaskGraph:
    """Every unit of a network is owned by its task alone."""
    return net
