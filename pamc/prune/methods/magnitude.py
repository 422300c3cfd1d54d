"""Magnitude pruning: units with small incoming weights go first (Li et al., "Pruning Filters for Efficient ConvNets",
ICLR 2017, section 3.1, with the L1 norm).

Norms of different layers are not comparable. Each layer's are divided by their own L2 norm (Molchanov et al., "Pruning
Convolutional Neural Networks for Resource Efficient Inference", ICLR 2017, eq. 10), so that one ranking holds for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pamc.graph import MultitaskGraph
from pamc.prune.iterative import prune_iteratively
from pamc.prune.moves import Saliency
from pamc.prune.options import ReleaseOptions, prune_step
from pamc.prune.registry import METHODS, Pruning
from pamc.prune.state import Cut, State
from pamc.prune.weights import incoming, with_releases
from pamc.train import Recipe, fit

__all__ = ["MagnitudeOptions", "magnitude", "magnitudes"]

ORDERS = {"l1": 1, "l2": 2}


@dataclass(frozen=True)
class MagnitudeOptions(ReleaseOptions):
    """Options of all pruners, and the ``norm`` of the weights."""

    norm: Literal["l1", "l2"] = "l1"


def _scaled(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    length = float(np.linalg.norm(vector))
    return vector / length if length > 0 else vector


def magnitudes(net: MultitaskGraph, norm: str) -> Saliency:
    """``{space: (tasks + 1, units)}``: the norm of a unit's incoming weights relative to its space, in the last row;
    before it, times the fraction of the unit's outgoing weights (by the same norm) that serve each task."""
    order = ORDERS[norm]
    importance: Mapping[str, NDArray[np.float64]] = {
        space: _scaled(vector) for space, vector in incoming(net, order).items()
    }
    return with_releases(net, importance, order)


@METHODS.register("magnitude", options=MagnitudeOptions)
def magnitude(net: MultitaskGraph, pruning: Pruning, options: MagnitudeOptions) -> MultitaskGraph:
    """Remove the units, and release the tasks, with the least weight per cost saved."""

    def step(state: State, recipe: Recipe, cut: Cut) -> tuple[State, MultitaskGraph]:
        trained = fit(state.net, pruning.train, pruning.targets, recipe, pruning.progress, label="pruning")
        return State(trained), prune_step(trained, magnitudes(trained, options.norm), pruning, options, cut)

    return prune_iteratively(net, pruning, options, step)
