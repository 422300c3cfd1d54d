"""How much a unit moves each task, and which units say the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pamc.graph import MultitaskGraph
from pamc.graph.interpret import parts, run, tensors
from pamc.graph.owners import serving

__all__ = ["Influence", "importance", "influence", "twins"]

Influence = Mapping[str, NDArray[np.float64]]
"""``{space: (tasks, units)}``."""


def influence(net: MultitaskGraph, x: NDArray[np.generic], seed: int) -> Influence:
    """Mean square by which a unit's deviation from its mean moves each task's outputs.

    To first order, where units are read, with one backward pass per task: for random signs r the square of
    d(r * outputs)/d(gate), per sample, has the expectation of the summed squares of the outputs' derivatives
    (Hutchinson's estimator). Means are those of the samples that fit into memory at once.
    """
    generator = torch.Generator().manual_seed(seed)
    sums = {space: np.zeros((len(net.tasks), net.spaces.sizes[space])) for space in net.prunable}
    for part in parts(net.graph, x):
        for task, moved in enumerate(_moved(net, part, generator)):
            for space, total in sums.items():
                total[task] += np.square(moved[space]).sum(axis=0)
    return {space: total / len(x) for space, total in sums.items()}


def _moved(net: MultitaskGraph, x: Tensor, generator: torch.Generator) -> Iterator[Influence]:
    """``{space: (n, units)}`` for one task after the other: the derivatives of its outputs, with random signs."""
    held = tensors(net.graph)
    gates: dict[str, Tensor] = {}

    def reading(name: str, value: Tensor) -> Tensor:
        gates[name] = torch.zeros(value.shape[:2], requires_grad=True)
        deviation = (value - value.mean(dim=0)).detach()
        return value + deviation * gates[name].reshape(*value.shape[:2], *(1,) * (value.dim() - 2))

    values = run(net.graph, x, lambda node, role: held[node.params[role]], reading=reading)
    for task in net.tasks:
        outputs = values[net.graph.outputs[task]]
        signs = torch.randint(0, 2, outputs.shape, generator=generator) * 2 - 1
        # Where networks diverge, a value can be read for other tasks alone.
        slopes = torch.autograd.grad(
            (outputs * signs).sum(), list(gates.values()), retain_graph=True, materialize_grads=True
        )
        moved = {space: np.zeros((len(x), size)) for space, size in net.spaces.sizes.items()}
        for name, slope in zip(gates, slopes, strict=True):
            start = 0
            for seg in net.spaces.layouts[name]:
                size = net.spaces.sizes[seg.space]
                columns = slope[:, start : start + size * seg.block].reshape(len(x), size, seg.block)
                moved[seg.space] += columns.to(torch.float64).sum(dim=2).numpy()
                start += size * seg.block
        yield moved


def importance(net: MultitaskGraph, x: NDArray[np.generic], seed: int) -> Influence:
    """Influence in multiples of its mean over the units that the task owns; 1 where that is 0."""
    relative = {}
    for space, moved in influence(net, x, seed).items():
        owned = serving(net.owners[space], len(net.tasks))
        mean = (moved * owned).sum(axis=1, keepdims=True) / np.maximum(owned.sum(axis=1, keepdims=True), 1)
        relative[space] = np.where(mean > 0, moved / np.where(mean > 0, mean, 1.0), 1.0)
    return relative


def twins(
    correlation: NDArray[np.float64], owners: NDArray[np.uint32], similarity: float
) -> list[tuple[int, int, float]]:
    """Pairs of units with disjoint owners and at least this absolute correlation, the most alike first.

    Each unit is in one pair at most.
    """
    alike = np.abs(np.triu(correlation, 1))
    first, second = np.nonzero(alike >= similarity)
    pairs: list[tuple[int, int, float]] = []
    taken: set[int] = set()
    for at in np.lexsort((second, first, -alike[first, second])):
        one, other = int(first[at]), int(second[at])
        alive = owners[one] and owners[other]
        if alive and not owners[one] & owners[other] and not {one, other} & taken:
            taken |= {one, other}
            pairs.append((one, other, float(correlation[one, other])))
    return pairs
