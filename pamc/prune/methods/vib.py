"""Variational information bottleneck pruning (Dai et al., "Compressing Neural Networks using the Variational
Information Bottleneck", ICML 2018; formulas as in their published code).

Readers see a unit times a noisy gate z = mu + exp(log D / 2) * eps, one eps ~ N(0, 1) per sample and unit. The loss
grows by the KL divergence of z to a Gaussian of mean 0 with the best variance, so gates of little use drown in noise:
alpha = D / mu^2 grows. Since alpha does not change when mu is folded into the readers' weights, log alpha is all that
passes from one step to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pamc.graph import MultitaskGraph
from pamc.graph.interpret import Reading
from pamc.graph.owners import DTYPE
from pamc.prune.iterative import prune_iteratively
from pamc.prune.moves import Saliency, unit_price
from pamc.prune.options import MoveOptions, prune_step
from pamc.prune.registry import METHODS, Pruning
from pamc.prune.state import Cut, Memory, State
from pamc.train import Recipe, Regulariser, fit

__all__ = ["Gates", "VibOptions", "divergence", "folded", "kl_weights", "signal", "vib"]

TINY = 1e-8
FIRST_LOG_VARIANCE = -9.0


@dataclass(frozen=True)
class VibOptions(MoveOptions):
    """Options of all pruners; the weight ``kl`` of the divergence against the loss, the gates' own learning rate, and
    the log alpha from which on a unit goes before any other. ``exponent`` is 0: the divergence has the price in it."""

    exponent: float = 0.0
    kl: float = 0.1
    gate_rate: float = 0.05
    threshold: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kl < 0 or self.gate_rate <= 0:
            raise ValueError("kl must be at least 0, and gate_rate above 0")


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of N(mean, D) to N(0, s) with the s that makes it least, in nats: ln(1 + mean^2 / D) / 2."""
    return 0.5 * torch.log1p(mean.square() / (log_variance.exp() + TINY))


def kl_weights(net: MultitaskGraph, workload: Mapping[int, float]) -> Mapping[str, NDArray[np.float64]]:
    """What a nat of each unit counts, ``{space: (units,)}``: its share of the prices of all units.

    The paper gives each layer a weight by hand, times its positions. Those of its VGG-16 on 32x32
    images (1/32, 1/16, 1/8, 1/4, 1/2 for the convolutions of the five stages, 1 for the last layer) sum up to 2048 in
    each layer of the first four stages, much as shares of the price do. Times its factor of 1e-5 the whole network has
    about 0.2: that is ``kl: 0.2`` here.
    """
    price = unit_price(net, workload)
    found = {space: np.array([price(space, mask) for mask in map(int, net.owners[space])]) for space in net.prunable}
    total = sum(float(vector.sum()) for vector in found.values())
    return {space: vector / max(total, TINY) for space, vector in found.items()}


