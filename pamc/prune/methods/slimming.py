"""Network slimming (Liu et al., "Learning Efficient Convolutional Networks through Network Slimming", ICCV 2017).

Training adds an L1 penalty on the scales of the batch norms, ``l1 * sum |gamma|`` (their eq. 1), and a unit is as
important as its scale. One ranking holds for all layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pamc.errors import ConfigError
from pamc.graph import MultitaskGraph, Node
from pamc.graph.ops import BatchNorm
from pamc.prune.iterative import prune_iteratively
from pamc.prune.options import ReleaseOptions, prune_step
from pamc.prune.registry import METHODS, Pruning
from pamc.prune.state import Cut, State
from pamc.prune.weights import with_releases
from pamc.train import Recipe, Regulariser, fit

__all__ = ["Slimmer", "SlimmingOptions", "scales", "slimming"]


@dataclass(frozen=True)
class SlimmingOptions(ReleaseOptions):
    """Options of all pruners, and the weight of the ``l1`` penalty. (The paper has 1e-4 and 1e-5 for a whole training;
    the steps here are short.)"""

    l1: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.l1 < 0:
            raise ValueError("l1 must be at least 0")


def _norms(net: MultitaskGraph) -> list[Node]:
    """Batch norms of units that can be pruned."""
    return [
        node
        for node in net.graph.nodes
        if isinstance(node.op, BatchNorm) and any(seg.space in net.prunable for seg in net.spaces.layouts[node.name])
    ]


def scales(net: MultitaskGraph) -> Mapping[str, NDArray[np.float64]]:
    """The mean of ``|gamma|`` over the batch norms that a unit goes through, ``{space: (units,)}``.

    Tied layers have a norm each, and a concatenation may be normalised at every place where it is read. Raises
    ConfigError where units go through none.
    """
    total = {space: np.zeros(net.spaces.sizes[space]) for space in net.prunable}
    count = dict.fromkeys(net.prunable, 0)
    for node in _norms(net):
        gamma = np.abs(net.graph.array(node, "gamma").astype(np.float64))
        start = 0
        for seg in net.spaces.layouts[node.name]:
            end = start + net.spaces.sizes[seg.space] * seg.block
            if seg.space in total:
                total[seg.space] += gamma[start:end].reshape(-1, seg.block).mean(axis=1)
                count[seg.space] += 1
            start = end
    if bare := [space for space in net.prunable if not count[space]]:
        raise ConfigError(
            f"pruner 'slimming' needs a batch norm after every layer, and '{bare[0]}' has none",
            why="it prunes by the scales of batch norms",
            cure="another pruner: prune: {method: taylor}",
        )
    return {space: total[space] / count[space] for space in net.prunable}


class Slimmer(Regulariser):
    """The penalty ``l1 * sum |gamma|`` over the batch norms of units that can be pruned."""

    def __init__(self, net: MultitaskGraph, l1: float) -> None:
        super().__init__()
        self.l1 = l1
        self._keys = [node.params["gamma"] for node in _norms(net)]

    def penalty(self, param: Callable[[str], Tensor]) -> Tensor:
        """``l1`` times the sum of the scales."""
        return self.l1 * torch.stack([param(key).abs().sum() for key in self._keys]).sum()


@METHODS.register("slimming", options=SlimmingOptions)
def slimming(net: MultitaskGraph, pruning: Pruning, options: SlimmingOptions) -> MultitaskGraph:
    """Remove the units, and release the tasks, with the least scale per cost saved, while a penalty shrinks scales."""
    scales(net)

    def step(state: State, recipe: Recipe, cut: Cut) -> tuple[State, MultitaskGraph]:
        trained = fit(
            state.net,
            pruning.train,
            pruning.targets,
            recipe,
            pruning.progress,
            label="slimming",
            regulariser=Slimmer(state.net, options.l1),
        )
        saliency = with_releases(trained, scales(trained), 1)
        return State(trained), prune_step(trained, saliency, pruning, options, cut)

    return prune_iteratively(net, pruning, options, step)
