"""The classic tree of hard parameter sharing: all tasks share the first layers, then each goes its own way."""

from __future__ import annotations

from dataclasses import dataclass

from pamc.graph import MultitaskGraph
from pamc.merge.methods.mtz import ZipOptions, zip_layers
from pamc.merge.registry import METHODS, Calibration

__all__ = ["BranchOptions", "branch", "trunk"]


@dataclass(frozen=True)
class BranchOptions(ZipOptions):
    """``depth`` is the fraction of the layers (channel spaces) that are shared."""

    depth: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.depth <= 1:
            raise ValueError("depth is a fraction, between 0 and 1")


def trunk(net: MultitaskGraph, count: int) -> list[str]:
    """The first ``count`` prunable spaces, without those that need a later one or one that is left out.

    So a residual stage is shared when all that is added to its stream is, or not at all.
    """
    chosen = list(net.prunable[:count])
    while True:
        known = {*chosen, net.graph.input.name}
        kept = [space for space in chosen if net.graph.read_by(space) <= known]
        if kept == chosen:
            return kept
        chosen = kept


@METHODS.register("branch", options=BranchOptions)
def branch(net: MultitaskGraph, calibration: Calibration, options: BranchOptions) -> MultitaskGraph:
    """Share the first layers, zipped as mtz zips them, and keep the rest of each network to itself."""
    layers = trunk(net, round(options.depth * len(net.prunable)))
    return zip_layers(net, calibration, layers, 1.0, options)
