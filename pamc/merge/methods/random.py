"""A control for Pruning-Aware Merging: groups of the same sizes with random members."""

from __future__ import annotations

import numpy as np

from pamc.graph import MultitaskGraph, tighten
from pamc.merge.feeding import feed, flat
from pamc.merge.registry import METHODS, Calibration
from pamc.merge.regroup import RegroupOptions, regroup_layers

__all__ = ["random"]


@METHODS.register("random", options=RegroupOptions)
def random(net: MultitaskGraph, calibration: Calibration, options: RegroupOptions) -> MultitaskGraph:
    """The groups of pam with random members: whatever pam gains over it comes from choosing the right units.

    The members are drawn layer by layer by the calibration's seed. As many units serve each task as in ``pam``, so
    every task keeps what keeps it alive.
    """
    rng = np.random.default_rng(calibration.seed)
    found = regroup_layers(net, calibration, options)
    owners = {space: rng.permutation(flat(vector, net.everyone)) for space, vector in found.items()}
    return tighten(net.with_owners(feed(net, owners, lattice=False)))
