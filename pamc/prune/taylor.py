"""First-order Taylor pruning (Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019).

A gate g on a unit, where others read it, has dL/dg = sum over its outgoing weights of w dL/dw. Its importance is the
mean over mini-batches of the square (their eq. 8). The gate of one task on a shared unit sums only the weights into
units that serve this task: the importance of releasing it. Removing a unit releases all of its tasks, and their squares
add up: the gradients of two tasks must not cancel, since each has a budget of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pamc.graph import MultitaskGraph
from pamc.prune.moves import Saliency, prune_to
from pamc.prune.registry import METHODS, Pruning
from pamc.prune.search import Schedule, prune_iteratively
from pamc.train import MultitaskModule, Recipe, fit

__all__ = ["TaylorOptions", "TaylorSaliency", "taylor", "train_and_score"]


@dataclass(frozen=True)
class TaylorOptions(Schedule):
    """The schedule, plus: whether tasks may be released from shared units, the power of the saved cost that a unit's
    importance is divided by (0 ranks by importance alone, as the paper), and the least units a task keeps a layer."""

    releases: bool = True
    exponent: float = 0.5
    floor: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.step < 1:
            raise ValueError("step is a fraction, between 0 and 1")
        if self.recover < 1 or self.floor < 1:
            raise ValueError("recover and floor must be at least 1")


class TaylorSaliency:
    """Accumulates importances over mini-batches; call it after every backward pass."""

    def __init__(self, net: MultitaskGraph) -> None:
        self.net = net
        self.batches = 0
        self.sums = {
            space: torch.zeros(len(net.tasks), net.spaces.sizes[space], dtype=torch.float64) for space in net.prunable
        }
        self._rows = {
            link.reader: self._serving(link.reader) for links in net.spaces.readers.values() for link in links
        }

    def _serving(self, reader: str) -> Tensor:
        """``(tasks, out)``: whether a unit of the reader serves each task."""
        owners = self.net.owners_along(reader)
        rows = [(owners >> np.uint32(task) & np.uint32(1)) for task in range(len(self.net.tasks))]
        return torch.tensor(np.stack(rows).astype(np.float32))

    def __call__(self, module: MultitaskModule) -> None:
        """Add the squared gate gradients of one mini-batch."""
        self.batches += 1
        with torch.no_grad():
            links = {name: self._links(module, name) for name in self._rows}
            for space, total in self.sums.items():
                size = self.net.spaces.sizes[space]
                gate = torch.zeros_like(total)
                for link in self.net.spaces.readers[space]:
                    columns = links[link.reader][:, link.start : link.start + size * link.block]
                    gate += columns.reshape(len(gate), size, link.block).sum(dim=2)
                total += gate.square()

    def _links(self, module: MultitaskModule, name: str) -> Tensor:
        weight = module.param(self.net.graph.by_name[name].params["weight"])
        assert weight.grad is not None
        stake = weight * weight.grad
        stake = stake.flatten(2).sum(dim=2) if stake.dim() > 2 else stake
        return (self._rows[name].to(stake) @ stake).to("cpu", torch.float64)

    def result(self) -> Saliency:
        """Root mean square over the mini-batches: ``{space: (tasks + 1, units)}``."""
        found = {}
        for space, total in self.sums.items():
            squares = total / max(1, self.batches)
            found[space] = torch.cat([squares, squares.sum(dim=0, keepdim=True)]).sqrt().numpy()
        return found


def train_and_score(
    net: MultitaskGraph, pruning: Pruning, recipe: Recipe, label: str
) -> tuple[MultitaskGraph, Saliency]:
    """The network trained by a recipe, and the importances seen on the way."""
    saliency = TaylorSaliency(net)
    trained = fit(net, pruning.train, pruning.targets, recipe, pruning.progress, label=label, on_gradient=saliency)
    return trained, saliency.result()


@METHODS.register("taylor", options=TaylorOptions)
def taylor(net: MultitaskGraph, pruning: Pruning, options: TaylorOptions) -> MultitaskGraph:
    """Remove the units, and release the tasks, with the least first-order effect on the loss per cost saved."""

    def step(current: MultitaskGraph, recipe: Recipe, macs: float) -> tuple[MultitaskGraph, MultitaskGraph]:
        trained, saliency = train_and_score(current, pruning, recipe, "pruning")
        pruned = prune_to(
            trained,
            saliency,
            pruning.workload,
            macs,
            releases=options.releases,
            exponent=options.exponent,
            floor=options.floor,
        )
        return trained, pruned

    return prune_iteratively(net, pruning, options, step)