class Gates(Regulariser):
    """A gate on every unit that can be pruned, and the divergence of all of them as penalty.

    ``weights`` are ``{space: (units,)}``, the weight of each gate's divergence; ``log_alpha`` ``{space: (1, units)}``
    where a step before left it. Units that serve a task in the mask ``frozen`` are read as they are.
    """

    def __init__(
        self,
        net: MultitaskGraph,
        weights: Mapping[str, NDArray[np.float64]],
        log_alpha: Memory,
        rate: float,
        frozen: int = 0,
    ) -> None:
        super().__init__()
        self.rate = rate
        self._sizes = [net.spaces.sizes[space] for space in net.prunable]
        self._spaces = net.prunable
        first = [
            log_alpha[space][0] if space in log_alpha else np.full(size, FIRST_LOG_VARIANCE)
            for space, size in zip(self._spaces, self._sizes, strict=True)
        ]
        self.mean = nn.Parameter(torch.ones(sum(self._sizes)))
        self.log_variance = nn.Parameter(torch.tensor(np.concatenate(first), dtype=torch.float32))
        gated = {space: (net.owners[space] & DTYPE(frozen)) == 0 for space in self._spaces}
        counted = np.concatenate([weights[space] * gated[space] for space in self._spaces])
        self.register_buffer("weights", torch.tensor(counted).float())
        self._index: dict[str, str] = {}
        starts = dict(zip(self._spaces, np.cumsum([0, *self._sizes[:-1]]), strict=True))
        read = {net.graph.by_name[link.reader].inputs[0] for links in net.spaces.readers.values() for link in links}
        for number, value in enumerate(sorted(read)):
            parts = []
            for seg in net.spaces.layouts[value]:
                size = net.spaces.sizes[seg.space]
                # Units that have no gate of their own are read through the constant one at the end.
                units = np.full(size, sum(self._sizes))
                if seg.space in starts:
                    units = np.where(gated[seg.space], starts[seg.space] + np.arange(size), units)
                parts.append(np.repeat(units, seg.block))
            if any(seg.space in starts for seg in net.spaces.layouts[value]):
                self._index[value] = f"i{number}"
                self.register_buffer(self._index[value], torch.tensor(np.concatenate(parts)))

    def reading(self, samples: int) -> Reading:
        """Values times their gates, drawn once for all places that read a unit."""
        noise = torch.randn(samples, len(self.mean), device=self.mean.device)
        gates = self.mean + (0.5 * self.log_variance).exp() * noise
        gates = torch.cat([gates, gates.new_ones(samples, 1)], dim=1)

        def read(name: str, value: Tensor) -> Tensor:
            if name not in self._index:
                return value
            gate = gates[:, getattr(self, self._index[name])]
            return value * gate.reshape(*gate.shape, *(1,) * (value.dim() - 2))

        return read

    def penalty(self, param: Callable[[str], Tensor]) -> Tensor:
        """The weighted sum of the divergences."""
        weights: Tensor = self.get_buffer("weights")
        return (weights * divergence(self.mean, self.log_variance)).sum()

    def _by_space(self, vector: Tensor) -> dict[str, NDArray[np.float64]]:
        parts = torch.split(vector.detach().cpu().double(), self._sizes)
        return {space: part.numpy() for space, part in zip(self._spaces, parts, strict=True)}

    def means(self) -> Mapping[str, NDArray[np.float64]]:
        """mu of every unit, ``{space: (units,)}``."""
        return self._by_space(self.mean)

    def log_alpha(self) -> Memory:
        """ln D - ln mu^2 of every unit, ``{space: (1, units)}``."""
        found = self._by_space(self.log_variance - torch.log(self.mean.square() + TINY))
        return {space: vector[None] for space, vector in found.items()}


def folded(net: MultitaskGraph, means: Mapping[str, NDArray[np.float64]]) -> MultitaskGraph:
    """The network with the gates' means in the weights that read the gated units."""
    params = {key: np.array(array) for key, array in net.graph.params.items()}
    for space, mean in means.items():
        for link in net.spaces.readers[space]:
            weight = params[net.graph.by_name[link.reader].params["weight"]]
            columns = slice(link.start, link.start + len(mean) * link.block)
            factor = np.repeat(mean, link.block).astype(weight.dtype)
            weight[:, columns] *= factor.reshape(-1, *(1,) * (weight.ndim - 2))
    return net.with_params(params)


def signal(net: MultitaskGraph, log_alpha: Memory) -> Saliency:
    """Signal to noise of every unit, 1 / alpha, for all moves: ``{space: (tasks + 1, units)}``.

    No gate belongs to one task alone, so nothing is known of releases.
    """
    return {space: np.repeat(np.exp(-vector), len(net.tasks) + 1, axis=0) for space, vector in log_alpha.items()}


@METHODS.register("vib", options=VibOptions)
def vib(net: MultitaskGraph, pruning: Pruning, options: VibOptions) -> MultitaskGraph:
    """Remove the units that drown in noise when a bottleneck prices what readers learn from them."""

    def step(state: State, recipe: Recipe, cut: Cut) -> tuple[State, MultitaskGraph]:
        weights = {space: options.kl * share for space, share in kl_weights(state.net, pruning.workload).items()}
        gates = Gates(state.net, weights, state.memory, options.gate_rate, recipe.frozen)
        trained = fit(
            state.net, pruning.train, pruning.targets, recipe, pruning.progress, label="pruning", regulariser=gates
        )
        log_alpha = gates.log_alpha()
        after = State(folded(trained, gates.means()), log_alpha)
        first = {space: vector[0] >= options.threshold for space, vector in log_alpha.items()}
        return after, prune_step(after.net, signal(net, log_alpha), pruning, options, cut, first)

    return prune_iteratively(net, pruning, options, step)
