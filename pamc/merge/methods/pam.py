"""Pruning-Aware Merging (KDD 2021, arXiv 1905.09676), with the paper's N+1 groups."""

from __future__ import annotations

from pamc.graph import MultitaskGraph, tighten
from pamc.merge.feeding import feed, flat
from pamc.merge.registry import METHODS, Calibration
from pamc.merge.regroup import RegroupOptions, regroup_layers

__all__ = ["pam"]


@METHODS.register("pam", options=RegroupOptions)
def pam(net: MultitaskGraph, calibration: Calibration, options: RegroupOptions) -> MultitaskGraph:
    """Pruning-Aware Merging: group units by the tasks whose labels they know, shared units in one group."""
    found = regroup_layers(net, calibration, options)
    owners = {space: flat(vector, net.everyone) for space, vector in found.items()}
    return tighten(net.with_owners(feed(net, owners, lattice=False)))
