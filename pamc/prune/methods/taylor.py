"""First-order Taylor pruning (Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019).

A gate g on a unit, where others read it, has dL/dg = sum over its outgoing weights of w dL/dw. The gate of one task on
a shared unit sums only the weights into units that serve this task: the importance of releasing it.

``squared``: the mean over mini-batches of the square (their eq. 8). Removing a unit releases all of its tasks, and
their squares add up: the gradients of two tasks must not cancel, since each has a budget of its own.

``absolute``: the mean of |dL/dg|, as in the published code of the PAM paper, which sums the gradients of all tasks.
There the gate is on the layer's output before the activation; ReLU and pooling let a gate pass, so it is the same one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pamc.graph import MultitaskGraph
from pamc.graph.owners import serving
from pamc.prune.iterative import prune_iteratively
from pamc.prune.moves import Saliency
from pamc.prune.options import ReleaseOptions, prune_step
from pamc.prune.registry import METHODS, Pruning
from pamc.prune.search import Step
from pamc.prune.state import Cut, Memory, State
from pamc.train import MultitaskModule, Recipe, fit

__all__ = ["TaylorOptions", "TaylorSaliency", "taylor", "taylor_around", "taylor_step", "train_and_score"]


@dataclass(frozen=True)
class TaylorOptions(ReleaseOptions):
    """Options of all pruners, plus the criterion, and the ``momentum`` of importances from one step to the next. (The
    paper has 0.9; the comments of its published code call that useless or worse.)"""

    criterion: Literal["squared", "absolute"] = "squared"
    momentum: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.momentum < 1:
            raise ValueError("momentum must be at least 0 and below 1")


class TaylorSaliency:
    """Accumulates importances over mini-batches; call it after every backward pass."""

    def __init__(self, net: MultitaskGraph, criterion: str = "squared") -> None:
        self.net = net
        self.criterion = criterion
        self.batches = 0
        rows = len(net.tasks) + (criterion == "absolute")
        self.sums = {space: torch.zeros(rows, net.spaces.sizes[space], dtype=torch.float64) for space in net.prunable}
        self._rows = {
            link.reader: self._readers(link.reader) for links in net.spaces.readers.values() for link in links
        }

    def _readers(self, reader: str) -> Tensor:
        """``(rows, out)``: whether a unit of the reader serves each task, and with ``absolute`` a row of all units."""
        rows = serving(self.net.owners_along(reader), len(self.net.tasks))
        if self.criterion == "absolute":
            rows = np.concatenate([rows, np.ones_like(rows[:1])])
        return torch.tensor(rows.astype(np.float32))

    def __call__(self, module: MultitaskModule) -> None:
        """Add the gate gradients of one mini-batch."""
        self.batches += 1
        with torch.no_grad():
            links = {name: self._links(module, name) for name in self._rows}
            for space, total in self.sums.items():
                size = self.net.spaces.sizes[space]
                gate = torch.zeros_like(total)
                for link in self.net.spaces.readers[space]:
                    columns = links[link.reader][:, link.start : link.start + size * link.block]
                    gate += columns.reshape(len(gate), size, link.block).sum(dim=2)
                total += gate.square() if self.criterion == "squared" else gate.abs()

    def _links(self, module: MultitaskModule, name: str) -> Tensor:
        weight = module.param(self.net.graph.by_name[name].params["weight"])
        assert weight.grad is not None
        stake = weight * weight.grad
        stake = stake.flatten(2).sum(dim=2) if stake.dim() > 2 else stake
        return (self._rows[name].to(stake) @ stake).to("cpu", torch.float64)

    def averages(self, before: Memory, momentum: float) -> Memory:
        """The means over the mini-batches, ``{space: (rows, units)}``, with ``momentum`` times those of the steps
        ``before``. What a unit meant to a task that has released it since does not count."""
        found = {}
        for space, total in self.sums.items():
            mean: NDArray[np.float64] = (total / max(1, self.batches)).numpy()
            if momentum and space in before:
                owned = np.ones_like(mean)
                owned[: len(self.net.tasks)] = serving(self.net.owners[space], len(self.net.tasks))
                mean = momentum * before[space] * owned + (1 - momentum) * mean
            found[space] = mean
        return found

    def stakes(self, averages: Memory) -> Saliency:
        """Importances of the moves from :meth:`averages`, in the unit of |dL/dg|: ``{space: (tasks + 1, units)}``."""
        if self.criterion == "absolute":
            return averages
        return {
            space: np.sqrt(np.concatenate([rows, rows.sum(axis=0, keepdims=True)])) for space, rows in averages.items()
        }


def train_and_score(
    state: State, pruning: Pruning, recipe: Recipe, options: TaylorOptions, label: str
) -> tuple[State, Saliency]:
    """The state trained by a recipe, with the importances seen on the way as memory, and what they say of moves."""
    saliency = TaylorSaliency(state.net, options.criterion)
    trained = fit(
        state.net, pruning.train, pruning.targets, recipe, pruning.progress, label=label, on_gradient=saliency
    )
    averages = saliency.averages(state.memory, options.momentum)
    return State(trained, averages), saliency.stakes(averages)


@METHODS.register("taylor", options=TaylorOptions)
def taylor(net: MultitaskGraph, pruning: Pruning, options: TaylorOptions) -> MultitaskGraph:
    """Remove the units, and release the tasks, with the least first-order effect on the loss per cost saved."""
    return taylor_around(net, pruning, options, 0)


def taylor_around(net: MultitaskGraph, pruning: Pruning, options: TaylorOptions, finished: int) -> MultitaskGraph:
    """The same, in which tasks in the mask ``finished``, which keep their budgets, go on answering as they do."""
    return prune_iteratively(net, pruning, options, taylor_step(pruning, options), finished)


def taylor_step(pruning: Pruning, options: TaylorOptions) -> Step:
    """A step of the search: train, and take what matters least meanwhile."""

    def step(state: State, recipe: Recipe, cut: Cut) -> tuple[State, MultitaskGraph]:
        trained, saliency = train_and_score(state, pruning, recipe, options, "pruning")
        return trained, prune_step(trained.net, saliency, pruning, options, cut)

    return step
