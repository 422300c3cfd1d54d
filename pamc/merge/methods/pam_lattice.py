"""Pruning-Aware Merging with a group for each of the 2^N - 1 task sets, so that no task pays for what others share.

For two tasks it is ``pam``. The generalisation is not in the paper, whose networks have N+1 groups.
"""

from __future__ import annotations

from pamc.graph import MultitaskGraph, tighten
from pamc.merge.feeding import feed
from pamc.merge.registry import METHODS, Calibration
from pamc.merge.regroup import RegroupOptions, regroup_layers

__all__ = ["pam_lattice"]


@METHODS.register("pam-lattice", options=RegroupOptions)
def pam_lattice(net: MultitaskGraph, calibration: Calibration, options: RegroupOptions) -> MultitaskGraph:
    """Pruning-Aware Merging with a group for every task set: a unit belongs to the tasks whose labels it knows."""
    return tighten(net.with_owners(feed(net, regroup_layers(net, calibration, options), lattice=True)))
